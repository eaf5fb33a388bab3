"""Shapes of samples: by what a copy in disguise is known, whatever was done to it.

A shape is a hash of the signs of 24 sums over a stretch around a landmark, a sample that stands out
from what is around it, up or down. Only the course of the signal between about 8 and 64 samples
counts, so gain, offset, sign, slow drift and a little noise change few of them; where in the
recording a copy begins, or that it was resampled to half the rate, leaves enough. Other recordings
have some of them by chance: what matches is looked at again in `windowing/disguises.py`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Signal = npt.NDArray[np.float32]

N_BITS = 24
LENGTH = 64  # blocks that a shape spans
ALONE = 16  # blocks on either side that a landmark stands out from
LONG = 16  # blocks whose mean is taken from that of two: what is slower says nothing
# samples to a block, by how many there are of a channel: half as many, or half the rate, share one
BLOCKS = ((4096, (1, 2, 4)), (16384, (2, 4)), (1 << 62, (4, 8)))
# a fixed matrix: sums over a stretch of which some are positive, at random and for ever
_SUMS = np.random.RandomState(20261201).standard_normal((LENGTH, N_BITS)).astype(np.float32)
_BITS = np.uint64(1) << np.arange(N_BITS, dtype=np.uint64)


def shapes_of(x: Samples) -> tuple[npt.NDArray[np.uint64], Ints, npt.NDArray[np.float64]]:
    """Hash, row and sample of every shape in rows (R, T)."""
    wanted = next(blocks for most, blocks in BLOCKS if x.shape[1] < most)
    found = []
    # an offset goes before numbers are made small: it may be large beside what varies
    y = np.asarray(x - np.nan_to_num(x[:, :1]) if x.dtype.kind == "f" else x, np.float32)
    if x.dtype.kind == "f":
        y[~np.isfinite(y)] = 0
    size = 1
    while size <= wanted[-1]:
        if size in wanted and y.shape[1] > LENGTH + LONG + 2:
            value, row, at = _of_blocks(y)
            found.append((value, row, (at + 0.5) * size - 0.5))
        even = y.shape[1] // 2 * 2
        y, size = y[:, 0:even:2] + y[:, 1:even:2], 2 * size
    if not found:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0)
    value, row, at = (np.concatenate(of) for of in zip(*found, strict=True))
    return value, row, at


def _of_blocks(y: Signal) -> tuple[npt.NDArray[np.uint64], Ints, npt.NDArray[np.float64]]:
    """Hash, row and place of the shapes of rows of blocks."""
    total = np.zeros((len(y), y.shape[1] + 1))
    np.cumsum(y, axis=1, out=total[:, 1:])
    n = y.shape[1] - LONG + 1
    mid = LONG // 2
    short = total[:, mid + 1 : mid + 1 + n] - total[:, mid - 1 : mid - 1 + n]
    d = (short / 2 - (total[:, LONG:] - total[:, :n]) / LONG).astype(np.float32)
    row, at = landmarks(np.abs(d), ALONE)
    half = LENGTH // 2
    inside = (at > half) & (at < n - half - 1)
    row, at = row[inside], at[inside]
    around = np.lib.stride_tricks.sliding_window_view(d, LENGTH + 2, axis=1)[row, at - half - 1]
    around, shift = _centred(around)
    with np.errstate(over="ignore", invalid="ignore"):  # damaged samples may be huge
        bits = (around * around[:, half, None]) @ _SUMS > 0
    told = around.any(axis=1)
    value = (bits * _BITS).sum(axis=1, dtype=np.uint64)
    return value[told], row[told], (mid - 0.5 + at + shift)[told]


def _centred(around: Signal) -> tuple[Signal, Signal]:
    """Stretches (n, LENGTH) whose landmark is where a parabola through three blocks has its top.

    Blocks of a copy begin elsewhere; and what was moved by so little is near enough to a line.
    """
    mid = LENGTH // 2 + 1
    before, top, after = np.abs(around[:, mid - 1 : mid + 2]).T
    bend = np.minimum(before - 2 * top + after, -np.finfo(np.float32).tiny)
    shift = np.clip((before - after) / (2 * bend), -0.5, 0.5)
    by = np.abs(shift)[:, None]
    beside = np.where(shift[:, None] > 0, around[:, 2:], around[:, :-2])
    return around[:, 1:-1] * (1 - by) + beside * by, shift


def landmarks(x: Samples, alone: int) -> tuple[Ints, Ints]:
    """Row and place of what is higher than all in the blocks of `alone` beside its own."""
    n_rows, n_times = x.shape
    n_blocks = n_times // alone
    at = x[:, : n_blocks * alone].reshape(n_rows, n_blocks, alone).argmax(axis=2)
    at += np.arange(n_blocks) * alone
    high = np.take_along_axis(x, at, axis=1)
    far = np.diff(at, axis=1) > alone
    could = np.ones(at.shape, bool)
    could[:, 1:] &= (high[:, :-1] < high[:, 1:]) | far
    could[:, :-1] &= (high[:, 1:] <= high[:, :-1]) | far
    row, block = np.nonzero(could)
    return row, at[row, block]
