"""Classification: an encoder and a linear head. The same module whether weights are new or pre-trained."""

import torch
from torch import nn

from citrus_ray.models.encoder import Encoder
from citrus_ray.models.heads import LinearHead


class Classifier(nn.Module):
    """(B, C, T) -> logits (B, K)."""

    def __init__(self, encoder: Encoder, n_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = LinearHead(encoder.dim, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(x))  # type: ignore[no-any-return]
