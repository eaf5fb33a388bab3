"""Masked auto-encoding: hide runs of patches, predict their samples from what is left."""

from typing import Any

import torch

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.encoder import Encoder, at_places, patches
from citrus_ray.tasks.losses.reconstruction import ReconstructionTask
from citrus_ray.tasks.losses.references import Hidden
from citrus_ray.tasks.losses.task import Loss


class MaskedTask(ReconstructionTask):
    def __init__(self, ctx: SignalContext, encoder: Encoder, **common: Any) -> None:
        super().__init__(ctx, encoder, encoder.patch, **common)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> Loss:
        target, hidden = self._drawn(x, generator)
        if self.reads_all:
            predicted = self.decoder(self.encoder(x, hidden))  # (B, C, N, P)
            return self.compared(predicted, target, hidden)
        shown, asked = self.shown(hidden)
        predicted = self.decoder(
            self.encoder.visible(x, shown), shown, asked
        )  # (B, C, N_hidden, P)
        return self.compared(predicted, at_places(target, asked))

    def question(self, x: torch.Tensor, generator: torch.Generator) -> Hidden:
        target, hidden = self._drawn(x, generator)
        return Hidden(target, hidden[..., None].expand_as(target), target)

    def _drawn(
        self, x: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples of patches (B, C, N, P), and which patches are hidden (B, C, N)."""
        target = patches(x, self.encoder.patch)  # (B, C, T) -> (B, C, N, P)
        return target, self.hidden((len(x), *target.shape[1:3]), generator)
