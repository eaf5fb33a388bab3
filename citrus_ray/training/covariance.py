"""Covariances of channels and delayed copies in their tangent space: positive definite matrices as
vectors, whose distances are those of the matrices near the mean (Pennec et al. 2006; Barachant et
al. 2012)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from citrus_ray.data.windows import Signal
from citrus_ray.models.head import MOST_ROWS, kept_delays
from citrus_ray.training.closed_form import Floats

SHRINKAGE = 0.01  # of each matrix towards its mean variance, so that none is singular
SILENCE = 1e-10  # variance where there is none; windows are scaled to about one
ROUNDS, TOLERANCE = 30, 1e-7  # of the mean


@dataclass(frozen=True)
class TangentFeatures:
    """Windows (n, C, T) -> (n, R * (R + 1) / 2)."""

    delays: tuple[int, ...]  # samples
    axes: Floats | None  # (C, C'), principal, of more channels than a matrix may have rows
    whitener: Floats  # (R, R): the inverse root of the mean over training windows

    @classmethod
    def of(cls, x: Signal, delays: tuple[int, ...]) -> "TangentFeatures":
        """Seen from the mean of `x`. Delays that would make a matrix too large, or leave less than
        three quarters of a window, are dropped."""
        n_chans = min(x.shape[1], MOST_ROWS)
        kept = kept_delays(delays, n_chans, x.shape[2])
        axes = None if n_chans == x.shape[1] else _principal(x, n_chans)
        mean = riemannian_mean(covariances(_along(x, axes), kept))
        return cls(kept, axes, of_eigenvalues(mean, partial(_power, -0.5)))

    def __call__(self, x: Signal) -> Floats:
        return tangent(covariances(_along(x, self.axes), self.delays), self.whitener)


def covariances(x: Signal, delays: tuple[int, ...]) -> Floats:
    """(n, C, T) -> (n, R, R) of channels and delayed copies, R = C * delays. Shrunk, so that a
    logarithm exists."""
    n_times = x.shape[2] - max(delays)
    copies = [x[..., delay : delay + n_times] for delay in delays]
    rows = np.concatenate(copies, axis=1).astype(np.float64)
    rows -= rows.mean(axis=2, keepdims=True)
    found = rows @ rows.transpose(0, 2, 1) / n_times
    n_rows = rows.shape[1]
    level = np.trace(found, axis1=1, axis2=2) / n_rows
    loading = SHRINKAGE * level + SILENCE
    return np.asarray((1 - SHRINKAGE) * found + loading[:, None, None] * np.eye(n_rows))


def tangent(matrices: Floats, whitener: Floats) -> Floats:
    """(n, R, R) -> (n, R * (R + 1) / 2): the logarithm seen from the mean. Entries beside the
    diagonal stand once and count twice, so that lengths are those of the matrices."""
    seen = of_eigenvalues(whitener @ matrices @ whitener, np.log)
    row, column = np.triu_indices(seen.shape[-1])
    return np.asarray(seen[..., row, column] * np.where(row == column, 1.0, np.sqrt(2)))


def riemannian_mean(matrices: Floats) -> Floats:
    """The matrix of the smallest squared distances to (n, R, R): the one from which their
    logarithms add up to zero."""
    mean = of_eigenvalues(of_eigenvalues(matrices, np.log).mean(axis=0), np.exp)
    for _ in range(ROUNDS):
        root, whitener = (of_eigenvalues(mean, partial(_power, by)) for by in (0.5, -0.5))
        step = of_eigenvalues(whitener @ matrices @ whitener, np.log).mean(axis=0)
        mean = root @ of_eigenvalues(step, np.exp) @ root
        if np.abs(step).max() < TOLERANCE:
            break
    return np.asarray(mean)


def of_eigenvalues(matrices: Floats, function: Callable[[Floats], Floats]) -> Floats:
    """A function of symmetric matrices (…, R, R), by their eigenvalues."""
    values, vectors = np.linalg.eigh((matrices + np.swapaxes(matrices, -1, -2)) / 2)
    return np.asarray((vectors * function(values)[..., None, :]) @ np.swapaxes(vectors, -1, -2))


def _power(by: float, values: Floats) -> Floats:
    return np.asarray(values**by)


def _principal(x: Signal, n_axes: int) -> Floats:
    """(C, n_axes)."""
    rows = x - x.mean(axis=2, keepdims=True, dtype=np.float64)
    spread = np.einsum("nct,ndt->cd", rows, rows, optimize=True)
    return np.asarray(np.linalg.eigh(spread)[1][:, -n_axes:])


def _along(x: Signal, axes: Floats | None) -> Signal:
    return x if axes is None else np.einsum("nct,cd->ndt", x, axes, optimize=True)
