"""Dots, intervals and search curves as inline SVG. Horizontal places are percentages and heights are pixels, so that a
picture fits any width without a script and its text and marks keep their size."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from citrus_ray.evidence.intervals import Effect
from citrus_ray.report.markup import Html, joined, number, tag, text

Mark = Literal["full", "hollow", "up", "down", "open"]

ROW = 44  # px
MAX_TICKS = 120  # single values under an interval; more would be a smear
PANEL = 130  # px
FEW = 60  # trials that a panel shows as full-sized dots
MANY = 400  # dots in a panel; of more trials, every second or third and so on is drawn
PANEL_LEFT = 16.0  # percent, the room for the labels of the vertical scale


@dataclass(frozen=True)
class Scale:
    """From values to percent of the width."""

    low: float
    high: float
    ticks: tuple[float, ...]
    digits: int

    def at(self, value: float) -> float:
        return 100 * (value - self.low) / (self.high - self.low)

    def x(self, value: float) -> str:
        return f"{self.at(value):.2f}%"

    def label(self, value: float, sign: bool = False) -> str:
        return number(value, self.digits, sign and value != 0)


def scale_of(values: Iterable[float], n_ticks: int = 7) -> Scale:
    """Round ends that hold all finite values, with a little air."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    air = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    low, high = low - air, high + air
    step = _round_step((high - low) / n_ticks)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = tuple(round(i * step, 12) for i in range(first, last + 1))
    return Scale(low, high, ticks, max(0, -math.floor(math.log10(step) + 1e-9)))


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(nice * power for nice in (1, 2, 5, 10) if nice * power >= step - 1e-12)


@dataclass(frozen=True)
class Row:
    """One line of a dot-and-interval figure."""

    label: str
    effect: Effect | None
    values: Sequence[float]  # what the mean is of
    mark: Mark
    said: Html  # the numbers, to the right
    lines: Sequence[tuple[str, float]] = ()  # baselines, by name
    group: str = ""  # a heading is set where it changes


def intervals(rows: Sequence[Row], axis: str, zero: bool = False) -> Html:
    """Labels left, marks in the middle, numbers right; on a narrow screen the marks move below."""
    scale = scale_of([*(value for row in rows for value in _extent(row)), *([0.0] if zero else [])])
    parts = []
    for i, row in enumerate(rows):
        if row.group and (i == 0 or row.group != rows[i - 1].group):
            parts.append(tag("div", text(row.group), cls="group"))
        parts.append(_row(row, scale, zero))
    return tag("div", *parts, _axis(scale, axis, zero), cls="dots")


def _extent(row: Row) -> list[float]:
    ends = [row.effect.mean, row.effect.low, row.effect.high] if row.effect else []
    return [*ends, *row.values, *(value for _, value in row.lines)]


def _row(row: Row, scale: Scale, zero: bool) -> Html:
    said = f"{row.label}: {number(row.effect.mean) if row.effect else 'no score yet'}"
    grid = [_vertical(scale.x(tick), "grid", 0, ROW) for tick in scale.ticks]
    if zero:
        grid.append(_vertical(scale.x(0.0), "zero", 0, ROW))
    baselines = [_vertical(scale.x(value), "baseline", 6, 26, name) for name, value in row.lines]
    values = row.values if len(row.values) <= MAX_TICKS else ()
    ticks = [
        _vertical(scale.x(value), "tick", ROW - 13, ROW - 5, number(value)) for value in values
    ]
    drawn = svg(joined([*grid, *baselines, *ticks, *_marks(row, scale)]), ROW, said)
    label = tag("div", text(row.label), cls="label")
    return tag("div", label, drawn, tag("div", row.said, cls="said"), cls="row")


def _marks(row: Row, scale: Scale) -> list[Html]:
    if row.effect is None:
        return []
    y, found = 16.0, row.effect
    drawn = [glyph(row.mark, scale.x(found.mean), y)]
    if math.isfinite(found.low):
        ends = [_vertical(scale.x(end), "bar", y - 5, y + 5) for end in (found.low, found.high)]
        drawn = [line(scale.x(found.low), y, scale.x(found.high), y, "bar"), *ends, *drawn]
    return drawn


def _axis(scale: Scale, name: str, sign: bool) -> Html:
    labels = [_label(scale, tick, sign) for tick in scale.ticks]
    drawn = svg(
        joined(labels), 20, f"{name}, from {scale.label(scale.low)} to {scale.label(scale.high)}"
    )
    title = tag("div", text(name), cls="axis-name")
    return tag("div", tag("div", cls="label"), drawn, title, cls="row axis")


def _label(scale: Scale, tick: float, sign: bool) -> Html:
    at = scale.at(tick)
    anchor = "start" if at < 4 else "end" if at > 96 else "middle"
    return tag("text", text(scale.label(tick, sign)), x=scale.x(tick), y="14", text_anchor=anchor)


# ---- search history ----


@dataclass(frozen=True)
class Step:
    """One searched trial."""

    value: float | None
    status: str
    is_best: bool


def history(title: str, steps: Sequence[Step], scale: Scale, maximize: bool) -> Html:
    """The objective of each trial in the order in which they ended, and the best so far."""
    grid = [_level(scale, tick) for tick in scale.ticks]
    path = _stairs(_best_so_far(steps, maximize), scale)
    r = 3.5 if len(steps) <= FEW else 2.2
    every = math.ceil(len(steps) / MANY)
    shown = [i for i, step in enumerate(steps) if i % every == 0 or step.is_best]
    dots = [_dot(steps[i], _trial_x(i, len(steps)), scale, r) for i in shown]
    said = f"{title}: {len(steps)} trials"
    head = tag("div", text(title), cls="label")
    foot = tag(
        "div", text(f"trial 1 to {len(steps)}" if len(steps) > 1 else "1 trial"), cls="axis-name"
    )
    return tag("div", head, svg(joined([*grid, *path, *dots]), PANEL, said), foot, cls="panel")


def _trial_x(i: int, n: int) -> float:
    return PANEL_LEFT + (94.0 - PANEL_LEFT) * ((i + 0.5) / n if n == 1 else i / (n - 1))


def _y(scale: Scale, value: float) -> float:
    return round(
        (PANEL - 22) * (1 - scale.at(value) / 100) + 6, 1
    )  # the foot is where failures are marked


def _level(scale: Scale, tick: float) -> Html:
    y = _y(scale, tick)
    label = tag("text", text(scale.label(tick)), x="0", y=f"{y - 3:.1f}")
    return joined((line("0%", y, "100%", y, "grid"), label))


def _best_so_far(steps: Sequence[Step], maximize: bool) -> list[float | None]:
    best: list[float | None] = []
    for step in steps:
        known = [best[-1]] if best and best[-1] is not None else []
        here = [step.value] if step.status == "ok" and step.value is not None else []
        both = [value for value in (*known, *here) if value is not None]
        best.append((max if maximize else min)(both) if both else None)
    return best


def _stairs(best: Sequence[float | None], scale: Scale) -> list[Html]:
    """A level line per value, a riser between two."""
    known = [(i, value) for i, value in enumerate(best) if value is not None]
    turns = [known[k] for k in range(len(known)) if k == 0 or known[k][1] != known[k - 1][1]]
    ends = [*(i for i, _ in turns[1:]), len(best) - 1]
    parts = []
    for k, ((start, value), end) in enumerate(zip(turns, ends, strict=bool(turns))):
        left, right = (f"{_trial_x(i, len(best)):.2f}%" for i in (start, end))
        y = _y(scale, value)
        parts.append(line(left, y, right, y, "best"))
        if k + 1 < len(turns):
            parts.append(line(right, y, right, _y(scale, turns[k + 1][1]), "best"))
    return parts


def _dot(step: Step, x: float, scale: Scale, r: float) -> Html:
    at = f"{x:.2f}%"
    if step.value is None:
        return _placed(at, PANEL - 8, "M-4-4L4 4M-4 4L4-4", "cross", "failed")
    kind = "trial" if step.status == "ok" else "trial pruned"
    dot = circle(at, _y(scale, step.value), r, kind, f"{number(step.value)} {step.status}")
    return (
        joined((circle(at, _y(scale, step.value), 7, "ring", "chosen"), dot))
        if step.is_best
        else dot
    )


# ---- shapes ----

GLYPHS = {"up": "M0-7L7 5H-7Z", "down": "M0 7L7-5H-7Z", "open": "M0-7L7 0L0 7L-7 0Z"}


def svg(inside: Html, height: int, said: str) -> Html:
    return tag("svg", inside, width="100%", height=str(height), role="img", aria_label=said)


def glyph(mark: Mark, x: str, y: float) -> Html:
    """Shape as well as colour tells marks apart."""
    if mark in GLYPHS:
        return _placed(x, y, GLYPHS[mark], f"mark {mark}")
    return circle(x, y, 6, f"mark {mark}")


def circle(x: str, y: float, r: float, cls: str, said: str = "") -> Html:
    return tag("circle", _title(said), cx=x, cy=f"{y:g}", r=f"{r:g}", cls=cls)


def line(x1: str, y1: float, x2: str, y2: float, cls: str, said: str = "") -> Html:
    return tag("line", _title(said), x1=x1, y1=f"{y1:g}", x2=x2, y2=f"{y2:g}", cls=cls)


def _vertical(x: str, cls: str, y1: float, y2: float, said: str = "") -> Html:
    return line(x, y1, x, y2, cls, said)


def _placed(x: str, y: float, path: str, cls: str, said: str = "") -> Html:
    """A path around (0, 0), set at a percentage: only a nested svg can be placed so."""
    return tag(
        "svg", tag("path", _title(said), d=path, cls=cls), x=x, y=f"{y:g}", overflow="visible"
    )


def _title(said: str) -> Html:
    return tag("title", text(said)) if said else Html("")
