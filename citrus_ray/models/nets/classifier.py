"""Classification: an encoder and a linear head. The same module whether weights are new or
pre-trained."""

import torch
from torch import nn

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.encoder import Encoder
from citrus_ray.models.nets.heads import LateFusion, LinearHead


class Classifier(nn.Module):
    """(B, C, T) -> logits (B, K). The head reads the encoder's summary, or its rows side by side
    or one by one."""

    def __init__(self, encoder: Encoder, ctx: SignalContext, pool: str) -> None:
        super().__init__()
        self.encoder, self.by_row = encoder, pool != "mean"
        n_rows = encoder.n_rows(ctx.n_chans) if self.by_row else 1
        late = LateFusion(n_rows, encoder.dim, ctx.n_classes) if pool == "late" else None
        self.head = late or LinearHead(n_rows, encoder.dim, ctx.n_classes, pool)

    def _read(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder.rows(x) if self.by_row else self.encoder.summary(x)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> (B, F): what a frozen encoder gives the head."""
        return self.head.pooled(self._read(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self._read(x))  # type: ignore[no-any-return]
