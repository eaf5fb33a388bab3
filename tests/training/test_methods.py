"""Methods without a network as models of a trial: solved in one round, on what it is given."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from citrus_ray.data.windowing.view import View
from citrus_ray.data.windows import Windows
from citrus_ray.experiment.trial import Trial
from citrus_ray.models.specs import KINDS, METHODS
from citrus_ray.training import closed_form, learner
from citrus_ray.training.baselines import BASELINES, baselines
from citrus_ray.training.finetuning import Member
from citrus_ray.training.members import Population
from citrus_ray.training.methods import Solved, even_share
from tests.small import FULL, SCRATCH

METRIC = "val/balanced_accuracy"
SMALL: dict[str, dict[str, Any]] = {
    "minirocket": {"n_kernels": 168},
    "bag": {"trees": 20},
    "views": {"of": ["bands", "scalars"], "steps": 60},
}


def trial_of(kind: str, base: Trial = SCRATCH) -> Trial:
    return base.at({"model": {"kind": kind} | SMALL.get(kind, {})})


@pytest.mark.parametrize("kind", METHODS)
def test_a_method_is_a_model_of_one_round_that_sees_the_classes(kind):
    known = {"finetune.labels": {"per_class": 12}}
    trials = [trial_of(kind).at(known | {"seed": seed}) for seed in (0, 1)]
    found = Population(trials, [None, None], METRIC)
    first = found.advance()
    assert first is not None
    assert first[METRIC] == found.value
    assert found.advance() is None
    found.score_test()
    assert found.status == "ok"
    assert np.mean([s.metrics["test/balanced_accuracy"] for s in found.states]) > 0.7
    assert [state.outcome()["metrics"][METRIC] for state in found.states] == [
        trial.run()[METRIC] for trial in trials
    ]


@pytest.mark.usefixtures("small_portfolio")
@pytest.mark.parametrize("base", [SCRATCH, FULL], ids=["labels", "full"])
def test_as_a_model_it_scores_what_it_scores_as_a_baseline(base):
    beside = baselines(base)
    for kind in ("band_power", "tangent", "minirocket"):
        solved = Solved(trial_of(kind, base))
        solved.finish()
        assert solved.best | solved.score_test() == {"round": 1.0} | beside[kind]


@pytest.mark.usefixtures("small_portfolio")
def test_a_method_has_the_baselines_of_a_network_but_for_the_untrained_encoder():
    network, method = baselines(SCRATCH), baselines(trial_of("tangent"))
    assert network.keys() - method.keys() == {"random_encoder"}
    assert all(network[name] == found for name, found in method.items())


def test_it_is_given_what_a_network_is_given():
    network, method = Member(SCRATCH, None), Solved(trial_of("bag"))
    assert np.array_equal(network.labelled, method.labelled)
    assert (network.tested, network.n_labelled()) == (method.tested, method.n_labelled())


def test_a_capped_method_learns_from_so_many_windows_and_from_no_others():
    learner = Solved(SCRATCH.at({"finetune.labels": {"fraction": 1.0}}))
    y = learner.windows.labels
    some = even_share(learner, 11)
    assert set(some) <= set(learner.labelled)
    assert sorted(np.bincount(y[some])) == [5, 6]
    assert np.array_equal(even_share(learner, len(y)), learner.labelled)
    rare, often = (learner.labelled[y[learner.labelled] == k] for k in (0, 1))
    learner.labelled = np.sort(np.concatenate([rare[:3], often]))
    assert np.bincount(y[even_share(learner, 9)]).tolist() == [3, 6]
    for kind in ("tangent", "minirocket", "bag"):
        edits = {"model.most_windows": 11, "finetune.labels": {"fraction": 1.0}}
        few = Solved(trial_of(kind).at(edits))
        few.finish()
        before = few.score_test()
        junk = few.windows.x.copy()
        left = np.setdiff1d(few.labelled, even_share(few, 11))
        junk[left] = 0.0
        again = Solved(trial_of(kind).at(edits))
        again.windows = with_signal(few.windows, junk)
        again.view = type(again.view)((junk,), few.view.scales, few.view.modalities, False)
        again.finish()
        assert again.score_test() == before


@pytest.mark.parametrize(("base", "way"), [(FULL, "best_on"), (SCRATCH, "ridge_inside")])
def test_a_ridge_is_chosen_by_what_chooses_the_trial(monkeypatch, base, way):
    asked = []

    def spied(name: str) -> Callable[..., Any]:
        def spy(*args: Any) -> Any:
            asked.append((name, args[2] if name == "best_on" else None))
            return getattr(closed_form, name)(*args)

        return spy

    for name in ("best_on", "ridge_inside"):
        monkeypatch.setattr(learner, name, spied(name))
    Solved(trial_of("minirocket", base), "val/macro_f1").finish()
    assert asked == [(way, "val/macro_f1" if way == "best_on" else None)]


@pytest.mark.parametrize("kind", METHODS)
def test_padding_is_no_signal(kind):
    found: list[tuple[Any, View]] = []
    for align in ({"kind": "native"}, {"kind": "pad", "n_times": 131}):
        solved = Solved(trial_of(kind).at({"finetune.align": align}))
        solved.view = replace(solved.view, scales=found[0][1].scales) if found else solved.view
        solved.finish()
        found.append((solved.predict(solved.parts.test), solved.view))
    assert solved.windows.x.shape[2] == 131
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)


def with_signal(windows: Windows, x: np.ndarray) -> Windows:
    return replace(windows, x=x)


def test_methods_that_stand_beside_every_final_are_kinds():
    beside = {"band_power", "tangent", "minirocket", "bag"}
    assert beside | {"scalars", "views"} == METHODS.keys()
    assert beside <= BASELINES.keys()
    assert all(KINDS(kind).is_solved for kind in METHODS)
