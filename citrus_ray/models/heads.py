"""Heads that turn what encoders make of a window into class logits."""

from typing import Literal

import torch
from torch import nn

Pool = Literal["mean", "channels"]


class LinearHead(nn.Module):
    """Channels are averaged or kept side by side, then one linear layer: (B, C, D) -> (B, K)."""

    def __init__(self, n_chans: int, dim: int, n_classes: int, pool: Pool) -> None:
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
