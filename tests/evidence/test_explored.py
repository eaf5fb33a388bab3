"""What the gain hangs on: known effects of settings are found, and no more is claimed than the
search has seen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.evidence.explored import (
    FEWEST,
    Explored,
    dependences,
    explored,
    importances,
    surface,
)
from tests.evidence.synthetic import MadeUp


def made(effect, n: int = 200, noise: float = 0.02) -> Explored:
    """Trials with a ratio, a band and a rate whose effects are known."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "pretrain.task.ratio": float(rng.uniform(0.2, 0.8)),
            "pretrain.task.band": [[0.5, 4], [4, 12]][int(rng.integers(2))],
            "finetune.optim.lr": float(10 ** rng.uniform(-4, -2)),
        }
        for _ in range(n)
    ]
    gains = np.asarray([effect(row) + noise * rng.standard_normal() for row in rows])
    return Explored("masked", tuple(rows[0]), tuple(rows), gains)


def by_ratio(row: dict[str, Any]) -> float:
    return 0.2 - 2.0 * float(row["pretrain.task.ratio"] - 0.5) ** 2


def by_band(row: dict[str, Any]) -> float:
    return 0.1 * float(row["pretrain.task.band"] == [4, 12])


@pytest.mark.slow
def test_the_setting_that_decides_is_found_important():
    assert importances(made(by_ratio))["pretrain.task.ratio"] > 0.8
    assert importances(made(by_band))["pretrain.task.band"] > 0.8


@pytest.mark.slow
def test_importances_are_those_of_variances_of_an_additive_function():
    """Effects of 0.1 and 0.05 between two bands and over a ratio's two halves: variances stand
    as 4 to 1."""
    found = importances(
        made(lambda r: by_band(r) + 0.05 * (r["pretrain.task.ratio"] > 0.5), noise=0.002)
    )
    assert found["pretrain.task.band"] / found["pretrain.task.ratio"] == pytest.approx(4, rel=0.25)


@pytest.mark.slow
def test_partial_dependence_follows_the_known_curve():
    (ratio,) = [item for item in dependences(made(by_ratio)) if item.name == "ratio"]
    want = [0.2 - 2 * (point - 0.5) ** 2 for point in ratio.points]
    assert np.abs(np.asarray(ratio.gains) - want).max() < 0.03
    assert not ratio.is_log


@pytest.mark.slow
def test_partial_dependence_of_a_choice_is_its_mean_gain():
    (band,) = [item for item in dependences(made(by_band)) if item.name == "band"]
    assert band.labels == ("[0.5, 4]", "[4, 12]")
    assert band.gains == pytest.approx((0.0, 0.1), abs=0.02)
    assert sum(n for _, _, n in band.seen) == 200


@pytest.mark.slow
def test_a_rate_over_decades_is_seen_on_a_log_scale():
    (rate,) = [item for item in dependences(made(by_ratio)) if item.name == "lr"]
    assert rate.is_log
    assert rate.points[1] / rate.points[0] == pytest.approx(rate.points[-1] / rate.points[-2])


def test_equal_gains_explain_nothing():
    found = made(lambda row: 0.1, noise=0.0)
    assert importances(found) == {}
    assert all(item.importance is None for item in dependences(found))


@pytest.mark.slow
def test_the_surface_is_ratio_by_band_and_counts_its_trials():
    found = made(lambda row: by_ratio(row) + by_band(row))
    made_surface = surface(found, dependences(found))
    assert made_surface is not None
    assert made_surface.names == ("ratio", "band")
    assert made_surface.counts.sum() == 200
    best = np.unravel_index(np.nanargmax(made_surface.gains), made_surface.gains.shape)
    assert made_surface.labels[1][best[1]] == "[4, 12]"


def test_gains_of_trials_are_over_the_scratch_trial_that_validation_chose(tmp_path: Path):
    folder = MadeUp(gain=0.1, noise=0.0, bands=([0.5, 4], [4, 12]), n_trials=FEWEST).write(tmp_path)
    (found,) = explored((findings := read_evidence([folder])).cells, findings.gains)
    scratch = next(cell.best for cell in findings.cells if cell.is_scratch)
    masked = next(cell.searched for cell in findings.cells if not cell.is_scratch)
    assert scratch is not None
    assert sorted(found.gains) == pytest.approx(
        sorted((t.value or 0) - (scratch.value or 0) for t in masked)
    )
    assert dependences(found)[0].name == "band"


def test_neither_the_order_of_trials_nor_that_of_cells_changes_what_is_explained(tmp_path: Path):
    labels = ({"per_class": 4}, {"per_class": 8})
    folder = MadeUp(bands=([0.5, 4], [4, 12]), n_trials=FEWEST, labels=labels).write(tmp_path)
    findings = read_evidence([folder])
    turned = [replace(cell, searched=cell.searched[::-1]) for cell in findings.cells[::-1]]
    (one,), (other,) = (explored(cells, findings.gains) for cells in (findings.cells, turned))
    assert (one.rows, one.gains.tolist()) == (other.rows, other.gains.tolist())


def test_a_handful_of_trials_is_not_explained(tmp_path: Path):
    folder = MadeUp(bands=([0.5, 4], [4, 12]), n_trials=FEWEST - 1).write(tmp_path)
    findings = read_evidence([folder])
    assert explored(findings.cells, findings.gains) == []
