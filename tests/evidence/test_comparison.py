"""Two sweeps side by side: known changes are found, noise is not, and what differs is told."""

from dataclasses import replace
from pathlib import Path

import pytest

from citrus_ray.evidence.comparison import Compared, compare, differences, side, verdict
from citrus_ray.records import Record
from tests.evidence.synthetic import METRIC, MadeUp, change


def shifted(folder: Path, by: float, arm: str = "both") -> Path:
    """Test scores moved, as another commit may move them, with a little of its own noise."""

    def edit(row: Record) -> Record:
        if row.phase == "search" or (arm == "masked" and row.encoder is None):
            return row
        wobble = (int(row.digest, 16) % 1000 - 500) / 1e5
        return replace(
            row,
            metrics=row.metrics | {f"test/{METRIC}": row.metrics[f"test/{METRIC}"] + by + wobble},
        )

    change(folder, edit)
    return folder


def compared(a: Path, b: Path) -> dict[tuple[str, str], Compared]:
    rows = compare(side(str(a)), side(str(b)))
    return {(row.label.split(",")[0], row.what): row for row in rows}


def test_the_same_records_are_identical(tmp_path: Path):
    a, b = (MadeUp().write(tmp_path / name) for name in "ab")
    assert {row.change for row in compared(a, b).values()} == {"identical"}
    assert list(differences(side(str(a)), side(str(b)))) == []


def test_a_drop_of_both_arms_is_worse_scores_and_the_same_gain(tmp_path: Path):
    a, b = MadeUp().write(tmp_path / "a"), shifted(MadeUp().write(tmp_path / "b"), -0.05)
    found = compared(a, b)
    assert found["from scratch", "score"].change == found["masked", "score"].change == "worse"
    assert found["masked", "gain"].change in ("within noise", "equivalent")
    assert found["masked", "score"].difference.mean == pytest.approx(-0.05, abs=0.005)


def test_a_better_pretraining_is_a_better_gain(tmp_path: Path):
    a, b = MadeUp().write(tmp_path / "a"), shifted(MadeUp().write(tmp_path / "b"), 0.05, "masked")
    found = compared(a, b)
    assert found["from scratch", "score"].change == "identical"
    assert found["masked", "gain"].change == "better"


@pytest.mark.slow
def test_fresh_noise_is_rarely_called_a_change(tmp_path: Path):
    wrong = 0
    for seed in range(20):
        a, b = (
            MadeUp(seed=2 * seed + i, n_trials=1).write(tmp_path / f"{seed}{i}") for i in (0, 1)
        )
        wrong += any(row.change in ("better", "worse") for row in compared(a, b).values())
    assert wrong <= 4  # of 20 families held at 5 in 100, 5 would be a chance of 3 in 1,000


def test_what_differs_is_told(tmp_path: Path):
    a, b = (MadeUp().write(tmp_path / name) for name in "ab")

    def edit(row: Record) -> Record:
        config = row.config | {"finetune.steps": 200, "finetune.target.root": "~/elsewhere"}
        return replace(
            row, config=config, commit="b" * 40, versions=row.versions | {"torch": "2.14.0"}
        )

    change(b, edit)
    change(
        a, lambda row: replace(row, config=row.config | {"finetune.steps": 100}, commit="a" * 40)
    )
    assert list(differences(side(str(a)), side(str(b)))) == [
        f"commits: A {'a' * 40}; B {'b' * 40}",
        "versions: A torch 2.13.0; B torch 2.14.0",
        "finetune.steps: A 100; B 200",
    ]


def test_cells_that_one_side_alone_has_are_named(tmp_path: Path):
    a = MadeUp().write(tmp_path / "a")
    b = MadeUp(labels=({"per_class": 8}, {"per_class": 20})).write(tmp_path / "b")
    assert (
        "only in B: from scratch, labels 20 per class, masked, labels 20 per class"
        in differences(side(str(a)), side(str(b)))
    )


def test_one_folder_is_taken_apart_by_commit(tmp_path: Path):
    folder = MadeUp().write(tmp_path)
    change(folder, lambda row: replace(row, commit=("a" if row.encoder is None else "b") * 40))
    assert [cell.is_scratch for cell in side(f"{folder}@aaaa").cells.values()] == [True]
    assert [cell.is_scratch for cell in side(f"{folder}@bbbb").cells.values()] == [False]


def test_nothing_in_common_is_said(tmp_path: Path):
    a = MadeUp().write(tmp_path / "a")
    b = MadeUp(targets=("bonn",)).write(tmp_path / "b")
    assert "Nothing to compare" in verdict(compare(side(str(a)), side(str(b))))
