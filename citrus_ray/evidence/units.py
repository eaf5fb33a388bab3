"""Which of target, test people and seed was varied, and so for whom an interval speaks.

Whole targets are resampled with everything inside them, else whole test parts, else seeds: values that share a target
or its people go up and down together, and are one piece of evidence, however many seeds there are.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from citrus_ray.evidence.intervals import Effect, stratified

Level = Literal["target", "test part", "seed"]
SPEAKS_FOR: dict[Level, str] = {
    "target": "new targets like these",
    "test part": "new people of this target",
    "seed": "new seeds on the same people",
}


@dataclass(frozen=True)
class Value:
    """One score or difference, and where it was measured."""

    target: str
    people: str  # the test part
    value: float


@dataclass(frozen=True)
class Units:
    """The independent values that an interval and a test may count."""

    level: Level
    values: tuple[float, ...]
    names: tuple[str, ...]  # of the targets or test parts; empty for seeds

    @property
    def said(self) -> str:
        n = len(self.values)
        return f"{n:,} {self.level}{'s' * (n != 1)}"


def units(found: Sequence[Value]) -> Units:
    """Means over whatever lies below the highest level that varies. Every target weighs the same, and every part."""
    targets = _grouped(found, lambda v: v.target)
    if len(targets) > 1:
        return Units(
            "target", tuple(_mean_over_people(vs) for vs in targets.values()), tuple(targets)
        )
    people = _grouped(found, lambda v: v.people)
    if len(people) > 1:
        return Units(
            "test part", tuple(fmean(v.value for v in vs) for vs in people.values()), tuple(people)
        )
    return Units("seed", tuple(v.value for v in found), ())


def _mean_over_people(found: Sequence[Value]) -> float:
    return fmean(fmean(v.value for v in vs) for vs in _grouped(found, lambda v: v.people).values())


def of_these_targets(found: Sequence[Value]) -> Effect | None:
    """The mean for exactly the targets measured: their people and seeds vary, they do not."""
    return stratified([units(vs).values for vs in _grouped(found, lambda v: v.target).values()])


def _grouped(found: Sequence[Value], key: Callable[[Value], str]) -> dict[str, list[Value]]:
    groups: dict[str, list[Value]] = defaultdict(list)
    for value in found:
        groups[key(value)].append(value)
    return groups
