"""Labels saved, on curves whose truth is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray.evidence.curves import FEWEST, Curve, curves, labels_saved, needed
from citrus_ray.evidence.evidence import read_evidence
from tests.evidence.synthetic import MASKED, MadeUp

AMOUNTS = (3.0, 8.0, 20.0, 60.0)
LOGS = np.log(AMOUNTS)
SCRATCH = np.asarray([0.50, 0.62, 0.72, 0.85])


def test_twice_the_labels_are_found_where_pretraining_is_worth_twice_the_labels():
    masked = np.interp(LOGS + np.log(2), LOGS, SCRATCH)
    assert np.exp(needed(SCRATCH, masked, LOGS)) == pytest.approx([6, 16, 40, 60])


def test_a_dip_is_evened_out_before_the_curve_is_read():
    dipped = np.asarray([0.5, 0.7, 0.6, 0.8])
    assert np.exp(needed(dipped, np.asarray([0.649]), LOGS))[0] == pytest.approx(8, abs=0.1)


@pytest.mark.parametrize(("score", "end"), [(0.2, 3), (0.99, 60)])
def test_outside_the_measured_range_its_end_is_given(score: float, end: float):
    assert np.exp(needed(SCRATCH, np.asarray([score]), LOGS))[0] == pytest.approx(end)


def test_an_end_of_the_range_is_told_as_one():
    flat = np.tile(SCRATCH, (12, 1))
    curve = Curve(
        "per_class",
        "",
        AMOUNTS,
        {"from scratch": flat, "masked": flat + 0.2},
        "test/accuracy",
    )
    assert labels_saved(curve)[2].bounded(labels_saved(curve)[2].needed) == "60 or more"


@pytest.mark.slow
def test_the_interval_of_labels_saved_covers_the_truth():
    """Around 95 in 100 where the truth lies inside the measured range; the bench draws more."""
    rng, masked, hits, n = (
        np.random.default_rng(0),
        np.interp(LOGS + np.log(2), LOGS, SCRATCH),
        np.zeros(3),
        60,
    )
    for _ in range(n):
        scores = {
            "from scratch": SCRATCH + 0.03 * rng.standard_normal((12, 4)),
            "masked": masked + 0.03 * rng.standard_normal((12, 4)),
        }
        saved = labels_saved(Curve("per_class", "", AMOUNTS, scores, "test/accuracy"))
        hits += [
            item.low <= truth <= item.high
            for item, truth in zip(saved[:3], (6, 16, 40), strict=True)
        ]
    assert all(0.86 <= share <= 1 for share in hits / n)


def test_too_few_rounds_give_no_interval():
    rng = np.random.default_rng(0)
    arms = {
        arm: SCRATCH + 0.03 * rng.standard_normal((FEWEST - 1, 4))
        for arm in ("from scratch", "masked")
    }
    saved = labels_saved(Curve("per_class", "", AMOUNTS, arms, "test/accuracy"))
    assert not any(item.has_interval for item in saved)


def test_curves_come_from_test_scores_and_both_arms_share_their_rounds(tmp_path: Path):
    labels = tuple({"per_class": n} for n in (3, 8, 20))
    made = MadeUp(level=0.4, gain=0.1, noise=0.0, label_slope=0.1, labels=labels, n_final_seeds=8)
    (curve,) = curves(read_evidence([made.write(tmp_path)]).cells)
    assert curve.amounts == (3, 8, 20)
    assert curve.arms == ["from scratch", "masked"]
    assert curve.scores["masked"].shape == (8, 3)
    first = labels_saved(curve)[0]
    assert first.needed == pytest.approx(3 * np.e)  # 0.1 more is what a factor of e buys
    assert first.saved == pytest.approx(3 * (np.e - 1))


def test_steps_that_are_compared_are_a_curve_too(tmp_path: Path):
    class Stepped(MadeUp):
        def cells(self) -> list[dict[str, Any]]:
            return [axes | {"finetune.steps": n} for axes in super().cells() for n in (10, 40)]

    cells = read_evidence([Stepped(n_final_seeds=8).write(tmp_path)]).cells
    (curve,) = curves(cells)
    assert curve.kind == "steps"
    assert curve.amounts == (10, 40)
    assert curve.scores["masked"].shape == (8, 2)


def test_amounts_in_different_units_are_not_put_on_one_axis(tmp_path: Path):
    labels = ({"per_class": 3}, {"per_class": 8}, {"fraction": 1.0})
    found = curves(read_evidence([MadeUp(labels=labels).write(tmp_path)]).cells)
    assert [(curve.kind, curve.amounts) for curve in found] == [("per_class", (3, 8))]


def test_a_single_amount_is_no_curve(tmp_path: Path):
    assert curves(read_evidence([MadeUp(tasks=(None, MASKED)).write(tmp_path)]).cells) == []
