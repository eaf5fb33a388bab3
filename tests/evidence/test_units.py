"""What an interval counts: the highest of target, test people and seed that was varied."""

from pathlib import Path

import numpy as np
import pytest

from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.evidence.intervals import effect
from citrus_ray.evidence.units import Value, of_these_targets, units
from tests.evidence.synthetic import MadeUp


def test_seeds_on_the_same_people_are_counted_one_by_one():
    found = units([Value("bonn", "a", 0.1), Value("bonn", "a", 0.2)])
    assert (found.level, found.values, found.said) == ("seed", (0.1, 0.2), "2 seeds")


def test_several_test_parts_are_counted_and_their_seeds_are_not():
    found = units(
        [Value("bonn", part, value) for part, value in (("a", 0.0), ("a", 0.2), ("b", 0.4))]
    )
    assert (found.level, found.said) == ("test part", "2 test parts")
    assert found.values == pytest.approx((0.1, 0.4))


def test_every_target_weighs_the_same_and_every_part_within_it():
    places = [("bonn", "a", 0.0), ("bonn", "a", 0.0), ("bonn", "b", 0.4), ("har", "a", 1.0)]
    found = units([Value(*place) for place in places])
    assert (found.level, found.names) == ("target", ("bonn", "har"))
    assert found.values == pytest.approx((0.2, 1.0))


def test_targets_held_fixed_are_a_narrower_question_than_new_targets():
    rng = np.random.default_rng(0)
    found = [
        Value(str(t), "a", gain + 0.02 * rng.standard_normal())
        for t, gain in enumerate((0, 0.2))
        for _ in "12345"
    ]
    these, new = of_these_targets(found), effect(units(found).values)
    assert these is not None
    assert new is not None
    assert these.mean == pytest.approx(new.mean)
    assert these.high - these.low < (new.high - new.low) / 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "level"), [((8, 3, 4), "target"), ((6, 1, 8), "target"), ((1, 8, 4), "test part")]
)
def test_a_known_gain_is_covered_95_times_in_100_at_every_level(
    shape: tuple[int, int, int], level: str
):
    """Whole targets and whole parts go up and down together; counting seeds would cover half as
    often."""
    rng = np.random.default_rng(1)
    n_targets, n_parts, _ = shape
    hits = counted_seeds = 0
    for _ in range(2000):
        gains = 0.1 + 0.03 * rng.standard_normal((n_targets, 1, 1)) * (n_targets > 1)
        gains = gains + 0.03 * rng.standard_normal((n_targets, n_parts, 1)) * (n_parts > 1)
        gains = gains + 0.02 * rng.standard_normal(shape)
        found = units([Value(str(t), str(p), g) for (t, p, _), g in np.ndenumerate(gains)])
        assert found.level == level
        interval, naive = effect(found.values), effect(gains.ravel().tolist())
        assert interval is not None
        assert naive is not None
        hits += interval.low <= 0.1 <= interval.high
        counted_seeds += naive.low <= 0.1 <= naive.high
    assert hits / 2000 == pytest.approx(0.95, abs=0.015)
    assert counted_seeds / 2000 < 0.8


@pytest.mark.parametrize(("made", "level", "n"), [
    (MadeUp(), "seed", 12),
    (MadeUp(n_parts=3), "test part", 3),
    (MadeUp(targets=("emgdb", "bonn"), n_parts=3), "target", 2),
])  # fmt: skip
def test_a_gain_counts_the_highest_level_of_its_records(
    tmp_path: Path, made: MadeUp, level: str, n: int
):
    (gain,) = read_evidence([made.write(tmp_path)]).gains
    assert (gain.units.level, len(gain.units.values)) == (level, n)
    assert gain.effect.n == gain.test.n == n
    assert gain.cell.units.level == level
