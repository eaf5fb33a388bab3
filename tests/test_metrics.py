"""Scores against scikit-learn's."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from citrus_ray.metrics import HARD, accuracy, balanced_accuracy, confusion, macro_f1, score


@st.composite
def labels(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """True and predicted labels; some classes may be missing from either."""
    n_classes, n = draw(st.integers(1, 5)), draw(st.integers(1, 40))
    pair = [draw(st.lists(st.integers(0, n_classes - 1), min_size=n, max_size=n)) for _ in range(2)]
    return np.array(pair[0]), np.array(pair[1]), n_classes


@given(labels())
def test_scores_are_those_of_scikit_learn(case):
    y, predicted, n_classes = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of classes that are predicted but never true
        assert accuracy(y, predicted) == pytest.approx(sklearn_metrics.accuracy_score(y, predicted))
        assert balanced_accuracy(y, predicted) == pytest.approx(
            sklearn_metrics.balanced_accuracy_score(y, predicted)
        )
        assert macro_f1(y, predicted) == pytest.approx(
            sklearn_metrics.f1_score(y, predicted, average="macro")
        )
        reference = sklearn_metrics.confusion_matrix(y, predicted, labels=range(n_classes))
    assert np.array_equal(confusion(y, predicted, n_classes), reference)


def test_a_split_is_in_the_name_of_every_metric_and_logits_decide_by_their_largest():
    y, logits = np.array([0, 1, 2, 1]), np.array([[2.0, 1, 0], [0, 3, 1], [5, 0, 1], [0, 1, 0.5]])
    found = score(y, logits, "val")
    assert found.keys() == {f"val/{name}" for name in (*HARD, "auroc", "auprc")}
    assert found["val/accuracy"] == 0.75
    assert found["val/balanced_accuracy"] == pytest.approx(2 / 3)
    assert all(type(value) is float for value in found.values())


def test_always_guessing_one_class_scores_chance_when_balanced():
    y = np.array([0] * 90 + [1] * 10)
    assert balanced_accuracy(y, np.zeros_like(y)) == 0.5
    assert accuracy(y, np.zeros_like(y)) == 0.9
