"""Exhibits of what the search saw: validation scores, which explain choices and are no results."""

from collections.abc import Iterable, Sequence

from citrus_ray.evidence.explored import Dependence, Explored, dependences, surface
from citrus_ray.evidence.fronts import Front
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.responses import OverTwo, Response, Z
from citrus_ray.experiment.labels import count, value_label
from citrus_ray.report import captions as words
from citrus_ray.report.exhibits.exhibit import MAX_PANELS, Exhibit, first, thinned
from citrus_ray.report.exhibits.gains import points
from citrus_ray.report.figures import search
from citrus_ray.report.numbers import DASH, number, sentence
from citrus_ray.report.tables import Field, Table, TableRow

MAX_HISTORIES = 48
FLATTERS = (
    "Validation scores of searched trials, minus the from-scratch trial that validation chose: "
    "no result."
)


def hangs_on(
    found: Sequence[Explored], numbers: Sequence[Response], metric: str
) -> Iterable[Exhibit]:
    """Of each pre-training: numbers as curves with an interval, the rest by a forest."""
    scale = points(metric)
    yield from responded(numbers, scale)
    drawn = {response.arm: {axis.path for axis in response.axes} for response in numbers}
    surfaces = {response.arm for response in numbers if response.surface}
    for i, one in enumerate(found):
        suffix = f"-{i + 1}" if i else ""
        curved = drawn.get(one.arm, set())
        if not curved.issuperset(one.paths) or one.arm not in surfaces:  # a forest takes seconds
            order = dependences(one)
            rest = [item for item in order if item.path not in curved]
            if rest:
                yield _dependence(one, order, rest, scale, suffix)
            if one.arm not in surfaces:
                yield from _surface(one, order, scale, suffix)
        yield _parallel(one, scale, suffix)


def responded(found: Sequence[Response], scale: float) -> Iterable[Exhibit]:
    for i, one in enumerate(found):
        suffix = f"-{i + 1}" if i else ""
        yield _response(one, scale, suffix)
        if one.surface is not None:
            yield _field(one, one.surface, scale, suffix)


def _response(found: Response, scale: float, suffix: str) -> Exhibit:
    title = f"How {words.metric_name(found.design.metric)} answers to the search: {found.arm}"
    rows = tuple(
        (
            one.axis.name,
            f"{at:.4g}",
            number(mean, sign=True),
            f"{number(mean - Z * sd, sign=True)} to {number(mean + Z * sd, sign=True)}",
            "yes" if worse else "no",
        )
        for one in found.curves
        for at, mean, sd, worse in zip(
            one.at[::4], one.curve.mean[::4], one.curve.sd[::4], one.worse[::4], strict=True
        )
    )
    head = ("setting", "value", "estimate", "95 % interval", "told apart from the best")
    left_out = f" {count(found.n_left_out, 'more point')} were left out." * bool(found.n_left_out)
    return Exhibit(
        f"response{suffix}",
        title,
        f"{sentence('; '.join(one.says for one in found.curves[:MAX_PANELS]))}.",
        "Validation scores of searched trials alone, less each cell's mean, better when higher: "
        "what is chosen by, no result. Line and band: estimate and 95 % interval of a Gaussian "
        "process over all that was searched, the mean over all other settings as tried; rings: "
        "means of the trials at each point, which differ in the other settings too. Bar at the "
        "foot: not told apart from the best, corrected for the places of a curve and the number "
        f"of curves. From {found.says_whom()}."
        + left_out
        + first(len(found.curves), MAX_PANELS, "settings"),
        (Table(title, head, rows),),
        lambda: search.response(found.curves[:MAX_PANELS], scale),
    )


def _field(found: Response, over: OverTwo, scale: float, suffix: str) -> Exhibit:
    one, other = over.axes
    title = f"{one.name} by {other.name}: {found.arm}".capitalize()
    every = range(0, len(over.at[0]), 2)
    rows = tuple(
        (
            f"{over.at[0][i]:.3g}",
            f"{over.at[1][j]:.3g}",
            number(over.mean[i, j], sign=True),
            number(Z * over.sd[i, j]),
            "yes" if over.worse[i, j] else "no",
        )
        for i in every
        for j in every
    )
    head = (one.name, other.name, "estimate", "half of its 95 % interval", "told apart")
    return Exhibit(
        f"surface{suffix}",
        title,
        over.says,
        "Validation scores of searched trials, less each cell's mean: no result. Colours: the "
        "estimate over both, all other settings as tried. Hatched: told to be worse than the best "
        "place (cross), corrected for all places. Rings: the points that were tried.",
        (Table(title, head, rows),),
        lambda: search.field(over, scale),
    )


def histories(cells: Sequence[Outcome]) -> Iterable[Exhibit]:
    cells = [cell for cell in cells if cell.searched]
    if not cells:
        return
    rows: tuple[TableRow, ...] = tuple(
        (
            *(cell.label, str(i), number(trial.value, 4)),
            f"{trial.status}, chosen" if trial is cell.best else trial.status,
            words.params_label(trial.params),
            Field(trial.digest, style="code"),
        )
        for cell in cells
        for i, trial in enumerate(cell.searched, 1)
    )
    metric = cells[0].design.metric
    yield Exhibit(
        "search",
        "Search",
        words.history_shown(cells),
        f"{words.metric_name(metric).capitalize()} of each trial in the order of their points, or "
        "of their ends where the sampler learns; mean over its members. Line: best so far; ring: "
        "the trial that was chosen; hollow: stopped early; cross: failed. These are the numbers "
        "that chose the winners, so they flatter them."
        + thinned((len(cell.searched) for cell in cells), search.MAX_TRIALS, "trials")
        + first(len(cells), MAX_HISTORIES, "cells"),
        (Table("Every trial", ("cell", "trial", metric, "status", "settings", "digest"), rows),),
        lambda: search.histories(cells[:MAX_HISTORIES]),
    )


def of_fronts(found: Sequence[Front]) -> Iterable[Exhibit]:
    if not found:
        return
    n = sum(len(front.best) for front in found)
    yield Exhibit(
        "front",
        "What can be had at the price of what",
        f"No trial beats {'this one' if n == 1 else f'these {n}'} in one objective without "
        "losing in another.",
        "A dot per trial, by its validation scores in the first and the last objective; filled: on "
        "the front. The refit that is reported is of the best mean."
        + first(len(found), MAX_PANELS, "cells"),
        (
            Table(
                "What can be had at the price of what",
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
            ),
        ),
        lambda: search.fronts(found[:MAX_PANELS]),
    )


def _dependence(
    found: Explored,
    order: list[Dependence],
    rest: list[Dependence],
    scale: float,
    suffix: str,
) -> Exhibit:
    """Importances of all, drawings of those that have no curve of their own."""
    shown = rest[:MAX_PANELS]
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
        f"{FLATTERS} Line or bar: partial dependence of a random forest, all other settings as "
        "tried; rings: means of the trials there, larger for more of them. In brackets the share "
        "of the variance that the setting explains by itself (functional ANOVA, Optuna). Searches "
        "go where scores are good, so both lean on few bad trials."
        + first(len(rest), MAX_PANELS, "settings"),
        (
            Table(
                f"What the gain hangs on: {found.arm}",
                ("setting", "importance", "value", "mean gain of trials there", "trials"),
                tuple(rows),
            ),
        ),
        lambda: search.dependence(shown, scale),
    )


def _share(item: Dependence) -> str:
    return DASH if item.importance is None else f"{100 * item.importance:.1f} %"


def _settings_shown(order: list[Dependence], scale: float) -> str:
    first = order[0]
    if first.importance is None:
        return "All trials gain the same, so no setting explains anything."
    moved = f"{scale * first.swing:.1f} points" if scale > 1 else number(first.swing)
    return (
        f"Most of what varies goes with {first.name} ({_share(first)}): over its range "
        f"the gain moves by {moved}."
    )


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
        f"{FLATTERS} Mean gain of the trials in each field, their number in brackets; empty "
        "fields were not tried.",
        (
            Table(
                f"{one} by {other}: {found.arm}".capitalize(),
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
            ),
        ),
        lambda: search.surface(made, scale),
    )


def _parallel(found: Explored, scale: float, suffix: str) -> Exhibit:
    best = max(range(len(found.rows)), key=lambda i: found.gains[i])
    names = found.names
    return Exhibit(
        f"parallel{suffix}",
        f"Every trial: {found.arm}",
        f"The best of {count(len(found.rows), 'trial')} has "
        f"{words.params_label(found.rows[best])}.",
        f"{FLATTERS} A line per trial, from setting to setting to its gain; the best tenth in "
        "blue. Lines that cross the whole height of an axis say that the setting does not decide."
        + thinned([len(found.rows)], search.MAX_LINES, "trials"),
        (
            Table(
                f"Every trial: {found.arm}",
                (*names.values(), "validation gain"),
                tuple(
                    (
                        *(value_label(path, row[path]) for path in found.paths),
                        number(gain, 4, sign=True),
                    )
                    for row, gain in sorted(
                        zip(found.rows, found.gains, strict=True), key=lambda item: -item[1]
                    )
                ),
            ),
        ),
        lambda: search.parallel(found, scale),
    )
