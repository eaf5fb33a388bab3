"""Scores against the number of labels, or of steps of fine-tuning, and what is saved: how many more
scratch needs for the same score."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.optimize import isotonic_regression

from citrus_ray.evidence.design import score_bounds
from citrus_ray.evidence.facts import LABELS, LabelKind, labels_of, target_of
from citrus_ray.evidence.intervals import Effect, Floats, OverRounds, score_effect, widened
from citrus_ray.evidence.labels import labels_of_axes
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.pooled import regime_axes
from citrus_ray.evidence.rounds import round_of
from citrus_ray.experiment.labels import SCRATCH, Axes, canonical
from citrus_ray.metrics import sign_of
from citrus_ray.records import Record

DRAWS = 1999
CLOSE = 1e-9  # logarithms and back
FEWEST = 8  # rounds; of fewer, the percentiles of resamples cover too seldom
STEPS = "finetune.steps"
AmountKind = LabelKind | Literal["steps"]
Amount = tuple[AmountKind, float]
UNITS: dict[AmountKind, str] = {
    "per_class": "labels per class",
    "count": "labels",
    "fraction": "share of all labels",
    "steps": "steps of fine-tuning",
}


@dataclass(frozen=True)
class Curve:
    """Scores of every arm over amounts of labels, or of steps, in the rounds that all of them
    share."""

    kind: AmountKind
    setting: str  # what else was compared, empty where nothing was
    amounts: tuple[float, ...]  # rising
    scores: dict[str, Floats]  # arm -> (round, amount), means over targets
    metric: str

    def at(self, arm: str) -> list[Effect]:
        found = [
            score_effect(OverRounds(column).effect(), score_bounds(self.metric))
            for column in self.scores[arm].T
        ]
        return [effect for effect in found if effect is not None]

    @cached_property
    def arms(self) -> list[str]:
        """From scratch first."""
        return sorted(self.scores, key=lambda arm: (arm != SCRATCH, arm))


@dataclass(frozen=True)
class Saved:
    """What scratch needs for the score that pre-training reaches with `amount` labels or steps."""

    arm: str
    kind: AmountKind
    amount: float
    needed: float  # labels or steps; outside the measured range, its end
    low: float
    high: float
    lowest: float  # the measured range
    highest: float
    n: int  # rounds behind the interval
    setting: str

    @property
    def has_interval(self) -> bool:
        return math.isfinite(self.low)

    @property
    def saved(self) -> float:
        return self.needed - self.amount

    def bounded_own(self) -> str:
        return self._said(self.amount)

    def bounded(self, value: float) -> str:
        """`> 20` where the curve was not measured so far."""
        if value >= self.highest * (1 - CLOSE):
            return f"{self._said(self.highest)} or more"
        return (
            f"{self._said(self.lowest)} or fewer"
            if value <= self.lowest * (1 + CLOSE)
            else self._said(value)
        )

    def _said(self, value: float) -> str:
        return f"{100 * value:.3g} %" if self.kind == "fraction" else f"{value:.3g}"


def curves(cells: Sequence[Outcome]) -> list[Curve]:
    """One per kind of amount and other compared setting; only where there are two amounts or
    more."""
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for axis in (LABELS, STEPS):
        for cell in cells:
            amount = _amount(cell.scored[0], axis) if cell.scored else None
            if amount is not None:
                groups[amount[0], canonical(_rest(cell, axis))].append(cell)
    axes = [STEPS if kind == "steps" else LABELS for kind, _ in groups]
    rest = [_rest(of[0], axis) for of, axis in zip(groups.values(), axes, strict=True)]
    each = zip(groups.values(), axes, labels_of_axes(rest), strict=True)
    found = [_curve(*of) for of in each]
    return [curve for curve in found if curve is not None]


def _amount(row: Record, axis: str) -> Amount | None:
    """How much of what this axis is of a row had; steps only where they are compared."""
    if axis == STEPS:
        n = row.axes.get(STEPS)
        return None if n is None else ("steps", float(n))
    found = labels_of(row)
    return None if found is None else (found.kind, found.n)


def _curve(cells: Sequence[Outcome], axis: str, setting: str) -> Curve | None:
    by_arm: dict[str, dict[float, dict[tuple[str, int], float]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    kind: AmountKind = "steps"
    for cell in cells:
        for row in cell.scored:
            amount = _amount(row, axis)
            if amount is not None:
                kind, n = amount
                place = (target_of(row), round_of(row))
                by_arm[cell.arm_label][n][place] = row.metrics[cell.design.test_metric]
    amounts = tuple(sorted(set.intersection(*(set(found) for found in by_arm.values()))))
    places = [set(found[n]) for found in by_arm.values() for n in amounts]
    shared = set.intersection(*places) if places else set()
    if len(amounts) < 2 or not shared:
        return None
    numbers, targets = {number for _, number in shared}, {target for target, _ in shared}
    whole = [n for n in sorted(numbers) if all((target, n) in shared for target in targets)]
    if not whole:
        return None
    scores = {
        arm: np.asarray(
            [[np.mean([found[a][t, n] for t in targets]) for a in amounts] for n in whole]
        )
        for arm, found in by_arm.items()
    }
    return Curve(kind, setting, amounts, scores, cells[0].design.test_metric)


def _rest(cell: Outcome, axis: str) -> Axes:
    """What is compared apart from pre-training, target and the axis of the curve."""
    return {
        path: value for path, value in regime_axes(cell.axes).items() if not path.startswith(axis)
    }


# ---- labels saved ----


def labels_saved(curve: Curve) -> list[Saved]:
    """For every arm and amount; empty without a from-scratch arm."""
    if SCRATCH not in curve.scores:
        return []
    return [saved for arm in curve.arms if arm != SCRATCH for saved in _saved(curve, arm)]


def _saved(curve: Curve, arm: str) -> Iterable[Saved]:
    sign = sign_of(curve.metric)
    scratch, mine = sign * curve.scores[SCRATCH], sign * curve.scores[arm]
    n = len(scratch)
    logs = np.log(np.asarray(curve.amounts))
    found = needed(scratch.mean(axis=0), mine.mean(axis=0), logs)
    low, high = _ends(scratch, mine, logs) if n >= FEWEST else (np.full(len(logs), np.nan),) * 2
    for i, amount in enumerate(curve.amounts):
        ends = (float(np.exp(found[i])), float(np.exp(low[i])), float(np.exp(high[i])))
        span = (curve.amounts[0], curve.amounts[-1])
        yield Saved(arm, curve.kind, amount, *ends, *span, n, curve.setting)


def _ends(scratch: Floats, mine: Floats, logs: Floats) -> tuple[Floats, Floats]:
    """Percentile bootstrap over whole rounds, both arms of a round together, widened for their
    small number."""
    n, rng = len(scratch), np.random.default_rng([12, len(scratch)])
    share = rng.multinomial(n, np.full(n, 1 / n), DRAWS) / n
    drawn = np.stack(
        [needed(s, m, logs) for s, m in zip(share @ scratch, share @ mine, strict=True)]
    )
    tail = widened(n)
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return low, high


def needed(scratch: Floats, scores: Floats, logs: Floats) -> Floats:
    """Log labels at which a never-falling curve through `scratch` reaches each score; the ends
    where it does not.

    More labels cannot be worth less: dips of a noisy curve are evened out (isotonic regression)
    before it is read.
    """
    rising = isotonic_regression(scratch).x
    return np.asarray([_reach(rising, score, logs) for score in scores])


def _reach(rising: Floats, score: float, logs: Floats) -> float:
    if score <= rising[0]:
        return float(logs[0])
    k = int(np.searchsorted(rising, score))  # the first point that is no lower
    if k == len(rising):
        return float(logs[-1])
    step = rising[k] - rising[k - 1]
    return float(logs[k - 1] + (logs[k] - logs[k - 1]) * (score - rising[k - 1]) / step)
