"""Exhibit of what it cost."""

from collections.abc import Iterable, Sequence

from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.report.exhibits.exhibit import MAX_ROWS, Exhibit, first
from citrus_ray.report.figures import results
from citrus_ray.report.numbers import duration
from citrus_ray.report.tables import Table


def costs(cells: Sequence[Outcome]) -> Iterable[Exhibit]:
    cells = [cell for cell in cells if cell.rows]
    if not cells:
        return
    total = sum(row.seconds for cell in cells for row in cell.rows)
    failed = sum(row.seconds for cell in cells for row in cell.rows if row.status == "failed")
    yield Exhibit(
        "cost",
        "Cost",
        f"{duration(total)} of compute in fine-tunes, {duration(failed)} of it in runs that "
        "failed.",
        "Seconds in members as recorded, added up; wall time is less where trials ran side by "
        "side. Pre-training is computed once per encoder, shared by all trials that ask for it, "
        "and not in these records." + first(len(cells), MAX_ROWS, "cells"),
        (
            Table(
                "Cost",
                ("cell", "search", "refits", "trials", "encoders"),
                tuple(
                    (
                        cell.label,
                        duration(results.seconds(cell, "search")),
                        duration(results.seconds(cell, "final")),
                        str(len(cell.searched)),
                        str(len({row.encoder for row in cell.rows if row.encoder})),
                    )
                    for cell in cells
                ),
            ),
        ),
        lambda: results.cost(cells[:MAX_ROWS]),
    )
