"""What was learnt, in another process: the same numbers, from arrays and plain values alone."""

import json
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from citrus_ray.experiment.trial import Trial
from citrus_ray.models.specs import METHODS
from citrus_ray.spec import SpecError
from citrus_ray.training.learner import Learner, Reader
from citrus_ray.training.members import learner_of
from citrus_ray.training.methods import Forest, Polled, Predict, regression
from citrus_ray.training.portable import put_together, taken_apart
from tests.small import SCRATCH

SMALL_VIEWS = [{"kind": "trees", "n": 5}, {"kind": "rocket", "n": 84}]
SMALL: dict[str, dict[str, Any]] = {
    "minirocket": {"n_kernels": 168},
    "bag": {"trees": 20},
    "views": {
        "of": ["bands", "covariance", "scalars", *SMALL_VIEWS, "time", "conv"],
        "steps": 20,
        "members": 2,
        "votes": "chosen",
    },
}
VALUES = {"finetune.target.target": "value", "finetune.labels": {"count": 16}}
NETWORKS: dict[str, dict[str, Any]] = {
    "conv": {},
    "citrus": {"model": "citrus", "finetune.align": {"kind": "pad", "n_times": 131}},
    "head": {"finetune.head": {"moments": True, "bins": 2, "power": True, "covariance": True}},
    "frozen": {"finetune.mode": "frozen", "finetune.pool": "channels"},
    "erase": {"finetune.subjects": "erase"},
    "recentre": {"finetune.subjects": "recentre", "finetune.mode": "probe"},
    "late": {"finetune.pool": "late"},
    "lora": {"model": "citrus", "finetune.mode": "lora"},
    "best": {"finetune.validation": "full"},
    "values": VALUES,
    "values by trees": VALUES | {"model": {"kind": "bag", "trees": 10}},
}


class Elsewhere(Reader):
    """The same windows, in a process that has seen no label."""

    def __init__(self, learner: Learner) -> None:
        self.windows, self.view = learner.windows, learner.view


def learnt(trial: Trial) -> Learner:
    learner = learner_of(trial, None)
    learner.finish()
    return learner


def moved(learner: Learner, *foreign: str) -> Any:
    """What it learnt, through JSON and safetensors."""
    arrays: dict[str, Any] = {}
    tree = json.loads(json.dumps(taken_apart(learner.fitted(), arrays, foreign), allow_nan=False))
    return put_together(tree, load(save(arrays)), Elsewhere(learner), foreign)


@pytest.mark.parametrize(
    "edits",
    [*({"model": {"kind": kind} | SMALL.get(kind, {})} for kind in METHODS), *NETWORKS.values()],
    ids=[*METHODS, *NETWORKS],
)
def test_what_was_learnt_says_the_same_elsewhere_bit_for_bit(edits):
    learner = learnt(SCRATCH.at(edits))
    learner.score_test()
    assert learner.on_test is not None
    again = moved(learner)(learner.parts.test)
    assert np.array_equal(again, learner.on_test)
    assert len(np.unique(again)) > 2


def test_a_forest_of_nodes_votes_as_scikit_learn_does(monkeypatch):
    from sklearn.ensemble import ExtraTreesClassifier

    forests = []
    fit = ExtraTreesClassifier.fit

    def spy(self, *given):
        forests.append(fit(self, *given))
        return forests[-1]

    monkeypatch.setattr(ExtraTreesClassifier, "fit", spy)
    learner = learnt(SCRATCH.at({"model": {"kind": "bag", "trees": 30}}))
    found = learner.fitted()
    assert isinstance(found, Polled)
    x = np.random.default_rng(0).normal(size=(1500, len(found.scaler.mean)))
    assert np.array_equal(found.forest(x), forests[0].predict_proba(x))


def test_a_class_that_no_tree_saw_has_no_vote():
    learner = learnt(SCRATCH)
    of_one = learner.labelled[learner.windows.labels[learner.labelled] == 1]
    forest = Forest.of(np.linspace(0.0, 1.0, len(of_one))[:, None], of_one, learner, 3, 0)
    assert np.array_equal(forest(np.zeros((2, 1))), [[0.0, 1.0], [0.0, 1.0]])


# ---- what cannot go ----


def by_lambda(learner: Learner, spec: None) -> Predict:
    return regression(learner, lambda x: x.mean(axis=-1))


def means(x):
    return x.std(axis=-1)


def by_name(learner: Learner, spec: None) -> Predict:
    return regression(learner, means)


def test_a_function_without_a_name_is_refused_by_name():
    learner = learnt(SCRATCH)
    with pytest.raises(SpecError, match=r"<lambda>.*cannot be kept; write it at the top"):
        taken_apart(by_lambda(learner, None), {}, {__name__})


def test_a_strangers_function_goes_where_its_module_is_the_models_own():
    learner = learnt(SCRATCH)
    predict = by_name(learner, None)
    with pytest.raises(SpecError, match="means: cannot be kept; only parts of this package"):
        taken_apart(predict, {})
    arrays: dict[str, Any] = {}
    tree = taken_apart(predict, arrays, {__name__})
    index = learner.parts.test
    again = put_together(tree, arrays, learner, {__name__})
    assert np.array_equal(again(index), predict(index))
    with pytest.raises(SpecError, match="is no part of a model that this version knows"):
        put_together(tree, arrays, learner)


def test_a_file_that_names_any_other_function_runs_nothing(monkeypatch):
    module = ModuleType("harm")
    module.run = lambda: pytest.fail("it ran")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "harm", module)
    learner = learnt(SCRATCH)
    for tree in ({"part": "harm:run", "of": {"dict": {}}}, {"function": "os:system"}):
        with pytest.raises(SpecError, match="is no part of a model"):
            put_together(tree, {}, learner)
