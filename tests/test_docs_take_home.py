"""docs/take-home.md, followed to the letter: a stranger's EDF goes in, a CSV comes out."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.tools.export import write_edf, write_recordings

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "take-home.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the page asks for, a study, and two recordings of strangers: at another rate,
    with channels in another order and one more."""
    home = tmp_path_factory.mktemp("home")
    source = Synthetic(seed=3, n_subjects=8, windows_per_subject=24, normalize="none")
    write_recordings(source, home / "study", "edf")
    (home / "keep.yaml").write_text(blocks("yaml")[0])
    (home / "ask.py").write_text(blocks("python")[0])
    rng = np.random.default_rng(5)
    for name, rate in (("visit1", 200.0), ("visit2", 256.0)):
        x = rng.normal(size=(5, int(30 * rate))).astype(np.float32)
        write_edf(home / f"{name}.edf", x, rate, ("syn3", "extra", "syn1", "syn0", "syn2"))
    (home / "bin").mkdir()
    for name, module in (("citrus", "-m citrus_ray"), ("python", "")):
        script = home / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        script.chmod(0o755)
    return home


def run(folder: Path, commands: str) -> str:
    """Commands of the page, in one shell."""
    places = {"CITRUS_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    places |= {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "STUDY": str(folder / "study")}
    done = subprocess.run(
        ["sh", "-ec", commands],
        cwd=folder,
        env=os.environ | places,
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.ray
@pytest.mark.timeout(900)  # a sweep, then five commands: 90 s of a free machine
def test_the_page_from_a_sweep_to_a_table_and_an_exported_file(folder):
    keep, predict, ask, export = blocks("sh")
    run(folder, keep)
    assert len(list((folder / "results" / "keep" / "models").glob("*/round-*/model.json"))) == 4
    said = run(folder, predict)
    assert "22 windows of 2 recordings: visits.csv" in said
    (shown,) = re.findall(r"^recording,.*$", PAGE, re.MULTILINE)
    with (folder / "visits.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == shown
    assert rows[0]["recording"] == "visit1.edf"
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in row if name.startswith("p("))
    assert len((folder / "visits-recordings.csv").read_text().splitlines()) == 3
    assert "('13 Hz', '19 Hz', '6 Hz', '9 Hz')" in run(folder, ask)
    assert "probabilities (B, 4), equal to the model" in run(folder, export)
    assert (folder / "model.pt").stat().st_size > 1000


def test_every_flag_of_the_page_is_there_and_every_flag_is_on_the_page():
    from citrus_ray.cli.predict import parser

    known = {text for action in parser()._actions for text in action.option_strings}
    named = set(re.findall(r"(?<![\w-])--[a-z]+", PAGE)) - {"--to"}
    assert named == {text for text in known if text.startswith("--")} - {"--help"}
