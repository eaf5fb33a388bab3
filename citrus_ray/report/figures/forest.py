"""Forests: a row for each mean with its interval, and names short enough to stand beside them."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from citrus_ray.evidence.intervals import Effect
from citrus_ray.report.figures import ink
from citrus_ray.report.numbers import interval, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = {"supported": "^", "equivalent": "s", "undecided": "D", "contradicted": "v"}
MAX_TICKS = 120  # single values under an interval; more would be a smear
NAMES = 34  # characters of a name beside an axis
NARROW_NAMES, ABOVE = 20, 46  # on a narrow screen: beside an axis, and above a bar


def short(name: str, most: int | None = None) -> str:
    """A long name without its middle: what tells names apart stands at either end."""
    most = most or (NARROW_NAMES if ink.is_narrow() else NAMES)
    tail = (most - 1) // 2
    return name if len(name) <= most else f"{name[: most - 1 - tail]}…{name[len(name) - tail :]}"


def shorts(names: Sequence[str], most: int | None = None) -> list[str]:
    """Names of at most `most` characters, or of as many more as it takes to keep them apart."""
    most = most or (NARROW_NAMES if ink.is_narrow() else NAMES)
    while len({short(name, most) for name in names}) < len(set(names)):
        most += 1
    return [short(name, most) for name in names]


BEHIND = {"facecolor": ink.PAPER, "edgecolor": "none", "pad": 1.0, "alpha": 0.85}  # words on lines


@dataclass(frozen=True)
class Bar:
    """One row of a forest: a mark with its interval, the single values under it, and what it is
    held against."""

    name: str
    effect: Effect | None
    look: dict[str, Any]
    values: Sequence[float] = ()
    beside: Sequence[float] = ()  # dashed lines
    group: str = ""


def forest(bars: Sequence[Bar], axis: str, zero: bool = False) -> "Figure":
    """A row per bar, top to bottom; bars of a group under its name. On a narrow screen names stand
    above their bars."""
    rows: list[Bar | str] = []
    for group, members in itertools.groupby(bars, lambda bar: bar.group):
        rows += [group] if group else []
        rows += members
    narrow = ink.is_narrow()
    with ink.sheet(6.5, 0.8 + (0.42 if narrow else 0.28) * len(rows)) as (figure, (ax,)):
        for i, bar in enumerate(rows):
            if isinstance(bar, str):
                ax.axhline(i, color=ink.GRID, linewidth=0 if narrow else 0.8)
            else:
                _bar(ax, i, bar)
        if zero:
            ax.axvline(0, color=ink.INK, linewidth=1)
        names = iter(shorts([bar.name for bar in bars], ABOVE if narrow else NAMES))
        groups = [row for row in rows if isinstance(row, str)]
        titles = iter(shorts(groups, ABOVE) if narrow else groups)
        shown = [next(titles if isinstance(row, str) else names) for row in rows]
        (_above if narrow else _beside)(ax, rows, shown)
        ax.set_ylim(len(rows) - 0.4, -0.9 if narrow else -0.6)
        ax.grid(axis="y", visible=False)
        ax.locator_params(axis="x", nbins=6)  # long names leave little room for numbers
        ax.set_xlabel(axis)
    return figure


def _beside(ax: "Axes", rows: Sequence[Bar | str], shown: Sequence[str]) -> None:
    ax.set_yticks(range(len(rows)), shown)
    for label, bar in zip(ax.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if isinstance(bar, str) else "normal")


def _above(ax: "Axes", rows: Sequence[Bar | str], shown: Sequence[str]) -> None:
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    for i, (bar, name) in enumerate(zip(rows, shown, strict=True)):
        is_group = isinstance(bar, str)
        how: dict[str, Any] = {
            "transform": ax.get_yaxis_transform(),
            "va": "center",
            "fontsize": 8.5,
        }
        how |= {"fontweight": "bold" if is_group else "normal", "bbox": BEHIND}
        ax.text(0, i - (0 if is_group else 0.42), name, **how)


def _bar(ax: "Axes", i: int, bar: Bar) -> None:
    values = list(bar.values)[:: -(-len(bar.values) // MAX_TICKS) or 1]
    if values:
        ticks: dict[str, Any] = {"marker": "|", "linestyle": "none", "markersize": 9}
        ax.plot(values, [i] * len(values), color=ink.SOFT, alpha=0.45, zorder=1, **ticks)
    for value in bar.beside:
        ax.plot([value, value], [i - 0.38, i + 0.38], color=ink.COLOURS[1], linestyle="--")
    if bar.effect is not None:
        found = bar.effect
        ends = [[found.mean - found.low], [found.high - found.mean]] if found.is_bounded else None
        ax.errorbar([found.mean], [i], xerr=ends, capsize=3, ecolor=ink.INK, **bar.look)
    # unseen, and as large as the row: it says the numbers where it is pointed at
    ink.say(ax.axhspan(i - 0.5, i + 0.5, alpha=0, linewidth=0, zorder=9), _numbers(bar))


def _numbers(bar: Bar) -> str:
    """`labels 8 per class, masked: 0.123, 95 % interval 0.101 to 0.145`"""
    name = ", ".join(filter(None, (bar.group, bar.name)))
    if bar.effect is None:
        ends = f": {number(min(bar.values))} to {number(max(bar.values))}" if bar.values else ""
        return f"{name}{ends}"
    signed = bar.look.get("marker") in MARKS.values()  # of a verdict: a difference
    ends = interval(bar.effect, sign=signed)
    said = f"95 % interval {ends}" if bar.effect.is_bounded else ends
    return f"{name}: {number(bar.effect.mean, sign=signed)}, {said}"
