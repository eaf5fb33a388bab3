"""What a split makes of a set, and what very little already knows of it: chance, one feature, who
a window is of.

Everything that learns here sees development people alone: those who test are named and not looked
at. Features are the mean, spread and roughness of each channel.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from citrus_ray.data.windowing.contents import Contents
from citrus_ray.data.windowing.splits import Parts, Split, in_units, split
from citrus_ray.data.windows import Index, Signal, Windows
from citrus_ray.spec import SpecError

Floats = npt.NDArray[np.float64]

MOST = 3000  # windows that features are made of
SEEDS = (0, 1, 2)  # validation parts that one feature is scored on, in turn
BLOCK = 1 << 22  # numbers held at a time
SOLVED = 0.9  # of the way from chance to 1: beyond it one feature is enough
KNOWN = 0.5  # of the way: beyond it a window says who it is of, or when
N_BINS = 16  # of a feature
SHRINKAGE = 0.1  # of a covariance towards its diagonal
FEWEST = 4  # windows of a group of which half can be recognised by the other half
GROUPS = 60  # that are told from each other, at most


@dataclass(frozen=True)
class PartCounts:
    """One part of a split: its people, and windows of each class."""

    name: str
    groups: tuple[str, ...]
    windows: int
    classes: dict[str, int]  # empty where labels are values


@dataclass(frozen=True)
class OneFeature:
    """The feature that best tells classes on training windows, and how it does on others."""

    name: str
    score: float  # balanced accuracy on people who were not learnt from
    chance: float


@dataclass(frozen=True)
class Recognised:
    """How often the group of a window is guessed from features, among so many groups."""

    right: float
    chance: float
    groups: int


@dataclass(frozen=True)
class Probes:
    """What is known of a labelled set before any model; fields are None where nothing can be
    said."""

    parts: tuple[PartCounts, ...] = ()
    chance: float | None = None  # balanced accuracy
    majority: float | None = None  # accuracy of the most common class
    one_feature: OneFeature | None = None
    time: OneFeature | None = None  # when in its recording a window begins
    recognised: Recognised | None = None
    shared: tuple[str, ...] = ()  # pairs of groups whose recordings share samples


def probe(windows: Windows, spec: Split) -> Probes:
    """The probes of a set that is split as `spec` says."""
    shared = tuple(_shared(windows))
    if windows.y is None or windows.target == "labels":
        return Probes(shared=shared)
    try:
        windows = in_units(windows, spec)
        found = split(windows, spec, seed=0)
    except SpecError:  # said elsewhere, as are sets that cannot be split
        found = None
    parts = _parts(windows, found) if found else ()
    if not windows.classes:
        return Probes(parts, shared=shared)
    counts = list(windows.class_counts().values())
    chance, majority = 1 / len(counts), max(counts) / sum(counts)
    if found is None:
        return Probes((), chance, majority, shared=shared)
    names, index, x = features(windows, np.union1d(found.train, found.val))
    one, who = _one_feature(windows, spec, names, index, x), _recognised(windows, index, x)
    when = None
    if windows.origins is not None and windows.origins.first.ndim == 1:
        begins = windows.origins.first[index, None].astype(np.float64)
        when = _one_feature(windows, spec, ["the time in the recording"], index, begins)
    return Probes(parts, chance, majority, one, when, who, shared)


def _parts(windows: Windows, found: Parts) -> tuple[PartCounts, ...]:
    named = (("train", found.train), ("val", found.val), ("test", found.test))
    return tuple(_part(windows, name, index) for name, index in named)


def _part(windows: Windows, name: str, index: Index) -> PartCounts:
    groups = [windows.groups[g] for g in np.unique(windows.group[index])]
    counts = dict[str, int]()
    if windows.classes:
        n = np.bincount(windows.labels[index], minlength=len(windows.classes))
        counts = dict(zip(windows.classes, n.tolist(), strict=True))
    return PartCounts(name, tuple(groups), len(index), counts)


def _shared(windows: Windows) -> Iterator[str]:
    known = Contents.of(windows)
    for (a, b), how in known.matches_with(known).items():
        if a < b:
            yield f"{windows.groups[a]} and {windows.groups[b]}{f' (they {how})' if how else ''}"


def features(windows: Windows, index: Index) -> tuple[list[str], Index, Floats]:
    """Names of features, evenly spaced windows of `index`, and features (n, F) of these."""
    if len(index) > MOST:
        index = index[np.linspace(0, len(index) - 1, MOST).astype(int)]
    streams = [(s.ch_names, s.x) for s in windows.streams] or [(windows.ch_names, windows.x)]
    names, found = list[str](), list[Floats]()
    for channels, x in streams:
        names += [
            f"{what} of {name}" for what in ("mean", "spread", "roughness") for name in channels
        ]
        found.append(_of_channels(x, index))
    return names, index, np.nan_to_num(np.concatenate(found, axis=1))


def _of_channels(x: Signal, index: Index) -> Floats:
    """(N, C, T) -> (n, 3C): mean, log spread, and log spread of differences."""
    rows, out = max(1, BLOCK // int(np.prod(x.shape[1:]))), list[Floats]()
    for first in range(0, len(index), rows):
        block = np.asarray(x[index[first : first + rows]], dtype=np.float64)
        steps = np.diff(block, axis=-1) if block.shape[-1] > 1 else np.zeros_like(block)
        sizes = [np.log(of.std(axis=-1) + 1e-12) for of in (block, steps)]
        out.append(np.concatenate([block.mean(axis=-1), *sizes], axis=1))
    return np.concatenate(out)


def _one_feature(
    windows: Windows, spec: Split, names: Sequence[str], index: Index, x: Floats
) -> OneFeature:
    """The feature that is best where it was learnt from, scored where it was not."""
    y, n_classes = windows.labels[index], len(windows.classes)
    scores, chosen = list[float](), list[str]()
    for seed in SEEDS:
        train, val = _inside(split(windows, spec, seed), index)
        tables = [Bins.of(column, y[train], n_classes) for column in x[train].T]
        fits = [
            balanced_accuracy(table(column), y[train])
            for table, column in zip(tables, x[train].T, strict=True)
        ]
        best = int(np.argmax(fits))
        scores.append(balanced_accuracy(tables[best](x[val, best]), y[val]))
        chosen.append(names[best])
    return OneFeature(max(chosen, key=chosen.count), float(np.mean(scores)), 1 / n_classes)


@dataclass(frozen=True)
class Bins:
    """A feature cut at its quantiles: each bin stands for the class of which it holds the largest
    share."""

    edges: Floats
    says: Index

    @classmethod
    def of(cls, values: Floats, y: Index, n_classes: int) -> "Bins":
        edges = np.unique(np.quantile(values, np.linspace(0, 1, N_BINS + 1)[1:-1]))
        table = np.zeros((len(edges) + 1, n_classes))
        np.add.at(table, (np.searchsorted(edges, values), y), 1)
        return cls(edges, np.argmax(table / np.maximum(table.sum(axis=0), 1), axis=1))

    def __call__(self, values: Floats) -> Index:
        return np.asarray(self.says[np.searchsorted(self.edges, values)])


def balanced_accuracy(found: Index, y: Index) -> float:
    return float(np.mean([np.mean(found[y == k] == k) for k in np.unique(y)]))


def _inside(parts: Parts, index: Index) -> tuple[Index, Index]:
    """Places in `index` of training and of validation windows."""
    return np.flatnonzero(np.isin(index, parts.train)), np.flatnonzero(np.isin(index, parts.val))


def _recognised(windows: Windows, index: Index, x: Floats) -> Recognised | None:
    """Groups told from each other: the second half of each one's windows by the first, by linear
    discriminants."""
    group = windows.group[index]
    names, counts = np.unique(group, return_counts=True)
    names = names[counts >= FEWEST][:GROUPS]
    halves = [np.array_split(np.flatnonzero(group == g), 2) for g in names]
    if len(names) < 2:
        return None
    first = np.concatenate([half for half, _ in halves])
    spread = x[first].std(axis=0)
    x = (x[:, spread > 0] - x[first][:, spread > 0].mean(axis=0)) / spread[spread > 0]
    if not x.shape[1]:
        return None
    means = np.stack([x[half].mean(axis=0) for half, _ in halves])  # (G, F)
    inside = np.concatenate([x[half] - x[half].mean(axis=0) for half, _ in halves])
    within = inside.T @ inside / len(inside)
    shrunk = (1 - SHRINKAGE) * within + SHRINKAGE * np.diag(np.diag(within) + 1e-9)
    weights = np.linalg.solve(shrunk, means.T)  # (F, G)
    logits = x @ weights - (means * weights.T).sum(axis=1) / 2
    right = [np.mean(logits[half].argmax(axis=1) == i) for i, (_, half) in enumerate(halves)]
    return Recognised(float(np.mean(right)), 1 / len(names), len(names))


def share_of_the_way(score: float, chance: float) -> float:
    """0 at chance, 1 where everything is right."""
    return (score - chance) / (1 - chance)
