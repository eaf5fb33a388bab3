"""Validation loss of pre-training that reads all patches, visible ones alone, and these in
bfloat16, seed by seed.

The same windows, first weights and masks in every arm; what differs is what the encoder reads and
the decoder that follows from it, how exact products are, and how many steps: where a step is
cheaper, it may take more of them to the same loss. Beside the losses, the processor seconds that
each took.
"""

import time
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.evidence.intervals import OverRounds
from citrus_ray.experiment.optim import Optim
from citrus_ray.experiment.trial import Pretrain
from citrus_ray.models import AnyEncoder
from citrus_ray.models.specs import Citrus, Patch
from citrus_ray.tasks.specs import Masked
from citrus_ray.training import pretraining as pretrain

SOURCE = Synthetic(seed=6, n_subjects=12, windows_per_subject=40, rhythm_gain=3.0)
SEEDS = range(5)
EPOCHS, LONGER = 20, 1.25
MODELS: dict[str, AnyEncoder] = {"patch": Patch(), "citrus": Citrus()}


class Arm(NamedTuple):
    encode: str
    precision: Literal["float32", "bfloat16"] = "float32"
    length: float = 1.0  # of a training, in that of the others


ALL, VISIBLE = Arm("all"), Arm("visible")
ARMS = {
    "patch": {"all": ALL, "visible": VISIBLE},
    "citrus": {
        "all": ALL,
        "visible": VISIBLE,
        "bfloat16": Arm("visible", "bfloat16"),
        "bfloat16, longer": Arm("visible", "bfloat16", LONGER),
    },
}
CLAIMED = {"patch": "visible", "citrus": "bfloat16, longer"}


def run(full: bool = False) -> dict[str, Any]:
    """All patches and what is claimed to end where they do, at ratio 0.5; every arm, and 0.75 too,
    with `full`."""
    torch.set_num_threads(1)
    ratios = (0.5, 0.75) if full else (0.5,)
    arms = {
        name: found if full else {k: found[k] for k in ("all", CLAIMED[name])}
        for name, found in ARMS.items()
    }
    return {
        f"{name} {ratio}": _compared(name, ratio, arms[name]) for name in ARMS for ratio in ratios
    }


def _compared(name: str, ratio: float, arms: dict[str, Arm]) -> dict[str, Any]:
    losses: dict[str, list[float]] = {label: [] for label in arms}
    seconds = dict.fromkeys(arms, 0.0)
    for seed in SEEDS:
        for label, arm in arms.items():
            started = time.process_time()
            losses[label].append(_last_loss(MODELS[name], ratio, seed, arm))
            seconds[label] += time.process_time() - started
    others = [label for label in losses if label != "all"]
    return {
        "val_loss": {label: [round(loss, 4) for loss in found] for label, found in losses.items()},
        "minus_all": {
            label: OverRounds(np.subtract(losses[label], losses["all"])).effect().tree()
            for label in others
        },
        "std_of_all_over_seeds": round(float(np.std(losses["all"], ddof=1)), 4),
        "cpu_s": {label: round(s, 1) for label, s in seconds.items()},
    }


def _last_loss(model: AnyEncoder, ratio: float, seed: int, arm: Arm) -> float:
    task = Masked.model_validate({"ratio": ratio, "encode": arm.encode})
    epochs, optim = round(EPOCHS * arm.length), Optim(lr=3e-3, batch_size=32)
    spec = Pretrain(
        source=SOURCE, task=task, epochs=epochs, seed=seed, optim=optim, precision=arm.precision
    )
    return pretrain.run(spec, model).history[-1]["val/loss"]
