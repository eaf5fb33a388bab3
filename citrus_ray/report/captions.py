"""Sentences about gains and cells. What the page says and what the CSV says come from here."""

from collections import defaultdict
from collections.abc import Sequence

from citrus_ray.evidence.facts import target_of, test_part_of
from citrus_ray.evidence.gains import (
    Gain,
    Pair,
    best_baseline,
    mean_with,
    mean_without,
)
from citrus_ray.evidence.intervals import Effect
from citrus_ray.evidence.labels import params_label as params_label
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.rounds import Finding, Verdict
from citrus_ray.experiment.labels import count
from citrus_ray.metrics import metric_of, sign_of
from citrus_ray.report.numbers import DASH, number, probability, sentence

SIGNS: dict[Verdict, str] = {
    "supported": "▲",
    "equivalent": "≈",
    "undecided": "◇",
    "contradicted": "▼",
}


NAMES = {"mae": "mean absolute error", "r2": "R²", "pearson_r": "Pearson r"}


def metric_name(metric: str) -> str:
    """`test/balanced_accuracy` -> `test balanced accuracy`."""
    split, _, name = metric.rpartition("/")
    said = NAMES.get(name, name.replace("_", " "))
    return f"{split.replace('val', 'validation')} {said}".strip()


def gain_name(metric: str) -> str:
    """A gain in it, which is above 0 where it is better."""
    said = metric_name(metric)
    return f"gain in {said}" if sign_of(metric) > 0 else f"gain: {said} is lower by"


def is_share(metric: str) -> bool:
    """Whether differences of this metric are read as points of 100."""
    return metric_of(metric).is_share


def amount(value: float, metric: str, sign: bool = False) -> str:
    """`16.3 points`, or the plain number where the metric is no share."""
    if not is_share(metric):
        return number(value, sign=sign)
    return f"{number(100 * value, 1, sign)} points"


def verdict_sentence(gain: Gain) -> str:
    metric = gain.cell.design.test_metric
    found, verdict = gain.effect, gain.verdict
    who = f"pre-training ({gain.cell.arm_label})"
    where = f" at {gain.cell.regime_label}" if gain.cell.regime_label else ""
    if verdict == "equivalent":
        within = amount(gain.found.within or 0.0, metric)
        return f"{sentence(who)} changes {metric_name(metric)}{where} by less than {within}."
    if verdict != "undecided":
        verb = "raises" if sign_of(metric) * found.mean > 0 else "lowers"
        return (
            f"{sentence(who)} {verb} {metric_name(metric)}{where} by "
            f"{amount(abs(found.mean), metric)}."
        )
    return f"It is open whether {who} changes {metric_name(metric)}{where}: {_why_undecided(gain)}."


def _why_undecided(gain: Gain) -> str:
    found, metric = gain.effect, gain.cell.design.test_metric
    if not found.is_bounded:
        few = f"{gain.found.counts} give no interval"
        return few if len(set(gain.measured.values)) > 1 else f"{few}: they do not differ"
    half = amount((found.high - found.low) / 2, metric)
    return (
        f"{gain.found.counts} that vary this much tell apart only gains beyond about {half}; "
        f"it would take {gain.found.takes}"
    )


def evidence(gain: Gain) -> str:
    """The numbers behind a verdict, in one line."""
    up, down, tied = gain.signs
    metric = gain.cell.design.test_metric
    of_next = "" if gain.next is None else f" {sentence(_for_whom(gain.next, metric))}."
    return (
        f"{count(len(gain.pairs), 'pair')}: {up} up, {down} down, {tied} tied. "
        f"{sentence(_for_whom(gain.found, metric))}.{of_next}"
    )


def _for_whom(found: Finding, metric: str) -> str:
    """One of the two statements that a mean allows, each in the same words everywhere."""
    many = found.n_family > 1
    holm = f", Holm over {found.n_family} comparisons {probability(found.p_holm)}" if many else ""
    ends, p = gain_range(found.effect, metric), probability(found.p)
    return f"for {found.speaks_of} ({found.counts}): {ends}, p = {p}{holm}, {found.verdict}"


def gain_range(found: Effect, metric: str) -> str:
    if not found.is_bounded:
        return "no interval"
    scale = 100 if is_share(metric) else 1
    low, high = (
        number(scale * end, 1 if scale == 100 else 3, sign=True) for end in (found.low, found.high)
    )
    return f"95 % interval {low} to {high}"


def sides(pairs: Sequence[Pair]) -> tuple[str, str, str]:
    """Both scores behind a difference, and the dumb baseline to beat."""
    best = best_baseline(pairs)
    baseline = DASH if best is None else f"{best[0]} {number(best[1])}"
    return number(mean_with(pairs)), number(mean_without(pairs)), baseline


def progress(cell: Outcome) -> str:
    of = f" of at most {cell.design.budget}" if cell.design.budget else ""
    return f"{len(cell.searched)}{of} trials searched"


def test_people(cells: Sequence[Outcome]) -> str:
    """How the test groups were varied, or that they were not."""
    parts: dict[str, set[str]] = defaultdict(set)
    for cell in cells:
        for row in cell.scored:
            parts[target_of(row)].add(test_part_of(row))
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
        fixed = "one fixed set of test groups in every round"
        said = "; ".join(filter(None, [said, f"{', '.join(same)} on {fixed}"]))
    return f"Test people: {said}."


def scores_shown(cells: Sequence[Outcome]) -> str:
    """What the figure of test scores shows."""
    scored = [(cell, cell.test.mean) for cell in cells if cell.test is not None]
    if not scored:
        return "No winner has been refitted and scored on test data yet."
    sign = 1 if cells[0].design.mode == "max" else -1
    ranked = sorted(scored, key=lambda item: -sign * item[1])
    (best, top), (worst, bottom) = ranked[0], ranked[-1]
    if best is worst:
        return f"The only scored cell, {best.label}, reaches {number(top)}."
    return f"Best is {best.label} with {number(top)}; last is {worst.label} with {number(bottom)}."


def verdict_line(gain: Gain) -> str:
    """A verdict among many."""
    metric, found = gain.cell.design.test_metric, gain.effect
    return (
        f"{gain.cell.label}: {amount(found.mean, metric, sign=True)}, "
        f"{gain_range(found, metric)}, {gain.found.counts}"
    )


def gains_shown(gains: Sequence[Gain]) -> str:
    """What the figure of gains shows."""
    if len(gains) == 1:
        up, _, _ = gains[0].signs
        better = "lower" if gains[0].cell.design.mode == "min" else "higher"
        return f"With pre-training, {up} of {count(len(gains[0].pairs), 'pair')} score {better}."
    ranked = sorted(gains, key=lambda gain: -gain.effect.mean)
    named = [f"{gain.cell.label} ({number(gain.effect.mean, sign=True)})" for gain in ranked]
    return f"The gain is largest for {named[0]} and smallest for {named[-1]}."


def verdicts_shown(gains: Sequence[Gain]) -> str:
    """The count of verdicts."""
    n = {verdict: sum(gain.verdict == verdict for gain in gains) for verdict in SIGNS}
    said = ", ".join(f"{n[verdict]} {verdict}" for verdict in SIGNS)
    return f"Of {count(len(gains), 'comparison')} with training from scratch: {said}."


def history_shown(cells: Sequence[Outcome]) -> str:
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
