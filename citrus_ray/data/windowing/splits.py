"""Group-disjoint splits and nested label subsets. A group is never broken to balance classes."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from citrus_ray.data.windows import Index, Windows
from citrus_ray.spec import Spec, refuse

Share = Annotated[float, Field(gt=0, lt=1)]
DRAWS = 200  # tries to find groups that put every class into every part


class Split(Spec):
    """Shares of groups that train, validate and test."""

    val: Share = 0.25
    """Share of groups that validate, drawn per trial from those that do not test."""
    test: Share = 0.25
    """Share of groups that test; drawn from `seed` alone."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Group k-fold: so many parts, of which `fold` tests in place of a share."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """Which of `folds` tests, from 0."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Draws the test groups, so that no trial ever validates on another trial's test data."""

    @model_validator(mode="after")
    def _leaves_a_train_part(self) -> "Split":
        if self.val + self.test >= 1:
            raise ValueError(
                f"val + test = {self.val + self.test:g}: must leave groups to train on; keep it below 1"
            )
        return self

    @model_validator(mode="after")
    def _fold_of_folds(self) -> "Split":
        if (self.folds is None) != (self.fold is None) or (self.fold or 0) >= (self.folds or 1):
            raise ValueError(
                f"fold={self.fold} of folds={self.folds}: give both or none, and 0 <= fold < folds"
            )
        return self


class Labels(Spec):
    """Training windows that show their label; subsets of a seed are nested, and alike in all arms."""

    per_class: Annotated[int, Field(ge=1)] | None = None
    """Labelled training windows of each class."""
    count: Annotated[int, Field(ge=1)] | None = None
    """Labelled training windows in all."""
    fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of training windows that are labelled, rounded up."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "Labels":
        given = [
            name for name in ("per_class", "count", "fraction") if getattr(self, name) is not None
        ]
        if len(given) != 1:
            raise ValueError(
                f"labels must give exactly one of per_class, count, fraction, but got {given or 'none'}"
            )
        return self

    def __str__(self) -> str:
        if self.per_class is not None:
            return f"{self.per_class} per class"
        return (
            f"{self.count} windows" if self.count is not None else f"{self.fraction:.0%} of labels"
        )


@dataclass(frozen=True)
class Parts:
    """Sorted window indices. Their groups are disjoint."""

    train: Index
    val: Index
    test: Index


def split(windows: Windows, spec: Split, seed: int) -> Parts:
    """Test groups from `spec.seed`, then validation groups from `seed` among the rest."""
    groups = np.unique(windows.group)
    if len(windows.classes) < 2:
        raise refuse(
            f"classes: {list(windows.classes)}: must be at least 2 to tell apart; look at the labels"
        )
    n_test, n_val = (max(1, round(share * len(groups))) for share in (spec.test, spec.val))
    if spec.folds is not None:
        n_test = -(-len(groups) // spec.folds)
    if len(groups) - n_test - n_val < 1:
        raise refuse(
            f"{len(groups)} groups cannot be split into train, val ({spec.val:g}) and test ({spec.test:g}) "
            "without cutting one; give more recordings, or lower the shares"
        )
    rng = np.random.default_rng([1, spec.seed])
    test = (
        _draw(windows, groups, n_test, rng, "test")
        if spec.folds is None
        else _fold(windows, groups, spec, rng)
    )
    rest = np.setdiff1d(groups, test)
    val = _draw(windows, rest, n_val, np.random.default_rng([2, spec.seed, seed]), "val")
    where = [
        np.flatnonzero(np.isin(windows.group, part))
        for part in (np.setdiff1d(rest, val), val, test)
    ]
    return Parts(*where)


def _fold(windows: Windows, groups: Index, spec: Split, rng: np.random.Generator) -> Index:
    """One of `folds` parts of the groups, drawn until every part holds every class."""
    assert spec.folds is not None
    assert spec.fold is not None
    n_classes = len(np.unique(windows.labels))
    for _ in range(DRAWS):
        parts = np.array_split(rng.permutation(groups), spec.folds)
        if all(
            len(np.unique(windows.labels[np.isin(windows.group, part)])) == n_classes
            for part in parts
        ):
            return np.sort(parts[spec.fold])
    raise refuse(
        f"folds={spec.folds}: no cut of {len(groups)} groups into that many parts puts every class into each; "
        "use fewer folds, or merge rare classes"
    )


def _draw(windows: Windows, groups: Index, n: int, rng: np.random.Generator, part: str) -> Index:
    """`n` of `groups` such that they, and the groups left, both hold every class."""
    wanted = np.unique(windows.labels)
    inside = np.isin(windows.group, groups)
    for _ in range(DRAWS):
        chosen = rng.choice(groups, n, replace=False)
        picked = np.isin(windows.group, chosen)
        if all(
            len(np.unique(windows.labels[mask])) == len(wanted)
            for mask in (picked & inside, ~picked & inside)
        ):
            return np.sort(chosen)
    few = {windows.classes[k]: len(np.unique(windows.group[windows.labels == k])) for k in wanted}
    raise refuse(
        f"no choice of {n} of {len(groups)} groups puts every class into {part} and leaves every class outside it; "
        f"groups per class: {few}; merge rare classes, drop them with `classes:`, or change the shares"
    )


def label_subset(windows: Windows, pool: Index, labels: Labels, seed: int) -> Index:
    """The windows of `pool` whose labels may be used, sorted."""
    order = _label_order(windows, pool, seed)
    y = windows.labels[order]
    if labels.per_class is not None:
        return np.sort(
            np.concatenate(
                [_first(order[y == k], labels.per_class, windows, k) for k in np.unique(y)]
            )
        )
    n = (
        labels.count
        if labels.count is not None
        else int(np.ceil((labels.fraction or 1.0) * len(order)))
    )
    n_classes = len(np.unique(y))
    if not n_classes <= n <= len(order):
        raise refuse(
            f"labels: {n} of the {len(order)} training windows cannot hold one of each of the {n_classes} classes; "
            f"ask for {n_classes} to {len(order)}"
        )
    return np.sort(order[:n])


def _first(order: Index, n: int, windows: Windows, k: int) -> Index:
    if len(order) < n:
        raise refuse(
            f"labels.per_class={n}: class {windows.classes[k]!r} has only {len(order)} training windows; ask for fewer"
        )
    return order[:n]


def _label_order(windows: Windows, pool: Index, seed: int) -> Index:
    """All of `pool` in the order in which labels are given out: a longer subset always holds the
    shorter one.

    Within a class, groups take turns, so that few labels still come from many people; classes take
    turns by their share, the first window of every class leading.
    """
    rng = np.random.default_rng([3, seed])
    rank = np.empty(len(pool))
    y, group = windows.labels[pool], windows.group[pool]
    tie = rng.permutation(len(pool))
    group_turn = dict(
        zip(np.unique(group).tolist(), rng.permutation(len(np.unique(group))).tolist(), strict=True)
    )
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
