"""Heads that turn what encoders make of a window into class logits."""

from collections.abc import Sequence

import torch
from torch import nn

CONSTANT = 1e-6  # a feature that varies by less of its size is rounding
CLIP = 6.0  # deviations: a window unlike all labelled ones has no more say
MANY = 64  # features of a block beyond which they share the say of so many


class LinearHead(nn.Module):
    """Channels are averaged or kept side by side, then one linear layer: (B, C, D) -> (B, K)."""

    def __init__(self, n_chans: int, dim: int, n_outputs: int, pool: str) -> None:
        super().__init__()
        self.pool = pool
        n_features = dim * n_chans if pool == "channels" else dim
        self.norm = nn.LayerNorm(n_features, elementwise_affine=False)
        self.linear = nn.Linear(n_features, n_outputs)

    def pooled(self, summary: torch.Tensor) -> torch.Tensor:
        """(B, C, D) -> (B, C*D) or (B, D)."""
        return summary.flatten(1) if self.pool == "channels" else summary.mean(dim=1)

    def classify(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(pooled))  # type: ignore[no-any-return]

    def forward(self, summary: torch.Tensor) -> torch.Tensor:
        return self.classify(self.pooled(summary))


class LateFusion(LinearHead):
    """A linear layer for each row, and the mean of the probabilities of those that are there:
    (B, R, D) -> (B, K)."""

    def __init__(self, n_rows: int, dim: int, n_outputs: int) -> None:
        super().__init__(1, dim, n_rows * n_outputs, "late")
        self.shape = (n_rows, n_outputs, dim)

    def pooled(self, summary: torch.Tensor) -> torch.Tensor:
        """(B, R, D) -> (B, R*D)."""
        return summary.flatten(1)

    def classify(self, pooled: torch.Tensor) -> torch.Tensor:
        n_rows, n_outputs, dim = self.shape
        rows = pooled.view(-1, n_rows, dim)
        there = (rows != 0).any(dim=-1)  # (B, R)
        there = there | ~there.any(dim=1, keepdim=True)  # nothing at all: what zeros give
        weight, bias = self.linear.weight.view(self.shape), self.linear.bias.view(n_rows, n_outputs)
        logs = (torch.einsum("brd,rkd->brk", self.norm(rows), weight) + bias).log_softmax(dim=-1)
        logs = logs.masked_fill(~there[..., None], float("-inf"))
        return logs.logsumexp(dim=1) - there.sum(dim=1, keepdim=True).log()


class FeatureHead(nn.Module):
    """A linear layer on blocks of features (B, F), each brought to a scale of its own: by a norm
    over those of a window, or by what labelled windows have."""

    centre: torch.Tensor  # (F,), and deviations: 0 and 1 until they are fitted
    gain: torch.Tensor

    def __init__(self, sizes: Sequence[int], n_normed: int, n_outputs: int) -> None:
        """The first `n_normed` blocks have a norm, the others are standardised."""
        super().__init__()
        self.sizes, self.n_normed = tuple(sizes), n_normed
        n_features = sum(sizes)
        self.register_buffer("centre", torch.zeros(n_features))
        self.register_buffer("gain", torch.ones(n_features))
        self.linear = nn.Linear(n_features, n_outputs)

    def fit(self, features: torch.Tensor) -> None:
        """Take the scale from features (n, F) of labelled windows; one that is constant counts
        nothing."""
        mean, spread = features.mean(dim=0), features.std(dim=0, correction=0)
        varies = spread > CONSTANT * mean.abs().clamp(min=1)
        self.centre.copy_(mean)
        self.gain.copy_(torch.where(varies, 1 / torch.where(varies, spread, 1), 0))

    def norm(self, features: torch.Tensor) -> torch.Tensor:
        """What the linear layer sees."""
        scaled = ((features - self.centre) * self.gain).clamp(-CLIP, CLIP)
        raw, fitted = (torch.split(of, list(self.sizes), dim=1) for of in (features, scaled))
        normed = [nn.functional.layer_norm(block, block.shape[1:]) for block in raw]
        weighed = [block * min(1.0, (MANY / block.shape[1]) ** 0.5) for block in fitted]
        return torch.cat([*normed[: self.n_normed], *weighed[self.n_normed :]], dim=1)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(features))  # type: ignore[no-any-return]
