"""What was varied (target, test people or seed), and so for whom an interval speaks.

Whole targets count with everything inside them, else whole test parts, else seeds: values that
share a target or its people go up and down together, and are one piece of evidence, however many
seeds there are.
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
    test_part: str
    value: float


@dataclass(frozen=True)
class Units:
    """The independent values that an interval and a test may count."""

    level: Level
    values: tuple[float, ...]
    names: tuple[str, ...]  # of the targets or test parts; empty for seeds

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def said(self) -> str:
        n = len(self.values)
        return f"{n:,} {self.level}{'s' * (n != 1)}"


def units(found: Sequence[Value]) -> Units:
    """Means over whatever lies below the highest level that varies; every target and every part
    weighs the same."""
    targets = _grouped(found, lambda v: v.target)
    if len(targets) > 1:
        means = (
            fmean(
                fmean(v.value for v in part)
                for part in _grouped(vs, lambda v: v.test_part).values()
            )
            for vs in targets.values()
        )
        return Units("target", tuple(means), tuple(targets))
    parts = _grouped(found, lambda v: v.test_part)
    if len(parts) > 1:
        means = (fmean(v.value for v in part) for part in parts.values())
        return Units("test part", tuple(means), tuple(parts))
    return Units("seed", tuple(v.value for v in found), ())


def of_these_targets(found: Sequence[Value]) -> Effect | None:
    """The mean for exactly the targets measured: their people and seeds vary, they do not."""
    return stratified([units(vs).values for vs in _grouped(found, lambda v: v.target).values()])


def _grouped(found: Sequence[Value], key: Callable[[Value], str]) -> dict[str, list[Value]]:
    groups: dict[str, list[Value]] = defaultdict(list)
    for value in found:
        groups[key(value)].append(value)
    return groups
