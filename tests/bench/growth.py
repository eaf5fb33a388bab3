"""How the time of a sweep grows with its trials, members, targets and records: points, and the
slope of each curve.

Sweeps whose members fine-tune nothing, as in `engine`: what is left is what the platform itself
adds to the arithmetic.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from citrus_ray.evidence.evidence import evidence_of
from citrus_ray.evidence.summary import summarise
from citrus_ray.launch.runner import row_of
from citrus_ray.records import write
from citrus_ray.search import optuna_bridge as journal
from citrus_ray.search.study import Studies
from tests.bench.engine import CPUS, METRIC, idle_workers, sweep_of, swept

Curve = dict[int, float]


def run(full: bool = False) -> dict[str, Any]:
    """Longer sweeps with `full`."""
    k = 4 if full else 1
    with idle_workers():
        swept(sweep_of(8, 1))  # the first workers of a cluster start slowly
        trials = {n: _wall(n, 1) for n in (20, 40 * k, 80 * k, 160 * k)}
        members = {n: _wall(20, n) for n in (1, 8 * k, 16 * k, 32 * k)}
        targets = {n: _wall(10, 1, n) for n in (1, 4 * k, 8 * k, 16 * k)}
    records = {n: _summary(n) for n in (1000, 4000, 16_000 * k)}
    return {
        "trials": _described(trials),
        "members of 20 trials": _described(members),
        "targets of 10 trials": _described(targets),
        "records summarised": _described(records),
    }


def _wall(*shape: int) -> float:
    return swept(sweep_of(*shape))[1]


def _summary(n_records: int, n_members: int = 10) -> float:
    """Seconds of processor until the last screen and Optuna's journal are written, from records
    alone."""
    sweep = sweep_of(n_records // n_members, n_members)
    with tempfile.TemporaryDirectory() as folder:
        (study,) = Studies(sweep, Path(folder)).studies
        for i in range(n_records // n_members):
            params = {
                "finetune.optim.lr": 1e-4 * (1 + i / n_records),
                "finetune.optim.weight_decay": 0.01,
            }
            members, digest = study.cell.members(params), f"{i:016d}"
            job = {
                "digest": digest,
                "phase": "search",
                "params": params,
                "asked_s": 0.0,
                "concurrency": CPUS,
            }
            outcome = {"status": "ok", "metrics": {METRIC: 0.5}}
            rows = [row_of(job, study.cell, repeat, trial, outcome) for repeat, trial in members]
            write(study.folder, digest, rows)
        started = time.process_time()
        summarise(sweep, study.folder, 0.0)
        journal.export(sweep, evidence_of(sweep, study.folder), Path(folder) / "optuna.log")
        return time.process_time() - started


def _described(curve: Curve) -> dict[str, Any]:
    """Seconds, those for each one more between neighbouring points, and over all of them with the
    start beside it."""
    n, seconds = np.array(list(curve)), np.array(list(curve.values()))
    slope, start = np.polyfit(n, seconds, 1)
    return {
        "seconds": {int(x): round(float(s), 2) for x, s in curve.items()},
        "s_per_one_more": [round(float(s), 4) for s in np.diff(seconds) / np.diff(n)],
        "slope": round(float(slope), 5),
        "s_to_start": round(float(start), 2),
    }
