"""docs/take-home.md, followed to the letter: a stranger's EDF goes in, a CSV comes out."""

import csv
import re

import pytest

from tests.docs.pages import ROOT

NAME = "docs/take-home.md"
PAGE = (ROOT / NAME).read_text()


@pytest.mark.slow
def test_the_page_from_a_sweep_to_a_table_and_an_exported_file(followed):
    reader = followed(NAME)
    folder = reader.folder
    _, _, predicted, asked, exported = reader.said.values()
    assert len(list((folder / "results" / "keep" / "models").glob("*/round-*/model.json"))) == 4
    assert "22 windows of 2 recordings: visits.csv" in predicted
    (shown,) = re.findall(r"^recording,.*$", PAGE, re.MULTILINE)
    with (folder / "visits.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == shown
    assert rows[0]["recording"] == "visit1.edf"
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in row if name.startswith("p("))
    assert len((folder / "visits-recordings.csv").read_text().splitlines()) == 3
    assert "('13 Hz', '19 Hz', '6 Hz', '9 Hz')" in asked
    assert "probabilities (B, 4), equal to the model" in exported
    assert (folder / "model.pt").stat().st_size > 1000


def test_every_flag_of_the_page_is_there_and_every_flag_is_on_the_page():
    from citrus_ray.cli.predict import parser

    known = {text for action in parser()._actions for text in action.option_strings}
    named = set(re.findall(r"(?<![\w-])--[a-z]+", PAGE)) - {"--to", "--set"}
    assert named == {text for text in known if text.startswith("--")} - {"--help"}
