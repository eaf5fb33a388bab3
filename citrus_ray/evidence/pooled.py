"""Gains pooled over everything, and within each regime, kind of signal and target: the same pairs, cut anew."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from citrus_ray.evidence.design import Axes, difference_bounds
from citrus_ray.evidence.facts import LABELS, SPLIT, TARGET, modality_of
from citrus_ray.evidence.gains import Gain, Pair, Verdict, signs_of, verdict_of
from citrus_ray.evidence.intervals import Effect, SignedRank, effect, holm, signed_rank
from citrus_ray.evidence.outcomes import axis_names, value_label
from citrus_ray.evidence.units import Units, of_these_targets, units
from citrus_ray.report.captions import arm_label

ALL = "everything"


@dataclass(frozen=True)
class Pool:
    """The gain of one pre-training over some of its pairs."""

    arm: str
    by: str  # what the pairs were cut by
    value: str  # which part this is
    pairs: tuple[Pair, ...]
    units: Units
    effect: Effect  # targets as a sample, where there are several
    these: Effect | None  # targets held fixed
    test: SignedRank
    mode: str
    p_holm: float = 1.0
    n_comparisons: int = 1

    @property
    def signs(self) -> tuple[int, int, int]:
        return signs_of(self.pairs)

    @cached_property
    def verdict(self) -> Verdict:
        return verdict_of(self.effect, self.mode)


def pools(gains: Sequence[Gain]) -> list[Pool]:
    """Overall first, then by each compared axis with several values, by kind of signal, by target.

    p values are corrected within each of these cuts.
    """
    cuts: dict[str, dict[tuple[str, str], list[tuple[Gain, Pair]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for gain in gains:
        arm, regime = arm_label(gain.cell), _regime_parts(gain)
        for pair in gain.pairs:
            for by, value in (*regime, ("signal", modality_of(pair.row)), ("target", pair.target)):
                cuts[by][arm, value].append((gain, pair))
    kept = {
        by: parts
        for by, parts in cuts.items()
        if by == ALL or len({value for _, value in parts}) > 1
    }
    return [
        pool
        for by, parts in kept.items()
        for pool in _corrected([_pool(by, *item) for item in parts.items()])
    ]


def _regime_parts(gain: Gain) -> list[tuple[str, str]]:
    axes = regime_axes(gain.cell.axes)
    return [
        (ALL, ALL),
        *((name, value_label(path, axes[path])) for path, name in axis_names(axes).items()),
    ]


def regime_axes(axes: Axes) -> Axes:
    """Compared settings that are neither pre-training, nor whom it is measured on."""
    return {p: v for p, v in axes.items() if not p.startswith(("pretrain", TARGET, f"{SPLIT}."))}


def regime_of(axes: Axes) -> str:
    """One name per compared set of labels and everything else that both arms share; empty where nothing is compared."""
    shared = regime_axes(axes)
    names = axis_names(shared)
    said = [
        value_label(p, v) if p == LABELS else f"{names[p]} {value_label(p, v)}"
        for p, v in shared.items()
    ]
    return ", ".join(said)


def _pool(by: str, place: tuple[str, str], found: Sequence[tuple[Gain, Pair]]) -> Pool:
    pairs = tuple(pair for _, pair in found)
    plan = found[0][0].cell.plan
    values = [pair.value for pair in pairs]
    counted = units(values)
    spread = effect(counted.values, difference_bounds(plan.test_metric))
    assert spread is not None  # a part is made when it gets its first pair
    these = of_these_targets(values) if counted.level == "target" else None
    arm, value = place
    return Pool(
        arm, by, value, pairs, counted, spread, these, signed_rank(counted.values), plan.mode
    )


def _corrected(found: Sequence[Pool]) -> list[Pool]:
    adjusted = holm([pool.test.p for pool in found])
    return [
        replace(pool, p_holm=p, n_comparisons=len(found))
        for pool, p in zip(found, adjusted, strict=True)
    ]


def by_target_and_regime(gains: Sequence[Gain]) -> dict[str, dict[tuple[str, str], Pool]]:
    """arm -> (target, regime) -> the gain there: what a heat map shows."""
    found: dict[str, dict[tuple[str, str], list[tuple[Gain, Pair]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for gain in gains:
        arm, regime = arm_label(gain.cell), regime_of(gain.cell.axes)
        for pair in gain.pairs:
            found[arm][pair.target, regime].append((gain, pair))
    return {
        arm: {
            place: _pool("target and regime", (arm, ", ".join(place)), pairs)
            for place, pairs in parts.items()
        }
        for arm, parts in found.items()
    }
