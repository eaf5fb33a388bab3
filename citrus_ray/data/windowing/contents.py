"""What recordings the groups of a set are made of, and which groups of two sets share some."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from citrus_ray.data.fingerprints import KEPT, Fingerprints, are_shapes, none, of_rows, thinned
from citrus_ray.data.windowing import disguises
from citrus_ray.data.windowing.disguises import Disguise, PlacedWindows, Shapes
from citrus_ray.data.windows import Index, Windows

ENOUGH = 3  # fingerprints in common that make a match: one or two may be chance
CHUNK = 4096  # windows read at a time
NAMED = 4  # pairs that a caveat names


def fingerprints_in(windows: Windows) -> Fingerprints:
    """Fingerprints of the recordings, or of the windows where their source gives no others."""
    return _of_windows(windows) if windows.fingerprints is None else windows.fingerprints


def _of_windows(windows: Windows) -> Fingerprints:
    """Fingerprints of windows as they are: whatever was resampled or filtered is known as such.

    That each was scaled by itself does not matter.
    """
    run, begins = _places(windows)
    n_parts = run.shape[1]
    signals = [(s.x, s.sfreq) for s in windows.streams] or [(windows.x, windows.sfreq)]
    parts = [none()]
    for x, sfreq in signals:
        n_chans, n_times = x.shape[1], x.shape[2] // n_parts
        for start in range(0, len(windows), CHUNK):
            block = np.asarray(x[start : start + CHUNK]).reshape(-1, n_times)  # (n * C * parts, T)
            found = of_rows(block, sfreq)
            window, row = np.divmod(found["run"], n_chans * n_parts)
            where = (start + window, row % n_parts)
            found["run"] = run[where]
            found["at"] += begins[where]
            parts.append(found)
    return thinned(np.concatenate(parts), KEPT * len(windows.groups))


@dataclass(frozen=True)
class Contents:
    """Different fingerprints of each group: (m,) each, sorted by value; and what tells copies in
    disguise."""

    value: npt.NDArray[np.uint64]
    group: Index
    shapes: Shapes | None = None
    placed: PlacedWindows | None = None

    @classmethod
    def of(cls, windows: Windows) -> "Contents":
        found = fingerprints_in(windows)
        owner = _owners(windows, found)
        found, owner = found[owner >= 0], owner[owner >= 0]
        is_shape = are_shapes(found)
        value, group = found["value"][~is_shape], owner[~is_shape]
        order = np.lexsort((group, value))
        value, group = value[order], group[order]
        new = np.ones(len(value), bool)
        new[1:] = (value[1:] != value[:-1]) | (group[1:] != group[:-1])
        shapes = Shapes(found[is_shape], owner[is_shape])
        return cls(value[new], group[new], shapes, PlacedWindows(windows, *_places(windows)))

    def among(self, groups: Index) -> "Contents":
        inside = np.isin(self.group, groups)
        shapes = self.shapes and self.shapes.among(groups)
        return replace(self, value=self.value[inside], group=self.group[inside], shapes=shapes)

    def shared_with(self, other: "Contents") -> list[tuple[int, int]]:
        """Pairs of a group of this set and one of the other that hold some of the same samples, to
        the byte or but for gain, sign and place."""
        return [*self.matches_with(other)]

    def matches_with(self, other: "Contents") -> dict[tuple[int, int], Disguise | None]:
        """These pairs, and how one is the other in disguise; None: as it is."""
        pairs: dict[tuple[int, int], Disguise | None] = dict.fromkeys(self._same_as(other))
        found = self.disguises_in(other, {*pairs})
        return pairs | {pair: how for pair, how in found.items() if how.is_same}

    def disguises_in(
        self, other: "Contents", known: set[tuple[int, int]]
    ) -> dict[tuple[int, int], Disguise]:
        """Pairs that hold samples which differ by no more than a disguise, besides those known."""
        if not (self.shapes and other.shapes and self.placed and other.placed):
            return {}
        one, two = (self.shapes, self.placed), (other.shapes, other.placed)
        found = disguises.found(one, two, known, self is other)
        back = {(b, a): how.seen_from_there() for (a, b), how in found.items() if self is other}
        return found | back

    def _same_as(self, other: "Contents") -> list[tuple[int, int]]:
        """Pairs of groups that share fingerprints of samples. Of groups too short for so many, all
        must be the same."""
        low, high = (np.searchsorted(other.value, self.value, side) for side in ("left", "right"))
        n = high - low
        if not n.any():
            return []
        mine = np.repeat(self.group, n)
        # of each value here, all places that it has there
        there = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n) + np.repeat(low, n)
        pairs, shared = np.unique(np.stack([mine, other.group[there]]), axis=1, return_counts=True)
        least = np.minimum(self._sizes()[pairs[0]], other._sizes()[pairs[1]])
        alike = shared >= np.minimum(ENOUGH, least)
        return [(int(a), int(b)) for a, b in pairs[:, alike].T]

    def _sizes(self) -> Index:
        sizes: Index = np.bincount(self.group)
        return sizes


def near_copies(windows: Windows) -> str | None:
    """A caveat on groups whose recordings are much alike, though not the same; None: there are
    none."""
    contents = Contents.of(windows)
    found = contents.disguises_in(contents, {*contents._same_as(contents)})
    pairs = [(a, b, how) for (a, b), how in found.items() if a < b and not how.is_same]
    if not pairs:
        return None
    named = [f"{windows.groups[a]} and {windows.groups[b]} {how}" for a, b, how in pairs[:NAMED]]
    more = f"; and {len(pairs) - NAMED} more" if len(pairs) > NAMED else ""
    rule = f"{len(pairs)} pairs of groups are" if len(pairs) > 1 else "1 pair of groups is"
    why = "copies with noise, or recorded side by side"
    return f"{rule} nearly the same, as {why}, and may cross a split: {'; '.join(named)}{more}"


def _owners(windows: Windows, found: Fingerprints) -> Index:
    """The group that each fingerprint belongs to, -1: between two of them.

    All of a recording belongs to a group that has it for itself, be it cut into windows or not. Of
    one that several groups share, each has what its windows span.
    """
    if windows.origins is None:
        return np.asarray(windows.group[found["run"]])
    run, begins = _places(windows)
    seconds = windows.x.shape[2] / run.shape[1] / windows.sfreq
    group = np.repeat(windows.group, run.shape[1])
    order = np.lexsort((begins.ravel(), run.ravel()))
    run, begins, group = run.ravel()[order], begins.ravel()[order], group[order]
    # spans: windows of one recording and one group that follow each other
    first = np.flatnonzero(np.diff(run, prepend=-1) | np.diff(group, prepend=-1))
    start, stop = begins[first], np.maximum.reduceat(begins, first) + seconds
    of_run, of_group = run[first], group[first]
    alone = np.bincount(of_run)[of_run] == 1
    start, stop = np.where(alone, -1.0, start), np.where(alone, np.inf, stop)
    # what is said of a whole file is before all spans, so of none where there are several
    at = np.where(np.isnan(found["at"]), -1.0, found["at"]).astype(np.float64)
    long = 2 + max(start.max(), at.max(initial=0))  # one axis of time for all runs
    span = np.searchsorted(of_run * long + start, found["run"] * long + at, "right") - 1
    inside = (span >= 0) & (of_run[span] == found["run"]) & (at <= stop[span])
    return np.where(inside, of_group[span], -1)


def _places(windows: Windows) -> tuple[Index, npt.NDArray[np.float64]]:
    """Run of every window, (n, parts), and the second of it that it begins at."""
    if windows.origins is None:
        index = np.arange(len(windows))[:, None]
        return index, np.zeros(index.shape)
    # the samples that windows begin at are those of the slowest stream
    clock = min([stream.sfreq for stream in windows.streams] or [windows.sfreq])
    shape = (len(windows), -1)
    return windows.origins.run.reshape(shape), windows.origins.first.reshape(shape) / clock
