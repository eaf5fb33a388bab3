"""Copies in disguise: recordings of two groups that are one, scaled, turned over, noisy, with
channels swapped, at half the rate, or overlapping by a part.

Shapes that both have are candidates where several lie equally far apart; the windows there decide.
Their steps from sample to sample must correlate at that lag, and at no other nearly so well: what
repeats itself, as a pulse or the hum of mains does, is like another's at many lags.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from citrus_ray.data.fingerprints import Fingerprints, thinned
from citrus_ray.data.formats.recordings import resample
from citrus_ray.data.windows import Index, Signal, Windows

Floats = npt.NDArray[np.float64]

MOST = 1 << 20  # shapes of a set that are compared
COMMON = 64  # pairs that one shape makes, beyond which it tells nothing: everyone's eyes blink
SAMPLES = 4.0  # of a window, that lags may differ by
ENOUGH = 4  # places at one lag
LOOKED_AT = 8  # windows, and channels of them, that decide; and candidates of two groups
ALIKE = 0.8  # correlation of steps of a copy; 5 % of noise cost as much where a signal is smooth
SAME = 0.99  # and of one that is the same but for gain, sign, rounding and place
SMOOTHED = (1, 2, 4)  # samples whose mean is taken first, until they are alike
FEWEST = 32  # steps of a window
PIECES = 16  # of all that is looked at
CLEARLY = 3.0  # times nearer to 1 than at any other lag


class Disguise(NamedTuple):
    """How a recording of one group is another's, or was taken beside it at the same time."""

    correlation: float  # of steps, below 0: turned over
    lag: float  # seconds that it begins later in the first

    @property
    def is_same(self) -> bool:
        return abs(self.correlation) >= SAME

    def seen_from_there(self) -> "Disguise":
        return Disguise(self.correlation, -self.lag)

    def __str__(self) -> str:
        over = ", turned over" if self.correlation < 0 else ""
        later = f", {abs(self.lag):.3g} s apart" if abs(self.lag) >= 0.01 else ""
        return f"correlate by {abs(self.correlation):.3f}{over}{later}"


@dataclass(frozen=True)
class Shapes:
    """Shapes of a set, and the group of each."""

    found: Fingerprints
    group: Index

    def thinned(self, most: int) -> "Shapes":
        value = thinned(self.found, most)["value"]
        kept = np.isin(self.found["value"], value) if len(value) < len(self.found) else slice(None)
        return Shapes(self.found[kept], self.group[kept])

    def among(self, groups: Index) -> "Shapes":
        inside = np.isin(self.group, groups)
        return Shapes(self.found[inside], self.group[inside])


class Candidate(NamedTuple):
    """Runs of two groups in which shapes lie `lag` seconds apart, from `first` to `last`."""

    groups: tuple[int, int]
    runs: tuple[int, int]
    lag: float
    first: float
    last: float


def found(
    one: tuple[Shapes, "PlacedWindows"],
    other: tuple[Shapes, "PlacedWindows"],
    known: set[tuple[int, int]],
    same: bool,
) -> dict[tuple[int, int], Disguise]:
    """Pairs of a group of each set, beyond those that are known, of which one is the other in
    disguise. The two may be the same set."""
    rates = [rate for _, placed in (one, other) for _, rate in placed.signals]
    mine, others = one[0].thinned(MOST), other[0].thinned(MOST)
    pairs: dict[tuple[int, int], Disguise] = {}
    tried = Counter[tuple[int, int]]()
    for candidate in candidates(mine, others, SAMPLES / min(rates), same):
        pair = candidate.groups
        if pair in pairs or pair in known or tried[pair] >= LOOKED_AT:
            continue
        tried[pair] += 1
        if disguise := looked_at(one[1], other[1], candidate):
            pairs[pair] = disguise
    return pairs


def candidates(one: Shapes, other: Shapes, tolerance: float, same: bool) -> Iterator[Candidate]:
    """Runs that have several shapes in common at one lag, of most of them first; of one and the
    same set each pair of groups once."""
    i, j = _pairs(one.found["value"], other.found["value"])
    a, b = one.group[i], other.group[j]
    kept = a < b if same else np.ones(len(a), bool)
    i, j, a, b = i[kept], j[kept], a[kept], b[kept]
    if not len(i):
        return
    at = one.found["at"][i].astype(np.float64)
    lag = at - other.found["at"][j]
    runs = np.stack([one.found["run"][i], other.found["run"][j]])
    pair = _numbered(_numbered(a, b), _numbered(*runs))
    cell = np.floor(lag / tolerance).astype(np.int64)
    cell -= cell.min()
    of, votes = _counted(pair, cell, np.floor(at / (4 * tolerance)).astype(np.int64))
    likely = of[votes >= ENOUGH]
    for key in likely[np.argsort(-votes[votes >= ENOUGH], kind="stable")]:
        mine = np.flatnonzero((pair == key[0]) & ((cell == key[1]) | (cell == key[1] + 1)))
        first, groups = mine[0], (int(a[mine[0]]), int(b[mine[0]]))
        where = (int(runs[0, first]), int(runs[1, first]))
        middle = float(np.median(lag[mine]))
        yield Candidate(groups, where, middle, float(at[mine].min()), float(at[mine].max()))


def _pairs(mine: npt.NDArray[np.uint64], others: npt.NDArray[np.uint64]) -> tuple[Index, Index]:
    """Places of equal values, but of those that too many have."""
    mine_sorted, others_sorted = np.argsort(mine), np.argsort(others)
    mine, others = mine[mine_sorted], others[others_sorted]
    low, high = (np.searchsorted(others, mine, side) for side in ("left", "right"))
    here = np.searchsorted(mine, mine, "right") - np.searchsorted(mine, mine, "left")
    n = np.where(here * (high - low) <= COMMON, high - low, 0)
    there = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n) + np.repeat(low, n)
    return np.repeat(mine_sorted, n), others_sorted[there]


def _counted(pair: Index, cell: Index, place: Index) -> tuple[Index, Index]:
    """Pair and lower of two neighbouring cells of lag, (n, 2), and different places in them."""
    pair, cell, place = np.tile(pair, 2), np.concatenate([cell, cell - 1]), np.tile(place, 2)
    of = _numbered(pair, cell)
    _, first = np.unique(_numbered(of, place), return_index=True)
    votes = np.bincount(of[first])
    _, first = np.unique(of, return_index=True)
    return np.stack([pair[first], cell[first]], axis=1), votes


def _numbered(one: Index, two: Index) -> Index:
    """A number for each different pair of whole numbers."""
    one, two = (np.unique(of, return_inverse=True)[1] for of in (one, two))
    numbers: Index = np.unique(one * (two.max() + 1) + two, return_inverse=True)[1]
    return numbers


@dataclass(frozen=True)
class PlacedWindows:
    """Windows, the run that each part of them is of, (n, parts), and the second that it begins."""

    windows: Windows
    run: Index
    begins: Floats

    @property
    def signals(self) -> list[tuple[Signal, float]]:
        """Windows (n, C, T) of each stream, and its rate."""
        windows = self.windows
        return [(s.x, s.sfreq) for s in windows.streams] or [(windows.x, windows.sfreq)]

    @property
    def seconds(self) -> float:
        """Length of a part."""
        n_times, n_parts = int(self.windows.x.shape[2]), int(self.run.shape[1])
        return n_times / n_parts / self.windows.sfreq

    def of(self, run: int, first: float, last: float) -> tuple[Index, Index]:
        """Windows, and parts of them, of a run that hold something from `first` to `last`."""
        near = (self.begins <= last) & (self.begins + self.seconds >= first)
        window, part = np.nonzero((self.run == run) & near)
        return window, part


def looked_at(one: PlacedWindows, other: PlacedWindows, found: Candidate) -> Disguise | None:
    """What is one and the same in windows of both runs, of any stream."""
    seconds = min(one.seconds, other.seconds)
    window, part = one.of(found.runs[0], found.first, found.last)
    there, part_there = other.of(found.runs[1], found.first - found.lag, found.last - found.lag)
    if not len(window) or not len(there):
        return None
    begins, begins_there = one.begins[window, part], other.begins[there, part_there]
    apart = begins[:, None] - found.lag - begins_there
    nearest = np.abs(apart).argmin(axis=1)
    apart = apart[np.arange(len(window)), nearest]
    near = np.flatnonzero(np.abs(apart) <= seconds / 2)
    if not len(near):
        return None
    near = near[_evenly(len(near))]
    picks = (window[near], part[near]), (there[nearest[near]], part_there[nearest[near]])
    for (x, sfreq), (y, sfreq_there) in zip(one.signals, other.signals, strict=False):
        a = _parts(x, *picks[0], one.run.shape[1])
        b = _parts(y, *picks[1], other.run.shape[1])
        rate = min(sfreq, sfreq_there)
        a, b = (_at(z, of, rate) for z, of in ((a, sfreq), (b, sfreq_there)))
        for size in SMOOTHED:  # noise, and what a lower rate took away, are above
            steps = _steps(a, size), _steps(b, size)
            if min(of.shape[2] for of in steps) < FEWEST:
                break
            correlation, shift = _correlation(*steps, np.round(apart[near] * rate / size))
            if correlation:
                return Disguise(correlation, found.lag + shift * size / rate)
    return None


def _parts(x: Signal, window: Index, part: Index, n_parts: int) -> Signal:
    """Parts (n, C, T) of windows."""
    n_times = x.shape[2] // n_parts
    rows = [x[w, :, p * n_times : (p + 1) * n_times] for w, p in zip(window, part, strict=True)]
    return np.stack(rows)


def _at(x: Signal, sfreq: float, rate: float) -> Signal:
    """Windows at another rate; nothing where a channel is absent."""
    x = np.nan_to_num(x)
    return x if sfreq == rate else resample(x, sfreq, rate)


def _steps(x: Signal, size: int) -> Floats:
    """Steps between means of so many samples, about their mean."""
    n = x.shape[2] // size
    means = x[:, :, : n * size].reshape(*x.shape[:2], n, size).mean(axis=3, dtype=np.float64)
    steps: Floats = np.diff(means, axis=-1)
    steps -= steps.mean(axis=-1, keepdims=True)
    return steps


def _correlation(a: Floats, b: Floats, apart: Floats) -> tuple[float, float]:
    """Correlation of the channels (n, C, T) of the set that has fewer with those of the other, and
    samples by which the lag is off; 0 where they are no copies.

    It is that of half of the channels, each with the one that is most like it there.
    """
    if a.shape[1] > b.shape[1]:
        correlation, shift = _correlation(b, a, -apart)
        return correlation, -shift
    a = a[:, _evenly(a.shape[1])]
    reach = min(a.shape[2], b.shape[2]) // 2
    shifts = np.arange(-reach, reach + 1)  # sample i of a is beside i + apart + shift of b
    r = _correlations(a, b, apart[:, None].astype(np.int64) + shifts)
    alike = np.sort(np.abs(r).max(axis=1), axis=0)[a.shape[1] // 2]
    peak = int(alike.argmax())
    low = alike < alike[peak] / 2
    # what lies around the peak, until it falls by half, says nothing
    before, after = np.flatnonzero(low[:peak]), peak + np.flatnonzero(low[peak:])
    others = np.concatenate(
        [
            alike[: before[-1] + 1 if len(before) else 0],
            alike[after[0] if len(after) else len(alike) :],
        ]
    )
    elsewhere = others.max(initial=0.0)
    if not len(others) or alike[peak] < ALIKE or 1 - elsewhere < CLEARLY * (1 - alike[peak]):
        return 0.0, 0.0
    with_which = np.abs(r[:, :, peak]).argmax(axis=1)
    if not _throughout(a, b[:, with_which], apart + shifts[peak]):
        return 0.0, 0.0
    over = np.median(np.sign(r[np.arange(len(with_which)), with_which, peak]))
    return float(alike[peak] * (over or 1)), float(shifts[peak])


def _evenly(n: int) -> Index:
    return np.linspace(0, n - 1, min(n, LOOKED_AT)).astype(np.int64)


def _correlations(a: Floats, b: Floats, at: Index) -> Floats:
    """Correlation (C, C', shifts) of all windows together, the first sample of each of which is
    beside sample `at` (n, shifts) of the other's."""
    size = 1 << (a.shape[2] + b.shape[2] - 1).bit_length()
    ones = [np.fft.rfft(np.ones(x.shape[2]), size) for x in (a, b)]
    total = np.zeros((3, a.shape[1], b.shape[1], at.shape[1]))
    for x, y, where in zip(a, b, at % size, strict=True):  # a window at a time: they may be large
        of_x, of_y = np.fft.rfft(x, size).conj()[:, None], np.fft.rfft(y, size)
        x2, y2 = np.fft.rfft(x * x, size).conj()[:, None], np.fft.rfft(y * y, size)
        for i, product in enumerate((of_x * of_y, x2 * ones[1], ones[0].conj() * y2)):
            total[i] += np.fft.irfft(product, size)[..., where]
    norm = np.sqrt(np.maximum(total[1] * total[2], 0))
    silent = norm <= 1e-6 * norm.max()
    r: Floats = np.divide(total[0], norm, out=np.zeros_like(norm), where=~silent)
    return r


def _throughout(a: Floats, b: Floats, apart: Floats) -> bool:
    """Whether a quarter of the pieces of windows correlate as well: not a single jump alone, as
    when two people move."""
    n_pieces = -(-PIECES // len(a))
    found = []
    for x, y, by in zip(a, b, apart.astype(np.int64), strict=True):
        first, last = max(0, -by), min(x.shape[1], y.shape[1] - by)
        for piece in np.array_split(np.arange(first, last), n_pieces):
            if len(piece) > 2:
                one, two = x[:, piece], y[:, piece + by]
                norm = np.sqrt((one**2).sum(axis=1) * (two**2).sum(axis=1))
                product = np.abs((one * two).sum(axis=1))
                found.append(np.median(np.divide(product, norm, out=0 * norm, where=norm > 0)))
    return len(found) > 1 and bool(np.sort(found)[-max(2, len(found) // 4)] >= ALIKE)
