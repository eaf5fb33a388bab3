"""Targets of several labels at once: each is learnt and scored by itself, by networks and methods
alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.splits import Split, split
from citrus_ray.metrics import score
from citrus_ray.models.specs import METHODS
from citrus_ray.store import predictions
from citrus_ray.training.baselines import baselines
from citrus_ray.training.learner import Learner
from citrus_ray.training.members import learner_of
from tests.small import SCRATCH

LABELLED = SCRATCH.at({"finetune.target.target": "labels", "finetune.labels": {"count": 24}})
FULL = LABELLED.at({"finetune.validation": "full"})
LARGER = {"finetune.target.windows_per_subject": 40, "finetune.target.rhythm_gain": 2.0}


def trained(edits: dict[str, Any], base: Any = LABELLED) -> Learner:
    learner = learner_of(base.at(edits), None, "val/auroc")
    learner.finish()
    return learner


def test_scores_are_those_of_scikit_learn_and_their_mean() -> None:
    rng = np.random.default_rng(0)
    y, logits = rng.integers(0, 2, (50, 3)), rng.normal(size=(50, 3))
    found = score(y, logits, "val", "labels", ("a", "b", "c"))
    areas = [roc_auc_score(y[:, k], logits[:, k]) for k in range(3)]
    assert [found[f"val/auroc:{name}"] for name in "abc"] == pytest.approx(areas)
    assert found["val/auroc"] == pytest.approx(np.mean(areas))
    precisions = [average_precision_score(y[:, k], logits[:, k]) for k in range(3)]
    assert found["val/auprc"] == pytest.approx(np.mean(precisions))


def test_a_label_that_all_or_no_windows_have_is_left_out_of_the_mean() -> None:
    y, logits = np.array([[1, 0], [1, 1], [1, 0]]), np.array([[0.0, 0.1], [1.0, 0.9], [2.0, 0.2]])
    found = score(y, logits, "val", "labels", ("always", "some"))
    assert found == {f"val/{m}": 1.0 for m in ("auroc", "auroc:some", "auprc", "auprc:some")}
    assert score(y[:, :1], logits[:, :1], "val", "labels", ("always",)) == {}


@pytest.mark.slow
def test_a_label_is_told_whatever_the_others_are() -> None:
    enough = LARGER | {"finetune.labels": {"fraction": 1.0}, "finetune.steps": 150}
    assert trained(enough, FULL).best["val/auroc"] > 0.8
    alone = trained(enough | {"model": {"kind": "minirocket"}}, FULL)
    assert alone.best["val/auroc"] > 0.9
    assert alone.n_labelled()["learnt"] > 100


def test_every_part_has_each_label_and_lacks_it() -> None:
    windows = cache.load(LABELLED.finetune.target)
    assert windows.labels.shape == (len(windows), windows.n_outputs) == (64, 2)
    for seed in range(4):
        for index in vars(split(windows, Split(seed=seed), seed)).values():
            share = windows.labels[index].mean(axis=0)
            assert ((share > 0) & (share < 1)).all()


@pytest.mark.parametrize("mode", ["full", "frozen", "probe"])
def test_networks_and_solved_heads_learn_them(mode: str) -> None:
    learner = trained({"finetune.mode": mode})
    assert learner.predict(learner.parts.test).shape == (len(learner.parts.test), 2)
    assert "val/auroc" in learner.best
    assert "test/auroc:5 Hz" in learner.score_test()


@pytest.mark.slow
@pytest.mark.parametrize("kind", METHODS)
def test_methods_learn_them(kind: str) -> None:
    small: dict[str, Any] = {"minirocket": {"n_kernels": 168}, "bag": {"trees": 20}}
    small["views"] = {
        "of": ["bands", {"kind": "trees", "n": 5}, {"kind": "rocket", "n": 84}],
        "votes": "chosen",
        "steps": 20,
        "members": 2,
    }
    learner = trained({"model": {"kind": kind} | small.get(kind, {})} | LARGER)
    assert learner.score_test()["test/auroc"] > 0.55


@pytest.mark.slow
def test_baselines_are_of_labels() -> None:
    found = baselines(LABELLED, "val/auroc")
    assert found["majority"]["test/auroc"] == 0.5
    assert all("test/auroc" in scores for scores in found.values())


def test_test_predictions_are_kept_with_the_labels(tmp_path: Path) -> None:
    member = trained({})
    member.score_test()
    predictions.write(tmp_path, "t", [member.test_outputs()])
    (found,) = predictions.read(tmp_path, "t")
    assert np.array_equal(found.y, member.windows.labels[member.parts.test])
    assert found.classes == ("5 Hz", "12 Hz")
