"""Fine-tunes per core-second beside those of an earlier commit, on real recordings, in turn.

Both versions run in processes of their own, a fine-tune each, one after the other. `alike` asks
both for the same: a fully labelled validation part, batches in turn. `as it is` leaves both to
their defaults; a refit learns from all labels and looks at nothing.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.bench.timing import median, ratio

ROOT = Path(__file__).resolve().parents[2]
COMMIT = os.environ.get("CITRUS_AGAINST", "d2526c6")
SETS = ("uwave", "bonn5", "myo_emg")
MODELS = ("conv", "patch", "citrus")
NOW = {
    "alike": {"validation": "full", "sampling": "shuffled"},
    "as it is": {"validation": "none"},
}


def run(full: bool = False) -> dict[str, Any]:
    """One set, two rounds; all three, and eight rounds with their scores, with `full`."""
    sets, n_rounds = (SETS, 8) if full else (SETS[:1], 2)
    found = []
    with checked_out(COMMIT) as before, worker(before) as old, worker(ROOT) as new:
        for name in sets:
            for model in MODELS:
                found.append(_measured(old, new, name, model, n_rounds))
                print(found[-1], file=sys.stderr, flush=True)
    return {"against": COMMIT, "cases": found}


Worker = subprocess.Popen[str]


def _measured(old: Worker, new: Worker, name: str, model: str, n_rounds: int) -> dict[str, Any]:
    source = yaml.safe_load((ROOT / f"citrus_ray/data/sets/{name}.yaml").read_text())
    answers: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ("before", *NOW)}
    for seed in range(n_rounds + 1):  # the first finds nothing prepared, and does not count
        finetune = {"target": source, "labels": {"per_class": 20}}
        trial = {"model": model, "seed": seed}
        answers["before"].append(ask(old, trial | {"finetune": finetune}))
        for arm, own in NOW.items():
            answers[arm].append(ask(new, trial | {"finetune": finetune | own}))
    seconds = {arm: [one["seconds"] for one in of[1:]] for arm, of in answers.items()}
    scores = {
        arm: np.array([one["metrics"]["test/balanced_accuracy"] for one in of[1:]])
        for arm, of in answers.items()
    }
    return {
        "set": name,
        "model": model,
        "per_core_second": {arm: round(1 / median(of), 3) for arm, of in seconds.items()},
        "over_before": {arm: ratio(seconds["before"], seconds[arm]) for arm in NOW},
        "score": {arm: round(float(of.mean()), 4) for arm, of in scores.items()},
        "paired": {arm: _paired(scores[arm] - scores["before"]) for arm in NOW},
    }


def _paired(differences: Any) -> list[float]:
    """Mean difference of test scores, and its standard error."""
    error = differences.std(ddof=1) / len(differences) ** 0.5
    return [round(float(differences.mean()), 4), round(float(error), 4)]


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / commit
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", str(place), commit], check=True)
        try:
            yield place
        finally:
            subprocess.run([*git, "remove", "--force", str(place)], check=True)


@contextmanager
def worker(place: Path) -> Iterator[Worker]:
    command = [sys.executable, str(Path(__file__).with_name("one.py"))]
    env = os.environ | {"PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=place, env=env, text=True, **pipes) as process:  # type: ignore[call-overload]
        yield process
        process.stdin.close()


def ask(process: Worker, trial: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(trial) + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"a worker ended; it was asked {json.dumps(trial)}")
    return json.loads(answer)  # type: ignore[no-any-return]
