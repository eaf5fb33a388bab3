"""Runs of a sweep in W&B and MLflow, for those who keep all their runs there: a run for each
searched trial as it is recorded, and one for each winner's refit once the sweep has ended.

What they get is what records say. A tracker that fails is tried again at the next writing, never
ends a sweep and never holds it up for long; the end says what is not there.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from citrus_ray import records
from citrus_ray.launch.tensorboard import Board, BoardRun
from citrus_ray.spec import digest_of

if TYPE_CHECKING:
    from citrus_ray.evidence.evidence import Evidence
    from citrus_ray.experiment.sweep import Sweep

THERE = "trackers.json"  # in the results: the runs that each tracker has
LIMIT_S = 300.0  # that all runs of one writing may take
Track = Callable[[BoardRun], None]


def track(sweep: "Sweep", evidence: "Evidence", out: Path, ended: bool) -> list[str]:
    """Hand over the runs that a tracker has not; what stood in the way, a line for each."""
    if not sweep.trackers:
        return []
    runs = list(Board(sweep, out / "tensorboard").runs(evidence, refits=ended))
    said = (_Handover.of(name, sweep, out).go(runs) for name in sweep.trackers)
    return [line for line in said if line]


def not_installed(names: Iterable[str]) -> list[str]:
    """Trackers that cannot work here, said before a sweep starts."""
    missing = [name for name in names if find_spec(name) is None]
    return [f"{name} is not installed: pip install citrus_ray[{name}]" for name in missing]


@dataclass
class _Handover:
    """Runs on their way to one tracker."""

    name: str
    begin: Callable[[], Track]
    file: Path
    there: set[str]
    complaint: str = ""

    @classmethod
    def of(cls, name: str, sweep: "Sweep", out: Path) -> "_Handover":
        there = set(_read(out / THERE).get(name, []))
        return cls(name, lambda: TRACKERS[name](sweep, out), out / THERE, there)

    def go(self, runs: Sequence[BoardRun]) -> str:
        """In a thread that nobody waits for beyond its time: a server may not answer."""
        new = [run for run in runs if run.name not in self.there]
        if not new:
            return ""
        thread = threading.Thread(target=self._hand_over, args=(new,), daemon=True)
        thread.start()
        thread.join(LIMIT_S)
        if thread.is_alive():
            self.complaint = f"no answer within {LIMIT_S:.0f} s"
        records.write_text(
            self.file, json.dumps(_read(self.file) | {self.name: sorted(self.there)})
        )
        n = sum(run.name not in self.there for run in new)
        return f"{self.name}: {n} of {len(runs)} runs are not there: {self.complaint}" if n else ""

    def _hand_over(self, runs: Sequence[BoardRun]) -> None:
        try:
            log = self.begin()
            for run in runs:
                log(run)
                self.there.add(run.name)
                known = _read(self.file) | {self.name: sorted(self.there)}
                records.write_text(self.file, json.dumps(known) + "\n")
        except BaseException as err:  # of another's library: it may raise whatever it likes
            first = next(iter(str(err).strip().splitlines()), "")
            self.complaint = f"{type(err).__name__}: {first}"


def _read(path: Path) -> dict[str, list[str]]:
    try:
        found = json.loads(path.read_text())
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


def _wandb(sweep: "Sweep", out: Path) -> Track:
    """A project of the sweep's name, a group for each cell. `$WANDB_MODE=offline` keeps runs in
    the results, for `wandb sync`."""
    import wandb

    out.mkdir(parents=True, exist_ok=True)

    def log(run: BoardRun) -> None:
        quiet = wandb.Settings(silent=True, console="off", x_disable_stats=True, init_timeout=30)
        begun = wandb.init(
            project=sweep.name,
            group=run.cell,
            name=run.name,
            id=digest_of([sweep.name, str(out), run.name])[:16],
            config=dict(run.hparams),
            dir=str(out),
            reinit="finish_previous",
            settings=quiet,
        )
        for step, scalars in run.steps:
            if scalars:
                begun.log(dict(scalars), step=step)
        begun.finish(exit_code=1 if run.hparams["status"] == "failed" else 0)

    return log


def _mlflow(sweep: "Sweep", out: Path) -> Track:
    """An experiment of the sweep's name, at `$MLFLOW_TRACKING_URI`, else in the results."""
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

    client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{out}/mlflow.db")
    known = client.get_experiment_by_name(sweep.name)
    experiment = known.experiment_id if known else client.create_experiment(sweep.name)

    def log(run: BoardRun) -> None:
        now = int(1000 * time.time())
        begun = client.create_run(experiment, run_name=run.name).info.run_id
        metrics = [Metric(n, v, now, step) for step, of in run.steps for n, v in of.items()]
        params = [Param(name, str(value)) for name, value in run.hparams.items()]
        for first in range(0, max(len(metrics), 1), 1000):  # no more are taken at once
            some = metrics[first : first + 1000]
            client.log_batch(begun, some, params, [RunTag("cell", run.cell)])
        failed = run.hparams["status"] == "failed"
        client.set_terminated(begun, "FAILED" if failed else "FINISHED")

    return log


TRACKERS: Mapping[str, Callable[[Any, Path], Track]] = {"wandb": _wandb, "mlflow": _mlflow}
