"""`sweeps/quickstart.yaml` against the same study as one would write it in plain Ray Tune.

There a run is a trial with a process of its own, and pre-trains before it fine-tunes; models, data
and training are ours, so what differs is the engine.
"""

import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from citrus_ray import records
from citrus_ray.experiment.sweep import Cell, Sweep, load_sweep
from citrus_ray.experiment.trial import Trial

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "sweeps" / "quickstart.yaml"
CPUS = 2


def run(full: bool = False) -> dict[str, Any]:
    """The whole of it with `full`, else the runs of a single search trial of each cell, scaled
    up."""
    from citrus_ray.data.windowing import cache

    sweep = load_sweep(QUICKSTART)
    for cell in sweep.cells:
        for source in cell.trial.sources().values():
            cache.load(source)  # both sides find prepared data
    ours, runs = _ours()
    measured = runs if full else _thinned(sweep, runs)
    plain = _plain(measured)
    scaled = plain * len(runs) / len(measured)
    return {
        "ours_s": round(ours, 1),
        "runs": len(runs),
        "plain_runs_measured": len(measured),
        "plain_s": round(plain, 1),
        "plain_for_all_s": round(scaled, 1),
        "plain_over_ours": round(scaled / ours, 1),
    }


def _ours() -> tuple[float, list[Trial]]:
    """Wall seconds of the command, and every run that it recorded."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "results" / "quickstart"
        command = [sys.executable, "sweeps/run.py", str(QUICKSTART), "--out", str(out)]
        started = time.perf_counter()
        subprocess.run(
            command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wall = time.perf_counter() - started
        sweep, rows = (
            load_sweep(QUICKSTART),
            [row for trial in records.read_all(out / "records") for row in trial],
        )
        cells = {cell.digest: cell for cell in sweep.cells}
        return wall, [_trial_of(cells[row.cell], row.params | row.repeat) for row in rows]


def _trial_of(cell: Cell, edits: dict[str, Any]) -> Trial:
    return cell.trial.at(edits)


def _thinned(sweep: Sweep, runs: list[Trial]) -> list[Trial]:
    """Every sixth run, of both arms alike."""
    arms = [
        [r for r in runs if (r.pretraining is None) == is_scratch] for is_scratch in (True, False)
    ]
    return [run for arm in arms for run in arm[::6]]


def _plain(runs: list[Trial]) -> float:
    """Wall seconds of Ray Tune on these runs, with Ray's own start, as a user waits for both."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    logging.disable(logging.ERROR)
    started = time.perf_counter()
    import ray
    from ray import tune

    ray.init(num_cpus=CPUS, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            _run,
            param_space={
                "trial": tune.grid_search([trial.model_dump_json(by_alias=True) for trial in runs])
            },
            tune_config=tune.TuneConfig(metric="score", mode="max"),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
    ray.shutdown()
    return time.perf_counter() - started


def _run(config: dict[str, str]) -> None:
    import torch
    from ray import tune

    from citrus_ray.training.finetuning import Member
    from citrus_ray.training.pretraining import run as pretrain

    torch.set_num_threads(1)
    trial = Trial.model_validate_json(config["trial"])
    weights = pretrain(trial.pretraining, trial.model).weights if trial.pretraining else None
    member = Member(trial, weights)
    member.finish()
    tune.report({"score": member.best["val/balanced_accuracy"]})
