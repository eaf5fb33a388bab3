"""Common points of rows that share axes, led by what all rows found at the points before them.

A sampler that learns would follow each row's own results, and try rows at different points. Here
all rows take the same points, a batch at a time. A batch is made once every row has a result at all
points before it, from the mean over rows of what each point ranks there: no row leads more than
another, and neither the order in which trials end nor that of rows decides where the search goes.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from citrus_ray import records
from citrus_ray.evidence.design import planned_points, read_plan
from citrus_ray.evidence.intervals import Floats
from citrus_ray.evidence.trials import Result, Tried
from citrus_ray.experiment.designs import Common, Point, design
from citrus_ray.experiment.labels import canonical
from citrus_ray.experiment.sweep import Sweep

STARTUP = 10  # points of the design before anything is learnt: as many as TPE wants to see
BATCH = 5  # points that are made at once: at its end rows wait for each other
TRIES = 5  # suggestions in a row that are not new, after which the design goes on


class Together:
    """Where all rows of a sweep search. `points` grows while it runs, and is kept in plan.json: a
    sweep that goes on takes those that were tried, whatever came of trials that were lost."""

    def __init__(self, sweep: Sweep, folder: Path) -> None:
        self.sweep, self.plan = sweep, folder.parent / "plan.json"
        spaces = [cell.search for cell in sweep.cells]
        self.axes = {path: axis for space in spaces for path, axis in sorted(space.items())}
        self.common = Common(spaces, sweep.budget.trials)
        self.rest = itertools.chain(sweep.first, design("qmc", spaces, sweep.seed))
        self.spent = not self._go_on_with_the_design(STARTUP)
        known = planned_points(self.plan.parent) or ()
        before = [canonical(point) for point in known]
        mine = [canonical(point) for point in self.points]
        if all(a == b for a, b in zip(before, mine, strict=False)):
            for point in known[len(mine) :]:
                self.common.add(point)
        self._n_known = -1  # results at the last look

    @property
    def points(self) -> list[Point]:
        return self.common.points

    @property
    def closed(self) -> bool:
        """Whether no point will be added."""
        return self.spent or self.common.full

    def extend(self, cells: Sequence[Tried]) -> bool:
        """Whether points were added, once all cells have a result at those that are there."""
        n_known = sum(len(tried.by_point) for tried in cells)
        if self.closed or n_known == self._n_known:
            return False
        self._n_known = n_known
        found = [[tried.at(point) for tried in cells] for point in reversed(self.points)]
        if any(None in at for at in found):
            return False
        results = [[result for result in at if result] for at in reversed(found)]
        self.spent = not self._add(self._suggestions(results))
        self._save()
        return not self.spent

    def _add(self, suggestions: Iterator[Point]) -> bool:
        """Whether a batch, or what there is room for, could be added."""
        for _ in range(BATCH):
            added = any(self.common.add(next(suggestions)) for _ in range(TRIES))
            if not added and not self.common.full and not self._go_on_with_the_design(1):
                return False
        return True

    def _go_on_with_the_design(self, n: int) -> bool:
        """Whether so many points were taken from it, or all that there is room for."""
        wanted = len(self.points) + n
        while len(self.points) < wanted and not self.common.full:
            point = next(self.rest, None)
            if point is None:
                return False
            self.common.add(point)
        return True

    def _suggestions(self, found: Sequence[Sequence[Result]]) -> Iterator[Point]:
        """What follows from the results of each point, by cell."""
        from citrus_ray.search.optuna_bridge import Told, suggestions  # takes most of a second

        seed = (self.sweep.seed * 7919 + len(self.points)) % 2**32
        told = [
            Told(point, merit, over, self._seconds(at))
            for point, merit, over, at in zip(
                self.points, merits(found), map(most_over, found), found, strict=True
            )
        ]
        return suggestions(self.sweep.sampler, self.axes, told, seed)

    def _seconds(self, results: Sequence[Result]) -> float:
        """What a point took in all cells, where that is weighed."""
        if self.sweep.budget.per == "trial":
            return 0.0
        return sum(result.seconds for result in results if result.is_full)

    def _save(self) -> None:
        plan = read_plan(self.plan.parent) | {"points": self.points}
        records.write_text(self.plan, json.dumps(plan, indent=1) + "\n")


def most_over(results: Sequence[Result]) -> dict[str, float]:
    """The constraints that a point is over in any cell: what one arm may not have is led to by
    none."""
    names = dict.fromkeys(name for result in results for name in result.over)
    return {name: max(result.over.get(name, 0.0) for result in results) for name in names}


def merits(found: Sequence[Sequence[Result]]) -> list[tuple[float, ...] | None]:
    """For each point, whose results these are by cell, and each objective: the mean over cells of
    the share of points that it beats there. A trial that failed or was stopped is beaten by all
    others; None where that is so in all cells."""
    n_objectives = max((len(result.scores) for at in found for result in at), default=0)
    if not n_objectives:
        return [None] * len(found)
    shares = [_shares([at[cell] for at in found], n_objectives) for cell in range(len(found[0]))]
    means = np.mean(shares, axis=0)
    full = [any(result.is_full for result in at) for at in found]
    return [tuple(map(float, m)) if ok else None for m, ok in zip(means, full, strict=True)]


def _shares(results: Sequence[Result], n_objectives: int) -> Floats:
    """(point, objective), of one cell: how many of the points each beats, half of those it ties."""
    worst = (-np.inf,) * n_objectives
    score = np.array([r.merits if r.is_full and r.merits else worst for r in results])
    one, other = score[:, None], score[None]
    return np.asarray((one > other).mean(axis=1) + (one == other).mean(axis=1) / 2)
