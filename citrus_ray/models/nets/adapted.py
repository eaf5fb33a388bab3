"""A step from the channels of a set to those that an encoder reads, and that encoder."""

import math
import zlib
from collections.abc import Callable

import torch
from torch import nn

from citrus_ray.context import SignalContext
from citrus_ray.models.electrodes import electrode, place_of
from citrus_ray.models.nets.encoder import Encoder, hide_samples

NEAR = 0.35  # of the head's radius: electrodes that far apart count 0.6 of one in the same place


class AdaptedEncoder(Encoder):
    """(B, C, T) -> (B, 1, N, D), whatever C is."""

    mixes_channels = True
    montage: torch.Tensor  # (): which channels the step was made for

    def __init__(
        self,
        ctx: SignalContext,
        *,
        channels: str,
        names: tuple[str, ...],
        patch: int,
        inside: Callable[[SignalContext], SignalContext],
        make: Callable[[SignalContext], Encoder],
    ) -> None:
        super().__init__()
        inner = inside(ctx)
        self.inner = make(inner)
        self.dim, self.patch = self.inner.dim, patch
        self.learnt = channels == "project"
        self.step = nn.Linear(ctx.n_chans, inner.n_chans, bias=False)
        with torch.no_grad():
            if self.learnt:
                nn.init.orthogonal_(self.step.weight)
            else:
                fixed = matched if channels == "match" else interpolated
                self.step.weight.copy_(torch.tensor(fixed(ctx.names, names)))
        self.step.weight.requires_grad_(self.learnt)
        said = "\n".join([str(ctx.n_chans), *ctx.names])
        self.register_buffer("montage", torch.tensor(zlib.crc32(said.encode())))

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        if hidden is None:
            return self.inner(self._brought(x))
        brought = self._brought(hide_samples(x, hidden, self.patch))
        of_all = hidden.all(dim=1, keepdim=True).expand(-1, brought.shape[1], -1)
        return self.inner(brought, of_all)

    def summary(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner.summary(self._brought(x))

    def tokens(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inner.tokens(self._brought(x))

    def halves(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inner.halves(self._brought(x))

    def _brought(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> (B, C', T)."""
        brought: torch.Tensor = self.step.weight @ x
        return brought

    def adopted(
        self, weights: dict[str, torch.Tensor]
    ) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        """The step stays this set's own, unless it was made for the very same channels."""
        begins = "inner."
        inner = {n[len(begins) :]: v for n, v in weights.items() if n.startswith(begins)}
        kept, why = self.inner.adopted(inner)
        found = {f"{begins}{name}": value for name, value in kept.items()}
        same = "montage" in weights and bool(weights["montage"] == self.montage.cpu())
        own = weights if same else self.state_dict()
        found |= {name: own[name] for name in ("step.weight", "montage") if name in own}
        new = {} if same else {"step.weight": "new: the step is of other channels"}
        return found, {f"{begins}{name}": reason for name, reason in why.items()} | new

    def depths(self) -> list[nn.Module]:
        return [self.step, *self.inner.depths()]


def matched(there: tuple[str, ...], wanted: tuple[str, ...]) -> list[list[float]]:
    """(C', C): 1 where a wanted channel is."""
    return [[float(_same(one, other)) for other in there] for one in wanted]


def _same(one: str, other: str) -> bool:
    return one == other or (electrode(one) is not None and electrode(one) == electrode(other))


def interpolated(there: tuple[str, ...], wanted: tuple[str, ...]) -> list[list[float]]:
    """(C', C): rows of weights that add up to 1, by nearness on the head."""
    places = [place_of(name) for name in there]
    found = []
    for name in wanted:
        at = place_of(name)
        assert at is not None
        apart = [math.inf if place is None else math.dist(at, place) for place in places]
        least = min(apart)  # so that a far one is not lost to rounding
        row = [math.exp((least**2 - far**2) / (2 * NEAR**2)) for far in apart]
        row = [float(far == 0) for far in apart] if least == 0 else row
        found.append([one / sum(row) for one in row])
    return found
