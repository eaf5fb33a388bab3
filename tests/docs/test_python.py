"""docs/python.md and examples/ run as they are written, and say what they promise."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SAYS = {
    "own_recordings": "pre-training on the study helps to tell its classes apart",
    "own_model": "masked, custom",
}
NOTEBOOK = ROOT / "examples" / "reading_results.ipynb"


def run(home: Path, *words: str) -> str:
    env = os.environ | {"PYTHONPATH": str(ROOT), "CITRUS_STORE": str(home / "store")}
    call = [sys.executable, *words]
    done = subprocess.run(call, cwd=home, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_its_code_runs_from_the_first_line_to_the_last(followed):
    folder = followed("docs/python.md").folder
    assert (folder / "gains.png").stat().st_size > 1000
    assert (folder / "results" / "mine" / "report.html").is_file()


def test_every_example_is_one_that_is_run():
    there = {path.name for path in (ROOT / "examples").iterdir() if path.is_file()}
    assert there == {f"{name}.py" for name in SAYS} | {NOTEBOOK.name}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SAYS))
def test_an_example_runs_and_says_what_it_is_about(name, tmp_path):
    assert SAYS[name] in run(tmp_path, str(ROOT / "examples" / f"{name}.py"))


def shown(notebook: Any) -> list[list[str]]:
    """The kinds of output of each cell of code."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [
        [kind for out in cell["outputs"] for kind in sorted(out.get("data", [out.get("name")]))]
        for cell in cells
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)  # a kernel, a sweep and its page: 40 s of a free machine
def test_the_notebook_runs_and_shows_what_it_is_kept_with(tmp_path, monkeypatch):
    client = pytest.importorskip("nbclient", reason="in the extra `dev`")
    notebook = pytest.importorskip("nbformat").read(NOTEBOOK, as_version=4)
    kept = shown(notebook)
    places = {"HOME": tmp_path, "PYTHONPATH": ROOT, "CITRUS_STORE": tmp_path / "store"}
    for name, value in places.items():
        monkeypatch.setenv(name, str(value))
    run = client.NotebookClient(
        notebook, timeout=280, resources={"metadata": {"path": str(tmp_path)}}
    )
    run.execute()
    found = [[kind for kind in cell if kind != "stderr"] for cell in shown(notebook)]
    assert found == kept
    assert kept[-1] == ["stdout", "image/png", "text/plain"]


def test_the_notebook_is_small_and_holds_no_path_of_a_machine():
    text = NOTEBOOK.read_text()
    assert len(text) < 60_000
    assert "/home/" not in text
    assert "/tmp/" not in text
    assert all("stderr" not in str(cell.get("outputs")) for cell in json.loads(text)["cells"])
