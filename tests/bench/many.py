"""Ten thousand trials that do nothing, through the whole engine: wall time, driver memory and
processor time and how they grow, resume, what is kept."""

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
from citrus_ray.launch.progress import Progress
from citrus_ray.launch.runner import ResultPaths
from citrus_ray.launch.slots import Slots
from citrus_ray.launch.tune import run_sweep
from citrus_ray.search import optuna_bridge as journal
from citrus_ray.search.study import Studies
from tests.bench.engine import MEMBERS, figures, idle_workers, sweep_of


def run(full: bool = False) -> dict[str, Any]:
    """10,000 trials of one member and 834 of 12 with `full`, else 200 and 84."""
    shapes = ((10_000, 1), (834, MEMBERS)) if full else ((200, 1), (84, MEMBERS))
    found = {}
    with idle_workers():
        for n_trials, n_members in shapes:
            with tempfile.TemporaryDirectory() as folder:
                sweep = sweep_of(n_trials, n_members)
                found[f"{n_trials} of {n_members}"] = _whole(sweep, Path(folder), n_members)
    return found


class Growth(Progress):
    """Progress that notes the driver's memory and processor seconds at every trial."""

    def __init__(self, *of: Any) -> None:
        super().__init__(*of)
        self.mb: list[float] = []
        self.cpu_s: list[float] = []

    def finished(self, *of: Any) -> None:
        super().finished(*of)
        self.mb.append(_now_mb())
        self.cpu_s.append(time.process_time())

    def figures(self) -> dict[str, Any]:
        """Over the last two thirds of the trials, when everything is loaded."""
        mb, cpu = (np.array(of[len(of) // 3 :]) for of in (self.mb, self.cpu_s))
        ms = 1000 * np.diff(cpu)
        return {
            "driver_mb_at_a_third_and_at_the_end": [round(mb[0]), round(mb[-1])],
            "driver_kb_per_trial": round(float(np.polyfit(np.arange(len(mb)), mb, 1)[0]) * 1000, 1),
            "driver_cpu_ms_per_trial_by_fifth": [
                round(float(part.mean()), 2) for part in np.array_split(ms, 5)
            ],
        }


def _whole(sweep: Sweep, out: Path, n_members: int) -> dict[str, Any]:
    before_mb = _peak_mb()
    first, growth = _go(sweep, out)
    run_mb = _peak_mb()
    trials = [trial for trial in records.read_all(out / "records") if trial[0].phase == "search"]
    assert {len(rows) for rows in trials} == {n_members}
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
        "again_with_nothing_to_do_s": round(_go(sweep, out)[0], 2),
        "driver_peak_mb": round(run_mb),
        "driver_peak_before_mb": round(before_mb),
        "driver_peak_with_summary_mb": round(_peak_mb()),
        **growth,
        "record_files": len(list((out / "records").glob("*.jsonl"))),
        "tensorboard_runs": len({path.parent for path in (out / "tensorboard").rglob("events*")}),
        "s_per_trial_by_tenth": tenths,
        "growth_of_cost_over_the_run": round(
            float(np.polyfit(np.arange(len(tenths)), tenths, 1)[0] * 9), 4
        ),
    }


def _go(sweep: Sweep, out: Path) -> tuple[float, dict[str, Any]]:
    """Wall seconds of the search on what is recorded already, and how the driver grew."""
    started = time.perf_counter()
    studies = Studies(sweep, out / "records")
    slots = Slots(sweep, cluster.capacity())
    place = ResultPaths(out / "records", str(out / "store"), out / "tensorboard")
    with open(os.devnull, "w") as nowhere:
        growth = Growth(sweep, studies, nowhere)
        with growth:
            run_sweep(sweep, place, slots, studies, growth)
    return time.perf_counter() - started, growth.figures() if growth.mb else {}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _now_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6
