"""docs/formats.md: every ending and key that there is, and its example as it stands."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from citrus_ray.data.formats.known import FORMATS
from citrus_ray.data.formats.recordings import read_annotations, read_header, read_start
from citrus_ray.data.formats.signals import FileLayout
from citrus_ray.data.sources.files import Files
from citrus_ray.data.tools.convert import KEYS
from citrus_ray.spec import validate

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "formats.md").read_text()


def test_every_ending_is_in_the_table_with_what_stands_beside_its_channels():
    rows = [row.split("|") for row in PAGE.splitlines() if row.startswith("| `.")]
    told = {end: row[4] for row in rows for end in re.findall(r"`(\.[a-z0-9.]+)`", row[1])}
    assert set(told) == set(FORMATS)
    for end, form in FORMATS.items():
        assert ("annotations" in told[end]) == (form.marks is not None), end
        assert ("columns" in told[end]) == (form.column is not None), end


def test_every_key_of_a_layout_is_told_and_is_a_flag():
    for key in FileLayout.model_fields:
        assert re.search(rf"\b{key}\b", PAGE), key
    assert set(KEYS) == set(FileLayout.model_fields)


def test_the_example_of_npz_is_read_as_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CITRUS_CACHE", str(tmp_path / "cache"))
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code, {})
    header = read_header(tmp_path / "p01.npz")
    assert [(c.name, c.modality, c.unit) for c in header.channels] == [
        ("Fz", "eeg", "uV"),
        ("ECG", "ecg", "uV"),
    ]
    assert read_start(header) == 1_700_000_000
    assert read_annotations(header.path) == [(1.0, 2.0, "rest"), (4.0, 0.0, "tap")]
    spec: dict[str, Any] = {"kind": "files", "root": str(tmp_path), "pattern": "*.npz"}
    spec |= {"normalize": "none", "seconds": 1.0, "sfreq": 100.0, "labels": {"column": "stage"}}
    found = validate(Files, spec).prepare()
    assert found.class_counts() == {"N1": 5, "wake": 5}
    with np.load("p01.npz") as data:
        assert np.allclose(found.x[0], 0.1 * data["x"][:, :100])


def test_the_example_of_a_table_is_read_as_it_says(tmp_path):
    (table,) = re.findall(r"```\n(time,.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "a.csv"
    path.write_text(table + "0.008,0.1,0.03,rest\n")
    header = read_header(path)
    assert [(c.name, c.unit, c.sfreq) for c in header.channels] == [
        ("ecg [mV]", "mV", 250.0),
        ("acc_x", "", 250.0),
    ]
