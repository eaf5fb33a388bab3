"""What the search saw, and what it cost. Validation scores: they explain choices and are no results."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from citrus_ray.evidence.explored import (
    Dependence,
    Explored,
    dependences,
    explored,
    is_installed,
    surface,
)
from citrus_ray.evidence.fronts import fronts
from citrus_ray.experiment.labels import value_label
from citrus_ray.report import captions as words
from citrus_ray.report.exhibits import MAX_ROWS, Exhibit, points
from citrus_ray.report.figures import plots, plots_of_search
from citrus_ray.report.markup import DASH, count, duration, number

if TYPE_CHECKING:
    from citrus_ray.report.findings import Findings

MAX_PANELS = 6
FLATTERS = "Validation scores of searched trials, minus the from-scratch trial that validation chose: no result."


def search_exhibits(findings: "Findings") -> Iterable[Exhibit]:
    metric = findings.design.test_metric
    scale = points(metric)
    for i, found in enumerate(explored(findings.cells, findings.gains) if is_installed() else []):
        suffix = f"-{i + 1}" if i else ""
        order = dependences(found)
        yield _dependence(found, order, scale, suffix)
        yield from _surface(found, order, scale, suffix)
        yield _parallel(found, scale, suffix)
    yield from _fronts(findings)
    yield from _cost(findings)


def _fronts(findings: "Findings") -> Iterable[Exhibit]:
    found = fronts(findings.cells)
    if not found:
        return
    n = sum(len(front.best) for front in found)
    yield Exhibit(
        "front",
        "What can be had at the price of what",
        f"No trial beats {'this one' if n == 1 else f'these {n}'} in one objective without losing in another.",
        "A dot per trial, by its validation scores in the first and the last objective; filled: on the front. The "
        "refit that is reported is of the best mean.",
        ("cell", "settings", *found[0].names),
        tuple(
            (
                front.cell.label,
                words.params_label(trial.params),
                *(number(s) for s in trial.scores),
            )
            for front in found
            for trial in front.best
        ),
        lambda: plots_of_search.fronts(found[:MAX_PANELS]),
    )


def _dependence(found: Explored, order: list[Dependence], scale: float, suffix: str) -> Exhibit:
    shown = order[:MAX_PANELS]
    rows = [
        (
            item.name,
            _share(item),
            item.labels[int(at)] if item.labels else f"{at:.4g}",
            number(gain, sign=True),
            str(n),
        )
        for item in order
        for at, gain, n in item.seen
    ]
    return Exhibit(
        f"settings{suffix}",
        f"What the gain hangs on: {found.arm}",
        _settings_shown(order, scale),
        f"{FLATTERS} Line or bar: partial dependence of a random forest, all other settings as tried; rings: means "
        "of the trials there, larger for more of them. In brackets the share of the variance that the setting explains "
        "by itself (functional ANOVA, Optuna). Searches go where scores are good, so both lean on few bad trials.",
        ("setting", "importance", "value", "mean gain of trials there", "trials"),
        tuple(rows),
        lambda: plots_of_search.dependence(shown, scale),
    )


def _share(item: Dependence) -> str:
    return DASH if item.importance is None else f"{100 * item.importance:.1f} %"


def _settings_shown(order: list[Dependence], scale: float) -> str:
    first = order[0]
    if first.importance is None:
        return "All trials gain the same, so no setting explains anything."
    moved = f"{scale * first.swing:.1f} points" if scale > 1 else number(first.swing)
    return f"Most of what varies goes with {first.name} ({_share(first)}): over its range the gain moves by {moved}."


def _surface(
    found: Explored, order: list[Dependence], scale: float, suffix: str
) -> Iterable[Exhibit]:
    made = surface(found, order)
    if made is None:
        return
    one, other = made.names
    fields = [
        (i, j)
        for i in range(len(made.labels[0]))
        for j in range(len(made.labels[1]))
        if made.counts[i, j]
    ]
    i, j = max(fields, key=lambda at: made.gains[at])
    best = f"{one} {made.labels[0][i]} with {other} {made.labels[1][j]}"
    yield Exhibit(
        f"surface{suffix}",
        f"{one} by {other}: {found.arm}".capitalize(),
        f"The best mean gain is at {best}, from {count(int(made.counts[i, j]), 'trial')}.",
        f"{FLATTERS} Mean gain of the trials in each field, their number in brackets; empty fields were not tried.",
        (one, other, "mean gain", "trials"),
        tuple(
            (
                made.labels[0][i],
                made.labels[1][j],
                number(made.gains[i, j], sign=True),
                str(made.counts[i, j]),
            )
            for i, j in fields
        ),
        lambda: plots_of_search.surface(made, scale),
    )


def _parallel(found: Explored, scale: float, suffix: str) -> Exhibit:
    best = max(range(len(found.rows)), key=lambda i: found.gains[i])
    names = found.names
    return Exhibit(
        f"parallel{suffix}",
        f"Every trial: {found.arm}",
        f"The best of {count(len(found.rows), 'trial')} has {words.params_label(found.rows[best])}.",
        f"{FLATTERS} A line per trial, from setting to setting to its gain; the best tenth in blue. Lines that cross "
        "the whole height of an axis say that the setting does not decide.",
        (*names.values(), "validation gain"),
        tuple(
            (*(value_label(path, row[path]) for path in found.paths), number(gain, 4, sign=True))
            for row, gain in sorted(
                zip(found.rows, found.gains, strict=True), key=lambda item: -item[1]
            )
        ),
        lambda: plots_of_search.parallel(found, scale),
    )


def _cost(findings: "Findings") -> Iterable[Exhibit]:
    cells = [cell for cell in findings.cells if cell.rows]
    if not cells:
        return
    total = sum(row.seconds for cell in cells for row in cell.rows)
    failed = sum(row.seconds for cell in cells for row in cell.rows if row.status == "failed")
    yield Exhibit(
        "cost",
        "Cost",
        f"{duration(total)} of compute in fine-tunes, {duration(failed)} of it in runs that failed.",
        "Seconds in members as recorded, added up; wall time is less where trials ran side by side. Pre-training is "
        "computed once per encoder, shared by all trials that ask for it, and not in these records.",
        ("cell", "search", "refits", "trials", "encoders"),
        tuple(
            (
                cell.label,
                duration(plots.seconds(cell, "search")),
                duration(plots.seconds(cell, "final")),
                str(len(cell.searched)),
                str(len({row.encoder for row in cell.rows if row.encoder})),
            )
            for cell in cells
        ),
        lambda: plots.cost(cells[:MAX_ROWS]),
    )
