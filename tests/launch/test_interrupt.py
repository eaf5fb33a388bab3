"""Ctrl-C on a real sweep, in a process of its own."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.launch.conftest import TINY, lines

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.ray
def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(tmp_path: Path) -> None:
    tree = copy.deepcopy(TINY) | {"compare": {}, "budget": {"trials": 12}}
    tree["search"] = {"finetune.optim.lr": {"loguniform": [1e-3, 1e-2]}}
    tree["trial"]["finetune"]["steps"] = 40
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(tree))
    out = tmp_path / "out"
    command = [sys.executable, "sweeps/run.py", str(tmp_path / "spec.yaml"), "--out", str(out)]
    first = subprocess.Popen(command, cwd=ROOT, env=os.environ, stderr=subprocess.PIPE, text=True)
    _wait_for(lambda: len(list((out / "records").glob("*.jsonl"))) >= 2)
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=90)
    assert first.returncode == 130, err
    assert "run the same command to go on" in err

    kept = {path.name: path.read_bytes() for path in (out / "records").glob("*.jsonl")}
    assert 2 <= len(kept) < 13
    assert all(row["status"] in ("ok", "pruned") for row in lines(out))

    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert second.returncode == 0, second.stderr
    (cell,) = json.loads((out / "summary.json").read_text())["cells"]
    assert cell["n_trials"] == 12
    assert {name: (out / "records" / name).read_bytes() for name in kept} == kept


def _wait_for(happened: object, patience_s: float = 90) -> None:
    assert callable(happened)
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if happened():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")
