"""What the sweep engine itself costs per trial and per member, beside plain Ray Tune with a process
per trial.

The trials are real jobs of a real sweep, from Optuna's suggestion to the record on disk; only the
fine-tune of a member is replaced by nothing, by a hook that Ray runs as each of this benchmark's
workers starts.
"""

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from citrus_ray import records
from citrus_ray.experiment.sweep import Sweep, parse_sweep
from citrus_ray.experiment.trial import Trial
from citrus_ray.launch import cluster  # before Ray: it sets what Ray reads when it is imported
from citrus_ray.launch.progress import Progress
from citrus_ray.launch.runner import ResultPaths, row_of
from citrus_ray.launch.slots import Slots
from citrus_ray.launch.tune import run_sweep
from citrus_ray.records import Record
from citrus_ray.search.study import Studies
from citrus_ray.spec import Document
from citrus_ray.store import predictions
from citrus_ray.training import members as population

ROOT = Path(__file__).resolve().parents[2]
MEMBERS, CPUS = 12, 2
METRIC = "val/balanced_accuracy"
SPEC: dict[str, Any] = {
    "name": "engine",
    "trial": {
        "finetune": {"target": {"kind": "synthetic", "n_subjects": 8}, "steps": 4, "rounds": 4}
    },
    "search": {
        "finetune.optim.lr": {"loguniform": [1e-4, 1e-2]},
        "finetune.optim.weight_decay": {"uniform": [0.0, 0.1]},
    },
    "final": {"rounds": 2},
}


class Nothing:
    """A member whose fine-tune is over at once, with scores that its trial's parameters decide."""

    def __init__(self, trial: Trial, weights: object, metric: str, device: str) -> None:
        score = 1 - (np.log10(trial.finetune.optim.lr) + 3) ** 2 / 9
        self.trial, self.best = trial, {METRIC: float(score), "round": 1.0}
        self.view = SimpleNamespace(names=["synthetic"])
        self.rounds = iter([self.best])
        self.tested: dict[str, Any] = {}

    def advance(self) -> dict[str, float] | None:
        return next(self.rounds, None)

    def n_labelled(self) -> dict[str, int]:
        return {}

    def network(self) -> dict[str, Any]:
        return {}

    def identity(self) -> dict[str, float]:
        return {}

    def test_outputs(self) -> None:
        return None

    def score_test(self) -> dict[str, float]:
        return {METRIC.replace("val", "test"): self.best[METRIC]}


def no_finetunes() -> None:
    """Runs in every worker of this benchmark as it starts."""
    vars(population).update(Member=Nothing, baselines=lambda *_: {})
    vars(predictions).update(write=lambda *_: None)


def run(full: bool = False) -> dict[str, Any]:
    """500 trials of 12 members and 50 of plain Tune with `full`, else fewer."""
    n_trials, n_plain = (500, 50) if full else (60, 10)
    with idle_workers():
        _ours(8, 1)  # the first workers of a cluster start slowly
        many, one = _ours(n_trials, MEMBERS), _ours(n_trials, 1)
        plain, warm = _plain(n_plain, reuse=False), _plain(n_plain, reuse=True)
    per_member = (many["s_per_trial"] - one["s_per_trial"]) / (MEMBERS - 1)
    return {
        "trials": n_trials,
        "members": MEMBERS,
        "cpus": CPUS,
        "ours": many,
        "ours_one_member": one,
        "s_per_trial_without_members": round(one["s_per_trial"] - per_member, 4),
        "s_per_member": round(per_member, 5),
        "cpu_s_per_member": _cpu_per_member(),
        "plain_process_per_trial": {"trials": n_plain, "s_per_trial": plain},
        "plain_warm_workers": {"trials": n_plain, "s_per_trial": warm},
        "plain_process_per_trial_for_all_s": round(plain * n_trials, 1),
        "plain_process_per_member_for_all_s": round(plain * n_trials * MEMBERS, 1),
        "plain_process_over_ours_per_trial": round(plain / many["s_per_trial"], 1),
        "plain_process_over_ours_per_member": round(plain * MEMBERS / many["s_per_trial"], 1),
        "ours_one_member_over_plain_warm": round(one["s_per_trial"] / warm, 2),
    }


@contextmanager
def idle_workers() -> Iterator[None]:
    """A cluster whose workers fine-tune nothing."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    import ray

    logging.disable(
        logging.ERROR
    )  # Tune misses the result files that `cluster.QUIET` told it not to write
    hook = {"worker_process_setup_hook": "tests.bench.engine.no_finetunes"}
    ray.init(num_cpus=CPUS, include_dashboard=True, log_to_driver=False, runtime_env=hook)
    try:
        yield
    finally:
        ray.shutdown()


def _ours(n_trials: int, n_members: int) -> dict[str, Any]:
    trials, wall = swept(sweep_of(n_trials, n_members))
    assert [len(rows) for rows in trials] == [n_members] * n_trials
    assert {row.status for rows in trials for row in rows} == {"ok"}
    return figures([rows[0] for rows in trials], wall)


def swept(sweep: Sweep) -> tuple[list[list[Record]], float]:
    """The trials of a whole sweep without its finals, and the wall seconds of all of it."""
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        out = Path(folder)
        studies = Studies(sweep, out / "records")
        slots = Slots(sweep, cluster.capacity())
        place = ResultPaths(out / "records", str(out / "store"), out / "tensorboard")
        started = time.perf_counter()
        with Progress(sweep, studies, nowhere) as progress:
            run_sweep(sweep, place, slots, studies, progress)
        wall = time.perf_counter() - started
        return [
            trial for trial in records.read_all(out / "records") if trial[0].phase == "search"
        ], wall


def _cpu_per_member(n_trials: int = 50) -> float:
    """Processor seconds of one process that suggests, describes and records: wall time is noisy on
    a busy machine."""
    spent = {}
    for n_members in (1, MEMBERS):
        with tempfile.TemporaryDirectory() as folder:
            (study,) = Studies(sweep_of(n_trials, n_members), Path(folder)).studies
            started = time.process_time()
            for _ in range(n_trials):
                job = study.next_job()
                assert job is not None
                outcome = {"status": "ok", "metrics": {METRIC: 0.5}}
                rows = [
                    row_of(job.config(CPUS), job.cell, repeat, trial, outcome)
                    for repeat, trial in job.members
                ]
                records.write(study.folder, job.digest, rows)
                study.finish(job, rows)
            spent[n_members] = time.process_time() - started
    return round((spent[MEMBERS] - spent[1]) / n_trials / (MEMBERS - 1), 5)


def figures(rows: list[Record], wall: float) -> dict[str, Any]:
    """Wall seconds from the tenth trial on, when all workers are up; the curve is of tenths of the
    trials."""
    times = np.sort([datetime.fromisoformat(row.finished).timestamp() for row in rows])
    steady = np.diff(times[min(9, len(times) // 2) :])
    tenths = (
        [round(float(part.mean()), 4) for part in np.array_split(np.diff(times), 10)]
        if len(times) > 20
        else []
    )
    return {
        "wall_s": round(wall, 2),
        "s_per_trial": round(float(steady.mean()), 4),
        "s_per_trial_by_tenth": tenths,
    }


def sweep_of(n_trials: int, n_members: int, n_targets: int = 1) -> Sweep:
    tree = SPEC | {"budget": {"trials": n_trials}, "repeat": {"seed": list(range(n_members))}}
    if n_targets > 1:
        tree["compare"] = {"finetune.target.seed": list(range(n_targets))}
    return parse_sweep(Document("engine", "", tree))


def _plain(n_trials: int, reuse: bool) -> float:
    """Wall seconds per trial of Ray Tune with Optuna as its documentation shows it, on functions
    that do nothing."""
    from ray import tune
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    class Ends(tune.Callback):  # type: ignore[misc]
        times: list[float] = []

        def on_trial_complete(
            self, iteration: int, trials: list[Any], trial: Any, **info: Any
        ) -> None:
            self.times.append(time.perf_counter())

    ends = Ends()
    ends.times = []
    search = ConcurrencyLimiter(OptunaSearch(metric="score", mode="max"), max_concurrent=CPUS)
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            _does_nothing,
            param_space={"lr": tune.loguniform(1e-4, 1e-2), "weight_decay": tune.uniform(0.0, 0.1)},
            tune_config=tune.TuneConfig(
                search_alg=search, num_samples=n_trials, reuse_actors=reuse
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[ends]),
        ).fit()
    return round((ends.times[-1] - ends.times[0]) / (n_trials - 1), 4)


def _does_nothing(config: dict[str, float]) -> None:
    from ray import tune

    tune.report({"score": -config["lr"]})
