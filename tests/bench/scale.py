"""What a million trials on a thousand nodes would meet first, from costs that are measured here.

Each part that one process or one folder carries for all trials is measured at two sizes, in
processor seconds where the machine is shared, and multiplied up: docs/scale.md says what follows.
"""

import gc
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from citrus_ray import records
from citrus_ray.evidence.reading import collect
from citrus_ray.evidence.summary import summarise
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.launch.runner import row_of
from citrus_ray.records import Record
from citrus_ray.search.study import Studies
from citrus_ray.store import open_storage
from citrus_ray.store.leases import Leases
from tests.bench.engine import CPUS, METRIC, sweep_of

MILLION, NODES, CPUS_A_NODE = 1_000_000, 1000, 16
TUNE_MS = 9.0  # processor time of Ray Tune's own loop a trial: `many`, less what is measured here


def run(full: bool = False) -> dict[str, Any]:
    """1,000 and 4,000 trials; with `full` 4,000 and 16,000."""
    small, large = (4000, 16_000) if full else (1000, 4000)
    measured = {n: _costs(n) for n in (small, large)}
    return {"measured": measured, "a_million_trials": _projected(measured[large], large)}


def _costs(n: int) -> dict[str, float]:
    sweep = sweep_of(n, 1)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "records"
        found = dict(_searched(sweep, folder, n))
        found["list_ms"] = 1000 * _cpu(lambda: sum(1 for _ in folder.glob("*.jsonl")))
        found |= {f"alone_{name}": value for name, value in _read(sweep, folder, n)}
        found["compact_us_a_trial"] = 1e6 * _cpu(lambda: records.compact(folder, 1)) / n
        found |= {f"part_{name}": value for name, value in _read(sweep, folder, n)}
        found["lease_ms"] = 1000 * _cpu(lambda: _leased(Path(root) / "store", 50)) / 50
    return {name: round(value, 3) for name, value in found.items()}


def _searched(sweep: Sweep, folder: Path, n: int) -> Iterator[tuple[str, float]]:
    """Milliseconds a trial of the first and last fifth of a search, without Ray; and bytes."""
    studies, times = Studies(sweep, folder), []
    for i in range(n):
        started = time.process_time()
        job = studies.next_job()
        assert job is not None
        rows = _rows(job, 0.3 + i % 97 / 200)
        studies.studies[0].finish(job, rows)
        times.append(time.process_time() - started)
        records.write(folder, job.digest, rows)
    yield "search_first_ms", 1000 * sum(times[: n // 5]) / (n // 5)
    yield "search_last_ms", 1000 * sum(times[-(n // 5) :]) / (n // 5)
    yield "kb_a_record", sum(path.stat().st_size for path in records.files(folder)) / n / 1000


def _rows(job: Any, score: float) -> list[Record]:
    outcome = {"status": "ok", "metrics": {METRIC: score}}
    config = job.config(CPUS)
    return [row_of(config, job.cell, repeat, trial, outcome) for repeat, trial in job.members]


def _read(sweep: Sweep, folder: Path, n: int) -> Iterator[tuple[str, float]]:
    gc.collect()
    before = _mb()
    started = time.process_time()
    found = collect([folder])
    yield "read_us_a_trial", 1e6 * (time.process_time() - started) / n
    yield "read_kb_a_trial", 1000 * (_mb() - before) / n
    del found
    yield "summary_us_a_trial", 1e6 * _cpu(lambda: summarise(sweep, folder, 0.0)) / n


def _leased(store: Path, n: int) -> None:
    leases = Leases(open_storage(str(store)))
    for i in range(n):
        lease = leases.take(f"{i:016x}")
        assert lease is not None
        with lease:
            pass


def _projected(at: dict[str, float], n: int) -> dict[str, Any]:
    driver_ms = at["search_last_ms"] + TUNE_MS
    a_second = 1000 / driver_ms
    # the second reading finds memory that the first gave back
    kb = max(at["alone_read_kb_a_trial"], at["part_read_kb_a_trial"])
    return {
        "driver_hours": round(MILLION * driver_ms / 3.6e6, 1),
        "trials_a_second_of_one_driver": round(a_second),
        "shortest_trial_that_keeps_all_cpus_busy_s": round(NODES * CPUS_A_NODE / a_second),
        "gb_of_records": round(MILLION * at["kb_a_record"] / 1e6, 1),
        "seconds_to_list_single_files": round(at["list_ms"] / n * MILLION / 1000, 1),
        "minutes_to_read": round(MILLION * at["part_read_us_a_trial"] / 6e7, 1),
        "minutes_of_summary": round(MILLION * at["part_summary_us_a_trial"] / 6e7, 1),
        "gb_to_summarise": round(MILLION * kb / 1e6, 1),
    }


def _cpu(what: Callable[[], object]) -> float:
    started = time.process_time()
    what()
    return time.process_time() - started


def _mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6
