"""docs/verdicts.md says what the code does: its YAML, its formula, its figures."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from citrus_ray.data.windowing.splits import FEWEST_TO_DRAW
from citrus_ray.evidence.intervals import half_widths, log_e, students
from citrus_ray.experiment.budgets import FRESH_SEED
from citrus_ray.experiment.hypotheses import Verdicts
from tests.small import sweep_of

TEXT = (Path(__file__).parents[2] / "docs" / "verdicts.md").read_text()


def test_its_yaml_is_a_sweeps():
    (block,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    sweep = sweep_of(**yaml.safe_load(block))
    assert sweep.decide is not None
    assert sweep.decide.rounds == 40
    assert len(sweep.cells) == 2
    assert sweep.judged_by == Verdicts(within=0.02)


def test_its_formula_is_the_one_that_is_computed():
    values, mu = np.random.default_rng(0).normal(0.03, 0.05, 9), 0.01
    n, m, s = len(values), values.mean(), values.std(ddof=1)
    t = np.sqrt(n) * (m - mu) / s
    e = (1 + n) ** (-1 / 2) * ((1 + t**2 / (n - 1)) / (1 + t**2 / ((n - 1) * (1 + n)))) ** (n / 2)
    assert np.exp(log_e(values, mu)[-1]) == pytest.approx(e)


def test_its_price_of_looking_is_right():
    n = np.array([3, 4, 6, 24])
    width = half_widths(n, 0.05) / [students(k - 1) / np.sqrt(k) for k in n]
    assert np.isinf(width[:2]).tolist() == [True, True]
    assert "at 6 rounds it is about twice as wide" in TEXT
    assert width[2] == pytest.approx(2, abs=0.2)
    assert "at 24 about 1.6 times" in TEXT
    assert width[3] == pytest.approx(1.6, abs=0.05)


def test_its_numbers_are_those_of_the_code():
    assert f"`seed` {FRESH_SEED} + the round's number" in TEXT
    assert f"where there are {FEWEST_TO_DRAW} or more" in TEXT
