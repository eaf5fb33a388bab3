"""Racing: when a trial is dropped, and what that is said to save."""

import numpy as np
import pytest
from scipy import stats

from citrus_ray.evidence.summary import summarise
from citrus_ray.search.racing import order, p_worse
from citrus_ray.spec import SpecError
from tests.evidence.test_summary import search_trial
from tests.small import sweep_of


@pytest.mark.parametrize("n", [2, 3, 8, 30])
def test_the_test_is_the_paired_one_sided_t_test(n):
    rng = np.random.default_rng(n)
    best, mine = rng.normal(0.7, 0.1, n), rng.normal(0.65, 0.1, n)
    assert p_worse(list(mine), list(best)) == pytest.approx(
        stats.ttest_rel(best, mine, alternative="greater").pvalue
    )


def test_equal_scores_are_no_reason_to_stop_and_the_same_gap_everywhere_is():
    assert p_worse([0.5, 0.7], [0.5, 0.7]) == 1.0
    assert p_worse([0.6, 0.8], [0.5, 0.7]) == 1.0
    assert p_worse([0.4, 0.6], [0.5, 0.7]) == 0.0


def test_a_trial_as_good_as_the_best_is_rarely_dropped_and_a_much_worse_one_soon():
    """Ten looks at alpha = 0.05 drop more than 1 in 20 of the equally good; here less than 1 in
    5."""
    rng = np.random.default_rng(0)

    def dropped_after(gap: float) -> int:
        member = rng.normal(0, 0.1, 12)  # members differ far more than trials
        best, mine = member + rng.normal(0, 0.02, 12), member + rng.normal(-gap, 0.02, 12)
        looks = (k for k in range(2, 12) if p_worse(list(mine[:k]), list(best[:k])) < 0.05)
        return next(looks, 12)

    equal, worse = ([dropped_after(gap) for _ in range(400)] for gap in (0.0, 0.1))
    assert np.mean([k < 12 for k in equal]) < 0.2
    assert np.mean(worse) < 4


def test_members_are_raced_in_one_order_for_all_trials_and_not_target_by_target():
    assert order(12, 0) == order(12, 0) != order(12, 1)
    assert sorted(order(12, 0)) == list(range(12))
    assert order(12, 0) != list(range(12))


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        ({"race": {"after": 3}}, "a trial has 3 members"),
        ({"race": {}, "asha": {}}, "take one of the two"),
    ],
)
def test_a_race_that_can_stop_nothing_is_refused(edits, says):
    with pytest.raises(SpecError, match=says):
        sweep_of(**edits)


def test_records_of_a_race_are_not_those_of_a_full_search():
    assert sweep_of(race={}).cells[0].digest != sweep_of().cells[0].digest


def test_what_was_left_out_is_priced_at_what_ran_and_a_pruned_trial_never_wins(tmp_path):
    sweep = sweep_of(race={})
    folder = tmp_path / "mine" / "records"
    search_trial(folder, sweep.cells[0], "full", [0.5, 0.5, 0.5], seconds=2.0)
    search_trial(folder, sweep.cells[0], "lucky", [0.9, 0.9], seconds=2.0, status="pruned")
    found = summarise(sweep, folder, 0.0)["cells"][0]
    assert found["val"] == 0.5
    assert (found["cost"]["members_saved"], found["cost"]["seconds_saved"]) == (1, 2.0)
