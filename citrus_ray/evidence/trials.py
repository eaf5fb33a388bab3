"""Trials from the rows of their members: which of them count, which one won, which refit is the
winner's."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from citrus_ray.experiment.budgets import Budget
from citrus_ray.metrics import mean_metrics
from citrus_ray.records import Record, Status

Stop = Literal["hours", "gpu_hours", "patience"]


@dataclass(frozen=True)
class Result:
    """One recorded trial."""

    digest: str
    params: dict[str, Any]
    status: Status
    value: float | None  # the mean over members; None where one failed
    seconds: float
    finished: str = ""
    reason: str | None = None  # of the first member that failed
    values: tuple[float | None, ...] = ()  # of the members
    scores: tuple[float, ...] = ()  # of the objectives, none where a member failed
    crashed: bool = False  # its worker was lost: no result, and computed again by the next run

    @property
    def is_full(self) -> bool:
        """Whether it may win: neither failed nor stopped early."""
        return self.status == "ok" and self.value is not None


def result_of(rows: Sequence[Record], metric: str, each: str | None = None) -> Result:
    """The trial behind its members' rows: failed if one failed, its value their mean."""
    statuses = {row.status for row in rows}
    status: Status = (
        "failed" if "failed" in statuses else "pruned" if "pruned" in statuses else "ok"
    )
    whole = status != "failed" and all(metric in row.metrics for row in rows)
    value = mean_metrics([row.metrics for row in rows])[metric] if whole else None
    return Result(
        digest=rows[0].trial,
        params=rows[0].params,
        status=status,
        value=value,
        seconds=sum(row.seconds for row in rows),
        finished=max(row.finished for row in rows),
        reason=next((row.reason for row in rows if row.reason), None),
        values=tuple(row.metrics.get(metric) for row in rows),
        scores=() if value is None else _scores(rows, metric, each),
        crashed=any(row.crashed for row in rows),
    )


def _scores(rows: Sequence[Record], metric: str, each: str | None) -> tuple[float, ...]:
    """The mean over members for each objective, in the order in which the spec names them."""
    by_value: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        name = json.dumps(row.repeat[each], sort_keys=True) if each else ""
        by_value.setdefault(name, []).append(row.metrics)
    return tuple(mean_metrics(members)[metric] for members in by_value.values())


# ---- which count, which won ----


def counted(results: Iterable[Result], budget: int | None) -> list[Result]:
    """As many trials as the budget has, so that every cell chooses among equally many.

    By digest, which no machine's speed decides; what was lost with its worker comes last.
    """
    return sorted(results, key=lambda r: (r.crashed, r.digest))[:budget]


def ranked(results: Iterable[Result], mode: str = "max") -> list[Result]:
    """The trials that ran to their end, best first; of equals the order hangs on their digests
    alone."""
    sign = 1 if mode == "max" else -1
    full = [result for result in results if result.is_full]
    return sorted(full, key=lambda r: (sign * (r.value or 0.0), r.digest), reverse=True)


def winner(results: Iterable[Result], mode: str = "max") -> Result | None:
    """The trial that validation chose."""
    return next(iter(ranked(results, mode)), None)


def refit(finals: Iterable[Sequence[Record]], chosen: Result | None) -> list[Record]:
    """The rows of the winner's own rounds, in their order; none where they are yet to come.

    Where a folder holds refits from before rounds too, those that draw more anew stand alone.
    """
    own = [
        row
        for rows in finals
        if chosen and rows[0].params == chosen.params and not any(row.crashed for row in rows)
        for row in rows
    ]
    most = max(map(_drawn, own), default=())
    return sorted((r for r in own if _drawn(r) == most), key=lambda r: (r.seed, r.digest))


def _drawn(row: Record) -> tuple[bool, ...]:
    return "finetune.split.round" in row.repeat, "pretrain.seed" in row.repeat


# ---- several objectives ----


def front(results: Iterable[Result]) -> list[Result]:
    """The trials that no other one beats in some objective without losing in another, best in
    the first first."""
    full = ranked(results)
    beaten = [
        any(_as_good(o.scores, r.scores) and o.scores != r.scores for o in full) for r in full
    ]
    best = [result for result, is_beaten in zip(full, beaten, strict=True) if not is_beaten]
    return sorted(best, key=lambda r: (r.scores, r.digest), reverse=True)


def _as_good(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether `one` is as good in every objective."""
    return all(a >= b for a, b in zip(one, other, strict=True))


# ---- enough? ----


def n_stale(results: Collection[Result]) -> int:
    """Trials since the last one that none before it was as good as, in the order in which they
    ended."""
    seen: list[tuple[float, ...]] = []
    stale = 0
    for result in sorted(results, key=lambda r: (r.finished, r.digest)):
        better = result.is_full and not any(_as_good(scores, result.scores) for scores in seen)
        seen += [result.scores] if better else []
        stale = 0 if better else stale + 1
    return stale


def why_stop(
    budget: Budget, results: Collection[Result], elapsed_s: float, gpu_s: float = 0.0
) -> Stop | None:
    """What ends a cell's search before all its trials. The same for a live sweep and for its
    records."""
    if budget.patience is not None and n_stale(results) >= budget.patience:
        return "patience"
    if budget.gpu_hours is not None and gpu_s >= budget.gpu_hours * 3600:
        return "gpu_hours"
    return "hours" if budget.hours is not None and elapsed_s >= budget.hours * 3600 else None
