"""What recorded trials amount to: a status and a value each, and whether a cell has tried enough."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from citrus_ray.policy import Budget
from citrus_ray.population import mean_metrics
from citrus_ray.records import Record, Status

Stop = Literal["hours", "patience"]


@dataclass(frozen=True)
class Result:
    """One recorded trial."""

    digest: str
    params: dict[str, Any]
    status: Status
    value: float | None
    seconds: float
    finished: str = ""
    reason: str | None = None  # of the first member that failed
    values: tuple[float | None, ...] = ()  # of the members


def summarise(rows: Sequence[Record], metric: str) -> Result:
    """The trial behind its members' rows: failed if one failed, its value their mean."""
    statuses = {row.status for row in rows}
    status: Status = "failed" if "failed" in statuses else "pruned" if "pruned" in statuses else "ok"
    value = None if status == "failed" else mean_metrics([row.metrics for row in rows]).get(metric)
    seconds, finished = sum(row.seconds for row in rows), max(row.finished for row in rows)
    reason = next((row.reason for row in rows if row.reason), None)
    values = tuple(row.metrics.get(metric) for row in rows)
    return Result(rows[0].trial, rows[0].params, status, value, seconds, finished, reason, values)


def n_stale(results: Collection[Result]) -> int:
    """Trials since the last one that was better than all before it, in the order in which they ended."""
    best, stale = None, 0
    for result in sorted(results, key=lambda r: (r.finished, r.digest)):
        better = result.status == "ok" and result.value is not None and (best is None or result.value > best)
        best, stale = (result.value, 0) if better else (best, stale + 1)
    return stale


def why_stop(budget: Budget, results: Collection[Result], elapsed_s: float) -> Stop | None:
    """What ends a cell's search before all its trials are asked for. The same for a live sweep and for its records."""
    if budget.patience is not None and n_stale(results) >= budget.patience:
        return "patience"
    return "hours" if budget.hours is not None and elapsed_s >= budget.hours * 3600 else None
