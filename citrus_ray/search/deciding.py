"""Rounds where claims are open: which cells go on, and when a sweep knows what it asked."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from citrus_ray.evidence.cost import cost
from citrus_ray.evidence.design import Design, design_of
from citrus_ray.evidence.intervals import OverTargets
from citrus_ray.evidence.outcomes import Outcome, nothing_of
from citrus_ray.evidence.rounds import MOST, SETTLED, rounds_to
from citrus_ray.evidence.verdicts import Judged, judge

if TYPE_CHECKING:
    from citrus_ray.search.study import Studies, Study

BATCH = 10  # a tenth more rounds at a time: a look after each of many would tell little


def more_rounds(studies: "Studies") -> dict[str, int]:
    """Rounds wanted of some cells, by digest; empty where all is decided or the budget is spent.

    The open claim that is the least seconds from a verdict goes on, until it has one.
    """
    sweep = studies.sweep
    decide = sweep.decide
    if decide is None or studies.gave_up:
        return {}
    if decide.hours is not None and studies.clock.elapsed() >= 3600 * decide.hours:
        return {}
    by_cell = {study.cell.digest: study for study in studies.studies}
    design = design_of(sweep, studies.folder.parent)
    judged = judge(sweep.claims, [_outcome(study, design) for study in studies.studies], design)
    going = {
        i: [by_cell[cell.digest] for cell in one.cells]
        for i, one in enumerate(judged)
        if one.cells and _wants_more(one)
    }
    going = {
        i: of
        for i, of in going.items()
        if all(study.best for study in of) and min(s.n_wanted for s in of) < decide.rounds
    }
    if not going:
        return {}
    store = studies.store or studies.folder.parent.parent / "store"
    nearest = min(going, key=lambda i: _seconds_left(judged[i], store))
    n = min(study.n_wanted for study in going[nearest])
    at_once = max(1, n // BATCH, min(n // 2, studies.n_slots // _n_encoders(going[nearest])))
    return {study.cell.digest: min(decide.rounds, n + at_once) for study in going[nearest]}


def _n_encoders(studies: Sequence["Study"]) -> int:
    """Pre-trainings that a round of these cells waits for, while other slots are idle."""
    return max(1, sum(study.cell.trial.pretraining is not None for study in studies))


def _wants_more(judged: Judged) -> bool:
    """Whether it is undecided, and more rounds may decide it."""
    found = judged.found
    if found is None:  # no round is complete yet, or one target speaks of no next one
        return judged.measured is None
    looks = found.looks
    settled = isinstance(looks, OverTargets) and looks.noise_share < SETTLED
    return judged.verdict == "undecided" and not settled


def _seconds_left(judged: Judged, store: Path | str) -> float:
    """To a verdict, at the size, the spread and the price of a round so far."""
    found = judged.found
    if found is None or found.looks.sd == 0:
        return 0.0
    looks, alpha = found.looks, found.alpha / found.factor
    n = rounds_to(looks.mean, looks.sd, alpha, found.within) or MOST
    rows = [row for cell in judged.cells for row in cell.final if row.seed == cell.final[-1].seed]
    price = cost(rows, store)
    return max(n - len(looks.n), 1) * float(price["final_seconds"] + price["pretrain_seconds"])


def _outcome(study: "Study", design: Design) -> Outcome:
    """What evidence knows of a cell, from the rows at hand."""
    rows = tuple(row for number in sorted(study.rounds) for row in study.rounds[number])
    empty = nothing_of(study.cell.digest, study.cell.axes, design)
    return replace(empty, best=study.best, final=rows, rows=rows)
