"""What refits predicted, window by window: against sums made by hand."""

from pathlib import Path

import numpy as np
import pytest

from citrus_ray import records
from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.evidence.predicted import PredictedCell, Reliability, predicted
from citrus_ray.store import predictions
from citrus_ray.store.predictions import TestOutputs, probabilities_of
from tests.evidence.synthetic import MadeUp

SUBJECTS = ("ann", "ann", "bob", "bob")


def part_of(member: str, said: tuple[int, ...], sure: float = 0.75) -> TestOutputs:
    """Four windows of two subjects, classes 0, 1, 0, 1, taken for `said` with this probability."""
    logit = np.log(sure / (1 - sure))
    outputs = np.zeros((4, 2), np.float32)
    outputs[np.arange(4), said] = logit
    start_s, y = np.array([0.0, 2.5, 5.0, 7.5]), np.array([0, 1, 0, 1])
    classes = ("rest", "task")
    return TestOutputs(member, classes, np.arange(4), SUBJECTS, start_s, 2.5, y, outputs)


def with_predictions(folder: Path, *said: tuple[int, ...]) -> Path:
    """A made-up sweep whose refits predicted, round by round, what is given."""
    MadeUp(n_final_seeds=len(said), n_trials=2).write(folder)
    for rows in records.read_all(folder / "records"):
        if rows[0].phase == "final":
            found = zip(sorted(rows, key=lambda row: row.seed), said, strict=True)
            parts = [part_of(row.digest, of) for row, of in found]
            predictions.write(folder / predictions.FOLDER, rows[0].trial, parts)
    return folder


def cells_of(folder: Path) -> list[PredictedCell]:
    return predicted(read_evidence([folder]).cells, [folder])


def test_windows_of_all_rounds_are_counted_by_class_and_by_subject(tmp_path):
    found = cells_of(with_predictions(tmp_path, (0, 1, 0, 1), (0, 1, 0, 0), (1, 1, 0, 0)))
    assert len(found) == 2  # one for each cell
    one = found[0]
    assert one.classes == ("rest", "task")
    assert one.confusion.tolist() == [[5, 1], [2, 4]]
    assert list(one.of_classes()) == [("rest", 6, 5 / 6, 5 / 7), ("task", 6, 4 / 6, 4 / 5)]
    assert one.of_subjects() == [("bob", 3, 6, 4 / 6), ("ann", 3, 6, 5 / 6)]


def test_calibration_is_the_distance_of_how_sure_from_how_often_right(tmp_path):
    one = cells_of(with_predictions(tmp_path, (0, 1, 0, 1), (0, 1, 0, 0), (1, 0, 1, 0)))[0]
    errors = [0.25, 0.0, 0.75]  # sure 0.75; right 1, 0.75, 0
    assert one.calibration_error.mean == pytest.approx(np.mean(errors), abs=1e-6)
    assert one.calibration_error.n == 3
    assert one.reliability.counts.tolist() == [0, 0, 0, 0, 0, 0, 0, 12, 0, 0]
    assert one.reliability.confidence[7] == pytest.approx(0.75)
    assert one.reliability.accuracy[7] == pytest.approx(7 / 12)
    assert np.isnan(one.reliability.accuracy[0])


def test_a_probability_of_one_lies_in_the_last_bin():
    found = Reliability.of(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([0, 1]))
    assert found.counts.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert found.error == pytest.approx((0.0 + 0.5) / 2)


def test_a_part_comes_back_as_it_was_written(tmp_path):
    outputs = np.array([[0.1, -2.0, 3e-8]], np.float32)
    at, of = np.array([5]), ("x", "y", "z")
    wide = TestOutputs("b", of, at, ("carl",), None, 1.0, np.array([2]), outputs)
    parts = [part_of("a", (0, 1, 1, 1)), wide]
    predictions.write(tmp_path, "trial", parts)
    for was, other in zip(parts, predictions.read(tmp_path, "trial"), strict=True):
        assert (was.member, was.classes, was.group) == (other.member, other.classes, other.group)
        assert np.array_equal(was.outputs, other.outputs)
        assert other.outputs.dtype == np.float32
        assert np.array_equal(was.y, other.y)
        assert np.array_equal(was.window, other.window)
        assert (was.start_s is None) == (other.start_s is None)
    assert probabilities_of(wide.outputs).sum() == pytest.approx(1)


def test_what_was_not_kept_or_is_damaged_is_left_out(tmp_path):
    folder = with_predictions(tmp_path, (0, 1, 0, 1), (0, 1, 0, 0))
    first, second = sorted((folder / "predictions").iterdir())
    first.write_bytes(first.read_bytes()[:-9])
    assert len(cells_of(folder)) == 1
    second.unlink()
    assert cells_of(folder) == []
