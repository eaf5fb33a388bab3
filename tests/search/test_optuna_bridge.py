"""The journal beside the results, as Optuna reads it."""

from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from citrus_ray.evidence.evidence import evidence_of
from citrus_ray.search.optuna_bridge import export
from tests.evidence.test_summary import LR, final, search_trial
from tests.small import sweep_of

RATIO = "pretrain.task.ratio"


@pytest.fixture
def opened(tmp_path):
    def call(sweep):
        path = export(sweep, evidence_of(sweep, tmp_path / "records"), tmp_path / "optuna.log")
        return JournalStorage(JournalFileBackend(str(path)))

    return call


def test_the_journal_has_a_study_per_cell_with_all_its_trials(opened, tmp_path):
    sweep, folder = sweep_of(), tmp_path / "records"
    scratch, masked = sweep.cells
    for i, value in enumerate((0.5, 0.9, 0.7)):
        how: Any = {"finished": f"2026-01-01T00:00:0{9 - i}.000+00:00", "seconds": 2.0}
        search_trial(folder, scratch, f"s{i}", [value, value], params={LR: 0.001 * (i + 1)}, **how)
    search_trial(folder, masked, "p", [0.6], params={LR: 0.002, RATIO: 0.4}, status="pruned")
    search_trial(
        folder,
        masked,
        "q",
        [0.6],
        params={LR: 0.003, RATIO: 0.6},
        status="failed",
        reason="OSError: x",
    )
    storage = opened(sweep)
    assert optuna.get_all_study_names(storage) == ["from scratch", "masked"]
    one = optuna.load_study(storage=storage, study_name="from scratch")
    assert (one.best_value, one.best_params) == (0.9, {LR: 0.002})
    assert (one.user_attrs["chosen"], one.user_attrs["chosen trial"]) == ("s1", 1)
    assert [trial.value for trial in one.trials] == [0.7, 0.9, 0.5], (
        "in the order in which they ended"
    )
    assert {trial.duration.total_seconds() for trial in one.trials if trial.duration} == {4.0}
    two = optuna.load_study(storage=storage, study_name="masked")
    assert {trial.state for trial in two.trials} == {TrialState.PRUNED, TrialState.FAIL}
    assert {trial.user_attrs["reason"] for trial in two.trials} == {None, "OSError: x"}
    assert all(trial.params[RATIO] in ("0.4", "0.6") for trial in two.trials)


def test_a_sweep_with_nothing_recorded_has_empty_studies(opened):
    storage = opened(sweep_of())
    assert [
        len(optuna.load_study(storage=storage, study_name=name).trials)
        for name in optuna.get_all_study_names(storage)
    ] == [0, 0]


def test_cells_that_look_the_same_have_studies_of_their_own(opened):
    sweep = sweep_of(compare={"finetune.optim.lr": [0.0010001, 0.0010002]}, search={})
    assert optuna.get_all_study_names(opened(sweep)) == [
        "lr 0.0010001",
        "lr 0.0010002",
    ]


# ---- while a sweep runs ----


def test_what_is_new_is_put_at_the_end_of_a_journal_that_someone_reads(opened, tmp_path):
    sweep, folder, path = sweep_of(), tmp_path / "records", tmp_path / "optuna.log"
    scratch = sweep.cells[0]
    how: dict[str, Any] = {"curve": [(0.4, 0.1), (0.5, 0.2)]}
    search_trial(folder, scratch, "a", [0.5, 0.7], params=scratch.points[0], **how)
    reader = opened(sweep)
    study = optuna.load_study(storage=reader, study_name="from scratch")
    assert [trial.intermediate_values for trial in study.trials] == [{1: 0.4, 2: 0.5}]
    assert study.trials[0].user_attrs["members"] == [0.5, 0.7]
    assert study.user_attrs["spec"] == scratch.trial.tree()
    before = path.read_text()

    search_trial(folder, scratch, "b", [0.9], params=scratch.points[1])
    opened(sweep)
    assert path.read_text().startswith(before)
    assert [trial.value for trial in study.trials] == [0.6, 0.9], "by who had it open before"
    assert study.user_attrs["chosen"] == "b"

    for cell in sweep.cells:
        if cell is not scratch:
            search_trial(folder, cell, "c", [0.8], params=cell.points[0])
        scores: dict[int, float | None] = {1000 + i: 0.6 + 0.1 * cell.index for i in range(5)}
        number = 0 if cell.index else 1
        final(folder, cell, scores, params=cell.points[number])
    opened(sweep)
    masked = optuna.load_study(storage=reader, study_name="masked")
    assert masked.user_attrs["test/balanced_accuracy"]["mean"] == pytest.approx(0.7)
    assert masked.user_attrs["gain over scratch"]["mean"] == pytest.approx(0.1)
    whole = path.read_text()
    opened(sweep)
    assert path.read_text() == whole, "nothing is new"


@pytest.mark.parametrize("how", ["cut off", "of another spec", "of a trial that was lost"])
def test_a_journal_that_says_something_else_is_written_anew(opened, tmp_path, how):
    sweep, folder, path = sweep_of(), tmp_path / "records", tmp_path / "optuna.log"
    cell = sweep.cells[0]
    search_trial(folder, cell, "a", [0.5], params=cell.points[0])
    opened(sweep)
    if how == "cut off":
        path.write_text(path.read_text()[:-20])
    elif how == "of another spec":
        sweep = sweep_of(compare={"finetune.optim.lr": [0.001, 0.002]}, search={})
    else:
        search_trial(folder, cell, "a", [0.8], params=cell.points[0])
    storage = opened(sweep)
    labels = optuna.get_all_study_names(storage)
    assert labels == [cell.label for cell in sweep.cells]
    trials = optuna.load_study(storage=storage, study_name=labels[0]).trials
    expected = {"cut off": [0.5], "of another spec": [], "of a trial that was lost": [0.8]}
    assert [trial.value for trial in trials] == expected[how]
