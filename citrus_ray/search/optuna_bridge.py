"""A cell as Optuna sees it: its space, its finished trials, its sampler, its journal. Knows
nothing of Ray."""

import json
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
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
from citrus_ray.evidence.outcomes import Outcome
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
    """A recorded trial as one of Optuna's."""
    return optuna.trial.create_trial(
        state=_state(result),
        values=list(result.scores) or None,
        params=named(axes, result.params),
        distributions=space_of({path: axes[path] for path in result.params}),
        constraints=result.over or None,
    )


Seen = Callable[[], Sequence[tuple[Point, float]]]  # points that were tried, and their seconds


class PerSecond(TPESampler):  # type: ignore[misc]
    """TPE that weighs improvement by seconds: of its candidates it takes the one with the largest
    expected improvement per predicted second."""

    GAMMA = 0.1  # of trials, which TPE calls good
    REACH = 0.15  # of an axis: how far a trial's seconds speak for those of others

    def __init__(self, axes: SearchSpace, seen: Seen, **how: Any) -> None:
        super().__init__(**how)
        self.space, self.seen = space_of(axes), seen
        self.axes = axes

    def _compute_acquisition_func(self, samples: Any, below: Any, above: Any) -> Any:
        worse = np.exp(-super()._compute_acquisition_func(samples, below, above))
        improvement = -np.log(self.GAMMA + (1 - self.GAMMA) * worse)  # up to a constant
        return improvement - self.log_seconds(samples)

    def log_seconds(self, samples: Mapping[str, Any]) -> Any:
        """What candidates should take: the mean over trials, of which near ones count more."""
        seen = [(point, seconds) for point, seconds in self.seen() if seconds > 0]
        if not seen:
            return 0.0
        logs = np.log([seconds for _, seconds in seen])
        apart = np.zeros((len(next(iter(samples.values()))), len(seen)))
        for path, values in samples.items():
            mine = self._places(path, [self.space[path].to_external_repr(v) for v in values])
            theirs = self._places(path, [point[path] for point, _ in seen])
            apart += self._apart(path, mine[:, None], theirs[None])
        weights = np.exp(-apart / self.REACH**2 / 2) + 1e-6
        return weights @ logs / weights.sum(axis=1)

    def _places(self, path: str, values: Sequence[Any]) -> Any:
        axis = self.axes[path]
        by_name = axis.choices_by_name()  # as Optuna knows them; others are as they are
        own = [by_name.get(v, v) if isinstance(v, str) else v for v in values]
        return np.array([axis.place(value) or 0.0 for value in own])

    def _apart(self, path: str, one: Any, other: Any) -> Any:
        is_choice = self.axes[path].choice is not None
        return (one != other).astype(float) if is_choice else (one - other) ** 2


def sampler_of(
    name: Sampler,
    axes: SearchSpace,
    seed: int,
    known: Sequence[Result],
    seen: Seen | None = None,
) -> BaseSampler:
    """A sampler that learns, with `seen` from seconds too. Every trial of a cell has the same axes,
    so TPE has no use for `group`."""
    if seen is not None:
        return PerSecond(axes, seen, seed=seed, multivariate=True, constant_liar=True)
    if name == "gp":
        return GPSampler(seed=seed)
    if name == "cmaes":
        # its own state is lost with the process: a sweep that goes on starts from where the best
        # trials lie
        past = [frozen(axes, result) for result in known if result.status == "ok"]
        return CmaEsSampler(seed=seed, source_trials=past or None, warn_independent_sampling=False)
    return TPESampler(seed=seed, multivariate=True, constant_liar=True)


@dataclass(frozen=True)
class Told:
    """What came of a point: its merits, better when higher, or none, and the constraints that it is
    over."""

    point: Point
    merits: tuple[float, ...] | None
    over: dict[str, float]
    seconds: float = 0.0  # that it took, where improvement is weighed by them

    @property
    def state(self) -> TrialState:
        if self.merits is not None:
            return TrialState.COMPLETE
        return TrialState.PRUNED if self.over else TrialState.FAIL


def suggestions(
    sampler: Sampler,
    axes: SearchSpace,
    told: Sequence[Told],
    seed: int,
) -> Iterator[Point]:
    """Points that follow from others, without end. Each is taken to be under way when the next one
    is asked for."""
    n_objectives = max((len(one.merits) for one in told if one.merits), default=1)
    taken = [(one.point, one.seconds) for one in told if one.seconds]
    seen = (lambda: taken) if taken else None
    study = optuna.create_study(
        directions=["maximize"] * n_objectives, sampler=sampler_of(sampler, axes, seed, [], seen)
    )
    space = space_of(axes)
    study.add_trials(
        optuna.trial.create_trial(
            state=one.state,
            values=one.merits,
            params=named(axes, one.point),
            distributions=space,
            constraints=one.over or None,
        )
        for one in told
    )
    names = {path: axis.choices_by_name() for path, axis in axes.items()}
    while True:
        asked = study.ask(space).params
        yield {path: names[path].get(value, value) for path, value in asked.items()}


class _Lines(BaseJournalBackend):  # type: ignore[misc]
    """What the journal would write, in memory: the file is then written in one piece, not with a
    lock per trial."""

    def __init__(self, logs: Iterable[dict[str, Any]] = ()) -> None:
        self.logs = list(logs)

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
    cell.

    What is new is put at the end of the file, so that a dashboard that has it open goes on
    reading. One that says something else than the records is written anew.
    """
    lines = _Lines(_read(path))
    n_there = len(lines.logs)
    try:
        studies = _studies(sweep, evidence, JournalStorage(lines), is_new=not n_there)
    except (_OtherError, LookupError, ValueError, TypeError, AttributeError):
        n_there, lines = 0, _Lines()
        studies = _studies(sweep, evidence, JournalStorage(lines), is_new=True)
    for cell, outcome, study in zip(sweep.cells, evidence.cells, studies, strict=True):
        known = {trial.user_attrs["trial"] for trial in study.get_trials(deepcopy=False)}
        new = [result for result in outcome.searched if result.digest not in known]
        curves = _curves(outcome) if sweep.objective.each is None else {}
        study.add_trials([_dated(cell, r, curves.get(r.digest, {})) for r in _by_end(new)])
        for name, value in _told(cell, outcome, evidence, study).items():
            if study.user_attrs.get(name) != value:
                study.set_user_attr(name, value)
    text = "".join(f"{json.dumps(log, separators=(',', ':'))}\n" for log in lines.logs[n_there:])
    if not n_there:
        return records.write_text(path, text)
    with path.open("a") as file:
        file.write(text)
    return path


class _OtherError(Exception):
    """The journal is of something else than the records."""


def _read(path: Path) -> list[dict[str, Any]]:
    """Its lines; none where it was cut off, or there is none."""
    try:
        text = path.read_text()
        return [json.loads(line) for line in text.splitlines()] if text.endswith("\n") else []
    except (OSError, ValueError):
        return []


def _studies(
    sweep: Sweep, evidence: Evidence, storage: JournalStorage, is_new: bool
) -> list[optuna.Study]:
    """A study for each cell: new ones, or those that are there if they say what is recorded."""
    names = [outcome.label for outcome in evidence.cells]
    if is_new:
        return [new_study(sweep, storage=storage, study_name=name) for name in names]
    if optuna.get_all_study_names(storage) != names:
        raise _OtherError
    studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
    for cell, outcome, study in zip(sweep.cells, evidence.cells, studies, strict=True):
        recorded = {result.digest: result for result in outcome.searched}
        if study.user_attrs.get("cell") != cell.digest:
            raise _OtherError
        for trial in study.get_trials(deepcopy=False):
            result = recorded[trial.user_attrs["trial"]]
            if trial.state != _state(result) or (trial.values or []) != list(result.scores):
                raise _OtherError
    return studies


def _state(result: Result) -> TrialState:
    """Optuna knows no trial that is complete without a value."""
    scored = result.status != "ok" or result.scores
    return STATES[result.status] if scored else TrialState.FAIL


def _by_end(results: Iterable[Result]) -> list[Result]:
    return sorted(results, key=lambda result: (result.finished, result.digest))


def _curves(outcome: Outcome) -> dict[str, dict[int, float]]:
    """The objective round by round, the mean over members, by trial."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in outcome.rows:
        for step, (value, _) in enumerate(row.curve, start=1):
            found[row.trial][step].append(value)
    return {t: {step: fmean(of) for step, of in steps.items()} for t, steps in found.items()}


def _told(cell: Cell, outcome: Outcome, evidence: Evidence, study: optuna.Study) -> dict[str, Any]:
    """What a study says of its cell: its spec, which trial was chosen, and what came of its
    refits. Optuna lets nobody write to a trial that is over."""
    best, test, gain = outcome.best, outcome.test, evidence.gain_of.get(cell.digest)
    number = {t.user_attrs["trial"]: t.number for t in study.get_trials(deepcopy=False)}
    found: dict[str, Any] = {"cell": cell.digest, "axes": cell.axes, "spec": cell.trial.tree()}
    if best:
        found |= {"chosen trial": number[best.digest], "chosen": best.digest}
    if test:
        found |= {outcome.design.test_metric: test.tree()}
    if gain:
        found |= {"gain over scratch": gain.found.tree()}
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]  # as it is read back


def _dated(cell: Cell, result: Result, curve: dict[int, float]) -> FrozenTrial:
    trial = frozen(cell.search, result)
    trial.intermediate_values = curve
    trial.user_attrs = {
        "trial": result.digest,
        "seconds": result.seconds,
        "reason": result.reason,
        "members": list(result.values),
    }
    if result.finished:
        ended = datetime.fromisoformat(result.finished).astimezone().replace(tzinfo=None)
        trial.datetime_complete = ended
        trial.datetime_start = ended - timedelta(seconds=result.seconds)
    return trial
