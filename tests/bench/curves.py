"""Validation loss of pre-training that reads all patches, visible ones alone, and these in bfloat16, seed by seed.

The same windows, first weights, masks and number of steps in every arm; what differs is what the encoder reads and the
decoder that follows from it, or how exact products are. Beside the losses, the processor seconds that each took.
"""

import time
from typing import Any, Literal

import numpy as np
import torch

from citrus_ray import pretrain
from citrus_ray.data.synthetic import Synthetic
from citrus_ray.models import AnyEncoder
from citrus_ray.models.citrus import Citrus
from citrus_ray.models.patch import Patch
from citrus_ray.summary import interval
from citrus_ray.tasks.masked import Masked
from citrus_ray.train import Optim
from citrus_ray.trial import Pretrain

SOURCE = Synthetic(seed=6, n_subjects=12, windows_per_subject=40, rhythm_gain=3.0)
SEEDS = range(5)
ARMS: dict[str, tuple[str, Literal["float32", "bfloat16"]]] = {
    "all": ("all", "float32"),
    "visible": ("visible", "float32"),
    "bfloat16": ("visible", "bfloat16"),
}
MODELS: dict[str, AnyEncoder] = {"patch": Patch(), "citrus": Citrus()}


def run(full: bool = False) -> dict[str, Any]:
    """40 epochs at two ratios with `full`; else 20 at one."""
    torch.set_num_threads(1)
    ratios = (0.5, 0.75) if full else (0.5,)
    return {f"{name} {ratio}": _compared(name, ratio, 40 if full else 20) for name in MODELS for ratio in ratios}


def _compared(name: str, ratio: float, epochs: int) -> dict[str, Any]:
    losses: dict[str, list[float]] = {arm: [] for arm in ARMS}
    seconds = dict.fromkeys(ARMS, 0.0)
    for seed in SEEDS:
        for arm, (encode, precision) in ARMS.items():
            task = Masked.model_validate({"ratio": ratio, "encode": encode})
            optim = Optim(lr=3e-3, batch_size=32)
            spec = Pretrain(source=SOURCE, task=task, epochs=epochs, seed=seed, optim=optim, precision=precision)
            started = time.process_time()
            losses[arm].append(pretrain.run(spec, MODELS[name]).history[-1]["val/loss"])
            seconds[arm] += time.process_time() - started
    return {
        "val_loss": {arm: [round(loss, 4) for loss in found] for arm, found in losses.items()},
        "visible_minus_all": interval(list(np.subtract(losses["visible"], losses["all"]))),
        "bfloat16_minus_visible": interval(list(np.subtract(losses["bfloat16"], losses["visible"]))),
        "std_of_all_over_seeds": round(float(np.std(losses["all"], ddof=1)), 4),
        "cpu_s": {arm: round(s, 1) for arm, s in seconds.items()},
    }
