"""Tokens of power: the log power spectrum of a tapered stretch of signal around each patch.

A linear map of samples followed by a norm sees the shape of a patch and not how strong it is; of
log powers it sees both. Channels are read alone.
"""

import torch
from torch import nn

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.bank import FAINT, LITTLE, MIDDLE, SPREAD
from citrus_ray.models.nets.encoder import at_places, patches, recorded


class Spectrum(nn.Module):
    """(B, C, T) -> (B, C, N, D). What no sample of the signal reaches (padding, hidden patches,
    beyond the ends) counts nowhere."""

    taper: torch.Tensor  # (W,), of unit energy

    def __init__(self, ctx: SignalContext, patch: int, window: int | None, dim: int) -> None:
        """`window` samples centred on a patch; None: its own alone."""
        super().__init__()
        self.patch, self.window = patch, window or patch
        self.signal = (ctx.n_times, ctx.padding)
        # without its zeros at the ends, so that every sample of a patch has a say
        taper = torch.hann_window(self.window + 2, periodic=False)[1:-1]
        self.register_buffer("taper", taper / taper.square().sum().sqrt(), persistent=False)
        self.embed = nn.Linear(self.window // 2 + 1, dim)

    def forward(
        self,
        x: torch.Tensor,
        hidden: torch.Tensor | None = None,
        shown: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Of all patches, or of those at places `shown` (B, C, V) alone."""
        powers = self.powers(x, hidden)
        powers = powers if shown is None else at_places(powers, shown)
        return self.embed(powers)  # type: ignore[no-any-return]

    def powers(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        """(B, C, T) -> (B, C, N, W // 2 + 1): near unit size, 0 of a patch with nothing in it."""
        there = recorded(x, hidden, self.patch, *self.signal)  # (1 or B, 1 or C, N*P)
        x = x[..., : there.shape[-1]]
        mean = (x * there).sum(dim=-1, keepdim=True) / there.sum(dim=-1, keepdim=True).clamp(min=1)
        lines = torch.fft.rfft(self.framed((x - mean) * there) * self.taper).abs().square()
        # what lies on the signal in part counts as if it lay on it in whole
        reach = self.framed(there) @ self.taper.square()  # (…, N)
        logs = ((lines / reach.clamp(min=LITTLE)[..., None] + FAINT).log() - MIDDLE) / SPREAD
        some = patches(there, self.patch).sum(dim=-1) > 0
        return logs * some[..., None]  # type: ignore[no-any-return]

    def framed(self, x: torch.Tensor) -> torch.Tensor:
        """(…, N*P) -> (…, N, W): the samples around each patch, zeros beyond the ends."""
        before = (self.window - self.patch) // 2
        wide = nn.functional.pad(x, (before, self.window - self.patch - before))
        return wide.unfold(-1, self.window, self.patch)
