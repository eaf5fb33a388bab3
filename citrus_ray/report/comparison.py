"""Two sweeps side by side, in words: on a terminal and as a page."""

from collections.abc import Sequence

from citrus_ray.evidence.comparison import Compared, Side, differences, verdict
from citrus_ray.evidence.screen import aligned
from citrus_ray.report.markup import (
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

HEAD = (
    *("cell", "what", "A", "B", "B - A", "95 % interval"),
    *("counted", "Wilcoxon p", "Holm p", "change"),
)


def fields(row: Compared) -> tuple[str, ...]:
    """One comparison, as a row under `HEAD`."""
    ends = (number(row.difference.mean, sign=True), interval(row.difference, sign=True))
    ps = (probability(row.test.p), probability(row.p_holm))
    start = (row.label, row.what, spread(row.a), spread(row.b))
    return (*start, *ends, row.units.said, *ps, row.change)


def lines(a: Side, b: Side, rows: Sequence[Compared]) -> list[str]:
    """What a terminal shows."""
    shown = [aligned([HEAD, *map(fields, rows)])] if rows else []
    return [f"A {a.name}", f"B {b.name}", *differences(a, b), "", *shown, verdict(rows)]


def page(a: Side, b: Side, rows: Sequence[Compared]) -> str:
    listed = tag("ul", *(tag("li", text(said)) for said in differences(a, b)))
    body = [[text(said) for said in fields(row)] for row in rows]
    title = f"{a.name} and {b.name}"
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{text(title)}</title>"
    )
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
    kicker = paragraph("citrus_ray: two sweeps side by side", "kicker")
    top = tag("header", kicker, tag("h1", text(title)))
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{CSS}</style></head>'
        f"<body>{top}{main}</body></html>\n"
    )
