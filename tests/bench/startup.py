"""Seconds until the command answers, plans and starts: `--help`, `--status`, `--dry-run`, a first
trial of quickstart.

A plan of models that were not timed before has to load torch and time them; one that was made
before does not.

Wall seconds of a fresh process, and its processor seconds, which others on the machine do not
lengthen.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from citrus_ray.data.root import cache_root

ROOT = Path(__file__).resolve().parents[2]
WANTED = {
    "help": 0.5,
    "status": 1.5,
    "dry_run": 1.5,
    "dry_run_of_new_models": 1.5,
    "first_trial": 12.0,
}
PATIENCE_S = 120.0
TRIAL = b"ray::ResourceTrainable.train"  # Ray's name for a process that runs our trials


def run(full: bool = False) -> dict[str, Any]:
    """Medians of five calls with `full`, else of three. The sweep is begun once, and stopped at its
    first trial."""
    times = 5 if full else 3
    with tempfile.TemporaryDirectory() as folder:
        plan = ["quickstart", "--out", f"{folder}/plan"]
        found: dict[str, dict[str, Any]] = {
            "help": _called(["--help"], times),
            "status": _called([*plan, "--status"], times),
            "dry_run": _called([*plan, "--dry-run"], times),
            "dry_run_of_new_models": _called([*plan, "--dry-run"], times, _forget_timings),
            "first_trial": _first_trial(Path(folder)),
        }
    return {name: figures | {"wanted_s": WANTED[name]} for name, figures in found.items()}


def _called(
    arguments: list[str], times: int, before_each: Callable[[], object] = lambda: None
) -> dict[str, float]:
    walls, cpus = [], []
    for _ in range(times + 1):  # the first reads the disk
        before_each()
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            _command(arguments), cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=_env()
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        walls.append(time.perf_counter() - started)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {
        "wall_s": round(sorted(walls[1:])[times // 2], 2),
        "cpu_s": round(sorted(cpus[1:])[times // 2], 2),
    }


def _forget_timings() -> None:
    shutil.rmtree(cache_root() / "timings", ignore_errors=True)


def _first_trial(folder: Path) -> dict[str, Any]:
    """Until a worker is in a trial, and until the first trial is on record."""
    out, started = folder / "results" / "quickstart", time.perf_counter()
    command, silent = _command(["quickstart", "--out", str(out)]), subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=ROOT, env=_env(), stdout=silent, stderr=silent)
    found: dict[str, Any] = {"wall_s": None, "on_record_s": None}
    try:
        while time.perf_counter() - started < PATIENCE_S and found["on_record_s"] is None:
            passed = round(time.perf_counter() - started, 1)
            if found["wall_s"] is None and _in_a_trial():
                found["wall_s"] = passed
            if any((out / "records").glob("*.jsonl")):
                found["on_record_s"] = passed
            time.sleep(0.1)
        return found
    finally:
        process.send_signal(2)  # Ctrl-C: it stops its own cluster
        process.wait(60)


def _in_a_trial() -> bool:
    """Whether a worker of some Ray on this machine is; no other sweep must run beside."""
    return any(TRIAL in _words(process) for process in Path("/proc").glob("[0-9]*"))


def _words(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


def _command(arguments: list[str]) -> list[str]:
    return [sys.executable, "sweeps/run.py", *arguments]


def _env() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}
