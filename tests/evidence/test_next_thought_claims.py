"""What Next Thought Prediction must show on series of known structure, shrunk to seconds: the
confound, and the gain.

`sweeps/ntp/confound.yaml` and `sweeps/ntp/transfer.yaml` ask the same at length.
"""

from typing import Any

import numpy as np
import pytest

from citrus_ray.evidence.intervals import OverRounds
from citrus_ray.evidence.tables import CONTROLS
from citrus_ray.evidence.verdicts import cost_to
from citrus_ray.experiment.trial import Trial
from citrus_ray.spec import validate
from citrus_ray.training import pretraining as pretrain
from citrus_ray.training.baselines import BASELINES, OF_PAIRS, baselines, distance_of_means
from citrus_ray.training.finetuning import Member

SERIES = {"kind": "synthetic_fmri", "n_voxels": 16, "gain": 2.0, "own": 0.2, "n_runs": 3}
MODEL = {"kind": "sequence", "dim": 16, "layers": 1, "heads": 2, "dropout": 0.0}
NOT_NETWORKS = {"majority", *OF_PAIRS}


def controls(
    monkeypatch: pytest.MonkeyPatch, negatives: str, normalize_by: str
) -> dict[str, float]:
    monkeypatch.setattr(
        "citrus_ray.training.baselines.BASELINES", {"majority": BASELINES["majority"]}
    )
    edits = {
        "gain": 1.0,
        "n_voxels": 32,
        "offset": 2.0,
        "n_subjects": 8,
        "normalize_by": normalize_by,
    }
    of = SERIES | edits | {"labelled": False, "volumes": 6, "stride": 3}
    target = {"kind": "pairs", "of": of, "negatives": negatives}
    found = baselines(validate(Trial, {"model": MODEL, "finetune": {"target": target}}))
    assert found.keys() == NOT_NETWORKS
    return {name: scores["test/accuracy"] for name, scores in found.items()}


CHANCE = pytest.approx(0.5, abs=0.08)


def test_any_run_negatives_and_a_whole_scan_z_score_let_run_identity_carry_the_task(monkeypatch):
    found = controls(monkeypatch, "any_run", "scan")
    assert found["run_identity"] > 0.75
    assert found["same_run"] > 0.8
    assert found["halves"] == CHANCE  # each window alone tells nothing


def test_a_z_score_per_run_hides_the_run_though_it_would_still_give_the_answer_away(monkeypatch):
    found = controls(monkeypatch, "any_run", "run")
    assert found["run_identity"] < 0.65
    assert found["same_run"] > 0.8


@pytest.mark.parametrize("normalize_by", ["scan", "run"])
def test_negatives_of_the_same_run_leave_run_identity_at_chance_and_the_task_doable(
    monkeypatch, normalize_by
):
    found = controls(monkeypatch, "same_run", normalize_by)
    assert found["run_identity"] == found["same_run"] == CHANCE
    assert found["distance"] > 0.6


def test_the_distance_of_means_is_what_numpy_says():
    x = np.random.default_rng(0).normal(size=(5, 7, 8)).astype(np.float32)
    a, b = x[..., :4].mean(axis=2), x[..., 4:].mean(axis=2)
    expected = [
        [np.sqrt(((p - q) ** 2).mean()), np.corrcoef(p, q)[0, 1]] for p, q in zip(a, b, strict=True)
    ]
    assert distance_of_means(x) == pytest.approx(np.array(expected), rel=1e-4)


@pytest.mark.usefixtures("small_portfolio")
def test_only_pairs_have_baselines_of_pairs():
    target = SERIES | {"n_subjects": 6, "volumes": 4}
    found = baselines(validate(Trial, {"model": MODEL, "finetune": {"target": target}}))
    assert found.keys() == BASELINES.keys()
    assert not OF_PAIRS.keys() & BASELINES.keys()
    assert tuple(OF_PAIRS) == CONTROLS, "what a summary shows is what is computed"


@pytest.mark.slow
def test_what_was_learnt_from_what_follows_helps_to_tell_timbres_and_gets_there_sooner():
    """Other people, across runs, 15 pairs of each kind; the same pairs, steps and rate in both
    arms."""
    of: dict[str, Any] = {"kind": "synthetic_fmri", "volumes": 6}
    source = {"kind": "pairs", "negatives": "same_run", "buffer": 3}
    source |= {"of": of | {"seed": 1, "n_subjects": 12, "labelled": False, "stride": 2}}
    target = {
        "kind": "pairs",
        "ask": "same_class",
        "partners": "across_runs",
        "of": of | {"seed": 2},
    }
    tree = {
        "model": {"kind": "sequence", "dim": 32, "heads": 2},
        "pretrain": {
            "source": source,
            "task": {"kind": "next_thought"},
            "epochs": 5,
            "optim": {"lr": 2e-3},
        },
        "finetune": {
            "target": target,
            "labels": {"per_class": 15},
            "validation": "full",  # what it gets to sooner
            "steps": 60,
            "rounds": 6,
        },
    }
    trial = validate(Trial, tree)
    assert trial.pretraining is not None
    done = pretrain.run(trial.pretraining, trial.model)
    assert done.history[-1]["val/next_accuracy"] > 0.75
    gains, saved = [], []
    for seed in range(6):
        fresh, tuned = (
            Member(trial.at({"seed": seed}), weights, "val/accuracy")
            for weights in (None, done.weights)
        )
        costs = [
            cost_to([(row["val/accuracy"], 0.0) for row in rounds(m)], "rounds", 0.65)
            for m in (fresh, tuned)
        ]
        saved.append(costs[0] - costs[1])
        gains.append(tuned.score_test()["test/accuracy"] - fresh.score_test()["test/accuracy"])
    for differences in (gains, saved):
        found = OverRounds(differences).effect()
        assert found.low > 0, (gains, saved)


def rounds(member: Member) -> list[dict[str, float]]:
    return list(iter(member.advance, None))
