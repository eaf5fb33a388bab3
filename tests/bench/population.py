"""Members stacked on a GPU against one at a time: members per second and memory. Needs a GPU; says
so without one."""

import time
from typing import Any

import torch

from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.windowing.splits import Labels
from citrus_ray.experiment.optim import Optim
from citrus_ray.experiment.trial import Finetune, Trial
from citrus_ray.models.specs import Conv
from citrus_ray.training.members import Population

METRIC = "val/balanced_accuracy"
TARGET = Synthetic(n_subjects=16)


def run(full: bool = False) -> dict[str, Any]:
    """1, 8, 64 and 256 members with `full`, else up to 8. Without a GPU the CPU, to show that it
    runs."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = (1, 8, 64, 256) if full and device == "cuda" else (1, 8)
    _seconds(2, device, True)  # kernels are loaded at first use
    return {
        "device": torch.cuda.get_device_name()
        if device == "cuda"
        else "cpu: stacking is for GPUs, no figure for it",
        "members": {str(n): _both(n, device) for n in sizes},
    }


def _both(n: int, device: str) -> dict[str, Any]:
    n_alone = min(n, 8)  # one at a time is as fast per member for any number
    alone, _ = _seconds(n_alone, device, False)
    stacked, peak_mb = _seconds(n, device, True)
    return {
        "alone_members_per_s": round(n_alone / alone, 3),
        "stacked_members_per_s": round(n / stacked, 3),
        "ratio": round(alone / n_alone / (stacked / n), 2),
        "peak_mb": peak_mb,
    }


def _seconds(n: int, device: str, stacked: bool) -> tuple[float, float | None]:
    """Wall seconds of `n` members from their making to their last round, and the most memory of the
    GPU in MB."""
    trial = Trial(
        model=Conv(dim=32),
        finetune=Finetune(
            target=TARGET,
            labels=Labels(per_class=8),
            optim=Optim(batch_size=32),
            steps=60,
            rounds=4,
        ),
    )
    trials = [trial.at({"seed": seed}) for seed in range(n)]
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    population = Population(trials, [None] * n, METRIC, device, stacked)
    while population.advance() is not None:
        pass
    seconds = time.perf_counter() - started
    assert population.status == "ok"
    return seconds, torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None
