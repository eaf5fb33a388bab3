"""Masked auto-encoding: hide runs of patches, predict their samples from what is left."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from citrus_ray.context import SignalContext
from citrus_ray.models.encoder import Encoder, at_places, patches
from citrus_ray.tasks.reconstruction import Reconstruction
from citrus_ray.tasks.task import Loss, Task


class Masked(Reconstruction):
    """The target is the samples of hidden patches."""

    kind: Literal["masked"] = "masked"
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.5

    def single(self, ctx: SignalContext, encoder: Encoder) -> "MaskedTask":
        return MaskedTask(self, ctx, encoder)


class MaskedTask(Task):
    def __init__(self, spec: Masked, ctx: SignalContext, encoder: Encoder) -> None:
        super().__init__()
        self.spec, self.ctx, self.encoder = spec, ctx, encoder
        self.decoder = spec.decoder(ctx, encoder, encoder.patch)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> Loss:
        target = patches(x, self.encoder.patch)  # (B, C, T) -> (B, C, N, P)
        hidden = self.spec.hidden(tuple(target.shape[:3]), self.ctx, generator)
        if self.spec.encode == "visible":
            shown, asked = self.spec.shown(hidden)
            predicted = self.decoder(self.encoder.visible(x, shown), shown, asked)  # (B, C, N_hidden, P)
            loss = self.spec.distance(predicted, at_places(target, asked))
        else:
            predicted = self.decoder(self.encoder(x, hidden))  # (B, C, N, P)
            loss = self.spec.distance(predicted[hidden], target[hidden])
        return loss, {f"hidden_{self.spec.loss}": loss.detach()}
