"""Heads that turn what encoders make of a window into class logits."""

import torch
from torch import nn


class LinearHead(nn.Module):
    """Channels are averaged or kept side by side, then one linear layer: (B, C, D) -> (B, K)."""

    def __init__(self, n_chans: int, dim: int, n_classes: int, pool: str) -> None:
        super().__init__()
        self.pool = pool
        n_features = dim * n_chans if pool == "channels" else dim
        self.norm = nn.LayerNorm(n_features, elementwise_affine=False)
        self.linear = nn.Linear(n_features, n_classes)

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

    def __init__(self, n_rows: int, dim: int, n_classes: int) -> None:
        super().__init__(1, dim, n_rows * n_classes, "late")
        self.shape = (n_rows, n_classes, dim)

    def pooled(self, summary: torch.Tensor) -> torch.Tensor:
        """(B, R, D) -> (B, R*D)."""
        return summary.flatten(1)

    def classify(self, pooled: torch.Tensor) -> torch.Tensor:
        n_rows, n_classes, dim = self.shape
        rows = pooled.view(-1, n_rows, dim)
        there = (rows != 0).any(dim=-1)  # (B, R)
        there = there | ~there.any(dim=1, keepdim=True)  # nothing at all: what zeros give
        weight, bias = self.linear.weight.view(self.shape), self.linear.bias.view(n_rows, n_classes)
        logs = (torch.einsum("brd,rkd->brk", self.norm(rows), weight) + bias).log_softmax(dim=-1)
        logs = logs.masked_fill(~there[..., None], float("-inf"))
        return logs.logsumexp(dim=1) - there.sum(dim=1, keepdim=True).log()
