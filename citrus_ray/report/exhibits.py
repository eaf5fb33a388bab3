"""What the page shows: each picture with its sentence, how to read it and the tables behind it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from citrus_ray.evidence.curves import UNITS, Curve, Saved, curves, labels_saved
from citrus_ray.evidence.design import Design
from citrus_ray.evidence.evidence import Evidence
from citrus_ray.evidence.explored import Dependence, Explored, dependences, explored, surface
from citrus_ray.evidence.facts import target_of
from citrus_ray.evidence.fronts import fronts
from citrus_ray.evidence.gains import Gain, gain_caveats
from citrus_ray.evidence.intervals import INTERVAL
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.pooled import ALL, PooledGain, by_target_and_regime, pools
from citrus_ray.evidence.predicted import N_BINS, PredictedCell, predicted
from citrus_ray.evidence.ranks import Ranking, ranking
from citrus_ray.experiment.labels import count, value_label
from citrus_ray.metrics import sign_of
from citrus_ray.report import captions as words
from citrus_ray.report.figures import ink, results, search
from citrus_ray.report.numbers import DASH, duration, interval, number, probability, sentence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_ROWS = 90  # of a forest or heat map; with more, nothing can be read
MAX_CURVES = 8
MAX_PANELS = 6
MAX_HISTORIES = 48
MAX_LISTED = 1000  # rows of a table on the page; the files under tables/ hold all
SIDES = ("pre-trained", "from scratch", "best dumb baseline")
FLATTERS = (
    "Validation scores of searched trials, minus the from-scratch trial that validation chose: "
    "no result."
)


@dataclass(frozen=True)
class Field:
    """What stands in a table where it is more than text: footnotes, or a look of its own."""

    text: str
    notes: tuple[int, ...] = ()
    style: str = ""  # `code`, or a class of the page

    def __str__(self) -> str:
        return self.text


TableRow = tuple[str | Field, ...]


@dataclass(frozen=True)
class Table:
    """Rows under a head; the page shows the first of very many."""

    name: str
    head: tuple[str, ...]
    rows: tuple[TableRow, ...]

    @property
    def title(self) -> str:
        if len(self.rows) <= MAX_LISTED:
            return self.name
        return f"{self.name}, the first {MAX_LISTED} of {len(self.rows):,} rows; all in tables/"

    @property
    def shown(self) -> tuple[TableRow, ...]:
        return self.rows[:MAX_LISTED]


@dataclass(frozen=True)
class Exhibit:
    """A picture and everything that stands around it."""

    name: str
    title: str
    shows: str
    how: str
    tables: tuple[Table, ...]  # behind the picture, its own first
    draw: Callable[[], "Figure"]

    @cached_property
    def picture(self) -> ink.Picture:
        return ink.Picture(self.name, self.draw)

    @property
    def inline(self) -> Markup:
        return self.picture.inline(self.shows)


@dataclass
class Footnotes:
    """Caveats by number, each with what it stands beside."""

    owners: dict[str, list[str]] = field(default_factory=dict)

    def add(self, owner: str, caveats: Iterable[str]) -> None:
        for caveat in caveats:
            self.owners.setdefault(caveat, []).append(owner)

    def of(self, *owners: str) -> tuple[int, ...]:
        listed = enumerate(self.owners.values(), 1)
        return tuple(i for i, found in listed if any(owner in found for owner in owners))


class Findings:
    """What one page is about: what the evidence says, and numbered caveats beside it."""

    def __init__(self, folders: Sequence[Path], evidence: Evidence) -> None:
        self.folders, self.evidence, self.notes = folders, evidence, Footnotes()
        self.designs, self.found = evidence.designs, evidence.found
        self.cells, self.gains = list(evidence.cells), evidence.gains
        self.design = self.designs[0]  # after which the page is named
        for cell in self.cells:
            self.notes.add(cell.digest, cell.caveats())
        for gain in self.gains:
            self.notes.add(gain_owner(gain), gain_caveats(gain))

    @cached_property
    def results(self) -> list[Exhibit]:
        """Gains and test scores."""
        return [*_gains(self), *_scores(self)]

    @cached_property
    def exhibits(self) -> list[Exhibit]:
        """What lies behind them, as far as these results can fill it."""
        metric = self.design.test_metric
        return [
            *pooled(pools(self.gains), metric),
            *learning(curves(self.cells)),
            *map_of_targets(self.gains),
            *ranks(ranking(self.cells)),
            *predictions(predicted(self.cells, self.folders)),
            *_hangs_on(self, metric),
            *_fronts(self),
            *_cost(self),
        ]

    @cached_property
    def search(self) -> list[Exhibit]:
        return list(_histories(self))

    @property
    def all(self) -> list[Exhibit]:
        return [*self.results, *self.exhibits, *self.search]

    def gain_notes(self, gain: Gain) -> tuple[int, ...]:
        return self.notes.of(gain_owner(gain), gain.cell.digest, gain.against.digest)


def gain_owner(gain: Gain) -> str:
    return f"{gain.cell.digest}-{gain.against.digest}"


def badge(gain: Gain) -> str:
    return f"{words.SIGNS[gain.verdict]} {gain.verdict}"


def by_regime(gains: Sequence[Gain]) -> list[Gain]:
    order = list(dict.fromkeys(gain.cell.regime_label for gain in gains))
    return sorted(gains, key=lambda gain: order.index(gain.cell.regime_label))


def points(metric: str) -> float:
    """The factor from differences to what is read: points of 100 where the metric is a share."""
    return 100.0 if words.is_share(metric) else 1.0


def _first(n: int, most: int, things: str) -> str:
    return f" The first {most} of {n} {things} are drawn." if n > most else ""


def _thinned(counts: Iterable[int], most: int, things: str) -> str:
    many = max(counts, default=0) > most
    return f" Of more than {most} {things} every second or third and so on is drawn." * many


# ---- gains and scores ----


def _gains(findings: Findings) -> Iterable[Exhibit]:
    gains = by_regime(findings.gains)
    if not gains:
        return
    head = (
        "cell",
        "against",
        "gain",
        "95 % interval",
        "for these targets",
        "pairs",
    )
    ps = ("p", "Holm p")
    rows = tuple(_gain_line(findings, gain) for gain in gains)
    pairs = tuple(
        (
            gain.cell.label,
            pair.repeat,
            number(pair.with_, 4),
            number(pair.without, 4),
            number(pair.difference, 4, sign=True),
        )
        for gain in gains
        for pair in gain.pairs
    )
    yield Exhibit(
        "gain",
        "Gain over training from scratch",
        words.gains_shown(findings.gains),
        f"Mean difference, {_minus(findings.design)}, with its 95 % interval; short ticks are "
        "single pairs. ▲ better, ▼ worse, ≈ equivalent, ◇ undecided, after Holm's correction."
        + _thinned((len(gain.pairs) for gain in gains), results.MAX_TICKS, "pairs")
        + _first(len(gains), MAX_ROWS, "gains"),
        (
            Table(
                "Gains, paired by target, labels and round",
                (*head, "up / down / tied", *SIDES, *ps, "verdict"),
                rows,
            ),
            Table("Every pair", ("cell", "pair", *SIDES[:2], "difference"), pairs),
        ),
        lambda: results.gain_forest(gains[:MAX_ROWS]),
    )


def _minus(design: Design) -> str:
    """How a difference is signed."""
    if design.sign > 0:
        return "pre-trained minus from scratch"
    return "from scratch minus pre-trained (less is better, so above 0 pre-training is better)"


def _gain_line(findings: Findings, gain: Gain) -> TableRow:
    ps = (gain.found.p, gain.found.p_holm)
    return (
        *(gain.cell.label, gain.against.label),
        Field(number(gain.effect.mean, sign=True), findings.gain_notes(gain)),
        *(interval(gain.effect, sign=True), gain.found.counts, str(len(gain.pairs))),
        " / ".join(map(str, gain.signs)),
        *words.sides(gain.pairs),
        *(probability(p) for p in ps),
        Field(badge(gain), style=f"badge {gain.verdict}"),
    )


def _scores(findings: Findings) -> Iterable[Exhibit]:
    order = list(dict.fromkeys(cell.regime_label for cell in findings.cells))

    def place(cell: Outcome) -> tuple[int, bool]:
        return order.index(cell.regime_label), not cell.is_scratch

    cells = sorted(findings.cells, key=place)
    if not cells:
        return
    names = list(dict.fromkeys(name for cell in cells for name in cell.baselines))
    rows: tuple[TableRow, ...] = tuple(
        (
            cell.label,
            Field(number(cell.test.mean if cell.test else None), findings.notes.of(cell.digest)),
            interval(cell.test) if cell.test else DASH,
            count(cell.test.n, "round") if cell.test else words.progress(cell),
            f"{len(cell.scored)} of {len(cell.final)}",
            *(number(cell.baselines.get(name)) for name in names),
        )
        for cell in cells
    )
    metric = words.metric_name(findings.design.test_metric).capitalize()
    head = ("cell", "mean", "95 % interval", "counted", "refits")
    said = f" Dashed lines: baselines ({', '.join(names)})." if names else ""
    yield Exhibit(
        "scores",
        "Test scores",
        words.scores_shown(findings.cells),
        f"Mean over the rounds of each cell's winner, with its interval ({INTERVAL}); short "
        "ticks are single refits. Filled: pre-trained; hollow: from scratch."
        f"{said} Validation data chose the winner; test data was scored once, after the search."
        + _thinned((len(cell.scored) for cell in cells), results.MAX_TICKS, "refits")
        + _first(len(cells), MAX_ROWS, "cells"),
        (Table(metric, (*head, *(f"baseline: {name}" for name in names)), rows),),
        lambda: results.score_forest(cells[:MAX_ROWS]),
    )


# ---- pooled gains ----


def pooled(found: Sequence[PooledGain], metric: str) -> Iterable[Exhibit]:
    """Only where there is something to pool: one cell against one says no more than its own
    gain."""
    if len(found) < 2:
        return
    yield Exhibit(
        "pooled",
        "When does it help?",
        _pooled_shown(found, metric),
        "The same pairs, pooled in other ways: the mean of each round over all places, and its "
        "95 % interval over rounds, for these targets; "
        "▲ better, ▼ worse, ≈ equivalent, ◇ undecided. "
        "'For the next target' in the table counts targets, and is wider. Holm corrects within "
        "each way of pooling." + _first(len(found), MAX_ROWS, "pools"),
        (Table("Pooled gains", POOL_HEAD, tuple(_pool_line(pool) for pool in found)),),
        lambda: results.pool_forest(found[:MAX_ROWS], metric, ALL),
    )


POOL_HEAD = (
    *(
        "pooled by",
        "part",
        "pre-training",
        "gain",
        "95 % interval",
        "for these targets",
        "for the next target",
        "verdict on the next",
    ),
    *SIDES,
    *("pairs", "up / down / tied", "p", "Holm p", "verdict"),
)


def _pool_line(pool: PooledGain) -> tuple[str, ...]:
    return (
        *(pool.by, pool.value, pool.arm),
        number(pool.effect.mean, sign=True),
        interval(pool.effect, sign=True),
        pool.found.counts,
        interval(pool.next.effect, sign=True) if pool.next else DASH,
        f"{words.SIGNS[pool.next.verdict]} {pool.next.verdict}" if pool.next else DASH,
        *words.sides(pool.pairs),
        f"{len(pool.pairs):,}",
        " / ".join(map(str, pool.signs)),
        *(probability(p) for p in (pool.found.p, pool.found.p_holm)),
        f"{words.SIGNS[pool.verdict]} {pool.verdict}",
    )


def _pooled_shown(found: Sequence[PooledGain], metric: str) -> str:
    over = [pool for pool in found if pool.by == ALL]
    said = "; ".join(
        f"{pool.arm} {words.amount(pool.effect.mean, metric, sign=True)} over "
        f"{pool.found.counts} ({pool.verdict})"
        for pool in over
    )
    parts = [pool for pool in found if pool.by != ALL]
    kept = [pool for pool in parts if pool.verdict == "supported"]
    return (
        f"Over everything: {said}. Of {count(len(parts), 'part')}, {len(kept)} show a "
        "gain after correction."
    )


# ---- learning curves ----


def learning(found: Sequence[Curve]) -> Iterable[Exhibit]:
    shown = found[:MAX_CURVES]
    if not shown:
        return
    saved = [item for curve in found for item in labels_saved(curve)]
    yield Exhibit(
        "curves",
        "Labels saved",
        _saved_shown(saved),
        "Test scores of the winners over the labels that they had, with 95 % intervals. "
        "Labels saved: from scratch, a never-falling curve through the means (isotonic, straight "
        "between points on the log scale) is read where it reaches the score of the pre-trained "
        "arm; 'or more' where it was not measured so far. The interval resamples whole rounds, "
        "both arms together, and needs 8 of them." + _first(len(found), MAX_CURVES, "settings"),
        (
            Table(
                "Labels saved",
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
            ),
        ),
        lambda: results.learning_curves(shown),
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
    level = f"{count(item.n, 'round')}"
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
    return (
        f"Most is saved by {best.arm}: what it reaches with {own}, scratch reaches with "
        f"{needs} ({unit})."
    )


# ---- heat map ----


def map_of_targets(gains: Sequence[Gain]) -> Iterable[Exhibit]:
    tables = by_target_and_regime(gains)
    fields = [(arm, place, pool) for arm, table in tables.items() for place, pool in table.items()]
    if len({place for _, place, _ in fields}) < 2:
        return
    metric = gains[0].cell.design.test_metric
    unit = "points" if words.is_share(metric) else words.metric_name(metric)
    unit += "" if sign_of(metric) > 0 else ", above 0 where it is lower with pre-training"
    open_ = sum(pool.verdict == "undecided" for _, _, pool in fields)
    targets = list(dict.fromkeys(target for _, (target, _), _ in fields))[:MAX_ROWS]
    drawn = {
        arm: {at: pool for at, pool in table.items() if at[0] in targets}
        for arm, table in tables.items()
    }
    yield Exhibit(
        "map",
        "Target by target",
        f"{sentence(_best_field(fields, metric))}; {open_} of {count(len(fields), 'field')} "
        "are undecided.",
        f"Gain in {unit}; ◇ marks fields whose interval holds 0, which speak neither way. "
        "Orange is a gain, "
        "purple a loss; the sign is written, since print in grey shows only the size.",
        (
            Table(
                "Target by target",
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
            ),
        ),
        lambda: results.heat_map(drawn, points(metric)),
    )


def _best_field(fields: Sequence[tuple[str, tuple[str, str], PooledGain]], metric: str) -> str:
    arm, place, pool = max(fields, key=lambda item: item[2].effect.mean)
    gain, where = words.amount(pool.effect.mean, metric, sign=True), ", ".join(filter(None, place))
    return f"largest is {gain} for {arm} on {where}"


def _field_line(arm: str, place: tuple[str, str], pool: PooledGain) -> tuple[str, ...]:
    numbers = (
        number(pool.effect.mean, sign=True),
        interval(pool.effect, sign=True),
        pool.found.counts,
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


# ---- predictions ----


def predictions(found: Sequence[PredictedCell]) -> Iterable[Exhibit]:
    """Who was taken for whom, and how far probabilities can be believed; of classes alone."""
    found = [one for one in found if one.are_classes]
    if not found:
        return
    shown = found[:MAX_PANELS]
    each = "Test windows of all refits of a cell's winner, every round's added up."
    yield Exhibit(
        "confusion",
        "What was taken for what",
        _confusion_shown(found),
        f"{each} Each row is a true class, its fields the share of its windows that were taken "
        "for each class." + _first(len(found), MAX_PANELS, "cells"),
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
        lambda: results.confusions([(_named(one), one) for one in shown]),
    )
    yield Exhibit(
        "calibration",
        "How far probabilities can be believed",
        _calibration_shown(found),
        f"{each} Windows in ten bins of the probability of the class that they were taken for: a "
        "point on the diagonal is right as often as it says. Larger points hold more windows. The "
        "expected calibration error is the mean distance from the diagonal, by windows, of each "
        "refit by itself." + _first(len(found), MAX_PANELS, "cells"),
        (
            Table(
                "How far probabilities can be believed",
                ("cell", "expected calibration error", "95 % interval", "counted"),
                tuple(
                    (
                        _named(one),
                        number(one.calibration_error.mean),
                        interval(one.calibration_error),
                        count(one.calibration_error.n, "round"),
                    )
                    for one in found
                ),
            ),
            Table(
                "Reliability",
                ("cell", "bin", "windows", "mean probability", "accuracy"),
                tuple(row for one in found for row in _reliability_lines(one)),
            ),
        ),
        lambda: results.reliabilities([(_named(one), one.reliability) for one in shown]),
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


def _calibration_shown(found: Sequence[PredictedCell]) -> str:
    best, worst = (pick(found, key=lambda one: one.calibration_error.mean) for pick in (min, max))
    said = f"{_named(best)} is {best.calibration_error.mean:.1%} away from what it says"
    if best is not worst:
        said += f", {_named(worst)} {worst.calibration_error.mean:.1%}"
    return f"{sentence(said)}."


def _reliability_lines(one: PredictedCell) -> Iterable[TableRow]:
    found = one.reliability
    for i, n in enumerate(found.counts):
        if n:
            ends = f"{i / N_BINS:.1f} to {(i + 1) / N_BINS:.1f}"
            means = number(found.confidence[i]), number(found.accuracy[i])
            yield _named(one), ends, f"{n:,.0f}", *means


# ---- what the search saw: validation scores, which explain choices and are no results ----


def _hangs_on(findings: Findings, metric: str) -> Iterable[Exhibit]:
    scale = points(metric)
    for i, found in enumerate(explored(findings.cells, findings.gains)):
        suffix = f"-{i + 1}" if i else ""
        order = dependences(found)
        yield _dependence(found, order, scale, suffix)
        yield from _surface(found, order, scale, suffix)
        yield _parallel(found, scale, suffix)


def _histories(findings: Findings) -> Iterable[Exhibit]:
    cells = [cell for cell in findings.cells if cell.searched]
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
    metric = findings.design.metric
    yield Exhibit(
        "search",
        "Search",
        words.history_shown(cells),
        f"{words.metric_name(metric).capitalize()} of each trial in the order of their points, or "
        "of their ends where the sampler learns; mean over its members. Line: best so far; ring: "
        "the trial that was chosen; hollow: stopped early; cross: failed. These are the numbers "
        "that chose the winners, so they flatter them."
        + _thinned((len(cell.searched) for cell in cells), search.MAX_TRIALS, "trials")
        + _first(len(cells), MAX_HISTORIES, "cells"),
        (Table("Every trial", ("cell", "trial", metric, "status", "settings", "digest"), rows),),
        lambda: search.histories(cells[:MAX_HISTORIES]),
    )


def _fronts(findings: Findings) -> Iterable[Exhibit]:
    found = fronts(findings.cells)
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
        + _first(len(found), MAX_PANELS, "cells"),
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
        f"{FLATTERS} Line or bar: partial dependence of a random forest, all other settings as "
        "tried; rings: means of the trials there, larger for more of them. In brackets the share "
        "of the variance that the setting explains by itself (functional ANOVA, Optuna). Searches "
        "go where scores are good, so both lean on few bad trials."
        + _first(len(order), MAX_PANELS, "settings"),
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
        + _thinned([len(found.rows)], search.MAX_LINES, "trials"),
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


def _cost(findings: Findings) -> Iterable[Exhibit]:
    cells = [cell for cell in findings.cells if cell.rows]
    if not cells:
        return
    total = sum(row.seconds for cell in cells for row in cell.rows)
    failed = sum(row.seconds for cell in cells for row in cell.rows if row.status == "failed")
    yield Exhibit(
        "cost",
        "Cost",
        f"{duration(total)} of compute in fine-tunes, {duration(failed)} of it in runs that "
        "failed.",
        "Seconds in members as recorded, added up; wall time is less where trials ran side by "
        "side. Pre-training is computed once per encoder, shared by all trials that ask for it, "
        "and not in these records." + _first(len(cells), MAX_ROWS, "cells"),
        (
            Table(
                "Cost",
                ("cell", "search", "refits", "trials", "encoders"),
                tuple(
                    (
                        cell.label,
                        duration(results.seconds(cell, "search")),
                        duration(results.seconds(cell, "final")),
                        str(len(cell.searched)),
                        str(len({row.encoder for row in cell.rows if row.encoder})),
                    )
                    for cell in cells
                ),
            ),
        ),
        lambda: results.cost(cells[:MAX_ROWS]),
    )
