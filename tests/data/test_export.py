"""Synthetic windows survive being written as real recordings."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.tools import export
from citrus_ray.spec import SpecError

SOURCE = Synthetic(n_subjects=2, windows_per_subject=5, n_chans=3, normalize="none")
SIGNAL = np.random.default_rng(0).normal(size=(3, 1000)).astype(np.float32)
NAMES = ("Fz", "Cz", "Pz")
STEP = np.ptp(SIGNAL, axis=1).max() / 2**16  # one step of 16 bits


def test_edf_reads_back_in_edfio_and_in_mne_to_within_one_step(tmp_path):
    import edfio
    import mne

    export.write_edf(tmp_path / "a.edf", SIGNAL, 250.0, NAMES)
    edf = edfio.read_edf(tmp_path / "a.edf")
    assert [s.label for s in edf.signals] == list(NAMES)
    assert {s.sampling_frequency for s in edf.signals} == {250.0}
    assert np.abs(np.stack([s.data for s in edf.signals]) - SIGNAL).max() < STEP
    raw = mne.io.read_raw_edf(tmp_path / "a.edf", verbose="ERROR")
    assert np.abs(raw.get_data() * 1e6 - SIGNAL).max() < STEP


def test_bdf_keeps_24_bits(tmp_path):
    import edfio

    export.write_edf(tmp_path / "a.bdf", SIGNAL, 250.0, NAMES)
    back = np.stack([s.data for s in edfio.read_bdf(tmp_path / "a.bdf").signals])
    assert np.abs(back - SIGNAL).max() < STEP / 10


def test_wfdb_reads_back_in_wfdb_to_within_one_step(tmp_path):
    import wfdb

    export.write_wfdb(tmp_path / "deep" / "rec_1", SIGNAL, 173.61, NAMES)
    record = wfdb.rdrecord(str(tmp_path / "deep" / "rec_1"))
    assert record.sig_name == list(NAMES)
    assert record.fs == 173.61
    assert np.abs(record.p_signal.T - SIGNAL).max() < STEP


@pytest.mark.parametrize("sfreq", [100.0, 173.61, 1000 / 3, 0.4])
@pytest.mark.parametrize("n_times", [997, 1000])
def test_edf_keeps_length_and_rate_where_its_eight_characters_do_not_hold_the_rate(
    tmp_path, sfreq, n_times
):
    import edfio

    x = np.arange(n_times, dtype=np.float32)[None]
    export.write_edf(tmp_path / "a.edf", x, sfreq, ["a"])
    signal = edfio.read_edf(tmp_path / "a.edf").signals[0]
    assert len(signal.data) == n_times
    assert signal.sampling_frequency == pytest.approx(sfreq, rel=1e-4)


@pytest.mark.parametrize("fmt", ["edf", "wfdb", "npz"])
def test_there_is_one_recording_per_subject_and_one_label_row_per_window(tmp_path, fmt):
    paths = export.write_recordings(SOURCE, tmp_path, fmt)
    assert [path.stem for path in paths] == ["subject00", "subject01"]
    assert all(path.is_file() for path in paths)
    with (tmp_path / "labels.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    windows = SOURCE.prepare()
    assert [row["label"] for row in rows] == [windows.classes[y] for y in windows.labels]
    assert [row["group"] for row in rows] == [windows.groups[g] for g in windows.group]
    assert [float(row["start_s"]) for row in rows[:3]] == pytest.approx([0, 2.56, 5.12])


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    export.write_npz(path, SIGNAL, 100.0, NAMES, ["eeg"] * 3)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        export.write_npz(path, SIGNAL * 2, 100.0, NAMES, ["eeg"] * 3)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("suffix", [".edf", ".hea"])
def test_a_gap_is_refused_because_the_formats_would_write_it_as_a_value(tmp_path, suffix):
    x = SIGNAL.copy()
    x[1, 5] = np.nan
    with pytest.raises(SpecError, match=r"must be .* finite"):
        export.write(tmp_path / f"a{suffix}", x, 100.0, NAMES, ["eeg"] * 3)


def test_a_wfdb_name_that_wfdb_cannot_hold_is_refused(tmp_path: Path):
    with pytest.raises(SpecError, match=r"sub 1\.2 is no name of a WFDB record"):
        export.write_wfdb(tmp_path / "sub 1.2", SIGNAL, 100.0, NAMES)
