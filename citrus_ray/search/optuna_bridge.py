"""A cell as Optuna sees it: its space, its finished trials, its sampler, its journal. Knows
nothing of Ray."""

import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

from citrus_ray import records
from citrus_ray.evidence.evidence import Evidence
from citrus_ray.evidence.trials import Result
from citrus_ray.experiment.designs import Point
from citrus_ray.experiment.search_space import Sampler, SearchAxis, SearchSpace
from citrus_ray.experiment.sweep import Cell, Sweep
from citrus_ray.records import Status

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings(
    "ignore", category=optuna.exceptions.ExperimentalWarning
)  # source_trials of CMA-ES

STATES: dict[Status, TrialState] = {
    "ok": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def distribution(axis: SearchAxis) -> BaseDistribution:
    if axis.choice is not None:
        return CategoricalDistribution(list(axis.choices_by_name()))
    if axis.int_ is not None:
        return IntDistribution(*axis.int_, step=int(axis.step or 1))
    if axis.loguniform is not None:
        return FloatDistribution(*axis.loguniform, log=True)
    assert axis.uniform is not None
    return FloatDistribution(*axis.uniform, step=axis.step)


def space_of(axes: SearchSpace) -> dict[str, BaseDistribution]:
    return {path: distribution(axis) for path, axis in axes.items()}


def named(axes: SearchSpace, params: dict[str, Any]) -> dict[str, Any]:
    """Parameters as Optuna knows them: choices by name."""
    out = {}
    for path, value in params.items():
        names = axes[path].choices_by_name()
        out[path] = next(
            (n for n, v in names.items() if v == value and type(v) is type(value)), value
        )
    return out


def frozen(axes: SearchSpace, result: Result) -> FrozenTrial:
    """A recorded trial as one of Optuna's, which knows none that is complete without a value."""
    scored = result.status != "ok" or result.scores
    return optuna.trial.create_trial(
        state=STATES[result.status] if scored else TrialState.FAIL,
        values=list(result.scores) or None,
        params=named(axes, result.params),
        distributions=space_of({path: axes[path] for path in result.params}),
    )


def sampler_of(name: Sampler, axes: SearchSpace, seed: int, known: Sequence[Result]) -> BaseSampler:
    """A sampler that learns. Every trial of a cell has the same axes, so TPE has no use for
    `group`."""
    if name == "gp":
        return GPSampler(seed=seed)
    if name == "cmaes":
        # its own state is lost with the process: a sweep that goes on starts from where the best
        # trials lie
        past = [frozen(axes, result) for result in known if result.status == "ok"]
        return CmaEsSampler(seed=seed, source_trials=past or None, warn_independent_sampling=False)
    return TPESampler(seed=seed, multivariate=True, constant_liar=True)


def suggestions(
    sampler: Sampler,
    axes: SearchSpace,
    told: Sequence[tuple[Point, tuple[float, ...] | None]],
    seed: int,
) -> Iterator[Point]:
    """Points that follow from others and their merits, better when higher, without end. Each is
    taken to be under way when the next one is asked for."""
    n_objectives = max((len(merits) for _, merits in told if merits), default=1)
    study = optuna.create_study(
        directions=["maximize"] * n_objectives, sampler=sampler_of(sampler, axes, seed, [])
    )
    space = space_of(axes)
    study.add_trials(
        optuna.trial.create_trial(
            state=TrialState.FAIL if merits is None else TrialState.COMPLETE,
            values=merits,
            params=named(axes, point),
            distributions=space,
        )
        for point, merits in told
    )
    names = {path: axis.choices_by_name() for path, axis in axes.items()}
    while True:
        asked = study.ask(space).params
        yield {path: names[path].get(value, value) for path, value in asked.items()}


class _Lines(BaseJournalBackend):  # type: ignore[misc]
    """What the journal would write, in memory: the file is then written once and whole, not with
    a lock per trial."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self.logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.logs += logs


def new_study(sweep: Sweep, **kwargs: Any) -> optuna.Study:
    """A study with an objective, or with several, named as in tables."""
    study = optuna.create_study(
        directions=[f"{sweep.objective.mode}imize"] * len(sweep.objectives), **kwargs
    )
    study.set_metric_names(sweep.objectives)
    return study


def export(sweep: Sweep, evidence: Evidence, path: Path) -> Path:
    """Search trials as a file that Optuna's journal storage and its dashboard open, a study per
    cell."""
    lines = _Lines()
    storage = JournalStorage(lines)
    for cell, outcome in zip(sweep.cells, evidence.cells, strict=True):
        study = new_study(sweep, storage=storage, study_name=outcome.label)
        study.add_trials([_dated(cell, r, r is outcome.best) for r in outcome.searched])
    logs = "".join(f"{json.dumps(log, separators=(',', ':'))}\n" for log in lines.logs)
    return records.write_text(path, logs)


def _dated(cell: Cell, result: Result, is_chosen: bool) -> FrozenTrial:
    trial = frozen(cell.search, result)
    trial.user_attrs = {
        "trial": result.digest,
        "seconds": result.seconds,
        "reason": result.reason,
        "chosen": is_chosen,
    }
    if result.finished:
        ended = datetime.fromisoformat(result.finished).astimezone().replace(tzinfo=None)
        trial.datetime_complete = ended
        trial.datetime_start = ended - timedelta(seconds=result.seconds)
    return trial
