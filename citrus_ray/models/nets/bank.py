"""A bank of band passes: the log power of every band in short frames is what a token is made of.

A LayerNorm on what is linear in the signal takes its strength away; on log powers it takes nothing
that a sum of them does not hold. Filters read each channel alone.
"""

import math

import torch
from scipy.fft import next_fast_len
from torch import nn

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.conv import Residual
from citrus_ray.models.nets.encoder import Encoder, patches, recorded

HIGHEST = 0.4  # centre of the last band, in waves per sample
FAINT = 1e-4  # beside a power near 1: its log is finite
MIDDLE, SPREAD = -3.0, 3.0  # of log powers of signals of unit variance, by which they are scaled
LITTLE = 1e-3  # share of a filter's energy that must lie on the signal


class BankEncoder(Encoder):
    """What no sample of the signal reaches (padding, hidden patches, beyond the ends) counts
    nowhere: neither as a power of 0 nor in the mean of a frame."""

    def __init__(
        self,
        ctx: SignalContext,
        *,
        dim: int,
        patch: int,
        bands: int,
        taps: int,
        learn: bool,
        level: bool,
        depth: int,
        kernel: int,
    ) -> None:
        super().__init__()
        self.dim, self.patch, self.level = dim, patch, level
        self.n_times, self.padding = ctx.n_times, ctx.padding
        self.bank = Filters(bands, taps, learn)
        self.embed = nn.Linear(bands + level, dim)
        self.mask_token = nn.Parameter(torch.zeros(dim))
        self.context = nn.Sequential(*(Residual(dim, kernel, 0.0) for _ in range(depth)))

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        n_batch, n_chans, n_tokens = *x.shape[:2], self.n_tokens(x.shape[-1])
        there = self._there(x, hidden)  # (1 or B, 1 or C, N*P)
        tokens = self.embed(self._features(x[..., : n_tokens * self.patch], there))
        if hidden is not None:
            tokens = torch.where(hidden[..., None], self.mask_token, tokens)
        if not len(self.context):
            return tokens  # type: ignore[no-any-return]
        # (B, C, N, D) -> (B*C, D, 1, N), features of a step side by side in memory
        rows = tokens.view(n_batch * n_chans, 1, n_tokens, self.dim).permute(0, 3, 1, 2)
        return self.context(rows).permute(0, 2, 3, 1).reshape(tokens.shape)  # type: ignore[no-any-return]

    def summary(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self(x)
        count = patches(self._there(x, None), self.patch).sum(dim=-1)  # (1, 1, N)
        shares = (count / count.sum()).flatten()
        return (tokens * shares[:, None]).sum(dim=2)  # type: ignore[no-any-return]

    def _there(self, x: torch.Tensor, hidden: torch.Tensor | None) -> torch.Tensor:
        return recorded(x, hidden, self.patch, self.n_times, self.padding)

    def _features(self, x: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """(B, C, N*P) -> (B, C, N, F): log powers, and the level."""
        mean = (x * there).sum(dim=-1, keepdim=True) / there.sum(dim=-1, keepdim=True).clamp(min=1)
        power = self.bank((x - mean) * there, there)  # (B, C, K, N*P)
        count = patches(there, self.patch).sum(dim=-1)[:, :, None]  # (…, 1, N)
        framed = patches(power * there[:, :, None], self.patch).sum(dim=-1) / count.clamp(min=1)
        logs = ((framed + FAINT).log() - MIDDLE) / SPREAD
        if self.level:
            levels = patches(x * there, self.patch).sum(dim=-1)[:, :, None] / count.clamp(min=1)
            logs = torch.cat([logs, levels], dim=2)
        return (logs * (count > 0)).transpose(2, 3)  # type: ignore[no-any-return]

    def depths(self) -> list[nn.Module]:
        entrance = nn.ModuleList([self.embed, nn.ParameterList([self.mask_token])])
        filters = [self.bank] if list(self.bank.parameters()) else []
        return [*filters, entrance, *self.context]


class Filters(nn.Module):
    """(B, C, T) -> (B, C, K, T): the power of each band at every sample."""

    filters: torch.Tensor  # (2, K, taps)

    def __init__(self, bands: int, taps: int, learn: bool) -> None:
        super().__init__()
        filters = gabor(bands, taps)
        if learn:
            self.filters = nn.Parameter(filters)
        else:
            self.register_buffer("filters", filters, persistent=False)

    def forward(self, x: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """What a filter gives where it lies on the signal in part, `there` saying on which samples,
        counts as if it lay on it in whole."""
        power = convolved(x, self.filters).square().sum(dim=2)
        energy = self.filters.square().sum(dim=0, keepdim=True)  # (1, K, taps)
        reach = convolved(there, energy).squeeze(2) / energy.sum(dim=-1)[0, :, None]
        return power / reach.clamp(min=LITTLE)


def gabor(bands: int, taps: int) -> torch.Tensor:
    """(2, K, taps): waves of frequencies evenly spaced in their logarithm, and the same a quarter
    of a wave later, under bells as wide as the distance to the next; of unit energy, and deaf to a
    constant."""
    lowest = min(2.0 / taps, HIGHEST / 2)
    ratio = (HIGHEST / lowest) ** (1 / max(bands - 1, 1))
    centres = lowest * ratio ** torch.arange(bands)[:, None]  # (K, 1)
    widths = (1 / (math.pi * centres * max(ratio - 1, 0.05))).clamp(max=taps / 5)
    t = torch.arange(taps) - (taps - 1) / 2
    bell = (-(t**2) / (2 * widths**2)).exp()
    waves = torch.stack(
        [torch.cos(2 * math.pi * centres * t), torch.sin(2 * math.pi * centres * t)]
    )
    filters = bell * waves
    filters = filters - bell * filters.sum(dim=-1, keepdim=True) / bell.sum(dim=-1, keepdim=True)
    return torch.as_tensor(filters / filters.square().sum(dim=(0, 2), keepdim=True).sqrt())


def convolved(x: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """(B, C, T), (Q, K, taps) -> (B, C, Q, K, T): every filter centred on every sample, by way of
    the spectrum, where long filters cost no more than short ones."""
    n_times, n_taps = x.shape[-1], filters.shape[-1]
    n = next_fast_len(n_times + n_taps - 1, real=True)
    product = torch.fft.rfft(x, n)[:, :, None, None] * torch.fft.rfft(filters, n)
    whole: torch.Tensor = torch.fft.irfft(product, n)
    return whole[..., n_taps // 2 : n_taps // 2 + n_times]
