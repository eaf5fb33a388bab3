"""Warm start: points that did well in earlier records, which every row of a sweep tries first."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import Field

from citrus_ray.experiment.labels import count, settings_label
from citrus_ray.spec import Spec


class Prior(Spec):
    """What earlier records say did well, as data."""

    points: tuple[dict[str, Any], ...]
    """Values by dotted path, the most promising point first. Axes that a point lacks are filled in
    from the design."""
    said: tuple[str, ...] = ()
    """Which records the points are of, and which were left out and why."""
    targets: tuple[str, ...] = ()
    """Digests of the targets of these records: labels of them were seen."""


class WarmStart(Spec):
    """Where a search begins: at points that did well in earlier records."""

    records: Annotated[tuple[str, ...], Field(min_length=1)]
    """Results folders of earlier sweeps on this machine, or YAML files that hold `points`, as
    `found` does."""
    points: Annotated[int, Field(ge=1)] = 4
    """How many of the budget's trials begin there."""
    found: Prior | None = None
    """The points themselves, which the first run looks up and writes into its `spec.yaml`; null:
    they are looked up."""

    def lines(self, first: Sequence[dict[str, Any]]) -> Iterator[str]:
        """What is tried first and why, as plans and screens say it."""
        if self.found is None:
            return
        n = count(len(first), "point")
        yield f"warm start: {n} that did well in earlier records, tried first in every row"
        yield from (f"  {settings_label(point)}" for point in first)
        yield from (f"  of {said}" for said in self.found.said)

    def caveats(self, target: str) -> Iterator[str]:
        """What is to be known beside a number of a target, by its digest."""
        if self.found is None or not self.found.points:
            return
        of = "; ".join(self.found.said)
        yield f"the search began at points that did well in earlier records: {of}"
        if target in self.found.targets:
            yield (
                "these records are of this target too: labels that they saw are not counted here"
            )
