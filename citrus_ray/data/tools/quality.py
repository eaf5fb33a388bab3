"""Measuring a set of windows: amplitudes, repeats, overlap, and what class and group say of each
other.

Windows are read once, in blocks. What the numbers mean is said in describe.py.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from citrus_ray.data.windowing.splits import Split, split
from citrus_ray.data.windows import Index, Signal, Stream, Windows
from citrus_ray.spec import SpecError

Samples = npt.NDArray[np.floating]

BLOCK = 1 << 22  # numbers held at a time
RAIL = 4  # samples in a row at a window's own extreme: clipped, or coarsely quantised
PAIRS = 200  # neighbours that are compared for overlap
SAME = 1 - 1e-6  # correlation of two stretches of samples that are one and the same
SEEDS = 5  # splits that are tried


@dataclass(frozen=True)
class ChannelQuality:
    """One channel over all windows. `std` is the median over windows, the shares are of windows."""

    name: str
    modality: str
    low: float
    high: float
    std: float
    flat: float
    clipped: float


@dataclass(frozen=True)
class Confounding:
    """What class and group say of each other, as shares of windows; nmi: mutual information."""

    group_has_one_class: float
    class_has_one_group: float
    class_guessed_from_group: float  # right, with every group's most frequent class
    class_guessed_blindly: float
    groups_per_class: dict[str, int]
    nmi: float


@dataclass(frozen=True)
class Repeats:
    """Windows that are equal in every sample to an earlier one; windows of silence do not count."""

    windows: int
    across_groups: int
    across_classes: int
    shared_by: tuple[str, ...]  # pairs of groups, those with most copies first


@dataclass(frozen=True)
class Neighbours:
    """Windows next to each other. `ends_correlate`: last sample of one, first of the next."""

    pairs: int
    overlapping: float  # share of pairs
    overlap: float  # of their length, median
    overlapping_across_groups: int
    ends_correlate: float | None
    ends_correlate_across_groups: float | None


@dataclass(frozen=True)
class Quality:
    """Everything that is measured of a set."""

    name: str
    digest: str
    windows: int
    seconds: float
    n_times: int
    sfreq: float
    normalize: str | None
    classes: dict[str, int]
    labels: str  # in words
    groups: int
    windows_per_group: tuple[int, float, int]  # min, median, max
    channels: tuple[ChannelQuality, ...]
    non_finite: int
    dropped: float  # share of windows, from the caveats
    confounding: Confounding | None
    repeats: Repeats
    neighbours: Neighbours
    unsplittable: str | None  # why, of `Split()`
    caveats: tuple[str, ...]
    stream: str = ""  # of a multi-rate set: which stream all of this is about
    others: tuple["Quality", ...] = ()  # its other streams, the same windows as they saw them


def measure(windows: Windows, name: str, normalize: str | None = None) -> Quality:
    """`normalize` is what the source did to the windows, for the reader."""
    sizes = np.bincount(windows.group)[np.unique(windows.group)]
    channels, hashes, non_finite = _scan(windows)
    labelled = windows.y is not None
    of_classes = labelled and windows.target == "classes"
    return Quality(
        name=name,
        digest=windows.digest,
        windows=len(windows),
        seconds=windows.context.seconds,
        n_times=windows.context.n_times,
        sfreq=windows.sfreq,
        normalize=normalize,
        classes=windows.class_counts() if of_classes else {},
        labels=windows.labels_said,
        groups=len(sizes),
        windows_per_group=(int(sizes.min()), float(np.median(sizes)), int(sizes.max())),
        channels=channels,
        non_finite=non_finite,
        dropped=_dropped(windows.caveats),
        confounding=confounding(windows) if of_classes else None,
        repeats=repeats(hashes, windows),
        neighbours=neighbours(windows),
        unsplittable=_unsplittable(windows) if labelled else None,
        caveats=windows.caveats,
        stream=windows.streams[0].name if windows.streams else "",
        others=tuple(
            measure(alone(windows, stream), name, normalize) for stream in windows.streams[1:]
        ),
    )


def alone(windows: Windows, stream: Stream) -> Windows:
    """One stream of a multi-rate set as if it were all there is."""
    own = {name: getattr(stream, name) for name in ("x", "sfreq", "ch_names", "modalities")}
    return replace(windows, **own, streams=(stream,))


def _scan(windows: Windows) -> tuple[tuple[ChannelQuality, ...], list[bytes | None], int]:
    """Channels, a hash of each window that is not silent, and the count of non-finite values."""
    parts, hashes, non_finite = list[tuple[npt.NDArray[Any], ...]](), list[bytes | None](), 0
    for block in _blocks(windows.x):
        finite = np.isfinite(block)
        x, non_finite = np.where(finite, block, 0), non_finite + int((~finite).sum())
        low, high = x.min(axis=-1), x.max(axis=-1)  # (B, C, T) -> (B, C)
        flat = low == high
        at_rail = _row_of(x == low[..., None], RAIL) | _row_of(x == high[..., None], RAIL)
        parts.append((low, high, x.std(axis=-1, dtype=np.float64), flat, at_rail & ~flat))
        silent = flat.all(axis=1)
        hashes += [
            None if s else hashlib.blake2b(w.tobytes(), digest_size=16).digest()
            for w, s in zip(x, silent, strict=True)
        ]
    low, high, std, flat, clipped = (np.concatenate(part) for part in zip(*parts, strict=True))
    shares = (flat.mean(axis=0), clipped.mean(axis=0))
    columns = (low.min(axis=0), high.max(axis=0), np.median(std, axis=0), *shares)
    values = (column.tolist() for column in columns)
    rows = zip(windows.ch_names, windows.modalities, *values, strict=True)
    return tuple(ChannelQuality(*row) for row in rows), hashes, non_finite


def _blocks(x: Signal) -> Iterator[Signal]:
    rows = max(1, BLOCK // int(np.prod(x.shape[1:])))
    return (np.asarray(x[i : i + rows]) for i in range(0, len(x), rows))


def _row_of(hit: npt.NDArray[np.bool_], n: int) -> npt.NDArray[np.bool_]:
    """Whether `n` in a row are true, (…, T) -> (…)."""
    if hit.shape[-1] < n:
        return np.zeros(hit.shape[:-1], dtype=bool)
    together = np.logical_and.reduce([hit[..., i : hit.shape[-1] - n + 1 + i] for i in range(n)])
    return np.asarray(together.any(axis=-1))


def confounding(windows: Windows) -> Confounding:
    table = np.zeros((int(windows.group.max()) + 1, len(windows.classes)))
    np.add.at(table, (windows.group, windows.labels), 1)
    n, seen = table.sum(), table > 0
    return Confounding(
        group_has_one_class=float(table[seen.sum(axis=1) == 1].sum() / n),
        class_has_one_group=float(table[:, seen.sum(axis=0) == 1].sum() / n),
        class_guessed_from_group=float(table.max(axis=1).sum() / n),
        class_guessed_blindly=float(table.sum(axis=0).max() / n),
        groups_per_class=dict(zip(windows.classes, seen.sum(axis=0).tolist(), strict=True)),
        nmi=_normalised_mutual_information(table / n),
    )


def _normalised_mutual_information(joint: npt.NDArray[np.float64]) -> float:
    """Mutual information over the mean of both entropies; 0 where there is nothing to know."""
    rows, columns = _entropy(joint.sum(axis=1)), _entropy(joint.sum(axis=0))
    known = rows + columns - _entropy(joint.ravel())
    return float(max(0.0, 2 * known / (rows + columns))) if rows + columns > 0 else 0.0


def _entropy(share: npt.NDArray[np.float64]) -> float:
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())


def repeats(hashes: Sequence[bytes | None], windows: Windows) -> Repeats:
    first, found = dict[bytes, int](), list[tuple[int, int]]()
    for i, key in enumerate(hashes):
        if key is not None and first.setdefault(key, i) != i:
            found.append((first[key], i))
    group, y = windows.group, windows.y
    crossing = [pair for pair in found if group[pair[0]] != group[pair[1]]]
    shared = Counter(tuple(sorted(windows.groups[group[i]] for i in pair)) for pair in crossing)
    return Repeats(
        windows=len(found),
        across_groups=shared.total(),
        across_classes=0 if y is None else sum(bool(y[a] != y[b]) for a, b in found),
        shared_by=tuple(" and ".join(pair) for pair, _ in shared.most_common()),
    )


def neighbours(windows: Windows) -> Neighbours:
    """Neighbours within groups and from one group to the next, spread over the set."""
    together = windows.group[1:] == windows.group[:-1]
    inside, between = (_spread(np.flatnonzero(mask)) for mask in (together, ~together))
    found = [overlap(windows.x[i], windows.x[i + 1]) for i in inside]
    shares = [share for share in found if share > 0]
    return Neighbours(
        pairs=len(inside),
        overlapping=len(shares) / max(1, len(found)),
        overlap=float(np.median(shares)) if shares else 0.0,
        overlapping_across_groups=sum(overlap(windows.x[i], windows.x[i + 1]) > 0 for i in between),
        ends_correlate=_ends(windows.x, inside),
        ends_correlate_across_groups=_ends(windows.x, between),
    )


def _spread(index: Index) -> Index:
    keep = np.linspace(0, len(index) - 1, min(PAIRS, len(index))).round().astype(int)
    return np.asarray(index[keep])


def overlap(one: Signal, other: Signal) -> float:
    """The share of `other` that `one` ends with, at any scale and offset; 0 below an eighth."""
    n_times = one.shape[-1]
    n_head, channel = max(8, n_times // 8), int(other.std(axis=-1).argmax())
    if n_head > n_times:
        return 0.0
    lag = int(_sliding(one[channel], other[channel, :n_head]).argmax())
    pairs = zip(one[:, lag:], other[:, : n_times - lag], strict=True)
    shared = [_correlation(a, b) for a, b in pairs]
    told = [r for r in shared if r is not None]
    return (n_times - lag) / n_times if told and min(told) >= SAME else 0.0


def _sliding(x: Samples, head: Samples) -> Samples:
    """Correlation of `head` (H,) with every part of `x` (T,): (T - H + 1,)."""
    x, head = x - x.mean(dtype=np.float64), head - head.mean(dtype=np.float64)
    n, sums, squares = len(head), np.cumsum(np.pad(x, (1, 0))), np.cumsum(np.pad(x**2, (1, 0)))
    spread = squares[n:] - squares[:-n] - (sums[n:] - sums[:-n]) ** 2 / n
    size = np.sqrt(np.maximum(spread, 1e-12 * squares[-1]) * (head**2).sum())
    return np.asarray(np.correlate(x, head, "valid") / np.where(size > 0, size, 1))


def _correlation(one: Samples, other: Samples) -> float | None:
    """None where one of them is flat."""
    a, b = (x - x.mean(dtype=np.float64) for x in (one, other))
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / size if size > 0 else None


def _ends(x: Signal, first: Index) -> float | None:
    """Correlation of a window's last sample and the next one's first, as z-scores."""
    last, start = (
        np.concatenate([_standing_out(x[i + step])[:, at] for i in first] or [np.zeros(0)])
        for step, at in ((0, -1), (1, 0))
    )
    return _correlation(last, start) if len(first) >= 10 else None


def _standing_out(x: Signal) -> Samples:
    spread = x.std(axis=-1, keepdims=True, dtype=np.float64)
    centred = x - x.mean(axis=-1, keepdims=True, dtype=np.float64)
    return np.asarray(centred / np.where(spread > 0, spread, 1))


def _dropped(caveats: Sequence[str]) -> float:
    """What a source says that it left out for missing samples."""
    rule = re.compile(r"dropped for missing samples: (\d+) of (\d+) windows")
    found = [match for caveat in caveats if (match := rule.search(caveat))]
    return max((int(match[1]) / int(match[2]) for match in found), default=0.0)


def _unsplittable(windows: Windows) -> str | None:
    """Why one of the first few seeds of `Split()` finds no split, or None."""
    for seed in range(SEEDS):
        try:
            split(windows, Split(), seed)
        except SpecError as err:
            return str(err)
    return None
