"""docs/own-model.md, followed to the letter: its files, its contract tests, its sweep."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.small import SCRATCH

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "own-model.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the page asks for, by the names that it gives them."""
    home = tmp_path_factory.mktemp("mine")
    for block in blocks("python"):
        (home / block.splitlines()[0].removeprefix("# ")).write_text(block)
    (home / "mine.yaml").write_text(blocks("yaml")[0])
    return home


def run(folder: Path, command: str) -> str:
    """A command of the page; `sweeps/run.py` is the checkout's, as it says."""
    setting, *words = shlex.split(command)
    assert setting == "PYTHONPATH=."
    words = [str(ROOT / w) if w == "sweeps/run.py" else w for w in words]
    words = [sys.executable, *words[1:]] if words[0] == "python" else words
    path = os.pathsep.join([str(folder), str(ROOT)])
    env = os.environ | {"PYTHONPATH": path, "CITRUS_CACHE": str(folder / "cache")}
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line]


def test_the_method_of_the_page_is_a_model(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    said = re.findall(r"`model: ([^`]*my_method:Means[^`]*)`", PAGE)
    assert len(said) == 2
    for model in (yaml.safe_load(text) for text in said):
        trial = SCRATCH.at({"model": model, "finetune.labels": {"per_class": 12}})
        assert getattr(trial.model, "power", None) in (1.0, 2.0)
        assert 0 < trial.run()["val/balanced_accuracy"] <= 1


@pytest.mark.slow
def test_the_network_of_the_page_keeps_the_contract(folder):
    (contract,) = [c for c in commands() if "pytest" in c]
    assert re.search(r"^\d+ passed", run(folder, contract), re.MULTILINE)


@pytest.mark.slow
def test_the_sweep_of_the_page_is_planned(folder):
    (plan,) = [c for c in commands() if "--dry-run" in c]
    said = run(folder, plan)
    assert "masked: 2 trials x 2 members + 3 rounds of 1" in said


@pytest.mark.ray
def test_the_sweep_of_the_page_runs_to_its_end(folder):
    (sweep,) = [c for c in commands() if c.endswith("mine.yaml")]
    assert "gain over scratch" in run(folder, sweep)
    assert (folder / "results" / "mine" / "report.html").exists()


def test_every_room_that_packages_can_fill_is_named():
    code = "".join(path.read_text() for path in (ROOT / "citrus_ray").rglob("*.py"))
    rooms = set(re.findall(r'(?:Kinds\([^\n]*, (?:room=)?|entry_points\()"(\w+)"\)', code))
    assert rooms == {"models", "tasks", "sources", "augmentations", "views", "baselines"}
    assert all(re.search(rf"`(citrus_ray)?\.{room}`", PAGE) for room in rooms)
