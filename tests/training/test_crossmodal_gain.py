"""Where the class lives in what sensors have in common, cross-modal pre-training beats each sensor
learning alone."""

from typing import Any

import numpy as np
import pytest

from citrus_ray.evidence.summary import interval
from citrus_ray.experiment.trial import Trial
from citrus_ray.spec import validate
from citrus_ray.training.finetuning import Member
from citrus_ray.training.pretraining import ensure_encoder

SEEDS = range(8)  # of labels and validation people


def scores(task: dict[str, Any]) -> np.ndarray:
    """Test scores of probes of the aggregate, 5 labels per class, on one encoder.

    The trial of sweeps/crossl/relation.yaml.
    """
    sensors = {"kind": "synthetic_sensors", "rates": [64.0, 64.0, 64.0, 64.0]}
    source = sensors | {"seed": 1004, "n_subjects": 120, "windows_per_subject": 25, "own": 0.7}
    pretrain = {
        "source": source,
        "task": task,
        "epochs": 20,
        "optim": {"lr": 2e-3, "batch_size": 128},
    }
    tree = {
        "model": {
            "kind": "crossmodal",
            "encoder": {"kind": "conv", "dim": 32, "strides": [2, 2, 2]},
        },
        "pretrain": pretrain,
        "finetune": {
            "target": sensors | {"seed": 2004},
            "labels": {"per_class": 5},
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


@pytest.mark.timeout(900)  # two pre-trainings: a minute of a core, minutes of one that is shared
def test_crossmodal_pretraining_finds_what_sensors_share_and_each_alone_does_not():
    together, alone = scores({"kind": "crossmodal", "expander": 128}), scores({"kind": "masked"})
    gain = interval(list(together - alone))
    assert gain is not None
    assert gain["low"] > 0
    assert (
        together.mean() > 0.5
    )  # one sensor alone knows two letters, and not which of them is shared
