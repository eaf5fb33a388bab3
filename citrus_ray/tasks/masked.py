"""Masked auto-encoding: hide runs of patches, predict their samples from what is left."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from citrus_ray.context import SignalContext
from citrus_ray.models.encoder import Encoder, patches
from citrus_ray.tasks.masking import span_mask
from citrus_ray.tasks.task import Loss, Task, TaskSpec


class Masked(TaskSpec):
    """`ratio` of every channel's patches is hidden, in runs of `span`."""

    kind: Literal["masked"] = "masked"
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.5
    span: Annotated[int, Field(ge=1)] = 2

    def build(self, ctx: SignalContext, encoder: Encoder) -> "MaskedTask":
        return MaskedTask(self, encoder)


class MaskedTask(Task):
    def __init__(self, spec: Masked, encoder: Encoder) -> None:
        super().__init__()
        self.spec, self.encoder = spec, encoder
        self.decoder = nn.Sequential(
            nn.Linear(encoder.dim, encoder.dim), nn.GELU(), nn.Linear(encoder.dim, encoder.patch)
        )

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> Loss:
        target = patches(x, self.encoder.patch)  # (B, C, T) -> (B, C, N, P)
        hidden = span_mask(tuple(target.shape[:3]), self.spec.ratio, self.spec.span, generator)
        predicted = self.decoder(self.encoder(x, hidden))  # (B, C, N, P)
        loss = nn.functional.mse_loss(predicted[hidden], target[hidden])
        return loss, {"hidden_mse": loss.detach()}
