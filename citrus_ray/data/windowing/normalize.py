"""Scales of signals: of a window or recording as it is cut, of the runs of a subject, of a whole
set.

Of a whole set there is one per channel, from training windows alone: networks want numbers near
one; differences of amplitude between windows stay, where the source kept them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from citrus_ray.data.root import mapped
from citrus_ray.data.windows import Index, Signal

NormalizeBy = Literal["run", "scan", "none"]  # scan: all runs of a subject, one after the other
# windows that the scale is taken from; more would read a large set for the third digit
SAMPLE = 2048


def zscore(x: Signal) -> Signal:
    """Zero mean and unit variance over the last axis; a flat channel becomes zeros, not NaN."""
    centred = x - x.mean(axis=-1, keepdims=True, dtype=np.float64)
    spread = centred.std(axis=-1, keepdims=True)
    return np.where(spread > 0, centred / np.where(spread > 0, spread, 1), 0).astype(np.float32)


def zscore_finite(x: Signal) -> Signal:
    """`zscore` over the samples that are there; on disk where they are on disk."""
    out = mapped(x.shape, x.dtype) if isinstance(x, np.memmap) else np.empty_like(x)
    for row, into in zip(x, out, strict=True):
        finite = np.isfinite(row)
        into[finite], into[~finite] = zscore(row[finite]), np.nan
    return out


def cleaned(runs: Sequence[Signal], by: NormalizeBy, detrend: bool) -> list[Signal]:
    """Runs of one subject, (C, T) each, every channel z-scored over each run or over all of
    them.

    Over all of them a run keeps its own level, by which a network can tell runs apart: published
    studies do so.
    """
    if by == "none":
        return list(runs)
    if by == "run":
        return [_clean(run, detrend) for run in runs]
    edges = np.cumsum([run.shape[1] for run in runs])[:-1]
    return np.split(_clean(np.concatenate(runs, axis=1), detrend), edges, axis=1)


def _clean(x: Signal, detrend: bool) -> Signal:
    return zscore(straightened(x) if detrend else x)


def straightened(x: Signal) -> Signal:
    """Rows (C, T) less the straight line that fits each best."""
    t = np.arange(x.shape[1]) - (x.shape[1] - 1) / 2
    centred = x - x.mean(axis=1, keepdims=True, dtype=np.float64)
    slope = centred @ t / max(float(t @ t), 1.0)  # (C,)
    return np.asarray(centred - slope[:, None] * t, dtype=np.float32)


def some(index: Index) -> Index:
    """Evenly spaced ones, of which a scale is taken."""
    return np.asarray(index[np.linspace(0, len(index) - 1, min(SAMPLE, len(index))).astype(int)])


@dataclass(frozen=True)
class Scale:
    """A scale for each channel: x -> (x - mean) / spread."""

    mean: Signal  # (C, 1)
    spread: Signal  # (C, 1)

    @classmethod
    def of(cls, x: Signal, train: Index) -> "Scale":
        """The scale of evenly spaced windows of `train` that have the channel; flat ones stay."""
        seen = x[some(train)].astype(np.float64)  # (n, C, T)
        if np.isnan(seen[..., 0]).any():
            found = [_level(seen[~np.isnan(seen[:, c, 0]), c]) for c in range(seen.shape[1])]
            mean, spread = (np.array(values)[:, None] for values in zip(*found, strict=True))
        else:
            mean, spread = seen.mean(axis=(0, 2))[:, None], seen.std(axis=(0, 2))[:, None]
        flat = spread <= 1e-6 * np.abs(mean)
        return cls(
            np.where(flat, 0, mean).astype(np.float32), np.where(flat, 1, spread).astype(np.float32)
        )

    def __call__(self, x: Signal) -> Signal:
        """In place: a batch is megabytes, and fresh pages for it cost more than the arithmetic."""
        x -= self.mean
        x /= self.spread
        return x


def _level(x: Signal) -> tuple[float, float]:
    """Mean and spread; of nothing, those that change nothing."""
    return (float(x.mean()), float(x.std())) if x.size else (0.0, 1.0)
