"""Spectra of patches, and bands of frequency that are taken out of signals."""

from functools import partial

import torch

from citrus_ray.models.nets.encoder import patches
from citrus_ray.tasks.losses.lots import by_window


def draw_bands(
    n_batch: int,
    n_chans: int,
    generator: torch.Generator,
    *,
    band: tuple[float, float] | None,
    count: int,
    n_slots: int,
    width: float,
    top: float,
) -> torch.Tensor:
    """(B, C, count, 2): low and high of every band, as shares of the spectrum, which ends at `top`.

    The given band, or `count` of `n_slots` bands of `width` (a share) drawn for every channel.
    """
    device = generator.device
    if band is not None:
        return torch.tensor(band, device=device).div(top).expand(n_batch, n_chans, 1, 2)
    lot = partial(torch.rand, generator=generator, device=device)
    order = by_window(lot, n_batch, n_chans, n_slots).argsort(dim=-1)
    # the slots are shifted together, so that bands start anywhere where the width leaves room
    room = 1 - n_slots * width
    shift = by_window(lot, n_batch, n_chans, 1) * room
    low = order[..., :count] * width + shift
    return torch.stack([low, low + width], dim=-1)


def in_bands(edges: torch.Tensor, n_bins: int) -> torch.Tensor:
    """(B, C, count, 2) -> (B, C, n_bins) bool: which bins of a spectrum of `n_bins` lie in a band.

    The bin nearest to a band's middle always does: a band may be narrower than the distance
    between bins.
    """
    at = torch.linspace(0, 1, n_bins, device=edges.device)
    inside = (at >= edges[..., :1]) & (at <= edges[..., 1:])  # (B, C, count, n_bins)
    middle = (edges.mean(dim=-1) * (n_bins - 1)).round().long()
    return inside.scatter(-1, middle[..., None], True).any(dim=2)


def take_out(
    x: torch.Tensor, edges: torch.Tensor, fill: str, generator: torch.Generator
) -> torch.Tensor:
    """(B, C, T) without the content of its bands; something else of the band is there if `fill`
    says so."""
    spectrum = torch.fft.rfft(x)  # (B, C, T//2 + 1)
    hidden = in_bands(edges, spectrum.shape[-1])
    spectrum = torch.where(hidden, _filling(spectrum, hidden, fill, generator), spectrum)
    cleaned: torch.Tensor = torch.fft.irfft(spectrum, n=x.shape[-1])
    return cleaned


def _filling(
    spectrum: torch.Tensor, hidden: torch.Tensor, fill: str, generator: torch.Generator
) -> torch.Tensor:
    n_batch, device = len(spectrum), spectrum.device
    if fill == "swap" and n_batch > 1:  # a lone window has none to swap with: its band stays empty
        shift = torch.randint(1, n_batch, (1,), generator=generator, device=device)
        return spectrum[(torch.arange(n_batch, device=device) + shift) % n_batch]
    if fill == "noise":
        power = (spectrum.abs() ** 2 * hidden).sum(-1, keepdim=True) / hidden.sum(-1, keepdim=True)
        lot = partial(torch.randn, generator=generator, device=device)
        parts = by_window(lot, *spectrum.shape, 2)
        return torch.view_as_complex(parts) * (power / 2).sqrt()
    return torch.zeros_like(spectrum)


def patch_spectra(x: torch.Tensor, patch: int, n_fft: int | None) -> torch.Tensor:
    """(B, C, T) -> (B, C, N, F) complex: the spectrum of every patch.

    With `n_fft`, of a Hann window of that many samples around every patch, zeros beyond the
    ends: finer in frequency, but it also holds what the patch's neighbours show.
    """
    frames = (
        patches(x, patch) if n_fft is None else _frames(x, patch, n_fft)
    )  # (B, C, N, n_fft or P)
    spectra: torch.Tensor = torch.fft.rfft(frames, norm="ortho")
    return spectra


def visible_share(hidden: torch.Tensor, patch: int, n_fft: int) -> torch.Tensor:
    """(B, C, N) bool -> (B, C, N): how much of the window around every patch is visible, by the
    power that it has in a steady signal."""
    shown = (~hidden).float().repeat_interleave(patch, dim=-1)  # (B, C, N*P)
    seen, whole = (
        _frames(of, patch, n_fft).square().sum(-1) for of in (shown, shown.new_ones(shown.shape))
    )
    return seen / whole


def _frames(x: torch.Tensor, patch: int, n_fft: int) -> torch.Tensor:
    n_tokens = x.shape[-1] // patch
    before = (n_fft - patch) // 2
    padded = torch.nn.functional.pad(x[..., : n_tokens * patch], (before, n_fft - patch - before))
    return padded.unfold(-1, n_fft, patch) * torch.hann_window(n_fft, device=x.device)


def trend(log: torch.Tensor, there: torch.Tensor, how: str) -> torch.Tensor:
    """What is taken away to whiten log magnitudes (B, C, N, F), some of which are `there` to say
    it: (B, C, 1, F).

    `window` is their mean over patches, `smooth` the parabola in log frequency that fits it best.
    """
    counts = there.sum(dim=2, keepdim=True)
    mean = torch.where(there, log, 0).sum(dim=2, keepdim=True) / counts.clamp(min=1)
    if how == "window":
        return mean
    n_bins = log.shape[-1]
    at = torch.arange(n_bins, device=log.device, dtype=torch.float64)
    octave = at.clamp(min=0.5).log2()  # a mean has no log frequency: half of the first bin stands
    terms = torch.linalg.qr(torch.stack([octave**0, octave, octave**2], dim=-1)).Q  # (F, 3)
    seen = terms * (counts > 0)[..., None]  # (B, C, 1, F, 3): a bin that is nowhere says nothing
    gram = seen.transpose(-1, -2) @ seen
    ridge = 1e-9 * torch.eye(3, dtype=gram.dtype, device=gram.device)
    weights = torch.linalg.solve(gram + ridge, seen.transpose(-1, -2) @ mean.double()[..., None])
    fit: torch.Tensor = (terms @ weights).squeeze(-1)
    return fit.to(log.dtype)


def n_parts(representation: str) -> int:
    """Numbers per frequency."""
    return {"log_magnitude": 1, "magnitude_phase": 3, "real_imag": 2}[representation]


def represent(spectra: torch.Tensor, representation: str, floor: float) -> torch.Tensor:
    """(B, C, N, F) complex -> (B, C, N, F, parts). `floor` is added before the logarithm, beside
    magnitudes near 1."""
    if representation == "real_imag":
        return torch.view_as_real(spectra)
    log = (spectra.abs() + floor).log()
    if representation == "log_magnitude":
        return log[..., None]
    # a phase as a point on the circle: no jump from -pi to pi; it fades out where there is next to
    # nothing to turn
    turn = torch.view_as_real(spectra / (spectra.abs() + floor))
    return torch.cat([log[..., None], turn], dim=-1)
