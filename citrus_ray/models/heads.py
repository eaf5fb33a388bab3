"""Heads that turn tokens into class logits."""

import torch
from torch import nn


class LinearHead(nn.Module):
    """Mean and spread over tokens, mean over channels, one linear layer: (B, C, N, D) -> (B, K)."""

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.linear = nn.Linear(dim, n_classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        pooled = tokens.mean(dim=(1, 2))  # (B, C, N, D) -> (B, D)
        return self.linear(self.norm(pooled))  # type: ignore[no-any-return]
