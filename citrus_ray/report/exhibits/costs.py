"""Exhibit of what it cost."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from citrus_ray.evidence.cost import told
from citrus_ray.evidence.learning import PretrainedArm
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.experiment.labels import count
from citrus_ray.report.exhibits.exhibit import MAX_ROWS, Exhibit, first
from citrus_ray.report.figures import results
from citrus_ray.report.numbers import DASH, duration
from citrus_ray.report.tables import Field, Table, TableRow


def costs(
    cells: Sequence[Outcome], arms: Sequence[PretrainedArm], total: Mapping[str, Any]
) -> Iterable[Exhibit]:
    """`total` is what `evidence.cost` added up."""
    cells = [cell for cell in cells if cell.rows]
    if not cells:
        return
    pretrained = [
        (f"pre-training: {arm.label}", sum(one.seconds for one in arm.encoders)) for arm in arms
    ]
    of_arms: list[TableRow] = [
        (label, _spent(seconds), DASH, DASH, str(len(arm.encoders)))
        for arm, (label, seconds) in zip(arms, pretrained, strict=True)
    ]
    of_cells: list[TableRow] = [
        (
            cell.label,
            *(_spent(results.seconds(cell, phase)) for phase in ("search", "final")),
            str(len(cell.searched)),
            str(len({row.encoder for row in cell.rows if row.encoder})),
        )
        for cell in cells
    ]
    yield Exhibit(
        "cost",
        "Cost",
        told(total),
        "Seconds in members as recorded, added up; wall time is less where trials ran side by "
        "side. An encoder is pre-trained once and shared by all trials that ask for it, of other "
        f"sweeps too; of {count(total['n_encoders'], 'encoder')} that these records rest on, "
        f"{total['n_pretrainings']} are known." + first(len(cells), MAX_ROWS, "cells"),
        (
            Table(
                "Cost",
                ("cell or pre-training", "search", "refits", "trials", "encoders"),
                (*of_cells, *of_arms),
            ),
        ),
        lambda: results.cost(cells[:MAX_ROWS], pretrained[:MAX_ROWS]),
    )


def _spent(seconds: float) -> Field:
    return Field(duration(seconds), value=seconds)
