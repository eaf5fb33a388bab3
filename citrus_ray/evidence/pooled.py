"""Gains pooled over everything, and within each regime, kind of signal and target: the same
pairs, cut anew."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from citrus_ray.evidence.design import difference_bounds
from citrus_ray.evidence.facts import LABELS, SPLIT, TARGET, modality_of
from citrus_ray.evidence.gains import Gain, Pair, Verdict, signs_of, verdict_of
from citrus_ray.evidence.intervals import Effect, SignedRank, effect, holm, signed_rank
from citrus_ray.evidence.units import Units, of_these_targets, units
from citrus_ray.experiment.labels import Axes, axis_names, canonical, value_label

ALL = "everything"
Cut = tuple[str, str]  # what pairs are cut by, and the part


@dataclass(frozen=True)
class PooledGain:
    """The gain of one pre-training over some of its pairs."""

    arm: str  # its label, which no other arm has
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


def pools(gains: Sequence[Gain]) -> list[PooledGain]:
    """Overall first, then by each compared setting with several values, by kind of signal, by
    target.

    p values are corrected within each of these cuts.
    """
    found: dict[str, dict[tuple[str, str], list[tuple[Gain, Pair]]]]
    found = defaultdict(lambda: defaultdict(list))
    labels: dict[Cut, str] = {}
    for gain in gains:
        axes = regime_axes(gain.cell.axes)
        names = axis_names(axes)
        labels |= {(names[p], canonical(v)): value_label(p, v) for p, v in axes.items()}
        regime = [(names[path], canonical(value)) for path, value in axes.items()]
        for pair in gain.pairs:
            said = (("signal", modality_of(pair.row)), ("target", pair.target))
            for by, part in ((ALL, ALL), *regime, *said):
                found[by][gain.cell.arm, part].append((gain, pair))
    return [
        pool
        for by, parts in found.items()
        if by == ALL or len({part for _, part in parts}) > 1
        for pool in _corrected(
            [_pool(by, labels.get((by, part), part), pairs) for (_, part), pairs in parts.items()]
        )
    ]


def regime_axes(axes: Axes) -> Axes:
    """Compared settings that are neither pre-training, nor whom it is measured on."""
    return {p: v for p, v in axes.items() if not p.startswith(("pretrain", TARGET, f"{SPLIT}."))}


def regime_of(axes: Axes) -> str:
    """One name per compared set of labels and all else that both arms share; empty where nothing
    is compared."""
    shared = regime_axes(axes)
    names = axis_names(shared)
    said = (
        f"{'' if p == LABELS else names[p] + ' '}{value_label(p, v)}" for p, v in shared.items()
    )
    return ", ".join(said)


def _pool(by: str, value: str, found: Sequence[tuple[Gain, Pair]]) -> PooledGain:
    pairs = tuple(pair for _, pair in found)
    cell = found[0][0].cell
    values = [pair.value for pair in pairs]
    counted = units(values)
    spread = effect(counted.values, difference_bounds(cell.design.test_metric))
    assert spread is not None  # a part is made when it gets its first pair
    these = of_these_targets(values) if counted.level == "target" else None
    test = signed_rank(counted.values)
    return PooledGain(
        cell.arm_label, by, value, pairs, counted, spread, these, test, cell.design.mode
    )


def _corrected(found: Sequence[PooledGain]) -> list[PooledGain]:
    adjusted = holm([pool.test.p for pool in found])
    return [
        replace(pool, p_holm=p, n_comparisons=len(found))
        for pool, p in zip(found, adjusted, strict=True)
    ]


def by_target_and_regime(gains: Sequence[Gain]) -> dict[str, dict[tuple[str, str], PooledGain]]:
    """arm -> (target, regime) -> the gain there: what a heat map shows."""
    found: dict[str, dict[tuple[str, str], list[tuple[Gain, Pair]]]]
    found = defaultdict(lambda: defaultdict(list))
    for gain in gains:
        regime = regime_of(gain.cell.axes)
        for pair in gain.pairs:
            found[gain.cell.arm_label][pair.target, regime].append((gain, pair))
    return {
        arm: {
            place: _pool("target and regime", ", ".join(place), pairs)
            for place, pairs in parts.items()
        }
        for arm, parts in found.items()
    }
