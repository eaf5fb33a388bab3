"""Two sweeps or two commits side by side, and what changed beyond noise.

Test scores of equal cells are paired by target, test people and seed.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from citrus_ray.evidence.design import Design, difference_bounds, score_bounds
from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.evidence.facts import target_of, test_part_of
from citrus_ray.evidence.gains import gains
from citrus_ray.evidence.intervals import (
    ALPHA,
    DECIMALS,
    Effect,
    SignedRank,
    effect,
    holm,
    score_effect,
    signed_rank,
)
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.units import Units, Value, units
from citrus_ray.experiment.labels import canonical, is_pretrain
from citrus_ray.records import Record

Change = Literal["better", "worse", "within noise", "identical", "one value"]
Where = tuple[str, str, str]  # target, test people, everything else that is repeated


@dataclass(frozen=True)
class Side:
    """One of the two: a results folder, or what one commit computed there."""

    name: str
    design: Design
    cells: dict[str, Outcome]  # by canonical axes
    rows: tuple[Record, ...]


@dataclass(frozen=True)
class Compared:
    """A score or a gain that both sides have."""

    label: str
    what: Literal["score", "gain"]
    a: Effect
    b: Effect
    units: Units
    difference: Effect
    test: SignedRank
    sign: int  # +1 where more is better
    p_holm: float = 1.0

    @property
    def change(self) -> Change:
        """Beyond noise needs both: an interval without 0, and a rank test that survives
        correction."""
        if not any(self.units.values):
            return "identical"
        if len(self.units.values) == 1:
            return "one value"
        found = self.difference
        if found.low <= 0 <= found.high or self.p_holm > ALPHA:
            return "within noise"
        return "better" if self.sign * found.mean > 0 else "worse"


def side(given: str) -> Side:
    """A folder, or a folder@commit."""
    folder, _, commit = given.partition("@")
    found = read_evidence([Path(folder)], commit)
    cells = {canonical(cell.axes): cell for cell in found.cells}
    return Side(given, found.designs[0], cells, found.found.rows)


def compare(a: Side, b: Side) -> list[Compared]:
    """Scores of all cells that both have, then their gains; p values corrected over all of them."""
    pairs = [
        _compared(a.cells[key], "score", _scores(a.cells[key]), _scores(b.cells[key]))
        for key in a.cells
        if key in b.cells
    ]
    mine, others = _gains(a), _gains(b)
    pairs += [
        _compared(a.cells[key], "gain", mine[key], others[key]) for key in mine if key in others
    ]
    kept = [row for row in pairs if row is not None]
    adjusted = holm([row.test.p for row in kept])
    return [replace(row, p_holm=p) for row, p in zip(kept, adjusted, strict=True)]


def _scores(cell: Outcome) -> dict[Where, float]:
    return {_where(row): row.metrics[cell.design.test_metric] for row in cell.scored}


def _where(row: Record) -> Where:
    repeat = {path: value for path, value in row.repeat.items() if not is_pretrain(path)}
    return target_of(row), test_part_of(row), canonical(repeat)


def _gains(one: Side) -> dict[str, dict[Where, float]]:
    return {
        canonical(gain.cell.axes): {_where(pair.row): pair.difference for pair in gain.pairs}
        for gain in gains(list(one.cells.values()))
    }


def _compared(
    cell: Outcome,
    what: Literal["score", "gain"],
    a: dict[Where, float],
    b: dict[Where, float],
) -> Compared | None:
    shared, metric = [where for where in a if where in b], cell.design.test_metric
    if not shared:
        return None

    def counted(found: dict[Where, float]) -> Units:
        return units([Value(*where[:2], found[where]) for where in shared])

    def mean(found: dict[Where, float]) -> Effect | None:
        values = counted(found).values
        return score_effect(values, score_bounds(metric)) if what == "score" else effect(values)

    changes = counted({where: round(b[where] - a[where], DECIMALS) for where in shared})
    one, other, difference = mean(a), mean(b), effect(changes.values, difference_bounds(metric))
    assert one is not None  # there is at least one shared value
    assert other is not None
    assert difference is not None
    sign = 1 if cell.design.mode == "max" else -1
    test = signed_rank(changes.values)
    return Compared(cell.label, what, one, other, changes, difference, test, sign)


# ---- what differs before any score ----


def differences(a: Side, b: Side) -> Iterable[str]:
    """Settings, versions and data that are not the same, and cells that only one side has."""
    for name, values in (("commits", _commits), ("versions", _versions), ("data", _data)):
        one, other = values(a), values(b)
        if one != other:
            yield f"{name}: A {listed(one - other)}; B {listed(other - one)}"
    if a.design.test_metric != b.design.test_metric:
        yield (
            f"metric: A {a.design.test_metric}; B {b.design.test_metric}; scores of A's "
            "are compared"
        )
    yield from (
        f"{path}: A {mine}; B {theirs}" for path, (mine, theirs) in sorted(_settings(a, b).items())
    )
    for name, mine, others in (("A", a, b), ("B", b, a)):
        alone = [cell.label for key, cell in mine.cells.items() if key not in others.cells]
        if alone:
            yield f"only in {name}: {listed(alone)}"
        failed = sum(row.status == "failed" for row in mine.rows)
        if failed:
            yield f"failed in {name}: {failed:,} of {len(mine.rows):,} members"


def _commits(one: Side) -> set[str]:
    return {row.commit or "none" for row in one.rows}


def _versions(one: Side) -> set[str]:
    return {f"{name} {version}" for row in one.rows for name, version in row.versions.items()}


def _data(one: Side) -> set[str]:
    return {row.data_digest for row in one.rows}


def _settings(a: Side, b: Side) -> dict[str, tuple[str, str]]:
    """Settings that hold one value throughout each side, and not the same one."""
    fixed = [_fixed(one.rows) for one in (a, b)]
    return {
        path: (fixed[0][path], fixed[1][path])
        for path in fixed[0].keys() & fixed[1].keys()
        if fixed[0][path] != fixed[1][path]
    }


def _fixed(rows: Sequence[Record]) -> dict[str, str]:
    seen: dict[str, str] = {}
    varied: set[str] = set()
    for row in rows:
        for path, value in row.config.items():
            if path not in varied and not path.endswith(".root"):
                said = json.dumps(value, sort_keys=True)
                if seen.setdefault(path, said) != said:
                    varied.add(path)
    return {path: said for path, said in seen.items() if path not in varied}


def listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - 6} more" if len(ordered) > 6 else ""
    return ", ".join(ordered[:6]) + more or "–"


def verdict(rows: Sequence[Compared]) -> str:
    """All comparisons in one sentence."""
    if not rows:
        return (
            "Nothing to compare: "
            "no cell of A has test scores on targets, people and seeds that B has too."
        )
    names: tuple[Change, ...] = ("better", "worse", "within noise", "identical")
    said = ", ".join(f"{sum(row.change == name for row in rows)} {name}" for name in names)
    rule = f"B against A, both tests at {ALPHA:g}, Holm over {len(rows)}"
    return f"Of {len(rows)} scores and gains: {said} ({rule})."
