"""docs/own-recordings.md, followed to the letter: its recordings, its commands, its sweeps."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from citrus_ray.data.windowing.cleaning import Cleaned

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "own-recordings.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line]


def run(home: Path, command: str) -> str:
    """A command of the page; `citrus` is the one of this checkout."""
    words = shlex.split(command)
    words = {
        "citrus": [sys.executable, "-m", "citrus_ray.cli.citrus"],
        "python": [sys.executable],
    }.get(words[0], words[:1]) + words[1:]
    env = os.environ | {"PYTHONPATH": str(ROOT), "CITRUS_CACHE": str(home / "cache")}
    done = subprocess.run(words, cwd=home, env=env, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the page, and its first two commands done."""
    home = tmp_path_factory.mktemp("own")
    (home / "make_recordings.py").write_text(blocks("python")[0])
    (home / "cleaning.yaml").write_text(blocks("yaml")[0])
    for command in COMMANDS[:2]:
        run(home, command)
    return home


def test_the_page_names_every_key_of_cleaning_and_the_readme_leads_to_it():
    for name in set(Cleaned.model_fields) - {"kind"}:
        assert f"`{name}" in PAGE, name
    assert "docs/own-recordings.md" in (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_commands_of_the_page_lead_from_a_folder_to_a_plan(home):
    init, describe, plan, *_ = COMMANDS[2:]
    said = run(home, init)
    assert "12 groups from its column group" in said
    assert "wrote study.yaml" in said
    assert "chance      0.50" in run(home, describe)
    signals = re.search(r"`(signals: finetune.target study: [^`]*)`", PAGE)
    assert signals
    assert signals[1] in run(home, plan)


@pytest.mark.ray
def test_the_first_sweep_runs_to_its_verdict(home):
    if not (home / "study.yaml").exists():
        run(home, COMMANDS[2])
    said = run(home, COMMANDS[-2])
    assert re.search(r"\n  (supported|undecided|contradicted|equivalent)", said)
    assert (home / "results" / "study" / "report.html").exists()


@pytest.mark.ray
def test_the_cleaning_of_the_page_is_compared(home):
    said = run(home, COMMANDS[-1])
    assert "notch 50 Hz" in said
    assert "amplitudes as recorded" in said
