"""Classification: an encoder and a linear head. The same module whether weights are new or pre-trained."""

import torch
from torch import nn

from citrus_ray.context import SignalContext
from citrus_ray.models.encoder import Encoder
from citrus_ray.models.heads import LinearHead, Pool


class Classifier(nn.Module):
    """(B, C, T) -> logits (B, K)."""

    def __init__(self, encoder: Encoder, ctx: SignalContext, pool: Pool) -> None:
        super().__init__()
        self.encoder = encoder
        n_rows = 1 if encoder.mixes_channels else ctx.n_chans
        self.head = LinearHead(n_rows, encoder.dim, ctx.n_classes, pool)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> (B, F): what a frozen encoder gives the head."""
        return self.head.pooled(self.encoder.summary(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder.summary(x))  # type: ignore[no-any-return]
