"""Targets that are a number: learnt in its own unit, scored by its error, by networks and methods
alike."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge as SkRidge
from sklearn.neighbors import KNeighborsRegressor

from citrus_ray.data.windowing import cache
from citrus_ray.data.windows import Windows
from citrus_ray.experiment.trial import Trial
from citrus_ray.models.specs import METHODS
from citrus_ray.store import predictions
from citrus_ray.training.baselines import baselines
from citrus_ray.training.closed_form import RIDGES, Scaler, ridge_inside, ridge_path
from citrus_ray.training.finetuning import Member
from citrus_ray.training.learner import Learner
from citrus_ray.training.members import Population, learner_of
from tests.small import SCRATCH

VALUED = SCRATCH.at({"finetune.labels": {"count": 24}, "finetune.target.target": "value"})
FULL = VALUED.at({"finetune.validation": "full"})


def values_changed(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Every set that is loaded from now on has other values."""
    real = cache.load

    def load(*args: Any) -> Windows:
        found = real(*args)
        return replace(found, y=change(found.labels))

    monkeypatch.setattr(cache, "load", load)


def trained(trial: Trial, metric: str = "val/mae") -> Learner:
    learner = learner_of(trial, None, metric)
    learner.finish()
    return learner


@pytest.mark.parametrize("mode", ["full", "frozen", "probe"])
@pytest.mark.parametrize("base", [VALUED, FULL])
def test_another_unit_changes_nothing_but_the_unit(
    monkeypatch: pytest.MonkeyPatch, mode: str, base: Trial
) -> None:
    trial = base.at({"finetune.mode": mode})
    one = trained(trial)
    before = one.predict(one.parts.test)
    values_changed(monkeypatch, lambda y: 50 + 20 * y)
    two = trained(trial)
    assert two.predict(two.parts.test) == pytest.approx(50 + 20 * before, rel=1e-3)
    assert two.best["val/mae"] == pytest.approx(20 * one.best["val/mae"], rel=1e-3)
    assert two.best["val/r2"] == pytest.approx(one.best["val/r2"], abs=1e-3)


@pytest.mark.parametrize("model", ["conv", *METHODS])
def test_values_that_are_not_labelled_are_not_seen(
    monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    edits: dict[str, Any] = {} if model == "conv" else {"model": {"kind": model}}
    if model == "views":
        edits = {"model": {"kind": "views", "of": [{"kind": "bands"}], "steps": 10}}
    if model == "minirocket":
        edits = {"model": {"kind": "minirocket", "n_kernels": 168}}
    one = trained(VALUED.at(edits))
    known = np.union1d(one.labelled, one.parts.val)
    before = one.predict(one.parts.test)

    def spoilt(y: np.ndarray) -> np.ndarray:
        y = y.copy()
        y[np.setdiff1d(np.arange(len(y)), known)] = 1e6
        return y

    values_changed(monkeypatch, spoilt)
    two = trained(VALUED.at(edits))
    assert np.array_equal(two.predict(two.parts.test), before)


def test_the_best_round_is_that_of_the_smallest_error() -> None:
    member = Member(FULL, None, "val/mae")
    errors = []
    while (metrics := member.advance()) is not None:
        errors.append(metrics["val/mae"])
    assert member.best["val/mae"] == min(errors)
    assert member.best["round"] == errors.index(min(errors)) + 1


def test_a_solved_head_says_what_the_regression_says() -> None:
    member = Member(VALUED.at({"finetune.mode": "probe"}), None, "val/mae")
    windows = member.windows
    probe = member.regression(member._normed, windows.labels, windows.n_outputs)
    member.finish()
    expected = probe(member._normed(member.parts.test))
    assert member.predict(member.parts.test) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("n_features", [3, 60])
def test_ridge_regression_is_that_of_scikit_learn(n_features: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, n_features))
    y = x[:, 0] * 3 + rng.normal(size=40) + 100
    scaled = Scaler.of(x)(x)
    for probe, penalty in zip(ridge_path(x, y, 1, "value"), RIDGES, strict=True):
        reference = SkRidge(alpha=penalty * float((scaled**2).sum()) / len(x)).fit(scaled, y)
        assert probe(x)[:, 0] == pytest.approx(reference.predict(scaled), rel=1e-6)


def test_the_penalty_is_that_whose_fits_predict_the_other_folds_best() -> None:
    rng = np.random.default_rng(1)
    x, fold = rng.normal(size=(60, 8)), np.arange(60) % 5
    y = x[:, 0] + rng.normal(size=60)
    scaled = Scaler.of(x)(x)
    losses = []
    for penalty in RIDGES:
        alpha, total = penalty * float((scaled**2).sum()) / len(x), 0.0
        for number in range(5):
            out = fold == number
            model = SkRidge(alpha=alpha).fit(scaled[~out], y[~out])
            total += float(((model.predict(scaled[out]) - y[out]) ** 2).sum())
        losses.append(total)
    assert ridge_inside(x, y, fold, 1, "value").penalty == RIDGES[int(np.argmin(losses))]


@pytest.mark.slow
def test_baselines_are_of_values() -> None:
    found = baselines(VALUED, "val/mae")
    assert "majority" not in found
    assert all("test/mae" in scores for scores in found.values())
    member = Member(VALUED, None, "val/mae")
    test, y = member.parts.test, member.windows.labels
    median = np.abs(y[test] - np.median(y[member.labelled])).mean()
    assert found["median"]["test/mae"] == pytest.approx(median)
    flat = member.signal(np.arange(len(y))).reshape(len(y), -1)
    near = KNeighborsRegressor(1).fit(flat[member.labelled], y[member.labelled])
    error = np.abs(near.predict(flat[test]) - y[test]).mean()
    assert found["nearest"]["test/mae"] == pytest.approx(error)


@pytest.mark.parametrize("edit", [{"finetune.mixup": 0.3}, {"finetune.head_init": "solved"}])
def test_what_a_fine_tune_may_do_it_may_do_to_values(edit: dict[str, Any]) -> None:
    member = trained(FULL.at(edit | {"finetune.steps": 40}))
    assert np.isfinite(member.best["val/mae"])


def test_members_that_are_stacked_learn_as_alone() -> None:
    trials = [VALUED.at({"seed": seed}) for seed in (0, 1)]
    alone, together = (
        Population(trials, [None, None], "val/mae", stacked=stacked) for stacked in (False, True)
    )
    assert together.vmap_groups
    for population in (alone, together):
        while population.advance() is not None:
            pass
    assert together.value == pytest.approx(alone.value, rel=1e-4)


def test_a_trial_runs_alone_and_is_scored_by_its_error() -> None:
    assert "val/mae" in VALUED.run()


def test_test_predictions_are_kept_with_the_values(tmp_path: Path) -> None:
    member = trained(VALUED)
    member.score_test()
    predictions.write(tmp_path, "t", [member.test_outputs()])
    (found,) = predictions.read(tmp_path, "t")
    test = member.parts.test
    assert np.array_equal(found.y, member.windows.labels[test])
    assert found.outputs == pytest.approx(member.predict(test), rel=1e-6)
    assert found.classes == ("value",)
