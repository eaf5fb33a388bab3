"""Sweeps on Ray: one Tuner runs the trials of all cells, each an Optuna study, on warm workers.

Trials start only when the encoders they need are in the store, so that none of them waits while
holding a CPU.
"""

import contextlib
import json
import math
import os
import tempfile
import time
from collections import Counter
from typing import Any

import ray
from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from citrus_ray import records
from citrus_ray.experiment.labels import count
from citrus_ray.experiment.sweep import Cell, Sweep
from citrus_ray.launch.encoders import Encoders
from citrus_ray.launch.failures import crash_of
from citrus_ray.launch.interrupt import on_ctrl_c
from citrus_ray.launch.lost import watched
from citrus_ray.launch.progress import Progress
from citrus_ray.launch.runner import Crash, ResultPaths, crashed, show, stack_file
from citrus_ray.launch.slots import Nodes, Slots
from citrus_ray.launch.worker import TrialRunner
from citrus_ray.records import Record
from citrus_ray.search.study import Job, Studies


class CellSearch(Searcher):  # type: ignore[misc]
    """Ray Tune's one searcher over all studies. Suggests only jobs that can start at once."""

    def __init__(
        self, studies: Studies, encoders: Encoders, slots: Slots, progress: Progress
    ) -> None:
        super().__init__(metric=studies.sweep.objective.metric, mode=studies.sweep.objective.mode)
        self.studies, self.encoders, self.slots, self.progress = studies, encoders, slots, progress
        self.parked: list[Job] = []
        self.live: dict[str, Job] = {}
        self.started: dict[str, float] = {}
        self.trials: dict[str, Any] = {}  # Tune's own, of those that run
        self.interrupted = False
        self.retried: Counter[str] = Counter()
        self.starved = False  # there is room, and nothing that can start
        # encoders whose failure was counted: it fails many trials, but happened once
        self.blamed: set[str] = set()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        # while no trial runs Tune asks for the next one for ten minutes before it looks at its note
        if self.interrupted:
            return str(Searcher.FINISHED)
        left = 0 if self.starved else self.progress.n_total - self.progress.n_done - len(self.live)
        self.encoders.nodes.look(len(self.live) + left, self.encoders.wanted)
        self.encoders.poll(len(self.live))
        self._drop_hopeless()
        try:
            return self._suggest(trial_id)
        finally:
            self.progress.update(self.live, self.parked, self.encoders)

    def _suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        n_free = min(self.slots.n, max(1, self.slots.cpus - self.encoders.busy)) - len(self.live)
        if n_free <= 0:
            self.starved = False
            return None
        job = self._startable()
        self.starved = job is None and all(map(self._has_room, self.studies.sweep.cells))
        if job is None:
            return Searcher.FINISHED if self._done and not self.live else None
        self.live[trial_id], self.started[trial_id] = job, time.monotonic()
        return job.config(self.slots.n)

    @property
    def _done(self) -> bool:
        return self.studies.over or self.studies.gave_up is not None

    def _startable(self) -> Job | None:
        if self.studies.gave_up:
            return None
        for job in self.parked:
            if self._has_encoders(job) and self._has_room(job.cell):
                self.parked.remove(job)
                return job
        while len(self.parked) < 2 * self.slots.n * len(self.studies.studies):
            new = self.studies.next_job(self._has_room)
            if new is None or self._has_encoders(new):
                return new
            self.parked.append(new)
        return None

    def _has_room(self, cell: Cell) -> bool:
        return self.slots.has_room(cell.index, [job.cell.index for job in self.live.values()])

    def _has_encoders(self, job: Job) -> bool:
        there = [self.encoders.want(digest, trial) for digest, trial in job.encoders().items()]
        return all(there)  # each was asked for

    def _drop_hopeless(self) -> None:
        """A trial whose encoder could not be made is a failed row."""
        for job in list(self.parked):
            failed = next((d for d in job.encoders() if d in self.encoders.failed), None)
            if failed is not None:
                self.parked.remove(job)
                self._finish(job, self.encoders.failed[failed])
                if failed not in self.blamed:
                    self.blamed.add(failed)
                    self.studies.count(True)

    def finish(
        self, trial_id: str, last_result: dict[str, Any], crash: Crash | None = None
    ) -> None:
        """Called when Tune is done with a trial, whichever way it went."""
        job = self.live.pop(trial_id, None)
        self.trials.pop(trial_id, None)
        self.started.pop(trial_id, None)
        if job is None or self.interrupted:
            return
        if crash and crash.node and self.encoders.nodes.do_without(crash.node, crash.reason):
            self.parked.insert(0, job)
            return
        if crash and crash.lost and self.retried[job.digest] < self.studies.sweep.failures.retries:
            self.retried[job.digest] += 1
            self.parked.insert(0, job)
            return
        rows = "[]" if crash else last_result.get("rows", "[]")
        stopped = [Record(**row) for row in json.loads(rows)]
        crash = crash or Crash("its worker stopped without a record")
        self.studies.count(self._finish(job, crash, stopped))

    def interrupt(self) -> None:
        """What runs is of no use, and Tune would wait for it."""
        self.interrupted = True
        running = list(self.trials.values())
        what = f"stopping {count(len(running), 'trial')} under way"
        self.progress.say(f"{what}; Ctrl-C leaves at once")
        for actor in (trial.temporary_state.ray_actor for trial in running):
            if actor is not None:
                ray.kill(actor)

    def crash_of(self, trial: Any) -> Crash:
        minutes = self.studies.sweep.failures.minutes
        started = self.started.get(trial.trial_id, math.inf)
        stack = stack_file(self.studies.folder, trial.config["digest"])
        return crash_of(trial, stack, time.monotonic() - started, minutes and 60 * minutes)

    def _finish(self, job: Job, crash: Crash, stopped: list[Record] | None = None) -> bool:
        """Take in the trial's record; write it here where the trial could not: it crashed, or ASHA
        stopped it."""
        folder = self.studies.folder
        rows = records.read_done(folder, job.digest, len(job.members))
        if not rows:
            rows = stopped or crashed(job, crash, self.slots.n)
            self._write(job, rows)
        result = self.studies.studies[job.cell.index].finish(job, rows)
        self.progress.finished(job, result)
        return result.status == "failed"

    def _write(self, job: Job, rows: list[Record]) -> None:
        """A disk that is full here is full for every trial to come."""
        try:
            show(self.encoders.paths, job.cell, rows, [])
            records.write(self.studies.folder, job.digest, rows)
        except OSError as err:
            what = f"{self.studies.folder} cannot be written: {err.strerror}"
            self.studies.gave_up = f"gave up: {what}"

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: `TuneNews` calls `finish` a moment later, and knows why a trial crashed."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher to be able to restore it. Ours starts from records instead."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: records are the truth, Tune's own state is disposable."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see `save`."""


class TuneNews(TrialProgressCallback):  # type: ignore[misc]
    """Hands Tune's news to the searcher, in place of Tune's own screen: that one describes every
    result, shows none of it to anyone, and keeps all trials."""

    def __init__(self, search: CellSearch) -> None:
        self.search = search

    def on_trial_result(self, *of: Any, **info: Any) -> None:
        """Nothing: what counts is how a trial ends."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.search.trials[trial.trial_id] = trial

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.search.finish(trial.trial_id, trial.last_result)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.search.finish(trial.trial_id, trial.last_result, self.search.crash_of(trial))


class Forgets(FIFOScheduler):  # type: ignore[misc]
    """First in, first out. Tune keeps every trial that it ever ran for a state that we never read
    back, and looks through all of them at every step: here they go once they are over, so that
    the last trial of a long sweep costs what the first did, in memory and in time."""

    def choose_trial_to_run(self, tune_controller: Any) -> Any | None:
        controller = tune_controller._tune_controller  # behind the part that schedulers are shown
        *earlier, _ = controller.get_trials() or [None]  # Tune ends with a look at its last
        for trial in [t for t in earlier if t.is_finished() and not self._is_held(controller, t)]:
            self._forget(controller, trial)
        return super().choose_trial_to_run(tune_controller)

    def _is_held(self, controller: Any, trial: Any) -> bool:
        return trial in controller._trial_to_actor or trial in controller._staged_trials

    def _forget(self, controller: Any, trial: Any) -> None:
        controller.get_trials().remove(trial)
        for name in ("_live_trials", "_stopped_trials", "_failed_trials", "_trials_to_cache"):
            getattr(controller, name).discard(trial)
        controller._trial_metadata.pop(trial.trial_id, None)
        with contextlib.suppress(OSError):  # not empty: something was left there
            os.rmdir(trial.local_path)


class AshaPerCell(Forgets):
    """ASHA within each cell: a trial is compared with trials of its own study only. Finals always
    run to their end."""

    def __init__(self, sweep: Sweep) -> None:
        super().__init__()
        assert sweep.asha is not None
        asha = sweep.asha
        self.brackets = [
            AsyncHyperBandScheduler(
                time_attr="training_iteration",
                metric=sweep.objective.metric,
                mode=sweep.objective.mode,
                # the last report is the end of the trial, not a rung
                max_t=cell.trial.finetune.rounds + 1,
                grace_period=asha.grace,
                reduction_factor=asha.reduction,
            )
            for cell in sweep.cells
        ]

    def _of(self, trial: Any) -> Any | None:
        return self.brackets[trial.config["cell"]] if trial.config["phase"] == "search" else None

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        bracket = self._of(trial)
        if bracket is not None:
            bracket.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        bracket = self._of(trial)
        if bracket is None or result.get(bracket.metric) is None:
            return str(TrialScheduler.CONTINUE)
        return str(bracket.on_trial_result(tune_controller, trial, result))


def run_sweep(
    sweep: Sweep, paths: ResultPaths, slots: Slots, studies: Studies, progress: Progress
) -> None:
    """Run what is missing. Returns when all cells are over, or when Ctrl-C stopped Tune."""
    if studies.over:
        return
    studies.n_slots = slots.n
    nodes = Nodes(slots, progress.say)
    encoders = Encoders(paths, nodes, sweep.failures.retries)
    search = CellSearch(studies, encoders, slots, progress)
    trainable = tune.with_parameters(
        TrialRunner, sweep_json=sweep.model_dump_json(by_alias=True), paths=paths
    )
    with (
        tempfile.TemporaryDirectory(prefix="citrus-tune-") as scratch,
        watched(progress),
        contextlib.closing(encoders),
        contextlib.closing(nodes),
        on_ctrl_c(search.interrupt),
    ):
        tune.Tuner(
            tune.with_resources(
                trainable, lambda job: tune.PlacementGroupFactory([slots.request(job["cell"])])
            ),
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=AshaPerCell(sweep) if sweep.asha else Forgets(),
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=sweep.name,
                storage_path=scratch,
                callbacks=[TuneNews(search)],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        ).fit()
