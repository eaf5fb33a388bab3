"""Pooled results: each picture with the sentence that it shows, how to read it and the table behind it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from citrus_ray.evidence.curves import UNITS, Curve, Saved, curves, labels_saved
from citrus_ray.evidence.gains import Gain
from citrus_ray.evidence.pooled import ALL, PooledGain, by_target_and_regime
from citrus_ray.evidence.ranks import Ranking, ranking
from citrus_ray.evidence.units import SPEAKS_FOR
from citrus_ray.report import captions as words
from citrus_ray.report.figures import ink, plots
from citrus_ray.report.markup import DASH, count, interval, number, probability, sentence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from citrus_ray.report.findings import Findings

MAX_ROWS = 60  # of a forest or heat map; with more, nothing can be read
MAX_CURVES = 8
SIDES = ("pre-trained", "from scratch", "best dumb baseline")


@dataclass(frozen=True)
class Exhibit:
    """A picture and everything that stands around it."""

    name: str
    title: str
    shows: str
    how: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]  # the table behind it
    draw: Callable[[], "Figure"]

    @cached_property
    def picture(self) -> ink.Picture:
        return ink.Picture(self.name, self.draw)


def exhibits(findings: "Findings") -> Iterable[Exhibit]:
    """Those that these results can fill."""
    found = findings.pools
    yield from pooled(found, findings.design.test_metric)
    yield from learning(curves(findings.cells))
    yield from map_of_targets(findings.gains)
    yield from ranks(ranking(findings.cells))


def points(metric: str) -> float:
    """The factor from differences to what is read: points of 100 where the metric is a share."""
    return 100.0 if words.is_share(metric) else 1.0


# ---- pooled gains ----


def pooled(found: Sequence[PooledGain], metric: str) -> Iterable[Exhibit]:
    """Only where there is something to pool: one cell against one says no more than its own gain."""
    if len(found) < 2:
        return
    yield Exhibit(
        "pooled",
        "When does it help?",
        _pooled_shown(found, metric),
        "The same pairs, pooled in other ways. Mean over what the interval counts (see the table) and its 95 % "
        "interval; ▲ above 0, ▼ below, ◇ undecided. Where there are several targets they count as a sample of targets; "
        "'for these targets' in the table holds them fixed and is narrower. Holm corrects within each way of pooling.",
        POOL_HEAD,
        tuple(_pool_line(pool) for pool in found),
        lambda: _pool_forest(found[:MAX_ROWS], metric),
    )


POOL_HEAD = (
    *(
        "pooled by",
        "part",
        "pre-training",
        "gain",
        "95 % interval",
        "counted",
        "speaks for",
        "for these targets",
    ),
    *SIDES,
    *("pairs", "up / down / tied", "Wilcoxon p", "floor of p", "Holm p", "verdict"),
)


def _pool_line(pool: PooledGain) -> tuple[str, ...]:
    return (
        *(pool.by, pool.value, pool.arm),
        number(pool.effect.mean, sign=True),
        interval(pool.effect, sign=True),
        pool.units.said,
        SPEAKS_FOR[pool.units.level],
        interval(pool.these, sign=True) if pool.these else "the same",
        *words.sides(pool.pairs),
        f"{len(pool.pairs):,}",
        " / ".join(map(str, pool.signs)),
        *(probability(p) for p in (pool.test.p, pool.test.floor, pool.p_holm)),
        f"{words.SIGNS[pool.verdict]} {pool.verdict}",
    )


def _pooled_shown(found: Sequence[PooledGain], metric: str) -> str:
    over = [pool for pool in found if pool.by == ALL]
    said = "; ".join(
        f"{pool.arm} {words.amount(pool.effect.mean, metric, sign=True)} over {pool.units.said} ({pool.verdict})"
        for pool in over
    )
    parts = [pool for pool in found if pool.by != ALL]
    kept = [pool for pool in parts if pool.verdict == "supported"]
    return f"Over everything: {said}. Of {count(len(parts), 'part')}, {len(kept)} show a gain that excludes 0."


def _pool_forest(found: Sequence[PooledGain], metric: str) -> "Figure":
    rows = []
    for pool in found:
        colour = {
            "supported": ink.COLOURS[0],
            "contradicted": ink.COLOURS[1],
            "undecided": ink.SOFT,
        }[pool.verdict]
        fill = ink.PAPER if pool.verdict == "undecided" else colour
        name = f"all: {pool.arm}" if pool.by == ALL else f"{plots.short(pool.value)}: {pool.arm}"
        how = {"marker": plots.MARKS[pool.verdict], "color": colour, "markerfacecolor": fill}
        rows.append((plots.short(name), pool.effect, how))
    breaks = [i for i in range(1, len(rows)) if found[i].by != found[i - 1].by]
    return plots.forest(rows, f"gain in {words.metric_name(metric)}", zero=True, breaks=breaks)


# ---- learning curves ----


def learning(found: Sequence[Curve]) -> Iterable[Exhibit]:
    shown = found[:MAX_CURVES]
    if not shown:
        return
    saved = [item for curve in found for item in labels_saved(curve)]
    dropped = (
        f" The first {MAX_CURVES} of {len(found)} settings are drawn."
        if len(found) > MAX_CURVES
        else ""
    )
    yield Exhibit(
        "curves",
        "Labels saved",
        _saved_shown(saved),
        "Test scores of the winners over the labels that they had, with 95 % intervals. Labels saved: from scratch, a "
        "never-falling curve through the means (isotonic, straight between points on the log scale) is read where it "
        "reaches the score of the pre-trained arm; 'or more' where it was not measured so far. The interval resamples "
        f"whole units, both arms together, and needs 8 of them.{dropped}",
        (
            "setting",
            "pre-training",
            "labels",
            "scratch needs",
            "95 % interval",
            "labels saved",
            "counted",
        ),
        tuple(_saved_line(item) for item in saved),
        lambda: plots.learning_curves(shown),
    )


def _saved_line(item: Saved) -> tuple[str, ...]:
    ends = (
        f"{item.bounded(item.low)} to {item.bounded(item.high)}"
        if item.has_interval
        else "no interval"
    )
    unit = UNITS[item.kind]
    own = f"{100 * item.amount:.3g} %" if item.kind == "fraction" else f"{item.amount:g}"
    saved = 0.0 if abs(item.saved) < 1e-9 else item.saved  # isotonic regression leaves rounding
    kept = f"{saved:+.3g}" if item.kind != "fraction" else f"{100 * saved:+.3g} %"
    open_end = (
        " or more"
        if item.bounded(item.needed).endswith("more") and item.amount < item.highest
        else ""
    )
    level = f"{count(item.n, item.level)}"
    return (
        item.setting or DASH,
        item.arm,
        f"{own} {unit}",
        item.bounded(item.needed),
        ends,
        kept + open_end,
        level,
    )


def _saved_shown(saved: Sequence[Saved]) -> str:
    told = [item for item in saved if item.amount < item.highest]
    if not told:
        return "No from-scratch curve to read labels saved from."
    best = max(told, key=lambda item: item.needed / item.amount)
    own, needs = best.bounded_own(), best.bounded(best.needed)
    if best.needed <= best.amount:
        return "Nowhere does scratch need more labels than pre-training for the same score."
    unit = UNITS[best.kind]
    return f"Most is saved by {best.arm}: what it reaches with {own}, scratch reaches with {needs} ({unit})."


# ---- heat map ----


def map_of_targets(gains: Sequence[Gain]) -> Iterable[Exhibit]:
    tables = by_target_and_regime(gains)
    fields = [(arm, place, pool) for arm, table in tables.items() for place, pool in table.items()]
    if len({place for _, place, _ in fields}) < 2:
        return
    metric = gains[0].cell.design.test_metric
    unit = "points" if words.is_share(metric) else words.metric_name(metric)
    open_ = sum(pool.verdict == "undecided" for _, _, pool in fields)
    targets = list(dict.fromkeys(target for _, (target, _), _ in fields))[:MAX_ROWS]
    drawn = {
        arm: {at: pool for at, pool in table.items() if at[0] in targets}
        for arm, table in tables.items()
    }
    yield Exhibit(
        "map",
        "Target by target",
        f"{sentence(_best_field(fields, metric))}; {open_} of {count(len(fields), 'field')} are undecided.",
        f"Gain in {unit}; ◇ marks fields whose interval holds 0, which speak neither way. Orange is a gain, "
        "purple a loss; the sign is written, since print in grey shows only the size.",
        (
            "pre-training",
            "target",
            "regime",
            "gain",
            "95 % interval",
            "counted",
            *SIDES,
            "pairs",
            "verdict",
        ),
        tuple(_field_line(*item) for item in fields),
        lambda: plots.heat_map(drawn, points(metric)),
    )


def _best_field(fields: Sequence[tuple[str, tuple[str, str], PooledGain]], metric: str) -> str:
    arm, place, pool = max(fields, key=lambda item: item[2].effect.mean)
    gain, where = words.amount(pool.effect.mean, metric, sign=True), ", ".join(filter(None, place))
    return f"largest is {gain} for {arm} on {where}"


def _field_line(arm: str, place: tuple[str, str], pool: PooledGain) -> tuple[str, ...]:
    numbers = (
        number(pool.effect.mean, sign=True),
        interval(pool.effect, sign=True),
        pool.units.said,
    )
    return (
        arm,
        place[0],
        place[1] or DASH,
        *numbers,
        *words.sides(pool.pairs),
        str(len(pool.pairs)),
        pool.verdict,
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
        f"Over {len(found.targets)} targets, {found.methods[0]} ranks best with {found.ranks[0]:.2f}{p}; "
        f"{apart} of the other {count(len(found.methods) - 1, 'method')} rank apart from it.",
        "Mean rank of each method over the targets that all of them were scored on, regimes averaged, 1 is best. Bars "
        "join methods closer than Nemenyi's critical difference at 0.05: the evidence cannot order them.",
        ("method", "mean rank", *found.targets),
        tuple(_rank_line(found, i) for i in range(len(found.methods))),
        lambda: plots.critical_difference(found),
    )


def _rank_line(found: Ranking, i: int) -> tuple[str, ...]:
    return (
        found.methods[i],
        f"{found.ranks[i]:.2f}",
        *(number(score) for score in np.asarray(found.scores)[:, i]),
    )
