"""One compared cell as a study: what to try next, what came of it, and the winner's rounds at the
end.

Everything it knows comes from records, so a fresh process continues where the last one stopped.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from citrus_ray import records
from citrus_ray.evidence.cost import GpuMeter
from citrus_ray.evidence.kept import all_kept
from citrus_ray.evidence.reading import trials_in
from citrus_ray.evidence.trials import (
    Patience,
    Result,
    Stop,
    Tried,
    counted,
    n_stale,
    result_of,
    why_stop,
    winner,
)
from citrus_ray.experiment.constraints import Over, limits_of
from citrus_ray.experiment.designs import Point, design, project
from citrus_ray.experiment.search_space import n_points
from citrus_ray.experiment.sweep import Cell, Sweep, trial_digest
from citrus_ray.experiment.trial import Trial
from citrus_ray.records import Phase, Record
from citrus_ray.search.deciding import more_rounds
from citrus_ray.search.together import Together

if TYPE_CHECKING:
    import optuna

# suggestions in a row that were tried before, after which an even spread of what is left follows
DUPLICATE_TRIES = 5


@dataclass(frozen=True)
class Job:
    """One trial to run: the members that share its parameters."""

    cell: Cell
    phase: Phase
    params: dict[str, Any]
    members: tuple[tuple[dict[str, Any], Trial], ...]
    digest: str
    asked_s: float
    best: tuple[
        float | None, ...
    ]  # what the members of the best trial so far scored, to race against
    number: int | None  # Optuna's, None for a point that Optuna did not suggest
    round: int | None = None  # of the winner's, None in the search
    over: Over = field(default_factory=Over)  # constraints, for which it is a row and does not run

    def config(self, concurrency: int) -> dict[str, Any]:
        """What a worker is told; how many trials may run beside it is for its record."""
        parts = {
            "phase": self.phase,
            "params": self.params,
            "digest": self.digest,
            "asked_s": self.asked_s,
            "round": self.round,
            "over": {"shares": self.over.shares, "said": self.over.said},
        }
        return {"cell": self.cell.index, "best": self.best, "concurrency": concurrency} | parts

    def encoders(self) -> dict[str, Trial]:
        """The pre-trained encoders that it needs, each with a trial that describes it."""
        members = () if self.over else self.members
        return {digest: trial for _, trial in members if (digest := trial.encoder_digest())}


@dataclass
class Clock:
    """Seconds of the sweep's wall time. What earlier calls took stands in their records."""

    before: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        return self.before + time.monotonic() - self.started


class Study:
    """Search until the budget is spent, then the winner's rounds, as many as are wanted."""

    def __init__(
        self,
        cell: Cell,
        folder: Path,
        rows: list[list[Record]],
        clock: Clock | None = None,
        meter: GpuMeter | None = None,
        beside: Sequence["Study"] | None = None,
        patience: Patience | None = None,
        together: Together | None = None,
    ) -> None:
        """`beside` are the studies of all cells, this one included; `patience` and `together` are
        theirs."""
        self.cell, self.sweep, self.folder, self.clock = cell, cell.sweep, folder, clock or Clock()
        self.meter = meter or GpuMeter(
            folder.parent.parent / "store"
        )  # shared by all cells, as the clock is
        self.beside = [self] if beside is None else beside
        self.together = together or (Together(self.sweep, folder) if self.sweep.together else None)
        common = self.together.points if self.together else self.sweep.points or ()
        self.patience = patience or Patience(common, self.sweep.budget.patience)
        self.learns = self.sweep.learns_apart
        self.limits = limits_of(self.sweep.constraints) if self.sweep.constraints else None
        self.asked_of: dict[int, optuna.trial.Trial] = {}  # Optuna's, by number, under way
        self.results: dict[str, Result] = {}
        self.tried = Tried()  # the same, by their points
        self._leader: Result | None = None  # the best of them: ranking all anew takes its time
        self.patience.cells.append(self.tried)
        self.running: dict[str, Job] = {}  # by digest
        self.asked = 0
        self.n_common = 0  # points of all cells that were suggested here, or are recorded
        self.exhausted = False
        self.rounds: dict[int, list[Record]] = {}  # of the winner, that are back
        self.unkept: list[int] = []  # that are recorded without the models that are to be kept
        self._recalled: Result | None = None  # the winner whose rounds were looked for
        self.n_wanted = self.sweep.final.rounds
        self.of_sweep = {each.digest for each in self.sweep.cells}
        mine = [r for r in rows if r[0].cell == cell.digest and r[0].phase == "search"]
        recorded = [self._result(r) for r in mine]
        # what was tried at other points than the common ones is of an earlier spec
        of_points = Tried(recorded).along(common)
        listed = counted(recorded, cell.n_trials) if self.learns else of_points
        self.again = [result.params for result in listed if result.crashed]
        known = [result for result in listed if not result.crashed]
        self.optuna = self._new_search(known)
        self.first = [project(point, cell.search) for point in self.sweep.first if self.learns]
        self.points = self._points()
        for result in known:
            self._replay(result)
        while self.n_common < len(common) and self.tried.at(common[self.n_common]):
            self.n_common += 1
        if beside is None:
            self.settle()

    def settle(self) -> None:
        """Once all studies of a sweep are there: take the winner's rounds from the record, if
        nothing is left to search."""
        if not self.searching and not self._waits:
            self.recall()

    @property
    def searching(self) -> bool:
        return self._is_left and self.stopped is None

    @property
    def _is_left(self) -> bool:
        """Whether there are points to try yet, or others may still be made."""
        if self.together is None:
            return self.asked < self.cell.n_trials and not self.exhausted
        return not self.together.closed or self.n_common < len(self.together.points)

    @property
    def stopped(self) -> Stop | None:
        """Nothing is remembered: of a sampler that learns, a trial under way that turns out to be
        the best so far opens the search again."""
        limit = self.sweep.budget.patience
        if self.learns:
            is_stale = limit is not None and n_stale(self.results.values()) >= limit
        else:
            is_stale = self.patience.over
        return why_stop(self.sweep.budget, is_stale, self.clock.elapsed(), self.meter.seconds)

    @property
    def _waits(self) -> bool:
        """Whether other cells have yet to say among how many points winners are chosen."""
        if self.learns or self.patience.limit is None or self.patience.over:
            return False
        return any(study.searching or study._tries for study in self.beside)

    @property
    def _tries(self) -> bool:
        """Whether trials of its search are under way."""
        return any(job.phase == "search" for job in self.running.values())

    @property
    def n_jobs(self) -> int:
        """Trials of this study when it is over, the winner's rounds included."""
        n_search = self.cell.n_trials if self.searching else self.asked
        return n_search + self.n_wanted

    def recall(self) -> None:
        """Take the winner's rounds that are recorded, those beyond `n_wanted` included as far as
        they go on."""
        if self.best is None:
            return
        self.rounds, self.unkept, number = {}, [], 0
        while True:
            job = self._job(self.best.params, "final", of_round=number)
            rows = records.read_done(self.folder, job.digest, len(job.members))
            # of a study that this sweep has no more: the worker takes it over
            rows = rows if rows and rows[0].cell in self.of_sweep else []
            if rows and all_kept(self.cell, self.folder, number, rows, job.members):
                self.rounds[number] = rows
            elif rows:
                self.unkept.append(number)
            elif number >= self.n_wanted:
                break
            number += 1
        self.n_wanted = max(self.n_wanted, len(self.rounds) + len(self.unkept))

    def _new_search(self, known: list[Result]) -> "optuna.Study | None":
        """In memory: records are what lasts. None where nothing is learnt from results."""
        axes, sweep = self.cell.search, self.sweep
        if not axes or not self.learns:
            return None
        from citrus_ray.search.optuna_bridge import new_study, sampler_of  # takes most of a second

        # by what the cell is, not by its place; the same again would repeat its first draws
        seed = (sweep.seed * 7919 + int(self.cell.digest, 16) + len(known)) % 2**32
        seen = self._seen if sweep.budget.per == "second" else None
        return new_study(sweep, sampler=sampler_of(sweep.sampler, axes, seed, known, seen))

    def _seen(self) -> list[tuple[Point, float]]:
        """Points that were tried, and the seconds that they took."""
        return [(r.params, r.seconds) for r in self.results.values() if r.is_full]

    @property
    def share_spent(self) -> float:
        """How far its search is: of its trials, or in seconds where these are weighed and cells
        search apart, so that each gets as many."""
        if self.sweep.budget.per == "trial" or not self.learns:
            return self.asked / self.cell.n_trials
        each = [result.seconds for result in self.results.values()]
        return sum(each) + len(self.running) * (sum(each) / len(each) if each else 0.0)

    def _points(self) -> Iterator[Point]:
        """The points of a design; for a sampler that learns, an even spread of what it leaves out
        of a finite space."""
        if not self.learns:
            return iter(() if self.together else self.cell.points)
        is_finite = n_points(self.cell.search) < math.inf
        return design("qmc", [self.cell.search], self.sweep.seed) if is_finite else iter(())

    def _replay(self, result: Result) -> None:
        """Take in a recorded trial, as if it had just run."""
        self._take(result)
        self.asked += 1
        self._teach(result)

    def _take(self, result: Result) -> None:
        again = result.digest in self.results  # it was lost before, and ranks otherwise now
        self.results[result.digest] = result
        self.tried.add(result)
        ahead = [self._leader] if self._leader else []
        among = self.results.values() if again else [*ahead, result]
        self._leader = winner(among, self.sweep.objective.mode)

    def _teach(self, result: Result) -> None:
        if self.optuna is not None:
            from citrus_ray.search.optuna_bridge import frozen

            self.optuna.add_trial(frozen(self.cell.search, result))

    def next_job(self) -> Job | None:
        """A search trial while the budget lasts; the winner's rounds once all are back; else None
        for now."""
        if self.searching:
            return self._next_search()
        return None if self._tries or self._waits else self._next_round()

    def _next_search(self) -> Job | None:
        for number, params in self._suggestions():
            job = self._job(params, "search", number)
            known = self.results.get(job.digest)
            if known is None and job.digest not in self.running:
                self.asked += 1
                self.running[job.digest] = job
                return job
            if number is not None:
                self._tell(
                    number, known
                )  # tried before: Optuna hears the same answer, nothing is computed
        self.exhausted = True
        return None

    def _suggestions(self) -> Iterator[tuple[int | None, Point]]:
        """(Optuna's number, parameters) to try next: what was lost, what it suggests, what a
        design or a finite space has left."""
        while self.again:
            yield None, self.again.pop()
        while self.first:
            yield None, self.first.pop(0)
        while self.together and self.n_common < len(self.together.points):
            self.n_common += 1
            yield None, project(self.together.points[self.n_common - 1], self.cell.search)
        if self.optuna is not None:
            from citrus_ray.search.optuna_bridge import space_of

            for _ in range(DUPLICATE_TRIES):
                trial = self.optuna.ask(space_of(self.cell.search))
                self.asked_of[trial.number] = trial
                names = {p: axis.choices_by_name() for p, axis in self.cell.search.items()}
                yield trial.number, {p: names[p].get(v, v) for p, v in trial.params.items()}
        yield from ((None, point) for point in self.points)

    def _next_round(self) -> Job | None:
        if self.best is None:
            return None
        if self._recalled is not self.best:  # whatever is recorded of this winner
            self._recalled = self.best
            self.recall()
        out = {job.round for job in self.running.values()}
        for number in range(self.n_wanted):
            if number not in self.rounds and number not in out:
                job = self._job(self.best.params, "final", of_round=number)
                self.running[job.digest] = job
                return job
        return None

    def _job(
        self,
        params: dict[str, Any],
        phase: Phase,
        number: int | None = None,
        of_round: int | None = None,
    ) -> Job:
        members = tuple(self.cell.members(params, of_round))
        asked_s = round(self.clock.elapsed(), 3)
        is_search = phase == "search"
        best = self.best.values if self.best and self.sweep.race and is_search else ()
        trials = [trial for _, trial in members]
        over = self.limits.over(trials) if self.limits and is_search else Over()
        return Job(
            self.cell,
            phase,
            params,
            members,
            trial_digest(list(members), phase),
            asked_s,
            best,
            number,
            of_round,
            over,
        )

    def finish(self, job: Job, rows: list[Record]) -> Result:
        """Take in what a job recorded."""
        result = self._result(rows)
        del self.running[job.digest]
        self.meter.add(rows)
        if job.round is not None:
            self.rounds[job.round] = rows
        else:
            self._take(result)
            if job.number is None:
                self._teach(result)
            else:
                self._tell(job.number, result)
        return result

    def _tell(self, number: int, result: Result | None) -> None:
        """What came of a suggestion; None where that is not known yet, and another trial finds
        it out."""
        from optuna.trial import TrialState

        assert self.optuna is not None
        trial = self.asked_of.pop(number)
        for name, share in (result.over if result else {}).items():
            trial.set_constraint(name, share)
        if result is None or (result.value is None and not result.over):
            self.optuna.tell(number, state=TrialState.FAIL)
        elif result.status == "pruned":
            self.optuna.tell(number, state=TrialState.PRUNED)
        else:
            self.optuna.tell(number, result.scores)

    @property
    def best(self) -> Result | None:
        """The best trial that reached its full length, of those that count."""
        if self.learns or not self.patience.over:
            return self._leader
        return winner(self.tried.along(self.patience.counted), self.sweep.objective.mode)

    def _result(self, rows: list[Record]) -> Result:
        return result_of(rows, self.sweep.objective.metric, self.sweep.objective.each)

    @property
    def n_rounds(self) -> int:
        """Rounds that are done or under way."""
        return len(self.rounds) + sum(job.round is not None for job in self.running.values())

    @property
    def over(self) -> bool:
        n_missing = self.n_wanted - len(self.rounds)
        return not self.searching and not self.running and (n_missing <= 0 or self.best is None)


@dataclass
class Studies:
    """All cells of a sweep, asked in turn."""

    sweep: Sweep
    folder: Path
    store: Path | str = ""  # of encoders; beside the sweep's folder by default
    studies: list[Study] = field(default_factory=list)
    gave_up: str | None = None  # why
    clock: Clock = field(default_factory=Clock)
    n_slots: int = 1  # trials that may run at once
    n_failed_in_a_row: int = 0

    def __post_init__(self) -> None:
        rows = trials_in(self.folder)
        cells = {cell.digest for cell in self.sweep.cells}
        clock = Clock(
            max((trial[0].asked_s for trial in rows if trial[0].cell in cells), default=0.0)
        )
        meter = GpuMeter(self.store or self.folder.parent.parent / "store")
        meter.add(row for trial in rows if trial[0].cell in cells for row in trial)
        self.clock = clock
        self.together = Together(self.sweep, self.folder) if self.sweep.together else None
        patience = Patience(self.points or (), self.sweep.budget.patience)
        for cell in self.sweep.cells:
            shared = clock, meter, self.studies, patience, self.together
            self.studies.append(Study(cell, self.folder, rows, *shared))
        self._extend()
        for study in self.studies:
            study.settle()
        self._add_rounds()

    @property
    def points(self) -> Sequence[Point] | None:
        """The points of the search so far, for all cells together; None where each has its own."""
        return self.together.points if self.together else self.sweep.points

    def next_job(self, has_room: Callable[[Cell], bool] = lambda cell: True) -> Job | None:
        """From the study that has spent least, and then has the fewest rounds, so that cells
        advance together, of those whose trials have room."""
        if self.gave_up:
            return None
        self._extend()
        for study in sorted(self.studies, key=lambda s: (s.share_spent, s.n_rounds)):
            job = study.next_job() if has_room(study.cell) else None
            if job is not None:
                return job
        return self.next_job(has_room) if self._add_rounds() else None

    def _extend(self) -> None:
        """Add points that are common to all cells, once all have tried those that are there."""
        if self.together and all(study.stopped is None for study in self.studies):
            self.together.extend([study.tried for study in self.studies])

    def count(self, failed: bool) -> None:
        """Many failures in a row are a broken cluster or spec; going on would burn the budget."""
        self.n_failed_in_a_row = self.n_failed_in_a_row + 1 if failed else 0
        limit = self.sweep.failures.in_a_row
        if self.n_failed_in_a_row >= limit:
            self.gave_up = f"gave up after {limit} failed trials in a row (failures.in_a_row)"

    def _add_rounds(self) -> bool:
        """Whether rounds were added, once all that are wanted are back, where claims are open."""
        wanted = more_rounds(self) if self.over else {}
        for study in self.studies:
            study.n_wanted = max(study.n_wanted, wanted.get(study.cell.digest, 0))
        return bool(wanted)

    @property
    def over(self) -> bool:
        return all(study.over for study in self.studies)
