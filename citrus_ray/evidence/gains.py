"""How much pre-training helps: winners' test scores with it minus without it, paired by
everything else."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from citrus_ray.evidence.design import difference_bounds
from citrus_ray.evidence.facts import target_of, test_part_of
from citrus_ray.evidence.intervals import (
    ALPHA,
    DECIMALS,
    Effect,
    SignedRank,
    effect,
    holm,
    signed_rank,
)
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.units import Units, Value, units
from citrus_ray.experiment.labels import count, is_pretrain, settings_label
from citrus_ray.records import Record

FEW_TARGETS = 5
Verdict = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True)
class Pair:
    """One target, test part, label set and seed, scored with and without pre-training."""

    repeat: str
    group: str  # its repeated values without the seed, such as the target
    with_: float
    without: float
    row: Record = field(repr=False)  # of the pre-trained arm
    baselines: dict[str, float] = field(default_factory=dict, repr=False)

    @property
    def difference(self) -> float:
        return round(self.with_ - self.without, DECIMALS)

    @cached_property
    def target(self) -> str:
        return target_of(self.row)

    @cached_property
    def test_part(self) -> str:
        return test_part_of(self.row)

    @property
    def value(self) -> Value:
        return self.at(self.difference)

    def at(self, value: float) -> Value:
        return Value(self.target, self.test_part, value)


@dataclass(frozen=True)
class Gain:
    """A pre-trained cell against the from-scratch cell that is equal in everything else."""

    cell: Outcome
    against: Outcome
    pairs: tuple[Pair, ...]
    units: Units  # what the interval and the test count
    effect: Effect
    test: SignedRank
    n_unpaired: int  # scored refits of either arm that have no partner
    p_holm: float = 1.0
    n_comparisons: int = 1

    @property
    def signs(self) -> tuple[int, int, int]:
        """Pairs that went up, down, nowhere."""
        return signs_of(self.pairs)

    @property
    def verdict(self) -> Verdict:
        return verdict_of(self.effect, self.cell.design.mode)

    @property
    def p_holm_floor(self) -> float:
        """The smallest corrected p that a comparison of this size can reach when no other one is
        smaller."""
        return min(1.0, self.n_comparisons * self.test.floor)


def signs_of(pairs: Sequence[Pair]) -> tuple[int, int, int]:
    found = [pair.difference for pair in pairs]
    return sum(d > 0 for d in found), sum(d < 0 for d in found), sum(d == 0 for d in found)


def mean_with(pairs: Sequence[Pair]) -> float:
    return units([pair.at(pair.with_) for pair in pairs]).mean


def mean_without(pairs: Sequence[Pair]) -> float:
    return units([pair.at(pair.without) for pair in pairs]).mean


def best_baseline(pairs: Sequence[Pair]) -> tuple[str, float] | None:
    """The baseline to beat, where one was scored beside the pairs."""
    names = sorted({name for pair in pairs for name in pair.baselines})
    means = {
        name: units([p.at(p.baselines[name]) for p in pairs if name in p.baselines]).mean
        for name in names
    }
    return max(means.items(), key=lambda item: item[1], default=None)


def verdict_of(found: Effect | None, mode: str = "max") -> Verdict:
    """Whether the interval leaves 0 out, and on which side. The one rule of gains, pools and
    claims."""
    if found is None or not found.is_bounded or found.low <= 0 <= found.high:
        return "undecided"
    return "supported" if (found.mean > 0) == (mode == "max") else "contradicted"


Scores = dict[str, tuple[Record, float]]  # by what both arms share: a row of it, the test score


def gains(cells: Sequence[Outcome]) -> list[Gain]:
    """One per pre-trained cell that has a from-scratch partner; p values corrected over all of
    them."""
    scores = [(cell, _scores(cell)) for cell in cells if cell.scored]
    scratch = [(cell, by_key) for cell, by_key in scores if cell.is_scratch]
    pretrained = [(cell, by_key) for cell, by_key in scores if not cell.is_scratch]
    found = [g for cell, by_key in pretrained if (g := _gain(cell, by_key, scratch)) is not None]
    adjusted = holm([gain.test.p for gain in found])
    return [
        replace(gain, p_holm=p, n_comparisons=len(found))
        for gain, p in zip(found, adjusted, strict=True)
    ]


def _gain(cell: Outcome, mine: Scores, scratch: Sequence[tuple[Outcome, Scores]]) -> Gain | None:
    partners = [(twin, others) for twin, others in scratch if mine.keys() & others.keys()]
    if not partners:
        return None
    twin, others = max(
        partners, key=lambda found: (found[0].folders == cell.folders, len(mine.keys() & found[1]))
    )
    metric = cell.design.test_metric
    pairs = tuple(_pair(mine[key], others[key], metric) for key in mine if key in others)
    counted = units([pair.value for pair in pairs])
    spread = effect(counted.values, difference_bounds(metric))
    assert spread is not None  # there is at least one pair
    n_unpaired = len(mine) + len(others) - 2 * len(pairs)
    return Gain(cell, twin, pairs, counted, spread, signed_rank(counted.values), n_unpaired)


def _pair(mine: tuple[Record, float], other: tuple[Record, float], metric: str) -> Pair:
    (row, with_), (scratch, without) = mine, other
    baselines = {n: found[metric] for n, found in scratch.baselines.items() if metric in found}
    shared = {path: value for path, value in row.repeat.items() if not is_pretrain(path)}
    group = {path: value for path, value in shared.items() if path != "seed"}
    said = settings_label(shared) or "the only refit"
    return Pair(said, settings_label(group), with_, without, row, baselines)


def _scores(cell: Outcome) -> Scores:
    """Refits that differ in pre-training alone are averaged: they share their labels, so they
    are one pair."""
    rows: dict[str, list[Record]] = defaultdict(list)
    for row in cell.scored:
        rows[pair_key(row)].append(row)
    metric = cell.design.test_metric
    return {
        key: (same[0], statistics.fmean(row.metrics[metric] for row in same))
        for key, same in rows.items()
    }


def pair_key(row: Record) -> str:
    """Every setting but those of pre-training and those that each arm's search chose; the target
    by its content."""
    same = {
        path: value
        for path, value in row.config.items()
        if not is_pretrain(path)
        and path not in row.params
        and not path.startswith("finetune.target.")
        and path != "finetune.gpu"
    }
    return json.dumps([row.data_digest, same], sort_keys=True)


def gain_caveats(gain: Gain) -> Iterable[str]:
    """What stands between a gain and a general claim, beyond the caveats of its two cells."""
    groups = {pair.group for pair in gain.pairs}
    if len(groups) > 1:
        listed = "; ".join(sorted(groups))
        yield (
            f"pairs are pooled over {len(groups)} settings ({listed}): it speaks for the like alone"
        )
    if gain.units.level == "target" and len(gain.units.values) < FEW_TARGETS:
        yield (
            f"only {gain.units.said}: an interval over so few is wide, and rightly so; "
            "see each target by itself"
        )
    if gain.n_unpaired:
        lost = count(gain.n_unpaired, "scored refit")
        yield f"{lost} without a partner in the other arm left out of the gain"
    mine, others = len(gain.cell.searched), len(gain.against.searched)
    if mine != others:
        yield f"unequal search: {count(mine, 'trial')} pre-trained against {others} from scratch"
    if gain.verdict != "undecided" and gain.p_holm > ALPHA:
        reach = "could not" if gain.p_holm_floor > ALPHA else "does not"
        yield (
            f"the interval leaves 0 out, but the rank test {reach} reach {ALPHA:g} "
            f"after correction for {count(gain.n_comparisons, 'comparison')}"
        )
