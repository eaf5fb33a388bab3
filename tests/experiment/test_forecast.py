"""What is left of a sweep, in seconds."""

import time
from typing import Any

import pytest

from citrus_ray.experiment.forecast import Forecast, Left, in_words, planned, workers
from citrus_ray.experiment.prices import Prices, encoders_of
from citrus_ray.experiment.step_times import StepTimes
from tests.small import SWEEP, sweep_of

FOUR: dict[str, Any] = {
    "compare": {
        "finetune.pool": ["mean", "channels"],
        "finetune.labels": [{"per_class": 4}, {"per_class": 5}],
    },
    "search": {},
}


def forecast_of(**edits: Any) -> Forecast:
    found = Forecast(sweep_of(**edits))
    found.note_beside(0.0)
    return found


def test_nothing_known_is_no_guess():
    assert Forecast(sweep_of()).seconds(Left({(0, "search"): 4}), 2) is None


def test_what_is_left_is_spread_over_workers_at_the_price_of_its_kind():
    found = forecast_of()
    found.learn((0, "search"), 6.0)  # three members
    found.learn((0, "final"), 10.0)
    assert found.seconds(Left({(0, "search"): 4, (0, "final"): 2}), 1) == pytest.approx(44)
    assert found.seconds(Left({(0, "search"): 4, (0, "final"): 2}), 2) == pytest.approx(22)
    # rounds wait for the search, however many workers there are
    assert found.seconds(Left({(0, "search"): 4, (0, "final"): 2}), 99) == pytest.approx(16)


def test_one_that_met_a_cold_machine_does_not_count():
    found = forecast_of()
    for seconds in (30.0, 3.0, 3.0):
        found.learn((0, "search"), seconds)
    assert found.seconds(Left({(0, "search"): 10}), 1) == pytest.approx(30)


def test_jobs_of_another_time_say_nothing_of_how_busy_the_machine_is():
    """Records are read cell by cell, the later rounds of each on a busier machine."""
    found = forecast_of(**FOUR)
    for cell in range(4):
        for seconds in (1.0, 3.0, 3.0, 3.0) * 20:
            found.recall((cell, "final"), seconds)
    assert found.seconds(Left({(0, "final"): 10}), 1) == pytest.approx(30)


def test_what_runs_is_left_only_in_part():
    found = forecast_of()
    found.learn((0, "search"), 10.0)
    began = time.monotonic() - 4
    left = Left({(0, "search"): 1}, running=[((0, "search"), began)])
    assert found.seconds(left, 1) == pytest.approx(6, abs=0.1)
    late = Left({(0, "search"): 1}, running=[((0, "search"), began - 100)])
    assert found.seconds(late, 1) == pytest.approx(0, abs=0.1)


def test_a_cell_that_was_not_seen_costs_what_its_axes_cost_elsewhere():
    found = forecast_of(**FOUR)
    found.members = {(i, "search"): 1.0 for i in range(4)}
    # pool costs three times as much, labels twice: cells 0 to 2 are seen, 3 is both
    for i, seconds in enumerate((1.0, 2.0, 3.0)):
        found.learn((i, "search"), 3 * seconds)
    guess = found.seconds(Left({(3, "search"): 1}), 1)
    assert guess is not None
    assert 3 * 3 < guess < 3 * 6.5
    seen = found.seconds(Left({(2, "search"): 1}), 1)
    assert seen == pytest.approx(9)


def test_rounds_are_as_much_dearer_as_was_expected_before_one_was_seen():
    found = forecast_of()
    found.members = {(0, "search"): 1.0, (0, "final"): 5.0}
    found.learn((0, "search"), 6.0)
    assert found.seconds(Left({(0, "final"): 1}), 1) == pytest.approx(10, rel=0.1)


def test_a_search_that_its_hours_end_costs_no_more_than_these():
    found = forecast_of()
    found.learn((0, "search"), 100.0)
    left = Left({(0, "search"): 50}, search_s=60.0)
    assert found.seconds(left, 2) == pytest.approx(2500)  # one cell alone: nothing is known of it


def test_encoders_are_counted_once_for_cells_that_share_them():
    shared = {
        "pretrain.task": [None, {"kind": "masked"}],
        "finetune.labels": [{"per_class": 4}, {"per_class": 5}],
    }
    (group,) = encoders_of(sweep_of(SWEEP, compare=shared))
    assert (len(group.cells), group.n, group.is_searched) == (2, 2 + 5, True)
    jobs: dict[Any, int] = {(cell.index, "search"): 4 for cell in group.cells}
    jobs |= {(cell.index, "final"): 5 for cell in group.cells}
    assert group.left(0, jobs) == 7
    assert group.left(3, jobs) == 4
    assert group.left(0, {(group.cells[0].index, "final"): 2}) == 2
    assert group.left(0, {}) == 0


def test_encoders_that_no_search_reaches_are_known_by_name():
    plain = {"finetune.optim.lr": {"loguniform": [1e-3, 1e-2]}}
    (group,) = encoders_of(sweep_of(SWEEP, search=plain))
    assert len(group.digests()) == group.n == 1 + 5


def test_an_encoder_costs_what_others_took():
    tasks = {"pretrain.task": [{"kind": "masked"}, {"kind": "masked", "span": 3}]}
    sweep = sweep_of(SWEEP, compare=tasks)
    found = Forecast(sweep)
    found.groups, found.encoders = encoders_of(sweep), [2.0, 4.0]
    found.make(0, 6.0)
    assert found.seconds(Left({}, [0, 5]), 1) == pytest.approx(5 * 12)
    found.make(1, 7.0)
    assert found.seconds(Left({}, [0, 5]), 1) == pytest.approx(5 * 7)


class Counted(StepTimes):
    """A second for a step, ten for a look."""

    def pretraining(self, *of: object) -> float:
        return 1.0

    def finetune(self, *of: object) -> float:
        return 1.0

    def look(self, *of: object) -> float:
        return 10.0


def test_a_plan_has_all_trials_rounds_and_encoders():
    sweep = sweep_of()
    prices = Prices(sweep, Counted())
    left = planned(sweep, prices)
    assert (sum(left.jobs.values()), left.encoders) == (2 * (4 + 5), [2 + 5])
    scratch = sweep.cells[0]
    assert prices.member(scratch, "search") == 8 + 4 * 10
    assert prices.training(scratch, "final") == 8
    assert prices.scoring(scratch) > prices.scoring(sweep.cells[1]) > 10, (
        "from scratch with its baselines"
    )
    found = Forecast(sweep)
    found.expect(prices)
    assert found.seconds(left, 2) == pytest.approx((found.seconds(left, 1) or 0) / 2)


def test_a_time_that_nobody_measured_is_guessed_and_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("CITRUS_CACHE", str(tmp_path / "cache"))
    sweep = sweep_of()
    prices = Prices(sweep, StepTimes(measures=False))
    assert 0 < prices.member(sweep.cells[0], "search") < 10
    assert not (tmp_path / "cache" / "timings").exists()


def test_workers_are_no_more_than_the_spec_allows():
    assert workers(sweep_of(concurrency=1)) == 1
    assert workers(sweep_of()) >= 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(42.4, "42 s"), (190, "3 min"), (7500, "2.1 h"), (0, "0 s")]
)
def test_a_time_is_said_in_words(seconds, text):
    assert in_words(seconds) == text
