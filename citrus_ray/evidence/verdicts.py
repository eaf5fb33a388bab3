"""Claims against the finals: effect, interval, verdict.

A place is a combination of everything that the claim does not speak of: target, labels, what is repeated. Within a
place the two sides are paired by fresh seed. The mean over places gets an interval from the spread within places, so it
speaks of these places, these test parts and these recordings, not of others like them.
"""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from citrus_ray.experiment.hypotheses import Hypothesis, side
from citrus_ray.experiment.sweep import Cell, Sweep, short
from citrus_ray.records import Record

Finals = dict[str, list[Record]]  # by cell digest
LEVEL = 0.95
WHAT = {
    "score": "difference",
    "gain": "difference of gains",
    "rounds": "rounds saved",
    "seconds": "seconds saved",
    "missing": "difference with modalities missing",
}


@dataclass(frozen=True)
class Effect:
    """A mean difference and its interval; no interval where there is nothing to take a spread from."""

    mean: float
    low: float | None
    high: float | None
    n: int

    def tree(self) -> dict[str, Any]:
        return {"effect": self.mean, "low": self.low, "high": self.high, "n": self.n}


def judge(sweep: Sweep, finals: Finals, metric: str) -> list[dict[str, Any]]:
    """Every claim of the sweep, for `summary.json`."""
    return [_judge(claim, sweep, finals, metric) for claim in sweep.claims]


def _judge(claim: Hypothesis, sweep: Sweep, finals: Finals, metric: str) -> dict[str, Any]:
    places = _differences(claim, sweep, finals, metric)
    level = (
        1 - (1 - LEVEL) / max(1, len(places)) if claim.holds == "somewhere" else LEVEL
    )  # Bonferroni: any may hold
    effects = {place: _effect(values, level) for place, values in places.items()}
    overall = _overall(claim, places, effects)
    return {
        "says": claim.says,
        "measure": claim.measure,
        "level": claim.level,
        "holds": claim.holds,
        **(overall.tree() if overall else {"effect": None, "low": None, "high": None, "n": 0}),
        "places": [{"place": place} | effect.tree() for place, effect in effects.items()],
        "places_up": sum(effect.mean > 0 for effect in effects.values()),
        "verdict": _verdict(claim, overall, list(effects.values())),
    }


def _differences(
    claim: Hypothesis, sweep: Sweep, finals: Finals, metric: str
) -> dict[str, list[float]]:
    """Better minus worse by place, a value per fresh seed."""
    cells = [cell for cell in sweep.cells if claim.is_about(cell.axes)]
    found: dict[str, list[float]] = defaultdict(list)
    for one in (cell for cell in cells if side(claim.better, cell.axes)):
        for other in (cell for cell in cells if side(claim.worse, cell.axes)):
            if _same_place(claim.others(one.axes), claim.others(other.axes)):
                a, b = (_values(claim, cell, finals, metric) for cell in (one, other))
                for repeat, seed in sorted(a.keys() & b.keys()):
                    found[_place(claim.others(one.axes), repeat)].append(
                        a[repeat, seed] - b[repeat, seed]
                    )
    return dict(found)


def _same_place(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Equal in every axis that both have; a cell from scratch has none of `pretrain`."""
    return all(one[path] == other[path] for path in one.keys() & other.keys())


def _values(
    claim: Hypothesis, cell: Cell, finals: Finals, metric: str
) -> dict[tuple[str, int], float]:
    """Test scores, gains over scratch, or speed, by (what is repeated, seed)."""
    if claim.level is not None:
        return _speeds(finals[cell.digest], claim.measure, claim.level)
    own = _scores(finals[cell.digest], lacking(metric) if claim.measure == "missing" else metric)
    if claim.measure in ("score", "missing"):
        return own
    twin = cell.scratch_twin()
    scratch = _scores(finals[twin.digest], metric) if twin else {}
    return {key: own[key] - scratch[key] for key in own.keys() & scratch.keys()}


def _scores(rows: Sequence[Record], metric: str) -> dict[tuple[str, int], float]:
    ok = (row for row in rows if row.status == "ok" and metric in row.metrics)
    return {(_without_seeds(row.repeat), row.seed): row.metrics[metric] for row in ok}


def lacking(metric: str) -> str:
    """The name of a test metric where modalities are missing."""
    return metric.replace("test/", "missing/", 1)


def _speeds(rows: Sequence[Record], measure: str, level: float) -> dict[tuple[str, int], float]:
    """Minus the cost of getting to `level`, so that more is better as in a score."""
    ok = (row for row in rows if row.status == "ok" and row.curve)
    return {
        (_without_seeds(row.repeat), row.seed): -cost_to(row.curve, measure, level) for row in ok
    }


def cost_to(curve: Sequence[Sequence[float]], measure: str, level: float) -> float:
    """Rounds or seconds until the objective reached `level`. One that never did is given one round more than it had:
    less than the truth, so a difference that rests on it is too small rather than too large."""
    costs = [
        number if measure == "rounds" else seconds
        for number, (_, seconds) in enumerate(curve, start=1)
    ]
    costs.append(costs[-1] * (1 + 1 / len(curve)))
    return float(
        costs[next((i for i, (value, _) in enumerate(curve) if value >= level), len(curve))]
    )


def _without_seeds(repeat: dict[str, Any]) -> str:
    return json.dumps(
        {p: v for p, v in repeat.items() if p not in ("seed", "pretrain.seed")}, sort_keys=True
    )


def _place(axes: dict[str, Any], repeat: str) -> str:
    """The place in words: `bonn5, 5 per class`."""
    values = [*axes.values(), *json.loads(repeat).values()]
    return ", ".join(short(value) for value in values) or "all"


def _effect(values: Sequence[float], level: float) -> Effect:
    return _combined([values], level)


def _combined(places: Sequence[Sequence[float]], level: float) -> Effect:
    """The mean of the places' means. Spread within places alone; degrees of freedom after Satterthwaite."""
    from scipy.special import stdtrit

    n = sum(len(values) for values in places)
    mean = float(np.mean([np.mean(values) for values in places]))
    if any(len(values) < 2 for values in places):
        return Effect(mean, None, None, n)
    parts = [float(np.var(values, ddof=1)) / len(values) for values in places]
    spread = sum(parts)
    if spread == 0:
        return Effect(mean, mean, mean, n)
    freedom = spread**2 / sum(p**2 / (len(v) - 1) for p, v in zip(parts, places, strict=True))
    half = float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt(spread) / len(places)
    return Effect(mean, mean - half, mean + half, n)


def _overall(
    claim: Hypothesis, places: dict[str, list[float]], effects: dict[str, Effect]
) -> Effect | None:
    """The mean over places, or the place where the claim holds best."""
    if not places:
        return None
    if claim.holds == "somewhere":
        return max(effects.values(), key=lambda e: e.mean if e.low is None else e.low)
    return _combined(list(places.values()), LEVEL)


def _verdict(claim: Hypothesis, overall: Effect | None, effects: list[Effect]) -> str:
    if overall is None or overall.low is None or overall.high is None:
        return "undecided: too few results"
    if overall.low > 0:
        return "supported"
    against = [overall] if claim.holds == "on_average" else effects
    return (
        "contradicted"
        if all(e.high is not None and e.high < 0 for e in against)
        else "undecided at this size"
    )


def lines(judged: Sequence[dict[str, Any]]) -> list[str]:
    """Hypothesis, effect, interval, verdict, as the last screen shows them."""
    out = []
    for claim in judged:
        places = len(claim["places"])
        out.append(f"claim: {claim['says']}")
        if claim["effect"] is None:
            out.append(f"  {claim['verdict']}")
            continue
        interval = (
            "no interval"
            if claim["low"] is None
            else f"[{claim['low']:+.3f}, {claim['high']:+.3f}]"
        )
        what = WHAT[claim["measure"]]
        of = "best place" if claim["holds"] == "somewhere" else f"mean of {places} places"
        out.append(
            f"  {claim['verdict']}: {what} {claim['effect']:+.3f} {interval} ({of}, {claim['n']} pairs; "
            f"up in {claim['places_up']} of {places})"
        )
    return out
