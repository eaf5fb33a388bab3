"""A sweep on Ray: one Tuner runs the trials of all cells, each cell an Optuna study, on warm workers.

Trials start only when the encoders they need are in the store, so that none of them waits while holding a CPU.
"""

import contextlib
import json
import math
import tempfile
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from citrus_ray import checkpoint, records
from citrus_ray.launch.cluster import Capacity
from citrus_ray.launch.pretrain import pretrain
from citrus_ray.launch.progress import Progress
from citrus_ray.launch.runner import TrialRunner, Workplace, crashed, show
from citrus_ray.launch.study import Job, Studies
from citrus_ray.records import Record
from citrus_ray.sweep import Sweep
from citrus_ray.trial import Pretrain, Trial

PRETRAIN_SHARE = 0.1  # of a CPU that a pre-training's thread asks Ray for; a trial asks for the rest


class Slots:
    """Who may use which CPU: what trials and pre-training threads ask Ray for, and how many run at once.

    Ray Tune keeps idle workers warm, with their requests, sometimes more of them than trials that run; a
    pre-training that asked for whole CPUs would wait for them for ever. So each CPU is asked for in two parts, one
    that only trials fill and one that only pre-trainings fill, and the search counts what is really busy.
    """

    def __init__(self, sweep: Sweep, capacity: Capacity) -> None:
        self.cpus = max(1, int(capacity.cpus))
        for spec in (cell.trial.pretraining for cell in sweep.cells):
            if spec is not None and threads(spec) > self.cpus:
                raise ValueError(
                    f"pre-training asks for {threads(spec)} CPUs (workers x threads_per_worker), but the cluster has "
                    f"{self.cpus}; lower pretrain.workers, or add nodes"
                )
            if spec is not None and spec.gpu and spec.workers > capacity.gpus:
                raise ValueError(
                    f"pre-training asks for {spec.workers} GPUs, one per worker, but the cluster has "
                    f"{capacity.gpus:g}; lower pretrain.workers, or set pretrain.gpu: false"
                )
        self.n = sweep.concurrency or self.cpus
        self.cpus_per_trial = math.floor(min(1.0, self.cpus / self.n) * (1 - PRETRAIN_SHARE) * 1000) / 1000


def threads(spec: Pretrain) -> int:
    return spec.workers * spec.threads_per_worker


class Encoders:
    """Pre-trainings under way: each digest once, as many at a time as CPUs are free."""

    def __init__(self, workplace: Workplace, slots: Slots) -> None:
        self.workplace, self.slots = workplace, slots
        self.busy = 0  # threads of the pre-trainings that run
        self.waiting: dict[str, Trial] = {}
        self.running: dict[ray.ObjectRef, tuple[str, int]] = {}
        self.failed: dict[str, str] = {}
        self.ready: set[str] = set()

    def want(self, digest: str, trial: Trial) -> bool:
        """Whether the encoder is there; asks for it if not."""
        if digest in self.ready or checkpoint.exists(self.workplace.store, digest):
            self.ready.add(digest)
            return True
        under_way = any(digest == name for name, _ in self.running.values())
        if not under_way and digest not in self.failed:
            self.waiting.setdefault(digest, trial)
        return False

    def poll(self, n_live: int) -> None:
        """Take in what is done, start what fits beside `n_live` trials."""
        self._collect()
        for digest, trial in list(self.waiting.items()):
            assert trial.pretraining is not None
            n = threads(trial.pretraining)
            if self.running and self.busy + n_live + n > self.slots.cpus:
                return
            del self.waiting[digest]
            place = self.workplace
            ref = pretrain.remote(trial.model_dump_json(), str(place.store), str(place.tensorboard), PRETRAIN_SHARE)
            self.running[ref] = (digest, n)
            self.busy += n

    def _collect(self) -> None:
        done, _ = ray.wait(list(self.running), num_returns=len(self.running), timeout=0) if self.running else ([], [])
        for ref in done:
            digest, n = self.running.pop(ref)
            self.busy -= n
            try:
                ray.get(ref)
            except Exception as err:
                self.failed[digest] = f"pre-training failed: {_last_line(err)}"

    def close(self) -> None:
        """Ctrl-C: what is under way is of no use to a cluster that outlives this sweep."""
        for ref in self.running:
            ray.cancel(ref, force=True, recursive=True)


class CellSearch(Searcher):  # type: ignore[misc]
    """Ray Tune's one searcher over all studies. Suggests only jobs that can start at once."""

    def __init__(self, studies: Studies, encoders: Encoders, slots: Slots, progress: Progress) -> None:
        super().__init__(metric=studies.sweep.objective.metric, mode=studies.sweep.objective.mode)
        self.studies, self.encoders, self.slots, self.progress = studies, encoders, slots, progress
        self.parked: list[Job] = []
        self.live: dict[str, Job] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        self.encoders.poll(len(self.live))
        self._drop_hopeless()
        try:
            return self._suggest(trial_id)
        finally:
            self.progress.update(self.live, self.parked, self.encoders)

    def _suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        n_free = min(self.slots.n, max(1, self.slots.cpus - self.encoders.busy)) - len(self.live)
        if n_free <= 0:
            return None
        job = self._startable()
        if job is None:
            return Searcher.FINISHED if self.studies.over and not self.live else None
        self.live[trial_id] = job
        return {"cell": job.cell.index, "phase": job.phase, "params": job.params, "digest": job.digest}

    def _startable(self) -> Job | None:
        ready = next((job for job in self.parked if self._has_encoders(job)), None)
        if ready is not None:
            self.parked.remove(ready)
            return ready
        while len(self.parked) < 2 * self.slots.n * len(self.studies.studies):
            job = self.studies.next_job()
            if job is None or self._has_encoders(job):
                return job
            self.parked.append(job)
        return None

    def _has_encoders(self, job: Job) -> bool:
        there = [self.encoders.want(digest, trial) for digest, trial in job.encoders().items()]  # ask for all of them
        return all(there)

    def _drop_hopeless(self) -> None:
        """A trial whose encoder could not be made is a failed row."""
        for job in list(self.parked):
            reasons = [self.encoders.failed[d] for d in job.encoders() if d in self.encoders.failed]
            if reasons:
                self.parked.remove(job)
                self._finish(job, reasons[0])

    def finish(self, trial_id: str, last_result: dict[str, Any], crash: str | None = None) -> None:
        """Called when Tune is done with a trial, whichever way it went."""
        job = self.live.pop(trial_id, None)
        if job is None:
            return
        stopped = [Record(**row) for row in json.loads(last_result.get("rows", "[]"))]
        self._finish(job, crash or "its worker stopped without a record", [] if crash else stopped)

    def _finish(self, job: Job, reason: str, stopped: list[Record] | None = None) -> None:
        """Take in the trial's record; write it here where the trial could not: it crashed, or ASHA stopped it."""
        folder = self.studies.folder
        rows = records.read_trial(folder, job.digest)
        if not rows:
            rows = stopped or list(crashed(job, reason, self.slots.n))
            show(self.encoders.workplace, job.cell, rows, [])
            records.write(folder, job.digest, rows)
        study = self.studies.studies[job.cell.index]
        self.progress.finished(job, study.finish(job, rows))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing here: `Watch` calls `finish` a moment later, and it knows why a trial crashed."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher to be able to restore it. Ours starts from records instead."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: records are the truth, Tune's own state is disposable."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see `save`."""


class Watch(tune.Callback):  # type: ignore[misc]
    """Hands Tune's news to the searcher."""

    def __init__(self, search: CellSearch) -> None:
        self.search = search

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.search.finish(trial.trial_id, trial.last_result)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.search.finish(trial.trial_id, trial.last_result, _last_line(trial.get_error() or "its worker died"))


class PerCell(FIFOScheduler):  # type: ignore[misc]
    """ASHA within each cell: a trial is compared with trials of its own study only. Finals always run to their end."""

    def __init__(self, sweep: Sweep) -> None:
        super().__init__()
        assert sweep.asha is not None
        asha = sweep.asha
        self.brackets = [
            AsyncHyperBandScheduler(
                time_attr="training_iteration",
                metric=sweep.objective.metric,
                mode=sweep.objective.mode,
                max_t=cell.trial.finetune.rounds + 1,  # the last report is the end of the trial, not a rung
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


def run_sweep(sweep: Sweep, workplace: Workplace, slots: Slots, studies: Studies, progress: Progress) -> None:
    """Run what is missing. Returns when all cells are over, or when Ctrl-C stopped Tune."""
    if studies.over:
        return
    encoders = Encoders(workplace, slots)
    search = CellSearch(studies, encoders, slots, progress)
    trainable = tune.with_parameters(TrialRunner, sweep_json=sweep.model_dump_json(by_alias=True), workplace=workplace)
    with tempfile.TemporaryDirectory(prefix="citrus-tune-") as scratch, contextlib.closing(encoders):
        tune.Tuner(
            tune.with_resources(trainable, {"cpu": slots.cpus_per_trial}),
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=PerCell(sweep) if sweep.asha else None,
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=sweep.name,
                storage_path=scratch,
                callbacks=[Watch(search)],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        ).fit()


def _last_line(err: object) -> str:
    """The end of a Ray error is what went wrong; the rest is the way it came."""
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return lines[-1][:500] if lines else type(err).__name__
