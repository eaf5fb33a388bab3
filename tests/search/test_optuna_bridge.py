"""The journal beside the results, as Optuna reads it."""

from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from citrus_ray.evidence.evidence import evidence_of
from citrus_ray.search.optuna_bridge import export
from tests.evidence.test_summary import LR, search_trial
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
    assert [trial.user_attrs["chosen"] for trial in one.trials] == [False, True, False]
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
