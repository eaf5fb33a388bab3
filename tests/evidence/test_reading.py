"""What reading promises: each computation once, and nothing lost without a word."""

import json
import shutil
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from citrus_ray import records
from citrus_ray.evidence.reading import collect, table
from citrus_ray.records import Record
from tests.evidence.synthetic import MadeUp, change, spoil


def test_the_same_records_from_two_machines_count_once(tmp_path: Path):
    here = MadeUp().write(tmp_path / "here")
    shutil.copytree(here, tmp_path / "there")
    once, twice = (
        collect([here / "records"]),
        collect([here / "records", tmp_path / "there" / "records"]),
    )
    assert twice.rows == once.rows
    assert twice.n_read == 2 * once.n_read
    assert not twice.conflicts


def test_a_computation_with_two_results_is_a_conflict(tmp_path: Path):
    here, there = (MadeUp().write(tmp_path / name) for name in ("here", "there"))
    path = next((there / "records").glob("*.jsonl"))
    rows = records.read_trial(there / "records", path.stem)
    records.write(
        there / "records",
        path.stem,
        [replace(rows[0], metrics={"val/balanced_accuracy": 0.1}), *rows[1:]],
    )
    conflicts = collect([here / "records", there / "records"]).conflicts
    assert [conflict.digest for conflict in conflicts] == [rows[0].digest]
    assert conflicts[0].values[0] == 0.1


def test_machines_that_round_differently_do_not_conflict(tmp_path: Path):
    here, there = (MadeUp().write(tmp_path / name) for name in ("here", "there"))
    for path in (there / "records").glob("*.jsonl"):
        rows = records.read_trial(there / "records", path.stem)
        off = [
            replace(row, metrics={name: value + 1e-9 for name, value in row.metrics.items()})
            for row in rows
        ]
        records.write(there / "records", path.stem, off)
    assert not collect([here / "records", there / "records"]).conflicts


def test_of_copies_that_agree_the_end_decides_not_even_the_last_digit(tmp_path: Path):
    found = []
    for name, ends in (("one", ("2026-01", "2027-01")), ("other", ("2027-01", "2026-01"))):
        folders = [MadeUp().write(tmp_path / name / machine) for machine in "ab"]
        for off, (folder, end) in enumerate(zip(folders, ends, strict=True)):
            change(folder, partial(moved, off=1e-9 * off, end=end))
        rows = collect([folder / "records" for folder in folders]).rows
        found.append([row.metrics for row in rows])
    assert found[0] == found[1]


def test_no_clock_says_which_of_two_results_counts(tmp_path: Path):
    """The clock of a machine may be an hour off, or set while a sweep runs."""
    found = []
    for name, ends in (("one", ("2026-01", "2027-01")), ("other", ("2027-01", "2026-01"))):
        folders = [MadeUp().write(tmp_path / name / machine) for machine in "ab"]
        for off, (folder, end) in enumerate(zip(folders, ends, strict=True)):
            change(folder, partial(moved, off=-0.1 * off, end=end))
        together = collect([folder / "records" for folder in folders])
        assert together.conflicts
        found.append([row.metrics for row in together.rows])
    assert found[0] == found[1]


def moved(row: Record, off: float, end: str) -> Record:
    metrics = {name: value + off for name, value in row.metrics.items()}
    return replace(row, metrics=metrics, finished=end)


def test_a_result_stands_for_the_failure_of_the_same_computation(tmp_path: Path):
    here, there = (MadeUp().write(tmp_path / name) for name in ("here", "there"))
    spoil(there, 0, "failed", "out of memory")
    found = collect([here / "records", there / "records"])
    assert all(row.status == "ok" for row in found.rows)
    assert found.n_superseded > 0


def test_a_member_shared_by_two_trials_stays_in_both(tmp_path: Path):
    folder, made = tmp_path, MadeUp()
    axes = made.cells()[0]
    made.write_trial(folder, axes, "final", 1e-2, range(1000, 1005))
    made.write_trial(folder, axes, "final", 1e-2, range(1000, 1012))
    found = collect([folder / "records"])
    assert len(found.rows) == 5 + 12
    assert found.n_computations == 12


def test_a_broken_file_is_reported_and_the_rest_is_read(tmp_path: Path):
    folder = MadeUp().write(tmp_path)
    n = len(collect([folder / "records"]).rows)
    (folder / "records" / "broken.jsonl").write_text('{"digest": ')
    (folder / "records" / "other.jsonl").write_text('{"digest": "of another program"}\n')
    found = collect([folder / "records"])
    assert len(found.rows) == n
    assert {item.file for item in found.unreadable} == {"broken.jsonl", "other.jsonl"}


def test_a_folder_without_records_is_empty(tmp_path: Path):
    assert collect([tmp_path / "records"]).rows == ()


def test_the_table_has_a_column_for_every_axis_setting_and_metric(tmp_path: Path):
    columns, rows = table(collect([MadeUp().write(tmp_path) / "records"]).rows)
    for name in (
        "axes.pretrain.task",
        "params.finetune.optim.lr",
        "repeat.seed",
        "test/balanced_accuracy",
    ):
        assert name in columns
    assert json.loads(rows[-1]["axes.finetune.labels"]) == {"per_class": 8}


@pytest.mark.slow
def test_twenty_thousand_records_of_real_size_take_seconds(tmp_path: Path):
    (tmp_path / "records").mkdir()
    row = MadeUp().row(MadeUp().cells()[1], "search", 1e-2, "emgdb", 0)
    line = json.dumps(
        vars(replace(row, config={f"a.setting.number_{i}": i / 7 for i in range(60)}))
    )
    for trial in range(1000):
        own = line.replace('"trial": ""', f'"trial": "{trial:016x}"')
        lines = [own.replace(row.digest, f"{trial:08x}{i:08x}") for i in range(20)]
        (tmp_path / "records" / f"{trial:016x}.jsonl").write_text("\n".join(lines))
    started = time.perf_counter()
    assert len(collect([tmp_path / "records"]).rows) == 20_000
    assert time.perf_counter() - started < 10  # 1.0 s on two cores of 2026
