"""Drawings of methods side by side: over all places, and each against each."""

from typing import TYPE_CHECKING, Any

import numpy as np

from citrus_ray.evidence.standings import COMPARED, Standings
from citrus_ray.report import captions as words
from citrus_ray.report.figures import ink
from citrus_ray.report.figures.forest import Bar, forest
from citrus_ray.report.figures.results import fields, written
from citrus_ray.report.numbers import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = {
    "network": "networks",
    "both": "networks among other views",
    "closed form": "closed form",
    "baseline": "other baselines",
    "chance": "chance",
}


def standing_forest(found: Standings) -> "Figure":
    """Mean test scores over the shared places, methods of a kind together; dashed: the best
    closed-form method."""
    best = [found.best_closed.effect.mean] if found.best_closed else []
    bars = [
        Bar(
            one.standing.baseline or one.standing.label,
            one.effect,
            _kind_look(kind),
            beside=best if kind == "network" else (),
            group=said,
        )
        for kind, said in KINDS.items()
        for one in found.placed
        if one.standing.kind == kind
    ]
    return forest(bars, words.metric_name(found.design.test_metric))


def _kind_look(kind: str) -> dict[str, Any]:
    if kind in ("network", "both"):
        fill = ink.COLOURS[0] if kind == "network" else ink.PAPER
        return {"marker": "o", "color": ink.COLOURS[0], "markerfacecolor": fill}
    fill = ink.SCRATCH if kind == "closed form" else ink.PAPER
    return {"marker": "s", "color": ink.SCRATCH, "markerfacecolor": fill}


def duel_map(found: Standings, scale: float) -> "Figure":
    """Row minus column, better above 0; ◇ marks what is open."""
    labels = [one.standing.label for one in found.placed if one.standing.kind in COMPARED]
    labels = [label for label in labels if any(label in (d.one, d.other) for d in found.duels)]
    most = max(abs(duel.found.effect.mean) for duel in found.duels) or 1.0
    grid, marks = np.full((len(labels), len(labels)), np.nan), dict[tuple[int, int], str]()
    for duel in found.duels:
        i, j = labels.index(duel.one), labels.index(duel.other)
        grid[i, j], grid[j, i] = duel.found.effect.mean, -duel.found.effect.mean
        marks[i, j] = marks[j, i] = " ◇" if duel.found.verdict == "undecided" else ""
    size = 2.2 + 0.62 * len(labels), 1.2 + 0.34 * len(labels)
    with ink.sheet(*size, least=2.2 + 0.55 * len(labels)) as (figure, (ax,)):
        fields(ax, grid, most, labels, labels)
        for (i, j), mark in marks.items():
            said = number(scale * grid[i, j], 1 if scale > 1 else 3, sign=True) + mark
            written(ax, (j, i), said, grid[i, j] / most)
        ax.set_ylabel("row minus column")
    return figure
