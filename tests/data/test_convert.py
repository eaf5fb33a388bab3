"""`citrus convert`: what is read from npz is what was read from the original."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray.cli.citrus import main
from citrus_ray.data.formats.recordings import read_annotations, read_header, read_samples
from citrus_ray.data.sources.files import Files
from citrus_ray.data.tools.export import write_edf, write_npz, write_wfdb
from citrus_ray.spec import validate
from tests.data import foreign
from tests.data.test_files import write_annotated

SFREQ = 100.0


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("CITRUS_CACHE", str(tmp_path_factory.mktemp("cache")))


def noise(n_chans: int = 2, n_times: int = 1000) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n_chans, n_times)).astype(np.float32)


def convert(*words: Any) -> int:
    return main(["convert", *map(str, words)])


def text(path: Path, x: np.ndarray) -> None:
    rows = [f"{i / SFREQ},{a},{b},{'rest' if i < 500 else 'walk'}" for i, (a, b) in enumerate(x.T)]
    path.write_text("\n".join(["time,a [mV],b,activity", *rows]))


WRITERS: dict[str, Any] = {
    "a.edf": lambda path, x: write_annotated(path, x, (1.0, 2.0, "task"), (5.0, None, "tap")),
    "a.bdf": lambda path, x: write_edf(path, x, SFREQ, ["Fz", "ECG"]),
    "a.hea": lambda path, x: write_wfdb(path.with_suffix(""), x, SFREQ, ["II", "V1"]),
    "a.npz": lambda path, x: write_npz(path, x, SFREQ, ["Fz", "ECG"], ["eeg", "ecg"]),
    "a.vhdr": lambda path, x: foreign.brainvision(path, x, SFREQ, [(100, 200, "Stimulus/a")]),
    "a.set": lambda path, x: foreign.eeglab(path, x, SFREQ),
    "a.csv": text,
}


@pytest.mark.parametrize("name", WRITERS)
def test_samples_facts_and_annotations_come_through(tmp_path, name):
    source = tmp_path / "in" / name
    source.parent.mkdir()
    WRITERS[name](source, noise())
    assert convert(source, "--out", tmp_path / "out") == 0
    one, two = read_header(source), read_header(tmp_path / "out" / "recordings" / "a.npz")
    assert one.channels == two.channels
    for a, b in zip(*(read_samples(h, h.channels) for h in (one, two)), strict=True):
        assert np.array_equal(np.float32(a), np.float32(b))
    if name != "a.hea" and name != "a.csv":
        assert read_annotations(one.path) == read_annotations(two.path)


def test_channels_of_several_rates_become_streams(tmp_path):
    import edfio

    fast, slow = noise(1, 1000)[0].astype(float), noise(1, 200)[0].astype(float)
    signals = [edfio.EdfSignal(fast, 100, label="Fz"), edfio.EdfSignal(slow, 20, label="Temp")]
    edfio.Edf(signals).write(tmp_path / "a.edf")
    assert convert(tmp_path / "a.edf", "--out", tmp_path / "out") == 0
    one, two = read_header(tmp_path / "a.edf"), read_header(tmp_path / "out/recordings/a.npz")
    facts = [[(c.name, c.sfreq, c.n_times, c.modality) for c in h.channels] for h in (one, two)]
    assert facts[0] == facts[1]
    assert two.streams == ("100Hz", "20Hz")
    for a, b in zip(*(read_samples(h, h.channels) for h in (one, two)), strict=True):
        assert np.array_equal(np.float32(a), b)


def test_a_column_of_labels_comes_along(tmp_path):
    text(tmp_path / "a.csv", noise())
    assert convert(tmp_path / "a.csv", "--out", tmp_path / "out") == 0
    spec: dict[str, Any] = {"kind": "files", "seconds": 1.0, "sfreq": SFREQ}
    spec |= {"root": str(tmp_path / "out"), "pattern": "recordings/*.npz"}
    found = validate(Files, spec | {"labels": {"column": "activity"}}).prepare()
    assert found.class_counts() == {"rest": 5, "walk": 5}


def test_a_folder_is_searched_and_what_is_no_recording_is_left_out(tmp_path, capsys):
    (tmp_path / "in" / "p1").mkdir(parents=True)
    foreign.brainvision(tmp_path / "in" / "p1" / "a.vhdr", noise(), SFREQ)
    text(tmp_path / "in" / "b.csv", noise())
    (tmp_path / "in" / "labels.csv").write_text("file,label,group\na,k,p\n")
    assert convert(tmp_path / "in", "--out", tmp_path / "out") == 0
    written = sorted(p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*.npz"))
    assert list(map(str, written)) == ["recordings/b.npz", "recordings/p1/a.npz"]
    said = capsys.readouterr()
    assert "left out: " in said.err
    assert "labels.csv" in said.err
    assert "2 of 2 recordings" in said.out


def test_one_that_cannot_be_read_stops_no_other(tmp_path, capsys):
    text(tmp_path / "a.csv", noise())
    (tmp_path / "b.edf").write_bytes(b"nothing")
    assert convert(tmp_path / "a.csv", tmp_path / "b.edf", "--out", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert "b.edf: is not EDF or BDF" in said.err
    assert "1 of 2 recordings" in said.out
    assert [p.name for p in (tmp_path / "out" / "recordings").iterdir()] == ["a.npz"]


def test_nothing_is_written_over_or_twice(tmp_path, capsys):
    text(tmp_path / "a.csv", noise())
    write_edf(tmp_path / "a.edf", noise(), SFREQ, ["Fz", "Cz"])
    both = tmp_path / "a.csv", tmp_path / "a.edf", "--out", tmp_path / "out"
    assert convert(*both) == 2
    assert "a.edf: would be written to" in capsys.readouterr().err
    assert convert(tmp_path / "a.csv", "--out", tmp_path / "out") == 0
    assert convert(tmp_path / "a.csv", "--out", tmp_path / "out") == 2
    assert "is there already; --force writes it anew" in capsys.readouterr().err
    assert convert(tmp_path / "a.csv", "--out", tmp_path / "out", "--force") == 0
    assert convert(tmp_path / "nowhere", "--out", tmp_path / "out") == 2
    assert "is not there; correct the path" in capsys.readouterr().err


def test_an_image_becomes_voxels_of_its_mask(tmp_path, capsys):
    import nibabel

    x = np.random.default_rng(0).normal(size=(2, 3, 1, 9)).astype(np.float32)
    image = nibabel.Nifti1Image(x, np.eye(4))
    image.header.set_zooms((1, 1, 1, 2))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, tmp_path / "bold.nii.gz")
    inside = np.array([[[1], [0], [1]], [[0], [1], [0]]], np.uint8)
    nibabel.save(nibabel.Nifti1Image(inside, np.eye(4)), tmp_path / "mask.nii")
    words = [tmp_path / "bold.nii.gz", "--out", tmp_path / "out"]
    assert convert(*words) == 1
    assert "say with --mask FILE which of them are channels" in capsys.readouterr().err
    assert convert(*words, "--mask", tmp_path / "mask.nii") == 0
    header = read_header(tmp_path / "out" / "recordings" / "bold.npz")
    assert {(c.sfreq, c.modality) for c in header.channels} == {(0.5, "fmri")}
    assert np.array_equal(np.stack(read_samples(header, header.channels)), x[inside > 0])
