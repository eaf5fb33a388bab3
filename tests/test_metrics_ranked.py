"""AUROC, AUPRC and Cohen's kappa against scikit-learn's, ties and missing classes included."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn import metrics as sklearn_metrics

from citrus_ray.metrics import (
    HARD,
    RANKED,
    area_under_roc,
    auprc,
    auroc,
    average_precision,
    kappa,
    log_odds,
    score,
)

seeds = st.integers(0, 2**32 - 1)


@st.composite
def rankings(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Positives and scores, of few values and so with many ties, or of many values."""
    rng, n = np.random.default_rng(draw(seeds)), draw(st.integers(2, 60))
    positive = rng.random(n) < draw(st.floats(0.05, 0.95))
    positive[:2] = [True, False]
    values = (
        rng.integers(0, draw(st.integers(1, 6)), n) / 4
        if draw(st.booleans())
        else rng.normal(size=n)
    )
    return positive, values.astype(float)


@st.composite
def predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels in which classes may be missing, and logits of any size."""
    rng, n_classes = np.random.default_rng(draw(seeds)), draw(st.integers(2, 5))
    y = rng.choice(
        draw(st.lists(st.integers(0, n_classes - 1), min_size=1, unique=True)),
        draw(st.integers(2, 50)),
    )
    logits = rng.normal(size=(len(y), n_classes)) * draw(st.sampled_from([0.1, 1.0, 5.0]))
    return y.astype(np.int64), logits + rng.normal(size=(len(y), 1)) + np.eye(n_classes)[y]


@given(rankings())
def test_areas_are_those_of_scikit_learn_with_ties(case):
    positive, ranking = case
    assert area_under_roc(positive, ranking) == pytest.approx(
        sklearn_metrics.roc_auc_score(positive, ranking)
    )
    precision = sklearn_metrics.average_precision_score(positive, ranking)
    assert average_precision(positive, ranking) == pytest.approx(precision)


@given(predictions())
def test_macro_areas_are_means_over_the_classes_that_occur(case):
    y, logits = case
    share, present = softmax(logits, axis=1), np.unique(y)
    if len(present) < 2:
        assert auroc(y, logits) is None
        assert auprc(y, logits) is None
        return
    area = [sklearn_metrics.roc_auc_score(y == k, share[:, k]) for k in present]
    precision = [sklearn_metrics.average_precision_score(y == k, share[:, k]) for k in present]
    assert auroc(y, logits) == pytest.approx(np.mean(area))
    assert auprc(y, logits) == pytest.approx(np.mean(precision))
    if len(present) == logits.shape[1] > 2:
        assert auroc(y, logits) == pytest.approx(
            sklearn_metrics.roc_auc_score(y, share, multi_class="ovr")
        )
        assert auprc(y, logits) == pytest.approx(sklearn_metrics.average_precision_score(y, share))


@given(seed=seeds, n_classes=st.integers(1, 5))
def test_kappa_is_that_of_scikit_learn(seed, n_classes):
    rng = np.random.default_rng(seed)
    y, predicted = rng.integers(0, n_classes, (2, 30))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where kappa is not defined, and gives NaN
        reference = sklearn_metrics.cohen_kappa_score(y, predicted)
    found = kappa(y, predicted)
    assert found is None if np.isnan(reference) else found == pytest.approx(reference)


def test_a_score_that_is_not_defined_is_left_out_rather_than_zero():
    found = score(np.zeros(4, np.int64), np.array([[2.0, 1]] * 4), "val")
    assert found == {"val/accuracy": 1.0, "val/balanced_accuracy": 1.0, "val/macro_f1": 1.0}
    found = score(np.array([0, 1]), np.array([[2.0, 1], [0, 1]]), "val")
    assert found.keys() == {f"val/{name}" for name in {**HARD, **RANKED}}
    assert all(type(value) is float for value in found.values())


def test_equal_logits_for_all_rank_at_chance():
    y = np.array([0, 1, 2, 2, 2, 1])
    logits = np.tile([0.5, 0.1, 3.0], (6, 1))
    assert auroc(y, logits) == 0.5
    assert auprc(y, logits) == pytest.approx(1 / 3)
    assert kappa(y, logits.argmax(axis=1)) == 0


def test_a_constant_added_to_a_row_changes_no_score():
    rng = np.random.default_rng(0)
    y, logits = rng.integers(0, 3, 40), rng.normal(size=(40, 3))
    moved = score(y, logits + 10 * rng.normal(size=(40, 1)), "val")
    assert moved == pytest.approx(score(y, logits, "val"))


def test_very_sure_logits_are_still_ranked():
    y = np.array([0, 0, 1, 1])
    logits = np.array([[0.0, 50], [0, 60], [0, 70], [0, 80]])
    assert softmax(logits, axis=1)[:, 1].tolist() == [1.0] * 4
    assert auroc(y, logits) == 1.0


def test_rows_that_differ_in_the_order_of_other_classes_tie():
    rng = np.random.default_rng(1)
    for _ in range(50):
        row = rng.normal(size=6)
        other = np.concatenate([row[:1], rng.permutation(row[1:])])
        odds = log_odds(np.stack([row, other]))
        assert odds[0, 0] == odds[1, 0]


def test_logits_that_are_no_numbers_are_refused():
    logits = np.array([[0.0, 1], [np.nan, 0], [np.inf, 0]])
    with pytest.raises(
        ValueError, match="val: logits must be finite, but those of 2 of 3 windows are not"
    ):
        score(np.array([0, 1, 1]), logits, "val")
