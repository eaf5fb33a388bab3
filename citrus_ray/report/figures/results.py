"""The drawings for page and paper: numbers in, a figure out. What they show in words stands in
exhibits/."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from citrus_ray.evidence.curves import UNITS, Curve
from citrus_ray.evidence.gains import Gain
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.pooled import PooledGain
from citrus_ray.evidence.predicted import PredictedCell, Reliability
from citrus_ray.evidence.ranks import Ranking
from citrus_ray.experiment.labels import SCRATCH
from citrus_ray.report import captions as words
from citrus_ray.report.figures import ink
from citrus_ray.report.figures.forest import MARKS, Bar, forest, short, shorts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MANY_CLASSES = 9  # of a confusion, beyond which its fields are too small for numbers


def verdict_look(verdict: str) -> dict[str, Any]:
    """Filled where the interval leaves 0 out; a shape for each verdict."""
    colours = {"supported": ink.COLOURS[0], "contradicted": ink.COLOURS[1]}
    colour = colours.get(verdict, ink.SOFT)
    fill = ink.PAPER if verdict == "undecided" else colour
    return {"marker": MARKS[verdict], "color": colour, "markerfacecolor": fill}


def gain_forest(gains: Sequence[Gain]) -> "Figure":
    """Mean differences with their intervals; ticks are single pairs."""
    bars = [
        Bar(
            gain.cell.arm_label,
            gain.effect,
            verdict_look(gain.verdict),
            [pair.difference for pair in gain.pairs],
            group=gain.cell.regime_label,
        )
        for gain in gains
    ]
    return forest(bars, words.gain_name(gains[0].cell.design.test_metric), zero=True)


def score_forest(cells: Sequence[Outcome]) -> "Figure":
    """Test scores with their intervals; ticks are single refits, dashed lines baselines."""
    bars = []
    for cell in cells:
        fill = ink.PAPER if cell.is_scratch else ink.COLOURS[0]
        look = {"marker": "o", "color": ink.COLOURS[0], "markerfacecolor": fill}
        scores = [row.metrics[cell.design.test_metric] for row in cell.scored]
        beside = list(cell.baselines.values())
        bars.append(Bar(cell.arm_label, cell.test, look, scores, beside, cell.regime_label))
    return forest(bars, words.metric_name(cells[0].design.test_metric))


def pool_forest(pools: Sequence[PooledGain], metric: str, everything: str) -> "Figure":
    """Pooled gains; pools of one cut under its name."""
    bars = [
        Bar(
            f"all: {pool.arm}" if pool.by == everything else f"{pool.value}: {pool.arm}",
            pool.effect,
            verdict_look(pool.verdict),
            group="" if pool.by == everything else f"by {pool.by}",
        )
        for pool in pools
    ]
    return forest(bars, words.gain_name(metric), zero=True)


def learning_curves(curves: Sequence[Curve]) -> "Figure":
    """A panel per compared setting, a line per arm."""
    arms = sorted({arm for curve in curves for arm in curve.arms} - {SCRATCH})
    with ink.sheet(6.5, 3.1, len(curves), 2) as (figure, axes):
        for ax, curve in zip(axes, curves, strict=True):
            for i, arm in enumerate(curve.arms):
                _curve(
                    ax,
                    curve,
                    arm,
                    ink.look(arm, arms),
                    shift=1 + 0.02 * (i - (len(curve.arms) - 1) / 2),
                )
            ax.set_xscale("log")
            shown = [
                f"{100 * n:.3g} %" if curve.kind == "fraction" else f"{n:g}" for n in curve.amounts
            ]
            ax.set_xticks(curve.amounts, shown)
            ax.minorticks_off()
            ax.set_xlabel(UNITS[curve.kind])
            ax.set_ylabel(words.metric_name(curve.metric))
            ax.set_title(curve.setting)
        figure.legend(
            *axes[0].get_legend_handles_labels(),
            loc="outside lower center",
            ncols=1 if ink.is_narrow() else 3,
        )
    return figure


def _curve(ax: "Axes", curve: Curve, arm: str, how: dict[str, Any], shift: float) -> None:
    """Shifted a little, so that intervals of two arms do not lie on each other."""
    found = curve.at(arm)
    means = np.asarray([effect.mean for effect in found])
    ends = np.asarray([(e.low, e.high) if e.is_bounded else (e.mean, e.mean) for e in found]).T
    x = np.asarray(curve.amounts) * shift
    ax.errorbar(x, means, yerr=np.abs(ends - means), capsize=3, elinewidth=1, label=arm, **how)


def heat_map(tables: dict[str, dict[tuple[str, str], PooledGain]], scale: float) -> "Figure":
    """A panel per pre-training: targets down, regimes across, the gain written into each field."""
    targets = list(dict.fromkeys(target for table in tables.values() for target, _ in table))
    regimes = list(dict.fromkeys(regime for table in tables.values() for _, regime in table))
    most = max(abs(pool.effect.mean) for table in tables.values() for pool in table.values()) or 1.0
    width = 2.2 + 0.9 * len(regimes) * min(len(tables), 2)
    # names of regimes stand on a slope below
    height = 0.9 + 0.34 * len(targets) + 0.035 * max(map(len, shorts(regimes)))
    least = 2.2 + 0.6 * len(regimes)
    with ink.sheet(max(4.5, width), height, len(tables), 2, least) as (figure, axes):
        for ax, (arm, table) in zip(axes, tables.items(), strict=True):
            grid = np.full((len(targets), len(regimes)), np.nan)
            for (target, regime), pool in table.items():
                grid[targets.index(target), regimes.index(regime)] = pool.effect.mean
            fields(ax, grid, most, regimes, targets)
            for (target, regime), pool in table.items():
                mark = "" if pool.verdict != "undecided" else " ◇"
                place = (regimes.index(regime), targets.index(target))
                gain = pool.effect.mean
                written(ax, place, f"{scale * gain:+.{1 if scale > 1 else 3}f}{mark}", gain / most)
            ax.set_title(textwrap.fill(arm, 12 * (1 + len(regimes))))
    return figure


def fields(ax: "Axes", grid: Any, most: float, columns: Sequence[str], rows: Sequence[str]) -> Any:
    drawn = ax.pcolormesh(
        grid, cmap="PuOr_r", vmin=-most, vmax=most, edgecolors=ink.PAPER, linewidth=1.5
    )
    ax.set_xticks(np.arange(len(columns)) + 0.5, shorts(columns), rotation=30, ha="right")
    ax.set_yticks(np.arange(len(rows)) + 0.5, shorts(rows))
    ax.invert_yaxis()
    ax.grid(visible=False)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return drawn


def written(ax: "Axes", place: tuple[int, int], said: str, strength: float) -> None:
    """Dark fields carry white numbers: the sign is read, not guessed from the colour."""
    colour = "#ffffff" if abs(strength) > 0.55 else "#111111"
    ax.text(
        place[0] + 0.5, place[1] + 0.5, said, ha="center", va="center", color=colour, fontsize=8.5
    )


def confusions(found: Sequence[tuple[str, PredictedCell]]) -> "Figure":
    """A panel per cell: the shares of each true class."""
    most = max(len(one.classes) for _, one in found)
    with ink.sheet(9, 1.4 + 0.32 * most, len(found), 2, 1.6 + 0.36 * most) as (figure, axes):
        for ax, (name, one) in zip(axes, found, strict=True):
            shares = one.confusion / np.maximum(one.confusion.sum(axis=1, keepdims=True), 1)
            names = shorts(one.classes, 14)
            fields(ax, shares, 1.0, names, names)
            for at in np.ndindex(*shares.shape) if len(names) <= MANY_CLASSES else ():
                written(ax, (at[1], at[0]), f"{shares[at]:.2f}", float(shares[at]))
            ax.set(xlabel="taken for", ylabel="true class")
            ax.set_title(short(name, 44))
        return figure


def subject_forest(found: Sequence[tuple[str, PredictedCell]]) -> "Figure":
    """A tick for each test subject: the share of its windows that was right."""
    bars = [Bar(name, None, {}, [share for *_, share in one.of_subjects()]) for name, one in found]
    return forest(bars, "share of a test subject's windows that was right")


def reliabilities(found: Sequence[tuple[str, Reliability]]) -> "Figure":
    """A panel per cell: how often predictions were right over how sure they were."""
    with ink.sheet(9, 2.9, len(found)) as (figure, axes):
        for ax, (name, one) in zip(axes, found, strict=True):
            there = one.counts > 0
            ax.plot([0, 1], [0, 1], color=ink.SOFT, linewidth=1, linestyle=":")
            ax.plot(one.confidence[there], one.accuracy[there], color=ink.COLOURS[0], linewidth=1)
            sizes = 12 + 140 * one.counts[there] / one.counts.sum()
            at = one.confidence[there], one.accuracy[there]
            ax.scatter(*at, sizes, ink.COLOURS[0], clip_on=False, zorder=3)
            ax.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="probability", ylabel="right")
            ax.set_title(short(name, 30))
        return figure


def critical_difference(found: Ranking) -> "Figure":
    """Mean ranks on a line, best left; bars join what cannot be told apart."""
    k, half = len(found.methods), -(-len(found.methods) // 2)
    height = 1.3 + 0.22 * half + 0.12 * len(found.cliques)
    with ink.sheet(6.5, height, least=5.5) as (figure, (ax,)):
        ax.set_axis_off()
        foot = -0.9 - 0.35 * len(found.cliques)
        ax.set_xlim(1 - 0.62 * (k - 1), k + 0.62 * (k - 1))
        ax.set_ylim(foot - 0.62 * half, 2.1)
        ax.plot([1, k], [0, 0], color=ink.INK, linewidth=1)
        for tick in range(1, k + 1):
            ax.plot([tick, tick], [0, 0.18], color=ink.INK, linewidth=1)
            ax.text(tick, 0.32, str(tick), ha="center", va="bottom")
        ax.plot([1, min(k, 1 + found.critical)], [1.45, 1.45], color=ink.INK, linewidth=1.5)
        ax.text(1, 1.6, f"critical difference {found.critical:.2f}", va="bottom")
        for i, (method, rank) in enumerate(zip(shorts(found.methods), found.ranks, strict=True)):
            left = i < half
            y = foot - 0.62 * (i if left else k - 1 - i)
            end = 1 - 0.06 * (k - 1) if left else k + 0.06 * (k - 1)
            ax.plot([rank, rank, end], [0, y, y], color=ink.SOFT, linewidth=0.9)
            said = f"{method}  {rank:.2f}"
            ax.text(
                end,
                y,
                f"{said} " if left else f" {said}",
                ha="right" if left else "left",
                va="center",
            )
        for row, (first, last) in enumerate(found.cliques):
            level, ends = -0.45 - 0.35 * row, (found.ranks[first] - 0.04, found.ranks[last] + 0.04)
            ax.plot(ends, [level, level], color=ink.INK, linewidth=4, solid_capstyle="round")
    return figure


def cost(cells: Sequence[Outcome], pretrained: Sequence[tuple[str, float]] = ()) -> "Figure":
    """Compute per cell, searching and refitting told apart by hatching too, and that of the
    pre-trainings, which cells share."""
    n, more = len(cells), len(pretrained)
    names = shorts([*(cell.label for cell in cells), *(label for label, _ in pretrained)])
    least = 1.6 + 0.065 * max(map(len, names), default=0)  # names of cells, and room for bars
    with ink.sheet(6.5, 1.0 + 0.26 * (n + more), least=min(least, 6.5)) as (figure, (ax,)):
        start = np.zeros(n, dtype=np.float64)
        for phase, colour, hatch in PARTS_OF_COST:
            minutes = np.asarray([seconds(cell, phase) / 60 for cell in cells])
            name = {"search": "search", "final": "refits of the winner"}[phase]
            how: dict[str, Any] = {"hatch": hatch, "edgecolor": ink.PAPER, "label": name}
            ax.barh(range(n), minutes, 0.7, start, color=colour, **how)
            start = start + minutes
        if pretrained:
            minutes = np.asarray([spent / 60 for _, spent in pretrained])
            how = {"hatch": "..", "edgecolor": ink.PAPER, "label": "pre-training"}
            ax.barh(range(n, n + more), minutes, 0.7, color=ink.SCRATCH, **how)
        ax.set_yticks(range(n + more), names)
        ax.set_ylim(n + more - 0.4, -0.6)
        ax.set_xlabel("minutes of compute")
        ax.grid(axis="y", visible=False)
        figure.legend(loc="outside upper right", ncols=1 if ink.is_narrow() else 3)
    return figure


PARTS_OF_COST = (("search", ink.COLOURS[0], ""), ("final", ink.COLOURS[4], "//"))


def seconds(cell: Outcome, phase: str) -> float:
    return sum(row.seconds for row in cell.rows if row.phase == phase)
