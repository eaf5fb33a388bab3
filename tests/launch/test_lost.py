"""A Ray that goes away under a sweep is a line and an exit code of its own; the same command goes
on."""

import copy
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from citrus_ray.cli.main import EXIT_CODES
from citrus_ray.launch import local, lost
from citrus_ray.launch.local import RayLostError
from citrus_ray.launch.lost import Watch, daemons, watched
from tests.launch.conftest import TINY, lines
from tests.launch.test_interrupt import ROOT, _wait_for

SWEEP = SimpleNamespace(n_done=5, n_total=16)


@pytest.fixture
def daemon(tmp_path: Path):
    """A process that looks like a raylet."""
    program = tmp_path / "raylet"
    program.symlink_to(sys.executable)
    code = "import time; time.sleep(60)"
    process = subprocess.Popen([str(program), "-c", code, "--session-name=mine"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(lost, "_session", lambda: "mine")
    context = SimpleNamespace(gcs_address="127.0.0.1:1")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(lost, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(lost, "OWN_WAY_S", 0.05)


def test_daemons_of_other_sessions_are_not_watched(daemon: Any) -> None:
    _wait_for(lambda: daemons("mine"))
    assert daemons("mine") == {daemon.pid: "raylet"}
    assert daemons("min") == {}


@pytest.mark.usefixtures("session")
def test_an_error_that_comes_of_a_dead_daemon_says_so(
    daemon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _wait_for(lambda: daemons("mine"))
    monkeypatch.setattr(lost, "OWN_WAY_S", 60.0)

    def dies() -> None:
        daemon.kill()  # not waited for: it stays as an entry of the table
        _wait_for(lambda: not daemons("mine"))
        raise ConnectionError("57 lines of Ray's own state")

    with pytest.raises(RayLostError) as caught, watched(SWEEP):
        dies()
    said = "Ray was lost after 5 of 16 trials (the raylet ended); nothing recorded is lost"
    assert str(caught.value) == f"{said}; run the same command to go on"


@pytest.mark.usefixtures("session")
def test_an_error_beside_daemons_that_run_is_its_own(daemon: Any) -> None:
    _wait_for(lambda: daemons("mine"))
    with pytest.raises(ValueError, match="mine"), watched(SWEEP):
        raise ValueError("mine")


@pytest.mark.usefixtures("session")
def test_a_driver_that_ray_holds_leaves(
    daemon: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left, ended = list[int](), list[bool]()
    monkeypatch.setattr(os, "_exit", left.append)
    monkeypatch.setattr(local, "end", lambda: ended.append(True))
    _wait_for(lambda: daemons("mine"))

    def hangs() -> None:
        daemon.kill()
        _wait_for(lambda: left)

    with pytest.raises(RayLostError), watched(SWEEP):
        hangs()
    assert (left, ended) == ([lost.EXIT_CODE], [True])
    assert "Ray was lost after 5 of 16 trials" in capsys.readouterr().err
    assert f"{lost.EXIT_CODE} Ray did not start or was lost" in EXIT_CODES


def test_a_head_elsewhere_is_lost_when_it_is_silent_for_long() -> None:
    now = [0.0]
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        watch = Watch({os.getpid(): "raylet"}, address, lambda: now[0])
        for now[0] in (10.0, 20.0):
            assert watch.lost() is None
    for now[0] in (30.0, 60.0):  # a head that starts anew is waited for
        assert watch.lost() is None
    now[0] = 70.0
    assert watch.lost() == "the head has not answered for 50 s"


@pytest.mark.ray
def test_a_raylet_that_is_killed_is_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    command, out = _killed(tmp_path, "raylet")
    kept = {path.name: path.read_bytes() for path in (out / "records").glob("*.jsonl")}
    n = len(kept) + 2  # enough of the 12 to see it go on
    command += ["--set", f"budget.trials={n}"]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert second.returncode == 0, second.stderr
    (cell,) = json.loads((out / "summary.json").read_text())["cells"]
    assert (cell["n_trials"], cell["n_failed"]) == (n, 0)
    assert {name: (out / "records" / name).read_bytes() for name in kept} == kept


@pytest.mark.ray
def test_a_gcs_that_is_killed_is_one_line_and_fails_no_trial(tmp_path: Path) -> None:
    _, out = _killed(tmp_path, "gcs_server")
    assert {row["status"] for row in lines(out)} == {"ok"}


def _killed(home: Path, victim: str) -> tuple[list[str], Path]:
    """The command of a sweep that lost a daemon of its Ray, and its results."""
    tree = copy.deepcopy(TINY) | {"compare": {}, "budget": {"trials": 12}}
    tree["search"] = {"finetune.optim.lr": {"loguniform": [1e-3, 1e-2]}}
    tree["trial"]["finetune"]["steps"] = 600  # so that it does not end before the loss is seen
    (home / "spec.yaml").write_text(yaml.safe_dump(tree))
    out = home / "out"
    command = [sys.executable, "sweeps/run.py", str(home / "spec.yaml"), "--out", str(out)]
    sweep = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    _wait_for(lambda: len(list((out / "records").glob("*.jsonl"))) >= 2 or sweep.poll(), 300)
    assert sweep.returncode is None
    found = {name: _child(sweep.pid, name) for name in ("raylet", "gcs_server")}
    os.kill(found[victim], signal.SIGKILL)
    began = time.monotonic()
    _, said = sweep.communicate(timeout=120)
    print(f"over after {time.monotonic() - began:.1f} s")
    assert sweep.returncode == lost.EXIT_CODE, said
    told = [line for line in said.splitlines() if "Ray was lost" in line]
    assert len(told) == 1, said
    assert "nothing recorded is lost; run the same command to go on" in told[0]
    assert len(said.splitlines()) < 15, said
    _wait_for(lambda: not any(map(_runs, found.values())), 10)
    return command, out


def _child(parent: int, program: str) -> int:
    said = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(parent)], capture_output=True, text=True
    )
    found = [line.split() for line in said.stdout.splitlines()]
    return next((int(pid) for pid, words, *_ in found if Path(words).name == program), 0)


def _runs(pid: int) -> bool:
    """Not of one that has ended, whether or not somebody waited for it."""
    command = Path(f"/proc/{pid}/cmdline")
    return command.exists() and bool(command.read_bytes())
