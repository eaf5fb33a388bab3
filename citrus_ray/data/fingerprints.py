"""Fingerprints of samples: by what a recording is known again, whatever its file, folder or name.

A fingerprint is a hash of 64 samples of one channel around a peak that is the highest of them.
Which peaks those are hangs on the samples alone, so two sets that cut one recording otherwise, or
that hold different parts of it, find the same ones in what they share. Samples are taken as they
were read, before anything resamples, normalises or cuts them, and over their own range: unit, gain
and offset say nothing. A copy that was turned over, resampled or filtered, or has a little noise,
is another signal to it; such a one is known by the shapes of shapes.py, which stand beside.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from citrus_ray.data.shapes import landmarks, shapes_of

# value: the hash, whose highest bit says that it is of a shape. run: that of `Origins`; of a set
# without origins, the window. at: seconds from its beginning, NaN for what is said of all of it
FINGERPRINT = np.dtype([("value", "<u8"), ("run", "<i4"), ("at", "<f4")])
Fingerprints = npt.NDArray[np.void]
Samples = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

REACH = 32  # samples on either side that a peak must stand out from
WIDTH = 64  # samples that are hashed: `REACH` before it, the rest from it on
SHORTEST = 16  # samples that say enough to be hashed as a whole, where they are too few for a peak
# of 64 levels of its range that a stretch must visit: silence, steps and the noise of a
# converter's last bit look alike in everyone
DISTINCT = 16
GOLDEN = 0x9E3779B97F4A7C15
KEPT = 16384  # fingerprints of a recording at most: all there are of about 1.3 million samples
KEPT_SHAPES = 4096  # and as many shapes
SHAPE = np.uint64(1 << 63)
CHUNK = 1 << 22  # samples that are looked at together


def fingerprints_of(signals: Iterable[Samples], rates: Sequence[float]) -> Fingerprints:
    """Fingerprints of one recording: channels (T,), each at its rate in Hz, as they were read."""
    alike: dict[tuple[float, int], list[Samples]] = {}
    for x, rate in zip(signals, rates, strict=True):
        alike.setdefault((rate, len(x)), []).append(np.asarray(x))
    parts = [none()]
    for (rate, n_times), rows in alike.items():
        # together: a call for each of 500 voxels would take longer
        step = max(1, CHUNK // max(1, n_times))
        for i in range(0, len(rows), step):
            for start in range(0, max(1, n_times - 2 * REACH), CHUNK):
                x = np.stack([row[start : start + CHUNK + 2 * REACH] for row in rows[i : i + step]])
                found = _of_rows(x, rate)
                found["at"] += start / rate
                parts.append(found)
    found = np.concatenate(parts)
    found["run"] = 0
    shape = are_shapes(found)
    return np.concatenate([thinned(found[~shape], KEPT), thinned(found[shape], KEPT_SHAPES)])


def of_rows(x: Samples, rate: float) -> Fingerprints:
    """Fingerprints of rows (R, T), each of which is a run of its own."""
    step = max(1, CHUNK // max(1, x.shape[1]))
    parts = [none()]
    for start in range(0, len(x), step):
        found = _of_rows(x[start : start + step], rate)
        found["run"] += start
        parts.append(found)
    return np.concatenate(parts)


def of_file(sha256: str) -> Fingerprints:
    """Fingerprints of a file by its digest: one recording is known by channels that are not read.

    Four words of 64 bits, so as many as make a match.
    """
    words = np.frombuffer(bytes.fromhex(sha256), "<u8") & ~SHAPE
    return _made(words, np.zeros(len(words), np.int64), np.full(len(words), np.nan))


def are_shapes(found: Fingerprints) -> npt.NDArray[np.bool_]:
    """Which of them are hashes of a shape, that a copy in disguise has as well."""
    shape: npt.NDArray[np.bool_] = found["value"] >= SHAPE
    return shape


def none() -> Fingerprints:
    return np.zeros(0, FINGERPRINT)


def thinned(found: Fingerprints, most: int) -> Fingerprints:
    """About `most` of the fingerprints, if there are more: those whose hash ends in enough zeros.

    So two recordings that were thinned unequally still keep the same ones of what they share.
    """
    level = 0
    while len(found) > most:
        level += 1
        found = found[found["value"] % np.uint64(1 << level) == 0]
    return found


def _made(value: Hashes, run: Ints, at: npt.NDArray[np.float64]) -> Fingerprints:
    found = np.empty(len(value), FINGERPRINT)
    found["value"], found["run"], found["at"] = value, run, at
    return found


def _mixed(value: Hashes) -> Hashes:
    """Every bit of 64 spread over all of them (the finaliser of splitmix64)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = (value ^ (value >> np.uint64(shift))) * np.uint64(factor)
    return value ^ (value >> np.uint64(31))


def _of_rows(x: Samples, rate: float) -> Fingerprints:
    """Fingerprints of rows (R, T)."""
    value, row, at = shapes_of(x)
    shapes = _made(_mixed((value + np.uint64(1)) * np.uint64(GOLDEN)) | SHAPE, row, at / rate)
    return np.concatenate([_exact(x, rate), shapes])


def _exact(x: Samples, rate: float) -> Fingerprints:
    n_times = x.shape[1]
    if n_times < SHORTEST:
        return none()
    if x.dtype.kind != "f":
        x = x.astype(np.float64)
    if n_times < 2 * REACH + 1:
        row, at, shown = np.arange(len(x)), np.full(len(x), n_times // 2), x
    else:
        row, at = _peaks(x)
        shown = np.lib.stride_tricks.sliding_window_view(x, WIDTH, axis=1)[row, at - REACH]
    told, value = _hashes(shown)
    return _made(value & ~SHAPE, row[told], at[told] / rate)


def _peaks(x: Samples) -> tuple[Ints, Ints]:
    """Row and sample of what is highest within `REACH` of it; of equals the first.

    Such a sample is the highest of its block of `REACH`, so only these are looked at. Nothing is
    higher than NaN: near a gap there are none.
    """
    row, at = landmarks(x, REACH)
    inside = (at >= REACH) & (at < x.shape[1] - REACH)
    row, at = row[inside], at[inside]
    high = x[row, at][:, None]
    around = np.lib.stride_tricks.sliding_window_view(x, 2 * REACH + 1, axis=1)[row, at - REACH]
    first = (around[:, :REACH] < high).all(axis=1) & (around[:, REACH + 1 :] <= high).all(axis=1)
    return row[first], at[first]


def _hashes(shown: Samples) -> tuple[Ints, Hashes]:
    """Which of the stretches (n, T) tell enough to be known again, and the hash of each of those.

    256 levels are few enough for a copy in a format of 16 bits. The odd offset keeps halves, which
    are frequent between whole numbers, from the edge of two levels, where rounding would decide.
    """
    low, high = shown.min(axis=1, keepdims=True), shown.max(axis=1, keepdims=True)
    told = np.flatnonzero(np.isfinite(low) & np.isfinite(high) & (high > low))
    low, step = low[told], 255 / (high - low)[told]
    level = np.zeros((len(told), WIDTH), np.uint8)
    level[:, : shown.shape[1]] = (shown[told] - low) * step + 0.381966
    seen = np.bitwise_or.reduce(np.uint64(1) << (level[:, : shown.shape[1]] >> 2), axis=1)
    rich = np.bitwise_count(seen) >= min(DISTINCT, shown.shape[1] // 2)
    value = np.full(rich.sum(), shown.shape[1], np.uint64)
    for word in level[rich].view("<u8").T:
        value = _mixed(value * np.uint64(GOLDEN) + word)
    return told[rich], value
