"""Numbers are checked against scipy, against full enumeration, against printed tables, and by
simulation."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from citrus_ray.evidence.intervals import (
    PRIOR,
    Floats,
    OverRounds,
    OverTargets,
    holm,
    log_e,
    midranks,
    score_effect,
)


def likelihood_ratio(values: Floats, null: float) -> float:
    """The e-value by its definition: densities of t with and without a normal prior on the effect,
    integrated numerically."""
    n = len(values)
    t = math.sqrt(n) * (values.mean() - null) / values.std(ddof=1)

    def density(effect: float) -> float:
        shifted = scipy.stats.nct.pdf(t, n - 1, math.sqrt(n) * effect)
        return float(shifted * scipy.stats.norm.pdf(effect, scale=math.sqrt(PRIOR)))

    found, _ = scipy.integrate.quad(density, -8, 8, points=[0.0], limit=400)
    return float(found / scipy.stats.t.pdf(t, n - 1))


@pytest.mark.parametrize("n", [2, 5, 12, 40])
@pytest.mark.parametrize("null", [0.0, 0.02])
def test_the_e_value_is_the_likelihood_ratio_of_t_under_its_prior(n: int, null: float):
    values = np.random.default_rng(n).normal(0.03, 0.05, n)
    assert np.exp(log_e(values, null)[-1]) == pytest.approx(
        likelihood_ratio(values, null), rel=1e-4
    )


def test_the_interval_ends_where_the_e_value_reaches_its_bar():
    values = np.random.default_rng(0).normal(0.03, 0.05, 14)
    rounds = OverRounds(values)
    half = rounds._halves(0.05)[-1]
    for end in (rounds.mean - half, rounds.mean + half):
        assert log_e(values, end)[-1] == pytest.approx(math.log(20), rel=1e-6)


def test_what_is_known_only_tightens_and_p_agrees_with_the_ends():
    values = np.random.default_rng(1).normal(0.03, 0.05, 60)
    rounds = OverRounds(values)
    low, high = rounds.ends()
    assert (low[1:] >= low[:-1]).all()
    assert (high[1:] <= high[:-1]).all()
    assert ((low > 0) == (rounds.p_beyond(0.0, 1) <= 0.05)).all()
    assert ((high < 0.05) == (rounds.p_beyond(0.05, -1) <= 0.05)).all()
    assert (np.diff(rounds.p_beyond(0.0, 1)) <= 0).all()


def test_looking_at_fewer_rounds_is_looking_back():
    values = np.random.default_rng(2).normal(0.03, 0.05, 30)
    whole, part = OverRounds(values), OverRounds(values[:17])
    assert whole.ends()[0][16] == pytest.approx(part.ends()[0][-1])
    assert whole.p_beyond(0.0, 1)[16] == pytest.approx(part.p_beyond(0.0, 1)[-1])


def test_few_rounds_and_equal_rounds_have_no_interval():
    for values in ([0.3], [0.1, 0.4, 0.2], [0.25] * 9, [0.1, 0.1 + 1e-16, 0.1, 0.1, 0.1]):
        found = OverRounds(values).effect()
        assert not found.is_bounded
        assert found.tree()["low"] is found.tree()["high"] is None
    assert OverRounds([0.1, 0.12, 0.11, 0.13, 0.12]).effect().is_bounded


@pytest.mark.parametrize("mean", [0.0, 0.02])
def test_no_interval_of_a_whole_course_ever_leaves_the_truth_more_often_than_said(mean: float):
    draws = mean + 0.03 * np.random.default_rng(3).standard_normal((1500, 60))
    left = []
    for values in draws:
        low, high = OverRounds(values).ends()
        left.append(low[-1] > mean or high[-1] < mean)
    assert np.mean(left) <= 0.05
    assert np.mean(left) > 0.005, "not so wide that it says nothing"


def test_targets_are_students_t_once_their_rounds_are_many():
    """Of noise within targets nothing is left after 4,000 rounds."""
    rng, gains = np.random.default_rng(4), np.array([0.1, 0.02, 0.06, 0.03, -0.02])
    found = OverTargets(gains + 0.01 * rng.standard_normal((4000, 5)))
    want = scipy.stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    low, high = found._halves(0.05)[-1] * np.array([-1, 1]) + found.mean
    assert (low, high) == pytest.approx((want.low, want.high), abs=2e-3)
    assert found.noise_share < 0.01


def test_the_interval_of_a_difference_stays_where_differences_can_lie():
    found = OverRounds([0.9, -0.9, 0.8, -0.8, 0.9]).effect(bounds=(-1.0, 1.0))
    assert (found.low, found.high) == (-1.0, 1.0)


def test_the_interval_of_a_score_near_1_stays_below_1():
    values = np.random.default_rng(5).beta(9, 1, (500, 12))
    found = [score_effect(OverRounds(v).effect()) for v in values]
    assert all(e is not None and 0 < e.low <= e.mean <= e.high < 1 for e in found)
    assert np.mean([e is not None and e.low <= 0.9 <= e.high for e in found]) >= 0.95


def test_far_from_its_ends_a_score_has_the_plain_interval():
    plain = OverRounds(0.5 + 0.01 * np.random.default_rng(0).standard_normal(12)).effect()
    found = score_effect(plain)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=1e-3)


def test_perfect_scores_have_no_interval():
    found = score_effect(OverRounds([1.0] * 8).effect())
    assert found is not None
    assert not found.is_bounded


def test_holm_is_the_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_keeps_false_alarms_of_a_family_at_5_in_100():
    families = np.random.default_rng(7).uniform(size=(4000, 6))
    assert np.mean([min(holm(ps.tolist())) <= 0.05 for ps in families]) == pytest.approx(
        0.05, abs=0.01
    )


def test_midranks_are_those_of_scipy():
    values = np.asarray([3.0, 1.0, 3.0, 2.0, 3.0])
    assert midranks(values).tolist() == scipy.stats.rankdata(values).tolist()
    assert math.isclose(midranks(values).sum(), 15)
