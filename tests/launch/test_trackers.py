"""Runs in W&B and MLflow: as in records, each once; no sweep waits or ends for them."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from citrus_ray.evidence.evidence import evidence_of
from citrus_ray.launch import trackers
from citrus_ray.launch.tensorboard import BoardRun
from citrus_ray.launch.trackers import THERE, not_installed, track
from tests.evidence.test_summary import TEST, VAL, final, search_trial
from tests.small import sweep_of


@pytest.fixture
def handed(monkeypatch):
    """What a tracker that works was given."""
    runs: list[BoardRun] = []
    monkeypatch.setitem(trackers.TRACKERS, "mlflow", lambda sweep, out: runs.append)
    return runs


@pytest.fixture
def sweep():
    return sweep_of(trackers=["mlflow"])


@pytest.fixture
def recorded(tmp_path, sweep):
    for cell, name in zip(sweep.cells, "ab", strict=True):
        how: dict[str, Any] = {"params": cell.points[0], "curve": [(0.4, 0.1), (0.6, 0.2)]}
        search_trial(tmp_path / "records", cell, name, [0.7, 0.8], **how)
        scores: dict[int, float | None] = {1000 + i: 0.6 + 0.05 * i for i in range(5)}
        final(tmp_path / "records", cell, scores, params=cell.points[0])
    return tmp_path


def tracked(sweep: Any, folder: Path, ended: bool = True) -> list[str]:
    return track(sweep, evidence_of(sweep, folder / "records"), folder, ended)


def test_every_trial_is_handed_over_once_and_refits_when_the_sweep_ends(handed, sweep, recorded):
    assert tracked(sweep, recorded, ended=False) == []
    assert [run.name for run in handed] == ["from_scratch/a", "masked/b"]
    for _ in range(2):
        assert tracked(sweep, recorded) == []
    assert [run.name for run in handed[2:]] == ["from_scratch/refit", "masked/refit"]
    assert handed[0].hparams["1 task"] == "from scratch"
    assert handed[0].steps[:2] == [(1, {VAL: 0.4}), (2, {VAL: 0.6})]
    assert dict(handed[2].steps[-1][1])[f"result/{TEST}"] == pytest.approx(0.7)


def test_one_that_fails_ends_nothing_and_is_tried_again(monkeypatch, sweep, recorded):
    runs: list[str] = []

    def full(run: BoardRun) -> None:
        if runs:
            raise OSError("no space\nleft")
        runs.append(run.name)

    monkeypatch.setitem(trackers.TRACKERS, "mlflow", lambda sweep, out: full)
    assert tracked(sweep, recorded) == ["mlflow: 3 of 4 runs are not there: OSError: no space"]
    assert json.loads((recorded / THERE).read_text()) == {"mlflow": ["from_scratch/a"]}
    monkeypatch.setitem(
        trackers.TRACKERS, "mlflow", lambda sweep, out: lambda run: runs.append(run.name)
    )
    assert tracked(sweep, recorded) == []
    assert len(runs) == len(set(runs)) == 4


def test_one_that_does_not_answer_is_not_waited_for(monkeypatch, sweep, recorded):
    monkeypatch.setattr(trackers, "LIMIT_S", 0.05)
    monkeypatch.setitem(trackers.TRACKERS, "mlflow", lambda sweep, out: lambda run: time.sleep(9))
    started = time.monotonic()
    (line,) = tracked(sweep, recorded)
    assert "no answer within" in line
    assert time.monotonic() - started < 5


def test_trackers_are_in_no_digest():
    with_them, without = sweep_of(trackers=["wandb", "mlflow"]), sweep_of()
    assert with_them.digest() == without.digest()
    assert [c.digest for c in with_them.cells] == [c.digest for c in without.cells]


def test_a_tracker_that_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None if name == "wandb" else name)
    (line,) = not_installed(["wandb", "mlflow"])
    assert line == "wandb is not installed: pip install citrus_ray[wandb]"


# ---- the real ones, where they are installed ----


@pytest.mark.slow
def test_mlflow_has_parameters_and_scores(sweep, recorded, monkeypatch):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{recorded}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert tracked(sweep, recorded) == []
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("small")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"from_scratch/a", "masked/b", "from_scratch/refit", "masked/refit"}
    masked = runs["masked/b"].data
    assert masked.params["1 task"] == "masked"
    assert masked.metrics[f"result/{VAL}"] == 0.75
    history = client.get_metric_history(runs["masked/b"].info.run_id, VAL)
    assert [(point.step, point.value) for point in history] == [(1, 0.4), (2, 0.6)]
    assert runs["masked/refit"].data.metrics[f"result/{TEST}"] == pytest.approx(0.7)


@pytest.mark.slow
def test_wandb_writes_runs_without_a_network(recorded, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert tracked(sweep_of(trackers=["wandb"]), recorded) == []
    runs = list((recorded / "wandb").glob("offline-run-*"))
    assert len(runs) == 4
    assert all(list(run.glob("run-*.wandb")) for run in runs)
