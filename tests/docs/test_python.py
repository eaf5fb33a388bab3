"""docs/python.md and examples/ run as they are written, and say what they promise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAYS = {
    "own_recordings": "pre-training on the study helps to tell its classes apart",
    "own_model": "masked, custom",
    "reading_results": "['gain', ",
}


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
    assert {path.stem for path in (ROOT / "examples").iterdir() if path.is_file()} == set(SAYS)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SAYS))
def test_an_example_runs_and_says_what_it_is_about(name, tmp_path):
    assert SAYS[name] in run(tmp_path, str(ROOT / "examples" / f"{name}.py"))
