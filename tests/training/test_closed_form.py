"""The linear probe against scikit-learn's logistic regression, and what it may look at."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from citrus_ray.data.windowing.splits import folds_inside
from citrus_ray.metrics import balanced_accuracy
from citrus_ray.training import closed_form
from citrus_ray.training.closed_form import (
    MOST,
    PENALTIES,
    RIDGES,
    Ridge,
    Scaler,
    cross_entropies,
    evenly,
    fit,
    fit_inside,
    regularisation_path,
    ridge_inside,
    ridge_path,
)


def sample(seed: int, n: int = 120, n_features: int = 5, n_classes: int = 3, pull: float = 1.0):
    """Features whose mean depends on the class, each on a scale of its own."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % n_classes)
    centres = rng.normal(size=(n_classes, n_features)) * pull
    return (centres[y] + rng.normal(size=(n, n_features))) * 10.0 ** (
        np.arange(n_features) % 5
    ) + 3, y


@settings(max_examples=8)
@given(st.integers(0, 10_000), st.integers(2, 4), st.sampled_from([5, 200]))
def test_every_penalty_gives_what_scikit_learn_gives(seed, n_classes, n_features):
    x, y = sample(seed, n_features=n_features, n_classes=n_classes, pull=5 / n_features)
    scaled = StandardScaler().fit_transform(x)
    for probe, penalty in zip(regularisation_path(x, y, n_classes), PENALTIES, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # of two classes scikit-learn fits one set of weights, whose norm is twice that of ours
            c = (2 if n_classes == 2 else 1) / (len(y) * penalty)
            reference = LogisticRegression(C=c, max_iter=2000, tol=1e-6).fit(scaled, y)
        share = np.exp(probe(x)) / np.exp(probe(x)).sum(axis=1, keepdims=True)
        assert share == pytest.approx(reference.predict_proba(scaled), abs=1e-3)


def test_features_are_scaled_by_training_statistics_and_a_constant_one_is_dropped():
    rng = np.random.default_rng(0)
    x = rng.normal(5, 3, (50, 2))
    x = np.column_stack([x, np.full(50, 7.0), 1 + 1e-9 * rng.normal(size=50)])
    scaler = Scaler.of(x)
    assert scaler(x)[:, :2] == pytest.approx(StandardScaler().fit_transform(x[:, :2]))
    assert (scaler(x + 1)[:, 2:] == 0).all()


def test_validation_data_choose_the_penalty():
    """Labels that are half noise, more features than windows: the weakest penalty learns the
    noise."""
    rng = np.random.default_rng(3)
    x, y = sample(3, n=400, n_features=40, n_classes=2, pull=0.25)
    y = np.where(rng.random(400) < 0.25, 1 - y, y)
    train, val, rest = (x[:60], y[:60]), (x[60:200], y[60:200]), (x[200:], y[200:])
    path = regularisation_path(*train, 2)
    values = [balanced_accuracy(val[1], probe(val[0]).argmax(axis=1)) for probe in path]
    chosen = fit(train, val, 2)
    assert chosen.penalty == PENALTIES[int(np.argmax(values))]
    assert chosen.penalty > PENALTIES[-1]
    assert balanced_accuracy(rest[1], chosen(rest[0]).argmax(axis=1)) > 0.55


def test_of_equally_good_penalties_the_strongest_is_taken():
    x = np.array([[-1.0], [1.0]] * 10)
    y = np.array([0, 1] * 10)
    assert fit((x, y), (x, y), 2).penalty == PENALTIES[0]


def test_validation_data_do_not_train():
    x, y = sample(1)
    one, other = (
        fit((x[:60], y[:60]), (x[60:], y[60:]), 3),
        fit((x[:60], y[:60]), (x[60:90], y[60:90]), 3),
    )
    assert np.array_equal(one.scaler.mean, other.scaler.mean)
    path = regularisation_path(x[:60], y[:60], 3)
    assert any(np.array_equal(one.weights, probe.weights) for probe in path)


def test_the_same_data_give_the_same_bits():
    x, y = sample(2)
    one, other = (regularisation_path(x, y, 3)[-1] for _ in range(2))
    assert np.array_equal(one.weights, other.weights)


def test_no_feature_and_an_unseen_class_still_give_logits():
    y = np.array([0, 0, 0, 1])
    probe = fit((np.zeros((4, 0)), y), (np.zeros((2, 0)), np.array([0, 1])), 3)
    share = np.exp(probe(np.zeros((1, 0)))[0])
    assert share / share.sum() == pytest.approx([0.75, 0.25, 0], abs=1e-2)


def test_one_window_per_class_is_separated_without_end_of_time():
    x, y = sample(4, n=3, n_features=200)
    probe = regularisation_path(x, y, 3)[-1]
    assert probe(x).argmax(axis=1).tolist() == y.tolist()
    assert np.isfinite(probe.weights).all()


# ---- no validation data at all ----


def noisy(n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels that are a quarter noise, more features than windows, three windows a person."""
    rng = np.random.default_rng(3)
    x, y = sample(3, n=n, n_features=40, n_classes=2, pull=0.25)
    y = np.where(rng.random(n) < 0.25, 1 - y, y)
    return x, y, folds_inside(y, np.arange(n) // 3)


def test_the_penalty_is_that_which_does_best_on_folds_it_was_not_fitted_to():
    """As scikit-learn counts: log loss with the windows of every class weighing the same."""
    x, y, fold = noisy()
    weights, losses = 1 / np.bincount(y)[y], []
    for i in range(len(PENALTIES)):
        share = np.zeros((len(y), 2))
        for number in range(5):
            out = fold == number
            mass = np.exp(regularisation_path(x[~out], y[~out], 2)[i](x[out]))
            share[out] = mass / mass.sum(axis=1, keepdims=True)
        losses.append(log_loss(y, share, sample_weight=weights))
    chosen = fit_inside(x, y, fold, 2)
    assert chosen.penalty == PENALTIES[int(np.argmin(losses))] > PENALTIES[-1]
    of_all = regularisation_path(x, y, 2)
    assert any(np.array_equal(chosen.weights, probe.weights) for probe in of_all)


def test_penalties_weaker_than_the_first_that_does_worse_are_not_fitted(monkeypatch):
    """And what is chosen is what fits of all penalties would choose."""
    x, y, fold = noisy()
    fitted, solve = list[float](), closed_form.solve

    def noted(x, y, penalty, start):
        fitted.append(penalty)
        return solve(x, y, penalty, start)

    monkeypatch.setattr(closed_form, "solve", noted)
    place = PENALTIES.index(fit_inside(x, y, fold, 2).penalty)
    assert place < len(PENALTIES) - 2
    assert sorted(fitted, reverse=True) == sorted(
        [*PENALTIES[: place + 2] * 5, *PENALTIES[: place + 1]], reverse=True
    )


def test_of_many_windows_every_class_is_in_those_that_choose():
    """All where they are few; a rare class keeps its share."""
    y = np.where(np.arange(9000) % 100 == 0, 1, 0)
    chosen = evenly(y, MOST)
    assert len(chosen) == len(np.unique(chosen)) == MOST
    assert (y[chosen] == 1).sum() == pytest.approx(MOST / 100, abs=1)
    assert np.array_equal(evenly(y[:MOST], MOST), np.arange(MOST))


def test_a_penalty_that_some_windows_choose_is_fitted_to_all(monkeypatch):
    """A stronger one than all of them would choose: the more windows, the less is noise."""
    x, y = sample(3, n=400, n_features=20, n_classes=2, pull=0.25)
    fold, some = folds_inside(y, np.arange(400) // 3), evenly(y, 60)
    by_all = fit_inside(x, y, fold, 2)
    monkeypatch.setattr(closed_form, "MOST", 60)
    chosen = fit_inside(x, y, fold, 2)
    assert chosen.penalty == fit_inside(x[some], y[some], fold[some], 2).penalty > by_all.penalty
    of_all = regularisation_path(x, y, 2)
    assert any(np.array_equal(chosen.weights, probe.weights) for probe in of_all)


def test_a_loss_is_minus_the_log_of_a_probability_however_sure_a_logit_is():
    logits = np.array([[0.0, 0.0], [3.0, 0.0], [1000.0, 0.0]])
    y = np.array([0, 1, 1])
    assert cross_entropies(logits, y) == pytest.approx([np.log(2), np.log1p(np.exp(3)), 1000.0])


def test_with_nothing_to_choose_by_the_strongest_penalty_is_taken():
    x, y = sample(4, n=3, n_features=20)
    assert fit_inside(x, y, np.zeros(3, dtype=np.int64), 3).penalty == PENALTIES[0]


# ---- ridge regression ----


def uneven(n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """One class of three is rare."""
    x, y = sample(0, n_features=n_features, pull=3 / n_features)
    kept = np.flatnonzero((y > 0) | (np.arange(len(y)) % 4 == 0))
    return x[kept], y[kept]


def by_scikit_learn(x: np.ndarray, y: np.ndarray, learnt: np.ndarray, penalty: float) -> np.ndarray:
    """Fitted ones of all windows, learnt from some of them, as those weigh and scale in all."""
    scaled, target = StandardScaler().fit_transform(x), 2.0 * np.eye(3)[y] - 1
    weights = (len(y) / (3 * np.bincount(y)))[y]
    centred = scaled - np.average(scaled, axis=0, weights=weights)
    strength = penalty * float((weights[:, None] * centred**2).sum()) / len(y)
    model = SklearnRidge(alpha=strength, tol=1e-10, solver="cholesky")
    return np.asarray(
        model.fit(scaled[learnt], target[learnt], sample_weight=weights[learnt]).predict(scaled)
    )


@pytest.mark.parametrize("n_features", [5, 200])
def test_ridges_are_those_of_scikit_learn_with_every_class_counting_the_same(n_features):
    x, y = uneven(n_features)
    everyone = np.ones(len(y), dtype=bool)
    for probe in ridge_path(x, y, 3):
        assert probe(x) == pytest.approx(by_scikit_learn(x, y, everyone, probe.penalty), abs=1e-6)


@pytest.mark.parametrize("n_features", [5, 200])
def test_the_loss_of_folds_left_out_is_that_of_fits_without_them(n_features):
    x, y = uneven(n_features)
    fold = folds_inside(y, np.arange(len(y)))
    weights, target = (len(y) / (3 * np.bincount(y)))[y], 2.0 * np.eye(3)[y] - 1
    ridge, losses = Ridge.of(x, y, 3), []
    for penalty in (1.0, 0.01):
        losses.append(0.0)
        for number in np.unique(fold):
            out = fold == number
            error = (by_scikit_learn(x, y, ~out, penalty) - target)[out]
            losses[-1] += float((weights[out, None] * error**2).sum()) / len(y)
        assert ridge.loss_left_out(penalty, fold) == pytest.approx(losses[-1], rel=1e-6)
    assert losses[0] != pytest.approx(losses[1], rel=1e-2)


def test_folds_choose_the_ridge_and_a_single_one_takes_the_strongest():
    x, y = sample(0, n=60, n_features=200, pull=0.3)
    fold = folds_inside(y, np.arange(len(y)))
    ridge = Ridge.of(x, y, 3)
    best = min(RIDGES, key=lambda penalty: ridge.loss_left_out(penalty, fold))
    assert ridge_inside(x, y, fold, 3).penalty == best
    assert RIDGES[-1] < best < RIDGES[0]
    assert ridge_inside(x, y, np.zeros_like(y), 3).penalty == RIDGES[0]
