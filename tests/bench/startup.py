"""Seconds until the command answers, plans and starts: `--help`, `--dry-run`, the first trial of the quickstart.

Wall seconds of a fresh process, and its processor seconds, which others on the machine do not lengthen.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WANTED = {"help": 0.5, "dry_run": 1.5, "first_trial": 12.0}
PATIENCE_S = 120.0


def run(full: bool = False) -> dict[str, Any]:
    """Medians of five calls with `full`, else of three. The sweep is begun once, and stopped at its first trial."""
    times = 5 if full else 3
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, dict[str, Any]] = {
            "help": _called(["--help"], times),
            "dry_run": _called(["quickstart", "--dry-run", "--out", f"{folder}/dry"], times),
            "first_trial": {"wall_s": _first_trial(Path(folder))},
        }
    return {name: figures | {"wanted_s": WANTED[name]} for name, figures in found.items()}


def _called(arguments: list[str], times: int) -> dict[str, float]:
    walls, cpus = [], []
    for _ in range(times + 1):  # the first reads the disk
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(_command(arguments), cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=_env())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        walls.append(time.perf_counter() - started)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"wall_s": round(sorted(walls[1:])[times // 2], 2), "cpu_s": round(sorted(cpus[1:])[times // 2], 2)}


def _first_trial(folder: Path) -> float | None:
    """Until the first line of progress of a trial that is done or under way: its record or its TensorBoard folder."""
    out, started = folder / "results" / "quickstart", time.perf_counter()
    command, silent = _command(["quickstart", "--out", str(out)]), subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=ROOT, env=_env(), stdout=silent, stderr=silent)
    try:
        while time.perf_counter() - started < PATIENCE_S:
            if any((out / "records").glob("*.jsonl")):
                return round(time.perf_counter() - started, 1)
            time.sleep(0.05)
        return None
    finally:
        process.send_signal(2)  # Ctrl-C: it stops its own cluster
        process.wait(60)


def _command(arguments: list[str]) -> list[str]:
    return [sys.executable, "sweeps/run.py", *arguments]


def _env() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}
