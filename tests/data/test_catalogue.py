"""The catalogue: every set that a sweep may name and every original, with what it holds and where
it is. That what it says is true of the recordings is in test_sets.py."""

import json

from citrus_ray.data import sets
from citrus_ray.data.__main__ import main
from citrus_ray.data.originals import originals
from tests.data import originals as published


def rows(said: str) -> dict[str, str]:
    """Lines of the list by the name that they begin with, those of originals last."""
    return {line.split()[0]: line for line in said.splitlines() if "  " in line}


def test_it_shows_every_set_with_what_it_holds_and_its_licence(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("CITRUS_DATA", str(tmp_path))
    assert main(["list"]) == 0
    found = rows(capsys.readouterr().out)
    assert {*sets.names(), *originals(), "name"} == set(found)
    assert all(" -  -  -" not in line for line in found.values())
    words = "har_watch motion 23 subjects 5 100 Hz 0.5 not there CC BY 4.0"
    assert found["har_watch"].split() == words.split()
    page = "ODC-BY 1.0; https://physionet.org/content/sleep-edfx"
    assert page in found["sleep_edf"]
    assert "not there; fetch it" in found["sleep_edf"]


def test_it_says_where_a_set_is_and_takes_no_other_layout_for_it(capsys, tmp_path):
    (tmp_path / "uwave" / "recordings").mkdir(parents=True)
    (tmp_path / "uwave" / "recordings" / "a.npz").touch()
    (tmp_path / "emgdb").mkdir()
    published.emgdb(tmp_path / "emgdb", (16, 16, 16), 1500)
    assert main(["list", "--root", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    there = {kind: {e["name"] for e in of if e["is_there"]} for kind, of in found.items()}
    # the needle EMG is read from its originals; a set needs its labels, which `describe` asks for
    assert there == {"sets": {"uwave", "emgdb_windows"}, "originals": {"emgdb"}}
    (folder,) = (e["folder"] for e in found["sets"] if e["name"] == "uwave")
    assert folder == str(tmp_path / "uwave")
