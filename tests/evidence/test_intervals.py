"""Numbers are checked against scipy, against full enumeration, against printed tables, and by
simulation."""

import itertools
import math
from collections.abc import Iterable

import numpy as np
import pytest
import scipy.stats

from citrus_ray.evidence.intervals import (
    EXACT_UP_TO,
    Effect,
    effect,
    holm,
    midranks,
    score_effect,
    signed_rank,
    stratified,
)


@pytest.mark.parametrize("n", [2, 5, 12, 100])
def test_the_interval_is_the_t_interval_of_scipy(n: int):
    values = np.random.default_rng(n).normal(size=n).tolist()
    found = effect(values)
    want = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((want.low, want.high))


def test_one_value_has_no_interval_and_none_no_effect():
    found = effect([0.3])
    assert found is not None
    assert not found.is_bounded
    assert effect([]) is None


def covered(found: Iterable[Effect | None], truth: float) -> float:
    return float(np.mean([e is not None and e.low <= truth <= e.high for e in found]))


@pytest.mark.parametrize("n", [5, 6, 12])
def test_interval_covers_a_known_gain_95_times_in_100(n: int):
    draws = 0.1 + 0.05 * np.random.default_rng(n).standard_normal((2000, n))
    assert covered(map(effect, draws.tolist()), 0.1) == pytest.approx(0.95, abs=0.015)


def test_no_effect_is_taken_for_one_5_times_in_100():
    draws = np.random.default_rng(2).normal(0, 0.05, (2000, 12))
    wrong = np.mean([not e.low <= 0 <= e.high for e in map(effect, draws.tolist()) if e])
    assert wrong == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("n", [5, 12])
def test_the_interval_of_a_score_near_1_covers_it_and_stays_below_1(n: int):
    draws = np.random.default_rng(n).beta(9, 1, (2000, n)).tolist()
    found = [score_effect(values) for values in draws]
    assert covered(found, 0.9) == pytest.approx(0.95, abs=0.02)
    assert all(e is not None and 0 < e.low <= e.mean <= e.high < 1 for e in found)


def test_the_score_that_left_its_range_in_the_log_does_so_no_more():
    values = [0.99, 0.97, 0.51]  # a mean of 0.82 whose plain interval ends above 1
    plain, found = effect(values), score_effect(values)
    assert plain is not None
    assert found is not None
    assert plain.high > 1 > found.high


def test_far_from_its_ends_a_score_has_the_plain_interval():
    values = (0.5 + 0.01 * np.random.default_rng(0).standard_normal(12)).tolist()
    one, other = score_effect(values), effect(values)
    assert one is not None
    assert other is not None
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-4)


def test_perfect_scores_have_no_interval():
    found = score_effect([1.0] * 8)
    assert found is not None
    assert not found.is_bounded


def test_equal_values_have_no_spread_to_make_an_interval_from():
    for found in (effect([0.25] * 4), stratified([[0.25, 0.25], [0.5, 0.5]])):
        assert found is not None
        assert not found.is_bounded
        assert found.tree()["low"] is found.tree()["high"] is None


def test_the_interval_of_a_difference_stays_where_differences_can_lie():
    found = effect([0.9, -0.9, 0.8], (-1.0, 1.0))
    assert found is not None
    assert (found.low, found.high) == (-1.0, 1.0)


def test_targets_held_fixed_are_covered_with_unequal_spread():
    rng, truth = np.random.default_rng(3), (0.0, 0.1, 0.3)
    found = [
        stratified(
            [
                rng.normal(m, s, n).tolist()
                for m, s, n in zip(truth, (0.05, 0.1, 0.2), (5, 8, 12), strict=True)
            ]
        )
        for _ in range(2000)
    ]
    assert covered(found, sum(truth) / 3) == pytest.approx(0.95, abs=0.015)


def test_two_fixed_targets_are_welchs_test_of_scipy():
    rng = np.random.default_rng(5)
    one, other = rng.normal(0, 1, 6), rng.normal(1, 3, 9)
    found = stratified([one.tolist(), (-other).tolist()])  # half the difference of means
    want = scipy.stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert found is not None
    assert (2 * found.low, 2 * found.high) == pytest.approx((want.low, want.high))


@pytest.mark.parametrize("n", [2, 5, 12, 25])
def test_signed_rank_is_the_exact_test_of_scipy(n: int):
    d = np.random.default_rng(n).normal(0.3, 1, n)
    assert signed_rank(d.tolist()).p == pytest.approx(
        scipy.stats.wilcoxon(d, method="exact").pvalue
    )


@pytest.mark.parametrize(
    "d", [[1, 1, -1, 2, 3], [0, 0, 1, 2, -2, 4], [0.5, -0.5, 0.5, 0.5, 0, 1, 1]]
)
def test_ties_and_zeros_agree_with_every_sign_pattern_counted(d: list[float]):
    sizes = np.abs(np.asarray(d, dtype=float))
    ranks = scipy.stats.rankdata(sizes)[sizes > 0]
    sums = [
        sum(r for r, up in zip(ranks, signs, strict=True) if up)
        for signs in itertools.product((0, 1), repeat=len(ranks))
    ]
    seen = sum(r for r, x in zip(ranks, [x for x in d if x], strict=True) if x > 0)
    one_sided = min(np.mean(np.asarray(sums) <= seen), np.mean(np.asarray(sums) >= seen))
    assert signed_rank(d).p == pytest.approx(min(1.0, 2 * one_sided))


def test_signed_rank_agrees_with_the_printed_table():
    """Critical value 8 for ten pairs at 0.05 two-sided: rank sum 8 is significant, 9 is not
    (Wilcoxon 1945)."""
    below, at = [1, 7], [2, 7]
    ps = [
        signed_rank([-r if r in negative else r for r in range(1, 11)]).p
        for negative in (below, at)
    ]
    assert ps[0] <= 0.05 < ps[1]


def test_rounding_errors_of_equal_scores_break_no_tie():
    exact = [0.1, 0.1, -0.1, 0.2]
    rounded = [0.1, 0.1 + 1e-16, -(0.3 - 0.2), 0.2 + 3e-17]
    assert signed_rank(rounded).p == signed_rank(exact).p


@pytest.mark.parametrize("n", [1, 5, 12])
def test_no_pairs_of_one_sign_go_below_the_floor(n: int):
    found = signed_rank([0.1 * i for i in range(1, n + 1)])
    assert found.p == pytest.approx(found.floor) == pytest.approx(2 / 2**n)


def test_all_differences_zero_is_no_evidence():
    assert signed_rank([0.0, 0.0]).p == 1.0


def test_the_normal_approximation_of_large_samples_meets_the_exact_test():
    d = np.random.default_rng(3).normal(0.1, 1, EXACT_UP_TO + 1)
    exact, approximate = signed_rank(d[:-1].tolist()), signed_rank(d.tolist())
    assert exact.exact
    assert not approximate.exact
    want = scipy.stats.wilcoxon(d, method="approx", correction=False).pvalue
    assert approximate.p == pytest.approx(want, rel=1e-6)


def test_false_alarms_stay_below_5_in_100_when_nothing_is_gained():
    rng = np.random.default_rng(5)
    coarse = np.round(
        rng.normal(0, 0.05, (2000, 12)), 2
    )  # as scores of a small test set: ties and zeros
    assert np.mean([signed_rank(d.tolist()).p <= 0.05 for d in coarse]) <= 0.06


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
