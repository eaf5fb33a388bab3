"""Two sweeps or two commits side by side, and what changed beyond noise: `python analysis/compare.py A B`.

A and B are results folders; `results/lowdata@4997ff3` takes only what that commit computed. Test scores of equal cells
are paired by target, test people and seed. `--page FILE` also writes it as a page.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

if (
    __name__ == "__main__"
):  # as a script, Python puts analysis/ on the path, not the repository root
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from citrus_ray.evidence.design import Plan, axes_key, difference_bounds, read_plan, score_bounds
from citrus_ray.evidence.facts import people_of, target_of
from citrus_ray.evidence.gains import ALPHA, gains
from citrus_ray.evidence.intervals import (
    DECIMALS,
    Effect,
    SignedRank,
    effect,
    holm,
    score_effect,
    signed_rank,
)
from citrus_ray.evidence.outcomes import Cell, cells_of, is_pretrain
from citrus_ray.evidence.reading import collect
from citrus_ray.evidence.units import Units, Value, units
from citrus_ray.records import Record, write_text
from citrus_ray.report.captions import cell_label
from citrus_ray.report.markup import (
    DASH,
    interval,
    number,
    paragraph,
    probability,
    section,
    spread,
    table,
    tag,
    text,
)
from citrus_ray.report.style import CSS

Change = Literal["better", "worse", "within noise", "identical", "one value"]
Place = tuple[str, str, str]  # target, test people, everything else that is repeated
HEAD = (
    "cell",
    "what",
    "A",
    "B",
    "B - A",
    "95 % interval",
    "counted",
    "Wilcoxon p",
    "Holm p",
    "change",
)


@dataclass(frozen=True)
class Side:
    """One of the two."""

    name: str
    plan: Plan
    cells: dict[str, Cell]  # by `axes_key`
    rows: tuple[Record, ...]


@dataclass(frozen=True)
class Row:
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
        """Beyond noise needs both: an interval without 0, and a rank test that survives correction."""
        if not any(self.units.values):
            return "identical"
        if len(self.units.values) == 1:
            return "one value"
        found = self.difference
        if found.low <= 0 <= found.high or self.p_holm > ALPHA:
            return "within noise"
        return "better" if self.sign * found.mean > 0 else "worse"

    def fields(self) -> list[str]:
        ps = (probability(self.test.p), probability(self.p_holm))
        numbers = (
            number(self.difference.mean, sign=True),
            interval(self.difference, sign=True),
            self.units.said,
        )
        return [self.label, self.what, spread(self.a), spread(self.b), *numbers, *ps, self.change]


def side(given: str) -> Side:
    """A folder, or a folder@commit."""
    folder, _, commit = given.partition("@")
    plan = read_plan(Path(folder))
    found = collect([Path(folder)], lambda _, cell: plan.has(cell))
    rows = (
        tuple(row for row in found.rows if (row.commit or "").startswith(commit))
        if commit
        else found.rows
    )
    cells = cells_of(replace(found, rows=rows), [plan])
    return Side(given, plan, {axes_key(cell.axes): cell for cell in cells}, rows)


def compare(a: Side, b: Side) -> list[Row]:
    """Scores of all cells that both have, then their gains; p values corrected over all of them."""
    both = [key for key in a.cells if key in b.cells]
    found = [
        _row(a.cells[key], "score", _scores(a.cells[key]), _scores(b.cells[key])) for key in both
    ]
    gained = [_gains(one) for one in (a, b)]
    found += [
        _row(a.cells[key], "gain", gained[0][key], gained[1][key])
        for key in gained[0]
        if key in gained[1]
    ]
    kept = [row for row in found if row is not None]
    adjusted = holm([row.test.p for row in kept])
    return [replace(row, p_holm=p) for row, p in zip(kept, adjusted, strict=True)]


def _scores(cell: Cell) -> dict[Place, float]:
    return {_place(row): row.metrics[cell.plan.test_metric] for row in cell.scored}


def _place(row: Record) -> Place:
    repeat = {path: value for path, value in row.repeat.items() if not is_pretrain(path)}
    return target_of(row), people_of(row), json.dumps(repeat, sort_keys=True)


def _gains(one: Side) -> dict[str, dict[Place, float]]:
    found = gains(list(one.cells.values()))
    return {
        axes_key(gain.cell.axes): {_place(pair.row): pair.difference for pair in gain.pairs}
        for gain in found
    }


def _row(
    cell: Cell, what: Literal["score", "gain"], a: dict[Place, float], b: dict[Place, float]
) -> Row | None:
    shared = [place for place in a if place in b]
    if not shared:
        return None
    counted = units([Value(*place[:2], round(b[place] - a[place], DECIMALS)) for place in shared])
    means = [
        _mean([Value(*place[:2], one[place]) for place in shared], what, cell) for one in (a, b)
    ]
    difference = effect(counted.values, difference_bounds(cell.plan.test_metric))
    assert difference is not None  # there is at least one shared place
    sign = 1 if cell.plan.mode == "max" else -1
    return Row(
        cell_label(cell),
        what,
        means[0],
        means[1],
        counted,
        difference,
        signed_rank(counted.values),
        sign,
    )


def _mean(values: Sequence[Value], what: str, cell: Cell) -> Effect:
    metric, counted = cell.plan.test_metric, units(values).values
    found = score_effect(counted, score_bounds(metric)) if what == "score" else effect(counted)
    assert found is not None  # there is at least one value
    return found


# ---- what differs before any score ----


def differences(a: Side, b: Side) -> Iterable[str]:
    """Settings, versions and data that are not the same, and cells that only one side has."""
    for name, values in (("commits", _commits), ("versions", _versions), ("data", _data)):
        one, other = values(a), values(b)
        if one != other:
            yield f"{name}: A {_said(one - other)}; B {_said(other - one)}"
    if a.plan.test_metric != b.plan.test_metric:
        yield f"metric: A {a.plan.test_metric}; B {b.plan.test_metric}; scores of A's are compared"
    yield from (
        f"{path}: A {mine}; B {theirs}" for path, (mine, theirs) in sorted(_settings(a, b).items())
    )
    for name, mine, others in (("A", a, b), ("B", b, a)):
        alone = [cell_label(cell) for key, cell in mine.cells.items() if key not in others.cells]
        if alone:
            yield f"only in {name}: {_said(alone)}"
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


def _said(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - 6} more" if len(ordered) > 6 else ""
    return ", ".join(ordered[:6]) + more or DASH


# ---- telling ----


def verdict(rows: Sequence[Row]) -> str:
    if not rows:
        return "Nothing to compare: no cell of A has test scores on targets, people and seeds that B has too."
    counts = {
        name: sum(row.change == name for row in rows)
        for name in ("better", "worse", "within noise", "identical")
    }
    said = ", ".join(f"{n} {name}" for name, n in counts.items())
    return f"Of {len(rows)} scores and gains: {said} (B against A, both tests at {ALPHA:g}, Holm over {len(rows)})."


def lines(a: Side, b: Side, rows: Sequence[Row]) -> list[str]:
    shown = [list(HEAD), *(row.fields() for row in rows)]
    widths = [max(len(line[i]) for line in shown) for i in range(len(HEAD))]
    printed = [
        "  ".join(said.ljust(width) for said, width in zip(line, widths, strict=True)).rstrip()
        for line in shown
    ]
    return [
        f"A {a.name}",
        f"B {b.name}",
        *differences(a, b),
        "",
        *(printed if rows else []),
        verdict(rows),
    ]


def page(a: Side, b: Side, rows: Sequence[Row]) -> str:
    listed = tag("ul", *(tag("li", text(said)) for said in differences(a, b)))
    body = [[text(said) for said in row.fields()] for row in rows]
    title = f"{a.name} and {b.name}"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{text(title)}</title>'
    main = tag(
        "main",
        paragraph(verdict(rows), "shows"),
        section(
            "Scores and gains",
            table(HEAD, body, "Paired by target, test people and seed"),
            name="changes",
        ),
        section("What differs beside them", listed, name="differences"),
    )
    top = tag(
        "header", paragraph("citrus_ray: two sweeps side by side", "kicker"), tag("h1", text(title))
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{CSS}</style></head><body>{top}{main}</body></html>\n'


def main(argv: Sequence[str] | None = None) -> int:
    cli = argparse.ArgumentParser(prog="analysis/compare.py", description=__doc__)
    cli.add_argument("a", metavar="A", help="a results folder, or folder@commit")
    cli.add_argument("b", metavar="B", help="the other one")
    cli.add_argument("--page", type=Path, metavar="FILE", help="write it as a page too")
    args = cli.parse_args(argv)
    absent = [given for given in (args.a, args.b) if not Path(given.partition("@")[0]).is_dir()]
    if absent:
        print(
            f"{absent[0]}: no such folder; give results folders, such as results/quickstart",
            file=sys.stderr,
        )
        return 2
    a, b = side(args.a), side(args.b)
    rows = compare(a, b)
    print("\n".join(lines(a, b, rows)))
    if args.page:
        write_text(args.page, page(a, b, rows))
    return 0
