"""The best recorded trials of each cell with their parameters: `--top N`."""

from collections.abc import Iterator
from pathlib import Path

from citrus_ray import records
from citrus_ray.evidence.summary import aligned
from citrus_ray.evidence.trials import Result, full, summarise
from citrus_ray.experiment.sweep import Cell, Sweep, short


def top(sweep: Sweep, folder: Path, n: int) -> Iterator[str]:
    """Lines to print: a table per cell. Trials that failed or were stopped early have no rank."""
    trials = [rows for rows in records.read_all(folder) if rows[0].phase == "search"]
    for cell in sweep.cells:
        found = [summarise(rows, sweep.objective) for rows in trials if rows[0].cell == cell.digest]
        ranked = full(found)
        best = sorted(ranked, key=lambda r: (r.value or 0.0, r.digest), reverse=True)[:n]
        yield f"{cell.label}: {len(ranked)} full trials of {len(found)} recorded"
        yield _table(cell, best) if best else "  none"
        yield ""


def _table(cell: Cell, best: list[Result]) -> str:
    several = cell.sweep.objectives if cell.sweep.objective.each else []
    rows = [("", cell.sweep.objective.metric, *several, *cell.search, "seconds", "trial")]
    for rank, result in enumerate(best, start=1):
        params = [short(result.params[path]) for path in cell.search]
        scores = [f"{score:.4f}" for score in result.scores] if several else []
        rows.append(
            (
                str(rank),
                f"{result.value:.4f}",
                *scores,
                *params,
                f"{result.seconds:.1f}",
                result.digest,
            )
        )
    return aligned(rows)
