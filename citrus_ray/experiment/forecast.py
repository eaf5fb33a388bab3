"""What is left of a sweep in seconds: planned members and encoders, at the price that each kind of
work has had so far, and that of its like where it has had none."""

import math
import os
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

import numpy as np

from citrus_ray.experiment.labels import canonical
from citrus_ray.experiment.prices import EncoderGroup, Prices
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.records import Phase

Kind = tuple[int, Phase]  # a cell by its index, in its search or in its winner's rounds
# how strongly factors are held at 1: they are learnt from few kinds at first
HOLDS_PHASE, HOLDS_AXIS = 0.1, 0.5
BESIDE_S = 0.2  # of a trial outside its members, before one was seen
FOLLOWS = 0.1  # share of a job's surprise that is put down to the machine
LEAST = 1e-3  # seconds: what is shorter is all alike
LAST = 200  # measurements of a kind that are kept
LIVE = "live.json"  # what the process that runs a sweep says of it, in its results
LIVE_EVERY_S = 10.0
PHASES: tuple[Phase, ...] = ("search", "final")


@dataclass(frozen=True)
class Left:
    """What a sweep has yet to do, jobs under way included."""

    jobs: Mapping[Kind, int]  # trials and rounds, by kind
    encoders: Sequence[int] = ()  # pre-trainings, in the order of `encoders_of`
    # what is under way, and the monotonic time at which it began; encoders by their group
    running: Sequence[tuple[Kind, float]] = ()
    pretraining: Sequence[tuple[int, float]] = ()
    search_s: float | None = None  # after which nothing new is searched

    def with_jobs(self, jobs: Mapping[Kind, int]) -> "Left":
        return replace(self, jobs={**self.jobs, **jobs})


class Forecast:
    """Prices of a sweep's work: what each kind should take, corrected by what it took."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.members: dict[Kind, float] = {}  # expected seconds of one member
        self.groups: Sequence[EncoderGroup] = ()
        self.encoders: Sequence[float] = ()  # expected seconds of one, by group
        self.busy = 1.0  # times as long as work took at the start: others may use the machine
        # measured: seconds of a planned member in each job, had the machine been as at the start,
        # of an encoder on all its threads, and of jobs outside their members
        self.took: dict[Kind, deque[float]] = {}
        self.made: dict[int, deque[float]] = {}
        self.beside: deque[float] = deque(maxlen=LAST)
        self._n_members: dict[Kind, int] = {}

    def expect(self, prices: Prices) -> None:
        """Take in what members and encoders should take. It looks at data, which takes a while."""
        groups = prices.encoders
        encoders = [prices.pretraining(of) for of in groups]
        self.members = {
            (cell.index, phase): prices.member(cell, phase)
            for cell in self.sweep.cells
            for phase in PHASES
        }
        self.groups, self.encoders = groups, encoders

    def learn(self, kind: Kind, seconds: float) -> None:
        """Take in a job's seconds in all its members; what a race left out costs nothing."""
        one = max(seconds / self.n_members(kind), LEAST)
        known = self.took.get(kind)
        if known:  # how busy the machine is now, by work that it has done before
            # beside the mean of logarithms: beside a median, what is skewed drifts without end
            usual = fmean(map(math.log, known))
            off = math.log(one / self.busy) - usual
            self.busy *= math.exp(FOLLOWS * min(max(off, -1.0), 1.0))
        self.recall(kind, one / self.busy * self.n_members(kind))

    def recall(self, kind: Kind, seconds: float) -> None:
        """Take in a job of another time, which says nothing of how busy the machine is now."""
        one = max(seconds / self.n_members(kind), LEAST)
        self.took.setdefault(kind, deque(maxlen=LAST)).append(one)

    def make(self, group: int, seconds: float) -> None:
        """Take in the wall time of an encoder."""
        self.made.setdefault(group, deque(maxlen=LAST)).append(seconds * self._threads(group))

    def note_beside(self, seconds: float) -> None:
        """Take in what a job took outside its members: its start, its record, its way back."""
        self.beside.append(max(seconds, 0.0))

    def n_members(self, kind: Kind) -> int:
        """Fine-tunes that a trial, or a round of the winner, is made of."""
        if kind not in self._n_members:
            cell = self.sweep.cells[kind[0]]
            n_final = len(cell.members({}, 0)) if kind[1] == "final" else 0
            self._n_members[kind] = n_final or len(cell.repeat)
        return self._n_members[kind]

    def seconds(self, left: Left, slots: int) -> float | None:
        """Of wall time, on so many workers; None while nothing is known."""
        if not self.took and not self.made and not self.members:
            return None
        now, price = time.monotonic(), self._prices_of_jobs(left)
        encoder = [self._price_of_encoder(i) for i in range(len(left.encoders))]
        due = dict.fromkeys(PHASES, 0.0)
        for kind, n in left.jobs.items():
            due[kind[1]] += n * price[kind]
        for kind, began in left.running:
            due[kind[1]] -= min(now - began, price[kind])
        pre = sum(n * one for n, one in zip(left.encoders, encoder, strict=True))
        pre -= sum(min((now - s) * self._threads(i), encoder[i]) for i, s in left.pretraining)
        if left.search_s is not None:
            due["search"] = min(due["search"], left.search_s * slots)
        even = (sum(due.values()) + pre) / slots
        return max(even, self._longest(left, price, encoder, slots), 0.0)

    def _longest(
        self, left: Left, price: Mapping[Kind, float], encoder: Sequence[float], slots: int
    ) -> float:
        """Of the cell that takes longest by itself: a winner's rounds wait for the search, and
        either for its encoders."""
        waits = {
            cell.index: encoder[i] / group.threads
            for i, group in enumerate(self.groups[: len(left.encoders)])
            for cell in group.cells
            if left.encoders[i] > len(left.pretraining)
        }
        now, since = time.monotonic(), dict(left.running)
        alone: dict[int, float] = defaultdict(float)
        for kind, n in left.jobs.items():
            if n:
                took = now - since.get(kind, now) if n <= slots else 0.0
                alone[kind[0]] += max(math.ceil(n / slots) * price[kind] - took, 0.0)
                alone[kind[0]] += waits.get(kind[0], 0.0) if kind not in since else 0.0
        return max(alone.values(), default=0.0)

    def _threads(self, group: int) -> int:
        return self.groups[group].threads if group < len(self.groups) else 1

    def _prices_of_jobs(self, left: Left) -> dict[Kind, float]:
        """Seconds of a job of each kind that is left."""
        beside = median(self.beside) if self.beside else BESIDE_S
        kinds = {*left.jobs, *(kind for kind, _ in left.running)}
        unseen = self._by_likeness([kind for kind in kinds if kind not in self.took])
        each = unseen | {k: median(self.took[k]) for k in kinds if k in self.took}
        for kind, began in left.running:  # as short as was thought it is not
            so_far = (time.monotonic() - began) / self.n_members(kind) / self.busy
            each[kind] = each[kind] if kind in self.took else max(each[kind], so_far)
        members = {kind: self.busy * self.n_members(kind) for kind in kinds}
        return {kind: one * members[kind] + beside for kind, one in each.items()}

    def _by_likeness(self, asked: Sequence[Kind]) -> dict[Kind, float]:
        """Prices of kinds that have not been seen: expected ones, times a factor for the phase and
        for each value of each axis, learnt from those that have."""
        seen = list(self.took)
        if not seen or not asked:
            return {kind: self.members.get(kind, 0.0) for kind in asked}
        factors = sorted({f for kind in (*seen, *asked) for f in self._factors(kind)})
        place = {factor: i for i, factor in enumerate(factors)}

        def row(kind: Kind) -> np.ndarray:
            found = np.zeros(1 + len(factors))
            found[[0, *(1 + place[factor] for factor in self._factors(kind))]] = 1
            return found

        x = np.array([row(kind) for kind in seen])
        expected = [self.members.get(kind, 1.0) for kind in seen]
        measured = [median(self.took[kind]) for kind in seen]
        y = np.log(np.maximum(measured, LEAST)) - np.log(np.maximum(expected, LEAST))
        held = [1e-6, *(HOLDS_PHASE if f == "final" else HOLDS_AXIS for f in factors)]
        learnt = np.linalg.solve(x.T @ x + np.diag(held), x.T @ y)
        return {k: self.members.get(k, 1.0) * math.exp(float(row(k) @ learnt)) for k in asked}

    def _factors(self, kind: Kind) -> list[str]:
        axes = self.sweep.cells[kind[0]].axes
        of_phase = ["final"] if kind[1] == "final" else []
        return of_phase + [f"{path}={canonical(value)}" for path, value in axes.items()]

    def _price_of_encoder(self, group: int) -> float:
        """Seconds of an encoder on all its threads together."""
        if group in self.made:
            return median(self.made[group])
        pairs = [(median(of), self.encoders[i]) for i, of in list(self.made.items())]
        logs = [math.log(max(took, LEAST) / max(asked, LEAST)) for took, asked in pairs]
        return self.encoders[group] * math.exp(fmean(logs) if logs else 0.0)


def planned(sweep: Sweep, prices: Prices) -> Left:
    """All of it."""
    jobs: dict[Kind, int] = {}
    for cell in sweep.cells:
        jobs |= {(cell.index, "search"): cell.n_trials, (cell.index, "final"): sweep.final.rounds}
    hours = sweep.budget.hours
    limit = None if hours is None else 3600 * hours
    return Left(jobs, [of.n for of in prices.encoders], search_s=limit)


def workers(sweep: Sweep) -> int:
    """Trials at once on this machine alone."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(n, sweep.concurrency or n)


def in_words(seconds: float) -> str:
    """`42 s`, `12 min`, `2.1 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
