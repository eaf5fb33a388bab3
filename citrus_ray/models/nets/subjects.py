"""Features of a window without who it is of."""

import torch
from torch import nn

ENOUGH = 0.9  # of the variance between subjects
MOST = 32  # directions
CONSTANT = 1e-6  # a feature that varies by less of its size is rounding


class Erasure(nn.Module):
    """(B, F) -> (B, F): a fixed linear map, that takes away the directions in which the means of
    subjects differ. Until it is fitted it takes nothing."""

    centre: torch.Tensor  # (F,), and deviations: features are erased on one scale
    scale: torch.Tensor
    directions: torch.Tensor  # (F, R): orthonormal, zeros beyond those that are erased

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        # at most half of the features; as many columns whoever the subjects are
        self.register_buffer("directions", torch.zeros(n_features, min(MOST, n_features // 2)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        along = ((features - self.centre) / self.scale) @ self.directions  # (B, R)
        return features - along @ self.directions.mT * self.scale

    @torch.no_grad()
    def fit(self, features: torch.Tensor, subject: torch.Tensor) -> None:
        """Find who is who in features (n, F) of subjects (n,) of two windows or more."""
        wide = features.double()
        mean, spread = wide.mean(dim=0), wide.std(dim=0, correction=0)
        varies = spread > CONSTANT * mean.abs().clamp(min=1)
        scale = torch.where(varies, spread, 1)
        found = between((wide - mean) / scale, subject)[:, : self.directions.shape[1]]
        self.centre.copy_(mean)
        self.scale.copy_(scale)
        self.directions.zero_()
        self.directions[:, : found.shape[1]] = found


def between(features: torch.Tensor, subject: torch.Tensor) -> torch.Tensor:
    """(n, F), (n,) -> (F, R): orthonormal directions that hold `ENOUGH` of the variance between
    subjects, the largest first; what the means of a few windows vary by without it is no part."""
    _, number, counts = torch.unique(subject, return_inverse=True, return_counts=True)
    means = features.new_zeros(len(counts), features.shape[1])
    means = means.index_add(0, number, features) / counts[:, None]
    apart = means - means.mean(dim=0)
    # no direction outside of their span has any
    rows: torch.Tensor = torch.linalg.svd(apart, full_matrices=False).Vh
    span = rows[: len(counts) - 1].mT  # (F, R)
    seen = (features - means[number]) @ span
    within = seen.mT @ seen / max(len(features) - len(counts), 1)
    of_means = (apart @ span).mT @ (apart @ span) / (len(counts) - 1)
    values, vectors = torch.linalg.eigh(of_means - within * (1 / counts).mean())
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    n = int((values.cumsum(0) < ENOUGH * values.sum()).sum()) + 1 if values.any() else 0
    return span @ vectors[:, :n]  # type: ignore[no-any-return]
