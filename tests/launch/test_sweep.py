"""Whole sweeps on a real local cluster."""

import copy
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from citrus_ray.cli.main import main
from tests.launch.conftest import TINY, command, lines

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]
Run = Callable[..., tuple[int, Path]]
LR = {"finetune.optim.lr": {"loguniform": [1e-3, 1e-2]}}


def tiny(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(TINY) | changes


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, results: Path, cluster: None) -> Path:
    """The results of TINY, run to its end."""
    out = results / "finished"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CITRUS_STORE", str(results / "store"))
        assert command(TINY, tmp_path_factory.mktemp("finished"), out) == 0
    return out


def test_a_sweep_ends_with_records_a_summary_and_a_gain_and_runs_once_only(
    finished: Path, capsys: Any
) -> None:
    found = json.loads((finished / "summary.json").read_text())
    scratch, masked = found["cells"]
    assert (scratch["n_trials"], masked["n_trials"]) == (3, 3)
    assert masked["gain"]["n"] == 2
    assert masked["gain"]["mean"] == pytest.approx(masked["test"]["mean"] - scratch["test"]["mean"])
    assert scratch["gain"] is None
    rows = lines(finished)
    assert len(rows) == 2 * (3 * 2 + 2)  # cells x (trials x seeds + fresh seeds)
    assert {row["encoder"] is None for row in rows if row["axes"]["pretrain.task"] is None} == {
        True
    }
    assert all(
        row["versions"]["ray"] and row["data_digest"] and row["concurrency"] == 2 for row in rows
    )
    assert not any(
        name.startswith("test/")
        for row in rows
        if row["phase"] == "search"
        for name in row["metrics"]
    )

    before = {path: path.stat().st_mtime_ns for path in (finished / "records").iterdir()}
    assert main([str(finished)]) == 0
    assert {path: path.stat().st_mtime_ns for path in (finished / "records").iterdir()} == before
    said = capsys.readouterr()
    assert "nothing to compute" in said.err
    assert "tensorboard --logdir" in said.out


def test_a_larger_budget_keeps_what_was_computed_and_adds_the_rest(
    finished: Path, run: Run, tmp_path: Path
) -> None:
    out = finished.parent / tmp_path.name
    shutil.copytree(finished, out)
    before = {path.name: path.read_bytes() for path in (out / "records").iterdir()}
    code, found = run(tiny(budget={"trials": 4}))
    assert (code, found) == (0, out)
    after = {path.name: path.read_bytes() for path in (out / "records").iterdir()}
    assert before.items() < after.items()
    counts = [cell["n_trials"] for cell in json.loads((out / "summary.json").read_text())["cells"]]
    assert counts == [4, 4]


def test_a_trial_that_diverges_is_a_failed_row_and_the_sweep_goes_on(run: Run) -> None:
    tree = tiny(search={"finetune.optim.lr": {"choice": [1e-3, 1e30]}}, budget={"trials": 2})
    code, out = run(tree | {"compare": {}})
    (cell,) = json.loads((out / "summary.json").read_text())["cells"]
    assert cell["n_failed"] == 1
    assert cell["best"] == {"finetune.optim.lr": 1e-3}
    assert cell["test"]
    failed = [row for row in lines(out) if row["status"] == "failed"]
    assert failed
    assert all("step" in row["reason"] and "lr=" in row["reason"] for row in failed)
    assert code == 0


def test_a_pretraining_that_fails_fails_its_trials_and_not_the_scratch_arm(run: Run) -> None:
    tree = tiny(budget={"trials": 1})
    tree["trial"]["pretrain"]["optim"] = {"lr": 1e30}
    code, out = run(tree)
    scratch, masked = json.loads((out / "summary.json").read_text())["cells"]
    assert (scratch["n_failed"], masked["n_failed"]) == (0, 1)
    assert any(
        "pre-training failed" in reason and "step" in reason for reason in masked["failures"]
    )
    assert masked["test"] is None
    assert code == 1


@dataclass(frozen=True)
class Shared:
    """A sweep whose pre-trainings have two workers each."""

    code: int
    out: Path
    held: list[int]  # the trials that Tune knew of, whenever it chose one


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, results: Path, cluster: None) -> Shared:
    from citrus_ray.launch.tune import Forgets

    held: list[int] = []
    choose = Forgets.choose_trial_to_run

    def noted(scheduler: Forgets, controller: Any) -> Any:
        chosen = choose(scheduler, controller)
        held.append(len(controller.get_trials()))
        return chosen

    tree = tiny(budget={"trials": 8}, repeat={"seed": [0]}, search=LR)
    tree["compare"] = {"pretrain.task": [{"kind": "masked"}]}
    tree["trial"]["pretrain"] |= {"workers": 2, "seed": 77}
    out = results / "shared"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CITRUS_STORE", str(results / "store"))
        patch.setattr(Forgets, "choose_trial_to_run", noted)
        return Shared(command(tree, tmp_path_factory.mktemp("shared"), out), out, held)


def test_pretraining_runs_data_parallel_on_two_workers(shared: Shared) -> None:
    assert shared.code == 0
    searched, *rounds = sorted(
        {row["encoder"]: row["phase"] == "final" for row in lines(shared.out)}.items(),
        key=lambda item: item[1],
    )
    assert len(rounds) == 2, "an encoder for each round"
    digest = searched[0]
    meta = json.loads((shared.out.parent / "store" / digest / "meta.json").read_text())
    assert [row["epoch"] for row in meta["history"]] == [1, 2]
    assert meta["workers"] == 2


def test_trials_that_are_over_are_forgotten_and_no_placement_group_is_left(shared: Shared) -> None:
    """What Tune keeps of a long sweep, and what Ray Train leaves where a trial ends, stays."""
    from ray.util import placement_group_table

    assert max(shared.held) <= 5, "of 8 trials and 2 rounds, those under way and some just ended"
    _wait_until(lambda: {g["state"] for g in placement_group_table().values()} <= {"REMOVED"})


def test_asha_stops_trials_early_and_says_so(run: Run) -> None:
    tree = tiny(asha={"grace": 1, "reduction": 2}, budget={"trials": 8}, compare={})
    tree["search"] = {"finetune.optim.lr": {"loguniform": [1e-6, 1e-2]}}
    tree["trial"]["finetune"] |= {"rounds": 6, "steps": 24}
    code, out = run(tree)
    assert code == 0
    pruned = [row for row in lines(out) if row["status"] == "pruned"]
    assert pruned
    assert all(row["phase"] == "search" and row["metrics"]["round"] < 6 for row in pruned)
    (cell,) = json.loads((out / "summary.json").read_text())["cells"]
    assert cell["n_pruned"] > 0
    assert cell["n_trials"] == 8


def test_a_race_stops_clearly_worse_trials_after_some_members_and_says_what_it_saved(
    run: Run, capsys: Any
) -> None:
    tree = tiny(
        race={"after": 2, "alpha": 0.3},
        budget={"trials": 6},
        compare={},
        repeat={"seed": [0, 1, 2, 3, 4]},
    )
    tree["search"] = {"finetune.optim.lr": {"choice": [3e-3, 1e-6, 2e-6, 3e-6, 4e-6, 5e-6]}}
    tree |= {"sampler": "grid", "concurrency": 1}
    tree["trial"]["finetune"] |= {"steps": 60, "labels": {"fraction": 1.0}}
    code, out = run(tree)
    assert code == 0
    (cell,) = json.loads((out / "summary.json").read_text())["cells"]
    pruned = [row for row in lines(out) if row["status"] == "pruned"]
    assert cell["n_pruned"] > 0
    assert cell["cost"]["members_saved"] == 5 * cell["n_pruned"] - len(pruned) > 0
    assert cell["best"] == {"finetune.optim.lr": 3e-3}
    assert "racing left out" in capsys.readouterr().out


def test_tensorboard_serves_every_trial_with_its_hyper_parameters(finished: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(finished / "tensorboard"),
        "--port",
        str(port),
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        base = f"http://127.0.0.1:{port}/data"
        runs = _get(f"{base}/runs")
        trials = [name for name in runs if not name.startswith("pretrain/")]
        assert len(trials) == 8  # 2 cells x (3 searched + the winner)
        assert {name.split("/")[0] for name in trials} == {"from_scratch", "masked"}
        query = {
            "experimentName": "",
            "allowedStatuses": ["STATUS_SUCCESS"],
            "sliceSize": 100,
            "colParams": [],
        }
        body = json.dumps(query).encode()
        groups = _get(f"{base}/plugin/hparams/session_groups", body)["sessionGroups"]
        hparams = [group["hparams"] for group in groups]
        assert len(hparams) == 8, "pre-trainings are no rows of it"
        assert {h["1 task"] for h in hparams} == {"from scratch", "masked"}
        assert {h["ratio"] for h in hparams} == {"absent", "0.5"}
        assert all(1e-3 <= h["lr"] <= 1e-2 for h in hparams)
    finally:
        server.terminate()
        server.wait()


def _get(url: str, body: bytes | None = None, patience_s: float = 60) -> Any:
    """The JSON at `url`, once the server is up and has read its files."""
    last: Exception | None = None
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        try:
            request = urllib.request.Request(
                url, body, {"Content-Type": "application/json"} if body else {}
            )
            with urllib.request.urlopen(request, timeout=10) as answer:
                found = json.load(answer)
            if found and (not isinstance(found, dict) or found.get("sessionGroups", True)):
                return found
        except OSError as err:
            last = err
        time.sleep(0.5)
    raise AssertionError(f"{url} gave nothing in {patience_s} s: {last}")


def _wait_until(true: Callable[[], bool], patience_s: float = 30.0) -> None:
    until = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < until, "it never was"
        time.sleep(0.2)
