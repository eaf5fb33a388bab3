"""Recordings whose label is a number: from a table, or from a channel of their own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray.data.windowing import cache
from citrus_ray.data.windows import Windows
from citrus_ray.spec import SpecError
from tests.data.test_files import files, noise, raw, write_npz

SFREQ = 100.0


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITRUS_CACHE", str(tmp_path_factory.mktemp("cache")))


def refused(folder: Path, **edits: Any) -> str:
    with pytest.raises((SpecError, ValueError)) as caught:
        files(folder, **edits).check()
    return str(caught.value)


def table(folder: Path, *lines: str, head: str = "file,start_s,stop_s,label,group") -> None:
    for name in ("a", "b"):
        write_npz(folder / f"{name}.npz", noise())
    (folder / "labels.csv").write_text("\n".join([head, *lines]) + "\n")


def test_a_number_is_the_value_of_every_window_of_its_stretch(tmp_path: Path) -> None:
    table(tmp_path, "a,0,3,61.5,A", "a,3,5,-2e1,A", "b,0,2,70,B")
    found = raw(tmp_path, labels="labels.csv", target="value")
    assert found.labels.tolist() == [61.5] * 3 + [-20.0] * 2 + [70.0] * 2
    assert (found.target, found.classes, found.n_outputs) == ("value", (), 1)
    assert found.context.target == "value"
    assert not any("one group" in said for said in found.caveats)
    again: Windows = cache.load(files(tmp_path, labels="labels.csv", target="value"))
    assert again.target == "value"
    assert again.labels.dtype == np.float64


def test_decimal_commas_are_read_where_they_part_nothing(tmp_path: Path) -> None:
    table(tmp_path, "a;0;3;61,5;A", "b;0;2;70;B", head="file;start_s;stop_s;label;group")
    found = raw(tmp_path, labels="labels.csv", target="value")
    assert set(found.labels) == {61.5, 70.0}


def test_what_is_no_number_is_refused_with_its_line(tmp_path: Path) -> None:
    table(tmp_path, "a,0,3,61.5,A", "b,0,2,n/a,B", "b,2,4,nan,B")
    said = refused(tmp_path, labels="labels.csv", target="value")
    assert "labels.csv:3: labels: label `n/a` is no number, and target=value needs one" in said
    assert "labels.csv:4: labels: label `nan` is no number" in said


def test_another_column_may_hold_the_labels(tmp_path: Path) -> None:
    table(tmp_path, "a,33,x,A", "b,21,y,B", head="file,age,site,group")
    found = raw(tmp_path, labels="labels.csv", label_column="age", target="value")
    assert set(found.labels) == {33.0, 21.0}
    assert any(
        "every group has one value: what is learnt is of 2 groups" in s for s in found.caveats
    )
    by_site = raw(tmp_path, labels="labels.csv", label_column="site")
    assert by_site.classes == ("x", "y")
    assert "has no column agee" in refused(tmp_path, labels="labels.csv", label_column="agee")


def channels(folder: Path, n: int = 1000, missing: int | None = None) -> np.ndarray:
    """Two channels at 100 Hz, and `rate` once a second, of which one second may be missing."""
    rate = np.arange(n // 100, dtype=np.float32) + 60
    if missing is not None:
        rate[missing] = np.nan
    x = noise(n)
    arrays: dict[str, Any] = {"x_S": x, "sfreq_S": 100.0, "x_HR": rate[None], "sfreq_HR": 1.0}
    names: dict[str, Any] = {
        "ch_names_S": np.array(["s0", "s1"]),
        "ch_names_HR": np.array(["rate"]),
    }
    modality = np.array(["ppg", "heart_rate"])
    for name in ("a", "b"):
        np.savez(folder / f"{name}.npz", streams=["S", "HR"], modality=modality, **arrays, **names)
    return x


def test_a_channel_is_the_value_and_no_model_sees_it(tmp_path: Path) -> None:
    channels(tmp_path)
    edits: dict[str, Any] = {"streams": ("S", "HR"), "target": "value", "seconds": 2.0}
    found = raw(tmp_path, value_channel="rate", **edits)
    assert found.ch_names == ("s0", "s1")
    assert found.labels.tolist() == [60.5, 62.5, 64.5, 66.5, 68.5] * 2
    alone = raw(tmp_path, value_channel="rate", **edits | {"streams": ("S",)})
    assert np.array_equal(alone.labels, found.labels)


def test_a_value_that_is_late_is_read_later_and_the_last_windows_have_none(tmp_path: Path) -> None:
    channels(tmp_path)
    found = raw(
        tmp_path,
        streams=("S",),
        target="value",
        value_channel="rate",
        value_delay_s=3.0,
        seconds=2.0,
    )
    assert found.labels.tolist() == [63.5, 65.5, 67.5] * 2
    assert found.origins is not None
    assert found.origins.first.tolist() == [0, 200, 400] * 2
    assert "dropped for missing samples: 4 of 10 windows" in found.caveats


def test_a_window_without_its_value_is_dropped_and_counted(tmp_path: Path) -> None:
    x = channels(tmp_path, missing=3)
    found = raw(tmp_path, streams=("S",), target="value", value_channel="rate", seconds=2.0)
    assert found.labels.tolist() == [60.5, 64.5, 66.5, 68.5] * 2
    assert np.array_equal(found.x[1], x[:, 400:600]), "windows and values stay together"
    assert "dropped for missing samples: 2 of 10 windows" in found.caveats


def test_what_contradicts_a_value_is_refused(tmp_path: Path) -> None:
    table(tmp_path, "a,0,3,61.5,A", "b,0,2,70,B")
    for edits, rule in (
        ({"target": "value"}, "target=value needs `labels`, a table of numbers, or"),
        ({"target": "value", "labels": "labels.csv", "value_channel": "c0"}, "give one of the two"),
        ({"target": "value", "labels": "labels.csv", "classes": ("61.5",)}, "has no classes"),
        ({"value_channel": "c0"}, "is a number, not a class; give `target: value`"),
        ({"target": "value", "value_channel": "c0", "channels": ("c0",)}, "a model would see it"),
        ({"target": "value", "labels": "labels.csv", "value_delay_s": 2.0}, "not given; drop it"),
        ({"label_column": "age"}, "is of a table, and `labels` names none"),
        ({"target": "value", "value_channel": "c9"}, "`c9` is not there; there are c0"),
    ):
        assert rule in refused(tmp_path, **edits), edits


def test_other_columns_of_a_table_stay_with_their_windows(tmp_path: Path) -> None:
    head = "file,start_s,stop_s,label,group,part,session"
    table(tmp_path, "a,0,2,x,A,train,1", "a,2,4,y,A,train,2", "b,0,3,x,B,test,1", head=head)
    edits: dict[str, Any] = {"labels": "labels.csv", "columns": ("recording", "part", "session")}
    found = raw(tmp_path, **edits)
    assert found.tags["part"].tolist() == ["train"] * 4 + ["test"] * 3
    assert found.tags["session"].tolist() == ["1", "1", "2", "2", "1", "1", "1"]
    assert found.tags["recording"].tolist() == ["a"] * 4 + ["b"] * 3
    again = cache.load(files(tmp_path, **edits))
    assert {name: of.tolist() for name, of in again.tags.items()} == {
        name: of.tolist() for name, of in found.tags.items()
    }
    few = again.take(np.array([6, 0]))
    assert few.tags["recording"].tolist() == ["b", "a"]
    assert "has no column site; there are file, start_s" in refused(
        tmp_path, labels="labels.csv", columns=("site",)
    )
    assert "are of a table, and `labels` names none" in refused(tmp_path, columns=("part",))
    assert (
        raw(tmp_path, columns=("recording",)).tags["recording"].tolist() == ["a"] * 10 + ["b"] * 10
    )


def test_labels_of_a_row_are_parted_and_none_is_none(tmp_path: Path) -> None:
    table(tmp_path, "a,0,2,af|pvc,A", "a,2,3,none,A", "b,0,2, pvc ,B")
    found = raw(tmp_path, labels="labels.csv", target="labels")
    assert found.classes == ("af", "pvc")
    assert found.labels.tolist() == [[1, 1], [1, 1], [0, 0], [0, 1], [0, 1]]
    assert found.strata.tolist() == [0, 0, 2, 1, 1]
    assert found.labels_said == "2 labels, any at once: af 2, pvc 4"
    again = cache.load(files(tmp_path, labels="labels.csv", target="labels"))
    assert again.labels.tolist() == found.labels.tolist()
    ordered = raw(tmp_path, labels="labels.csv", target="labels", classes=("pvc", "af"))
    assert ordered.labels.tolist()[0] == [1, 1]
    assert ordered.classes == ("pvc", "af")
    assert "`x` is not there" in refused(
        tmp_path, labels="labels.csv", target="labels", classes=("x",)
    )
