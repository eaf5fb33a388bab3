"""Sentences about gains and cells. What the page says and what the CSV says come from here."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from citrus_ray.evidence.facts import people_of, target_of
from citrus_ray.evidence.gains import (
    ALPHA,
    Gain,
    Pair,
    Verdict,
    best_baseline,
    mean_with,
    mean_without,
)
from citrus_ray.evidence.intervals import Effect
from citrus_ray.evidence.outcomes import (
    Cell,
    axes_label,
    axis_names,
    is_kind,
    is_pretrain,
    value_label,
)
from citrus_ray.evidence.units import SPEAKS_FOR
from citrus_ray.metrics import HARD, RANKED
from citrus_ray.report.handmade import Mark
from citrus_ray.report.markup import DASH, count, number, probability, sentence

FEW_TARGETS = 5
MARKS: dict[Verdict, Mark] = {"supported": "up", "undecided": "open", "negative": "down"}
SIGNS: dict[Verdict, str] = {"supported": "▲", "undecided": "◇", "negative": "▼"}


def metric_name(metric: str) -> str:
    """`test/balanced_accuracy` -> `test balanced accuracy`."""
    return metric.replace("val/", "validation ").replace("/", " ").replace("_", " ")


def is_share(metric: str) -> bool:
    """Whether differences of this metric are read as points of 100."""
    return metric.split("/")[-1] in {*HARD, *RANKED} - {"kappa"}


def amount(value: float, metric: str, sign: bool = False) -> str:
    """`16.3 points`, or the plain number where the metric is no share."""
    if not is_share(metric):
        return number(value, sign=sign)
    return f"{number(100 * value, 1, sign)} points"


def part_of(axes: dict[str, Any], pretrain: bool) -> dict[str, Any]:
    return {path: value for path, value in axes.items() if is_pretrain(path) == pretrain}


def arm_label(cell: Cell) -> str:
    """How the cell is pre-trained, in few words."""
    axes = part_of(cell.axes, True)
    if cell.is_scratch:
        return "from scratch"
    return (
        axes_label({path: _in_short(path, value, cell) for path, value in axes.items()})
        if axes
        else "pre-trained"
    )


def _in_short(path: str, value: Any, cell: Cell) -> Any:
    """A block by its kind alone, where no other compared block is of that kind."""
    kinds = [
        json.loads(v)["kind"]
        for v in {
            json.dumps(c[path], sort_keys=True) for c in cell.plan.cells if is_kind(c.get(path))
        }
    ]
    return {"kind": value["kind"]} if is_kind(value) and kinds.count(value["kind"]) == 1 else value


def regime_label(cell: Cell) -> str:
    """Everything else that is compared; empty where nothing else is."""
    axes = part_of(cell.axes, False)
    return axes_label(axes) if axes else ""


def cell_label(cell: Cell) -> str:
    return ", ".join(part for part in (arm_label(cell), regime_label(cell)) if part)


def params_label(params: dict[str, Any]) -> str:
    names = axis_names(params)
    return ", ".join(f"{names[path]} {value_label(path, value)}" for path, value in params.items())


def verdict_sentence(gain: Gain) -> str:
    metric = gain.cell.plan.test_metric
    found, verdict = gain.effect, gain.verdict
    who = f"pre-training ({arm_label(gain.cell)})"
    where = f" at {regime_label(gain.cell)}" if regime_label(gain.cell) else ""
    if verdict != "undecided":
        verb = "raises" if found.mean > 0 else "lowers"
        return f"{sentence(who)} {verb} {metric_name(metric)}{where} by {amount(abs(found.mean), metric)}."
    return f"It is open whether {who} changes {metric_name(metric)}{where}: {_why_undecided(gain)}."


def _why_undecided(gain: Gain) -> str:
    found, metric = gain.effect, gain.cell.plan.test_metric
    if found.n == 1:
        return f"one {gain.units.level} gives no interval"
    if not found.is_bounded:
        return (
            f"all {found.n} differences are equal, which leaves no spread to make an interval from"
        )
    half = amount((found.high - found.low) / 2, metric)
    return f"the interval holds 0, and {gain.units.said} that vary this much tell apart only gains beyond about {half}"


def evidence(gain: Gain) -> str:
    """The numbers behind a verdict, in one line."""
    up, down, tied = gain.signs
    test = gain.test
    rank = f"Wilcoxon {'exact ' if test.exact else ''}p = {probability(test.p)}"
    floor = f"{count(test.n, gain.units.level)} cannot give less than {probability(test.floor)}"
    holm = (
        f", Holm over {gain.n_comparisons} comparisons {probability(gain.p_holm)}"
        if gain.n_comparisons > 1
        else ""
    )
    counted = (
        f"The interval counts {gain.units.said}: it speaks for {SPEAKS_FOR[gain.units.level]}."
    )
    return f"{count(len(gain.pairs), 'pair')}: {up} up, {down} down, {tied} tied. {rank} ({floor}){holm}. {counted}"


def gain_range(found: Effect, metric: str) -> str:
    if not found.is_bounded:
        return "no interval"
    scale = 100 if is_share(metric) else 1
    low, high = (
        number(scale * end, 1 if scale == 100 else 3, sign=True) for end in (found.low, found.high)
    )
    return f"95 % interval {low} to {high}"


def gain_caveats(gain: Gain) -> Iterable[str]:
    """What stands between a gain and a general claim, beyond the caveats of its two cells."""
    groups = {pair.group for pair in gain.pairs}
    if len(groups) > 1:
        listed = "; ".join(sorted(groups))
        yield f"pairs are pooled over {len(groups)} settings ({listed}): it speaks for the like alone"
    if gain.units.level == "target" and len(gain.units.values) < FEW_TARGETS:
        yield f"only {gain.units.said}: an interval over so few is wide, and rightly so; see each target by itself"
    if gain.n_unpaired:
        yield f"{count(gain.n_unpaired, 'scored refit')} without a partner in the other arm left out of the gain"
    mine, others = len(gain.cell.searched), len(gain.against.searched)
    if mine != others:
        yield f"unequal search: {count(mine, 'trial')} pre-trained against {others} from scratch"
    if gain.verdict != "undecided" and gain.p_holm > ALPHA:
        reach = "could not" if gain.p_holm_floor > ALPHA else "does not"
        yield (
            f"the interval leaves 0 out, but the rank test {reach} reach {ALPHA:g} "
            f"after correction for {count(gain.n_comparisons, 'comparison')}"
        )


def sides(pairs: Sequence[Pair]) -> tuple[str, str, str]:
    """Both scores behind a difference, and the dumb baseline to beat."""
    best = best_baseline(pairs)
    baseline = DASH if best is None else f"{best[0]} {number(best[1])}"
    return number(mean_with(pairs)), number(mean_without(pairs)), baseline


def progress(cell: Cell) -> str:
    of = f" of at most {cell.plan.budget}" if cell.plan.budget else ""
    return f"{len(cell.searched)}{of} trials searched"


def test_people(cells: Sequence[Cell]) -> str:
    """How the test groups were varied, or that they were not."""
    parts: dict[str, set[str]] = defaultdict(set)
    for cell in cells:
        for row in cell.scored:
            parts[target_of(row)].add(people_of(row))
    if not parts:
        return "Nothing is scored on test people yet."
    same = sorted(target for target, found in parts.items() if len(found) == 1)
    varied = [
        f"{target} on {len(found)} different test parts"
        for target, found in parts.items()
        if len(found) > 1
    ]
    said = "; ".join(varied)
    if same:
        fixed = "one fixed set of test groups, whatever the seed"
        said = "; ".join(filter(None, [said, f"{', '.join(same)} on {fixed}"]))
    return f"Test people: {said}."


def scores_shown(cells: Sequence[Cell]) -> str:
    """What the figure of test scores shows."""
    scored = [(cell, cell.test.mean) for cell in cells if cell.test is not None]
    if not scored:
        return "No winner has been refitted and scored on test data yet."
    sign = 1 if cells[0].plan.mode == "max" else -1
    ranked = sorted(scored, key=lambda item: -sign * item[1])
    (best, top), (worst, bottom) = ranked[0], ranked[-1]
    if best is worst:
        return f"The only scored cell, {cell_label(best)}, reaches {number(top)}."
    return f"Best is {cell_label(best)} with {number(top)}; last is {cell_label(worst)} with {number(bottom)}."


def verdict_line(gain: Gain) -> str:
    """A verdict among many."""
    metric, found = gain.cell.plan.test_metric, gain.effect
    pairs = count(len(gain.pairs), "pair")
    pairs = pairs if gain.units.level == "seed" else f"{gain.units.said}, {pairs}"
    return f"{cell_label(gain.cell)}: {amount(found.mean, metric, sign=True)}, {gain_range(found, metric)}, {pairs}"


def gains_shown(gains: Sequence[Gain]) -> str:
    """What the figure of gains shows."""
    if len(gains) == 1:
        up, _, _ = gains[0].signs
        return f"With pre-training, {up} of {count(len(gains[0].pairs), 'pair')} score higher."
    sign = 1 if gains[0].cell.plan.mode == "max" else -1
    ranked = sorted(gains, key=lambda gain: -sign * gain.effect.mean)
    named = [f"{cell_label(gain.cell)} ({number(gain.effect.mean, sign=True)})" for gain in ranked]
    return f"The gain is largest for {named[0]} and smallest for {named[-1]}."


def verdicts_shown(gains: Sequence[Gain]) -> str:
    """The count of verdicts."""
    n = {verdict: sum(gain.verdict == verdict for gain in gains) for verdict in MARKS}
    said = f"{n['supported']} supported, {n['undecided']} undecided, {n['negative']} negative"
    return f"Of {count(len(gains), 'comparison')} with training from scratch: {said}."


def history_shown(cells: Sequence[Cell]) -> str:
    """What the figure of searches shows."""
    trials = [trial for cell in cells for trial in cell.searched]
    failed, pruned = (
        sum(trial.status == status for trial in trials) for status in ("failed", "pruned")
    )
    late = sum(cell.best is not None and cell.best is cell.searched[-1] for cell in cells)
    said = f"{count(len(trials), 'trial')} searched, {failed} failed, {pruned} stopped early"
    hint = (
        f"; in {count(late, 'cell')} the last trial won, so a larger budget may find better"
        if late
        else ""
    )
    return sentence(said + hint) + "."
