"""Two sweeps or two commits side by side, and what changed beyond noise.

Test scores of equal cells are paired by target, test people and round.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from citrus_ray.evidence.design import Design, difference_bounds, score_bounds
from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.evidence.facts import target_of, test_part_of
from citrus_ray.evidence.gains import gains
from citrus_ray.evidence.intervals import DECIMALS, Effect, score_effect
from citrus_ray.evidence.outcomes import Outcome
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
from citrus_ray.experiment.labels import canonical
from citrus_ray.records import Record

Change = Literal["better", "worse", "equivalent", "within noise", "identical", "one value"]
Where = tuple[str, str, str, int]  # target, test people, what else is repeated, round


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
    measured: Measured  # the differences
    found: Finding

    @property
    def difference(self) -> Effect:
        return self.found.effect

    @property
    def change(self) -> Change:
        """Beyond noise after correction over all that is compared."""
        if not any(self.measured.values):
            return "identical"
        if len(self.measured.values) == 1:
            return "one value"
        return CHANGES[self.found.verdict]


CHANGES: dict[Verdict, Change] = {
    "supported": "better",
    "contradicted": "worse",
    "equivalent": "equivalent",
    "undecided": "within noise",
}


def side(given: str) -> Side:
    """A folder, or a folder@commit."""
    folder, _, commit = given.partition("@")
    found = read_evidence([Path(folder)], commit)
    cells = {canonical(cell.axes): cell for cell in found.cells}
    return Side(given, found.designs[0], cells, found.found.rows)


def compare(a: Side, b: Side) -> list[Compared]:
    """Scores of all cells that both have, then their gains; corrected over all of them."""
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
    found = corrected([row.found for row in kept])
    return [replace(row, found=one) for row, one in zip(kept, found, strict=True)]


def _scores(cell: Outcome) -> dict[Where, float]:
    return {_where(row): row.metrics[cell.design.test_metric] for row in cell.scored}


def _where(row: Record) -> Where:
    fixed = {path: value for path, value in row.repeat.items() if path not in DRAWN}
    return target_of(row), test_part_of(row), canonical(fixed), round_of(row)


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
    metric = cell.design.test_metric
    # settings are a place; who is tested is drawn by the round
    shared = [where for where in a if where in b]

    def rounds(found: Callable[[Where], float]) -> Measured | None:
        return measured([Value(w[0], w[2], w[3], found(w)) for w in shared])

    one, other = rounds(a.__getitem__), rounds(b.__getitem__)
    sign = 1 if what == "gain" else cell.design.sign  # a gain is signed already
    changes = rounds(lambda where: round(sign * (b[where] - a[where]), DECIMALS))
    if one is None or other is None or changes is None:
        return None
    asked = cell.design.verdicts
    told = finding(
        changes, alpha=asked.alpha, within=asked.within, bounds=difference_bounds(metric)
    )
    assert told is not None  # of these targets something can always be said
    bounds = score_bounds(metric) if what == "score" else difference_bounds(metric)
    ends = (score_effect(side.these.effect(), bounds) for side in (one, other))
    mine, theirs = (end for end in ends if end is not None)
    return Compared(cell.label, what, mine, theirs, changes, told)


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
            "no cell of A has test scores on targets, people and rounds that B has too."
        )
    names: tuple[Change, ...] = ("better", "worse", "equivalent", "within noise", "identical")
    said = ", ".join(f"{sum(row.change == name for row in rows)} {name}" for name in names)
    alpha = rows[0].found.alpha
    rule = f"B against A at {alpha:g} over every look, Holm over {len(rows)}"
    return f"Of {len(rows)} scores and gains: {said} ({rule})."
