"""Rounds: a round draws by lot, once and in every place, all that can be drawn anew (encoder,
labels, first weights, order, test people). Its mean over places is one number.

Whatever places share within a round (an encoder, labels, people) is in that number, and rounds are
independent, so an interval over rounds holds for exactly these targets. Of the next target only
other targets can tell: that interval counts targets.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Any, Literal

import numpy as np

from citrus_ray.evidence.intervals import (
    ALPHA,
    EVERYWHERE,
    Effect,
    Floats,
    OverRounds,
    OverTargets,
    half_widths,
    holm,
    students,
)
from citrus_ray.experiment.budgets import FRESH_SEED
from citrus_ray.experiment.hypotheses import WITHIN, SpeaksOf
from citrus_ray.experiment.labels import count
from citrus_ray.records import Record

# what a round draws: repeated values by these names tell no places apart
DRAWN = ("seed", "pretrain.seed", "finetune.split.round")
MOST = 1000  # rounds or targets that are looked ahead
SETTLED = 0.1  # share of noise in the spread between targets, below which rounds buy nothing
COUNTS: dict[SpeaksOf, str] = {"these targets": "round", "the next target": "target"}
Verdict = Literal["supported", "contradicted", "equivalent", "undecided"]


def round_of(row: Record) -> int:
    """The number of a refit's round. Before rounds, every fresh seed was one, of one encoder."""
    return row.seed - FRESH_SEED


@dataclass(frozen=True)
class Value:
    """One score or difference, and where and in which round it was measured."""

    target: str
    place: str  # all else that is held fixed
    round: int
    value: float


@dataclass(frozen=True)
class Measured:
    """The rounds that every place has, in order; a place that failed in a round takes it out."""

    numbers: tuple[int, ...]
    targets: tuple[str, ...]
    table: Floats = field(repr=False)  # (rounds, targets), means over a target's places
    n_incomplete: int

    @cached_property
    def these(self) -> OverRounds:
        return OverRounds([fmean(row) for row in self.table])

    @cached_property
    def next(self) -> OverTargets | None:
        """None of a single target, which says nothing of the next."""
        return OverTargets(self.table) if len(self.targets) > 1 else None

    @property
    def mean(self) -> float:
        return self.these.mean

    @property
    def values(self) -> tuple[float, ...]:
        """One number a round."""
        return tuple(self.these.values.tolist())


def measured(found: Iterable[Value]) -> Measured | None:
    """None where no round is complete. Every target weighs the same, and so does every place of
    it."""
    cells: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for value in found:
        cells[value.target, value.place][value.round].append(value.value)
    if not cells:
        return None
    seen = set.union(*(set(rounds) for rounds in cells.values()))
    numbers = tuple(sorted(set.intersection(*(set(rounds) for rounds in cells.values()))))
    if not numbers:
        return None
    targets = tuple(sorted({target for target, _ in cells}))
    by_target: dict[str, list[list[float]]] = {name: [] for name in targets}
    for (target, _), rounds in cells.items():
        by_target[target].append([fmean(rounds[n]) for n in numbers])
    table = np.asarray(
        [
            [fmean(place[i] for place in places) for places in by_target.values()]
            for i in range(len(numbers))
        ]
    )
    return Measured(numbers, targets, table, len(seen) - len(numbers))


@dataclass(frozen=True)
class Finding:
    """A mean difference, whom it speaks of, and the verdict on it among all that are asked
    together. The p values may be looked at after every round."""

    effect: Effect
    p_up: Floats = field(repr=False)  # after each round
    p_down: Floats = field(repr=False)
    p_equal: Floats = field(repr=False)
    looks: OverRounds = field(repr=False)
    speaks_of: SpeaksOf
    alpha: float = ALPHA
    within: float | None = None
    factor: int = 1  # Holm's: p values of the family that are no smaller
    p_holm: float = 1.0
    n_family: int = 1

    @property
    def p(self) -> float:
        """The smallest error at which something can be said."""
        return float(self._all[-1])

    @cached_property
    def _all(self) -> Floats:
        return np.minimum(np.minimum(self.p_up, self.p_down), self.p_equal)

    @property
    def verdict(self) -> Verdict:
        """After correction: a sign where there is one, else whether it lies inside `within`."""
        if self.p_holm > self.alpha:
            return "undecided"
        if self._holds(self.p_up):
            return "supported"
        return "contradicted" if self._holds(self.p_down) else "equivalent"

    def _holds(self, p: Floats) -> bool:
        return bool(self.factor * p[-1] <= self.alpha)

    @property
    def is_small(self) -> bool:
        """Whether it has a sign, and yet lies inside `within`."""
        has_sign = self.verdict in ("supported", "contradicted")
        return has_sign and self._holds(self.p_equal)

    @property
    def decided_after(self) -> int | None:
        """Rounds after which it was decided."""
        if self.verdict == "undecided":
            return None
        return int(np.argmax(self.factor * self._all <= self.alpha)) + 1

    @property
    def takes(self) -> str:
        """What it would take to decide it, at its size and spread."""
        of = takes_targets if isinstance(self.looks, OverTargets) else takes_rounds
        return of(self.looks, self.alpha / self.factor, self.within)

    @property
    def counts(self) -> str:
        """`6 rounds`, `5 targets`: what the interval rests on."""
        return count(self.effect.n, COUNTS[self.speaks_of])

    def tree(self) -> dict[str, Any]:
        """For `summary.json`."""
        return self.effect.tree() | {
            "counts": COUNTS[self.speaks_of],
            "speaks_of": self.speaks_of,
            "p": self.p,
            "holm_p": self.p_holm,
            "verdict": self.verdict,
            "small": self.is_small,
            "decided_after": self.decided_after,
            "takes": self.takes if self.verdict == "undecided" else None,
        }


def in_words(mean: float, tree: Mapping[str, Any]) -> str:
    """`+0.102 [+0.080, +0.124] for these targets: 12 rounds`, from what `Finding.tree` keeps."""
    ends = "no interval"
    if tree["low"] is not None:
        ends = f"[{tree['low']:+.3f}, {tree['high']:+.3f}]"
    return f"{mean:+.3f} {ends} for {tree['speaks_of']}: {count(tree['n'], tree['counts'])}"


def finding(
    found: Measured,
    speaks_of: SpeaksOf = "these targets",
    alpha: float = ALPHA,
    within: float | None = WITHIN,
    bounds: tuple[float, float] = EVERYWHERE,
    n_tries: int = 1,
) -> Finding | None:
    """None where one target is asked to speak of the next. `alpha` is what the verdict may cost;
    the interval is that of 95 %, for the best of `n_tries` corrected by that number."""
    looks = found.these if speaks_of == "these targets" else found.next
    if looks is None:
        return None
    effect = looks.effect(ALPHA / n_tries, bounds)
    if isinstance(looks, OverTargets):
        effect = replace(effect, n=looks.n_targets)
    never = np.ones(len(looks.n))
    equal = (
        never
        if within is None
        else np.maximum(looks.p_beyond(-within, 1), looks.p_beyond(within, -1))
    )
    ups = looks.p_beyond(0.0, 1), looks.p_beyond(0.0, -1)
    return Finding(effect, *ups, equal, looks, speaks_of, alpha, within)


def corrected(found: Sequence[Finding], n_dropped: int = 0) -> list[Finding]:
    """Findings of one family, their verdicts after Holm's correction; `n_dropped` more were asked,
    and are no longer shown."""
    ps = [*(one.p for one in found), *[1.0] * n_dropped]
    factors = [sum(other >= p for other in ps) for p in ps]  # the same for equal ones
    return [
        replace(one, factor=factor, p_holm=p, n_family=len(ps))
        for one, factor, p in zip(found, factors, holm(ps), strict=False)
    ]


def somewhere(found: Sequence[Finding]) -> Finding:
    """Whether it holds in one place at least; contradicted or equivalent only where it is so in all
    of them. `found` are of single places, which any may hold by chance."""
    n = max(len(one.p_up) for one in found)
    ups, downs, equals = (
        np.stack([np.pad(p, (0, n - len(p)), mode="edge") for p in ps])
        for ps in zip(*((one.p_up, one.p_down, one.p_equal) for one in found), strict=True)
    )
    best = max(found, key=lambda one: (one.effect.is_bounded, one.effect.low, one.effect.mean))
    return replace(
        best,
        p_up=(len(found) * ups.min(axis=0)).clip(max=1.0),
        p_down=downs.max(axis=0),
        p_equal=equals.max(axis=0),
    )


# ---- what it would take ----


def takes_rounds(looks: OverRounds, alpha: float, within: float | None) -> str:
    """How many rounds decide a difference of this size at this spread."""
    if looks.sd == 0:
        return "more rounds: no spread to make an interval from"
    n = rounds_to(looks.mean, looks.sd, alpha, within)
    return f"about {n} rounds" if n else f"more than {MOST:,} rounds"


def takes_targets(looks: OverRounds, alpha: float, within: float | None) -> str:
    assert isinstance(looks, OverTargets)
    sd = float(np.sqrt(looks.between[-1]))
    n = next((j for j in range(2, MOST) if _told(looks.mean, _half(sd, j, alpha), within)), None)
    many = f"about {n} targets" if n else f"more than {MOST:,} targets"
    if looks.noise_share < SETTLED:
        return f"{many} like these; more rounds buy nothing"
    return f"{many} like these, or more rounds first: their noise is in it"


def _half(sd: float, n_targets: int, alpha: float) -> float:
    return students(n_targets - 1, 1 - alpha) * sd / float(np.sqrt(n_targets))


def rounds_to(mean: float, sd: float, alpha: float, within: float | None) -> int | None:
    """The first number of rounds whose interval leaves 0 out, or lies inside `within`."""
    halves = sd * half_widths(np.arange(1, MOST + 1), alpha)
    return next((i + 1 for i, half in enumerate(halves) if _told(mean, half, within)), None)


def _told(mean: float, half: float, within: float | None) -> bool:
    return half < abs(mean) or (within is not None and abs(mean) + half < within)
