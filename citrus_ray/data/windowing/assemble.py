"""Windows of many recordings as one set: groups, classes, blocks of time, and caveats."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from citrus_ray.context import TargetKind
from citrus_ray.data.fingerprints import Fingerprints
from citrus_ray.data.formats.labels import Stretch, labels_in, value_of
from citrus_ray.data.formats.tracks import Track
from citrus_ray.data.windowing.cutting import Cutter, RecordingWindows
from citrus_ray.data.windowing.disk import DiskArray, rows_on_disk
from citrus_ray.data.windows import Index, Origins, Stream, Targets, Windows
from citrus_ray.spec import refuse


@dataclass(frozen=True)
class Gathered:
    """All windows of a set, on disk, and where each is from."""

    streams: tuple[Stream, ...]
    stretches: tuple[Stretch, ...]  # one per window, as the next two
    first: Index
    recording: Index
    tally: Counter[str]
    fingerprints: Fingerprints | None  # None unless known of every recording


def gather(parts: Iterable[RecordingWindows], tracks: Sequence[Track]) -> Gathered:
    """Windows of all recordings, in their order; no more than one recording is in memory."""
    stretches, first, recording, tally = list[Stretch](), list[int](), list[int](), Counter[str]()
    known = list[Fingerprints | None]()
    with ExitStack() as files:
        shapes = [(len(track.channels), track.n_times) for track in tracks]
        arrays = [files.enter_context(DiskArray(shape)) for shape in shapes]
        for i, found in enumerate(parts):
            _write(found, arrays)
            stretches += found.stretches
            first += found.first.tolist()
            recording += [i] * len(found.first)
            tally.update(found.tally)
            known.append(_numbered(found.fingerprints, i))
        streams = tuple(_stream(track, array) for track, array in zip(tracks, arrays, strict=True))
    begins, of = np.array(first, np.int64), np.array(recording, np.int64)
    every = [part for part in known if part is not None]
    fingerprints = np.concatenate(every) if every and len(every) == len(known) else None
    return Gathered(streams, tuple(stretches), begins, of, tally, fingerprints)


def _numbered(found: Fingerprints | None, recording: int) -> Fingerprints | None:
    if found is None:
        return None
    found = found.copy()
    found["run"] = recording
    return found


def _write(found: RecordingWindows, arrays: Sequence[DiskArray]) -> None:
    # a function of its own: a window is a view of its recording, which must go before the next one
    for window in found.windows:
        for array, x in zip(arrays, window, strict=True):
            array.add(x)


def _stream(track: Track, array: DiskArray) -> Stream:
    names, modalities = zip(*((c.name, c.modality) for c in track.channels), strict=True)
    return Stream(track.name, array.array(), track.sfreq, names, modalities)


def assemble(
    cut: Cutter,
    gathered: Gathered,
    classes: tuple[str, ...],
    digest: str,
    caveats: Sequence[str] = (),
    subject: Index | None = None,
    target: TargetKind = "classes",
) -> Windows:
    """The set that was gathered. Of classes unlabelled without `classes`; without `subject` a group
    is one."""
    stretches, main = gathered.stretches, gathered.streams[0]
    groups = tuple(sorted({stretch.group for stretch in stretches}))
    group = np.searchsorted(groups, [stretch.group for stretch in stretches]).astype(np.int64)
    there = {stretch.label for stretch in stretches}
    if target == "labels":
        there = {name for label in there for name in labels_in(label)}
    gone = sorted(set(classes) - there)
    if gone and stretches:
        rule = (
            f"{', '.join(gone)}: no window of {cut.n_times / cut.sfreq:g} s is left of this class"
        )
        way = "shorten `seconds`, set `short: pad`, or leave it out of `classes`"
        raise refuse(f"{rule}; {way}", "classes")
    y: Targets | None = None
    if target == "value":
        y = np.array([value_of(s.label) for s in stretches], dtype=np.float64)
        caveats = (*caveats, *_one_value_each(y, group))
        stretches = tuple(replace(stretch, label="") for stretch in stretches)  # no class
    elif target == "labels":
        said = [set(labels_in(s.label)) for s in stretches]
        y = np.array([[int(name in of) for name in classes] for of in said], dtype=np.int64)
        stretches = tuple(replace(stretch, label="") for stretch in stretches)
    elif classes:
        y = np.array([classes.index(s.label) for s in stretches], dtype=np.int64)
    return Windows(
        x=main.x,
        y=y,
        group=group,
        sfreq=main.sfreq,
        ch_names=main.ch_names,
        modalities=main.modalities,
        groups=groups,
        classes=classes,
        caveats=(*caveats, *cut.caveats(gathered.tally, stretches)),
        digest=digest,
        streams=gathered.streams if len(gathered.streams) > 1 else (),
        origins=Origins(group if subject is None else subject, gathered.recording, gathered.first),
        fingerprints=gathered.fingerprints,
        target=target,
    )


def _one_value_each(y: Targets, group: Index) -> Iterator[str]:
    n_values, n = len(np.unique(np.stack([group, y]), axis=1).T), len(np.unique(group))
    if n_values == n < len(y):
        yield f"every group has one value: what is learnt is of {n} groups, not of {len(y)} windows"


def time_blocks(windows: Windows, gathered: Gathered, n_times: int, n_blocks: int) -> Windows:
    """Windows whose groups are cut into `n_blocks` by time, a window's gap between."""
    recording, first = gathered.recording, gathered.first
    block = np.full(len(windows), -1)  # -1: in a gap
    for g, name in enumerate(windows.groups):
        mine = np.flatnonzero(windows.group == g)
        mine = mine[np.lexsort((first[mine], recording[mine]))]
        block[mine] = _blocks(recording[mine], first[mine], n_times, n_blocks)
        if len(np.unique(block[mine][block[mine] >= 0])) < n_blocks:
            rule = f"group_blocks={n_blocks}: {name} has {len(mine)} windows"
            rule += ", too few for so many blocks with gaps of a window between"
            raise refuse(f"{rule}; lower it, or shorten `seconds`", "group_blocks")
    kept = windows.take(np.flatnonzero(block >= 0), rows_on_disk)
    names = [f"{name} {b}/{n_blocks}" for name in windows.groups for b in range(1, n_blocks + 1)]
    caveat = f"split by time, not by person: every group is cut into {n_blocks} blocks"
    lost = f"{len(windows) - len(kept)} of {len(windows)} windows"
    caveat += f", and the gaps between them cost {lost}"
    group = kept.group * n_blocks + block[block >= 0]
    return replace(kept, group=group, groups=tuple(names), caveats=(caveat, *kept.caveats))


def _blocks(recording: Index, first: Index, n_times: int, n_blocks: int) -> Index:
    """The block of each window of a group, in order of time; -1: too near to the block before."""
    block = np.repeat(np.arange(n_blocks), [len(part) for part in np.array_split(first, n_blocks)])
    out = block.copy()
    for b in range(1, n_blocks):
        before = np.flatnonzero((out >= 0) & (block < b))
        if len(before):
            last = before[-1]
            near = (recording == recording[last]) & (first < first[last] + 2 * n_times)
            out[(block == b) & near] = -1
    return out
