"""How long the report of 100,000 records takes, and with --full how often its intervals hold the
truth."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from citrus_ray.evidence.curves import Curve, labels_saved
from citrus_ray.evidence.intervals import OverRounds
from tests.evidence.synthetic import MASKED, MadeUp

ROOT = Path(__file__).resolve().parents[2]
# 16 cells of 105 trials x 3 seeds and 21 refits, on 19 targets: 102,144 records
LARGE = MadeUp(
    tasks=(None, MASKED, {"kind": "spectral"}, {"kind": "contrast"}),
    labels=tuple({"per_class": n} for n in (3, 8, 20, 60)),
    targets=tuple(f"target_{i:02d}" for i in range(19)),
    gain=0.04,
    noise=0.05,
    target_spread=0.03,
    label_slope=0.03,
    bands=([0.5, 4], [4, 12], [12, 30]),
    n_trials=105,
    n_final_seeds=21,
    baselines=("majority", "band_power"),
    n_settings=45,
)
DRAWS = 2000


def run(full: bool = False) -> dict[str, Any]:
    """The time, and with `full` how often the intervals hold the truth."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        LARGE.write(home)
        n_records = sum(len(path.read_text().splitlines()) for path in (home / "records").iterdir())
        return (
            {"records": n_records, "cpus": os.cpu_count()}
            | _timed(home)
            | (coverage() if full else {})
        )


def _timed(home: Path) -> dict[str, float]:
    """In a process of its own, as a person calls it: imports are part of the wait."""
    found = {}
    for name, flags in (("page_s", ["--page-only"]), ("everything_s", [])):
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        command = [sys.executable, str(ROOT / "analysis" / "report.py"), str(home), *flags]
        subprocess.run(
            command,
            check=True,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        found[name] = round(time.perf_counter() - started, 2)
        found[f"{name}_cpu"] = round(
            resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before, 2
        )
    return found | {"page_mb": round((home / "report.html").stat().st_size / 1e6, 2)}


# ---- how often the truth is covered ----


def coverage() -> dict[str, float]:
    """Shares of 2,000 draws: 0.95 and 0.05 are meant."""
    found: dict[str, float] = {}
    for n in (6, 8, 12, 20):
        draws = 0.1 + 0.05 * np.random.default_rng(n).standard_normal((DRAWS, n))
        found[f"covers_gain_{n}_rounds"] = _share([_holds(values, 0.1) for values in draws])
    return found | {"covers_labels_saved_12_rounds": _share(_labels_saved())}


def _share(hits: list[bool]) -> float:
    return round(float(np.mean(hits)), 4)


def _holds(values: Any, truth: float) -> bool:
    found = OverRounds(values).effect()
    return found.low <= truth <= found.high


def _labels_saved() -> list[bool]:
    """Pre-training worth a factor of two in labels, three amounts inside the measured range."""
    amounts, scratch = (3.0, 8.0, 20.0, 60.0), np.asarray([0.50, 0.62, 0.72, 0.85])
    masked = np.interp(np.log(amounts) + np.log(2), np.log(amounts), scratch)
    rng, hits = np.random.default_rng(0), []
    for _ in range(DRAWS // 3):
        arms = {"from scratch": scratch, "masked": masked}
        scores = {arm: mean + 0.03 * rng.standard_normal((12, 4)) for arm, mean in arms.items()}
        saved = labels_saved(Curve("per_class", "", amounts, scores, "test/accuracy"))
        hits += [
            item.low <= truth <= item.high
            for item, truth in zip(saved[:3], (6, 16, 40), strict=True)
        ]
    return hits
