"""One compared cell as an Optuna study: what to try next, what came of it, and the winner's refit at the end.

Everything it knows comes from records, so a fresh process continues where the last one stopped.
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from ray.tune.search.optuna import OptunaSearch

from citrus_ray import records
from citrus_ray.population import mean_metrics
from citrus_ray.records import Phase, Record, Status
from citrus_ray.sweep import Axis, Cell, Sweep, trial_digest
from citrus_ray.trial import Trial

optuna.logging.set_verbosity(optuna.logging.WARNING)
logging.getLogger("ray.tune.search.optuna").setLevel(logging.ERROR)

DUPLICATE_TRIES = 50  # suggestions in a row that were tried before, after which the space counts as exhausted


@dataclass(frozen=True)
class Job:
    """One trial to run: the members that share its parameters."""

    cell: Cell
    phase: Phase
    params: dict[str, Any]
    members: tuple[tuple[dict[str, Any], Trial], ...]
    digest: str
    key: str  # Optuna's name for it

    def encoders(self) -> dict[str, Trial]:
        """The pre-trained encoders that it needs, each with a trial that describes it."""
        return {digest: trial for _, trial in self.members if (digest := trial.encoder_digest())}


@dataclass(frozen=True)
class Result:
    """What a recorded trial amounts to."""

    digest: str
    params: dict[str, Any]
    status: Status
    value: float | None
    seconds: float


def distribution(axis: Axis) -> BaseDistribution:
    if axis.choice is not None:
        return CategoricalDistribution(list(axis.names()))
    if axis.int_ is not None:
        return IntDistribution(*axis.int_, step=int(axis.step or 1))
    if axis.loguniform is not None:
        return FloatDistribution(*axis.loguniform, log=True)
    assert axis.uniform is not None
    return FloatDistribution(*axis.uniform, step=axis.step)


def summarise(rows: list[Record], metric: str) -> Result:
    """The trial behind its members' rows: failed if one failed, its value their mean."""
    statuses = {row.status for row in rows}
    status: Status = "failed" if "failed" in statuses else "pruned" if "pruned" in statuses else "ok"
    value = None if status == "failed" else mean_metrics([row.metrics for row in rows]).get(metric)
    return Result(rows[0].trial, rows[0].params, status, value, sum(row.seconds for row in rows))


class Study:
    """Search until the budget is spent, then one final job for the winner, then nothing."""

    def __init__(self, cell: Cell, folder: Path, rows: list[list[Record]]) -> None:
        self.cell, self.sweep, self.folder = cell, cell.sweep, folder
        self.results: dict[str, Result] = {}
        self.running: dict[str, Job] = {}  # by digest
        self.asked = 0
        self.final_rows: list[Record] = []
        mine = [r for r in rows if r[0].cell == cell.digest and r[0].phase == "search"]
        self.optuna = self._new_search(len(mine))
        for row in mine[: cell.n_trials]:
            self._replay(summarise(row, self.sweep.objective.metric))
        if self.asked >= cell.n_trials:
            self._recall_final()

    def _recall_final(self) -> Job | None:
        """The winner's refit as a job, its rows taken from the record if they are there."""
        if self.best is None:
            return None
        job = self._job(self.best.params, "final", "final")
        self.final_rows = records.read_trial(self.folder, job.digest)
        return job

    def _new_search(self, n_done: int) -> OptunaSearch | None:
        if not self.cell.search:
            return None
        seed = (
            self.sweep.seed * 7919 + self.cell.index * 101 + n_done
        )  # the same seed again would repeat its first draws
        samplers = optuna.samplers
        sampler = samplers.TPESampler(seed=seed) if self.sweep.sampler == "tpe" else samplers.RandomSampler(seed=seed)
        space = {path: distribution(axis) for path, axis in self.cell.search.items()}
        return OptunaSearch(space, metric=self.sweep.objective.metric, mode=self.sweep.objective.mode, sampler=sampler)

    def _replay(self, result: Result) -> None:
        """Feed a recorded trial to Optuna, as if it had just run."""
        self.results[result.digest] = result
        self.asked += 1
        if self.optuna is not None:
            failed = result.value is None
            self.optuna.add_evaluated_point(
                self._named(result.params), result.value, error=failed, pruned=result.status == "pruned"
            )

    def _named(self, params: dict[str, Any]) -> dict[str, Any]:
        """Parameters as Optuna knows them: choices by name."""
        named = {}
        for path, value in params.items():
            names = self.cell.search[path].names()
            named[path] = next((n for n, v in names.items() if v == value and type(v) is type(value)), value)
        return named

    def next_job(self) -> Job | None:
        """A search trial while the budget lasts; the winner's refit once all are back; else None for now."""
        if self.asked < self.cell.n_trials:
            return self._next_search()
        return None if self.running or self.final_rows else self._final()

    def _next_search(self) -> Job | None:
        for attempt in range(DUPLICATE_TRIES):
            key = f"{self.asked}-{attempt}"
            suggested = self.optuna.suggest(key) or {} if self.optuna else {}
            params = {p: self.cell.search[p].names().get(v, v) for p, v in suggested.items()}
            job = self._job(params, "search", key)
            known = self.results.get(job.digest)
            if known is None and job.digest not in self.running:
                self.asked += 1
                self.running[job.digest] = job
                return job
            if self.optuna is not None:  # tried before: Optuna hears the same answer, nothing is computed
                self._tell(key, known)
        self.asked = self.cell.n_trials
        return None

    def _final(self) -> Job | None:
        job = self._recall_final()
        if job is None or self.final_rows:
            return None
        self.running[job.digest] = job
        return job

    def _job(self, params: dict[str, Any], phase: Phase, key: str) -> Job:
        members = tuple(self.cell.members(params, phase))
        return Job(self.cell, phase, params, members, trial_digest(list(members), phase), key)

    def finish(self, job: Job, rows: list[Record]) -> Result:
        """Take in what a job recorded."""
        result = summarise(rows, self.sweep.objective.metric)
        del self.running[job.digest]
        if job.phase == "final":
            self.final_rows = rows
        else:
            self.results[job.digest] = result
            self._tell(job.key, result)
        return result

    def _tell(self, key: str, result: Result | None) -> None:
        if self.optuna is None:
            return
        if result is None or result.value is None:  # NaN would leave Optuna's trial running for ever
            self.optuna.on_trial_complete(key, error=True)
        elif result.status == "pruned":
            self.optuna.on_trial_complete(key)
        else:
            self.optuna.on_trial_complete(key, {self.sweep.objective.metric: result.value})

    @property
    def best(self) -> Result | None:
        """The best trial that reached its full length; of equals one that does not depend on who came first."""
        full = [r for r in self.results.values() if r.status == "ok" and r.value is not None]
        sign = 1 if self.sweep.objective.mode == "max" else -1
        return max(full, key=lambda r: (sign * (r.value or 0.0), r.digest), default=None)

    @property
    def over(self) -> bool:
        searched = self.asked >= self.cell.n_trials and not self.running
        return searched and (bool(self.final_rows) or self.best is None)


@dataclass
class Studies:
    """All cells of a sweep, asked in turn."""

    sweep: Sweep
    folder: Path
    studies: list[Study] = field(default_factory=list)

    def __post_init__(self) -> None:
        rows = list(records.read_all(self.folder))
        self.studies = [Study(cell, self.folder, rows) for cell in self.sweep.cells]

    def next_job(self) -> Job | None:
        """From the study that has asked least, so that cells advance together."""
        for study in sorted(self.studies, key=lambda s: s.asked / s.cell.n_trials):
            job = study.next_job()
            if job is not None:
                return job
        return None

    @property
    def over(self) -> bool:
        return all(study.over for study in self.studies)
