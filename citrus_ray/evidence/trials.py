"""What recorded trials amount to: a status, a value, a place on the front, and whether a cell has tried enough."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from citrus_ray.experiment.budgets import Budget, Objective
from citrus_ray.metrics import mean_metrics
from citrus_ray.records import Record, Status

Stop = Literal["hours", "gpu_hours", "patience"]


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
    scores: tuple[
        float, ...
    ] = ()  # of the objectives, none where a member failed; `value` is their mean


def summarise(rows: Sequence[Record], objective: Objective) -> Result:
    """The trial behind its members' rows: failed if one failed, its value their mean."""
    metric = objective.metric
    statuses = {row.status for row in rows}
    status: Status = (
        "failed" if "failed" in statuses else "pruned" if "pruned" in statuses else "ok"
    )
    value = None if status == "failed" else mean_metrics([row.metrics for row in rows]).get(metric)
    seconds, finished = sum(row.seconds for row in rows), max(row.finished for row in rows)
    reason = next((row.reason for row in rows if row.reason), None)
    values = tuple(row.metrics.get(metric) for row in rows)
    scores = () if value is None else _scores(rows, objective)
    return Result(
        rows[0].trial, rows[0].params, status, value, seconds, finished, reason, values, scores
    )


def _scores(rows: Sequence[Record], objective: Objective) -> tuple[float, ...]:
    """A mean over members for each objective, in the order in which the spec names them."""
    by_value: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        name = json.dumps(row.repeat[objective.each], sort_keys=True) if objective.each else ""
        by_value.setdefault(name, []).append(row.metrics)
    return tuple(mean_metrics(members)[objective.metric] for members in by_value.values())


def full(results: Iterable[Result]) -> list[Result]:
    """Those that may win: neither failed nor stopped early."""
    return [result for result in results if result.status == "ok" and result.value is not None]


def front(results: Iterable[Result]) -> list[Result]:
    """The trials that no other one beats in some objective without losing in another, best in the first one first."""
    ranked = full(results)
    best = [
        r
        for r in ranked
        if not any(_as_good(o.scores, r.scores) and o.scores != r.scores for o in ranked)
    ]
    return sorted(best, key=lambda r: (r.scores, r.digest), reverse=True)


def _as_good(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """In every objective."""
    return all(a >= b for a, b in zip(one, other, strict=True))


def n_stale(results: Collection[Result]) -> int:
    """Trials since the last one that none before it was as good as, in the order in which they ended."""
    seen: list[tuple[float, ...]] = []
    stale = 0
    for result in sorted(results, key=lambda r: (r.finished, r.digest)):
        better = bool(full([result])) and not any(
            _as_good(scores, result.scores) for scores in seen
        )
        seen += [result.scores] if better else []
        stale = 0 if better else stale + 1
    return stale


def why_stop(
    budget: Budget, results: Collection[Result], elapsed_s: float, gpu_s: float = 0.0
) -> Stop | None:
    """What ends a cell's search before all its trials are asked for. The same for a live sweep and for its records."""
    if budget.patience is not None and n_stale(results) >= budget.patience:
        return "patience"
    if budget.gpu_hours is not None and gpu_s >= budget.gpu_hours * 3600:
        return "gpu_hours"
    return "hours" if budget.hours is not None and elapsed_s >= budget.hours * 3600 else None
