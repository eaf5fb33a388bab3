"""Where the class lives in what sensors have in common, cross-modal pre-training beats each sensor
learning alone."""

from typing import Any

import numpy as np
import pytest

from citrus_ray.evidence.intervals import OverRounds
from citrus_ray.experiment.trial import Trial
from citrus_ray.spec import validate
from citrus_ray.training.finetuning import Member
from citrus_ray.training.pretraining import ensure_encoder

SEEDS = range(8)  # of labels and validation people
SENSORS = {"kind": "synthetic_sensors", "rates": [64.0, 64.0, 64.0, 64.0]}
SOURCE = SENSORS | {"seed": 1004, "n_subjects": 50, "windows_per_subject": 20, "own": 0.5}
ENCODER = {"kind": "conv", "dim": 16, "strides": [4, 4]}
OPTIM = {"lr": 5e-3, "batch_size": 64}


def scores(task: dict[str, Any]) -> np.ndarray:
    """Test scores of probes of the aggregate, 5 labels per class, on one encoder.

    The trial of sweeps/crossl/relation.yaml with fewer people, a smaller encoder and a higher rate.
    """
    tree = {
        "model": {"kind": "crossmodal", "encoder": ENCODER},
        "pretrain": {"source": SOURCE, "task": task, "epochs": 24, "optim": OPTIM},
        "finetune": {
            "target": SENSORS | {"seed": 2004},
            "labels": {"per_class": 5},
            "validation": "full",
            "mode": "probe",
        },
    }
    trial = validate(Trial, tree)
    weights, found = ensure_encoder(trial), []
    for seed in SEEDS:
        member = Member(trial.at({"seed": seed}), weights)
        member.finish()
        found.append(member.score_test()["test/balanced_accuracy"])
    return np.array(found)


@pytest.mark.slow
@pytest.mark.timeout(900)  # two pre-trainings: seconds of a core, a minute of one that is shared
def test_crossmodal_pretraining_finds_what_sensors_share_and_each_alone_does_not():
    together, alone = scores({"kind": "crossmodal", "expander": 64}), scores({"kind": "masked"})
    gain = OverRounds(together - alone).effect()
    assert gain.low > 0
    # one sensor alone knows two letters, and not which of them is shared
    assert together.mean() > 0.5
