"""Power that a plan prints: what its sweep would decide."""

import numpy as np
import pytest

from citrus_ray.cli import screen
from citrus_ray.evidence.intervals import OverRounds
from citrus_ray.evidence.power import simulated
from citrus_ray.experiment.hypotheses import Expected
from tests.evidence.test_stamps import CLAIM, record
from tests.small import sweep_of


def test_simulated_power_is_that_of_the_code_that_judges():
    expected, n = Expected(effect=0.03, sd=0.03), 15
    found = simulated(expected, n, 0.05, 0.02)
    rng = np.random.default_rng(0)
    ps = [OverRounds(rng.normal(0.03, 0.03, n)).p_beyond(0.0, 1) for _ in range(600)]
    first = [int(np.argmax(p <= 0.05)) + 1 if p[-1] <= 0.05 else n for p in ps]
    assert found.decided == pytest.approx(np.mean([p[-1] <= 0.05 for p in ps]), abs=0.06)
    assert found.rounds == pytest.approx(np.mean(first), abs=0.6)


def test_more_rounds_and_less_noise_decide_more():
    few, many = (simulated(Expected(effect=0.02, sd=0.03), n, 0.05, 0.02) for n in (10, 60))
    assert few.decided < 0.3 < 0.9 < many.decided
    assert few.equal < many.equal
    assert simulated(Expected(effect=0.02, sd=0.01), 10, 0.05, 0.02).decided > 0.9


def test_a_plan_says_what_a_claim_would_take_from_a_guess(tmp_path):
    claim = CLAIM | {"expects": {"effect": 0.05, "sd": 0.02}}
    sweep = sweep_of(claims=[claim], final={"rounds": 4}, decide={"rounds": 20})
    said = "\n".join(screen.power(sweep, tmp_path))
    assert "20 rounds at most" in said
    assert "a true difference of 0.05 is found in 100% of such sweeps" in said
    assert "guessed" in said
    assert "CANNOT" not in said


def test_a_sweep_that_cannot_decide_what_it_asks_is_told_so(tmp_path):
    claim = CLAIM | {"expects": {"effect": 0.02, "sd": 0.04}}
    said = "\n".join(screen.power(sweep_of(claims=[claim]), tmp_path))
    assert "THIS SWEEP CANNOT DECIDE IT: it would take about" in said


def test_earlier_rounds_of_the_same_places_come_before_a_guess(tmp_path):
    claim = CLAIM | {"expects": {"effect": 0.05, "sd": 9.0}}
    sweep = sweep_of(claims=[claim], final={"rounds": 8})
    record(sweep, tmp_path / "records")
    said = "\n".join(screen.power(sweep, tmp_path))
    assert "spread of 8 earlier rounds of these places" in said


def test_the_next_target_is_decided_by_targets(tmp_path):
    claim = CLAIM | {"speaks_of": "the next target", "expects": {"effect": 0.05, "sd": 0.02}}
    said = "\n".join(screen.power(sweep_of(claims=[claim]), tmp_path))
    assert "targets count" in said
