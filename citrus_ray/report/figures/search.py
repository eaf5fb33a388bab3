"""Drawings of what the search saw: the gain over one setting, over two, and all trials as lines.
Validation data."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from citrus_ray.evidence.explored import Dependence, Explored, Surface, is_log, is_number, natural
from citrus_ray.evidence.fronts import Front
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.responses import OverOne, OverTwo, Z
from citrus_ray.experiment.labels import value_label
from citrus_ray.report.figures import ink
from citrus_ray.report.figures.forest import BEHIND, short, shorts
from citrus_ray.report.figures.results import fields, written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_LINES = 400
TITLE = 24  # characters of a line over a small panel
MAX_TRIALS = 400  # dots in a panel; of more trials, every second or third and so on is drawn


def dependence(found: Sequence[Dependence], scale: float) -> "Figure":
    """Line: partial dependence; dots: plain means of the trials at that value, larger for more
    of them."""
    with ink.sheet(6.5, 2.1, len(found), 3) as (figure, axes):
        for ax, item in zip(axes, found, strict=True):
            x = np.asarray(item.points)
            at, means, counts = (np.asarray(part) for part in zip(*item.seen, strict=True))
            ax.plot(
                x,
                scale * np.asarray(item.gains),
                color=ink.COLOURS[0],
                linestyle="none" if item.labels else "-",
            )
            ax.scatter(
                at,
                scale * means,
                12 + 60 * counts / counts.max(),
                facecolors="none",
                edgecolors=ink.COLOURS[1],
            )
            if item.labels:
                ax.plot(
                    x,
                    scale * np.asarray(item.gains),
                    color=ink.COLOURS[0],
                    marker="_",
                    markersize=14,
                    linestyle="",
                )
                ax.set_xticks(x, shorts(item.labels), rotation=30, ha="right")
                ax.set_xlim(-0.6, len(x) - 0.4)
            if item.is_log:
                ax.set_xscale("log")
            weight = "" if item.importance is None else f" ({100 * item.importance:.0f} %)"
            ax.set_title(short(f"{item.name}{weight}"))
            ax.axhline(0, color=ink.INK, linewidth=0.8)
        for ax in axes[::3]:
            ax.set_ylabel("validation gain" + (", points" if scale > 1 else ""))
    return figure


def response(found: Sequence[OverOne], scale: float) -> "Figure":
    """A panel for each number: estimate, interval and points; what is not told apart from the best
    place is marked at the foot."""
    tried = scale * np.concatenate([one.means for one in found])
    with ink.sheet(6.5, 2.1, len(found), 3) as (figure, axes):
        for ax, one in zip(axes, found, strict=True):
            mean, half = scale * one.curve.mean, scale * Z * one.curve.sd
            ax.axhline(0, color=ink.INK, linewidth=0.8)
            ax.fill_between(one.at, mean - half, mean + half, color=ink.COLOURS[0], alpha=0.2, lw=0)
            ax.plot(one.at, mean, color=ink.COLOURS[0])
            ax.scatter(
                one.tried, scale * one.means, 12, facecolors="none", edgecolors=ink.COLOURS[1]
            )
            foot = ax.get_xaxis_transform()
            for low, high in one.good:
                ax.plot([low, high], [0.02, 0.02], color=ink.SCRATCH, linewidth=4, transform=foot)
            if one.axis.is_log:
                ax.set_xscale("log")
            air = 0.1 * float(np.ptp(tried)) or 0.5
            ax.set_ylim(tried.min() - air, tried.max() + air)
            ax.set_title(short(one.axis.name))
            ink.say(ax.title, one.says)
        for ax in axes[::3]:
            ax.set_ylabel("against the mean" + (", points" if scale > 1 else ""))
    return figure


def field(found: OverTwo, scale: float) -> "Figure":
    """The estimate over two numbers; what is told to be worse than the best place is hatched."""
    from matplotlib.ticker import MaxNLocator

    one, other = found.at
    most = scale * float(np.abs(found.mean).max()) or 1.0
    with ink.sheet(5.0, 3.4) as (figure, (ax,)):
        levels = np.linspace(-most, most, 13)
        drawn = ax.contourf(other, one, scale * found.mean, levels, cmap="PuOr_r")
        if found.worse.any():
            hatched: Any = {"colors": "none", "hatches": [None, "//"]}
            ax.contourf(other, one, found.worse.astype(float), [0.0, 0.5, 1.0], **hatched)
        ax.scatter(
            found.tried[1], found.tried[0], 14, facecolors=ink.PAPER, edgecolors=ink.INK, lw=0.8
        )
        ax.plot(found.best[1], found.best[0], marker="X", color=ink.INK, ms=9, mec=ink.PAPER)
        for axis, scaled in zip(found.axes, (ax.set_yscale, ax.set_xscale), strict=True):
            if axis.is_log:
                scaled("log")
        ax.set_ylabel(found.axes[0].name)
        ax.set_xlabel(found.axes[1].name)
        ax.grid(visible=False)
        label = "against the mean" + (", points" if scale > 1 else "")
        ticks = MaxNLocator(7, symmetric=True)
        # the engine of the layout cannot place a bar in a grid of its own
        figure.colorbar(drawn, ax=ax, label=label, use_gridspec=False, ticks=ticks)
    return figure


def surface(found: Surface, scale: float) -> "Figure":
    first, second = found.labels
    most = float(np.nanmax(np.abs(found.gains))) or 1.0
    size = (max(4.5, 2.0 + 0.75 * len(second)), 1.1 + 0.32 * len(first))
    with ink.sheet(*size, least=1.8 + 0.75 * len(second)) as (figure, (ax,)):
        fields(ax, found.gains, most, second, first)
        for i, j in np.argwhere(found.counts > 0).tolist():
            gain = found.gains[i, j]
            written(
                ax,
                (j, i),
                f"{scale * gain:+.{1 if scale > 1 else 3}f} ({found.counts[i, j]})",
                gain / most,
            )
        ax.set_ylabel(found.names[0])
        ax.set_xlabel(found.names[1])
        ax.set_title(found.arm)
    return figure


def parallel(found: Explored, scale: float) -> "Figure":
    """A line per trial through its settings to its gain; the best tenth drawn over the rest."""
    every = -(-len(found.rows) // MAX_LINES)
    rows, gains = found.rows[::every], scale * found.gains[::every]
    width = 1.25 * (len(found.paths) + 1)
    with ink.sheet(max(5.0, width), 3.0, least=width) as (figure, (ax,)):
        places = [
            _axis(ax, i, path, [row[path] for row in rows], found)
            for i, path in enumerate(found.paths)
        ]
        places.append(
            _scaled(
                ax, len(found.paths), gains, f"{gains.min():+.1f}", f"{gains.max():+.1f}", False
            )
        )
        best = gains >= np.quantile(gains, 0.9)
        lines = np.stack(places, axis=1)  # (trial, axis)
        for line in lines[~best]:
            ax.plot(line, color=ink.SCRATCH, linewidth=0.6, alpha=0.35)
        for line in lines[best]:
            ax.plot(line, color=ink.COLOURS[0], linewidth=1.3, alpha=0.9)
        names = [*found.names.values(), "validation gain" + (", points" if scale > 1 else "")]
        ax.set_xticks(range(len(names)), names)
        ax.set_yticks([])
        ax.set_ylim(-0.12, 1.12)
        ax.spines["left"].set_visible(False)
        ax.grid(axis="x", color=ink.SOFT)
    return figure


def _axis(ax: "Axes", at: int, path: str, values: Sequence[Any], found: Explored) -> Any:
    if is_number(values):
        x = np.asarray(values, dtype=np.float64)
        ends = (value_label(path, float(x.min())), value_label(path, float(x.max())))
        return _scaled(ax, at, x, *ends, is_log(values))
    names = sorted({value_label(path, value) for value in values}, key=natural)
    for i, name in enumerate(shorts(names)):
        y = (i + 0.5) / len(names)
        ax.text(at + 0.03, y, name, fontsize=7.5, va="center", bbox=BEHIND)
    rng = np.random.default_rng(0)  # equal values side by side, or they would be one line
    inside = rng.uniform(-0.3, 0.3, len(values)) / len(names)
    return (
        np.asarray([(names.index(value_label(path, v)) + 0.5) / len(names) for v in values])
        + inside
    )


def _scaled(ax: "Axes", at: int, x: Any, low: str, high: str, log: bool) -> Any:
    ax.text(at, -0.03, low, fontsize=7.5, ha="center", va="top")
    ax.text(at, 1.03, high, fontsize=7.5, ha="center", va="bottom")
    x = np.log(x) if log else x
    return (x - x.min()) / (np.ptp(x) or 1.0)


def fronts(found: Sequence[Front]) -> "Figure":
    """First objective against the last; the trials of the front filled and joined."""
    with ink.sheet(6.5, 2.3, len(found), 3) as (figure, axes):
        titles = shorts([front.cell.label for front in found])
        for ax, front, title in zip(axes, found, titles, strict=True):
            behind, best = (
                [t.scores for t in front.trials if t not in front.best],
                [t.scores for t in front.best],
            )
            ax.scatter(*_ends(behind), 14, facecolors=ink.PAPER, edgecolors=ink.SCRATCH)
            ax.plot(*_ends(best), marker="o", ms=4, color=ink.COLOURS[0], lw=1)
            ax.set_title(title, fontsize=8)
            ax.set_xlabel(short(front.names[0]))
        for ax, front in zip(axes[::3], found[::3], strict=True):
            ax.set_ylabel(short(front.names[-1]))
    return figure


def _ends(scores: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    """First and last objective."""
    return [one[0] for one in scores], [one[-1] for one in scores]


def histories(cells: Sequence[Outcome]) -> "Figure":
    """Each trial's objective in the order of their points; line: best so far; ring: the
    chosen one; cross at the foot: failed. One scale for all panels, of the values there are."""
    values = [t.value for cell in cells for t in cell.searched if t.value is not None] or [0.0, 1.0]
    air = 0.1 * (max(values) - min(values)) or 0.05 * abs(values[0]) or 0.5
    titles = shorts([cell.label for cell in cells], 2 * TITLE)
    with ink.sheet(6.5, 1.65, len(cells), 4) as (figure, axes):
        for ax, cell, title in zip(axes, cells, titles, strict=True):
            _history(ax, cell)
            ax.set_title(textwrap.fill(title, TITLE), fontsize=7.5)
            ax.set_ylim(min(values) - air, max(values) + air)
    return figure


def _history(ax: "Axes", cell: Outcome) -> None:
    every = -(-len(cell.searched) // MAX_TRIALS) or 1
    shown = [
        (i, trial)
        for i, trial in enumerate(cell.searched, 1)
        if i % every == 0 or trial is cell.best
    ]
    for status, fill in (("ok", ink.COLOURS[0]), ("pruned", ink.PAPER)):
        of = [(i, t.value) for i, t in shown if t.status == status and t.value is not None]
        ax.scatter(*_ends(of), 12, facecolors=fill, edgecolors=ink.COLOURS[0])
    every_one = list(enumerate(cell.searched, 1))  # the best so far may be one that is not drawn
    full = [(i, t.value) for i, t in every_one if t.is_full and t.value is not None]
    if full:
        best = np.maximum if cell.design.mode == "max" else np.minimum
        places, values = zip(*full, strict=True)
        ax.step(places, best.accumulate(values), where="post", color=ink.INK, lw=0.9)
    chosen = [(i, t.value) for i, t in every_one if t is cell.best and t.value is not None]
    ax.scatter(*_ends(chosen), 46, facecolors="none", edgecolors=ink.INK)
    failed = [i for i, trial in shown if trial.status == "failed"]
    cross: dict[str, Any] = {"marker": "x", "markersize": 4, "linestyle": "none"}
    foot = ax.get_xaxis_transform()  # no value of theirs: they stand on the axis
    ax.plot(failed, [0.05] * len(failed), color=ink.COLOURS[1], transform=foot, **cross)
    ax.tick_params(labelsize=7)
    ax.locator_params(axis="x", integer=True, nbins=5)
    ax.locator_params(axis="y", nbins=4)
