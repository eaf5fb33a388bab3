"""Sweeps with several objectives: each cell's trials by what they scored in each, and those that
none beats."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.trials import Result, front
from citrus_ray.experiment.labels import value_label


@dataclass(frozen=True)
class Front:
    """One cell's searched trials that ran to their end, in validation scores."""

    cell: Outcome
    names: tuple[str, ...]  # of the objectives
    trials: tuple[Result, ...]
    best: tuple[Result, ...]  # those on the front, best in the first objective first


def fronts(cells: Iterable[Outcome]) -> list[Front]:
    """Of the cells whose sweep asked for an objective at each value of a repeated setting."""
    return [
        found
        for cell in cells
        if cell.design.each and (found := _front(cell, cell.design.each)).trials
    ]


def _front(cell: Outcome, each: str) -> Front:
    full = tuple(trial for trial in cell.searched if trial.is_full)
    rows = (row for row in cell.rows if row.phase == "search")
    values = dict.fromkeys(json.dumps(row.repeat[each], sort_keys=True) for row in rows)
    names = tuple(value_label(each, json.loads(value)) for value in values)
    return Front(cell, names, full, tuple(front(full)))
