"""Shorter training as a number: rounds and seconds until validation data reach a level."""

from pathlib import Path
from typing import Any

import pytest

from citrus_ray import records
from citrus_ray.evidence.summary import summarise
from citrus_ray.evidence.tables import table
from citrus_ray.evidence.verdicts import cost_to
from citrus_ray.experiment.hypotheses import Hypothesis
from citrus_ray.experiment.sweep import Cell
from citrus_ray.spec import SpecError, validate
from citrus_ray.training.members import Population
from tests.small import PRETRAINED, SCRATCH, record_of, sweep_of

TEST = "test/balanced_accuracy"
CURVE = [(0.5, 2.0), (0.7, 4.0), (0.6, 6.0), (0.9, 8.0)]
CLAIM = {
    "says": "pre-trained gets to 0.7 sooner",
    "better": {"pretrain.task": {"kind": "masked"}},
    "worse": {"pretrain.task": None},
    "level": 0.7,
}


@pytest.mark.parametrize(
    ("level", "rounds", "seconds"), [(0.4, 1, 2.0), (0.7, 2, 4.0), (0.71, 4, 8.0), (0.95, 5, 10.0)]
)
def test_the_cost_of_a_level_is_the_first_round_that_has_it_or_one_more_than_there_were(
    level, rounds, seconds
):
    assert cost_to(CURVE, "rounds", level) == rounds
    assert cost_to(CURVE, "seconds", level) == pytest.approx(seconds)


def recorded(folder: Path, cell: Cell, rounds: list[int]) -> None:
    """Finals that reach 0.8 after so many rounds of ten seconds."""
    rows = []
    for seed, reached in enumerate(rounds):
        curve = [(0.8 if n >= reached else 0.5, 10.0 * n) for n in range(1, 7)]
        fields: dict[str, Any] = {"trial": f"final{cell.index}", "params": {}, "curve": curve}
        rows.append(
            record_of(cell, {"seed": 1000 + seed}, {TEST: 0.8}, **fields | {"seed": 1000 + seed})
        )
    records.write(folder, f"final{cell.index}", rows)
    search = record_of(
        cell, {"seed": 0}, {"val/balanced_accuracy": 0.8}, phase="search", trial=f"s{cell.index}"
    )
    records.write(folder, f"s{cell.index}", [search])


@pytest.mark.parametrize(("measure", "unit"), [("rounds", 1.0), ("seconds", 10.0)])
def test_a_claim_of_speed_is_judged_by_what_is_saved(tmp_path, measure, unit):
    edits: dict[str, Any] = {"trial.finetune.validation": "full", "final": {"rounds": 6}}
    sweep = sweep_of(claims=[CLAIM | {"measure": measure}], **edits)
    scratch, masked = sweep.cells
    recorded(tmp_path, scratch, [5, 4, 5, 6, 5, 6])
    recorded(tmp_path, masked, [2, 2, 1, 3, 2, 2])
    found = summarise(sweep, tmp_path, 1.0)
    (claim,) = found["claims"]
    assert claim["effect"] == pytest.approx(19 / 6 * unit)
    assert claim["low"] > 0
    assert claim["verdict"] == "supported"
    assert f"{measure} saved" in table(found)


@pytest.mark.parametrize("claim", [CLAIM, CLAIM | {"measure": "rounds", "level": None}])
def test_a_level_goes_with_speed_and_speed_with_a_level(claim):
    with pytest.raises(SpecError, match="rounds and seconds need a level"):
        validate(Hypothesis, claim)


@pytest.mark.parametrize("validation", ["labels", "none"])
def test_a_claim_of_speed_needs_curves_of_validation_data(validation):
    edits: dict[str, Any] = {"trial.finetune.validation": validation, "search": {}}
    sweep_of(**edits)
    with pytest.raises(SpecError, match=r"measure=rounds: .* give `finetune.validation: full`"):
        sweep_of(**edits, claims=[CLAIM | {"measure": "rounds"}])


@pytest.mark.slow
def test_every_member_keeps_its_own_curve():
    population = Population(
        [SCRATCH, PRETRAINED.at({"seed": 1})], [None, None], "val/balanced_accuracy"
    )
    while population.advance() is not None:
        pass
    for state in population.states:
        assert [value for value, _ in state.curve] == [
            row["val/balanced_accuracy"] for row in state.history
        ]
        seconds = [at for _, at in state.curve]
        assert seconds == sorted(seconds)
        assert 0 < seconds[-1] <= state.seconds + 0.01
