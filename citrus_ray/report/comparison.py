"""Two sweeps side by side, in words: on a terminal and as a page."""

from collections.abc import Sequence

from citrus_ray.evidence.comparison import Compared, Side, differences, verdict
from citrus_ray.evidence.tables import aligned
from citrus_ray.report.numbers import interval, number, probability, spread
from citrus_ray.report.render import rendered
from citrus_ray.report.tables import Table

HEAD = (
    *("cell", "what", "A", "B", "B - A", "95 % interval"),
    *("counted", "p", "Holm p", "change"),
)


def fields(row: Compared) -> tuple[str, ...]:
    """One comparison, as a row under `HEAD`."""
    ends = (number(row.difference.mean, sign=True), interval(row.difference, sign=True))
    ps = (probability(row.found.p), probability(row.found.p_holm))
    start = (row.label, row.what, spread(row.a), spread(row.b))
    return (*start, *ends, row.found.counts, *ps, row.change)


def lines(a: Side, b: Side, rows: Sequence[Compared]) -> list[str]:
    """What a terminal shows."""
    shown = [aligned([HEAD, *map(fields, rows)])] if rows else []
    return [f"A {a.name}", f"B {b.name}", *differences(a, b), "", *shown, verdict(rows)]


def page(a: Side, b: Side, rows: Sequence[Compared]) -> str:
    title = "Paired by target, test people and round"
    return rendered(
        "comparison.html.j2",
        title=f"{a.name} and {b.name}",
        verdict=verdict(rows),
        changes=Table(title, HEAD, tuple(map(fields, rows))),
        differences=list(differences(a, b)),
    )
