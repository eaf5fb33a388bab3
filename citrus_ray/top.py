"""The best recorded trials of each cell with their parameters: `--top N`."""

from collections.abc import Iterator
from pathlib import Path

from citrus_ray import records
from citrus_ray.results import Result, summarise
from citrus_ray.summary import aligned
from citrus_ray.sweep import Cell, Sweep, short


def top(sweep: Sweep, folder: Path, n: int) -> Iterator[str]:
    """Lines to print: a table per cell. Trials that failed or were stopped early have no rank."""
    metric = sweep.objective.metric
    trials = [rows for rows in records.read_all(folder) if rows[0].phase == "search"]
    for cell in sweep.cells:
        found = [summarise(rows, metric) for rows in trials if rows[0].cell == cell.digest]
        full = [result for result in found if result.status == "ok" and result.value is not None]
        best = sorted(full, key=lambda r: (r.value or 0.0, r.digest), reverse=True)[:n]
        yield f"{cell.label}: {len(full)} full trials of {len(found)} recorded"
        yield _table(cell, metric, best) if best else "  none"
        yield ""


def _table(cell: Cell, metric: str, best: list[Result]) -> str:
    rows = [("", metric, *cell.search, "seconds", "trial")]
    for rank, result in enumerate(best, start=1):
        params = [short(result.params[path]) for path in cell.search]
        rows.append((str(rank), f"{result.value:.4f}", *params, f"{result.seconds:.1f}", result.digest))
    return aligned(rows)
