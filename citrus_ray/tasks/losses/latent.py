"""Latent prediction: a teacher, the running average of the encoder, sees all; its tokens of hidden
patches are predicted by an encoder that sees the rest (data2vec, Baevski et al. 2022; JEPA, Assran
et al. 2023).

Nothing but the slowness of the teacher keeps its tokens from becoming the same everywhere, so their
spread is watched.
"""

import copy
from typing import Any

import torch

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.encoder import Encoder, at_places
from citrus_ray.tasks.losses.crossmodal import relative_spread
from citrus_ray.tasks.losses.gathering import summed
from citrus_ray.tasks.losses.reconstruction import ReconstructionTask
from citrus_ray.tasks.losses.references import Hidden
from citrus_ray.tasks.losses.task import Loss, References

EPSILON = 1e-6  # beside variances of tokens, near 1 for most encoders


class LatentTask(ReconstructionTask):
    """The teacher is the task's and goes with it: what is stored is the encoder."""

    target_moves = True
    of_channels = False  # it predicts tokens, of which there may be one for all channels

    def __init__(
        self,
        ctx: SignalContext,
        encoder: Encoder,
        *,
        momentum: float,
        narrowest: float,
        **common: Any,
    ) -> None:
        super().__init__(ctx, encoder, encoder.dim, **common)
        self.momentum, self.narrowest = momentum, narrowest
        self.teacher = copy.deepcopy(encoder).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "LatentTask":
        super().train(mode)
        self.teacher.eval()  # it drops nothing out
        return self

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> Loss:
        if self.training:
            self._follow()
        tokens, target, hidden = self._drawn(x, generator)
        if self.reads_all:
            of_all = hidden.expand(-1, x.shape[1], -1)  # a token of all channels hides all
            predicted = self.decoder(self.encoder(x, of_all))  # (B, C, N, D)
            loss, metrics = self.compared(predicted, target, hidden)
        else:
            shown, asked = self.shown(hidden)
            predicted = self.decoder(self.encoder.visible(x, shown), shown, asked)
            loss, metrics = self.compared(predicted, at_places(target, asked))
        # of a lone window, over its own patches
        rows = tokens if len(tokens) > 1 else tokens.flatten(0, 2)
        return loss, metrics | {"token_std": relative_spread(rows)}

    def question(self, x: torch.Tensor, generator: torch.Generator) -> Hidden:
        _, target, hidden = self._drawn(x, generator)
        return Hidden(target, hidden[..., None].expand_as(target), target)

    def references(
        self, x: torch.Tensor, generator: torch.Generator, *_: torch.Tensor
    ) -> References:
        """The mean of training tokens and that of a channel's visible ones. Nothing linear from the
        nearest: a teacher's visible tokens have seen hidden samples beside them."""
        middle = self.question(x, generator).target.mean(dim=(0, 2), keepdim=True)  # (1, C, 1, D)

        def losses(x: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
            batch = self.question(x, generator)
            counts = (~batch.wanted).sum(dim=2, keepdim=True)
            seen = torch.where(batch.wanted, 0, batch.seen - middle).sum(dim=2, keepdim=True)
            guesses = {"constant": middle, "visible": middle + seen / counts.clamp(min=1)}
            return {
                name: self.loss(
                    guess.expand_as(batch.target)[batch.wanted], batch.target[batch.wanted]
                )
                for name, guess in guesses.items()
            }

        return losses

    def complaint(self, metrics: dict[str, float]) -> str | None:
        spread = metrics["val/token_std"]
        if spread >= self.narrowest:
            return None
        rule = f"tokens have collapsed: their spread over windows is {spread:.2g}"
        return (
            f"{rule}, below narrowest={self.narrowest:g}; bring momentum nearer to 1, or lower the "
            "rate"
        )

    @torch.no_grad()
    def _follow(self) -> None:
        """The teacher's step, once the optimiser has made the encoder's: at the next batch."""
        weights = (of.state_dict().values() for of in (self.teacher, self.encoder))
        for ours, theirs in zip(*weights, strict=True):
            if ours.is_floating_point():
                ours.lerp_(theirs, 1 - self.momentum)
            else:
                ours.copy_(theirs)

    @torch.no_grad()
    def _drawn(
        self, x: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The teacher's tokens, the same with mean 0 and variance 1 in every dimension, both
        (B, C, N, D), and which are hidden, (B, C, N)."""
        tokens = self.teacher(x).float()
        target = standardised(tokens, shared=self.training)
        return tokens, target, self.hidden((len(x), *tokens.shape[1:3]), generator)


def standardised(tokens: torch.Tensor, shared: bool) -> torch.Tensor:
    """(B, C, N, D) -> the same, every dimension with mean 0 and variance 1 over the batch, of
    all workers where it is `shared`."""
    rows = tokens.flatten(0, 2)

    def over_batch(values: torch.Tensor) -> torch.Tensor:
        n_and_sum = torch.cat([values.new_tensor([len(values)]), values.sum(dim=0)])
        total = summed(n_and_sum) if shared else n_and_sum
        return total[1:] / total[0]

    middle = over_batch(rows)
    return (tokens - middle) / (over_batch((rows - middle).square()) + EPSILON).sqrt()
