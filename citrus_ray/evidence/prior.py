"""Priors: points that did well in earlier records, for another sweep to begin with.

Validation scores alone say what did well, of searches that saw nobody whom the new sweep tests.
Scores of different studies are not compared: within each a trial counts by its rank. The points are
a portfolio, as zero-shot search makes it: each next one is what adds most to the best rank that
the points before it reach, on the mean over studies.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from citrus_ray.evidence.intervals import Floats
from citrus_ray.evidence.reading import trials_in
from citrus_ray.evidence.trials import Result, ranked, result_of
from citrus_ray.experiment.designs import Point
from citrus_ray.experiment.hold_out import saw_tested
from citrus_ray.experiment.labels import canonical, count
from citrus_ray.experiment.search_space import SearchSpace
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.experiment.trial import HoldOut, Trial
from citrus_ray.experiment.warm_start import Prior
from citrus_ray.records import Record
from citrus_ray.spec import SpecError, read_yaml, refuse, validate

FEWEST = 3  # trials of a study that may say what is better than what
OF_EACH = 5  # the best trials of a study are candidates: all of many studies take too long
REACH = 0.15  # of an axis: how far a trial speaks for others, which also evens out its noise


@dataclass(frozen=True)
class _Study:
    """The trials of an earlier cell, on axes that are searched now."""

    points: tuple[Point, ...]
    merits: Floats  # 0: the worst, 1: the best


def look_up(sweep: Sweep) -> Prior:
    """The points that this sweep's warm start asks for, and of which records they are."""
    assert sweep.warm_start is not None
    axes = {path: axis for cell in sweep.cells for path, axis in cell.search.items()}
    admit, said = _Admission(sweep), list[str]()
    known, studies, targets = list[Point](), list[_Study](), set[str]()
    for name in sweep.warm_start.records:
        path = Path(name).expanduser()
        if path.is_file():
            prior = validate(Prior, read_yaml(path).tree)
            known += [p for p in prior.points if not any(_meet(p, k, axes) for k in known)]
            targets |= {*prior.targets}
            said += [f"{name}: {count(len(prior.points), 'point')}", *prior.said]
        elif (path / "records").is_dir():
            found, why_not = admit.of(path / "records")
            made = [study for rows in found if (study := _study(rows, axes, sweep)) is not None]
            studies += made
            targets |= {trial[0].data_digest for rows in found for trial in rows}
            n = sum(len(study.points) for study in made)
            said.append(f"{name}: {count(n, 'trial')} of {len(made)} studies")
            said += [f"{name}: {n} left out: {why}" for why, n in sorted(why_not.items())]
        else:
            rule = f"{name}: is neither a results folder with records/ nor a file of points"
            raise refuse(f"{rule}; give one, or drop it", "warm_start.records")
    points = [*known, *portfolio(studies, axes, sweep.warm_start.points - len(known))]
    return Prior(points=tuple(points), said=tuple(said), targets=tuple(sorted(targets)))


# ---- which records may speak ----


class _Admission:
    """Searches of one metric and of models that the sweep has, which saw nobody whom it tests."""

    def __init__(self, sweep: Sweep) -> None:
        self.metric = sweep.objective.metric
        self.kinds = {cell.trial.model.kind for cell in sweep.cells}
        trials = [trial for cell in sweep.cells for _, trial in cell.members({})]
        self.tested = {str(trial.tested): trial.tested for trial in trials}
        self._known: dict[str, str | None] = {}

    def of(self, folder: Path) -> tuple[list[list[list[Record]]], Counter[str]]:
        """Trials by study, and why others were left out."""
        cells: dict[str, list[list[Record]]] = defaultdict(list)
        for rows in trials_in(folder):
            if rows[0].phase == "search":
                cells[rows[0].cell].append(rows)
        found, why_not = [], Counter[str]()
        for trials in cells.values():
            why = self._why_not(trials)
            why_not.update([why] if why else [])
            found += [] if why else [trials]
        return found, why_not

    def _why_not(self, trials: Sequence[Sequence[Record]]) -> str | None:
        first = trials[0][0]
        kind = first.config.get("model.kind")
        if kind not in self.kinds:
            return f"of model {kind}"
        if not any(self.metric in row.metrics for rows in trials for row in rows):
            return f"without {self.metric}"
        different = {self._who_was_seen(row): row for rows in trials for row in rows}
        return next((why for key, row in different.items() if (why := self._saw(key, row))), None)

    def _who_was_seen(self, row: Record) -> str:
        parts = ("finetune.target", "finetune.split", "finetune.align", "pretrain")
        return canonical({k: v for k, v in row.config.items() if k.startswith(parts)})

    def _saw(self, key: str, row: Record) -> str | None:
        if key not in self._known:
            self._known[key] = _saw(row, self.tested.values())
        return self._known[key]


def _saw(row: Record, tested: Iterable[HoldOut]) -> str | None:
    """Why an earlier member may have seen who is tested; None: it did not."""
    try:
        was = validate(Trial, _nested(row.config))
        return next((why for now in tested if (why := saw_tested(was, now))), None)
    except SpecError as err:
        return f"who it saw cannot be checked here ({err.problems[0].message})"


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """A tree from its dotted paths."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, leaf = path.split(".")
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
        node[leaf] = value
    return tree


# ---- which points did well ----


def _study(trials: Sequence[Sequence[Record]], axes: SearchSpace, sweep: Sweep) -> _Study | None:
    """None of a study that has too few trials, or none of these axes."""
    aim = sweep.objective
    results = [result_of(rows, aim.metric) for rows in trials if aim.metric in rows[0].metrics]
    scored = [result for result in results if result.is_full and result.value is not None]
    full = [(result, point) for result in scored if (point := _on(axes, result))]
    if len(full) < FEWEST:
        return None
    place = {r.digest: i for i, r in enumerate(ranked([r for r, _ in full], aim.mode))}
    merits = [1 - place[result.digest] / (len(full) - 1) for result, _ in full]
    return _Study(tuple(point for _, point in full), np.asarray(merits))


def _on(axes: SearchSpace, result: Result) -> Point:
    """The settings of a trial that can be tried now."""
    return {
        path: axes[path].nearest(value)
        for path, value in result.params.items()
        if path in axes and axes[path].place(value) is not None
    }


def portfolio(studies: Sequence[_Study], axes: SearchSpace, n: int) -> list[Point]:
    """At most `n` points, each of which adds most to what the ones before it reach.

    No two have the same value of a continuous axis: an arm that has this axis alone would try a
    point less.
    """
    best = {
        canonical(study.points[i]): study.points[i]
        for study in studies
        for i in np.argsort(-study.merits, kind="stable")[:OF_EACH]
    }
    names = sorted(best)
    merits = np.array([[_merit(best[name], of, axes) for of in studies] for name in names])
    chosen: list[int] = []
    reached = np.zeros(len(studies))
    left = list(range(len(names)))
    while left and len(chosen) < n:
        gains = [(np.maximum(reached, merits[i]).mean(), merits[i].mean()) for i in left]
        i = left[max(range(len(left)), key=lambda k: gains[k])]
        chosen.append(i)
        reached = np.maximum(reached, merits[i])
        left = [j for j in left if j != i and not _meet(best[names[i]], best[names[j]], axes)]
    return [best[names[i]] for i in chosen]


def _meet(one: Point, other: Point, axes: SearchSpace) -> bool:
    """Whether two points have the same value of a continuous axis."""
    both = one.keys() & other.keys()
    return any(one[p] == other[p] for p in both if axes[p].n_values() == math.inf)


def _merit(point: Point, study: _Study, axes: SearchSpace) -> float:
    """What a study says of a point: the mean over its trials, of which near ones count more."""
    apart = np.array([_distance(point, other, axes) for other in study.points])
    weights = np.exp(-((apart / REACH) ** 2) / 2)
    return float(weights @ study.merits / weights.sum()) if weights.sum() > 1e-9 else 0.5


def _distance(one: Point, other: Point, axes: SearchSpace) -> float:
    """Over the axes that both have: numbers by their place, choices that differ by a whole axis."""
    total = 0.0
    for path in one.keys() & other.keys():
        a, b = (axes[path].place(point[path]) or 0.0 for point in (one, other))
        total += float(a != b) if axes[path].choice is not None else (a - b) ** 2
    return math.sqrt(total)
