"""Metrics of a value, against those of scikit-learn and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn_metrics

from citrus_ray.metrics import MAIN, METRICS, VALUED, metric_of, score, sign_of


@given(seed=st.integers(0, 10_000), n=st.integers(3, 40), offset=st.sampled_from([0.0, 1e4]))
def test_they_are_those_of_other_libraries(seed: int, n: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    y, predicted = rng.normal(size=n) + offset, rng.normal(size=(n, 1)) + offset
    found = score(y, predicted, "val", "value")
    assert found.keys() == {f"val/{name}" for name in VALUED}
    values = predicted[:, 0]
    assert found["val/mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(y, values))
    assert found["val/r2"] == pytest.approx(sklearn_metrics.r2_score(y, values), rel=1e-5)
    assert found["val/pearson_r"] == pytest.approx(stats.pearsonr(y, values)[0], abs=1e-6)


def test_a_constant_explains_nothing_and_correlates_with_nothing() -> None:
    y = np.array([1.0, 2.0, 6.0])
    found = score(y, np.full((3, 1), y.mean()), "val", "value")
    assert (found["val/r2"], found["val/pearson_r"]) == (0.0, 0.0)
    thirds = np.full((3, 1), 1 / 3) + np.array([[0.0], [1e-17], [0.0]])
    assert score(y, thirds, "val", "value")["val/pearson_r"] == 0.0


def test_what_is_not_defined_is_left_out() -> None:
    found = score(np.full(4, 2.0), np.arange(4.0)[:, None], "val", "value")
    assert found == {"val/mae": 1.0}


def test_a_value_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match=r"test: values must be finite, but those of 1 of 2"):
        score(np.zeros(2), np.array([[0.0], [np.inf]]), "test", "value")


def test_every_kind_of_target_has_its_metrics_and_their_direction() -> None:
    assert {kind for kind, name in MAIN.items() if kind in METRICS[name].of} == set(MAIN)
    assert [name for name in METRICS if sign_of(f"val/{name}") < 0] == ["mae"]
    assert metric_of("test/r2").bounds == (-np.inf, 1.0)
    assert not metric_of("mae").is_share
    assert metric_of("test/balanced_accuracy").is_share
