"""Gains pooled over everything, and within each regime, kind of signal and target: the same
pairs, cut anew."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from citrus_ray.evidence.facts import LABELS, SPLIT, TARGET, modality_of
from citrus_ray.evidence.gains import Gain, Pair, findings, signs_of
from citrus_ray.evidence.intervals import Effect
from citrus_ray.evidence.rounds import Finding, Measured, Verdict, corrected, in_words, measured
from citrus_ray.experiment.labels import Axes, axis_names, brief, canonical, count, value_label

ALL = "everything"
Cut = tuple[str, str]  # what pairs are cut by, and the part


@dataclass(frozen=True)
class PooledGain:
    """The gain of one pre-training over some of its pairs."""

    arm: str  # its label, which no other arm has
    by: str  # what the pairs were cut by
    value: str  # which part this is
    pairs: tuple[Pair, ...]
    measured: Measured
    found: Finding  # of these targets
    next: Finding | None  # of the next one, where there are several

    @property
    def effect(self) -> Effect:
        return self.found.effect

    @property
    def signs(self) -> tuple[int, int, int]:
        return signs_of(self.pairs)

    @property
    def verdict(self) -> Verdict:
        return self.found.verdict


def pools(gains: Sequence[Gain]) -> list[PooledGain]:
    """Overall first, then by each compared setting with several values, by kind of signal, by
    target.

    Verdicts are corrected within each of these cuts.
    """
    found: dict[str, dict[tuple[str, str], list[tuple[Gain, Pair]]]]
    found = defaultdict(lambda: defaultdict(list))
    labels: dict[Cut, str] = {}
    compared = [gain.cell.axes for gain in gains]
    for gain in gains:
        axes = regime_axes(gain.cell.axes)
        names, short = axis_names(axes), brief(axes, compared)
        labels |= {(names[p], canonical(v)): value_label(p, short[p]) for p, v in axes.items()}
        regime = [(names[path], canonical(value)) for path, value in axes.items()]
        for pair in gain.pairs:
            said = (("signal", modality_of(pair.row)), ("target", pair.target))
            for by, part in ((ALL, ALL), *regime, *said):
                found[by][gain.cell.arm, part].append((gain, pair))
    made = {
        by: [_pool(by, labels.get((by, part), part), pairs) for (_, part), pairs in parts.items()]
        for by, parts in found.items()
        if by == ALL or len({part for _, part in parts}) > 1
    }
    return [
        pool
        for parts in made.values()
        for pool in _corrected([pool for pool in parts if pool is not None])
    ]


def regime_axes(axes: Axes) -> Axes:
    """Compared settings that are neither pre-training, nor whom it is measured on."""
    return {p: v for p, v in axes.items() if not p.startswith(("pretrain", TARGET, f"{SPLIT}."))}


def regime_of(axes: Axes, compared: Sequence[Axes]) -> str:
    """One name per compared set of labels and all else that both arms share; empty where nothing
    is compared. Short beside the others that are `compared`."""
    shared = brief(regime_axes(axes), compared)
    names = axis_names(shared)
    said = (
        f"{'' if p == LABELS else names[p] + ' '}{value_label(p, v)}" for p, v in shared.items()
    )
    return ", ".join(said)


def _pool(by: str, value: str, found: Sequence[tuple[Gain, Pair]]) -> PooledGain | None:
    """None where no round is complete in all of these places."""
    regimes = {id(gain): canonical(gain.cell.axes) for gain, _ in found}
    rounds = measured([pair.at(pair.difference, regimes[id(gain)]) for gain, pair in found])
    if rounds is None:
        return None
    cell = found[0][0].cell
    these, of_next = findings(rounds, cell)
    pairs = tuple(pair for _, pair in found)
    return PooledGain(cell.arm_label, by, value, pairs, rounds, these, of_next)


def _corrected(found: Sequence[PooledGain]) -> list[PooledGain]:
    these = corrected([pool.found for pool in found])
    nexts = iter(corrected([pool.next for pool in found if pool.next]))
    return [
        replace(pool, found=judged, next=next(nexts) if pool.next else None)
        for pool, judged in zip(found, these, strict=True)
    ]


def by_target_and_regime(gains: Sequence[Gain]) -> dict[str, dict[tuple[str, str], PooledGain]]:
    """arm -> (target, regime) -> the gain there: what a heat map shows."""
    found: dict[str, dict[tuple[str, str], list[tuple[Gain, Pair]]]]
    found = defaultdict(lambda: defaultdict(list))
    compared = [gain.cell.axes for gain in gains]
    for gain in gains:
        regime = regime_of(gain.cell.axes, compared)
        for pair in gain.pairs:
            found[gain.cell.arm_label][pair.target, regime].append((gain, pair))
    return {
        arm: {
            place: pool
            for place, pairs in parts.items()
            if (pool := _pool("target and regime", ", ".join(place), pairs)) is not None
        }
        for arm, parts in found.items()
    }


# ---- over everything: in words, and for summary.json ----


def over_everything(found: Sequence[PooledGain]) -> list[PooledGain]:
    """One for each pre-training."""
    return [pool for pool in found if pool.by == ALL]


def tree(pool: PooledGain) -> dict[str, Any]:
    up, down, tied = pool.signs
    return {
        "arm": pool.arm,
        **pool.found.tree(),
        "n_pairs": len(pool.pairs),
        "up": up,
        "down": down,
        "tied": tied,
        "next": pool.next.tree() if pool.next else None,
        "says": told(pool),
    }


def told(pool: PooledGain) -> str:
    """What a pre-training gains over everything that was measured, in a line."""
    return f"{pool.arm}: {pool.verdict}: {numbers(pool)}"


def numbers(pool: PooledGain) -> str:
    """The same without its name and verdict."""
    these, up = pool.found, pool.signs[0]
    line = (
        f"gain {in_words(these.effect.mean, these.tree())} "
        f"(up in {up:,} of {count(len(pool.pairs), 'pair')})"
    )
    if pool.next is None:
        return line
    return f"{line}; {in_words(pool.next.effect.mean, pool.next.tree())}, {pool.next.verdict}"
