"""Methods side by side, and whether a network beats the best one without a network: against sums
made by hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from citrus_ray.evidence.evidence import Evidence, read_evidence
from citrus_ray.evidence.rounds import Finding
from citrus_ray.evidence.standings import Placed, Standings, told, tree
from citrus_ray.records import Record
from tests.evidence.synthetic import METRIC, MadeUp, change

TEST = f"test/{METRIC}"


def beside(folder: Path, **scores: float | Callable[[float], float]) -> Evidence:
    """A made-up sweep with these baselines beside every refit, as numbers or of its own score."""
    MadeUp(targets=("emgdb", "bonn"), n_trials=2, n_final_seeds=8).write(folder)

    def edit(row: Record) -> Record:
        if TEST not in row.metrics:
            return row
        own = row.metrics[TEST]
        found = {n: {TEST: of(own) if callable(of) else of} for n, of in scores.items()}
        return replace(row, baselines=found)

    change(folder, edit)
    return read_evidence([folder])


def standings_of(evidence: Evidence) -> Standings:
    assert evidence.standings is not None
    return evidence.standings


def against(one: Placed) -> Finding:
    assert one.against is not None
    return one.against


def test_a_network_that_beats_the_best_closed_form_method_is_told_with_its_interval(tmp_path):
    evidence = beside(tmp_path, bag=0.5, minirocket=0.6, majority=0.25, nearest=0.95)
    found = standings_of(evidence)
    (masked,) = [cell for cell in evidence.cells if not cell.is_scratch]
    mean = fmean(row.metrics[TEST] for row in masked.scored) - 0.6
    assert len(found.winning) == 2
    assert against(found.winning[0]).effect.mean == pytest.approx(mean)
    said = told(found)
    assert said.startswith(
        "A network beats minirocket (baseline), the best closed-form method (2 of 2 networks): "
        f"masked differs by {mean:+.3f} [+0."
    )
    assert said.endswith("supported, for these targets: 8 rounds (mean of 2 places).")
    kinds = {one.standing.label: one.standing.kind for one in found.placed}
    assert kinds["nearest (baseline)"] == "baseline"  # a look-up of windows: not in the portfolio
    assert kinds["majority (baseline)"] == "chance"
    assert [one.standing.label for one in found.placed[:2]] == ["nearest (baseline)", "masked"]
    assert (tree(found) or {})["says"] == said


def test_it_is_held_against_what_the_method_scored_on_its_own_windows(tmp_path):
    found = standings_of(beside(tmp_path, minirocket=lambda own: own + 0.03))
    assert [round(against(one).effect.mean, 9) for one in found.networks] == [-0.03, -0.03]


def test_where_every_network_is_worse_none_beats_it(tmp_path):
    found = standings_of(beside(tmp_path, raw_bag=lambda own: 0.97 + 0.05 * (own - 0.7)))
    assert told(found).startswith(
        "No network beats raw_bag (baseline), the best closed-form method"
    )


def test_chance_is_no_closed_form_method(tmp_path):
    found = standings_of(beside(tmp_path, majority=0.5))
    assert found.best_closed is None
    assert "none is scored here" in told(found)


def test_a_compared_method_without_a_network_is_held_against_too(tmp_path):
    MadeUp(n_trials=2).write(tmp_path)
    change(
        tmp_path,
        lambda row: (
            row if row.encoder else replace(row, config=row.config | {"model.kind": "minirocket"})
        ),
    )
    found = standings_of(read_evidence([tmp_path]))
    assert found.best_closed is not None
    assert found.best_closed.standing.label == "from scratch"
    (network,) = found.networks
    mean = fmean(network.standing.scores.values()) - found.best_closed.effect.mean
    assert against(network).effect.mean == pytest.approx(mean)
    assert found.duels[0].found.effect == against(network).effect


def test_means_are_over_the_places_that_all_share(tmp_path):
    """While a sweep runs, one arm has places that the other has not yet."""
    made = MadeUp(labels=({"per_class": 3}, {"per_class": 20}), label_slope=0.1, n_trials=2)
    for axes in made.cells()[:3]:
        made.write_cell(tmp_path, axes)
    evidence = read_evidence([tmp_path])
    found = standings_of(evidence)
    assert len(found.places) == 1
    few = [cell for cell in evidence.cells if cell.axes["finetune.labels"] == {"per_class": 3}]
    effects = {one.standing.label: one.effect for one in found.placed}
    assert effects == {cell.arm_label: cell.test for cell in few}


def test_nothing_scored_has_no_standings(tmp_path):
    made = MadeUp(n_trials=2)
    made.write_cell(tmp_path, made.cells()[0], has_final=False)
    assert read_evidence([tmp_path]).standings is None
    assert "nothing is scored yet" in told(None)
