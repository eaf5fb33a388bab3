"""Group-disjoint splits and nested label subsets. A group is never broken to balance classes."""

import fnmatch
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from citrus_ray.data.faults import suggest
from citrus_ray.data.windows import Index, Targets, Windows
from citrus_ray.spec import Later, Spec, refuse

Share = Annotated[float, Field(gt=0, lt=1)]
FEWEST_TO_DRAW = 8  # test groups; of fewer, half of them say little of the rest
Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]
Validation = Literal["labels", "full", "none"]
DRAWS = 200  # tries to find groups that put every class into every part
KEPT = 1 / 3  # share of the labelled windows that a trial is scored by, and not taught
FOLDS = 5  # at most, of a cross-validation inside the labelled windows
CLOSE = 1e-12  # of equal shares, apart by rounding


class Split(Spec):
    """Who trains, validates and tests: shares of groups, folds, names, or a column of a table."""

    val: Share = 0.25
    """Share of groups that validate, drawn per trial from those that do not test; part of the pool
    of labelled windows where `finetune.validation` is not `full`."""
    test: Share = 0.25
    """Share of groups that test; drawn from `seed` alone."""
    folds: Annotated[int, Field(ge=2)] | Literal["each"] | None = None
    """Group k-fold: so many parts, of which `fold` tests in place of a share; each: every group is
    one (leave one out)."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """Which of `folds` tests, from 0; null: round after round the next one, where nothing is
    searched."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Draws the test groups, so that no trial ever validates on another trial's test data."""
    round: Annotated[Annotated[int, Field(ge=0)] | None, Later()] = None
    """Draws half of the test groups, who are tested in this round; null: all of them are."""
    official: Annotated[Name | None, Later()] = None
    """Column (of the source's `columns`) that says train, val or test of each window."""
    test_groups: Annotated[Names | None, Later()] = None
    """Who tests, by name; a * stands for anything: `sub-3*`."""
    val_groups: Annotated[Names | None, Later()] = None
    """Who validates, likewise; drawn without."""
    unit: Annotated[Name, Later()] = "group"
    """What is never cut. group: a subject is on one side. A column of the source's `columns`, as
    session or recording: each subject's sessions are parted, and all may be on both sides."""
    stratify: Annotated[Name | None, Later()] = None
    """Column of which each value has the same share of test and of validation groups: site."""
    lacking: Annotated[Literal["refuse", "allow"], Later()] = "refuse"
    """Whether a part may lack a class; it is then scored over the classes that it has."""

    @model_validator(mode="after")
    def _leaves_a_train_part(self) -> "Split":
        if self.val + self.test >= 1:
            rule = f"val + test = {self.val + self.test:g}: must leave groups to train on"
            raise ValueError(f"{rule}; keep it below 1")
        return self

    @model_validator(mode="after")
    def _fold_of_folds(self) -> "Split":
        known = self.folds if isinstance(self.folds, int) else None
        if self.fold is not None and (self.folds is None or self.fold >= (known or math.inf)):
            rule = f"fold={self.fold} of folds={self.folds}: a fold is one of folds"
            raise ValueError(f"{rule}: give `folds`, and 0 <= fold < folds")
        return self

    @model_validator(mode="after")
    def _one_way_to_say_who_tests(self) -> "Split":
        ways = {"folds": self.folds, "official": self.official, "test_groups": self.test_groups}
        given = [name for name, value in ways.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: each says who tests; give one of them")
        if self.official and self.val_groups:
            raise ValueError("val_groups: `official` says who validates; drop one of the two")
        if self.stratify and (given or self.unit != "group"):
            rule = f"stratify={self.stratify}: is of groups that are drawn"
            raise ValueError(f"{rule}, not of {given[0] if given else 'other units'}; drop it")
        return self

    @property
    def rotates(self) -> bool:
        """Whether each round tests another fold."""
        return self.folds is not None and self.fold is None

    @property
    def is_said(self) -> bool:
        """Whether who tests is said, not drawn."""
        return self.official is not None or self.test_groups is not None

    @property
    def everyone(self) -> "Split":
        """The split whose test groups are all that are ever tested beside one encoder."""
        return self if self.rotates else self.model_copy(update={"round": None})


class Labels(Spec):
    """Windows that show their label; subsets of a seed are nested, alike in all arms. They are of
    all who do not test, or of the training part beside a fully labelled validation part."""

    per_class: Annotated[int, Field(ge=1)] | None = None
    """Labelled windows of each class."""
    count: Annotated[int, Field(ge=1)] | None = None
    """Labelled windows in all."""
    fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the windows that are labelled, rounded up."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "Labels":
        names = ("per_class", "count", "fraction")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            rule = f"labels must give exactly one of {', '.join(names)}"
            raise ValueError(f"{rule}, but got {given or 'none'}")
        return self

    def __str__(self) -> str:
        if self.per_class is not None:
            return f"{self.per_class} per class"
        return f"{self.fraction:.0%} of labels" if self.count is None else f"{self.count} windows"


@dataclass(frozen=True)
class Parts:
    """Sorted window indices. Their groups are disjoint."""

    train: Index
    val: Index
    test: Index

    def who_is_tested(self, windows: Windows) -> list[str]:
        """Names of the test groups, sorted."""
        return sorted(windows.groups[g] for g in np.unique(windows.group[self.test]))


def split(windows: Windows, spec: Split, seed: int) -> Parts:
    """Test groups from `spec.seed`, or as the spec names them, then validation groups from `seed`
    among the rest."""
    windows = in_units(windows, spec)
    groups = np.unique(windows.group)
    _check_labels(windows)
    n_test, n_val = (max(1, round(share * len(groups))) for share in (spec.test, spec.val))
    n_folds = len(groups) if spec.folds == "each" else spec.folds
    if n_folds is not None:
        n_test = -(-len(groups) // n_folds)
    if spec.is_said:
        return _said(windows, spec, seed)
    if len(groups) - n_test - n_val < 1:
        parts = f"train, val ({spec.val:g}) and test ({spec.test:g})"
        rule = f"{len(groups)} groups cannot be split into {parts} without cutting one"
        raise refuse(f"{rule}; give more recordings, or lower the shares")
    rng = np.random.default_rng([1, spec.seed])
    if n_folds is None:
        test = _draw(windows, groups, n_test, rng, "test", spec)
    else:
        fold = (spec.round or 0) % n_folds if spec.fold is None else spec.fold
        test = _fold(windows, groups, n_folds, fold, rng, spec)
    rest = np.setdiff1d(groups, test)
    val = _draw(windows, rest, n_val, np.random.default_rng([2, spec.seed, seed]), "val", spec)
    return _parts(windows, rest, val, tested(windows, spec, test))


def _parts(windows: Windows, rest: Index, val: Index, test: Index) -> Parts:
    train = np.setdiff1d(rest, val)
    return Parts(*(np.flatnonzero(np.isin(windows.group, of)) for of in (train, val, test)))


def in_units(windows: Windows, spec: Split) -> Windows:
    """The windows, grouped by what the split never cuts."""
    if windows.unit == spec.unit:
        return windows
    tags = _tags(windows, spec.unit, "unit")
    names = np.array([windows.groups[g] for g in windows.group])
    units = np.char.add(np.char.add(names, " / "), tags)
    found, group = np.unique(units, return_inverse=True)
    named = tuple(found.tolist())
    parted = replace(windows, group=group.astype(np.int64), groups=named, unit=spec.unit)
    _check_apart(parted, spec)
    return parted


def _check_apart(windows: Windows, spec: Split) -> None:
    """Refuse units whose windows share samples: overlapping ones of one recording."""
    origins = windows.origins
    if origins is None or windows.are_pairs:
        return
    order = np.lexsort((origins.first, origins.run))
    run, first, group = origins.run[order], origins.first[order], windows.group[order]
    n_times = min(stream.x.shape[2] for stream in windows.streams or (windows,))
    near = (np.diff(run) == 0) & (np.diff(first) < n_times) & (np.diff(group) != 0)
    if near.any():
        rule = f"unit={spec.unit}: {int(near.sum())} windows overlap one of another unit"
        raise refuse(f"{rule}; lengthen `stride_s`, or take a unit that parts recordings", "split")


def _tags(windows: Windows, name: str, key: str) -> npt.NDArray[np.str_]:
    """What a column says of each window."""
    if name not in windows.tags:
        there = ", ".join(windows.tags) or "none"
        rule = f"{key}={name}: the source keeps no such column, there are {there}"
        raise refuse(f"{rule}; name it in `columns` of the source", f"split.{key}")
    return windows.tags[name]


def _of_groups(windows: Windows, name: str, key: str) -> dict[int, str]:
    """What a column says of each group, which must be one thing."""
    found: dict[int, str] = {}
    for g, tag in zip(windows.group.tolist(), _tags(windows, name, key).tolist(), strict=True):
        if found.setdefault(g, tag) != tag:
            rule = f"{key}={name}: {windows.groups[g]} is of {found[g]} and of {tag}"
            way = "correct the table, or give a `unit` that parts them"
            raise refuse(f"{rule}, so a group would cross the split; {way}", f"split.{key}")
    return found


def _said(windows: Windows, spec: Split, seed: int) -> Parts:
    """Parts as the spec, or a column, says them."""
    groups = np.unique(windows.group)
    if spec.official is not None:
        part = _of_groups(windows, spec.official, "official")
        odd = sorted(set(part.values()) - {"train", "val", "test"})
        if odd or "test" not in part.values() or "train" not in part.values():
            rule = f"official={spec.official}: must hold train, test and perhaps val"
            there = ", ".join(sorted(set(part.values())))
            raise refuse(f"{rule}, but holds {there}; correct the table", "split.official")
        test = np.array([g for g in groups.tolist() if part[g] == "test"])
        said = np.array([g for g in groups.tolist() if part[g] == "val"], np.int64)
    else:
        test = _named(windows, groups, spec.test_groups or (), "test_groups")
        said = _named(windows, groups, spec.val_groups or (), "val_groups")
        both = np.intersect1d(test, said)
        if len(both):
            rule = f"{windows.groups[both[0]]} is among test_groups and val_groups"
            raise refuse(f"{rule}; a group is in one part", "split.val_groups")
    rest = np.setdiff1d(groups, test)
    if not len(said):
        n_val = max(1, round(spec.val * len(rest)))
        if n_val >= len(rest):
            rule = f"{len(rest)} groups are left to train and validate; two are the fewest"
            raise refuse(f"{rule}; name fewer to test", "split")
        said = _draw(windows, rest, n_val, np.random.default_rng([2, spec.seed, seed]), "val", spec)
    elif len(said) == len(rest):
        raise refuse("no group is left to train; name fewer to validate", "split")
    for name, of in (("test", test), ("val", said)):
        _check_classes(windows, of, name, spec)
    return _parts(windows, rest, said, test)


def _named(windows: Windows, groups: Index, patterns: Sequence[str], key: str) -> Index:
    """Groups that names or patterns mean, of which each must mean some."""
    chosen: set[int] = set()
    for pattern in patterns:
        hit = {g for g in groups.tolist() if fnmatch.fnmatchcase(windows.groups[g], pattern)}
        if not hit:
            said = suggest(pattern, [windows.groups[g] for g in groups])
            raise refuse(f"{key}: no group is called {pattern}; {said}", f"split.{key}")
        chosen |= hit
    return np.array(sorted(chosen), np.int64)


def _check_classes(windows: Windows, groups: Index, part: str, spec: Split) -> None:
    mask = np.isin(windows.group, groups)
    if not _suits(windows, mask, spec) or not _suits(windows, ~mask, spec):
        lost = ", ".join(classes_lacking(windows, mask) or classes_lacking(windows, ~mask))
        rule = f"split: {lost} is not both in {part} and outside it"
        raise refuse(f"{rule}; name other groups, or give `lacking: allow`", "split")


def classes_lacking(windows: Windows, mask: npt.NDArray[np.bool_]) -> list[str]:
    """Classes of the set that windows of `mask` have none of."""
    if windows.target == "labels":
        return [windows.classes[k] for k in np.flatnonzero(_half_known(windows.labels, mask))]
    if windows.target != "classes":
        return []
    there = np.unique(windows.strata[mask])
    return [windows.classes[k] for k in np.unique(windows.strata) if k not in there]


def caveats_on(windows: Windows, spec: Split) -> Iterator[str]:
    """What a split makes of a score."""
    if spec.unit != "group":
        yield f"split by {spec.unit}, not by subject: test subjects may be trained on"
    if spec.rotates:
        folds = "every group by itself" if spec.folds == "each" else f"{spec.folds} parts"
        yield (
            f"cross-validation over {folds}, one a round: rounds share training people, so that "
            "they are less independent than their interval says"
        )
    if spec.lacking == "allow":
        whole = in_units(windows, spec)
        found = split(whole, spec, seed=0).test
        lost = classes_lacking(whole, np.isin(np.arange(len(whole)), found))
        if lost:
            yield f"{', '.join(lost)}: not among test windows; scored over the classes that are"


def _check_labels(windows: Windows) -> None:
    """Refuse labels that leave nothing to be predicted."""
    if windows.target == "value":
        if np.ptp(windows.labels) == 0:
            rule = f"every window has the value {windows.labels[0]:g}: nothing can be told apart"
            raise refuse(f"{rule}; look at the labels")
    elif windows.target == "labels":
        said = [name for name, n in windows.class_counts().items() if n in (0, len(windows))]
        if said:
            rule = f"labels: every window has {said[0]}, or none has: nothing can be told apart"
            raise refuse(f"{rule}; leave it out")
    elif len(windows.classes) < 2:
        rule = f"classes: {list(windows.classes)}: must be at least 2 to tell apart"
        raise refuse(f"{rule}; look at the labels")


def tested(windows: Windows, spec: Split, test: Index) -> Index:
    """Of the test groups, those that are tested in the spec's round: half, drawn anew, where they
    are enough and each half holds every class; else all of them, in every round."""
    if spec.round is None or spec.rotates or spec.is_said or len(test) < FEWEST_TO_DRAW:
        return test
    rng = np.random.default_rng([13, spec.seed, spec.round])
    for _ in range(DRAWS):
        drawn = rng.choice(test, -(-len(test) // 2), replace=False)
        if _suits(windows, np.isin(windows.group, drawn), spec):
            return np.sort(drawn)
    return test


def _fold(
    windows: Windows, groups: Index, n: int, fold: int, rng: np.random.Generator, spec: Split
) -> Index:
    """One of `n` parts of the groups, drawn until every part holds every class."""
    if fold >= n:
        rule = f"fold={fold}: there are {n} groups, each a fold"
        raise refuse(f"{rule}; give one from 0 to {n - 1}", "split.fold")
    for _ in range(DRAWS):
        parts = np.array_split(rng.permutation(groups), n)
        if all(_suits(windows, np.isin(windows.group, part), spec) for part in parts):
            return np.sort(parts[fold])
    rule = f"folds={spec.folds}: no cut of {len(groups)} groups into {n} parts"
    way = "use fewer folds, merge rare classes, or give `lacking: allow`"
    raise refuse(f"{rule} puts every class into each; {way}")


def _drawn(windows: Windows, groups: Index, n: int, rng: np.random.Generator, spec: Split) -> Index:
    """`n` of the groups, of each value of the column that stratifies the same share."""
    if spec.stratify is None:
        return rng.choice(groups, n, replace=False)
    of = _of_groups(windows, spec.stratify, "stratify")
    order = rng.permutation(groups)
    values, place, counts = np.unique(
        [of[g] for g in order.tolist()], return_inverse=True, return_counts=True
    )
    wanted = n * counts / len(groups)
    taken = np.floor(wanted).astype(int)
    # what is left over goes to where most of a group is lacking, by lot among equals
    left = np.lexsort((rng.permutation(len(values)), taken - wanted))[: n - taken.sum()]
    taken[left] += 1
    return np.concatenate([order[place == i][: taken[i]] for i in range(len(values))])


def _draw(
    windows: Windows, groups: Index, n: int, rng: np.random.Generator, part: str, spec: Split
) -> Index:
    """`n` of `groups` such that they, and the groups left, both hold every class."""
    inside = np.isin(windows.group, groups)
    for _ in range(DRAWS):
        chosen = _drawn(windows, groups, n, rng, spec)
        picked = np.isin(windows.group, chosen)
        if all(_suits(windows, mask, spec) for mask in (picked & inside, ~picked & inside)):
            return np.sort(chosen)
    y = windows.strata
    names = (*windows.classes, "none")
    few = {names[k]: len(np.unique(windows.group[y == k])) for k in np.unique(y)}
    rule = f"no choice of {n} of {len(groups)} groups puts every class into {part} and leaves"
    rule += f" every class outside it; groups per class: {few}"
    way = "merge rare classes, drop them with `classes:`, change the shares, or `lacking: allow`"
    raise refuse(f"{rule}; {way}")


def _suits(windows: Windows, mask: npt.NDArray[np.bool_], spec: Split) -> bool:
    """Whether a part holds all classes, or as many as the spec asks of it."""
    return spec.lacking == "allow" or _holds_all(windows, mask)


def _holds_all(windows: Windows, mask: npt.NDArray[np.bool_]) -> bool:
    """Whether the windows of `mask` hold every class that there is."""
    if windows.target == "labels":
        return not _half_known(windows.labels, mask).any()
    return len(np.unique(windows.strata[mask])) == len(np.unique(windows.strata))


def _half_known(y: Targets, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(K,): labels that some windows have and some lack, but not so among those of `mask`."""
    varies, inside = (of.any(axis=0) & ~of.all(axis=0) for of in (y > 0, y[mask] > 0))
    return np.asarray(varies & ~inside)


def spend(
    windows: Windows, parts: Parts, labels: Labels, validation: Validation, seed: int
) -> tuple[Parts, Index]:
    """The parts as a trial uses them, and the labelled windows that it learns from.

    With `full` that is a subset of the training part. Else labelled windows are of all who do not
    test, and nobody's other labels are seen: the validation part is a third of these (`labels`), or
    empty (`none`).
    """
    if validation == "full":
        return parts, label_subset(windows, parts.train, labels, seed)
    pool = np.union1d(parts.train, parts.val)
    known = label_subset(windows, pool, labels, seed)
    kept = _kept(windows, known, seed) if validation == "labels" else known[:0]
    spent = replace(parts, train=np.setdiff1d(pool, kept), val=kept)
    return spent, np.setdiff1d(known, kept)


def _kept(windows: Windows, known: Index, seed: int) -> Index:
    """About a third of the labelled windows, of every class at least one and not all: whole groups
    where each class is in several, and some choice of them comes near a third, else windows."""
    y, group = windows.strata[known], windows.group[known]
    names, counts = np.unique(y, return_counts=True)
    if counts.min() < 2:
        if windows.target == "value":
            rule = "labels: one window is labelled, which cannot be learnt from and score the trial"
        else:
            rare = (*windows.classes, "none")[names[counts.argmin()]]
            rule = f"labels: class {rare!r} has one labelled window"
            rule += ", and of each class one is learnt from and another scores the trial"
        raise refuse(f"{rule}; ask for more labels, or give `validation: full`", "labels")
    rng = np.random.default_rng([10, seed])
    if all(len(np.unique(group[y == k])) > 1 for k in names):
        for _ in range(DRAWS):
            taken = share_of_groups(y, group, KEPT, rng)
            shares = [taken[y == k].mean() for k in names]
            if min(shares) >= KEPT / 2 and max(shares) <= 3 * KEPT / 2:
                return known[taken]
    return known[share_of_groups(y, np.arange(len(y)), KEPT, rng)]


def share_of_groups(
    y: Index, group: Index, share: float, rng: np.random.Generator | None = None
) -> npt.NDArray[np.bool_]:
    """A mask of whole groups that hold about `share` of the windows of every class.

    Groups are looked at in the order that `rng` draws, in their own without it, and each is taken
    that brings the shares of the classes nearer.
    """
    groups, number = np.unique(group, return_inverse=True)
    _, place, n_of_class = np.unique(y, return_inverse=True, return_counts=True)
    size = len(groups), len(n_of_class)
    counts = np.bincount(number * size[1] + place, minlength=size[0] * size[1]).reshape(size)
    shares = counts / n_of_class  # (G, K)
    taken, held = np.zeros(size[0], dtype=np.bool_), np.zeros(size[1])
    for g in range(size[0]) if rng is None else rng.permutation(size[0]):
        more = held + shares[g]
        if ((more - share) ** 2).sum() < ((held - share) ** 2).sum() - CLOSE:
            taken[g], held = True, more
    return np.asarray(taken[number])


def folds_inside(y: Index, group: Index, most: int = FOLDS) -> Index:
    """The fold of each labelled window, to choose by where there is nothing else, `most` at
    most: whole groups where every class is in several, else windows, stratified. All are in one
    where a class has one window."""
    names = np.unique(y)
    n = min(len(np.unique(group[y == k])) for k in names)
    if n < 2:
        group, n = np.arange(len(y)), min(int((y == k).sum()) for k in names)
    fold, left = np.zeros(len(y), dtype=np.int64), np.arange(len(y))
    for i in range(1, min(n, most)):
        taken = share_of_groups(y[left], group[left], 1 / (min(n, most) - i + 1))
        fold[left[taken]] = i
        left = left[~taken]
    return fold


def label_subset(windows: Windows, pool: Index, labels: Labels, seed: int) -> Index:
    """The windows of `pool` whose labels may be used, sorted."""
    order = _label_order(windows, pool, seed)
    y = windows.strata[order]
    names = np.unique(y)
    if (n := labels.per_class) is not None:
        for k in names:
            if (there := int((y == k).sum())) < n:
                rule = f"labels.per_class={n}: class {windows.classes[k]!r} has only {there}"
                raise refuse(f"{rule} training windows; ask for fewer")
        return np.sort(np.concatenate([order[y == k][:n] for k in names]))
    n = labels.count or int(np.ceil((labels.fraction or 1.0) * len(order)))
    if not len(names) <= n <= len(order):
        rule = f"labels: {n} of the {len(order)} training windows"
        if windows.target != "value":
            rule += f" cannot hold one of each of the {len(names)} classes"
        raise refuse(f"{rule}; ask for {len(names)} to {len(order)}")
    return np.sort(order[:n])


def _label_order(windows: Windows, pool: Index, seed: int) -> Index:
    """All of `pool` in the order in which labels are given out: a longer subset always holds the
    shorter one.

    Within a class, groups take turns, so that few labels still come from many subjects; classes
    take turns by their share, the first window of every class leading.
    """
    rng = np.random.default_rng([3, seed])
    rank = np.empty(len(pool))
    y, group = windows.strata[pool], windows.group[pool]
    tie = rng.permutation(len(pool))
    groups = np.unique(group)
    group_turn = dict(zip(groups.tolist(), rng.permutation(len(groups)).tolist(), strict=True))
    for k in np.unique(y):
        members = np.flatnonzero(y == k)
        turn = _turns(group[members], tie[members])
        by_turn = np.lexsort((tie[members], [group_turn[g] for g in group[members].tolist()], turn))
        place = np.empty(len(members))
        place[by_turn] = np.arange(len(members))
        rank[members] = np.where(place == 0, -1, place / len(members))
    return pool[np.lexsort((tie, rank))]


def _turns(group: Index, tie: Index) -> Index:
    """For each window, how many of its group come before it in `tie` order."""
    turn = np.empty(len(group), dtype=np.int64)
    for g in np.unique(group):
        members = np.flatnonzero(group == g)
        turn[members] = tie[members].argsort().argsort()
    return turn
