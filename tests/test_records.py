"""Records: what is written is read back, and a file is whole or not there."""

import json
import math
import os
from dataclasses import asdict, replace
from typing import Any

import pytest

from citrus_ray import records
from citrus_ray.records import Record
from tests.small import record_of, sweep_of


def rows(n: int = 2, **fields: object) -> list[Record]:
    cell = sweep_of().cells[1]
    params = {"pretrain.task.ratio": 0.4, "band": [0.5, 4]}
    return [
        replace(record_of(cell, {"seed": i}, {"val/accuracy": 0.1 * i}, params=params), **fields)  # type: ignore[arg-type]
        for i in range(n)
    ]


def test_what_is_written_is_read_back(tmp_path):
    written = rows(3, reason="line\none \u2028 two — ends", commit="abc+", seconds=1.25)
    path = records.write(tmp_path / "records", "d1", written)
    assert path == tmp_path / "records" / "d1.jsonl"
    assert len(path.read_text().split("\n")) == 4
    assert records.read_trial(tmp_path / "records", "d1") == [
        Record(**json.loads(json.dumps(asdict(r)))) for r in written
    ]
    assert records.read_trial(tmp_path / "records", "d1")[2].reason == written[2].reason


def test_a_trial_without_a_record_has_no_rows(tmp_path):
    assert records.read_trial(tmp_path, "none") == []
    assert list(records.read_all(tmp_path / "no folder")) == []


def test_all_trials_are_read_in_the_order_of_their_digests(tmp_path):
    for name in ("c", "a", "b"):
        records.write(tmp_path, name, rows(2, trial=name))
    (tmp_path / ".d.jsonl-half").write_text("{")
    (tmp_path / "notes.txt").write_text("mine")
    assert [[row.trial for row in trial] for trial in records.read_all(tmp_path)] == [
        ["a", "a"],
        ["b", "b"],
        ["c", "c"],
    ]


@pytest.mark.parametrize("step", ["replace", "fsync", "chmod"])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch, step):
    records.write(tmp_path, "old", rows(1))
    before = (tmp_path / "old.jsonl").read_bytes()

    def fails(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fails)
    for name in ("old", "new"):
        with pytest.raises(OSError, match="No space left"):
            records.write(tmp_path, name, rows(2))
    assert [path.name for path in tmp_path.iterdir()] == ["old.jsonl"]
    assert (tmp_path / "old.jsonl").read_bytes() == before


def test_an_interrupt_during_a_write_leaves_no_half_file(tmp_path, monkeypatch):
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        records.write(tmp_path, "new", rows(2))
    assert list(tmp_path.iterdir()) == []


def noting(calls: list[str], name: str, real: Any) -> Any:
    def call(*args: object) -> Any:
        calls.append(name)
        return real(*args)

    return call


def test_a_record_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls: list[str] = []
    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, noting(calls, name, getattr(os, name)))
    records.write(tmp_path, "new", rows(1))
    assert calls[:2] == ["fsync", "replace"]


def test_others_may_read_what_was_written(tmp_path):
    assert records.write(tmp_path, "new", rows(1)).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_no_number_is_refused_and_nothing_is_written(tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.write(tmp_path, "new", rows(2, metrics={"val/accuracy": value}))
    assert list(tmp_path.iterdir()) == []


def test_a_second_write_replaces_the_first_as_a_whole(tmp_path):
    records.write(tmp_path, "d", rows(3))
    records.write(tmp_path, "d", rows(1, status="failed"))
    assert [row.status for row in records.read_trial(tmp_path, "d")] == ["failed"]


def test_a_record_says_on_what_it_ran():
    assert {"python", "citrus_ray", "ray", "torch", "optuna"} <= records.versions().keys()
    assert records.peak_mb() > 10
    commit = records.commit()
    assert commit is None or len(commit.removesuffix("+")) == 40
    assert records.now().endswith("+00:00")


def test_trials_of_shared_cells_are_taken_over_once_under_the_new_axes(tmp_path):
    sweep = sweep_of()
    one, other = sweep.cells
    old, new = tmp_path / "old", tmp_path / "new"
    for cell, name in ((one, "a"), (one, "b"), (other, "c")):
        records.write(
            old,
            name,
            [record_of(cell, {"seed": s}, {"val/accuracy": 0.5}, trial=name) for s in range(2)],
        )
    axes = {one.digest: {"model": "conv"}}
    assert records.take_over(old, new, axes) == 2
    assert sorted(path.stem for path in new.glob("*.jsonl")) == ["a", "b"]
    rows = records.read_trial(new, "a")
    assert [row.axes for row in rows] == [{"model": "conv"}] * 2
    assert [row.metrics for row in rows] == [row.metrics for row in records.read_trial(old, "a")]
    assert records.take_over(old, new, axes) == 0
    assert records.take_over(tmp_path / "nowhere", new, axes) == 0


def test_taken_over_trials_bring_neither_lost_ones_nor_the_hours_of_the_other_sweep(tmp_path):
    records.write(tmp_path / "theirs", "good", rows(2, trial="good", asked_s=500.0))
    records.write(tmp_path / "theirs", "lost", rows(2, trial="lost", status="failed", crashed=True))
    (cell,) = {row.cell for row in rows(1)}
    assert records.take_over(tmp_path / "theirs", tmp_path / "mine", {cell: {}}) == 1
    assert [row.asked_s for row in records.read_trial(tmp_path / "mine", "good")] == [0.0, 0.0]
