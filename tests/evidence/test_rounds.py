"""Rounds: which of them count, what they may say, of whom, and what it would take."""

from pathlib import Path

import numpy as np
import pytest

from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.evidence.intervals import Floats, holm
from citrus_ray.evidence.rounds import (
    Finding,
    Measured,
    Value,
    corrected,
    finding,
    measured,
    rounds_to,
    somewhere,
)
from citrus_ray.experiment.hypotheses import SpeaksOf
from tests.evidence.synthetic import MadeUp


def made(values: Floats) -> Measured:
    """(targets, rounds) of one place each."""
    found = measured(Value(str(t), "", r, float(v)) for (t, r), v in np.ndenumerate(values))
    assert found is not None
    return found


def told(values: Floats, speaks_of: SpeaksOf = "these targets", within: float = 0.02) -> Finding:
    found = finding(made(values), speaks_of, within=within)
    assert found is not None
    return corrected([found])[0]


def test_a_round_is_one_number_the_mean_over_its_places():
    values = [("bonn", "3", 0.1), ("bonn", "20", 0.3), ("har", "3", 0.6)]
    found = measured(Value(t, p, r, v + r) for t, p, v in values for r in (0, 1))
    assert found is not None
    assert found.targets == ("bonn", "har")
    assert found.values == pytest.approx((0.4, 1.4)), "every target weighs the same"


def test_a_round_that_a_place_lacks_is_left_out_everywhere():
    values = [Value("bonn", p, r, r + (p == "b")) for p in "ab" for r in range(4)]
    found = measured(v for v in values if (v.place, v.round) != ("a", 2))
    assert found is not None
    assert (found.numbers, found.n_incomplete) == ((0, 1, 3), 1)
    assert found.values == pytest.approx((0.5, 1.5, 3.5))
    assert measured([Value("bonn", "a", 0, 0.1), Value("bonn", "b", 1, 0.1)]) is None


def test_equal_p_values_of_a_family_are_corrected_alike():
    pair = [told(np.array([[0.1, 0.12, 0.11]]))] * 2
    assert [one.factor for one in corrected(pair)] == [2, 2]


def test_what_places_share_within_a_round_makes_nothing_surer():
    """One encoder's luck in ten places is one round's luck."""
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 0.03, 12)
    values = [Value("t", str(p), r, float(luck[r])) for p in range(10) for r in range(12)]
    ten, one = measured(values), measured(v for v in values if v.place == "0")
    assert ten is not None
    assert one is not None
    assert ten.these.effect() == one.these.effect()


@pytest.mark.parametrize(
    ("mean", "verdict"), [(0.1, "supported"), (-0.1, "contradicted"), (0.0, "equivalent")]
)
def test_rounds_of_little_noise_decide_each_way(mean: float, verdict: str):
    values = mean + 0.01 * np.random.default_rng(1).standard_normal((3, 40))
    found = told(values)
    assert found.verdict == verdict
    assert found.decided_after is not None
    assert found.decided_after < 40
    assert told(values[:, : found.decided_after]).verdict == verdict
    assert told(values[:, : found.decided_after - 1]).verdict == "undecided"


def test_a_gain_that_is_there_and_too_small_to_matter_is_both():
    found = told(0.008 + 0.004 * np.random.default_rng(2).standard_normal((1, 60)))
    assert found.verdict == "supported"
    assert found.is_small


def test_the_next_target_is_asked_of_targets_and_one_says_nothing_of_it():
    rng = np.random.default_rng(3)
    gains = np.array([0.1, 0.0, 0.12, -0.02])[:, None] + 0.01 * rng.standard_normal((4, 30))
    these, of_next = told(gains), told(gains, "the next target")
    assert these.effect.mean == pytest.approx(of_next.effect.mean)
    assert (these.verdict, of_next.verdict) == ("supported", "undecided")
    assert (these.counts, of_next.counts) == ("30 rounds", "4 targets")
    assert of_next.effect.low < 0 < these.effect.low
    assert "targets like these; more rounds buy nothing" in of_next.takes
    assert finding(made(gains[:1]), "the next target") is None


def test_the_next_target_is_never_surer_than_these():
    """Few targets that agree by chance, while their rounds are still noise."""
    rng = np.random.default_rng(4)
    for _ in range(50):
        values = rng.normal(0.02, 0.04, (3, 8))
        one, other = told(values).effect, told(values, "the next target").effect
        assert other.low <= one.low
        assert one.high <= other.high


def test_few_rounds_say_nothing_of_the_next_target_however_alike_the_targets():
    values = 0.1 + 0.001 * np.random.default_rng(11).standard_normal((30, 3))
    assert not told(values, "the next target").effect.is_bounded


def test_in_a_family_a_verdict_comes_later():
    rng = np.random.default_rng(12)
    one, other = (told(rng.normal(0.03, 0.03, (1, 60))) for _ in range(2))
    family = corrected([one, other])
    later = min((found for found in family), key=lambda found: found.p)
    alone = min((one, other), key=lambda found: found.p)
    assert later.decided_after is not None
    assert alone.decided_after is not None
    assert later.decided_after > alone.decided_after


def test_what_it_would_take_is_what_it_takes():
    values = 0.02 + 0.03 * np.random.default_rng(5).standard_normal((1, 8))
    looks = made(values).these
    assert told(values).verdict == "undecided"
    n = rounds_to(looks.mean, looks.sd, 0.05, 0.02)
    assert n is not None
    assert told(values).takes == f"about {n} rounds"
    # the same mean and spread over so many rounds
    again = looks.mean + looks.sd * np.sqrt((n - 1) / n) * np.resize([1.0, -1.0], n + n % 2)
    assert told(again[None]).verdict != "undecided"
    assert told(again[None, : n // 2 * 2 - 4]).verdict == "undecided"


def test_equal_rounds_decide_nothing():
    found = told(np.full((1, 10), 0.1))
    assert (found.verdict, found.effect.is_bounded) == ("undecided", False)
    assert "no spread" in found.takes


def test_a_family_is_corrected_as_holm_does():
    rng = np.random.default_rng(9)
    alone = [told(rng.normal(m, 0.03, (1, 20))) for m in (0.024, 0.03, 0.0, 0.05)]
    family = corrected(alone)
    assert [one.p_holm for one in family] == holm([one.p for one in alone])
    assert {one.n_family for one in family} == {4}
    lost = [a.verdict != b.verdict for a, b in zip(alone, family, strict=True)]
    assert any(lost), "one of them is significant alone, and not among four"


def test_somewhere_pays_for_looking_everywhere():
    rng = np.random.default_rng(10)
    places = [rng.normal(m, 0.03, (1, 12)) for m in (0.032, 0.0, 0.0)]
    found = somewhere([told(values) for values in places])
    assert found.p_up[-1] == pytest.approx(min(1.0, 3 * told(places[0]).p_up[-1]))
    assert told(places[0]).verdict == "supported"
    assert corrected([found])[0].verdict == "undecided"


@pytest.mark.parametrize(
    ("made", "n"), [(MadeUp(), 1), (MadeUp(targets=("emgdb", "bonn"), n_parts=3), 2)]
)
def test_a_gain_counts_rounds_and_beside_them_targets(tmp_path: Path, made: MadeUp, n: int):
    (gain,) = read_evidence([made.write(tmp_path)]).gains
    assert gain.found.counts == "12 rounds"
    assert (gain.next.counts if gain.next else None) == (f"{n} targets" if n > 1 else None)
    assert gain.cell.test is not None
    assert gain.cell.test.n == 12


# ---- errors, by simulation: `python -m tests.bench verdicts` does this at length ----


def false_verdicts(draw: str, speaks_of: SpeaksOf) -> float:
    """Share of sweeps with no true effect that say one, looked at after each of 40 rounds."""
    rng, n, wrong = np.random.default_rng(8), 400, 0
    for _ in range(n):
        values = rng.normal(0, 0.04, (5, 40))
        values += rng.normal(0, 0.03, (5, 1)) if draw == "targets" else 0
        values += rng.normal(0, 0.02, (1, 40)) if draw == "encoders" else 0
        found = told(values, speaks_of, within=1e-9)
        wrong += found.verdict != "undecided"
    return wrong / n


@pytest.mark.parametrize(
    ("draw", "speaks_of"),
    [
        ("noise", "these targets"),
        ("encoders", "these targets"),
        ("noise", "the next target"),
        pytest.param("targets", "the next target", marks=pytest.mark.slow),
    ],
)
def test_a_look_after_every_round_finds_nothing_where_nothing_is(draw: str, speaks_of: SpeaksOf):
    """5 % are allowed; 34 of 400 would be a chance of one in a thousand."""
    assert false_verdicts(draw, speaks_of) < 34 / 400
