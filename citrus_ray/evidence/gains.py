"""How much does pre-training help? Winners' test scores with it minus without it, paired by everything else.

`python analysis/transfer_gain.py results/lowdata [more results…]` prints what the report shows.
"""

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

if (
    __name__ == "__main__"
):  # as a script, Python puts analysis/ on the path, not the repository root
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from citrus_ray.evidence.design import difference_bounds, read_plan
from citrus_ray.evidence.facts import people_of, target_of
from citrus_ray.evidence.intervals import DECIMALS, Effect, SignedRank, effect, holm, signed_rank
from citrus_ray.evidence.outcomes import Cell, axes_label, cells_of, is_pretrain
from citrus_ray.evidence.reading import collect
from citrus_ray.evidence.units import Units, Value, units
from citrus_ray.records import Record

Verdict = Literal["supported", "undecided", "negative"]
ALPHA = 0.05


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
    def people(self) -> str:
        return people_of(self.row)

    @property
    def value(self) -> Value:
        return self.at(self.difference)

    def at(self, value: float) -> Value:
        return Value(self.target, self.people, value)


@dataclass(frozen=True)
class Gain:
    """A pre-trained cell against the from-scratch cell that is equal in everything else."""

    cell: Cell
    against: Cell
    pairs: tuple[Pair, ...]
    units: Units  # what the interval and the test count
    effect: Effect
    test: SignedRank
    p_holm: float
    n_comparisons: int
    n_unpaired: int  # scored refits of either arm that have no partner

    @property
    def signs(self) -> tuple[int, int, int]:
        """Pairs that went up, down, nowhere."""
        return signs_of(self.pairs)

    @property
    def verdict(self) -> Verdict:
        """Whether the interval leaves 0 out, and on which side."""
        return verdict_of(self.effect, self.cell.plan.mode)

    @property
    def p_holm_floor(self) -> float:
        """The smallest corrected p that a comparison of this size can reach when no other one is smaller."""
        return min(1.0, self.n_comparisons * self.test.floor)


def signs_of(pairs: Sequence[Pair]) -> tuple[int, int, int]:
    found = [pair.difference for pair in pairs]
    return sum(d > 0 for d in found), sum(d < 0 for d in found), sum(d == 0 for d in found)


def mean_with(pairs: Sequence[Pair]) -> float:
    return statistics.fmean(units([pair.at(pair.with_) for pair in pairs]).values)


def mean_without(pairs: Sequence[Pair]) -> float:
    return statistics.fmean(units([pair.at(pair.without) for pair in pairs]).values)


def best_baseline(pairs: Sequence[Pair]) -> tuple[str, float] | None:
    """The dumb baseline to beat, where one was scored beside the pairs."""
    names = {name for pair in pairs for name in pair.baselines}
    found = {
        name: units([pair.at(pair.baselines[name]) for pair in pairs if name in pair.baselines])
        for name in names
    }
    means = {name: statistics.fmean(counted.values) for name, counted in found.items()}
    return max(sorted(means.items()), key=lambda item: item[1], default=None)


def verdict_of(found: Effect, mode: str) -> Verdict:
    if not found.is_bounded or found.low <= 0 <= found.high:
        return "undecided"
    return "supported" if (found.mean > 0) == (mode == "max") else "negative"


Scores = dict[
    str, tuple[Record, float]
]  # by what both arms have in common: a row of it, the test score


def gains(cells: Sequence[Cell]) -> list[Gain]:
    """One per pre-trained cell that has a from-scratch partner; p values corrected over all of them."""
    scores = [(cell, _scores(cell)) for cell in cells if cell.scored]
    scratch = [(cell, by_key) for cell, by_key in scores if cell.is_scratch]
    pretrained = [(cell, by_key) for cell, by_key in scores if not cell.is_scratch]
    found = [
        gain for cell, by_key in pretrained if (gain := _gain(cell, by_key, scratch)) is not None
    ]
    adjusted = holm([gain.test.p for gain in found])
    return [
        replace(gain, p_holm=p, n_comparisons=len(found))
        for gain, p in zip(found, adjusted, strict=True)
    ]


def _gain(cell: Cell, mine: Scores, scratch: Sequence[tuple[Cell, Scores]]) -> Gain | None:
    partners = [(twin, others) for twin, others in scratch if mine.keys() & others.keys()]
    if not partners:
        return None
    twin, others = max(
        partners, key=lambda found: (found[0].folders == cell.folders, len(mine.keys() & found[1]))
    )
    metric = cell.plan.test_metric
    pairs = [_pair(mine[key], others[key], metric) for key in mine if key in others]
    counted = units([pair.value for pair in pairs])
    spread = effect(counted.values, difference_bounds(metric))
    assert spread is not None  # there is at least one pair
    n_unpaired = len(mine) + len(others) - 2 * len(pairs)
    return Gain(
        cell, twin, tuple(pairs), counted, spread, signed_rank(counted.values), 1.0, 1, n_unpaired
    )


def _pair(mine: tuple[Record, float], other: tuple[Record, float], metric: str) -> Pair:
    (row, with_), (scratch, without) = mine, other
    baselines = {
        name: found[metric] for name, found in scratch.baselines.items() if metric in found
    }
    shared = {path: value for path, value in row.repeat.items() if not is_pretrain(path)}
    group = {path: value for path, value in shared.items() if path != "seed"}
    return Pair(
        axes_label(shared), axes_label(group) if group else "", with_, without, row, baselines
    )


def _scores(cell: Cell) -> Scores:
    """Refits that differ in pre-training alone are averaged: they share their labels, so they are one pair."""
    rows: dict[str, list[Record]] = defaultdict(list)
    for row in cell.scored:
        rows[pair_key(row)].append(row)
    metric = cell.plan.test_metric
    return {
        key: (same[0], statistics.fmean(row.metrics[metric] for row in same))
        for key, same in rows.items()
    }


def pair_key(row: Record) -> str:
    """Every setting but those of pre-training and those that each arm's search chose; the target by its content."""
    same = {
        path: value
        for path, value in row.config.items()
        if not is_pretrain(path)
        and path not in row.params
        and not path.startswith("finetune.target.")
    }
    return json.dumps([row.data_digest, same], sort_keys=True)


def lines(found: Sequence[Gain]) -> list[str]:
    """The table on a terminal."""
    if not found:
        return ["no pre-trained cell has a scored from-scratch partner yet"]
    head = (
        "cell",
        "gain",
        "95 % interval",
        "counted",
        "pairs",
        "up/down/tied",
        "Wilcoxon p",
        "floor",
        "Holm p",
    )
    rows = [(*head, "verdict")]
    for gain in found:
        low, high = gain.effect.low, gain.effect.high
        start = (
            axes_label(gain.cell.axes),
            f"{gain.effect.mean:+.3f}",
            f"[{low:+.3f}, {high:+.3f}]",
        )
        ps = (f"{gain.test.p:.2g}", f"{gain.test.floor:.2g}", f"{gain.p_holm:.2g}")
        rows.append(
            (
                *start,
                gain.units.said,
                str(len(gain.pairs)),
                "/".join(map(str, gain.signs)),
                *ps,
                gain.verdict,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    shown = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    said = "counted: what the interval and p rest on; floor: the smallest p that so many can give"
    return [*shown, f"{said}; Holm: over {len(found)} comparison(s)."]


def main(given: Sequence[str] | None = None) -> int:
    folders = sys.argv[1:] if given is None else given
    paths = [Path(folder) for folder in folders]
    plans = [read_plan(path) for path in paths]
    print(
        "\n".join(
            lines(
                gains(cells_of(collect(paths, lambda number, cell: plans[number].has(cell)), plans))
            )
        )
    )
    return 0
