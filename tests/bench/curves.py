"""Validation loss of pre-training that reads all patches and that reads visible ones alone, seed by seed.

The same windows, first weights, masks and number of steps on both sides; what differs is what the encoder reads and the
decoder that follows from it. Beside the losses, the processor seconds that each took.
"""

import time
from typing import Any

import numpy as np
import torch

from citrus_ray import pretrain
from citrus_ray.data.synthetic import Synthetic
from citrus_ray.models import AnyEncoder
from citrus_ray.models.citrus import Citrus
from citrus_ray.models.patch import Patch
from citrus_ray.tasks.masked import Masked
from citrus_ray.train import Optim
from citrus_ray.trial import Pretrain

SOURCE = Synthetic(seed=6, n_subjects=12, windows_per_subject=40, rhythm_gain=3.0)
SEEDS = range(5)
MODELS: dict[str, AnyEncoder] = {"patch": Patch(), "citrus": Citrus()}


def run(full: bool = False) -> dict[str, Any]:
    """40 epochs at two ratios with `full`; else 20 at one."""
    torch.set_num_threads(1)
    ratios = (0.5, 0.75) if full else (0.5,)
    return {f"{name} {ratio}": _compared(name, ratio, 40 if full else 20) for name in MODELS for ratio in ratios}


def _compared(name: str, ratio: float, epochs: int) -> dict[str, Any]:
    losses: dict[str, list[float]] = {"all": [], "visible": []}
    seconds = dict.fromkeys(losses, 0.0)
    for seed in SEEDS:
        for encode in losses:
            task = Masked.model_validate({"ratio": ratio, "encode": encode})
            spec = Pretrain(source=SOURCE, task=task, epochs=epochs, seed=seed, optim=Optim(lr=3e-3, batch_size=32))
            started = time.process_time()
            losses[encode].append(pretrain.run(spec, MODELS[name]).history[-1]["val/loss"])
            seconds[encode] += time.process_time() - started
    gap = np.asarray(losses["visible"]) - np.asarray(losses["all"])
    return {
        "val_loss": {encode: [round(loss, 4) for loss in found] for encode, found in losses.items()},
        "visible_minus_all": {"mean": round(float(gap.mean()), 4), "std_of_seeds": round(float(gap.std(ddof=1)), 4)},
        "std_of_all_over_seeds": round(float(np.std(losses["all"], ddof=1)), 4),
        "cpu_s": {encode: round(s, 1) for encode, s in seconds.items()},
    }
