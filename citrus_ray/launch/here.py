"""Sweeps in this process, without Ray: trials one after another, with the records that a cluster
would write."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from citrus_ray import records
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.experiment.trial import Trial
from citrus_ray.launch import tensorboard
from citrus_ray.launch.progress import Progress
from citrus_ray.launch.runner import Crash, JobRunner, ResultPaths, crashed, show
from citrus_ray.records import Record
from citrus_ray.search.study import Job, Studies
from citrus_ray.spec import MachineError, Problem, SpecError
from citrus_ray.store import checkpoint, entries, open_storage


def check(sweep: Sweep) -> None:
    """Refuse what one process cannot do."""
    problems = []
    if sweep.asha is not None:
        rule = "stops a trial by how others beside it do, and here one follows another"
        problems.append(Problem("asha", f"{rule}; drop it, or run on Ray"))
    trials = [cell.trial for cell in sweep.cells]
    on_gpu = {
        "trial.finetune.gpu": any(trial.finetune.gpu for trial in trials),
        "trial.pretrain.gpu": any(t.pretraining.gpu is True for t in trials if t.pretraining),
    }
    if any(on_gpu.values()):
        import torch

        rule = "asks for a GPU, and this process sees none; drop it, or run on Ray where one is"
        found = [Problem(path, rule) for path, is_asked in on_gpu.items() if is_asked]
        problems += [] if torch.cuda.is_available() else found
    if problems:
        raise SpecError(problems)


def run_here(sweep: Sweep, paths: ResultPaths, studies: Studies, progress: Progress) -> None:
    """Run what is missing. Returns when all cells are over, or too many trials failed in a row.

    Nothing could end a trial that hangs but the end of this process, so `failures.minutes` is not
    watched. What `pretrain.workers` share is done by one.
    """
    runner, encoders = JobRunner(sweep, paths, is_watched=False), OwnEncoders(paths, progress)
    with _threads_as_before():
        while not studies.over and (job := studies.next_job()) is not None:
            n_failed = len(encoders.failed)
            if crash := encoders.make(job):
                rows = crashed(job, crash, concurrency=1)
                show(paths, job.cell, rows, [])
                records.write(paths.records, job.digest, rows)
            else:
                progress.update({job.digest: job}, [], encoders)
                runner.begin(job.config(concurrency=1))
                runner.step()
            rows = _recorded(paths.records, job)
            result = studies.studies[job.cell.index].finish(job, rows)
            progress.finished(job, result)
            if not crash or len(encoders.failed) > n_failed:  # fails many trials, happened once
                studies.count(result.status == "failed")


def _recorded(folder: Path, job: Job) -> list[Record]:
    """What the job that just ended has recorded."""
    if rows := records.read_trial(folder, job.digest):
        return rows
    path = folder / f"{job.digest}.jsonl"
    raise FileNotFoundError(errno.ENOENT, "the record of a trial is gone", str(path))


@contextmanager
def _threads_as_before() -> Iterator[None]:
    """A block after which torch has its threads again: trials take one, as on Ray, or their last
    digits would be others."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


class OwnEncoders:
    """Encoders that are pre-trained in this process, each when the first job needs it."""

    def __init__(self, paths: ResultPaths, progress: Progress) -> None:
        self.paths, self.progress = paths, progress
        self.running: dict[str, tuple[str, Trial]] = {}
        self.elsewhere: dict[str, str] = {}  # none: another sweep's is waited for where it is asked
        self.ready: set[str] = set()
        self.failed: dict[str, Crash] = {}

    def make(self, job: Job) -> Crash | None:
        """Why one of the job's encoders cannot be made; None once all are in the store."""
        for digest, trial in job.encoders().items():
            if digest not in self.failed and not checkpoint.is_whole(self.paths.store, digest):
                self.running = {digest: (digest, trial)}
                self.progress.update({}, [job], self)
                self._pretrain(digest, trial)
                self.running = {}
            if digest in self.failed:
                return self.failed[digest]
            self.ready.add(digest)
        return None

    def _pretrain(self, digest: str, trial: Trial) -> None:
        import torch

        from citrus_ray.training.pretraining import ensure_encoder

        assert trial.pretraining is not None
        torch.set_num_threads(trial.pretraining.threads_per_worker)
        try:
            takes_gpu = trial.pretraining.gpu and torch.cuda.is_available()  # `auto`: or none
            device = "cuda" if takes_gpu else "cpu"
            ensure_encoder(trial, self.paths.store, device)
        except MachineError:
            raise
        except Exception as err:
            reason = f"pre-training failed: {type(err).__name__}: {err}"
            self.failed[digest] = Crash(reason)
            return
        meta = entries.read_meta(open_storage(self.paths.store), digest)
        tensorboard.write_pretraining(self.paths.tensorboard, trial, digest, meta["history"])
