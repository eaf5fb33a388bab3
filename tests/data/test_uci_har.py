"""`kind: uci_har`: both published folders pooled, people never on both sides."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from citrus_ray.data.sources.uci_har import ACTIVITIES, UciHar
from citrus_ray.data.windowing.normalize import zscore
from citrus_ray.data.windowing.splits import Split, split
from citrus_ray.spec import SpecError, validate
from tests.data.layouts import uci_har


def test_both_folders_are_one_set_with_a_group_for_each_person(tmp_path):
    windows = uci_har(tmp_path, normalize="none").prepare()
    assert windows.x.shape == (18, 6, 128)
    assert windows.sfreq == 50
    assert windows.groups == ("subject01", "subject02", "subject03")
    assert windows.classes == ACTIVITIES
    assert [windows.groups[g] for g in windows.group[::6]] == [
        "subject01",
        "subject03",
        "subject02",
    ]
    assert windows.labels.tolist() == [0, 1, 2, 3, 4, 5] * 3
    assert windows.ch_names == tuple(
        f"{s}_{axis}" for s in ("total_acc", "body_gyro") for axis in "xyz"
    )
    assert set(windows.modalities) == {"motion"}


def test_every_sample_is_in_the_channel_and_window_of_its_line(tmp_path):
    windows = uci_har(tmp_path, normalize="none").prepare()
    k = np.array([*range(12), *range(6)])  # lines of train, then of test
    expected = 10 * np.arange(6) + k[:, None]
    assert np.abs(windows.x.mean(axis=-1) - expected).max() < 1e-4
    path = tmp_path / "UCI HAR Dataset" / "test" / "Inertial Signals" / "body_gyro_y_test.txt"
    line = [float(value) for value in path.read_text().splitlines()[2].split()]
    assert np.allclose(windows.x[14, 4], line, rtol=1e-6)
    assert np.array_equal(
        uci_har_again(tmp_path, normalize="window").prepare().x, zscore(windows.x)
    )


def uci_har_again(root: Path, **edits) -> UciHar:
    return UciHar(**({"root": str(root)} | edits))


def test_signals_are_picked_in_the_order_asked_for(tmp_path):
    whole = uci_har(tmp_path, normalize="none").prepare()
    gyro = uci_har_again(tmp_path, signals=("body_gyro",)).prepare()
    assert gyro.ch_names == ("body_gyro_x", "body_gyro_y", "body_gyro_z")
    assert np.array_equal(gyro.x, whole.x[:, 3:])


def test_no_person_is_on_both_sides_of_a_split(tmp_path):
    people = [("train", n) for n in (1, 3, 5, 6)] + [("test", n) for n in (2, 4, 30)]
    windows = uci_har(tmp_path, people).prepare()
    parts = split(windows, Split(), seed=0)
    groups = [set(windows.group[part].tolist()) for part in (parts.train, parts.val, parts.test)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 7


def test_the_overlap_and_a_class_that_is_not_there_are_said(tmp_path):
    spec = uci_har(tmp_path)
    for part in ("train", "test"):
        y = tmp_path / "UCI HAR Dataset" / part / f"y_{part}.txt"
        y.write_text(y.read_text().replace("6", "5"))
    windows = spec.prepare()
    assert windows.classes == ACTIVITIES[:5]
    overlap, gone = windows.caveats
    assert "overlap the one before by half" in overlap
    assert gone == "no window of class LAYING"


def test_the_folder_may_be_the_inner_one_and_the_digest_follows_the_bytes(tmp_path):
    spec = uci_har(tmp_path)
    inner = uci_har_again(tmp_path / "UCI HAR Dataset", normalize="window")
    assert inner.digest() == spec.digest()
    before = spec.digest()
    y = tmp_path / "UCI HAR Dataset" / "test" / "y_test.txt"
    y.write_text("6\n5\n4\n3\n2\n1\n")
    assert spec.digest() == inner.digest() != before


def _gone(folder: Path) -> None:
    (folder / "Inertial Signals" / "total_acc_y_train.txt").unlink()


def _cut_off(folder: Path) -> None:
    path = folder / "Inertial Signals" / "total_acc_y_train.txt"
    path.write_text(path.read_text()[:5000])


def _whole_lines_gone(folder: Path) -> None:
    path = folder / "Inertial Signals" / "total_acc_y_train.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))


def _text(folder: Path) -> None:
    path = folder / "Inertial Signals" / "total_acc_y_train.txt"
    path.write_text("<html>not found</html>\n")


def _other_length(folder: Path) -> None:
    path = folder / "Inertial Signals" / "total_acc_y_train.txt"
    path.write_text("".join(line[: 16 * 100] + "\n" for line in path.read_text().splitlines()))


def _nan(folder: Path) -> None:
    path = folder / "Inertial Signals" / "total_acc_y_train.txt"
    lines = path.read_text().splitlines()
    lines[3] = f"{'NaN':>16}" + lines[3][16:]
    path.write_text("\n".join(lines))


def _axis_under_another_name(folder: Path) -> None:
    signals = folder / "Inertial Signals"
    (signals / "total_acc_y_train.txt").write_bytes(
        (signals / "total_acc_x_train.txt").read_bytes()
    )


def _label(folder: Path) -> None:
    path = folder / "y_train.txt"
    path.write_text(path.read_text().replace("4", "7", 1))


def _person(folder: Path) -> None:
    path = folder / "subject_train.txt"
    path.write_text("one\n" + path.read_text()[2:])


def _too_few_labels(folder: Path) -> None:
    path = folder / "y_train.txt"
    path.write_text(path.read_text()[:-2])


def _no_labels(folder: Path) -> None:
    (folder / "y_train.txt").write_text("")


BAD = {
    "missing file": (
        _gone,
        "total_acc_y_train.txt: root: there is no such file",
        "unpack the whole of the archive",
    ),
    "cut off": (
        _cut_off,
        "total_acc_y_train.txt: is no table of numbers: the number of columns changed",
        "again",
    ),
    "lines gone": (
        _whole_lines_gone,
        "total_acc_y_train.txt: holds 10 windows, but subject_train.txt 12",
        "again",
    ),
    "not numbers": (
        _text,
        "total_acc_y_train.txt: is no table of numbers: could not convert",
        "again",
    ),
    "other length": (
        _other_length,
        "total_acc_y_train.txt: holds windows of 100 samples, but 128",
        "again",
    ),
    "nan": (_nan, "total_acc_y_train.txt:4: holds a sample that is no number", "again"),
    "another axis": (
        _axis_under_another_name,
        "total_acc_y_train.txt: holds the same samples as",
        "wrong name",
    ),
    "unknown activity": (_label, "y_train.txt:4: '7' must be a number from 1 to 6", "again"),
    "unknown person": (
        _person,
        "subject_train.txt:1: 'one' must be a number from 1 to 30",
        "again",
    ),
    "too few labels": (
        _too_few_labels,
        "y_train.txt: holds 11 lines, but subject_train.txt 12",
        "again",
    ),
    "no labels": (_no_labels, "y_train.txt: is empty", "again"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_error_that_names_the_place_and_the_way_out(tmp_path, case):
    spoil, rule, way_out = BAD[case]
    spec = uci_har(tmp_path)
    spoil(tmp_path / "UCI HAR Dataset" / "train")
    with pytest.raises(SpecError) as caught:
        spec.prepare()
    assert len(caught.value.problems) == 1, str(caught.value)
    assert rule in str(caught.value)
    assert way_out in str(caught.value)


def test_everything_that_is_missing_is_said_at_once(tmp_path):
    spec = uci_har(tmp_path)
    shutil.rmtree(tmp_path / "UCI HAR Dataset" / "test")
    with pytest.raises(SpecError) as caught:
        spec.check()
    assert len(caught.value.problems) == 8


def test_a_spec_of_no_signal_or_of_an_unknown_one_is_refused():
    for signals in ([], ["body_mag"]):
        with pytest.raises(SpecError, match="signals"):
            validate(UciHar, {"signals": signals})
