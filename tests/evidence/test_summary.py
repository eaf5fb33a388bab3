"""What is said of a sweep, from constructed records whose answer is known."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray import records
from citrus_ray.evidence.cost import known_cost, told
from citrus_ray.evidence.evidence import evidence_of
from citrus_ray.evidence.intervals import OverRounds
from citrus_ray.evidence.summary import summarise
from citrus_ray.evidence.tables import spread, table
from citrus_ray.experiment.sweep import Cell, Sweep
from citrus_ray.store import checkpoint, store_beside
from tests.small import record_of, sweep_of

VAL, TEST = "val/balanced_accuracy", "test/balanced_accuracy"
LR = "finetune.optim.lr"


def search_trial(folder: Path, cell: Cell, name: str, values: list[float], **fields: Any) -> None:
    """A recorded trial; a value of None is a member that failed."""
    rows = []
    for seed, value in enumerate(values):
        how = {"phase": "search", "trial": name, "params": {LR: 0.002}} | fields
        rows.append(record_of(cell, {"seed": seed}, {VAL: value}, **how))
    records.write(folder, name, rows)


def failed_trial(folder: Path, cell: Cell, name: str) -> None:
    good = record_of(cell, {"seed": 0}, {VAL: 0.99}, phase="search", trial=name)
    bad = record_of(
        cell,
        {"seed": 1},
        {},
        phase="search",
        trial=name,
        status="failed",
        reason="NonFiniteLossError: x",
    )
    records.write(folder, name, [good, bad])


def final(
    folder: Path, cell: Cell, scores: dict[int, float | None], name: str = "", **fields: Any
) -> None:
    """The winner's refit: a test score per fresh seed, None where it failed, as for those not
    given."""
    name = name or f"final{cell.index}"
    scores = dict.fromkeys(range(1000, 1000 + cell.sweep.final.rounds)) | scores
    rows = []
    for seed, score in scores.items():
        ok: dict[str, Any] = (
            {} if score is not None else {"status": "failed", "reason": "OSError: disk"}
        )
        how = {"trial": name, "params": {LR: 0.002}} | fields
        rows.append(
            record_of(cell, {"seed": seed}, {} if score is None else {TEST: score}, **how, **ok)
        )
    records.write(folder, name, rows)


@pytest.fixture
def sweep() -> Sweep:
    return sweep_of()


def cells(sweep: Sweep, folder: Path) -> list[dict[str, Any]]:
    found = summarise(sweep, folder, 1.0)
    json.loads(json.dumps(found, allow_nan=False))  # what is written must be JSON that others read
    return list(found["cells"])


def test_one_value_has_no_interval_and_none_has_nothing():
    one = OverRounds([0.5]).effect()
    assert one.tree() == {"mean": 0.5, "low": None, "high": None, "n": 1}
    assert json.dumps(one.tree(), allow_nan=False)
    assert spread(one.tree()) == "0.500 n=1"
    assert spread(None) == "-"


# ---- cells ----


def test_the_best_full_trial_is_the_winner(sweep, tmp_path):
    scratch = sweep.cells[0]
    search_trial(tmp_path, scratch, "a", [0.5, 0.6, 0.7], params={LR: 0.001})
    search_trial(tmp_path, scratch, "b", [0.7, 0.7, 0.7], params={LR: 0.009})
    search_trial(tmp_path, scratch, "c", [0.9, 0.9, 0.9], params={LR: 0.005}, status="pruned")
    failed_trial(tmp_path, scratch, "d")
    found = cells(sweep, tmp_path)[0]
    assert (found["best"], found["val"]) == ({LR: 0.009}, pytest.approx(0.7))
    assert (found["n_trials"], found["n_failed"], found["n_pruned"]) == (4, 1, 1)
    assert found["failures"] == ["NonFiniteLossError: x"]
    assert found["test"] is None


def test_nothing_recorded_is_said_as_nothing(sweep, tmp_path):
    for found in cells(sweep, tmp_path):
        assert (found["n_trials"], found["best"], found["val"], found["test"], found["gain"]) == (
            0,
            None,
            None,
            None,
            None,
        )


def test_the_gain_is_paired_by_fresh_seed(sweep, tmp_path):
    """Seeds differ far more than arms: unpaired, the interval would hold zero."""
    scratch, masked = sweep.cells
    gains = [0.05, 0.06, 0.04, 0.05, 0.05]
    base = [0.3, 0.9, 0.5, 0.7, 0.4]
    for cell in (scratch, masked):
        search_trial(tmp_path, cell, f"s{cell.index}", [0.5])
    final(tmp_path, scratch, {1000 + i: b for i, b in enumerate(base)})
    final(
        tmp_path, masked, {1004 - i: base[4 - i] + gains[4 - i] for i in range(5)}
    )  # in another order
    one, two = cells(sweep, tmp_path)
    found = OverRounds(gains).effect()
    assert one["gain"] is None
    assert (two["gain"]["mean"], two["gain"]["low"], two["gain"]["high"]) == pytest.approx(
        (0.05, found.low, found.high)
    )
    assert two["gain"]["low"] > 0
    assert two["gain"]["against"] == scratch.axes
    assert two["gain"]["n"] == 5
    assert one["test"]["mean"] == pytest.approx(np.mean(base))


def test_a_seed_that_failed_in_one_arm_is_left_out_of_the_pairs_and_counted(sweep, tmp_path):
    scratch, masked = sweep.cells
    for cell in (scratch, masked):
        search_trial(tmp_path, cell, f"s{cell.index}", [0.5])
    final(tmp_path, scratch, {1000: 0.5, 1001: 0.6, 1002: None, 1003: 0.8})
    final(tmp_path, masked, {1000: None, 1001: 0.7, 1002: 0.9, 1003: 0.9, 1004: 0.1})
    one, two = cells(sweep, tmp_path)
    assert (one["test"]["n"], two["test"]["n"]) == (3, 4)
    assert two["gain"]["n"] == 2
    assert two["gain"]["mean"] == pytest.approx(0.1)
    assert "OSError: disk" in one["failures"]


def test_arms_without_a_seed_in_common_have_no_gain(sweep, tmp_path):
    scratch, masked = sweep.cells
    for cell in (scratch, masked):
        search_trial(tmp_path, cell, f"s{cell.index}", [0.5])
    final(tmp_path, scratch, {1000: 0.5})
    final(tmp_path, masked, {1001: 0.7})
    assert cells(sweep, tmp_path)[1]["gain"] is None


def test_gains_over_several_targets_are_paired_within_each(tmp_path):
    target = sweep_of().trial.finetune.target.tree()
    sweep = sweep_of(
        repeat={"finetune.target": [target | {"seed": 5}, target | {"seed": 6}], "seed": [0]}
    )
    for cell, shift in zip(sweep.cells, (0.0, 0.1), strict=True):
        search_trial(tmp_path, cell, f"s{cell.index}", [0.5])
        rows = [
            record_of(
                cell,
                repeat,
                {TEST: 0.2 + shift + 0.5 * (repeat["finetune.target"]["seed"] == 6)},
                trial=f"final{cell.index}",
                params={LR: 0.002},
                data_digest=str(repeat["finetune.target"]["seed"]),
            )
            for number in range(5)
            for repeat, _ in cell.members({}, number)
        ]
        records.write(tmp_path, f"final{cell.index}", rows)
    gain = cells(sweep, tmp_path)[1]["gain"]
    assert gain["n"] == 5
    assert gain["next"]["n"] == 2
    assert (gain["mean"], gain["low"], gain["high"]) == (pytest.approx(0.1), None, None)


def test_the_test_score_is_that_of_the_reported_winner(sweep, tmp_path):
    scratch = sweep.cells[0]
    search_trial(tmp_path, scratch, "a", [0.6], params={LR: 0.001})
    search_trial(tmp_path, scratch, "b", [0.8], params={LR: 0.002})
    final(
        tmp_path,
        scratch,
        {1000: 0.1, 1001: 0.1},
        "dethroned",
        params={LR: 0.001},
        finished="2030-01-01",
    )
    final(
        tmp_path,
        scratch,
        {1000: 0.7, 1001: 0.7},
        "winner",
        params={LR: 0.002},
        finished="2026-01-01",
    )
    found = cells(sweep, tmp_path)[0]
    assert found["best"] == {LR: 0.002}
    assert found["test"]["mean"] == pytest.approx(0.7)


def test_a_smaller_budget_chooses_among_as_many_trials_as_it_has(tmp_path):
    sweep = sweep_of(budget={"trials": 2})
    for name, value in (("a", 0.5), ("b", 0.6), ("c", 0.9)):
        search_trial(tmp_path, sweep.cells[0], name, [value])
    found = cells(sweep, tmp_path)[0]
    assert (found["n_trials"], found["val"]) == (2, pytest.approx(0.6))


def test_records_of_another_sweep_are_not_counted(sweep, tmp_path):
    other = sweep_of(repeat={"seed": [0]}).cells[0]
    search_trial(tmp_path, other, "a", [0.9])
    assert cells(sweep, tmp_path)[0]["n_trials"] == 0


def test_what_the_number_rests_on_is_said_beside_it(sweep, tmp_path):
    scratch, masked = sweep.cells
    for cell in (scratch, masked):
        for n, rate in enumerate((0.001, 0.002)):
            search_trial(tmp_path, cell, f"s{cell.index}{n}", [0.5 + rate], params={LR: rate})
        rows = [
            record_of(
                cell,
                {"seed": 1000 + n},
                {TEST: 0.5 + 0.01 * n},
                trial=f"final{cell.index}",
                params={LR: 0.002},
                encoder="one" if cell is masked else None,
                tested="the same people",
                n_tested=3,
            )
            for n in range(5)
        ]
        records.write(tmp_path, f"final{cell.index}", rows)
    one, two = (" ".join(found["caveats"]) for found in cells(sweep, tmp_path))
    assert "the winner was chosen once" in one
    assert "the same 3 test subjects in every round" in one
    assert "one pre-trained encoder" not in one
    assert "one pre-trained encoder serves all rounds" in two


def recentred(sweep: Sweep, folder: Path, **model: Any) -> str:
    """Caveats of a cell whose refits re-centred subjects."""
    scratch = sweep.cells[0]
    config = {"finetune.subjects": "recentre", "model.kind": "conv", **model}
    search_trial(folder, scratch, "s", [0.5])
    scores = {TEST: 0.5, "identity/start": 0.4, "identity/untrained": 0.1}
    rows = [
        record_of(
            scratch,
            {"seed": 1000 + n},
            scores,
            trial="final",
            params={LR: 0.002},
            config=config,
        )
        for n in range(5)
    ]
    records.write(folder, "final", rows)
    found = cells(sweep, folder)[0]
    assert found["identity"] == {"start": pytest.approx(0.4), "untrained": pytest.approx(0.1)}
    return " ".join(found["caveats"])


def test_unlabelled_windows_of_test_subjects_are_said_beside_the_number(sweep, tmp_path):
    said = recentred(sweep, tmp_path / "net")
    assert "mean feature of each test subject is taken from unlabelled windows" in said
    assert "recentre" not in recentred(sweep, tmp_path / "method", **{"model.kind": "tangent"})
    assert "recentre" not in recentred(sweep, tmp_path / "other", **{"finetune.subjects": "erase"})
    assert cells(sweep, tmp_path / "nothing")[0]["identity"] == {}


def test_the_fewest_and_most_steps_of_refits_are_told(sweep, tmp_path):
    scratch = sweep.cells[0]
    search_trial(tmp_path, scratch, "s", [0.5])
    network = {"parameters": 5000, "trained": 5000, "reads": "2 channels"}
    refits = [record_of(scratch, {"seed": n}, {TEST: 0.5}, trial="final") for n in range(3)]
    steps = [{"steps": 24}, {"steps": 40}, {}]  # a record of before says nothing of them
    rows = [replace(row, network=network | n) for row, n in zip(refits, steps, strict=True)]
    records.write(tmp_path, "final", rows)
    assert cells(sweep, tmp_path)[0]["network"]["steps"] == [24, 40]


def pretrained(folder: Path, cell: Cell, encoders: dict[str, dict[str, Any]]) -> str:
    """Caveats of a cell whose rounds have an encoder each; `encoders` is what is stored of them."""
    search_trial(folder / "records", cell, "s", [0.5])
    rows = []
    for n, (name, meta) in enumerate(encoders.items()):
        checkpoint.save(folder / "store", name, {}, meta)
        scores = {TEST: 0.5 + 0.01 * n}
        how: dict[str, Any] = {"trial": "final", "params": {LR: 0.002}, "encoder": name}
        rows.append(record_of(cell, {"seed": 1000 + n}, scores, **how))
    records.write(folder / "records", "final", rows)
    (found,) = (
        one
        for one in summarise(cell.sweep, folder / "records", 1.0, folder / "store")["cells"]
        if one["axes"] == cell.axes
    )
    return "; ".join(text for text in found["caveats"] if "did not beat" in text)


def stored(loss: float, **references: float) -> dict[str, Any]:
    history = [{"epoch": 1.0, "val/loss": 9.0}, {"epoch": 2.0, "val/loss": loss}]
    return {"history": history, "references": references}


def test_a_pretraining_that_a_predictor_without_a_network_beats_is_marked(sweep, tmp_path):
    one = stored(0.5, constant=0.7, linear=0.4, spectrum=0.5)
    assert pretrained(tmp_path, sweep.cells[1], {"a": one}) == (
        "pre-training did not beat predictors without a network: validation loss 0.5, "
        "a linear predictor 0.4, the visible mean spectrum 0.5"
    )


def test_of_several_encoders_those_are_counted_that_did_not_beat_theirs(sweep, tmp_path):
    several = {
        "a": stored(0.6, constant=0.7, linear=0.5),
        "b": stored(0.8, constant=0.7, linear=0.7),
        "c": stored(0.3, constant=0.7, linear=0.5),
    }
    assert pretrained(tmp_path, sweep.cells[1], several) == (
        "2 of 3 pre-trainings did not beat predictors without a network: mean validation loss 0.7, "
        "a constant 0.7, a linear predictor 0.6"
    )


def test_pretrainings_that_beat_their_references_or_have_none_say_nothing(sweep, tmp_path):
    old = {"history": [{"epoch": 1.0, "val/loss": 0.5}]}  # from before there were references
    two = {"a": stored(0.3, constant=0.7, linear=0.4), "b": old, "c": {}}
    assert pretrained(tmp_path, sweep.cells[1], two) == ""


def test_the_summary_holds_the_losses_of_pretrainings_beside_their_references(sweep, tmp_path):
    encoders = {"a": stored(0.3, constant=0.7, linear=0.4), "b": stored(0.5, constant=0.9)}
    pretrained(tmp_path, sweep.cells[1], encoders)
    found = summarise(sweep, tmp_path / "records", 1.0, tmp_path / "store")["cells"]
    assert found[0]["pretraining"] is None
    assert found[1]["pretraining"] == {
        "encoders": 2,
        "val/loss": pytest.approx(0.4),
        "references": {"constant": pytest.approx(0.8)},
    }


def test_rounds_with_people_and_encoders_of_their_own_have_no_such_caveats(sweep, tmp_path):
    masked = sweep.cells[1]
    search_trial(tmp_path, masked, "s", [0.5])
    rows = [
        record_of(
            masked,
            {"seed": 1000 + n, "pretrain.seed": 1000 + n, "finetune.split.round": n},
            {TEST: 0.5 + 0.01 * n},
            trial="final",
            params={LR: 0.002},
            encoder=f"e{n}",
            tested=f"half {n}",
        )
        for n in range(5)
    ]
    records.write(tmp_path, "final", rows)
    said = " ".join(cells(sweep, tmp_path)[1]["caveats"])
    assert "encoder" not in said
    assert "in every round" not in said
    assert "the winner was chosen once" not in said, "there was one trial to choose from"


def test_the_table_shows_every_cell(sweep, tmp_path):
    scratch, masked = sweep.cells
    for cell in (scratch, masked):
        search_trial(tmp_path, cell, f"s{cell.index}", [0.5])
        final(tmp_path, cell, {1000 + i: 0.5 + 0.1 * cell.index + 0.01 * i for i in range(3)})
    failed_trial(tmp_path, scratch, "z")
    text = table(summarise(sweep, tmp_path, 1.0))
    lines = text.splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("from scratch ")
    assert "2 (1 failed)" in lines[2]
    assert lines[3].startswith("masked ")
    assert "+0.100 n=3" in lines[3]


def test_the_cost_of_an_encoder_counts_in_every_cell_that_rests_on_it_and_once_in_total(
    sweep, tmp_path
):
    masked = sweep.cells[1]
    folder = tmp_path / "mine" / "records"
    checkpoint.save(store_beside(folder.parent), "e", {}, {"seconds": 10.0, "workers": 2})
    search_trial(folder, sweep.cells[0], "s", [0.5, 0.5], seconds=1.5)
    search_trial(folder, masked, "m", [0.5, 0.5], seconds=2.0, encoder="e")
    search_trial(folder, masked, "n", [0.5, 0.5], seconds=2.0, encoder="e")
    final(folder, masked, {1000: 0.7}, seconds=0.8, encoder="e")
    found = summarise(sweep, folder, 1.0)
    scratch, pretrained = (cell["cost"] for cell in found["cells"])
    kinds = ("search", "final", "pretrain", "gpu")
    nothing: dict[str, Any] = {f"{kind}_seconds": 0.0 for kind in (*kinds, "failed")}
    nothing |= {"n_pretrainings": 0, "n_encoders": 0, "pretrained_on": {}}
    assert scratch == nothing | {"search_seconds": 3.0}
    spent = {
        "search_seconds": 8.0,
        "final_seconds": 4.0,
        "pretrain_seconds": 20.0,
        "failed_seconds": 3.2,
        "n_encoders": 1,
        "n_pretrainings": 1,
    }
    assert pretrained == nothing | spent
    assert found["cost"]["pretrain_seconds"] == 20.0
    assert found["compute_seconds"] == 3 + 8 + 4 + 20
    assert told(found["cost"]) == (
        "35 s of compute: 20 s in 1 pre-training, 11 s in the search, 4 s in refits; "
        "3 s of it in members that failed."
    )
    elsewhere = known_cost(evidence_of(sweep, folder).found.rows, tmp_path / "none", {})
    assert "pre-training of 1 encoder unknown (their store is not here)" in told(elsewhere)
    assert known_cost([], tmp_path / "none", found["cost"])["pretrain_seconds"] == 20.0


def test_a_search_that_its_budget_ended_early_is_marked_in_the_table(tmp_path):
    sweep = sweep_of(budget={"trials": 9, "patience": 2})
    for cell in sweep.cells:
        for i, value in enumerate((0.8, 0.5, 0.6)):
            name = f"s{cell.index}{i}"
            search_trial(tmp_path, cell, name, [value], params=cell.points[i])
    found = summarise(sweep, tmp_path, 1.0)
    assert [cell["stopped"] for cell in found["cells"]] == ["patience", "patience"]
    assert "3, patience" in table(found)


def test_a_baseline_that_was_not_scored_beside_every_refit_has_no_mean_and_is_named(
    sweep, tmp_path
):
    scratch = sweep.cells[0]
    search_trial(tmp_path, scratch, "s", [0.8, 0.8, 0.8])
    both = {"majority": {TEST: 0.5}, "raw_level": {TEST: 0.9}}
    for seed, found in ((1000, both), (1001, both | {"raw_level": {}})):
        how: dict[str, Any] = {"trial": f"final{seed}", "params": {LR: 0.002}, "baselines": found}
        row = record_of(scratch, {"seed": seed}, {TEST: 0.8}, **how)
        records.write(tmp_path, f"final{seed}", [row])
    cell = cells(sweep, tmp_path)[0]
    assert cell["baselines"] == {"majority": 0.5}
    said = "not scored: raw_level (without normalisation the set gives other windows, or none)"
    assert said in cell["caveats"]


def test_controls_of_pairs_stand_under_the_table_once_for_arms_that_share_them(sweep, tmp_path):
    scores = {
        "majority": 0.5,
        "halves": 0.51,
        "distance": 0.6,
        "difference": 0.7,
        "seam": 0.55,
        "same_run": 0.99,
        "run_identity": 0.8,
    }
    scratch, masked = sweep.cells
    for cell in (scratch, masked):
        search_trial(tmp_path, cell, f"s{cell.index}", [0.8, 0.8, 0.8])
        found = (
            {"baselines": {name: {TEST: value} for name, value in scores.items()}}
            if cell is scratch
            else {}
        )
        final(tmp_path, cell, {1000: 0.8, 1001: 0.82}, **found)  # type: ignore[arg-type]
    shown = table(summarise(sweep, tmp_path, 1.0))
    assert (
        "run_identity 0.800" in shown
    )  # the best of what a network could know; same_run is told it
    under = shown.split("controls of pairs")[1].splitlines()
    assert under[0].split() == [
        "test",
        "halves",
        "distance",
        "difference",
        "seam",
        "bilinear",
        "same_run",
        "run_identity",
    ]
    (line,) = (line for line in under if "0.990" in line)
    # a record from before there was a bilinear read-out
    assert line.split()[-4:] == ["0.550", "-", "0.990", "0.800"]
