"""What is taken out of functional series before they are cut: straight lines, levels, scales, by run or by person."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from citrus_ray.data.source import zscore
from citrus_ray.data.windows import Signal

NormalizeBy = Literal["run", "scan", "none"]  # scan: all runs of a person, one after the other


def cleaned(runs: Sequence[Signal], by: NormalizeBy, detrend: bool) -> list[Signal]:
    """The runs of one person, (C, T) each, every channel z-scored over each run or over all of them.

    Over all of them a run keeps its own level, by which a network can tell runs apart: published studies do so.
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
    """(C, T) less the straight line that fits each row best."""
    t = np.arange(x.shape[1]) - (x.shape[1] - 1) / 2
    centred = x - x.mean(axis=1, keepdims=True, dtype=np.float64)
    slope = centred @ t / max(float(t @ t), 1.0)  # (C,)
    return np.asarray(centred - slope[:, None] * t, dtype=np.float32)
