"""Ranks over targets, checked against the paper that the diagram comes from."""

from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.evidence.ranks import critical_difference, ranked, ranking
from tests.evidence.synthetic import MASKED, MadeUp


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_values_are_those_printed_by_demsar(k: int, q: float):
    """Demšar 2006, table 5(a)."""
    n = 14
    assert critical_difference(k, n) == pytest.approx(q * np.sqrt(k * (k + 1) / (6 * n)), abs=2e-3)


def test_demsars_example_of_four_methods_on_14_sets():
    """Its section 3.2.2: a critical difference of 1.25 at 0.05 for 4 methods and 14 sets."""
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.01)


def test_ranks_share_ties_and_put_the_best_first():
    scores = np.asarray([[0.5, 0.9, 0.9], [0.5, 0.9, 0.8], [0.5, 0.7, 0.6]])
    found = ranked(["a", "b", "c"], ["x", "y", "z"], scores)
    assert found.methods == ("b", "c", "a")
    assert found.ranks == pytest.approx((3.5 / 3, 5.5 / 3, 3.0))
    assert found.p == pytest.approx(scipy.stats.friedmanchisquare(*scores.T).pvalue)


def test_methods_within_the_critical_difference_are_joined_and_others_are_not():
    rng = np.random.default_rng(0)
    close = 0.5 + 0.01 * rng.standard_normal((20, 2))
    scores = np.concatenate([close, np.full((20, 1), 0.9)], axis=1)
    found = ranked(["a", "b", "best"], [str(i) for i in range(20)], scores)
    assert found.methods[0] == "best"
    assert found.cliques == [(1, 2)]


@pytest.mark.slow
def test_equal_methods_are_told_apart_5_times_in_100():
    rng = np.random.default_rng(1)
    wrong = [
        ranked("abcd", [str(i) for i in range(14)], rng.standard_normal((14, 4))).cliques
        != [(0, 3)]
        for _ in range(400)
    ]
    assert np.mean(wrong) <= 0.08


def test_arms_and_baselines_are_ranked_on_the_targets_that_all_have(tmp_path: Path):
    made = MadeUp(
        targets=("emgdb", "bonn", "mitbih"), baselines=("majority",), noise=0.01, n_final_seeds=4
    )
    found = ranking(read_evidence([made.write(tmp_path)]).cells)
    assert found is not None
    assert found.methods == ("masked", "from scratch", "baseline: majority")
    assert found.ranks == (1.0, 2.0, 3.0)
    assert found.targets == ("bonn", "emgdb", "mitbih")


def test_two_targets_are_not_ranked(tmp_path: Path):
    made = MadeUp(tasks=(None, MASKED), targets=("emgdb", "bonn"))
    assert ranking(read_evidence([made.write(tmp_path)]).cells) is None
