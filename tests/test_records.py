"""Records: what is written is read back, and a file is whole or not there."""

import json
import math
import os
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from citrus_ray import records
from citrus_ray.cli.citrus import main as citrus
from citrus_ray.evidence.reading import collect, trials_in
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
    written = rows(3, trial="d1", reason="line\none \u2028 two — ends", commit="abc+", seconds=1.25)
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


@pytest.mark.parametrize("step", ["replace", "fsync"])
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


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_no_number_is_refused_and_nothing_is_written(tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.write(tmp_path, "new", rows(2, metrics={"val/accuracy": value}))
    assert list(tmp_path.iterdir()) == []


def test_a_second_write_replaces_the_first_as_a_whole(tmp_path):
    records.write(tmp_path, "d", rows(3, trial="d"))
    records.write(tmp_path, "d", rows(1, trial="d", status="failed"))
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


# ---- parts ----


def filled(folder: Path, *names: str, **fields: object) -> dict[str, list[Record]]:
    """Trials of three members on disk, and as they are read back."""
    for name in names:
        records.write(folder, name, rows(3, trial=name, **fields))
    return {name: records.read_trial(folder, name) for name in names}


def test_trials_in_a_part_are_read_like_any_others_and_more_lie_beside_it(tmp_path):
    written = filled(tmp_path, "b", "d", "a", reason="two \u2028 lines — é")
    part = records.compact(tmp_path, at_least=3)
    assert part is not None
    assert records.files(tmp_path) == [part]
    written |= filled(tmp_path, "c")
    assert {name: records.read_trial(tmp_path, name) for name in "abcd"} == written
    assert list(records.read_all(tmp_path)) == [written[name] for name in "abcd"]
    assert [trial[0].trial for trial in trials_in(tmp_path)] == ["a", "b", "c", "d"]
    assert records.read_trial(tmp_path, "e") == []
    again = records.compact(tmp_path, at_least=1)
    assert again is not None
    assert sorted([part, again]) == records.files(tmp_path)
    assert list(records.read_all(tmp_path)) == [written[name] for name in "abcd"]


def test_what_is_to_be_computed_again_or_cannot_be_read_stays_alone(tmp_path):
    filled(tmp_path, "a", "b")
    filled(tmp_path, "lost", crashed=True, status="failed")
    (tmp_path / "torn.jsonl").write_text('{"trial": ')
    assert records.compact(tmp_path, at_least=5) is None
    assert records.compact(tmp_path, at_least=4)
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == ["lost.jsonl", "torn.jsonl"]
    later = filled(tmp_path, "a")["a"]  # a file of its own stands for the part's
    assert records.read_trial(tmp_path, "a") == later


def test_a_compaction_that_was_killed_before_it_cleared_up_counts_nothing_twice(
    tmp_path, monkeypatch
):
    written = filled(tmp_path, "a", "b")
    monkeypatch.setattr("pathlib.Path.unlink", lambda *_, **__: None)
    assert records.compact(tmp_path, at_least=2)
    assert len(records.files(tmp_path)) == 3
    assert list(records.read_all(tmp_path)) == [written["a"], written["b"]]
    assert [len(trial) for trial in trials_in(tmp_path)] == [3, 3]


def test_a_part_whose_bytes_have_changed_is_named_and_not_believed(tmp_path):
    filled(tmp_path, "a", "b")
    part = records.compact(tmp_path, at_least=2)
    assert part is not None
    assert not collect([tmp_path]).unreadable
    lines = part.read_text().splitlines(keepends=True)
    part.write_text("".join([*lines[:4], lines[4].replace("0.1", "0.9"), *lines[5:]]))
    found = collect([tmp_path])
    assert {row.trial for row in found.rows} == {"a"}
    assert [[row.trial for row in rows] for rows in records.read_all(tmp_path)] == [["a"] * 3]
    (unreadable,) = found.unreadable
    assert part.name in unreadable.file
    assert "bytes have changed" in unreadable.reason


def test_the_command_compacts_checks_and_names_what_is_damaged(tmp_path, capsys):
    filled(tmp_path / "records", "a", "b", "c")
    assert citrus(["records", "verify", str(tmp_path)]) == 0
    assert "9 records in 3 files, 0 of them damaged" in capsys.readouterr().out
    assert citrus(["records", "compact", str(tmp_path)]) == 0
    assert "3 files are 1 now" in capsys.readouterr().out
    assert citrus(["records", "compact", str(tmp_path)]) == 0
    assert "nothing to do" in capsys.readouterr().out
    (part,) = records.files(tmp_path / "records")
    part.write_bytes(part.read_bytes()[:-9])
    assert citrus(["records", "verify", str(tmp_path)]) == 1
    assert part.name in capsys.readouterr().err
    assert citrus(["records", "verify", str(tmp_path / "nowhere")]) == 2


def test_a_reader_that_a_compaction_overtakes_misses_nothing(tmp_path, monkeypatch):
    filled(tmp_path, "a", "b", "c")
    real = Path.read_bytes

    def overtaken(path: Path) -> bytes:
        records.compact(tmp_path, at_least=2)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", overtaken)
    found = collect([tmp_path])
    assert not found.unreadable
    assert {row.trial for row in found.rows} == {"a", "b", "c"}


# ---- seals ----


def lines_of(folder: Path, name: str) -> list[bytes]:
    return (folder / f"{name}.jsonl").read_bytes().splitlines(keepends=True)


def test_an_edited_number_is_found_and_what_was_not_edited_is_read_in_any_order_of_lines(tmp_path):
    filled(tmp_path, "a")
    first, *others = lines_of(tmp_path, "a")
    (tmp_path / "a.jsonl").write_bytes(b"".join([*others, first]))
    assert len(records.read_trial(tmp_path, "a")) == 3
    (tmp_path / "a.jsonl").write_bytes(b"".join([first.replace(b"0.0", b"0.9"), *others]))
    with pytest.raises(records.DamagedError, match="its seal does not fit"):
        records.read_trial(tmp_path, "a")


def test_a_record_cut_at_a_line_end_is_computed_again_and_what_is_left_stays_aside(tmp_path):
    filled(tmp_path, "a")
    kept = b"".join(lines_of(tmp_path, "a")[:2])
    (tmp_path / "a.jsonl").write_bytes(kept)
    with pytest.raises(records.DamagedError, match="holds 2 of its 3 members"):
        records.read_trial(tmp_path, "a")
    assert records.read_done(tmp_path, "a") == []
    (aside,) = (tmp_path / records.ASIDE).iterdir()
    assert aside.read_bytes() == kept
    assert records.files(tmp_path) == []


def test_doubled_lines_are_one(tmp_path):
    written = filled(tmp_path, "a")
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines_of(tmp_path, "a") * 2))
    assert [records.read_trial(tmp_path, "a")] == [*written.values()]
    assert [len(trial) for trial in trials_in(tmp_path)] == [3]


def test_lines_of_two_writings_are_not_mixed(tmp_path):
    filled(tmp_path, "a")
    before = lines_of(tmp_path, "a")
    filled(tmp_path, "a", seconds=7.0)
    (tmp_path / "a.jsonl").write_bytes(b"".join([*before[:1], *lines_of(tmp_path, "a")[1:]]))
    assert len(records.read_trial(tmp_path, "a")) == 3  # each member once: seconds say nothing
    (tmp_path / "a.jsonl").write_bytes(b"".join([*before, *lines_of(tmp_path, "a")[1:]]))
    with pytest.raises(records.DamagedError, match="two writings"):
        records.read_trial(tmp_path, "a")


def test_records_from_before_seals_are_read_and_cut_ones_are_known_by_their_trial(tmp_path):
    (written,) = filled(tmp_path, "a").values()
    old = [json.dumps(asdict(row), sort_keys=True) for row in written]
    (tmp_path / "a.jsonl").write_text("\n".join(old) + "\n")
    assert records.read_trial(tmp_path, "a") == written
    assert records.read_done(tmp_path, "a", 3) == written
    assert records.read_done(tmp_path, "a", 4) == []
    (tmp_path / "b.jsonl").write_text(
        "\n".join(line.replace('"trial": "a"', '"trial": "b"') for line in old)
    )
    assert len(records.read_done(tmp_path, "b", 3)) == 3
    assert citrus(["records", "verify", str(tmp_path)]) == 2  # no results folder


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"knows": 1}, "is of a newer citrus_ray, whose records have `knows`"),
        ({"metrics": {"val/accuracy": 1.01}}, "its score val/accuracy is 1.01, and must be"),
        ({"metrics": {"test/auroc:rest": -0.2}}, "must be a number from"),
        ({"metrics": {"missing:ppg/kappa": -1.2}}, "must be a number from -1 to 1"),
        ({"metrics": {"val/loss": math.inf}}, "must be a number from -inf to inf"),
        ({"metrics": {"val/loss": math.nan}}, "must be a number"),
        ({"baselines": {"majority": {"test/accuracy": 2}}}, "test/accuracy is 2"),
        ({"status": "great"}, "its status is"),
        ({"seconds": "long"}, "its seconds is"),
        ({"axes": []}, "its axes is"),
        ({"trial": "z"}, "holds trial z"),
    ],
)
def test_what_no_record_can_say_is_refused_by_name(tmp_path, edit, said):
    filled(tmp_path, "a")
    trees = [json.loads(line) for line in lines_of(tmp_path, "a")]
    for tree in trees:
        del tree["seal"]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(tree | edit) for tree in trees))
    with pytest.raises(records.DamagedError, match=re.escape(said)):
        records.read_trial(tmp_path, "a")
    assert list(records.read_all(tmp_path)) == []


def test_what_is_good_of_a_damaged_part_becomes_a_part_and_the_rest_lies_aside(tmp_path):
    written = filled(tmp_path, "a", "b", "c")
    part = records.compact(tmp_path, at_least=2)
    assert part is not None
    content = part.read_bytes()
    part.write_bytes(content[:-40])
    assert records.set_aside(part)
    (new,) = records.files(tmp_path)
    assert new.parent.name == records.PARTS
    assert list(records.read_all(tmp_path)) == [written["a"], written["b"]]
    assert [path.read_bytes() for path in (tmp_path / records.ASIDE).iterdir()] == [content[:-40]]
    assert not collect([tmp_path]).unreadable
