"""`citrus predict`: recordings in, tables out that a spreadsheet opens; or nothing at all."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray.cli.predict import main
from citrus_ray.data.tools.export import write_edf, write_npz
from tests.inference.conftest import RATE, VALUE, Keep
from tests.inference.conftest import keep as keep
from tests.inference.conftest import model as model
from tests.inference.conftest import signal as signal
from tests.inference.conftest import study as study

NAMES = ("syn0", "syn1")


def predict(model: Any, *words: object) -> int:
    return main([str(model.folder), *map(str, words)])


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))


def test_a_folder_gives_a_row_per_window_and_a_row_per_recording(model, study, tmp_path, capsys):
    out = tmp_path / "p.csv"
    assert predict(model, study / "recordings", "--out", out) == 0
    rows, means = rows_of(out), rows_of(tmp_path / "p-recordings.csv")
    assert (len(rows), len(means)) == (64, 8)
    head = ["recording", "start_s", "stop_s", "predicted", "p(12 Hz)", "p(5 Hz)"]
    assert list(rows[0]) == head
    assert rows[1]["recording"] == "subject00.edf"
    assert (rows[1]["start_s"], rows[1]["stop_s"]) == ("1.28", "2.56")
    found = model.predict({"x": study / "recordings" / "subject00.edf"}).outputs
    written = np.array([[row["p(12 Hz)"], row["p(5 Hz)"]] for row in rows[:8]]).astype(np.float32)
    assert np.array_equal(written, found)
    assert means[0]["windows"] == "8"
    assert np.float32(means[0]["p(5 Hz)"]) == pytest.approx(found[:, 1].mean())
    for row in (*rows, *means):
        best = max(("12 Hz", "5 Hz"), key=lambda name: float(row[f"p({name})"]))
        assert row["predicted"] == best
    assert "64 windows of 8 recordings" in capsys.readouterr().out


def test_lines_end_as_spreadsheets_have_them_and_letters_beyond_ascii_survive(
    model, signal, tmp_path
):
    (tmp_path / "µ").mkdir()
    write_npz(tmp_path / "µ" / "a,b.npz", signal, RATE, NAMES, ("eeg", "eeg"))
    out = tmp_path / "p.csv"
    assert predict(model, tmp_path / "µ" / "a,b.npz", "--out", out) == 0
    text = out.read_bytes().decode("utf-8")
    assert text.startswith("\ufeffrecording,")
    assert text.count("\r\n") == 6 == text.count("\n")
    assert rows_of(out)[0]["recording"].endswith("µ/a,b.npz")


def test_a_table_says_what_to_cut_and_its_labels_come_back(model, study, tmp_path):
    out = tmp_path / "p.csv"
    words = [study / "recordings", "--where", study / "labels.csv", "--out", out]
    assert predict(model, *words) == 0
    rows = rows_of(out)
    known = list(csv.DictReader((study / "labels.csv").open()))
    assert [row["label"] for row in rows] == [row["label"] for row in known]
    assert [float(row["start_s"]) for row in rows] == [float(row["start_s"]) for row in known]
    plain = tmp_path / "plain.csv"
    predict(model, study / "recordings", "--out", plain)
    assert [row["p(5 Hz)"] for row in rows_of(plain)] == [row["p(5 Hz)"] for row in rows]


def test_a_table_of_a_whole_study_tells_of_the_recordings_that_are_given(
    model, study, tmp_path, signal, capsys
):
    out = tmp_path / "p.csv"
    write_npz(tmp_path / "other.npz", signal, RATE, NAMES, ("eeg", "eeg"))
    given = [study / "recordings" / "subject03.edf", tmp_path / "other.npz"]
    assert predict(model, *given, "--where", study / "labels.csv", "--out", out) == 0
    assert {Path(row["recording"]).name for row in rows_of(out)} == {"subject03.edf"}
    assert "other.npz: no row of the table is of it" in capsys.readouterr().err


def test_what_does_not_fit_writes_nothing_and_can_be_left_out(model, signal, tmp_path, capsys):
    write_edf(tmp_path / "good.edf", signal, RATE, NAMES)
    write_edf(tmp_path / "short.edf", signal[:, :60], RATE, NAMES)
    out = tmp_path / "out" / "p.csv"
    assert predict(model, tmp_path, "--out", out) == 2
    said = capsys.readouterr().err
    assert "short.edf: length: is 1.2 s long" in said
    assert "1 problem; nothing was written" in said
    assert not out.exists()
    assert predict(model, tmp_path, "--out", out, "--skip") == 1
    assert "left out: " in capsys.readouterr().err
    assert {row["recording"] for row in rows_of(out)} == {"good.edf"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing.edf"], "there is no file nothing.edf"),
        (["EMPTY"], "holds no recording"),
        (["good.edf", "--rename", "syn0"], "'syn0': must read MODEL=RECORDED"),
        (["good.edf", "--rename", "syn0=syn1"], "syn1 stands for two channels"),
        (["good.edf", "--rename", "Cz=syn1"], "the model reads no channel `Cz`"),
        (["good.edf", "--stride", "0"], "--stride: 0: must be seconds above 0"),
        (["good.edf", "--where", "nothing.csv"], "nothing.csv"),
        (["good.edf", "--out", "good.edf"], "good.edf is one of the recordings"),
    ],
)
def test_wrong_words_are_refused(model, signal, tmp_path, words, said, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("EMPTY").mkdir()
    write_edf(Path("good.edf"), signal, RATE, NAMES)
    before = Path("good.edf").read_bytes()
    assert predict(model, "--out", "p.csv", *words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert Path("good.edf").read_bytes() == before
    assert not Path("p.csv").exists()


def test_a_folder_that_is_no_model_is_refused(tmp_path, study, capsys):
    assert main([str(tmp_path), str(study), "--out", str(tmp_path / "p.csv")]) == 2
    assert "holds no model.json; `final: {keep: true}`" in capsys.readouterr().err


def test_a_disk_that_is_full_leaves_no_half_table(model, study, tmp_path, monkeypatch, capsys):
    from citrus_ray import records

    def full(path: Path, content: bytes) -> Path:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(records, "write_bytes", full)
    out = tmp_path / "p.csv"
    assert predict(model, study / "recordings", "--out", out) == 2
    assert "p.csv: No space left on device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_gaps_cost_windows_and_it_is_said(keep: Keep, signal, tmp_path, capsys):
    found, _ = keep()
    signal[0, 70] = np.nan
    write_npz(tmp_path / "x.npz", signal, RATE, NAMES, ("eeg", "eeg"))
    assert predict(found, tmp_path / "x.npz", "--out", tmp_path / "p.csv") == 0
    assert "note: dropped for missing samples: 1 of 5 windows" in capsys.readouterr().err
    assert [row["start_s"] for row in rows_of(tmp_path / "p.csv")] == ["0", "2.56", "3.84", "5.12"]


def test_a_value_stands_in_a_column_of_its_own(keep: Keep, study, tmp_path):
    found, _ = keep(**VALUE)
    out = tmp_path / "p.csv"
    assert predict(found, study / "recordings" / "subject00.edf", "--out", out) == 0
    assert list(rows_of(out)[0]) == ["recording", "start_s", "stop_s", "value"]
    values = [float(row["value"]) for row in rows_of(out)]
    assert len(values) == 8
    (mean,) = rows_of(tmp_path / "p-recordings.csv")
    assert float(mean["value"]) == pytest.approx(np.mean(values), rel=1e-5)
