"""Scalars of a channel: 25 numbers that a user would try first, for trees to choose among."""

import numpy as np

from citrus_ray.data.windows import Signal
from citrus_ray.training.closed_form import Floats

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
N_BANDS = 12
SILENCE = 1e-10  # power where there is none; windows are scaled to about one


def scalars(x: Signal) -> Floats:
    """(n, C, T) -> (n, C * up to 25)."""
    wide = x.astype(np.float64)
    centred = wide - wide.mean(axis=-1, keepdims=True)
    spread = np.maximum(centred.std(axis=-1), np.sqrt(SILENCE))
    unit = centred / spread[..., None]
    steps = [np.diff(wide, n, axis=-1) for n in (1, 2) if wide.shape[-1] > n]
    found = [
        *(_log((part**2).mean(axis=-1)) for part in (centred, *steps)),
        (np.signbit(centred[..., 1:]) != np.signbit(centred[..., :-1])).mean(axis=-1),
        wide.mean(axis=-1),
        np.abs(centred).mean(axis=-1),
        (unit**3).mean(axis=-1),
        (unit**4).mean(axis=-1),
        *np.quantile(wide, QUANTILES, axis=-1),
        *_band_powers(wide),
    ]
    return np.concatenate(found, axis=1)


def _band_powers(x: Floats) -> list[Floats]:
    """Log powers, (n, C) each, in bands of equal width on a logarithmic scale from the lowest
    frequency of the window to the highest. A band that holds no frequency is left out."""
    spectrum = np.abs(np.fft.rfft(x, axis=-1)[..., 1:]) ** 2 / x.shape[-1] ** 2
    n = spectrum.shape[-1]
    edges = np.geomspace(1, max(n, 2), N_BANDS + 1)[1:-1]
    band = np.searchsorted(edges, np.arange(1, n + 1), side="right")
    return [_log(spectrum[..., band == b].sum(axis=-1)) for b in np.unique(band)]


def _log(power: Floats) -> Floats:
    return np.asarray(np.log(power + SILENCE))
