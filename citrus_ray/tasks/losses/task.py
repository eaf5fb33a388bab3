"""What every pre-training task promises: a batch of signals in, a scalar loss and named metrics
out."""

from abc import abstractmethod

import torch
from torch import nn

from citrus_ray.models.nets.encoder import Encoder

Loss = tuple[torch.Tensor, dict[str, torch.Tensor]]


class Task(nn.Module):
    """Owns the encoder and whatever head the task needs; only the encoder outlives pre-training."""

    encoder: Encoder
    # whether `forward` takes the labels of the pre-training set, (B,), after the generator
    uses_labels: bool = False

    @abstractmethod
    def forward(self, x: torch.Tensor, generator: torch.Generator) -> Loss:
        """(B, C, T) -> (), metrics. All randomness comes from `generator`."""

    def complaint(self, metrics: dict[str, float]) -> str | None:
        """Why an epoch with such metrics is one that leads nowhere, or None."""
        return None
