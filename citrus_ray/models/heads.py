"""Heads that turn tokens into class logits."""

from typing import Literal

import torch
from torch import nn

Pool = Literal["mean", "channels"]


class LinearHead(nn.Module):
    """Tokens are averaged, channels averaged or kept side by side, then one linear layer: (B, C, N, D) -> (B, K)."""

    def __init__(self, n_chans: int, dim: int, n_classes: int, pool: Pool) -> None:
        super().__init__()
        self.pool = pool
        n_features = dim * n_chans if pool == "channels" else dim
        self.norm = nn.LayerNorm(n_features, elementwise_affine=False)
        self.linear = nn.Linear(n_features, n_classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        pooled = tokens.mean(dim=2)  # (B, C, N, D) -> (B, C, D)
        pooled = pooled.flatten(1) if self.pool == "channels" else pooled.mean(dim=1)  # -> (B, C*D) or (B, D)
        return self.linear(self.norm(pooled))  # type: ignore[no-any-return]
