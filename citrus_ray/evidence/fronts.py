"""Sweeps with several objectives: the trials of each cell by what they scored in each, and those that none beats."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from citrus_ray.evidence.outcomes import Cell, value_label
from citrus_ray.records import Record

Scores = tuple[float, ...]


@dataclass(frozen=True)
class Tried:
    """A searched trial that ran to its end, in validation scores."""

    params: dict[str, Any]
    scores: Scores
    on_front: bool


@dataclass(frozen=True)
class Front:
    cell: Cell
    names: tuple[str, ...]  # of the objectives
    trials: tuple[Tried, ...]

    @property
    def best(self) -> list[Tried]:
        return sorted(
            (trial for trial in self.trials if trial.on_front), key=lambda t: t.scores, reverse=True
        )


def fronts(cells: Iterable[Cell]) -> list[Front]:
    """Of the cells whose sweep asked for an objective at each value of a repeated setting."""
    return [
        found for cell in cells if cell.plan.each and (found := _front(cell, cell.plan.each)).trials
    ]


def _front(cell: Cell, each: str) -> Front:
    by_trial: dict[str, list[Record]] = defaultdict(list)
    for row in cell.rows:
        if row.phase == "search":
            by_trial[row.trial].append(row)
    full = [rows for rows in by_trial.values() if all(row.status == "ok" for row in rows)]
    values = list(
        dict.fromkeys(json.dumps(row.repeat[each], sort_keys=True) for rows in full for row in rows)
    )
    scored = [(rows[0].params, _scores(rows, each, values, cell.plan.metric)) for rows in full]
    tried = [
        Tried(params, mine, not any(_beats(other, mine) for _, other in scored))
        for params, mine in scored
    ]
    return Front(
        cell, tuple(value_label(each, json.loads(value)) for value in values), tuple(tried)
    )


def _scores(rows: list[Record], each: str, values: list[str], metric: str) -> Scores:
    def at(value: str) -> list[float]:
        return [
            row.metrics[metric]
            for row in rows
            if json.dumps(row.repeat[each], sort_keys=True) == value
        ]

    return tuple(statistics.fmean(at(value)) for value in values)


def _beats(one: Scores, other: Scores) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))
