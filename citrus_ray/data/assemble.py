"""The pieces of many recordings as one set: groups, classes, blocks of time, and what must be said of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from citrus_ray.data.cut import Cut, Pieces
from citrus_ray.data.formats import Channel
from citrus_ray.data.windows import Index, Windows
from citrus_ray.spec import refuse


def assemble(
    cut: Cut,
    parts: Sequence[Pieces],
    channels: Sequence[Channel],
    classes: tuple[str, ...],
    digest: str,
    caveats: Sequence[str] = (),
) -> Windows:
    """One set from the pieces of its recordings, in their order. Without `classes` it is unlabelled."""
    origin = [segment for part in parts for segment in part.origin]
    groups = tuple(sorted({segment.group for segment in origin}))
    gone = sorted(set(classes) - {segment.label for segment in origin})
    if gone and origin:
        rule = f"{', '.join(gone)}: no window of {cut.n_times / cut.sfreq:g} s is left of this class"
        raise refuse(f"{rule}; shorten `seconds`, set `short: pad`, or leave it out of `classes`", "classes")
    return Windows(
        x=np.concatenate([part.x for part in parts]),
        y=np.array([classes.index(s.label) for s in origin], dtype=np.int64) if classes else None,
        group=np.searchsorted(groups, [segment.group for segment in origin]).astype(np.int64),
        sfreq=cut.sfreq,
        ch_names=tuple(c.name for c in channels),
        modalities=tuple(c.modality for c in channels),
        groups=groups,
        classes=classes,
        caveats=(*caveats, *cut.caveats(sum((part.tally for part in parts), Counter()), origin)),
        digest=digest,
    )


def time_blocks(windows: Windows, parts: Sequence[Pieces], n_blocks: int) -> Windows:
    """Each group cut into `n_blocks` of consecutive windows that are groups from here on, a window's gap between."""
    recording = np.repeat(np.arange(len(parts)), [len(part.first) for part in parts])
    first = np.concatenate([part.first for part in parts])
    block = np.full(len(windows), -1)  # -1: in a gap
    for g, name in enumerate(windows.groups):
        mine = np.flatnonzero(windows.group == g)
        mine = mine[np.lexsort((first[mine], recording[mine]))]
        block[mine] = _blocks(recording[mine], first[mine], windows.x.shape[2], n_blocks)
        if len(np.unique(block[mine][block[mine] >= 0])) < n_blocks:
            rule = f"group_blocks={n_blocks}: {name} has {len(mine)} windows, too few for so many blocks with gaps"
            raise refuse(f"{rule} of a window between; lower it, or shorten `seconds`", "group_blocks")
    kept = windows.take(np.flatnonzero(block >= 0))
    names = [f"{windows.groups[g]} {b + 1}/{n_blocks}" for g in range(len(windows.groups)) for b in range(n_blocks)]
    lost = len(windows) - len(kept)
    caveat = f"split by time, not by person: every group is cut into {n_blocks} blocks, and the gaps between them cost"
    caveat += f" {lost} of {len(windows)} windows"
    group = kept.group * n_blocks + block[block >= 0]
    return replace(kept, group=group, groups=tuple(names), caveats=(caveat, *kept.caveats))


def _blocks(recording: Index, first: Index, n_times: int, n_blocks: int) -> Index:
    """The block of each window of one group, in order of time: equal numbers, less those too near to the one before."""
    block = np.repeat(np.arange(n_blocks), [len(part) for part in np.array_split(first, n_blocks)])
    out = block.copy()
    for b in range(1, n_blocks):
        before = np.flatnonzero((out >= 0) & (block < b))
        if len(before):
            last = before[-1]
            near = (block == b) & (recording == recording[last]) & (first < first[last] + 2 * n_times)
            out[near] = -1
    return out
