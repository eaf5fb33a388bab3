"""Ten thousand members that do nothing, through the whole engine: wall time, driver memory, resume,
what is kept."""

import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from citrus_ray import records
from citrus_ray.evidence.evidence import evidence_of
from citrus_ray.evidence.summary import summarise
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.launch import cluster  # before Ray: it sets what Ray reads when it is imported
from citrus_ray.launch.progress import ProgressLine
from citrus_ray.launch.runner import ResultPaths
from citrus_ray.launch.slots import Slots
from citrus_ray.launch.tune import run_sweep
from citrus_ray.search import optuna_bridge as journal
from citrus_ray.search.study import Studies
from tests.bench.engine import MEMBERS, figures, idle_workers, sweep_of


def run(full: bool = False) -> dict[str, Any]:
    """834 trials of 12 members with `full`, else 84."""
    n_trials = 834 if full else 84
    with idle_workers(), tempfile.TemporaryDirectory() as folder:
        return _whole(sweep_of(n_trials, MEMBERS), Path(folder))


def _whole(sweep: Sweep, out: Path) -> dict[str, Any]:
    before_mb = _peak_mb()
    first = _go(sweep, out)
    trials = [trial for trial in records.read_all(out / "records") if trial[0].phase == "search"]
    assert {len(rows) for rows in trials} == {MEMBERS}
    started = time.perf_counter()
    summarise(sweep, out / "records", 0.0)
    journal.export(sweep, evidence_of(sweep, out / "records"), out / "optuna.log")
    summary_s = time.perf_counter() - started
    steady = figures([rows[0] for rows in trials], first)
    tenths = steady["s_per_trial_by_tenth"]
    return {
        "members": sum(map(len, trials)),
        "wall_s": round(first, 1),
        "summary_and_journal_s": round(summary_s, 1),
        "again_with_nothing_to_do_s": round(_go(sweep, out), 2),
        "driver_peak_mb": round(_peak_mb()),
        "driver_peak_before_mb": round(before_mb),
        "record_files": len(list((out / "records").glob("*.jsonl"))),
        "tensorboard_runs": len({path.parent for path in (out / "tensorboard").rglob("events*")}),
        "s_per_trial_by_tenth": tenths,
        "growth_of_cost_over_the_run": round(
            float(np.polyfit(np.arange(len(tenths)), tenths, 1)[0] * 9), 4
        ),
    }


def _go(sweep: Sweep, out: Path) -> float:
    """Wall seconds of the search on what is recorded already."""
    started = time.perf_counter()
    studies = Studies(sweep, out / "records")
    slots = Slots(sweep, cluster.capacity())
    place = ResultPaths(out / "records", str(out / "store"), out / "tensorboard")
    with open(os.devnull, "w") as nowhere, ProgressLine(sweep, studies, nowhere) as progress:
        run_sweep(sweep, place, slots, studies, progress)
    return time.perf_counter() - started


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
