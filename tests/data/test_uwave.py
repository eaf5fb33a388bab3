"""`kind: uwave`: `.ts` and `.arff` hold the same gestures."""

from pathlib import Path

import numpy as np
import pytest

from citrus_ray.data.sources.uwave import NAME, UWave
from citrus_ray.spec import SpecError
from tests.data.layouts import gestures, uwave

SUFFIXES = (".ts", ".arff")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_train_and_test_are_pooled_sample_by_sample(tmp_path, suffix):
    windows = uwave(tmp_path, suffix, normalize="none").prepare()
    x, y = (
        np.concatenate(parts) for parts in zip(gestures("TRAIN"), gestures("TEST"), strict=True)
    )
    assert np.array_equal(windows.x, x.astype(np.float32))
    assert [windows.classes[k] for k in windows.labels] == [str(label) for label in y]
    assert (windows.sfreq, windows.ch_names) == (100.0, ("x", "y", "z"))


def test_every_gesture_is_a_group_and_a_caveat_says_why(tmp_path):
    windows = uwave(tmp_path).prepare()
    assert len(windows.groups) == len(windows) == 32
    assert windows.group.tolist() == list(range(32))
    assert (windows.groups[0], windows.groups[-1]) == ("TRAIN000", "TEST015")
    assert "people are on both sides of every split" in windows.caveats[0]


def test_the_rules_of_the_format_that_files_in_the_wild_use_are_known(tmp_path):
    spec = uwave(tmp_path, ".arff", normalize="none")
    expected = spec.prepare().x
    path = tmp_path / f"{NAME}_TEST.arff"
    text = path.read_text().replace("@data", "@DATA  ").replace("'", '"').replace("\n", "\r\n")
    path.write_bytes((text + "\r\n% the end\r\n\r\n").encode())
    assert np.array_equal(spec.prepare().x, expected)


def test_ts_is_read_where_both_are_there_and_one_half_alone_is_refused(tmp_path):
    spec = uwave(tmp_path)
    before = spec.digest()
    uwave(tmp_path, ".arff")
    assert spec.digest() == before
    (tmp_path / f"{NAME}_TRAIN.ts").unlink()
    assert spec.digest() != before  # the .arff pair
    (tmp_path / f"{NAME}_TEST.arff").unlink()
    with pytest.raises(
        SpecError,
        match=r"holds no UWaveGestureLibrary_\{TRAIN,TEST\}\.ts or .*copy both files there",
    ):
        spec.check()


def _cut_off(path: Path) -> None:
    path.write_text(path.read_text()[:-30])


def _no_data(path: Path) -> None:
    path.write_text("<html>moved</html>\n")


def _empty(path: Path) -> None:
    path.write_text(path.read_text().partition("@data")[0] + "@data\n")


def _edit_line(path: Path, number: int, old: str, new: str) -> None:
    lines = path.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("@data")) + number
    assert old in lines[at]
    lines[at] = lines[at].replace(old, new, 1)
    path.write_text("\n".join(lines) + "\n")


def _two_axes(path: Path) -> None:
    lines = path.read_text().splitlines()
    lines[-1] = lines[-1].partition(":")[2]
    path.write_text("\n".join(lines) + "\n")


def _short_axis(path: Path) -> None:
    lines = path.read_text().splitlines()
    first, _, rest = lines[-1].partition(":")
    lines[-1] = f"{first.rpartition(',')[0]}:{rest}"
    path.write_text("\n".join(lines) + "\n")


def _short_gesture(path: Path) -> None:
    lines = path.read_text().splitlines()
    *axes, label = lines[-1].split(":")
    lines[-1] = ":".join([*(axis.rpartition(",")[0] for axis in axes), label])
    path.write_text("\n".join(lines) + "\n")


BAD = {
    "cut off": (_cut_off, f"{NAME}_TEST.ts:26: its label is ", "is the line cut off?"),
    "no ts": (_no_data, f"{NAME}_TEST.ts: has no line `@data`, so it is no .ts file", "again"),
    "empty": (_empty, f"{NAME}_TEST.ts: holds no gesture after `@data`", "again"),
    "no label": (
        lambda path: _edit_line(path, 2, ":2.0", ""),
        f"{NAME}_TEST.ts:12: its label is",
        "again",
    ),
    "other label": (
        lambda path: _edit_line(path, 2, ":2.0", ":9.0"),
        "TEST.ts:12: its label is '9.0', but",
        "1 to 8",
    ),
    "missing sample": (
        lambda path: _edit_line(path, 1, ",", ",?,"),
        "TEST.ts:11: could not convert string",
        "again",
    ),
    "infinite": (
        lambda path: _edit_line(path, 1, ",", "e999,"),
        "TEST.ts:11: holds a sample that is missing",
        "again",
    ),
    "two axes": (_two_axes, "TEST.ts:26: must hold 3 axes of numbers, but holds 2", "again"),
    "short axis": (_short_axis, "TEST.ts:26: its axes differ in length", "again"),
    "short gesture": (
        _short_gesture,
        "TEST.ts:26: is 39 samples long, but the first gesture 40",
        "again",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_error_that_names_the_place_and_the_way_out(tmp_path, case):
    spoil, rule, way_out = BAD[case]
    spec = uwave(tmp_path)
    spoil(tmp_path / f"{NAME}_TEST.ts")
    with pytest.raises(SpecError) as caught:
        spec.prepare()
    assert len(caught.value.problems) == 1
    assert rule in str(caught.value)
    assert way_out in str(caught.value)


def test_train_and_test_of_other_lengths_are_refused(tmp_path):
    spec = uwave(tmp_path)
    for line in range(1, 17):
        _shorten(tmp_path / f"{NAME}_TEST.ts", line)
    with pytest.raises(
        SpecError, match=r"_TEST\.ts: holds gestures of 39 samples, but .*_TRAIN\.ts of 40"
    ):
        spec.prepare()


def test_train_under_the_name_of_test_is_refused(tmp_path):
    spec = uwave(tmp_path)
    (tmp_path / f"{NAME}_TEST.ts").write_bytes((tmp_path / f"{NAME}_TRAIN.ts").read_bytes())
    with pytest.raises(
        SpecError, match=r"_TEST\.ts: holds the same samples as .*_TRAIN\.ts, so one has"
    ):
        spec.prepare()


def _shorten(path: Path, number: int) -> None:
    lines = path.read_text().splitlines()
    at = lines.index("@data") + number
    *axes, label = lines[at].split(":")
    lines[at] = ":".join([*(axis.rpartition(",")[0] for axis in axes), label])
    path.write_text("\n".join(lines) + "\n")


def test_a_folder_that_is_not_there_says_how_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setenv("CITRUS_DATA", str(tmp_path))
    with pytest.raises(SpecError, match=r"there is no folder .*uwave.* fetch uwave"):
        UWave().check()
