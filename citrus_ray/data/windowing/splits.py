"""Group-disjoint splits and nested label subsets. A group is never broken to balance classes."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from citrus_ray.data.windows import Index, Windows
from citrus_ray.spec import Later, Spec, refuse

Share = Annotated[float, Field(gt=0, lt=1)]
FEWEST_TO_DRAW = 8  # test groups; of fewer, half of them say little of the rest
Validation = Literal["labels", "full", "none"]
DRAWS = 200  # tries to find groups that put every class into every part
KEPT = 1 / 3  # share of the labelled windows that a trial is scored by, and not taught
FOLDS = 5  # at most, of a cross-validation inside the labelled windows
CLOSE = 1e-12  # of equal shares, apart by rounding


class Split(Spec):
    """Shares of groups that train, validate and test."""

    val: Share = 0.25
    """Share of groups that validate, drawn per trial from those that do not test; part of the pool
    of labelled windows where `finetune.validation` is not `full`."""
    test: Share = 0.25
    """Share of groups that test; drawn from `seed` alone."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Group k-fold: so many parts, of which `fold` tests in place of a share."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """Which of `folds` tests, from 0."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Draws the test groups, so that no trial ever validates on another trial's test data."""
    round: Annotated[Annotated[int, Field(ge=0)] | None, Later()] = None
    """Draws half of the test groups, who are tested in this round; null: all of them are."""

    @model_validator(mode="after")
    def _leaves_a_train_part(self) -> "Split":
        if self.val + self.test >= 1:
            rule = f"val + test = {self.val + self.test:g}: must leave groups to train on"
            raise ValueError(f"{rule}; keep it below 1")
        return self

    @model_validator(mode="after")
    def _fold_of_folds(self) -> "Split":
        if (self.folds is None) != (self.fold is None) or (self.fold or 0) >= (self.folds or 1):
            rule = f"fold={self.fold} of folds={self.folds}: give both or none"
            raise ValueError(f"{rule}, and 0 <= fold < folds")
        return self


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
    """Test groups from `spec.seed`, then validation groups from `seed` among the rest."""
    groups = np.unique(windows.group)
    _check_labels(windows)
    n_test, n_val = (max(1, round(share * len(groups))) for share in (spec.test, spec.val))
    if spec.folds is not None:
        n_test = -(-len(groups) // spec.folds)
    if len(groups) - n_test - n_val < 1:
        parts = f"train, val ({spec.val:g}) and test ({spec.test:g})"
        rule = f"{len(groups)} groups cannot be split into {parts} without cutting one"
        raise refuse(f"{rule}; give more recordings, or lower the shares")
    rng = np.random.default_rng([1, spec.seed])
    if spec.folds is None:
        test = _draw(windows, groups, n_test, rng, "test")
    else:
        test = _fold(windows, groups, spec.folds, spec.fold or 0, rng)
    rest = np.setdiff1d(groups, test)
    val = _draw(windows, rest, n_val, np.random.default_rng([2, spec.seed, seed]), "val")
    train = np.setdiff1d(rest, val)
    test = tested(windows, spec, test)
    return Parts(*(np.flatnonzero(np.isin(windows.group, of)) for of in (train, val, test)))


def _check_labels(windows: Windows) -> None:
    """Refuse labels that leave nothing to be predicted."""
    if windows.target == "value":
        if np.ptp(windows.labels) == 0:
            rule = f"every window has the value {windows.labels[0]:g}: nothing can be told apart"
            raise refuse(f"{rule}; look at the labels")
    elif len(windows.classes) < 2:
        rule = f"classes: {list(windows.classes)}: must be at least 2 to tell apart"
        raise refuse(f"{rule}; look at the labels")


def tested(windows: Windows, spec: Split, test: Index) -> Index:
    """Of the test groups, those that are tested in the spec's round: half, drawn anew, where they
    are enough and each half holds every class; else all of them, in every round."""
    if spec.round is None or len(test) < FEWEST_TO_DRAW:
        return test
    rng = np.random.default_rng([13, spec.seed, spec.round])
    for _ in range(DRAWS):
        drawn = rng.choice(test, -(-len(test) // 2), replace=False)
        if _holds_all(windows, np.isin(windows.group, drawn)):
            return np.sort(drawn)
    return test


def _fold(windows: Windows, groups: Index, n: int, fold: int, rng: np.random.Generator) -> Index:
    """One of `n` parts of the groups, drawn until every part holds every class."""
    for _ in range(DRAWS):
        parts = np.array_split(rng.permutation(groups), n)
        if all(_holds_all(windows, np.isin(windows.group, part)) for part in parts):
            return np.sort(parts[fold])
    rule = f"folds={n}: no cut of {len(groups)} groups into that many parts"
    way = "use fewer folds, or merge rare classes"
    raise refuse(f"{rule} puts every class into each; {way}")


def _draw(windows: Windows, groups: Index, n: int, rng: np.random.Generator, part: str) -> Index:
    """`n` of `groups` such that they, and the groups left, both hold every class."""
    inside = np.isin(windows.group, groups)
    for _ in range(DRAWS):
        chosen = rng.choice(groups, n, replace=False)
        picked = np.isin(windows.group, chosen)
        if all(_holds_all(windows, mask) for mask in (picked & inside, ~picked & inside)):
            return np.sort(chosen)
    y = windows.strata
    few = {windows.classes[k]: len(np.unique(windows.group[y == k])) for k in np.unique(y)}
    rule = f"no choice of {n} of {len(groups)} groups puts every class into {part} and leaves"
    rule += f" every class outside it; groups per class: {few}"
    raise refuse(f"{rule}; merge rare classes, drop them with `classes:`, or change the shares")


def _holds_all(windows: Windows, mask: npt.NDArray[np.bool_]) -> bool:
    """Whether the windows of `mask` hold every class that there is."""
    return len(np.unique(windows.strata[mask])) == len(np.unique(windows.strata))


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
            rare = windows.classes[names[counts.argmin()]]
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
        if windows.target == "classes":
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
