"""How much pre-training helps: winners' test scores with it minus without it, paired by
everything else; of errors, which are better when lower, without it minus with it."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from citrus_ray.evidence.design import difference_bounds
from citrus_ray.evidence.facts import target_of
from citrus_ray.evidence.intervals import DECIMALS, Effect
from citrus_ray.evidence.outcomes import OTHER_POINTS, Outcome
from citrus_ray.evidence.rounds import (
    DRAWN,
    Finding,
    Measured,
    Value,
    Verdict,
    corrected,
    finding,
    measured,
    round_of,
)
from citrus_ray.evidence.trials import same_points
from citrus_ray.experiment.labels import canonical, count, is_pretrain, settings_label
from citrus_ray.metrics import sign_of
from citrus_ray.records import Record


@dataclass(frozen=True)
class Pair:
    """One place in one round, scored with and without pre-training."""

    repeat: str
    group: str  # its repeated values without what a round draws, such as the target
    place: str  # the same as canonical JSON
    with_: float
    without: float
    row: Record = field(repr=False)  # of the pre-trained arm
    baselines: dict[str, float] = field(default_factory=dict, repr=False)
    sign: int = 1  # -1 of a metric that is better when lower

    @property
    def difference(self) -> float:
        """What pre-training gains: above 0, it is better."""
        return round(self.sign * (self.with_ - self.without), DECIMALS)

    @cached_property
    def target(self) -> str:
        return target_of(self.row)

    def at(self, value: float, regime: str = "") -> Value:
        """A value of this pair, in a place that is told from others by `regime` too."""
        return Value(self.target, regime + self.place, round_of(self.row), value)


@dataclass(frozen=True)
class Gain:
    """A pre-trained cell against the from-scratch cell that is equal in everything else."""

    cell: Outcome
    against: Outcome
    pairs: tuple[Pair, ...]
    measured: Measured
    found: Finding  # of these targets
    next: Finding | None  # of the next one, where there are several
    n_unpaired: int  # scored refits of either arm that have no partner

    @property
    def effect(self) -> Effect:
        return self.found.effect

    @property
    def signs(self) -> tuple[int, int, int]:
        """Pairs that went up, down, nowhere."""
        return signs_of(self.pairs)

    @property
    def verdict(self) -> Verdict:
        return self.found.verdict


def signs_of(pairs: Sequence[Pair]) -> tuple[int, int, int]:
    found = [pair.difference for pair in pairs]
    return sum(d > 0 for d in found), sum(d < 0 for d in found), sum(d == 0 for d in found)


def mean_with(pairs: Sequence[Pair]) -> float:
    return _mean([pair.at(pair.with_) for pair in pairs])


def mean_without(pairs: Sequence[Pair]) -> float:
    return _mean([pair.at(pair.without) for pair in pairs])


def _mean(values: Sequence[Value]) -> float:
    """Over rounds where they are complete, else over what there is."""
    found = measured(values)
    return found.mean if found else statistics.fmean(value.value for value in values)


def best_baseline(pairs: Sequence[Pair]) -> tuple[str, float] | None:
    """The baseline to beat, of those that were scored beside all pairs that have any."""
    beside = [pair for pair in pairs if pair.baselines]
    names = sorted(set.intersection(*(set(pair.baselines) for pair in beside))) if beside else []
    means = {name: _mean([p.at(p.baselines[name]) for p in beside]) for name in names}
    return max(means.items(), key=lambda item: pairs[0].sign * item[1], default=None)


Scores = dict[str, tuple[Record, float]]  # by what both arms share: a row of it, the test score


def gains(cells: Sequence[Outcome]) -> list[Gain]:
    """One per pre-trained cell that has a from-scratch partner; verdicts corrected over all of
    them."""
    scores = [(cell, _scores(cell)) for cell in cells if cell.scored]
    scratch = [(cell, by_key) for cell, by_key in scores if cell.is_scratch]
    pretrained = [(cell, by_key) for cell, by_key in scores if not cell.is_scratch]
    found = [g for cell, by_key in pretrained if (g := _gain(cell, by_key, scratch)) is not None]
    these = corrected([gain.found for gain in found])
    nexts = iter(corrected([gain.next for gain in found if gain.next]))
    return [
        replace(gain, found=judged, next=next(nexts) if gain.next else None)
        for gain, judged in zip(found, these, strict=True)
    ]


def _gain(cell: Outcome, mine: Scores, scratch: Sequence[tuple[Outcome, Scores]]) -> Gain | None:
    partners = [(twin, others) for twin, others in scratch if mine.keys() & others.keys()]
    if not partners:
        return None
    twin, others = max(
        partners,
        key=lambda found: (
            found[0].folders == cell.folders,
            len(mine.keys() & found[1]),
            found[0].digest,
        ),
    )
    metric = cell.design.test_metric
    pairs = tuple(_pair(mine[key], others[key], metric) for key in mine if key in others)
    rounds = measured([pair.at(pair.difference) for pair in pairs])
    if rounds is None:  # no round is complete yet
        return None
    n_unpaired = len(mine) + len(others) - 2 * len(pairs)
    these, of_next = findings(rounds, cell)
    return Gain(cell, twin, pairs, rounds, these, of_next, n_unpaired)


def findings(found: Measured, cell: Outcome) -> tuple[Finding, Finding | None]:
    """A mean gain of these targets, and of the next one where there are several."""
    asked, bounds = cell.design.verdicts, difference_bounds(cell.design.test_metric)
    these = finding(found, "these targets", asked.alpha, asked.within, bounds)
    assert these is not None
    return these, finding(found, "the next target", asked.alpha, asked.within, bounds)


def _pair(mine: tuple[Record, float], other: tuple[Record, float], metric: str) -> Pair:
    (row, with_), (scratch, without) = mine, other
    baselines = {n: found[metric] for n, found in scratch.baselines.items() if metric in found}
    shared = {path: value for path, value in row.repeat.items() if not is_pretrain(path, value)}
    group = {path: value for path, value in shared.items() if path not in DRAWN}
    said = settings_label(shared) or "the only refit"
    scores = with_, without, row, baselines, sign_of(metric)
    return Pair(said, settings_label(group), canonical(group), *scores)


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
        if not is_pretrain(path, value)
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
    if gain.n_unpaired:
        lost = count(gain.n_unpaired, "scored refit")
        yield f"{lost} without a partner in the other arm left out of the gain"
    if gain.measured.n_incomplete:
        lost = count(gain.measured.n_incomplete, "round")
        yield f"{lost} left out of the gain: not every place was scored in them"
    mine, others = len(gain.cell.searched), len(gain.against.searched)
    if not same_points(gain.cell.searched, gain.against.searched):
        yield OTHER_POINTS
    if mine != others:
        yield f"unequal search: {count(mine, 'trial')} pre-trained against {others} from scratch"
    if gain.verdict == "undecided" and not gain.effect.low <= 0 <= gain.effect.high:
        yield (
            "the interval leaves 0 out, which does not hold after correction for "
            f"{count(gain.found.n_family, 'comparison')}"
        )
