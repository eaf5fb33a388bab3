"""`kind: emgdb`: one record per diagnosis, split by time with a gap."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from citrus_ray.data.sources.emgdb import EmgDb
from citrus_ray.data.windowing.splits import Split, split
from citrus_ray.spec import SpecError
from tests.data.originals import emgdb

DATA = Path(
    os.environ.get("CITRUS_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data"
)
REAL = DATA / "emgdb"
real = pytest.mark.skipif(
    not (REAL / "emg_healthy.dat").exists(), reason=f"no original records in {REAL}"
)


def complaint(spec: EmgDb) -> str:
    with pytest.raises(SpecError) as caught:
        spec.check()
    return str(caught.value)


def test_blocks_are_consecutive_whole_windows_with_one_left_out_between(tmp_path):
    windows = emgdb(tmp_path, normalize="none").prepare()
    assert windows.class_counts() == {"healthy": 7, "myopathy": 10, "neuropathy": 13}
    for label in range(3):
        mine = windows.labels == label
        place, block = windows.x[mine, 0].mean(axis=-1).round().astype(int), windows.group[mine]
        steps = np.diff(place)
        assert steps.tolist() == [2 if a != b else 1 for a, b in itertools.pairwise(block)]
        assert len(np.unique(block)) == 3


def test_one_block_keeps_every_window_and_a_record_is_a_group(tmp_path):
    windows = emgdb(tmp_path, n_blocks=1).prepare()
    assert list(windows.class_counts().values()) == [9, 12, 15]
    assert windows.groups == ("emg_healthy", "emg_myopathy", "emg_neuropathy")
    assert "emg" in windows.modalities


def test_no_split_puts_neighbouring_windows_on_both_sides(tmp_path):
    windows = emgdb(tmp_path, windows=(40, 40, 40), n_blocks=8, normalize="none").prepare()
    parts = split(windows, Split(), seed=0)
    place = windows.labels * 1000 + windows.x[:, 0].mean(axis=-1).round().astype(int)
    for one, other in itertools.combinations((parts.train, parts.val, parts.test), 2):
        assert np.abs(place[one][:, None] - place[other]).min() >= 2


def test_every_number_comes_with_what_it_cannot_mean(tmp_path):
    caveats = emgdb(tmp_path).prepare().caveats
    assert any("class equals person" in caveat for caveat in caveats)
    assert any("split by time, not by person" in caveat for caveat in caveats)


def test_a_window_lasts_as_long_at_another_rate(tmp_path):
    windows = emgdb(tmp_path, sfreq=2000.0, normalize="none").prepare()
    assert windows.x.shape == (30, 1, 75)
    assert windows.sfreq == 2000
    assert np.abs(windows.x[:7, 0].mean(axis=-1) - [0, 1, 2, 4, 5, 7, 8]).max() < 0.1


def test_more_blocks_than_windows_are_refused_with_what_would_do(tmp_path):
    said = complaint(emgdb(tmp_path, n_blocks=6))
    assert "emg_healthy.hea" in said
    assert "n_blocks=6" in said
    assert "it holds 9; lower it to 5 or less" in said
    emgdb(tmp_path, n_blocks=5).check()


def test_a_missing_truncated_or_mislabelled_record_is_named_with_the_way_out(tmp_path):
    spec = emgdb(tmp_path)
    data = (tmp_path / "emg_myopathy.dat").read_bytes()
    (tmp_path / "emg_myopathy.dat").write_bytes(data[:-100])
    assert (
        "emg_myopathy.dat is truncated: 1800 samples promised, 1750 there; copy or download"
        in complaint(spec)
    )
    (tmp_path / "emg_myopathy.dat").unlink()
    assert "emg_myopathy.dat is missing" in complaint(spec)
    (tmp_path / "emg_myopathy.dat").write_bytes(data)
    text = (tmp_path / "emg_myopathy.hea").read_text()
    (tmp_path / "emg_myopathy.hea").write_text((tmp_path / "emg_neuropathy.hea").read_text())
    assert "is the header of record emg_neuropathy, not of emg_myopathy" in complaint(spec)
    (tmp_path / "emg_myopathy.hea").write_text(text.replace("myopathy due to", "neuropathy due to"))
    said = complaint(spec)
    assert "emg_myopathy.hea" in said
    assert "says of its person `neuropathy due to" in said
    (tmp_path / "emg_myopathy.hea").write_text("emg_myopathy one 4000\n")
    assert "emg_myopathy.hea: cannot be read as hea" in complaint(spec)
    (tmp_path / "emg_myopathy.hea").unlink()
    assert "has no emg_myopathy.hea" in complaint(spec)


def test_a_set_that_is_not_there_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("CITRUS_DATA", str(tmp_path))
    assert f"there is no folder {tmp_path / 'emgdb'}" in complaint(EmgDb())
    assert "`citrus data fetch emgdb`" in complaint(EmgDb())
    assert "the variable NOWHERE is not set" in complaint(EmgDb(root="$NOWHERE/emgdb"))


def test_the_place_of_a_set_is_no_part_of_its_digest_and_its_bytes_are(tmp_path, monkeypatch):
    one, two = tmp_path / "emgdb", tmp_path / "b"
    for folder in (one, two):
        folder.mkdir()
    first, second = emgdb(one), emgdb(two)
    assert first.digest() == second.digest()
    assert first.recordings() != second.recordings()
    monkeypatch.setenv("CITRUS_DATA", str(tmp_path))
    assert EmgDb(**(first.model_dump() | {"root": None})).recordings() == first.recordings()
    with (two / "emg_healthy.dat").open("r+b") as handle:
        handle.write(b"\1")
    assert first.digest() != second.digest()


@real
def test_the_original_gives_the_204_windows_of_the_benchmark():
    import wfdb

    windows = EmgDb(root=str(REAL), n_blocks=1, normalize="none").prepare()
    assert windows.class_counts() == {"healthy": 33, "myopathy": 73, "neuropathy": 98}
    signal = wfdb.rdrecord(str(REAL / "emg_myopathy")).p_signal[:, 0]
    assert np.allclose(windows.x[33:106, 0].reshape(-1), signal[: 73 * 1500], atol=1e-6)


@real
def test_the_original_can_be_split():
    windows = EmgDb(root=str(REAL)).prepare()
    assert windows.class_counts() == {"healthy": 26, "myopathy": 66, "neuropathy": 91}
    parts = split(windows, Split(), seed=0)
    assert all(
        len(np.unique(windows.labels[part])) == 3 for part in (parts.train, parts.val, parts.test)
    )
