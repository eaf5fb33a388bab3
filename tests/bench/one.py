"""Fine-tunes asked for by lines of JSON, in whichever version of the package is on the path: each
answer is a line with its processor seconds, steps and scores. Run as a script by `against.py`."""

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

import citrus_ray
from citrus_ray.spec import validate

METRIC = "val/balanced_accuracy"


def version() -> tuple[Any, Any]:
    """`Trial` and `Population`, where this version has them."""
    # by file: an installed citrus_ray would add its own rooms to those of the version on the path
    has_rooms = (Path(citrus_ray.__file__).parent / "training").is_dir()
    names = ("experiment.trial", "training.members") if has_rooms else ("trial", "population")
    trial, population = (import_module(f"citrus_ray.{name}") for name in names)
    return trial.Trial, population.Population


def main() -> None:
    torch.set_num_threads(1)
    make_trial, make_population = version()
    for line in sys.stdin:
        trial = validate(make_trial, json.loads(line))
        started = time.process_time()
        population = make_population([trial], [None], METRIC)
        while population.advance() is not None:
            pass
        seconds = time.process_time() - started
        population.score_test()
        (state,) = population.states if hasattr(population, "states") else population.slots
        if state.status != "ok":
            raise SystemExit(state.reason)
        steps = state.member.network().get("steps") if hasattr(state.member, "network") else None
        found = {"seconds": seconds, "steps": steps, "metrics": state.metrics}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
