"""Search among settings of unequal cost: seconds until a value is reached, with improvement
weighed by trials and by seconds. Synthetic surfaces, nothing is trained."""

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from citrus_ray.evidence.trials import Result
from citrus_ray.experiment.sweep import Sweep, parse_sweep
from citrus_ray.search.study import Study
from citrus_ray.spec import parse_yaml

# any numbers: nothing reads them
X, Y, Z = "finetune.head_first", "finetune.layer_decay", "finetune.optim.weight_decay"
NEAR = 0.01  # of the best value that there is
MOST = 120  # trials of a search
Surface = Callable[[float, float, float], float]


def run(full: bool = False) -> dict[str, Any]:
    """32 seeds with `full`, else 8."""
    surfaces: dict[str, tuple[Surface, float]] = {
        "good settings are cheap and dear, 30 times": (_ridge, 30.0),
        "good settings are dear alone, 30 times": (_dear, 30.0),
        "all cost the same": (_ridge, 1.0),
    }
    return {
        name: {
            per: _median([_until(value, ratio, per, seed) for seed in range(32 if full else 8)])
            for per in ("trial", "second")
        }
        for name, (value, ratio) in surfaces.items()
    }


def _ridge(x: float, y: float, z: float) -> float:
    """As good at any x, where the others are right."""
    return 1 - 3 * (y - 0.37) ** 2 - 3 * (z - 0.61) ** 2


def _dear(x: float, y: float, z: float) -> float:
    return _ridge(x, y, z) - 2 * (x - 0.9) ** 2


def _until(value: Surface, ratio: float, per: str, seed: int) -> float:
    """Seconds of trials until one is nearly as good as can be; x says what a trial costs."""
    spent = 0.0
    with tempfile.TemporaryDirectory() as folder:
        study = Study(_sweep(per, seed).cells[0], Path(folder), [])
        for _ in range(MOST):
            job = study.next_job()
            assert job is not None
            x, y, z = (job.params[path] for path in (X, Y, Z))
            seconds = float(ratio**x)
            spent += seconds
            if value(x, y, z) > 1 - NEAR:
                return spent
            found = value(x, y, z)
            result = Result(job.digest, job.params, "ok", found, seconds, scores=(found,))
            del study.running[job.digest]
            study._take(result)
            assert job.number is not None
            study._tell(job.number, result)
    return math.inf


def _sweep(per: str, seed: int) -> Sweep:
    people = "{kind: synthetic, n_subjects: 8, windows_per_subject: 8, n_chans: 2, sfreq: 50}"
    text = f"""\
name: cost
trial:
  model: {{kind: conv, dim: 8}}
  finetune: {{target: {people}, labels: {{per_class: 4}}}}
search:
  {X}: {{uniform: [0.01, 0.99]}}
  {Y}: {{uniform: [0.01, 0.99]}}
  {Z}: {{uniform: [0.01, 0.99]}}
sampler: tpe
seed: {seed}
budget: {{trials: 400, hours: 100, per: {per}}}
"""
    return parse_sweep(parse_yaml(text, "cost.yaml"))


def _median(seconds: list[float]) -> dict[str, float | None]:
    """Quartiles; None where so many did not get there within MOST trials."""
    low, middle, high = np.quantile(seconds, [0.25, 0.5, 0.75], method="higher")
    named = {"median_s": middle, "quarter": low, "three_quarters": high}
    return {name: round(s, 1) if s < math.inf else None for name, s in named.items()}
