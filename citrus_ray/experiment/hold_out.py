"""Who must not be seen in pre-training: groups of its source that hold recordings of the target's
test groups, whatever file, folder or name they are under."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from citrus_ray.data.source import Source
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.contents import Contents
from citrus_ray.data.windowing.splits import Split, in_units, split
from citrus_ray.data.windows import Index, Windows
from citrus_ray.experiment.trial import HoldOut, Pretrain, Trial
from citrus_ray.spec import refuse

NAMED = 6  # groups that a sentence names


@dataclass(frozen=True)
class Seen:
    """Groups of a source that hold recordings of a target's test groups."""

    groups: Index  # as the source numbers them
    names: tuple[str, ...]
    n_groups: int  # of the source
    n_windows: tuple[int, int]  # of these groups, and of the source
    tested: tuple[str, ...]  # the test groups that were found
    n_tested: int

    @property
    def found(self) -> str:
        """`2 of 16 groups (a, b) hold recordings of 2 of 4 test groups (x, y)`."""
        mine = f"{len(self.names)} of {self.n_groups} groups ({_listed(self.names)})"
        theirs = f"{len(self.tested)} of {self.n_tested} test groups ({_listed(self.tested)})"
        return f"{mine} hold recordings of {theirs} of the target"

    def __str__(self) -> str:
        """What becomes of them, as plans and results say it."""
        if not self.names:
            rule = f"none of the source's {self.n_groups} groups holds a recording of the"
            return f"pre-training leaves nothing out: {rule} target's {self.n_tested} test groups"
        windows = "{:,} of {:,} windows".format(*self.n_windows)
        return f"pre-training leaves out {windows} of its source: {self.found}"

    def nothing_left(self) -> str | None:
        """Why nothing can be learnt from a source without these groups; None where some is left."""
        if len(self.names) < self.n_groups:
            return None
        rule = f"{self.found}, so all of the source is left out and nothing can be learnt from it"
        return f"{rule}; give it more recordings, or smaller groups"


def copies_tested(target: Source, spec: Split) -> str | None:
    """Why choices would see who is tested: a recording of a test group is another group's too."""
    windows = in_units(cache.load(target), spec)
    contents = Contents.of(windows)
    if spec.rotates:  # everyone is tested at some time, and the others train then
        both = contents.matches_with(contents)
        pairs = {(a, b): how for (a, b), how in both.items() if a < b}
    else:
        # the test part hangs on split.seed alone, and holds whoever is tested in any round
        tested = np.unique(windows.group[split(windows, spec.everyone, seed=0).test])
        others = np.setdiff1d(np.unique(windows.group), tested)
        pairs = contents.among(tested).matches_with(contents.among(others))
    if not pairs:
        return None
    names = {pair: f"{windows.groups[pair[0]]} and {windows.groups[pair[1]]}" for pair in pairs}
    shown = _listed(
        [f"{names[of]} (they {how})" if how else names[of] for of, how in pairs.items()]
    )
    rule = f"{len(pairs)} pairs of groups hold the same recording, one of them tested: {shown}"
    return f"{rule}; give both the same group, or drop one"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def seen(windows: Windows, source: Source, hold_out: HoldOut) -> Seen:
    """Groups of `source`, whose windows these are, that hold recordings of the test groups.

    Recordings are known by their samples. In one and the same folder a name stands for a person
    too: a phone and a watch share no sample.
    """
    target = in_units(cache.load(hold_out.target), hold_out.split)
    test = split(target, hold_out.split, seed=0).test  # the test part hangs on split.seed alone
    tested = np.unique(target.group[test])
    there = np.unique(windows.group)
    pairs = Contents.of(windows).shared_with(Contents.of(target).among(tested))
    by_name = hold_out.split.unit == "group"  # of other units a subject is on both sides
    if by_name and {*source.places()} & {*hold_out.target.places()}:
        mine = {windows.groups[g]: int(g) for g in there}
        pairs += [(mine[n], int(g)) for g in tested if (n := target.groups[g]) in mine]
    groups = np.unique(np.array([a for a, _ in pairs], np.int64))
    found = sorted({b for _, b in pairs})
    return Seen(
        groups=groups,
        names=tuple(windows.groups[g] for g in groups),
        n_groups=len(there),
        n_windows=(int(np.isin(windows.group, groups).sum()), len(windows)),
        tested=tuple(target.groups[g] for g in found),
        n_tested=len(tested),
    )


def saw_tested(was: Trial, now: HoldOut) -> str | None:
    """Why what was chosen by an earlier trial would have seen who is tested now; None: it did not.

    Whom it tested itself it did not see, and what its pre-training left out neither.
    """
    if was.tested == now:
        return None
    if was.finetune.target.digest() == now.target.digest() and now.split.unit != "group":
        return "it split the same target's subjects otherwise"
    for path, source in was.sources().items():
        windows = cache.load(source)
        if path == "finetune.target" or was.pretraining is None:
            unseen: Seen | None = seen(windows, source, was.tested)
        else:
            unseen = left_out(windows, was.pretraining)
        found = seen(windows, source, now)
        if np.setdiff1d(found.groups, unseen.groups if unseen else []).size:
            return f"it saw who is tested here: {found.found}"
    return None


def left_out(windows: Windows, spec: Pretrain) -> Seen | None:
    """What this pre-training leaves out of its source, whose windows these are; None: not asked."""
    if spec.hold_out == "target":
        rule = "hold_out=target: whose target is known to a trial alone"
        raise refuse(f"{rule}; use `Trial.pretraining`", "pretrain.hold_out")
    return None if spec.hold_out is None else seen(windows, spec.source, spec.hold_out)


def all_left_out(trials: Iterable[Trial]) -> list[Seen]:
    """What the pre-trainings of these trials leave out, each once."""
    specs = [spec for trial in trials if (spec := trial.pretraining) and spec.hold_out]
    different = {(spec.source.model_dump_json(), str(spec.hold_out)): spec for spec in specs}
    found = (left_out(cache.load(spec.source), spec) for spec in different.values())
    return [out for out in found if out]
