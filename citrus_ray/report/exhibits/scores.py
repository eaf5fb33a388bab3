"""Exhibits of test scores: cell by cell, and as ranks over targets."""

from collections.abc import Iterable, Sequence

import numpy as np

from citrus_ray.evidence.intervals import INTERVAL
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.ranks import Ranking
from citrus_ray.experiment.labels import count
from citrus_ray.report import captions as words
from citrus_ray.report.exhibits.exhibit import MAX_ROWS, Exhibit, first, thinned
from citrus_ray.report.figures import forest, results
from citrus_ray.report.numbers import DASH, interval, number, probability
from citrus_ray.report.tables import Field, Footnotes, Table, TableRow


def test_scores(cells: Sequence[Outcome], notes: Footnotes) -> Iterable[Exhibit]:
    order = list(dict.fromkeys(cell.regime_label for cell in cells))

    def place(cell: Outcome) -> tuple[int, bool]:
        return order.index(cell.regime_label), not cell.is_scratch

    if not cells:
        return
    said, cells = words.scores_shown(cells), sorted(cells, key=place)
    names = list(dict.fromkeys(name for cell in cells for name in cell.baselines))
    rows: tuple[TableRow, ...] = tuple(
        (
            cell.label,
            Field(number(cell.test.mean if cell.test else None), notes.of(cell.digest)),
            interval(cell.test) if cell.test else DASH,
            count(cell.test.n, "round") if cell.test else words.progress(cell),
            f"{len(cell.scored)} of {len(cell.final)}",
            *(number(cell.baselines.get(name)) for name in names),
        )
        for cell in cells
    )
    metric = words.metric_name(cells[0].design.test_metric).capitalize()
    head = ("cell", "mean", "95 % interval", "counted", "refits")
    dashed = f" Dashed lines: baselines ({', '.join(names)})." if names else ""
    yield Exhibit(
        "scores",
        "Test scores",
        said,
        f"Mean over the rounds of each cell's winner, with its interval ({INTERVAL}); short "
        "ticks are single refits. Filled: pre-trained; hollow: from scratch."
        f"{dashed} Validation data chose the winner; test data was scored once, after the search."
        + thinned((len(cell.scored) for cell in cells), forest.MAX_TICKS, "refits")
        + first(len(cells), MAX_ROWS, "cells"),
        (Table(metric, (*head, *(f"baseline: {name}" for name in names)), rows),),
        lambda: results.score_forest(cells[:MAX_ROWS]),
    )


# ---- ranks ----


def ranks(found: Ranking | None) -> Iterable[Exhibit]:
    if found is None:
        return
    p = "" if found.p is None else f" (Friedman p = {probability(found.p)})"
    apart = sum(rank - found.ranks[0] >= found.critical for rank in found.ranks)
    yield Exhibit(
        "ranks",
        "Ranks over targets",
        f"Over {len(found.targets)} targets, {found.methods[0]} ranks best with "
        f"{found.ranks[0]:.2f}{p}; "
        f"{apart} of the other {count(len(found.methods) - 1, 'method')} rank apart from it.",
        "Mean rank of each method over the targets that all of them were scored on, regimes "
        "averaged, 1 is best. Bars "
        "join methods closer than Nemenyi's critical difference at 0.05: the evidence "
        "cannot order them.",
        (
            Table(
                "Ranks over targets",
                ("method", "mean rank", *found.targets),
                tuple(_rank_line(found, i) for i in range(len(found.methods))),
            ),
        ),
        lambda: results.critical_difference(found),
    )


def _rank_line(found: Ranking, i: int) -> tuple[str, ...]:
    return (
        found.methods[i],
        f"{found.ranks[i]:.2f}",
        *(number(score) for score in np.asarray(found.scores)[:, i]),
    )
