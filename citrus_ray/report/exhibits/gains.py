"""Exhibits of what pre-training gains: cell by cell, pooled, in labels saved, target by target."""

from collections import Counter
from collections.abc import Iterable, Sequence

from citrus_ray.evidence.curves import UNITS, Curve, Saved, labels_saved
from citrus_ray.evidence.design import Design
from citrus_ray.evidence.gains import Gain
from citrus_ray.evidence.pooled import ALL, PooledGain, by_target_and_regime
from citrus_ray.experiment.labels import count
from citrus_ray.metrics import sign_of
from citrus_ray.report import captions as words
from citrus_ray.report.exhibits.exhibit import MAX_ROWS, Exhibit, first, thinned
from citrus_ray.report.figures import forest, results
from citrus_ray.report.numbers import DASH, interval, number, probability, sentence
from citrus_ray.report.tables import Field, Footnotes, Table, TableRow

MAX_CURVES = 8
SIDES = ("pre-trained", "from scratch", "best dumb baseline")


def badge(gain: Gain) -> str:
    return f"{words.SIGNS[gain.verdict]} {gain.verdict}"


def by_regime(gains: Sequence[Gain]) -> list[Gain]:
    order = list(dict.fromkeys(gain.cell.regime_label for gain in gains))
    return sorted(gains, key=lambda gain: order.index(gain.cell.regime_label))


def points(metric: str) -> float:
    """The factor from differences to what is read: points of 100 where the metric is a share."""
    return 100.0 if words.is_share(metric) else 1.0


# ---- cell by cell ----


def over_scratch(gains: Sequence[Gain], notes: Footnotes) -> Iterable[Exhibit]:
    if not gains:
        return
    said, gains = words.gains_shown(gains), by_regime(gains)
    head = (
        "cell",
        "against",
        "gain",
        "95 % interval",
        "for these targets",
        "pairs",
    )
    ps = ("p", "Holm p")
    rows = tuple(_gain_line(gain, notes) for gain in gains)
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
        said,
        f"Mean difference, {_minus(gains[0].cell.design)}, with its 95 % interval; short ticks are "
        "single pairs. ▲ better, ▼ worse, ≈ equivalent, ◇ undecided, after Holm's correction."
        + thinned((len(gain.pairs) for gain in gains), forest.MAX_TICKS, "pairs")
        + first(len(gains), MAX_ROWS, "gains"),
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


def _gain_line(gain: Gain, notes: Footnotes) -> TableRow:
    ps = (gain.found.p, gain.found.p_holm)
    return (
        *(gain.cell.label, gain.against.label),
        Field(number(gain.effect.mean, sign=True), notes.of_gain(gain)),
        *(interval(gain.effect, sign=True), gain.found.counts, str(len(gain.pairs))),
        " / ".join(map(str, gain.signs)),
        *words.sides(gain.pairs),
        *(probability(p) for p in ps),
        Field(badge(gain), style=f"badge {gain.verdict}"),
    )


# ---- pooled ----


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
        "each way of pooling." + first(len(found), MAX_ROWS, "pools"),
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
    n = Counter(pool.verdict for pool in parts)
    return (
        f"Over everything: {said}. After correction, of {count(len(parts), 'part')} "
        f"{n['supported']} show a gain, {n['contradicted']} a loss, {n['equivalent']} neither, "
        f"{n['undecided']} are undecided."
    )


# ---- labels saved ----


def learning(found: Sequence[Curve]) -> Iterable[Exhibit]:
    of_steps = [curve for curve in found if curve.kind == "steps"]
    of_labels = [curve for curve in found if curve.kind != "steps"]
    if of_labels:
        yield _learning("curves", "labels", of_labels, "labels that they had")
    if of_steps:
        yield _learning("steps", "steps", of_steps, "steps of fine-tuning that they took")


def _learning(name: str, what: str, found: Sequence[Curve], had: str) -> Exhibit:
    """Curves over labels or steps, and how many of them are saved."""
    shown, title = found[:MAX_CURVES], f"{what.capitalize()} saved"
    saved = [item for curve in found for item in labels_saved(curve)]
    heads = ("setting", "pre-training", what, "scratch needs", "95 % interval", f"{what} saved")
    return Exhibit(
        name,
        title,
        _saved_shown(saved, what),
        f"Test scores of the winners over the {had}, with 95 % intervals. "
        f"{title}: from scratch, a never-falling curve through the means (isotonic, straight "
        "between points on the log scale) is read where it reaches the score of the pre-trained "
        "arm; 'or more' where it was not measured so far. The interval resamples whole rounds, "
        "both arms together, and needs 8 of them." + first(len(found), MAX_CURVES, "settings"),
        (Table(title, (*heads, "counted"), tuple(_saved_line(item) for item in saved)),),
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


def _saved_shown(saved: Sequence[Saved], what: str) -> str:
    told = [item for item in saved if item.amount < item.highest]
    if not told:
        return f"No from-scratch curve to read {what} saved from."
    best = max(told, key=lambda item: item.needed / item.amount)
    own, needs = best.bounded_own(), best.bounded(best.needed)
    if best.needed <= best.amount:
        return f"Nowhere does scratch need more {what} than pre-training for the same score."
    unit = UNITS[best.kind]
    return (
        f"Most is saved by {best.arm}: what it reaches with {own}, scratch reaches with "
        f"{needs} ({unit})."
    )


# ---- target by target ----


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
