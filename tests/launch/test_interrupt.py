"""Ctrl-C and SIGTERM on a real sweep, in a process of its own."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest
import yaml

from citrus_ray.store import open_storage
from citrus_ray.store.leases import Leases
from tests.launch.conftest import TINY, lines

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.ray
def test_sigterm_keeps_what_is_finished_and_the_same_command_goes_on(tmp_path: Path) -> None:
    tree = copy.deepcopy(TINY) | {"compare": {}, "budget": {"trials": 12}}
    tree["search"] = {"finetune.optim.lr": {"loguniform": [1e-3, 1e-2]}}
    tree["trial"]["finetune"]["steps"] = 40
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(tree))
    out = tmp_path / "out"
    command = [sys.executable, "sweeps/run.py", str(tmp_path / "spec.yaml"), "--out", str(out)]
    first = subprocess.Popen(command, cwd=ROOT, env=os.environ, stderr=subprocess.PIPE, text=True)
    _wait_for(lambda: len(list((out / "records").glob("*.jsonl"))) >= 2)
    assert "--disable-frontend" in _dashboard(first.pid), (
        "its modules take seconds to start, and only Ray Train asks them"
    )
    first.send_signal(signal.SIGTERM)
    _, err = first.communicate(timeout=90)
    assert first.returncode == 143, err
    _assert_no_stack(err)
    assert "run the same command to go on" in err

    kept = {path.name: path.read_bytes() for path in (out / "records").glob("*.jsonl")}
    assert 2 <= len(kept) < 13
    assert all(row["status"] in ("ok", "pruned") for row in lines(out))

    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert second.returncode == 0, second.stderr
    (cell,) = json.loads((out / "summary.json").read_text())["cells"]
    assert cell["n_trials"] == 12
    assert {name: (out / "records" / name).read_bytes() for name in kept} == kept


@pytest.mark.ray
def test_ctrl_c_is_heard_while_only_a_pretraining_runs_and_nothing_holds_it_afterwards(
    tmp_path: Path,
) -> None:
    tree = copy.deepcopy(TINY) | {"compare": {}, "budget": {"trials": 1}}
    tree["trial"]["pretrain"] |= {"task": {"kind": "masked"}, "epochs": 1_000_000, "seed": 5}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(tree))
    command = [
        sys.executable,
        "sweeps/run.py",
        str(tmp_path / "spec.yaml"),
        "--out",
        str(tmp_path / "out"),
    ]
    store = open_storage(tmp_path / "store")
    env = os.environ | {"CITRUS_STORE": store.name}
    sweep = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
    _wait_for(lambda: any("claim-" in file.name for file in store.list()))
    digest = store.list()[0].folder
    time.sleep(3)  # so that Tune, with no trial to run, waits for one
    sweep.send_signal(signal.SIGINT)
    _, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 130, err
    _wait_for(lambda: Leases(store).holder(digest) is None)


def _dashboard(pid: int) -> str:
    """How the Ray that this process started has started its dashboard."""
    started = subprocess.run(
        ["ps", "-ww", "-o", "args", "--ppid", str(pid)], capture_output=True, text=True, check=True
    )
    (found,) = [line for line in started.stdout.splitlines() if "dashboard.py" in line]
    return found


def _wait_for(happened: object, patience_s: float = 90) -> None:
    assert callable(happened)
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if happened():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


@pytest.mark.ray
def test_ctrl_c_is_heard_at_once_and_waits_for_no_trial(tmp_path: Path) -> None:
    tree = copy.deepcopy(TINY) | {"compare": {}, "budget": {"trials": 4}}
    tree["search"] = {"finetune.optim.lr": {"loguniform": [1e-3, 1e-2]}}
    tree["trial"]["finetune"] |= {"steps": 10_000_000}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(tree))
    command = [
        sys.executable,
        "sweeps/run.py",
        str(tmp_path / "spec.yaml"),
        "--out",
        str(tmp_path / "out"),
    ]
    sweep = subprocess.Popen(command, cwd=ROOT, env=os.environ, stderr=subprocess.PIPE, text=True)
    assert sweep.stderr is not None
    _read_to(sweep.stderr, " running", not_in="0 running")
    sent = time.monotonic()
    sweep.send_signal(signal.SIGINT)
    said = _read_to(sweep.stderr, "stopping ")
    heard = time.monotonic() - sent
    _, rest = sweep.communicate(timeout=90)
    assert sweep.returncode == 130
    assert "run the same command to go on" in rest
    _assert_no_stack(rest)
    assert said.endswith("under way; Ctrl-C leaves at once\n")
    assert heard < 3
    assert not list((tmp_path / "out" / "records").glob("*.jsonl"))
    print(f"heard after {heard:.2f} s, gone after {time.monotonic() - sent:.2f} s")


def _assert_no_stack(said: str) -> None:
    assert "***" not in said, "the stack that Ray shows"
    assert "Traceback" not in said


def _read_to(lines: IO[str], text: str, not_in: str = "\n\n") -> str:
    """The first line that has `text`; the test's own time limit is the end of patience."""
    return next(line for line in lines if text in line and not_in not in line)
