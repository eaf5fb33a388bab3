"""Trials from the rows of their members: which of them count, which one won, which refit is the
winner's."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from citrus_ray.experiment.budgets import FRESH_SEED, Budget
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


@dataclass(frozen=True)
class Fresh:
    """How a sweep refits its winners."""

    seeds: int
    pretrain: bool  # with an encoder for every seed

    def fits(self, rows: Sequence[Record]) -> bool:
        """Whether these rows are such a refit; one of another number of seeds is of an earlier
        spec."""
        seeds = {row.seed for row in rows} == {FRESH_SEED + i for i in range(self.seeds)}
        is_scratch = "pretrain.task.kind" not in rows[0].config
        anew = "pretrain.seed" in rows[0].repeat
        return seeds and (is_scratch or anew == self.pretrain)


def refit(
    finals: Iterable[Sequence[Record]], chosen: Result | None, fresh: Fresh | None
) -> Sequence[Record]:
    """The rows of the winner's own refit, the newest where it was done twice; none where it is
    yet to come."""
    own = [
        rows
        for rows in finals
        if chosen and rows[0].params == chosen.params and not any(row.crashed for row in rows)
    ]
    own = [rows for rows in own if fresh is None or fresh.fits(rows)]
    return max(own, key=lambda rows: (max(r.finished for r in rows), rows[0].trial), default=())


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
