"""docs/own-recordings.md, followed to the letter: its recordings, its commands, its sweeps."""

import os
import re
import subprocess
import sys

import pytest

from citrus_ray.data.windowing.cleaning import Cleaned
from tests.docs.pages import ROOT

NAME = "docs/own-recordings.md"
PAGE = (ROOT / NAME).read_text()
VERDICT = r"\n  (supported|undecided|contradicted|equivalent)"


def test_the_page_names_every_key_of_cleaning_and_the_readme_leads_to_it():
    for name in set(Cleaned.model_fields) - {"kind"}:
        assert f"`{name}" in PAGE, name
    assert "docs/own-recordings.md" in (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_commands_of_the_page_lead_from_a_folder_to_a_verdict(followed):
    reader = followed(NAME)
    *_, init, described, plan, sweep, cleaning = reader.said.values()
    assert "12 groups from its column group" in init
    assert "wrote study.yaml" in init
    assert "chance      0.50" in described
    signals = re.search(r"`(signals: finetune.target study: [^`]*)`", PAGE)
    assert signals
    assert signals[1] in plan
    assert re.search(VERDICT, sweep)
    assert (reader.folder / "results" / "study" / "report.html").exists()
    assert "notch 50 Hz" in cleaning
    assert "amplitudes as recorded" in cleaning


@pytest.mark.ray
def test_the_first_sweep_runs_to_its_verdict_as_it_was_written(followed, tmp_path):
    home = followed(NAME).folder
    env = os.environ | {"PYTHONPATH": str(ROOT), "CITRUS_CACHE": str(tmp_path / "cache")}
    call = [sys.executable, "-m", "citrus_ray", "run", "study.yaml", "--out", str(tmp_path / "out")]
    done = subprocess.run(call, cwd=home, env=env, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(VERDICT, done.stdout)
    assert (tmp_path / "out" / "report.html").exists()
