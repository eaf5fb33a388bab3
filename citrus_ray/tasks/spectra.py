"""Spectra of patches, and bands of frequency that are taken out of signals."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator

from citrus_ray.models.encoder import patches
from citrus_ray.spec import Spec

Representation = Literal["log_magnitude", "magnitude_phase", "real_imag"]
Count = Annotated[int, Field(ge=1)]


class Hide(Spec):
    """Bands of frequency that the encoder does not see: `band`, or `count` bands of `width` drawn for every channel."""

    band: tuple[float, float] | None = None
    count: Count = 1
    width: Annotated[float, Field(gt=0)] = 0.2
    unit: Literal["hz", "share"] = "share"  # of `band` and `width`; a share is of the spectrum, 0 to half the rate
    fill: Literal["zero", "noise", "swap"] = "zero"  # noise of the same power, or the band of another window

    @model_validator(mode="after")
    def _leaves_some(self) -> "Hide":
        if self.band is not None and not 0 <= self.band[0] < self.band[1]:
            raise ValueError(f"band={list(self.band)}: 0 <= low < high must hold")
        if self.unit == "share" and self.band is not None and self.band[1] > 1:
            raise ValueError(f"band={list(self.band)}: a share ends at 1; give unit: hz for a band in Hz")
        if self.unit == "share" and self.band is None and self.count >= self.slots(1.0):
            rule = f"count={self.count} bands of width={self.width:g} would leave nothing of the spectrum to see"
            raise ValueError(f"{rule}; lower either")
        return self

    def slots(self, nyquist: float) -> int:
        """How many bands of `width` lie side by side."""
        return math.floor(self.top(nyquist) / self.width + 1e-9)

    def top(self, nyquist: float) -> float:
        """The end of the spectrum, in `unit`."""
        return nyquist if self.unit == "hz" else 1.0

    def problem(self, nyquist: float) -> str | None:
        """Why such bands cannot be taken out of signals whose spectrum ends at `nyquist`, or None."""
        if self.unit == "hz" and self.band is not None and self.band[1] > nyquist:
            return f"hide.band={list(self.band)}: signals end at {nyquist:g} Hz; take a lower band"
        if self.unit == "hz" and self.band is None and self.count >= self.slots(nyquist):
            return f"hide: {self.count} bands of {self.width:g} Hz leave nothing of {nyquist:g} Hz to see; lower either"
        return None

    def edges(self, n_batch: int, n_chans: int, nyquist: float, generator: torch.Generator) -> torch.Tensor:
        """(B, C, count, 2): low and high of every band, as shares of the spectrum."""
        device, top = generator.device, self.top(nyquist)
        if self.band is not None:
            return torch.tensor(self.band, device=device).div(top).expand(n_batch, n_chans, 1, 2)
        n_slots, width = self.slots(nyquist), self.width / top
        order = torch.rand(n_batch, n_chans, n_slots, generator=generator, device=device).argsort(dim=-1)
        # the slots are shifted together, so that bands start anywhere where the width leaves room
        shift = torch.rand(n_batch, n_chans, 1, generator=generator, device=device) * (1 - n_slots * width)
        low = order[..., : self.count] * width + shift
        return torch.stack([low, low + width], dim=-1)


def in_bands(edges: torch.Tensor, n_bins: int) -> torch.Tensor:
    """(B, C, count, 2) -> (B, C, n_bins) bool: which bins of a spectrum of `n_bins` lie in a band.

    The bin nearest to a band's middle always does: a band may be narrower than the distance between bins.
    """
    at = torch.linspace(0, 1, n_bins, device=edges.device)
    inside = (at >= edges[..., :1]) & (at <= edges[..., 1:])  # (B, C, count, n_bins)
    middle = (edges.mean(dim=-1) * (n_bins - 1)).round().long()
    return inside.scatter(-1, middle[..., None], True).any(dim=2)


def take_out(x: torch.Tensor, edges: torch.Tensor, fill: str, generator: torch.Generator) -> torch.Tensor:
    """(B, C, T) without the content of its bands; something else of the band is there if `fill` says so."""
    spectrum = torch.fft.rfft(x)  # (B, C, T//2 + 1)
    hidden = in_bands(edges, spectrum.shape[-1])
    spectrum = torch.where(hidden, _filling(spectrum, hidden, fill, generator), spectrum)
    cleaned: torch.Tensor = torch.fft.irfft(spectrum, n=x.shape[-1])
    return cleaned


def _filling(spectrum: torch.Tensor, hidden: torch.Tensor, fill: str, generator: torch.Generator) -> torch.Tensor:
    n_batch, device = len(spectrum), spectrum.device
    if fill == "swap" and n_batch > 1:  # a lone window has none to swap with: its band stays empty
        shift = torch.randint(1, n_batch, (1,), generator=generator, device=device)
        return spectrum[(torch.arange(n_batch, device=device) + shift) % n_batch]
    if fill == "noise":
        power = (spectrum.abs() ** 2 * hidden).sum(-1, keepdim=True) / hidden.sum(-1, keepdim=True)
        parts = torch.randn(*spectrum.shape, 2, generator=generator, device=device)
        return torch.view_as_complex(parts) * (power / 2).sqrt()
    return torch.zeros_like(spectrum)


def patch_spectra(x: torch.Tensor, patch: int, n_fft: int | None) -> torch.Tensor:
    """(B, C, T) -> (B, C, N, F) complex: the spectrum of every patch.

    With `n_fft`, of a Hann window of that many samples around every patch, zeros beyond the ends: finer in frequency,
    but it also holds what the patch's neighbours show.
    """
    frames = patches(x, patch) if n_fft is None else _frames(x, patch, n_fft)  # (B, C, N, n_fft or P)
    spectra: torch.Tensor = torch.fft.rfft(frames, norm="ortho")
    return spectra


def _frames(x: torch.Tensor, patch: int, n_fft: int) -> torch.Tensor:
    n_tokens = x.shape[-1] // patch
    before = (n_fft - patch) // 2
    padded = torch.nn.functional.pad(x[..., : n_tokens * patch], (before, n_fft - patch - before))
    return padded.unfold(-1, n_fft, patch) * torch.hann_window(n_fft, device=x.device)


def n_parts(representation: Representation) -> int:
    """Numbers per frequency."""
    return {"log_magnitude": 1, "magnitude_phase": 3, "real_imag": 2}[representation]


def represent(spectra: torch.Tensor, representation: Representation, floor: float) -> torch.Tensor:
    """(B, C, N, F) complex -> (B, C, N, F, parts). `floor` is added before the logarithm, beside magnitudes near 1."""
    if representation == "real_imag":
        return torch.view_as_real(spectra)
    log = (spectra.abs() + floor).log()
    if representation == "log_magnitude":
        return log[..., None]
    # a phase as a point on the circle: no jump from -pi to pi; it fades out where there is next to nothing to turn
    turn = torch.view_as_real(spectra / (spectra.abs() + floor))
    return torch.cat([log[..., None], turn], dim=-1)
