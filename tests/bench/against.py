"""Fine-tunes per core-second beside those of an earlier commit, on real recordings, in turn.

Both versions run in processes of their own, a fine-tune each, one after the other. All read the
same windows of the same sets, channels side by side, are given the same number of labels, and test
the same people.

before       the earlier commit, by its defaults: 100 steps of 32, a fully labelled validation part
             that is looked at ten times, the best of which is kept
alike        this tree, asked for the same
as it is     this tree by its defaults; a refit learns from all labels and looks at nothing
few steps    the same network and head in fewer steps
recommended  docs/finetuning.md, "Fewer steps": a head of more parts, solved before the first step,
             all weights trained from there until the labelled loss falls no more
solved       that head on the untrained encoder, and no step

`--full` leaves out `alike` and `as it is`, and says of the others whether they are as accurate: the
mean over sets, a value for each round, and its interval.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from citrus_ray.evidence.intervals import students
from tests.bench.timing import median, ratio, spread

ROOT = Path(__file__).resolve().parents[2]
COMMIT = os.environ.get("CITRUS_AGAINST", "d2526c6")
SETS = ("uwave", "bonn5", "myo_emg")
MODELS = ("conv", "patch", "citrus")
BEFORE = "before"
WITHIN = 0.01  # test balanced accuracy: less is no difference
PARTS = {
    "moments": True,
    "power": True,
    "covariance": True,
    "delays": [1, 2, 4, 8, 16],
    "standardise": True,
}
NOW: dict[str, dict[str, Any]] = {
    "alike": {"validation": "full", "sampling": "shuffled"},
    "as it is": {"validation": "none"},
    "few steps": {
        "validation": "none",
        "steps": 35,
        "optim": {"lr": 4e-3, "warmup": 0.05, "batch_size": 32},
    },
    "recommended": {
        "validation": "none",
        "head": PARTS,
        "head_init": "solved",
        "encoder_rate": 0.1,
        "steps": 40,
        "end": {},
    },
    "solved": {"validation": "none", "head": PARTS, "mode": "probe"},
}
IN_FULL = ("few steps", "recommended", "solved")
FIRST = 1000  # seed of the first round: settings were chosen on others

Worker = subprocess.Popen[str]
Answers = list[dict[str, Any]]  # of an arm, by round


def run(full: bool = False) -> dict[str, Any]:
    """One set, two rounds, all arms; three sets and eight rounds of those that are to be as
    accurate, with `full`."""
    sets, n_rounds = (SETS, 8) if full else (SETS[:1], 2)
    arms = {name: NOW[name] for name in (IN_FULL if full else NOW)}
    cases = [(name, model) for name in sets for model in MODELS]
    found = {case: {arm: Answers() for arm in (BEFORE, *arms)} for case in cases}
    with checked_out(COMMIT) as before, worker(before) as old, worker(ROOT) as new:
        for name in sets:  # finds nothing prepared, and does not count
            for process in (old, new):
                ask(process, name, MODELS[0], 0, {"steps": 10})
        for seed in range(
            FIRST, FIRST + n_rounds
        ):  # rounds outermost: loads of the machine meet all
            for (name, model), answers in found.items():
                answers[BEFORE].append(ask(old, name, model, seed, {}))
                for arm, own in arms.items():
                    answers[arm].append(ask(new, name, model, seed, own))
                last = {arm: of[-1] for arm, of in answers.items()}
                print(json.dumps([seed, name, model, last]), file=sys.stderr, flush=True)
    return {"against": COMMIT, **summary(found)}


def summary(found: Mapping[tuple[str, str], Mapping[str, Answers]]) -> dict[str, Any]:
    """Figures of each set and model, and of each model over sets."""
    cases = [{"set": s, "model": m, **_case(of)} for (s, m), of in found.items()]
    models = list(dict.fromkeys(model for _, model in found))
    over_sets = [
        {"model": model, **_over_sets([of for (_, m), of in found.items() if m == model])}
        for model in models
    ]
    return {"cases": cases, "over_sets": over_sets}


def _case(answers: Mapping[str, Answers]) -> dict[str, Any]:
    seconds = {arm: _seconds(of) for arm, of in answers.items()}
    now = [arm for arm in answers if arm != BEFORE]
    return {
        "per_core_second": {arm: round(1 / median(of), 3) for arm, of in seconds.items()},
        "over_before": {arm: ratio(seconds[BEFORE], seconds[arm]) for arm in now},
        "quartiles": {arm: spread(seconds[BEFORE], seconds[arm]) for arm in now},
        "score": {arm: round(float(_scores(of).mean()), 4) for arm, of in answers.items()},
        "steps": {arm: sorted(one["steps"] for one in answers[arm]) for arm in now},
        "paired": {arm: paired(_scores(answers[arm]) - _scores(answers[BEFORE])) for arm in now},
    }


def _over_sets(sets: Sequence[Mapping[str, Answers]]) -> dict[str, Any]:
    """One model: fine-tunes of all sets, a round of them at a time."""
    now, found = [arm for arm in sets[0] if arm != BEFORE], dict[str, Any]()
    for arm in now:
        slow, fast = (
            np.sum([[one["seconds"] for one in of[a]] for of in sets], axis=0)
            for a in (BEFORE, arm)
        )
        gain = np.mean([_scores(of[arm]) - _scores(of[BEFORE]) for of in sets], axis=0)
        found[arm] = {"over_before": ratio(list(slow), list(fast)), **paired(gain)}
    return found


def paired(differences: Any) -> dict[str, Any]:
    """The mean difference over rounds with its 90 % interval (two one-sided tests at 5 %), and what
    that says: no worse by a point, and equal within one."""
    n, mean = len(differences), float(differences.mean())
    half = float(students(n - 1, 0.9) * differences.std(ddof=1) / n**0.5)
    low, high = mean - half, mean + half
    return {
        "difference": round(mean, 4),
        "interval": [round(low, 4), round(high, 4)],
        "no_worse": low > -WITHIN,
        "equivalent": low > -WITHIN and high < WITHIN,
    }


def _seconds(answers: Answers) -> list[float]:
    return [one["seconds"] for one in answers]


def _scores(answers: Answers) -> Any:
    return np.array([one["metrics"]["test/balanced_accuracy"] for one in answers])


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / commit
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(place), commit], check=True)
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


def ask(process: Worker, name: str, model: str, seed: int, own: dict[str, Any]) -> dict[str, Any]:
    """One fine-tune: its processor seconds, steps and scores."""
    source = yaml.safe_load((ROOT / f"citrus_ray/data/sets/{name}.yaml").read_text())
    common = {"target": source, "labels": {"per_class": 20}, "pool": "channels"}
    trial = {"model": model, "seed": seed, "finetune": common | own}
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(trial) + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"a worker ended; it was asked {json.dumps(trial)}")
    return json.loads(answer)  # type: ignore[no-any-return]
