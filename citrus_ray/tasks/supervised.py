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
        self.head = LinearHead(ctx.n_chans, encoder.dim, ctx.n_classes, pool)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(x))  # type: ignore[no-any-return]
