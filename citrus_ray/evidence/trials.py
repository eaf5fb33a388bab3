"""Trials from the rows of their members: which of them count, which one won, which refit is the
winner's."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from citrus_ray.evidence.facts import validation_of
from citrus_ray.experiment.budgets import Budget
from citrus_ray.experiment.designs import Point
from citrus_ray.experiment.labels import canonical
from citrus_ray.metrics import mean_metrics, sign_of
from citrus_ray.records import Record, Status

Stop = Literal["hours", "gpu_hours", "patience"]


@dataclass(frozen=True)
class Result:
    """One recorded trial."""

    digest: str
    params: dict[str, Any]
    status: Status
    value: float | None  # the mean over members; None where one failed, or nothing scores them
    seconds: float
    finished: str = ""
    asked_s: float = 0.0  # of the sweep's wall time, by the clock of the one who asks
    reason: str | None = None  # of the first member that failed
    values: tuple[float | None, ...] = ()  # of the members
    scores: tuple[float, ...] = ()  # of the objectives, none where a member failed
    crashed: bool = False  # its worker was lost: no result, and computed again by the next run
    alone: bool = False  # nothing scores it: it is the only point of its cell
    over: dict[str, float] = field(default_factory=dict)  # constraints, by what share of each
    sign: int = 1  # -1 where scores are better when lower

    @property
    def is_full(self) -> bool:
        """Whether it may win: neither failed nor stopped early."""
        return self.status == "ok" and (self.value is not None or self.alone)

    @property
    def turn(self) -> tuple[float, str, str]:
        """Where it stands in its search. The clocks of workers, which differ and are set, decide
        only among those that were asked for at once, as those of another sweep were."""
        return self.asked_s, self.finished, self.digest

    @property
    def merits(self) -> tuple[float, ...]:
        """Its scores, better when higher."""
        return tuple(self.sign * score for score in self.scores)


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
        asked_s=max(row.asked_s for row in rows),
        reason=next((row.reason for row in rows if row.reason), None),
        values=tuple(row.metrics.get(metric) for row in rows),
        scores=() if value is None else _scores(rows, metric, each),
        crashed=any(row.crashed for row in rows),
        alone=all(validation_of(row) == "none" for row in rows),
        over=rows[0].network.get("over", {}),
        sign=sign_of(metric),
    )


def _scores(rows: Sequence[Record], metric: str, each: str | None) -> tuple[float, ...]:
    """The mean over members for each objective, in the order in which the spec names them."""
    by_value: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        name = json.dumps(row.repeat[each], sort_keys=True) if each else ""
        by_value.setdefault(name, []).append(row.metrics)
    return tuple(mean_metrics(members)[metric] for members in by_value.values())


# ---- which count, which won ----


class Tried:
    """Results of one cell, by the point at which each was tried."""

    def __init__(self, results: Iterable[Result] = ()) -> None:
        self.paths: tuple[str, ...] = ()
        self.by_point: dict[str, Result] = {}
        for result in sorted(results, key=lambda r: (not r.crashed, r.digest)):
            self.add(result)

    def add(self, result: Result) -> None:
        # trials of one cell search the same axes
        self.paths = max(self.paths, tuple(result.params), key=len)
        self.by_point[canonical(result.params)] = result

    def at(self, point: Point) -> Result | None:
        """The result at a point of the whole sweep, which may have more axes than this cell."""
        own = {path: point[path] for path in self.paths if path in point}
        return self.by_point.get(canonical(own))

    def along(self, points: Iterable[Point]) -> list[Result]:
        """Results at these points, each once, in their order."""
        found = (self.at(point) for point in points)
        return list({result.digest: result for result in found if result is not None}.values())


def same_points(one: Collection[Result], other: Collection[Result]) -> bool:
    """Whether two cells were searched at the same values of the axes that both have."""
    if not one or not other:
        return True
    both = [set.intersection(*(set(r.params) for r in results)) for results in (one, other)]
    shared = sorted(both[0] & both[1])
    mine, others = ({canonical([r.params[p] for p in shared]) for r in rs} for rs in (one, other))
    return mine == others


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
        any(_as_good(o.merits, r.merits) and o.merits != r.merits for o in full) for r in full
    ]
    best = [result for result, is_beaten in zip(full, beaten, strict=True) if not is_beaten]
    return sorted(best, key=lambda r: (r.merits, r.digest), reverse=True)


def _as_good(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether `one` is as good in every objective."""
    return all(a >= b for a, b in zip(one, other, strict=True))


# ---- enough? ----


class Patience:
    """Common points in a row that were no progress in any cell.

    They are counted in the order of the design, which no machine's speed decides, and over all
    cells, whose searches end at the same point.
    """

    def __init__(
        self, points: Sequence[Point], limit: int | None, cells: Iterable[Tried] = ()
    ) -> None:
        self.points, self.limit, self.cells = points, limit, list(cells)
        self._n_seen = self._n_stale = self._n_known = 0
        self._good: dict[int, list[Result]] = {}  # by cell: the progress so far

    @property
    def over(self) -> bool:
        if self.limit is None:
            return False
        n_known = sum(len(tried.by_point) for tried in self.cells)
        if n_known > self._n_known:  # something came since the last look
            self._n_known = n_known
            self._look(self.limit)
        return self._n_stale >= self.limit

    @property
    def counted(self) -> Sequence[Point]:
        """The points among which winners are chosen; what was tried beyond them was in vain."""
        return self.points[: self._n_seen] if self.over else self.points

    def _look(self, limit: int) -> None:
        """Go on to the first point that a cell is yet to try."""
        while self._n_stale < limit and self._n_seen < len(self.points):
            results = [tried.at(self.points[self._n_seen]) for tried in self.cells]
            if None in results:
                return
            progress = [
                _is_progress(result, self._good.setdefault(i, []))
                for i, result in enumerate(results)
                if result is not None
            ]
            self._n_seen += 1
            self._n_stale = 0 if any(progress) else self._n_stale + 1


def n_stale(results: Collection[Result]) -> int:
    """Trials since the last progress, in the order in which they were asked for: of a sampler that
    learns from it."""
    seen: list[Result] = []
    stale = 0
    for result in sorted(results, key=lambda r: r.turn):
        stale = 0 if _is_progress(result, seen) else stale + 1
    return stale


def _is_progress(result: Result, seen: list[Result]) -> bool:
    """Whether none of `seen` was as good in every objective; it is one of them from now on."""
    better = result.is_full and not any(_as_good(one.merits, result.merits) for one in seen)
    seen += [result] if better else []
    return better


def why_stop(budget: Budget, is_stale: bool, elapsed_s: float, gpu_s: float = 0.0) -> Stop | None:
    """What ends a cell's search before all its trials. The same for a live sweep and for its
    records."""
    if is_stale:
        return "patience"
    if budget.gpu_hours is not None and gpu_s >= budget.gpu_hours * 3600:
        return "gpu_hours"
    return "hours" if budget.hours is not None and elapsed_s >= budget.hours * 3600 else None
