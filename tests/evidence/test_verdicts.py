"""Claims: which cells they compare, what they find, and what they refuse."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray.evidence.design import design_of
from citrus_ray.evidence.outcomes import Outcome, nothing_of
from citrus_ray.evidence.verdicts import judge, lines
from citrus_ray.experiment.hypotheses import matches
from citrus_ray.experiment.sweep import Cell, Sweep
from citrus_ray.records import Record
from citrus_ray.spec import SpecError
from tests.small import record_of, sweep_of

TARGETS = [{"per_class": 2}, {"per_class": 4}]  # stands for anything that a claim does not speak of
COMPARE = {
    "finetune.labels": TARGETS,
    "model.dim": [8, 16],
    "pretrain.task": [None, {"kind": "masked", "span": 3}],
}
METRIC = "test/balanced_accuracy"
WIDE = {"says": "wider is better", "better": {"model.dim": 16}, "worse": {"model.dim": 8}}


def sweep_with(*claims: dict[str, Any]) -> Sweep:
    return sweep_of(compare=COMPARE, claims=list(claims))


def score_of(
    cell: Cell, seed: int, wide: float = 0.0, masked: float = 0.0, both: float = 0.0
) -> float:
    """A score with known effects, and a spread over seeds that both sides share."""
    is_wide, is_masked = cell.axes["model.dim"] == 16, cell.axes["pretrain.task"] is not None
    return (
        0.5
        + 0.05 * seed
        + float(is_wide * wide + is_masked * masked + (is_wide and is_masked) * both)
    )


def finals(sweep: Sweep, noise: float = 0.01, **effects: float) -> dict[str, list[Record]]:
    rng = np.random.default_rng(0)
    return {
        cell.digest: [
            record_of(
                cell,
                {"seed": 1000 + s},
                {METRIC: score_of(cell, s, **effects) + noise * rng.normal()},
            )
            for s in range(8)
        ]
        for cell in sweep.cells
    }


def judged(sweep: Sweep, rows: dict[str, list[Record]]) -> list[dict[str, Any]]:
    """The claims of a sweep whose winners' refits are these rows."""
    design = design_of(sweep, Path("results/small"))
    cells: list[Outcome] = [
        replace(
            nothing_of(cell.digest, cell.axes, design),
            final=tuple(rows[cell.digest]),
            rows=tuple(rows[cell.digest]),
        )
        for cell in sweep.cells
    ]
    return [found.tree() for found in judge(sweep.claims, cells, design)]


def one(claim: dict[str, Any], noise: float = 0.01, **effects: float) -> dict[str, Any]:
    sweep = sweep_with(claim)
    (found,) = judged(sweep, finals(sweep, noise, **effects))
    return found


def test_an_effect_is_found_and_supported_and_its_opposite_contradicted():
    found = one(WIDE, wide=0.1)
    assert found["effect"] == pytest.approx(0.1, abs=0.02)
    assert found["low"] < found["effect"] < found["high"]
    assert found["verdict"] == "supported"
    assert (found["n"], found["counts"], found["speaks_of"]) == (8, "round", "these targets")
    assert found["places_up"] == len(found["places"]) == 4
    assert one(WIDE, wide=-0.1)["verdict"] == "contradicted"
    assert one(WIDE, noise=0.1)["verdict"] == "undecided"
    assert one(WIDE, noise=0.005)["verdict"] == "equivalent"


def test_pairs_share_everything_else():
    """Seeds move both sides by more than the effect: unpaired it would be lost."""
    assert one(WIDE, noise=0.002, wide=0.01)["verdict"] == "supported"


def test_a_claim_can_be_about_some_values_alone():
    found = one(WIDE | {"where": {"pretrain.task": [{"kind": "masked"}]}}, both=0.1)
    assert found["effect"] == pytest.approx(0.1, abs=0.02)
    assert len(found["places"]) == 2
    scratch = one(WIDE | {"where": {"pretrain.task": [None]}}, both=0.1)
    assert scratch["effect"] == pytest.approx(0.0, abs=0.02)


def test_gains_are_compared_beyond_scores():
    """Wider is better by 0.3 whatever the pre-training, which adds 0.1 more to the wide one."""
    gain = one(WIDE | {"measure": "gain"}, wide=0.3, masked=0.05, both=0.1)
    assert gain["effect"] == pytest.approx(0.1, abs=0.03)
    assert len(gain["places"]) == 2
    assert one(WIDE, wide=0.3, masked=0.05, both=0.1)["effect"] > 0.3


def test_somewhere_asks_for_one_place_and_pays_for_looking_at_many():
    sweep = sweep_with(WIDE | {"holds": "somewhere"})
    rows = finals(sweep)
    lucky = next(c for c in sweep.cells if c.axes["model.dim"] == 16)
    rows[lucky.digest] = [
        record_of(lucky, r.repeat, {METRIC: r.metrics[METRIC] + 0.1}) for r in rows[lucky.digest]
    ]
    (found,) = judged(sweep, rows)
    assert found["verdict"] == "supported"
    assert found["effect"] == pytest.approx(0.1, abs=0.02)
    assert found["n"] == 8
    wide = {place["place"]: place["high"] - place["low"] for place in found["places"]}
    (on_average,) = judged(sweep_with(WIDE), rows)
    narrow = {place["place"]: place["high"] - place["low"] for place in on_average["places"]}
    assert all(wide[place] > narrow[place] for place in narrow)


def test_failed_members_leave_their_pair_and_too_few_decide_nothing():
    sweep = sweep_with(WIDE)
    rows = finals(sweep, wide=0.1)
    cell = sweep.cells[0]
    rows[cell.digest] = [
        record_of(cell, row.repeat, {}, status="failed", reason="x") if i < 6 else row
        for i, row in enumerate(rows[cell.digest])
    ]
    (found,) = judged(sweep, rows)
    assert found["n"] == 2, "rounds that every place has"
    assert found["low"] is None
    assert found["verdict"] == "undecided"
    (nothing,) = judged(sweep, {cell.digest: [] for cell in sweep.cells})
    assert nothing["effect"] is None
    assert "undecided" in "\n".join(lines([nothing]))


def test_a_difference_too_small_to_matter_says_so():
    found = one(WIDE | {"within": 0.3}, wide=0.1)
    assert found["verdict"] == "supported"
    assert "supported, though smaller than 0.3, after" in "\n".join(lines([found]))
    assert "though" not in "\n".join(lines([one(WIDE, wide=0.1)]))


def test_equal_differences_decide_nothing():
    found = one(WIDE, noise=0.0, wide=0.25)
    assert (found["effect"], found["low"], found["verdict"]) == (
        pytest.approx(0.25),
        None,
        "undecided",
    )
    assert "no spread" in found["why"]


def test_a_block_matches_by_the_keys_that_are_given():
    assert matches({"kind": "masked"}, {"kind": "masked", "ratio": 0.3})
    assert not matches({"kind": "masked", "span": 2}, {"kind": "masked"})
    assert not matches({"kind": "masked"}, None)
    assert matches(None, None)
    assert matches({"conv": {"dim": 8}}, {"conv": {"dim": 8, "depth": 1}, "kind": "citrus"})


def test_the_last_screen_says_claim_effect_interval_and_verdict():
    text = "\n".join(lines([one(WIDE, wide=0.1)]))
    assert "claim: wider is better" in text
    assert "supported after 5 rounds: difference +0.099 [+0.087, +0.111]" in text
    assert "for these targets: 8 rounds (mean of 4 places; up in 4 of 4)" in text


@pytest.mark.parametrize(
    ("claim", "rule"),
    [
        (
            WIDE | {"worse": {"model.dim": 32}},
            'claims[0].worse: {"model.dim": 32}: no compared cell is so',
        ),
        (
            WIDE | {"better": {"model.depth": 2}},
            "`compare` has finetune.labels, model.dim, pretrain.task",
        ),
        (WIDE | {"worse": {"model.dim": 16}}, "name two sides that differ"),
        (WIDE | {"where": {"finetune.labels": [{"per_class": 9}]}}, "no compared cell is so"),
    ],
)
def test_a_claim_without_two_sides_is_refused(claim, rule):
    with pytest.raises(SpecError) as caught:
        _ = sweep_with(claim).cells
    assert rule in str(caught.value)


def test_claims_change_no_digest():
    assert sweep_with(WIDE).digest() == sweep_with().digest()


def test_from_scratch_one_cell_stands_for_all_values_of_the_pretraining():
    compare = {"pretrain.task": [None, {"kind": "masked"}], "pretrain.epochs": [1, 2]}
    more = {
        "says": "longer is better",
        "better": {"pretrain.epochs": 2},
        "worse": {"pretrain.epochs": 1},
    }
    task = ({"pretrain.task": {"kind": "masked"}}, {"pretrain.task": None})
    any_ = {"says": "masked is better", "better": task[0], "worse": task[1]}
    sweep = sweep_of(compare=compare, claims=[more, any_])
    assert [cell.axes for cell in sweep.cells] == [
        {"pretrain.task": None},
        {"pretrain.task": {"kind": "masked"}, "pretrain.epochs": 1},
        {"pretrain.task": {"kind": "masked"}, "pretrain.epochs": 2},
    ]

    def score(cell: Cell, seed: int) -> float:
        return 0.5 + 0.1 * int(cell.axes.get("pretrain.epochs", 0)) + 0.01 * seed * cell.index

    rows = {
        c.digest: [record_of(c, {"seed": s}, {METRIC: score(c, s)}) for s in range(3)]
        for c in sweep.cells
    }
    longer, masked = judged(sweep, rows)
    assert longer["effect"] == pytest.approx(0.11)
    assert longer["n"] == 3
    assert masked["n"] == 3
    assert len(masked["places"]) == 2
    assert masked["effect"] == pytest.approx(0.165)


def rows_of(cell: Cell, scores: dict[tuple[Any, int], float], path: str) -> list[Record]:
    """A refit that repeats what stands at `path` beside the seed; a path of None repeats the
    seed alone."""
    return [
        record_of(
            cell, ({path: value} if value is not None else {}) | {"seed": seed}, {METRIC: score}
        )
        for (value, seed), score in scores.items()
    ]


def test_sides_are_paired_by_all_that_both_repeat_and_not_by_seed_alone():
    """One side has two sources, which the other has no word for: their mean is one side of the
    pair."""
    claim = {
        "says": "masked is better",
        "better": {"pretrain.task": {"kind": "masked", "span": 3}},
        "worse": {"pretrain.task": None},
        "where": {"model.dim": [8], "finetune.labels": [{"per_class": 2}]},
    }
    sweep = sweep_with(claim)
    rows: dict[str, list[Record]] = {}
    for cell in sweep.cells:
        if cell.trial.pretraining is None:
            rows[cell.digest] = rows_of(cell, {(None, s): 0.5 + 0.01 * s for s in range(3)}, "")
        else:
            scores = {(k, s): 0.6 + 0.2 * k + 0.02 * s for k in (0, 1) for s in range(3)}
            rows[cell.digest] = rows_of(cell, scores, "pretrain.source")
    (found,) = judged(sweep, rows)
    assert found["n"] == 3
    assert found["effect"] == pytest.approx(0.7 + 0.02 - 0.5 - 0.01)


def test_places_that_read_alike_are_kept_apart():
    """Two learning rates that both read 0.00123."""
    rates = [0.001231, 0.001234]
    compare = {"finetune.optim.lr": rates, "model.dim": [8, 16]}
    sweep = sweep_of(compare=compare, search={}, claims=[WIDE])
    rows = {
        c.digest: [
            record_of(
                c,
                {"seed": s},
                {METRIC: 0.5 + 0.01 * s + 0.1 * (c.axes["model.dim"] == 16) * c.index},
            )
            for s in range(3)
        ]
        for c in sweep.cells
    }
    (found,) = judged(sweep, rows)
    assert len(found["places"]) == len({place["place"] for place in found["places"]}) == 2
