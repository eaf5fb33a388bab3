"""Copies in disguise are found, whatever was done to them, and nobody is taken for another."""

import numpy as np
import pytest

from citrus_ray.data.windowing import cache, disguises
from tests.data.disguises import NEAR, SAME, SFREQ, SIGNALS, pairs_in, recorded


@pytest.mark.parametrize("change", [*SAME, *NEAR])
@pytest.mark.parametrize("kind", SIGNALS)
def test_a_copy_in_disguise_is_known_and_no_one_else_is_taken_for_another(tmp_path, kind, change):
    rng = np.random.default_rng([len(kind), 5])
    people = [SIGNALS[kind](rng) for _ in range(6)]
    copy = (SAME | NEAR)[change](people[2], rng)
    found = pairs_in(recorded(tmp_path, people, copy, SFREQ))
    assert [*found] == [("copy", "p2")]
    how = found["copy", "p2"]
    assert how is None or how.is_same or change in NEAR


def test_what_is_the_same_at_many_lags_is_no_copy():
    """Two people on one mains, and two hearts that a pacemaker drives."""
    t = np.arange(4000) / 100
    pulse = np.exp(-(((np.arange(4000) % 80) / 3) ** 2))
    for wave in (np.sin(2 * np.pi * 12.5 * t), pulse):
        rng = np.random.default_rng(0)
        a, b = ((3 * wave + 0.05 * rng.normal(size=len(t)))[None, None] for _ in range(2))
        one, two = np.diff(a), np.diff(b)
        assert disguises._correlation(one, two, np.zeros(1)) == (0.0, 0.0)
        assert disguises._correlation(one, -one, np.zeros(1))[0] == pytest.approx(-1)


def test_one_jump_that_two_share_is_no_copy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1, 1, 800))
    jump = 60 * np.exp(-(((np.arange(800) - 400) / 3) ** 2))
    assert disguises._correlation(a + jump, b + jump, np.zeros(1)) == (0.0, 0.0)
    assert disguises._correlation(a + jump, a + jump, np.zeros(1))[0] == pytest.approx(1)


def test_what_everyone_has_is_compared_with_no_one():
    """A shape of many would make as many pairs as the square of them."""
    value = np.array([5] * 40 + [6, 7], np.uint64)
    i, j = disguises._pairs(value, value)
    assert set(value[i]) == set(value[j]) == {6, 7}


def test_nearly_the_same_is_a_caveat_of_the_set(tmp_path):
    rng = np.random.default_rng(3)
    people = [SIGNALS["brain"](rng) for _ in range(4)]
    noisy = people[1] + 0.1 * people[1].std(axis=1, keepdims=True) * rng.normal(
        size=people[1].shape
    )
    source = recorded(tmp_path, people, noisy, SFREQ)
    said = [caveat for caveat in cache.load(source).caveats if "nearly the same" in caveat]
    assert len(said) == 1
    assert said[0].startswith("1 pair of groups is nearly the same")
    assert "copy and p1 correlate by 0.9" in said[0]
    assert said[0] in cache.load(source).caveats
