"""Exhibits of test predictions: who was taken for whom, and how far probabilities can be
believed."""

from collections.abc import Iterable, Sequence

import numpy as np

from citrus_ray.evidence.facts import target_of
from citrus_ray.evidence.predicted import N_BINS, PredictedCell
from citrus_ray.experiment.labels import count
from citrus_ray.report.exhibits.exhibit import MAX_PANELS, MAX_ROWS, Exhibit, first
from citrus_ray.report.figures import results
from citrus_ray.report.numbers import interval, number, sentence
from citrus_ray.report.tables import Table, TableRow

EACH = "Test windows of all refits of a cell's winner, every round's added up."


def predictions(found: Sequence[PredictedCell]) -> Iterable[Exhibit]:
    """Who was taken for whom, and how far probabilities can be believed; of classes alone."""
    found = [one for one in found if one.are_classes]
    if found:
        yield _confusion(found)
        yield _subjects(found)
        yield _calibration(found)


def _confusion(found: Sequence[PredictedCell]) -> Exhibit:
    shown = [(_named(one), one) for one in found[:MAX_PANELS]]
    return Exhibit(
        "confusion",
        "What was taken for what",
        _confusion_shown(found),
        f"{EACH} Each row is a true class, its fields the share of its windows that were taken "
        "for each class." + first(len(found), MAX_PANELS, "cells"),
        (
            Table(
                "What was taken for what",
                ("cell", "true class", "windows", "taken for", "windows so", "share"),
                tuple(row for one in found for row in _confusion_lines(one)),
            ),
            Table(
                "Scores by class",
                ("cell", "class", "windows", "recall", "precision"),
                tuple(
                    (_named(one), name, f"{n:,}", number(recall), number(precision))
                    for one in found
                    for name, n, recall, precision in one.of_classes()
                ),
            ),
        ),
        lambda: results.confusions(shown),
    )


def _subjects(found: Sequence[PredictedCell]) -> Exhibit:
    shown = [(_named(one), one) for one in found[:MAX_ROWS]]
    return Exhibit(
        "subjects",
        "Subject by subject",
        _subjects_shown(found),
        f"{EACH} A tick per test subject: the share of its windows that was right, over all "
        "refits that tested it." + first(len(found), MAX_ROWS, "cells"),
        (
            Table(
                "Scores by subject",
                ("cell", "subject", "refits", "windows", "accuracy"),
                tuple(
                    (_named(one), name, str(n), f"{n_windows:,}", number(right))
                    for one in found
                    for name, n, n_windows, right in one.of_subjects()
                ),
            ),
        ),
        lambda: results.subject_forest(shown),
    )


def _calibration(found: Sequence[PredictedCell]) -> Exhibit:
    shown = [(_named(one), one.reliability) for one in found[:MAX_PANELS]]
    return Exhibit(
        "calibration",
        "How far probabilities can be believed",
        _calibration_shown(found),
        f"{EACH} Windows in ten bins of the probability of the class that they were taken for: a "
        "point on the diagonal is right as often as it says. Larger points hold more windows. The "
        "expected calibration error is the mean distance from the diagonal, by windows, of each "
        "refit by itself." + first(len(found), MAX_PANELS, "cells"),
        (
            Table(
                "How far probabilities can be believed",
                ("cell", "expected calibration error", "95 % interval", "counted"),
                tuple(_calibration_line(one) for one in found),
            ),
            Table(
                "Reliability",
                ("cell", "bin", "windows", "mean probability", "accuracy"),
                tuple(row for one in found for row in _reliability_lines(one)),
            ),
        ),
        lambda: results.reliabilities(shown),
    )


def _named(one: PredictedCell) -> str:
    several = len({target_of(row) for row in one.cell.scored}) > 1
    return f"{one.cell.label}, {one.target}" if several else one.cell.label


def _confusion_lines(one: PredictedCell) -> Iterable[TableRow]:
    for name, row in zip(one.classes, one.confusion, strict=True):
        for other, n in zip(one.classes, row, strict=True):
            share = number(n / row.sum() if row.sum() else None)
            yield _named(one), name, f"{row.sum():,}", other, f"{n:,}", share


def _confusion_shown(found: Sequence[PredictedCell]) -> str:
    """The error that is most often made, as a share of the class."""
    most = (0.0, "")
    for one in found:
        shares = one.confusion / np.maximum(one.confusion.sum(axis=1, keepdims=True), 1)
        np.fill_diagonal(shares, 0)
        i, j = np.unravel_index(shares.argmax(), shares.shape)
        if shares[i, j] > most[0]:
            said = f"{one.classes[i]} is taken for {one.classes[j]} ({_named(one)})"
            most = float(shares[i, j]), said
    share, said = most
    return f"Most often {said}: {share:.0%} of its windows." if said else "No window was mistaken."


def _subjects_shown(found: Sequence[PredictedCell]) -> str:
    """The cell whose subjects differ most."""
    ranges = [(one, [(share, who) for who, _, _, share in one.of_subjects()]) for one in found]
    one, shares = max(ranges, key=lambda item: max(item[1])[0] - min(item[1])[0])
    (low, last), (high, best) = min(shares), max(shares)
    if last == best:
        return f"One test subject, {best}: {high:.0%} of its windows are right."
    return f"Widest in {_named(one)}: from {low:.0%} ({last}) to {high:.0%} ({best})."


def _calibration_shown(found: Sequence[PredictedCell]) -> str:
    best, worst = (pick(found, key=lambda one: one.calibration_error.mean) for pick in (min, max))
    said = f"{_named(best)} is {best.calibration_error.mean:.1%} away from what it says"
    if best is not worst:
        said += f", {_named(worst)} {worst.calibration_error.mean:.1%}"
    return f"{sentence(said)}."


def _calibration_line(one: PredictedCell) -> TableRow:
    error = one.calibration_error
    return _named(one), number(error.mean), interval(error), count(error.n, "round")


def _reliability_lines(one: PredictedCell) -> Iterable[TableRow]:
    found = one.reliability
    for i, n in enumerate(found.counts):
        if n:
            ends = f"{i / N_BINS:.1f} to {(i + 1) / N_BINS:.1f}"
            means = number(found.confidence[i]), number(found.accuracy[i])
            yield _named(one), ends, f"{n:,.0f}", *means
