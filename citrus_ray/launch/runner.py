"""What runs a trial: its members, then its record, then what came of it. Knows nothing of Ray, so
that a sweep can be run in one process."""

import faulthandler
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from citrus_ray import records
from citrus_ray.data.root import cache_root
from citrus_ray.data.source import looked_once
from citrus_ray.evidence.kept import all_kept, model_folder
from citrus_ray.evidence.trials import result_of
from citrus_ray.experiment.budgets import Race
from citrus_ray.experiment.sweep import Cell, Sweep, trial_digest
from citrus_ray.experiment.trial import Trial
from citrus_ray.launch.tensorboard import Board
from citrus_ray.records import Record
from citrus_ray.search.racing import order, p_worse
from citrus_ray.spec import MachineError, Problem, SpecError, flatten, without_secrets
from citrus_ray.store import kept as kept_models
from citrus_ray.store import predictions

if TYPE_CHECKING:
    from citrus_ray.training.learner import Learner
    from citrus_ray.training.members import MemberState, Population


WAY_OUT = "give a folder that all nodes mount at this path"


@dataclass(frozen=True)
class ResultPaths:
    """Where a sweep's results go."""

    records: Path
    store: str  # a folder or a URI, the same from every node
    tensorboard: Path


@dataclass(frozen=True)
class Crash:
    """How a trial ended that wrote no record."""

    reason: str
    lost: bool = False  # with its worker or node: the next run computes it again
    node: str | None = None  # the address of one that cannot run any trial


def stack_file(folder: Path, digest: str) -> Path:
    """Where a trial leaves its stack should it hang: beside the records, which driver and worker
    both reach."""
    return folder / f"{digest}.stack"


class JobRunner:
    """One job after another in this process, each as its `Job.config` says."""

    def __init__(self, sweep: Sweep, paths: ResultPaths, is_watched: bool = True) -> None:
        """`is_watched`: whether this process may end where a trial hangs."""
        self.sweep, self.paths, self.is_watched = sweep, paths, is_watched

    def begin(self, config: dict[str, Any]) -> None:
        import torch

        torch.set_num_threads(1)  # one trial per CPU: more threads would fight over it
        self.job, self.started = config, time.monotonic()
        self.cell = self.sweep.cells[config["cell"]]
        self.members = self.cell.members(config["params"], config["round"])
        self.population: Population | None = None
        self.known: list[Record] = []  # of the job, recorded by an earlier run

    def step(self) -> dict[str, Any]:
        """The whole trial in one step, or one validation round where a scheduler may stop it in
        between."""
        with looked_once():
            self._same_place()
            with self._watched():
                return self._step()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """A block of a trial that, should it hang, leaves its stack beside the records and ends the
        process, which no thread could."""
        minutes = self.sweep.failures.minutes
        if minutes is None or not self.is_watched:
            yield
            return
        left = max(self.started + 60 * minutes - time.monotonic(), 0.01)
        path = stack_file(self.paths.records, self.job["digest"])
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as stack:
            faulthandler.dump_traceback_later(left, exit=True, file=stack)
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()
                # a try on a node that was cut off may have ended, and taken it
                path.unlink(missing_ok=True)

    def _step(self) -> dict[str, Any]:
        if self.population is None:
            self._same_data()
            if self.job["over"]["shares"]:
                return self._reply(self._did_not_run())
            self.known = self._recorded()
            if self.known and self._all_kept():
                return self._reply(self.known)
            if self.job["best"]:
                return self._reply(self._record(pruned=self._race()))
            self.population = self._together(*self._loaded())
        while self.population.advance() is not None:
            if self.sweep.asha is not None and self.job["phase"] == "search":
                return self._so_far()
        if self.job["phase"] == "final":
            # the same for both arms: they differ in pre-training, which no baseline has
            kept = self.out / "baselines"
            self.population.score_test(self.cell.scratch_twin() is None and not self.known, kept)
            self._keep()
        return self._reply(self.known or self._record())

    def _recorded(self) -> list[Record]:
        """What an earlier run recorded of this job. Of a study that the sweep has no more, what ran
        to its end is this study's now: it is the same computation."""
        folder, digest = self.paths.records, self.job["digest"]
        rows = records.read_done(folder, digest, len(self.members))
        if not rows or rows[0].cell in {cell.digest for cell in self.sweep.cells}:
            return rows
        if any(row.status != "ok" for row in rows):
            return []
        mine = {"cell": self.cell.digest, "axes": self.cell.axes, "asked_s": self.job["asked_s"]}
        ours = [replace(row, **mine) for row in rows]
        records.write(folder, digest, ours)
        return ours

    def _did_not_run(self) -> list[Record]:
        """The rows of a trial that is over the sweep's constraints."""
        over = self.job["over"]
        outcome = {"status": "pruned", "reason": over["said"], "metrics": {}}
        outcome |= {"network": {"over": over["shares"]}}
        rows = [row_of(self.job, self.cell, r, trial, outcome) for r, trial in self.members]
        show(self.paths, self.cell, rows, [])
        records.write(self.paths.records, self.job["digest"], rows)
        return rows

    @property
    def out(self) -> Path:
        """The results folder."""
        return self.paths.records.parent

    def _all_kept(self) -> bool:
        number = self.job["round"]
        return number is None or all_kept(
            self.cell, self.paths.records, number, self.known, self.members
        )

    def _keep(self) -> None:
        """Test predictions and, where the sweep asks for them, models: before the record, which
        says that there is nothing left to do."""
        assert self.population is not None
        scored = self.population.scored()
        if not self.known:
            parts = [state.member.test_outputs() for state in scored if state.member]
            predictions.write(self.out / predictions.FOLDER, self.job["digest"], parts)
        if not self.cell.sweep.final.keep:
            return
        for (repeat, _), state in zip(self.members, self.population.states, strict=True):
            if state in scored and state.member is not None:
                about = {"round": self.job["round"], "repeat": repeat, "metrics": state.metrics}
                digest = state.trial.digest()
                recorded = next((r.metrics for r in self.known if r.digest == digest), None)
                self._keep_model(state.member, about | {"recorded": recorded})

    def _keep_model(self, member: "Learner", about: dict[str, Any]) -> None:
        """One model. What stands in its way must not cost the sweep its numbers: the last screen
        says which are missing."""
        from citrus_ray.training.keeping import kept

        folder = model_folder(self.out, self.cell, about["round"], about["repeat"])
        of_cell = {"cell": self.cell.digest, "label": self.cell.label}
        try:
            facts, arrays = kept(member)
            kept_models.write(folder, {"sweep": self.sweep.name} | of_cell | about | facts, arrays)
        except OSError:
            return  # a full disk: the next run tries again
        except Exception as err:
            reason = str(err) if isinstance(err, SpecError) else f"{type(err).__name__}: {err}"
            with suppress(OSError):
                kept_models.write_why_not(folder, member.trial.digest(), reason)

    def _same_place(self) -> None:
        """Nodes that were up at the start were asked; this one may have joined since."""
        folder = self.paths.records.parent
        if not folder.is_dir():
            message = f"there is no results folder {folder}; {WAY_OUT}"
            raise MachineError([Problem("", message)])

    def _same_data(self) -> None:
        """What data there are is part of a trial's digest, so one that comes out otherwise here met
        other data."""
        here = trial_digest(list(self.members), self.job["phase"])
        if here != self.job["digest"]:
            wanted = self.job["digest"][:12]
            way = "bring the same data to every node, or put them on a folder that all nodes mount"
            message = f"the data are not those of the head (trial {here[:12]}, not {wanted}); {way}"
            raise MachineError([Problem("", message)])

    def _loaded(self) -> tuple[list[Trial], list[Any]]:
        """Members and their encoders, each read once."""
        from citrus_ray.store import checkpoint

        trials = [trial for _, trial in self.members]
        wanted = [trial.encoder_digest() for trial in trials]
        store, near = self.paths.store, cache_root() / "encoders"
        loaded = {digest: checkpoint.load(store, digest, near) for digest in set(wanted) if digest}
        return trials, [loaded.get(digest or "") for digest in wanted]

    def _together(self, trials: list[Trial], weights: list[Any]) -> "Population":
        # with torch, for which those who lead the sweep do not wait
        from citrus_ray.training.members import Population

        # Ray shows a worker the GPU that it was given a share of, and no other
        device = "cuda" if self.cell.trial.finetune.gpu else "cpu"
        return Population(trials, weights, self.sweep.objective.metric, device)

    def _so_far(self) -> dict[str, Any]:
        """A round's report. It carries the rows to record should the scheduler stop the trial
        here."""
        assert self.population is not None
        rows = self._rows()
        stopped = [replace(row, status="pruned") if row.status == "ok" else row for row in rows]
        value = {self.sweep.objective.metric: self.population.value}
        return value | {"status": "running", "rows": json.dumps([asdict(row) for row in stopped])}

    def _rows(self) -> list[Record]:
        assert self.population is not None
        pairs = zip(self.members, self.population.states, strict=True)
        return [
            row_of(self.job, self.cell, repeat, trial, state.outcome())
            for (repeat, trial), state in pairs
        ]

    def _race(self) -> bool:
        """Member by member; whether the trial was stopped. What did not run has no row."""
        race, n_members = self.sweep.race, len(self.members)
        assert race is not None
        trials, weights = self._loaded()
        done: dict[int, MemberState] = {}
        stopped = False
        for i in order(n_members, self.sweep.seed):
            alone = self._together([trials[i]], [weights[i]])
            while alone.advance() is not None:
                pass
            done[i] = alone.states[0]
            stopped = race.after <= len(done) < n_members and self._clearly_worse(done, race)
            if stopped:
                break
        self.population = self._together([], [])
        self.population.states = [done[i] for i in sorted(done)]
        self.members = [self.members[i] for i in sorted(done)]
        return stopped

    def _clearly_worse(self, done: dict[int, "MemberState"], race: Race) -> bool:
        if any(state.status == "failed" for state in done.values()):
            return False
        metric = self.sweep.objective.metric
        sign = 1 if self.sweep.objective.mode == "max" else -1
        mine = [sign * state.metrics[metric] for state in done.values()]
        return p_worse(mine, [sign * self.job["best"][i] for i in done]) < race.alpha

    def _record(self, pruned: bool = False) -> list[Record]:
        assert self.population is not None
        rows = [replace(row, status="pruned") for row in self._rows()] if pruned else self._rows()
        show(self.paths, self.cell, rows, self.population.curves())
        records.write(self.paths.records, self.job["digest"], rows)
        return rows

    def _reply(self, rows: list[Record]) -> dict[str, Any]:
        result = result_of(rows, self.sweep.objective.metric)
        return {self.sweep.objective.metric: result.value, "status": result.status, "done": True}


def row_of(
    job: dict[str, Any], cell: Cell, repeat: dict[str, Any], trial: Trial, outcome: dict[str, Any]
) -> Record:
    """A member's line in the record; `outcome` is what came of it, by the names of a record."""
    reason = outcome.get("reason")
    outcome = outcome | {"reason": reason and without_secrets(reason)}
    return Record(
        digest=trial.digest(),
        trial=job["digest"],
        cell=cell.digest,
        phase=job["phase"],
        axes=cell.axes,
        params=job["params"],
        repeat=repeat,
        config=flatten(trial.tree()),
        seed=trial.seed,
        data_digest=trial.finetune.target.digest(),
        encoder=trial.encoder_digest(),
        gpu=trial.finetune.gpu,
        peak_mb=records.peak_mb(),
        concurrency=job["concurrency"],
        host=records.host(),
        versions=records.versions(),
        commit=records.commit(),
        finished=records.now(),
        asked_s=job["asked_s"],
        **outcome,
    )


def show(
    paths: ResultPaths, cell: Cell, rows: list[Record], curves: list[dict[str, float]]
) -> None:
    """A searched trial as a TensorBoard run, under the cell's name."""
    if rows[0].phase == "search":  # rounds of a winner are one run, made from all of them
        Board(cell.sweep, paths.tensorboard).show_trial(cell, rows, curves)


def crashed(job: Any, crash: Crash, concurrency: int) -> list[Record]:
    """Rows for a trial whose process ended before it could write its own."""
    config = job.config(concurrency)
    outcome = {"status": "failed", "reason": crash.reason, "crashed": crash.lost, "metrics": {}}
    return [row_of(config, job.cell, repeat, trial, outcome) for repeat, trial in job.members]
