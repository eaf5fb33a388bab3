"""Claims against the refits of winners: effect, interval, verdict.

A place is a combination of everything that the claim does not speak of: target, labels, what
else is repeated. Within a place the two sides are paired by all that both repeat. The mean over
places gets its interval from the spread within places, so it speaks of these places, these test
parts and these recordings, not of others like them.
"""

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from citrus_ray.evidence.gains import Verdict, verdict_of
from citrus_ray.evidence.intervals import LEVEL, Effect, effect, stratified
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.experiment.hypotheses import Hypothesis, side
from citrus_ray.experiment.labels import (
    Axes,
    canonical,
    exact_label,
    part_of,
    settings_label,
    unique,
)
from citrus_ray.records import Record

Measured = list[tuple[dict[str, Any], float]]  # what was repeated, and what was measured there
WHAT = {
    "score": "difference",
    "gain": "difference of gains",
    "rounds": "rounds saved",
    "seconds": "seconds saved",
    "missing": "difference with modalities missing",
}


def judge(claims: Sequence[Hypothesis], cells: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Every claim, for `summary.json`."""
    return [_judge(claim, cells) for claim in claims]


def _judge(claim: Hypothesis, cells: Sequence[Outcome]) -> dict[str, Any]:
    settings, values = _places(claim, cells)
    somewhere = claim.holds == "somewhere"
    level = (
        1 - (1 - LEVEL) / max(1, len(values)) if somewhere else LEVEL
    )  # Bonferroni: any may hold
    effects = [found for v in values if (found := effect(v, level=level)) is not None]
    best = max(effects, key=lambda e: e.low if e.is_bounded else e.mean, default=None)
    overall = best if somewhere else stratified(values)
    verdict = _verdict(claim, overall, effects)
    labels = unique(settings, [lambda s: settings_label(s) or "all", exact_label])
    return {
        "says": claim.says,
        "measure": claim.measure,
        "level": claim.level,
        "holds": claim.holds,
        **_tree(overall),
        "places": [
            {"place": place} | _tree(found) for place, found in zip(labels, effects, strict=True)
        ],
        "places_up": sum(found.mean > 0 for found in effects),
        "verdict": verdict,
        "why": _why(overall) if verdict == "undecided" else None,
    }


def _tree(found: Effect | None) -> dict[str, Any]:
    if found is None:
        return {"effect": None, "low": None, "high": None, "n": 0}
    tree = found.tree()
    return {"effect": tree.pop("mean")} | tree


def _verdict(claim: Hypothesis, overall: Effect | None, effects: Sequence[Effect]) -> Verdict:
    """A claim that holds somewhere is contradicted where it is contradicted everywhere."""
    found = verdict_of(overall)
    if found == "contradicted" and claim.holds == "somewhere":
        return found if all(verdict_of(e) == "contradicted" for e in effects) else "undecided"
    return found


def _why(overall: Effect | None) -> str:
    if overall is None or overall.n < 2:
        return "too few results"
    if not overall.is_bounded:
        return "no spread to make an interval from"
    return "the interval holds 0 at this size"


# ---- pairs within places ----


def _places(
    claim: Hypothesis, cells: Sequence[Outcome]
) -> tuple[list[dict[str, Any]], list[list[float]]]:
    """Settings of each place, and better minus worse there, a value per pair."""
    about = [cell for cell in cells if claim.is_about(cell.axes)]
    settings: dict[str, dict[str, Any]] = {}
    values: dict[str, list[float]] = defaultdict(list)
    for one in (cell for cell in about if side(claim.better, cell.axes)):
        for other in (cell for cell in about if side(claim.worse, cell.axes)):
            rest = claim.others(one.axes)
            if _agree(rest, claim.others(other.axes)):
                sides = _measured(claim, one, cells), _measured(claim, other, cells)
                for repeat, difference in differences(*sides):
                    place = rest | {path: v for path, v in repeat.items() if path != "seed"}
                    settings[canonical(place)] = place
                    values[canonical(place)].append(difference)
    return list(settings.values()), [values[key] for key in settings]


def _agree(one: Axes, other: Axes) -> bool:
    """Whether two cells are equal in every axis that both have; one from scratch has none of
    `pretrain`."""
    return all(canonical(one[path]) == canonical(other[path]) for path in one.keys() & other.keys())


def differences(one: Measured, other: Measured) -> Measured:
    """`one` minus `other`, paired by all that both repeat; what a side repeats beyond that is
    averaged."""
    everywhere = [repeat.keys() for repeat, _ in [*one, *other]]
    shared = (
        sorted(set.intersection(*map(set, everywhere)) - {"pretrain.seed"}) if everywhere else []
    )
    means: list[dict[str, float]] = []
    repeats: dict[str, dict[str, Any]] = {}
    for found in (one, other):
        groups: dict[str, list[float]] = defaultdict(list)
        for repeat, value in found:
            kept = {path: repeat[path] for path in shared}
            repeats[canonical(kept)] = kept
            groups[canonical(kept)].append(value)
        means.append({key: fmean(values) for key, values in groups.items()})
    both = sorted(means[0].keys() & means[1].keys())
    return [(repeats[key], means[0][key] - means[1][key]) for key in both]


def _measured(claim: Hypothesis, cell: Outcome, cells: Sequence[Outcome]) -> Measured:
    """Test scores, gains over scratch, or minus the cost of getting to a level: more is better
    in all of them."""
    metric = cell.design.test_metric
    if claim.level is not None:
        ok = [row for row in cell.final if row.status == "ok" and row.curve]
        return [(row.repeat, -cost_to(row.curve, claim.measure, claim.level)) for row in ok]
    if claim.measure == "missing":
        return _scores(cell.final, metric.replace("test/", "missing/", 1))
    own = _scores(cell.final, metric)
    if claim.measure == "score":
        return own
    twin = next((c for c in cells if c.is_scratch and _are_twins(c, cell)), None)
    return differences(own, _scores(twin.final, metric)) if twin and twin is not cell else []


def _are_twins(one: Outcome, other: Outcome) -> bool:
    return canonical(part_of(one.axes, False)) == canonical(part_of(other.axes, False))


def _scores(rows: Sequence[Record], metric: str) -> Measured:
    return [(r.repeat, r.metrics[metric]) for r in rows if r.status == "ok" and metric in r.metrics]


def cost_to(curve: Sequence[Sequence[float]], measure: str, level: float) -> float:
    """Rounds or seconds until the objective reached `level`. One that never did is given one
    round more than it had: less than the truth, so a difference that rests on it is too small
    rather than too large."""
    costs = [
        number if measure == "rounds" else seconds
        for number, (_, seconds) in enumerate(curve, start=1)
    ]
    costs.append(costs[-1] * (1 + 1 / len(curve)))
    at = next((i for i, (value, _) in enumerate(curve) if value >= level), len(curve))
    return float(costs[at])


def lines(judged: Sequence[dict[str, Any]]) -> list[str]:
    """Claim, effect, interval, verdict, as the last screen shows them."""
    out = []
    for claim in judged:
        places = len(claim["places"])
        out.append(f"claim: {claim['says']}")
        verdict = f"{claim['verdict']} ({claim['why']})" if claim["why"] else claim["verdict"]
        if claim["effect"] is None:
            out.append(f"  {verdict}")
            continue
        ends = "no interval"
        if claim["low"] is not None:
            ends = f"[{claim['low']:+.3f}, {claim['high']:+.3f}]"
        of = "best place" if claim["holds"] == "somewhere" else f"mean of {places} places"
        out.append(
            f"  {verdict}: {WHAT[claim['measure']]} {claim['effect']:+.3f} {ends} "
            f"({of}, {claim['n']} pairs; up in {claim['places_up']} of {places})"
        )
    return out
