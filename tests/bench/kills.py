"""Kills at random moments over one sweep, which must end with exactly the records of an undisturbed
one.

A kill takes the driver, a worker, Ray's own daemons, or every process at once, as a machine that
loses power would.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from citrus_ray import records
from citrus_ray.records import Record

ROOT = Path(__file__).resolve().parents[2]
MARK = "CITRUS_KILLED_SWEEP"  # in the environment of every process of the sweep
VICTIMS = ("driver", "worker", "ray", "everything")
PEOPLE = {"kind": "synthetic", "n_subjects": 8}
SPEC: dict[str, Any] = {
    "name": "kills",
    "trial": {
        "model": {"kind": "conv", "dim": 16},
        "pretrain": {"source": PEOPLE | {"seed": 1}, "task": None, "epochs": 12},
        "finetune": {
            "target": PEOPLE | {"seed": 2},
            "labels": {"per_class": 4},
            "steps": 60,
            "rounds": 3,
        },
    },
    "compare": {"pretrain.task": [None, {"kind": "masked"}]},
    "repeat": {"seed": [0, 1, 2]},
    "search": {
        "finetune.optim.lr": {"loguniform": [1e-3, 1e-2]},
        "pretrain.task.ratio": {"choice": [0.3, 0.4, 0.5, 0.6, 0.7]},
    },
    "sampler": "qmc",  # a design: what is tried does not depend on what came back first
    "final": {"rounds": 3},
    "failures": {"retries": 2},
}


def run(full: bool = False) -> dict[str, Any]:
    """20 kills with `full`, else 4."""
    n_kills, n_trials = (20, 80) if full else (4, 16)
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "kills.yaml"
        spec.write_text(yaml.safe_dump(SPEC | {"budget": {"trials": n_trials}}))
        undisturbed, disturbed = Path(folder) / "a" / "kills", Path(folder) / "b" / "kills"
        wall = _to_the_end(spec, undisturbed)
        kills, started = _killed(spec, disturbed, n_kills), time.perf_counter()
        last = _to_the_end(spec, disturbed)
        return {
            "kills": len(kills),
            "victims": dict(Counter(kills)),
            "undisturbed_s": round(wall, 1),
            "last_call_s": round(last, 1),
            "after_kills_s": round(time.perf_counter() - started, 1),
            **_compared(undisturbed / "records", disturbed / "records"),
        }


def _killed(spec: Path, out: Path, n_kills: int) -> list[str]:
    """Start the sweep, kill something after a while, and so on; what was killed while there was
    work left."""
    rng, kills = random.Random(0), list[str]()
    while len(kills) < n_kills:
        sweep = _start(spec, out)
        _wait_for_work(sweep, out)
        time.sleep(rng.uniform(0.0, 3.0))
        if sweep.poll() is not None:
            break  # all done: there is nothing left to kill
        victim = VICTIMS[len(kills) % len(VICTIMS)]
        _kill(victim, sweep, rng)
        kills.append(victim)
        if victim == "worker":  # the sweep goes on without it; the next kill may hit the same call
            time.sleep(rng.uniform(1.0, 3.0))
        _kill("everything", sweep, rng)
        print(
            f"{len(kills)} kills, {len(list((out / 'records').glob('*.jsonl')))} records",
            file=sys.stderr,
        )
    return kills


def _start(spec: Path, out: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "sweeps/run.py", str(spec), "--out", str(out)]
    environment = os.environ | {MARK: str(out), "PYTHONPATH": str(ROOT)}
    out.parent.mkdir(exist_ok=True)
    with (out.parent / "log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)


def _wait_for_work(sweep: "subprocess.Popen[bytes]", out: Path) -> None:
    """Until this call has computed something: kills while Ray starts would show nothing."""
    before = _n_files(out)
    while sweep.poll() is None and _n_files(out) == before:
        time.sleep(0.05)


def _n_files(out: Path) -> int:
    return sum(1 for part in (out / "records", out.parent / "store") for _ in part.rglob("*"))


def _kill(victim: str, sweep: "subprocess.Popen[bytes]", rng: random.Random) -> None:
    names = dict(_processes())
    workers = [pid for pid, name in names.items() if name.startswith("ray::")]
    chosen = {
        "driver": [sweep.pid],
        "worker": rng.sample(workers, min(1, len(workers))),
        "ray": [pid for pid, name in names.items() if "raylet" in name or "gcs_server" in name],
        "everything": list(names),
    }[victim]
    for pid in chosen:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if victim == "everything":
        sweep.wait()
        while any(pid in names for pid, _ in _processes()):
            time.sleep(0.05)


def _processes() -> Iterator[tuple[int, str]]:
    """Number and command line of every live process of the sweep, daemons of Ray included."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}=".encode() in (folder / "environ").read_bytes():
                yield (
                    int(folder.name),
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"),
                )


def _to_the_end(spec: Path, out: Path) -> float:
    started = time.perf_counter()
    sweep = _start(spec, out)
    if sweep.wait():
        raise RuntimeError(
            f"the sweep ended with {sweep.returncode}:\n{(out.parent / 'log').read_text()[-3000:]}"
        )
    return time.perf_counter() - started


def _compared(one: Path, other: Path) -> dict[str, Any]:
    a, b = _content(one), _content(other)
    return {
        "trials": len(a),
        "missing": len(a.keys() - b.keys()),
        "extra": len(b.keys() - a.keys()),
        "different": sum(a[name] != b[name] for name in a.keys() & b.keys()),
        "identical": a == b,
    }


def _content(folder: Path) -> dict[str, str]:
    """Trials by digest: everything that a result is, and nothing of when and where it was
    computed."""
    return {
        rows[0].trial: json.dumps([_result(row) for row in rows])
        for rows in records.read_all(folder)
    }


def _result(row: Record) -> list[Any]:
    return [
        row.digest,
        row.phase,
        row.status,
        row.params,
        row.repeat,
        row.metrics,
        row.baselines,
        row.encoder,
    ]
