"""Fine-tunes per second: members of a warm worker or a process for each; a probe solved or
stepped."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from citrus_ray.data.windowing import cache
from citrus_ray.experiment.trial import Trial
from citrus_ray.training.members import Population
from tests.bench.timing import alternate, median, ratio
from tests.small import SCRATCH

ROOT = Path(__file__).resolve().parents[2]
METRIC = "val/balanced_accuracy"
ONE = (
    "import sys; from citrus_ray.experiment.trial import Trial; "
    "print(Trial.model_validate_json(sys.argv[1]).run())"
)


def run(full: bool = False) -> dict[str, Any]:
    """Five processes with `full`, else two; members in lots of eight."""
    n_processes = 5 if full else 2
    trial = SCRATCH.at({"finetune.steps": 60, "model.dim": 32})
    cache.load(trial.finetune.target)  # both sides find it prepared
    warm = alternate(
        {"warm": lambda: _population([trial.at({"seed": seed}) for seed in range(8)])},
        3,
        time.perf_counter,
    )
    processes = [_process(trial.at({"seed": seed})) for seed in range(n_processes)]
    per_member = median(warm["warm"]) / 8
    return {
        "warm_members_per_s": round(1 / per_member, 2),
        "process_per_trial_members_per_s": round(1 / median(processes), 2),
        "warm_over_process": round(median(processes) / per_member, 1),
        "probe": _probes(trial),
    }


def _population(trials: list[Trial]) -> Population:
    population = Population(trials, [None] * len(trials), METRIC)
    while population.advance() is not None:
        pass
    assert population.status == "ok"
    return population


def _process(trial: Trial) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-c", ONE, trial.model_dump_json()]
    subprocess.run(
        command,
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    return time.perf_counter() - started


def _probes(trial: Trial) -> dict[str, Any]:
    """A head on the features of an encoder that stays as it is: 60 steps, and the same question
    solved."""
    trials = {
        mode: [trial.at({"seed": s, "finetune.mode": mode}) for s in range(4)]
        for mode in ("frozen", "probe")
    }
    found: dict[str, Population] = {}
    arms = {
        mode: (lambda mode=mode: found.update({mode: _population(trials[mode])})) for mode in trials
    }
    seconds = alternate(arms, 3)
    values = {mode: [state.metrics[METRIC] for state in found[mode].states] for mode in trials}
    return {
        "stepped_members_per_cpu_s": round(4 / median(seconds["frozen"]), 2),
        "solved_members_per_cpu_s": round(4 / median(seconds["probe"]), 2),
        "solved_over_stepped": ratio(seconds["frozen"], seconds["probe"]),
        "validation": {mode: round(sum(v) / len(v), 3) for mode, v in values.items()},
    }
