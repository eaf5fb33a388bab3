"""How well time left is told: on the recorded durations of a real sweep, and in a small one that
runs.

`eta.json` holds the kinds of work of sweeps/floor.yaml (135 cells, 1,350 fine-tunes of networks and
views on nine sets): what a member should have taken by timed steps, and what each job took, on two
cores that others used as well. `python -m tests.bench.eta RESULTS SPEC` makes it anew.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from citrus_ray import records
from citrus_ray.data.source import looked_once
from citrus_ray.experiment.forecast import LIVE, PHASES, Forecast, Kind, Left
from citrus_ray.experiment.prices import Prices
from citrus_ray.experiment.sweep import load_sweep
from tests.bench.kills import PEOPLE, ROOT

RECORDED = Path(__file__).with_name("eta.json")
N_ROUNDS = 8
SHARES = (0.1, 0.25, 0.5, 0.75)
SPEC: dict[str, Any] = {
    "name": "eta",
    "trial": {
        "model": {"kind": "conv", "dim": 16},
        "pretrain": {"source": PEOPLE | {"seed": 1}, "task": None, "epochs": 30},
        "finetune": {
            "target": PEOPLE | {"seed": 2},
            "labels": {"per_class": 4},
            "steps": 600,
            "rounds": 6,
        },
    },
    "compare": {"pretrain.task": [None, {"kind": "masked"}]},
    "repeat": {"seed": [0, 1]},
    "search": {"finetune.optim.lr": {"loguniform": [1e-3, 1e-2]}},
    "budget": {"trials": 12},
    "final": {"rounds": 8},
}


def run(full: bool = False) -> dict[str, Any]:
    """Errors of the time left, as shares of the truth; with `full` of a sweep that runs, too."""
    kinds = json.loads(RECORDED.read_text())
    found: dict[str, Any] = {
        f"{n}_workers": {
            "steps timed": simulated(kinds, n, timed=True),
            "nothing known": simulated(kinds, n, timed=False),
        }
        for n in (2, 16)
    }
    return found | ({"a sweep that runs": _running()} if full else {})


def simulated(kinds: Sequence[Mapping[str, Any]], slots: int, timed: bool) -> dict[str, float]:
    """Error at each share of the work, of workers that take the jobs in the order in which a sweep
    asks for them."""
    cells = sorted({kind["cell"] for kind in kinds})
    place = {cell: i for i, cell in enumerate(cells)}
    by_kind: dict[Kind, Mapping[str, Any]] = {(place[k["cell"]], k["phase"]): k for k in kinds}
    forecast = Forecast(_sweep_of(by_kind, len(cells)))
    if timed:
        forecast.members = {kind: k["expected_s"] for kind, k in by_kind.items()}
    # rounds of all cells advance together, after all searches
    jobs = [
        (kind, _took(k, number))
        for phase, n in (("search", 1), ("final", N_ROUNDS))
        for number in range(n)
        for kind, k in sorted(by_kind.items())
        if kind[1] == phase
    ]
    forecast.note_beside(0.0)
    return _errors(forecast, jobs, slots)


def _took(kind: Mapping[str, Any], number: int) -> float:
    """Seconds of a job. The first rounds are left out where there are others: other programs made
    them two to three times as long. One that was not recorded takes what others took, in turn."""
    jobs = kind["jobs_s"][1:] or kind["jobs_s"]
    return float(jobs[number % len(jobs)])


def _errors(forecast: Forecast, jobs: Sequence[tuple[Kind, float]], slots: int) -> dict[str, float]:
    left: dict[Kind, int] = defaultdict(int)
    for kind, _ in jobs:
        left[kind] += 1
    total, done, clock = sum(seconds for _, seconds in jobs), 0.0, 0.0
    free, told = [0.0] * slots, dict[float, tuple[float, float]]()
    ends: list[tuple[float, Kind, float]] = []
    for kind, seconds in jobs:
        worker = free.index(min(free))
        free[worker] += seconds
        ends.append((free[worker], kind, seconds))
    for clock, kind, seconds in sorted(ends):
        forecast.learn(kind, seconds)
        left[kind] -= 1
        done += seconds
        for share in SHARES:
            if share not in told and done >= share * total:
                # half of a job is done on every worker, in the mean
                running = [
                    (k, time.monotonic() - (clock - e + s)) for e, k, s in ends if e - s < clock < e
                ]
                guess = forecast.seconds(Left(dict(left), running=running), slots)
                told[share] = (guess or 0.0, max(e for e, *_ in ends) - clock)
    return {f"at {s:.0%}": round(guess / truth - 1, 3) for s, (guess, truth) in told.items()}


def _sweep_of(by_kind: Mapping[Kind, Mapping[str, Any]], n_cells: int) -> Any:
    cells = []
    for i in range(n_cells):
        searched, refits = by_kind[i, "search"], by_kind[i, "final"]
        repeat = ({},) * searched["n_members"]
        members = [None] * refits["n_members"]
        axes = searched["axes"]
        cells.append(
            SimpleNamespace(index=i, axes=axes, repeat=repeat, members=lambda *_, m=members: m)
        )
    return SimpleNamespace(cells=cells)


def _same(members: list[None], *_: Any) -> list[None]:
    return members


def _running() -> dict[str, Any]:
    """A sweep with pre-training, asked every half second what it says of its end."""
    with tempfile.TemporaryDirectory() as folder:
        spec, out = Path(folder) / "eta.yaml", Path(folder) / "results" / "eta"
        spec.write_text(yaml.safe_dump(SPEC))
        command = [sys.executable, "sweeps/run.py", str(spec), "--out", str(out)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        environment |= {"CITRUS_STORE": str(Path(folder) / "store")}
        subprocess.run(
            [*command, "--dry-run"],
            cwd=ROOT,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )  # times its steps
        sweep = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        told, ended = dict[float, dict[str, Any]](), 0.0
        while sweep.poll() is None:
            try:
                said = json.loads((out / LIVE).read_text())
                told[said["at"]] = said
                ended = time.time()
            except (OSError, ValueError):
                pass
            time.sleep(0.5)
        first = min(told)
        errors = {}
        for at, said in sorted(told.items()):
            share = (at - first) / (ended - first)
            if said["left_s"] is not None and share < 0.95:
                errors[f"at {share:.0%}"] = round(said["left_s"] / (ended - at) - 1, 3)
        return {"exit_code": sweep.returncode, "seconds": round(ended - first), "errors": errors}


def main(results: Path, spec: Path) -> None:
    """Write `eta.json` from the records of a sweep."""
    sweep, seconds = load_sweep(spec), defaultdict[tuple[str, str], list[tuple[float, float]]](list)
    for rows in records.read_all(results / "records"):
        took = round(sum(row.seconds for row in rows), 2)
        seconds[rows[0].cell, rows[0].phase].append((rows[0].asked_s, took))
    prices = Prices(sweep)
    with looked_once():
        kinds = [
            {
                "cell": cell.index,
                "axes": cell.axes,
                "phase": phase,
                "n_members": len(cell.members({}, 0 if phase == "final" else None)),
                "expected_s": round(prices.member(cell, phase), 3),
                "jobs_s": [took for _, took in sorted(seconds[cell.digest, phase])],
            }
            for cell in sweep.cells
            for phase in PHASES
        ]
    lines = ",\n".join(json.dumps(kind) for kind in kinds)
    RECORDED.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
