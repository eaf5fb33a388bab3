"""How far a sweep is: a block on a terminal that is painted over in place, a line a minute in a
log, and `live.json` for those who ask from elsewhere."""

import contextlib
import json
import os
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from citrus_ray import records
from citrus_ray.evidence.labels import params_label
from citrus_ray.evidence.verdicts import told
from citrus_ray.experiment.forecast import LIVE, LIVE_EVERY_S, Forecast, Kind, Left
from citrus_ray.experiment.labels import value_label
from citrus_ray.experiment.prices import Prices
from citrus_ray.experiment.step_times import StepTimes
from citrus_ray.experiment.sweep import Cell, Sweep
from citrus_ray.launch.terminal import Line, Terminal, cut, width
from citrus_ray.store import checkpoint

if TYPE_CHECKING:
    from citrus_ray.evidence.trials import Result
    from citrus_ray.search.study import Job, Studies, Study

PAINT_EVERY_S = 0.5
PLAIN_EVERY_S = 60.0
SEEN_EVERY_S = 0.25  # what studies say, by who leads them
ETA_EVERY_S = 2.0
TARGET = "finetune.target"
LABEL, MOST_CLAIMS = 34, 4  # columns of a cell's name, claims shown


@dataclass(frozen=True)
class CellRow:
    """A cell as it stands."""

    label: str
    tried: str  # `3/4 +2/6`
    best: str
    doing: str  # what is tried now; empty: nothing
    over: bool
    begun: bool


class Progress:
    """Counts that the search hands over, shown by a thread so that a busy driver does not freeze
    them."""

    def __init__(
        self,
        sweep: Sweep,
        studies: "Studies",
        out: TextIO | None = None,
        folder: Path | None = None,
    ) -> None:
        """`folder`: where `live.json` goes."""
        self.sweep, self.studies, self.folder = sweep, studies, folder
        self.terminal = Terminal(out or sys.stderr)
        known = [r for study in studies.studies for r in study.results.values()]
        self.n_before = len(known) + sum(len(study.rounds) for study in studies.studies)
        self.n_done, self.n_failed = self.n_before, sum(r.status == "failed" for r in known)
        self.n_running = self.n_pretraining = self.n_elsewhere = self.n_parked = 0
        self.claims: Sequence[str] = ()  # as they stand
        self._judged = 0.0  # when who reads the records last said so
        self.work = Work(sweep, studies)
        self.started = time.monotonic()
        self.rows = self._rows({}, [])
        self._seen = self._filed = self._guessed = -1e9
        self._eta: tuple[float | None, float | None] = (None, None)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._paint, daemon=True)
        self._alone = contextlib.ExitStack()

    def __enter__(self) -> "Progress":
        self._alone.enter_context(self.terminal.alone())
        threading.Thread(target=self.work.expect, daemon=True).start()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look({}, [])
        self._show()
        self.terminal.close()
        self._alone.close()
        if self.folder:
            (self.folder / LIVE).unlink(missing_ok=True)

    # ---- what the search hands over ----

    @property
    def n_total(self) -> int:
        """Fewer than planned once a search stops early, more once rounds are added."""
        return sum(study.n_jobs for study in self.studies.studies)

    def update(self, live: Mapping[str, "Job"], parked: Sequence["Job"], encoders: Any) -> None:
        self.n_running, self.n_parked = len(live), len(parked)
        self.n_pretraining, self.n_elsewhere = len(encoders.running), len(encoders.elsewhere)
        if time.monotonic() - self._seen >= SEEN_EVERY_S:
            self._seen = time.monotonic()
            self.work.look(live.values(), parked, encoders)
            self._look(live, parked)

    def finished(self, job: "Job", result: "Result") -> None:
        self.n_done += 1
        self.n_failed += result.status == "failed"
        self.work.finished(job, result)

    def say(self, text: str) -> None:
        """A line of its own, above what is painted."""
        self.terminal.above(text)

    # ---- what is shown ----

    def headline(self) -> str:
        """What matters most first: a terminal may cut the rest."""
        n_total = self.n_total
        parts = [f"{self.sweep.name}: {self.n_done}/{n_total} trials"]
        left, at_most = self._left()
        if left is not None and self.n_done < n_total:
            more = f", at most {clock(at_most)}" if at_most and at_most > 1.2 * left else ""
            parts.append(f"about {clock(left)} left{more}")
        parts += [f"{clock(time.monotonic() - self.started)} gone", f"{self.n_running} running"]
        if self.n_pretraining:
            wait = "1 trial waits" if self.n_parked == 1 else f"{self.n_parked} trials wait"
            parts.append(f"{self.n_pretraining} pre-training ({wait} for it)")
        if self.n_elsewhere:
            parts.append(f"{self.n_elsewhere} pre-training in another sweep")
        parts.append(f"{self.n_failed} failed")
        return ", ".join(parts)

    def block(self) -> list[Line]:
        """The headline, cells, and claims as they stand, as many as there is room for."""
        columns, height = self.terminal.size
        claims: list[Line] = [(text, "dim") for text in self.claims[:MOST_CLAIMS]]
        n = max(height - 3 - len(claims), 0)
        rows = self.rows
        ranked = sorted(range(len(rows)), key=lambda i: (not rows[i].doing, rows[i].over, i))
        shown = [rows[i] for i in sorted(ranked[:n])]
        lines: list[Line] = [(self.headline(), "bold"), *_aligned(shown, columns)]
        hidden = [rows[i] for i in ranked[n:]]
        if hidden and n:
            n_over, n_new = sum(r.over for r in hidden), sum(not r.begun for r in hidden)
            said = f"  and {len(hidden)} more cells: {n_over} over, {n_new} not begun"
            lines.append((said, "dim"))
        return lines + claims

    def _paint(self) -> None:
        self._show()
        while not self._stop.wait(PAINT_EVERY_S if self.terminal.live else PLAIN_EVERY_S):
            self._show()

    def _show(self) -> None:
        self._judge()
        if self.terminal.live:
            self.terminal.paint(self.block())
        else:
            self.terminal.above(self.headline())
        if self.folder and time.monotonic() - self._filed >= LIVE_EVERY_S:
            self._filed = time.monotonic()
            self._file(self.folder / LIVE)

    def _judge(self) -> None:
        """Take in the claims of a summary that was written since, by the process that reads the
        records while this one leads the sweep."""
        if self.folder is None or not self.sweep.claims:
            return
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            path = self.folder / "summary.json"
            if (changed := path.stat().st_mtime) > self._judged:
                self._judged, claims = changed, json.loads(path.read_text())["claims"]
                self.claims = [f"claim: {one['says']}: {told(one)}" for one in claims]

    def _file(self, path: Path) -> None:
        """A word for `--status`; a disk that is full is others' business."""
        now = {
            "at": time.time(),
            "pid": os.getpid(),
            "host": records.host(),
            "running": self.n_running,
            "pretraining": self.n_pretraining,
            "waiting": self.n_parked,
            "elsewhere": self.n_elsewhere,
            "done": self.n_done,
            "total": self.n_total,
            "left_s": self._left()[0],
        }
        with contextlib.suppress(OSError):
            records.write_text(path, json.dumps(now) + "\n")

    def _left(self) -> tuple[float | None, float | None]:
        if time.monotonic() - self._guessed >= ETA_EVERY_S:
            self._guessed = time.monotonic()
            self._eta = self.work.seconds_left()
        return self._eta

    def _look(self, live: Mapping[str, "Job"], parked: Sequence["Job"]) -> None:
        self.rows = self._rows(live, parked)

    def _rows(self, live: Mapping[str, "Job"], parked: Sequence["Job"]) -> list[CellRow]:
        doing: dict[int, list[str]] = defaultdict(list)
        for job in live.values():
            what = f"round {job.round}" if job.round is not None else params_label(job.params)
            doing[job.cell.index].append(what or "its only trial")
        for index in {job.cell.index for job in parked} - doing.keys():
            doing[index].append("waits for an encoder")
        return [self._row(study, doing[study.cell.index]) for study in self.studies.studies]

    def _row(self, study: "Study", doing: Sequence[str]) -> CellRow:
        n_search = study.n_jobs - study.n_wanted
        done = (len(study.results), len(study.rounds))
        tried = f"{done[0]}/{n_search} +{done[1]}/{study.n_wanted}"
        over = done >= (n_search, study.n_wanted)
        best = best_of(study.cell, study.best)
        return CellRow(study.cell.label, tried, best, " | ".join(doing), over, any(done))


class Work:
    """What is left of a sweep, and what it should take: planned work at measured prices."""

    def __init__(self, sweep: Sweep, studies: "Studies") -> None:
        self.sweep, self.studies = sweep, studies
        self.forecast = Forecast(sweep)
        for study in studies.studies:
            for result in study.results.values():
                self.forecast.recall((study.cell.index, "search"), result.seconds)
            for rows in study.rounds.values():
                self.forecast.recall((study.cell.index, "final"), sum(r.seconds for r in rows))
        self._began: dict[str, tuple[Kind, float]] = {}  # jobs under way, by digest
        self._began_encoders: dict[str, float] = {}
        self._cell_of: dict[str, int] = {}  # one that asks for an encoder, by its digest
        self._there: set[str] = set()  # encoders
        self.left = self._count()

    def expect(self) -> None:
        """What work should take before any is done, and which encoders are there. Looks at data."""
        with contextlib.suppress(Exception):  # an estimate is no reason to end
            self.forecast.expect(Prices(self.sweep, StepTimes(measures=False)))
            store = self.studies.store or self.studies.folder.parent.parent / "store"
            for group in self.forecast.groups:
                digests = group.digests()
                self._cell_of |= dict.fromkeys(digests, group.cells[0].index)
                self._there |= {d for d in digests if checkpoint.exists(store, d)}

    def look(self, live: Iterable["Job"], parked: Sequence["Job"], encoders: Any) -> None:
        """Note what began and what is there, in the thread that leads the search."""
        now = time.monotonic()
        for job in live:
            if job.digest not in self._began:
                self._began[job.digest] = (_kind(job), now)
                self._cell_of |= dict.fromkeys(job.encoders(), job.cell.index)
        running = {digest for digest, *_ in encoders.running.values()}
        if running - self._cell_of.keys():
            for job in parked:
                self._cell_of |= dict.fromkeys(job.encoders(), job.cell.index)
        for digest in running:
            self._began_encoders.setdefault(digest, now)
        for digest in self._began_encoders.keys() - running:
            began = self._began_encoders.pop(digest)
            if digest in encoders.ready and (group := self._groups().get(digest)) is not None:
                self.forecast.make(group, now - began)
        self._there |= encoders.ready
        self.left = self._count()

    def _groups(self) -> dict[str, int]:
        """The group of each encoder that is known, by its digest."""
        of_cell = {c.index: i for i, g in enumerate(self.forecast.groups) for c in g.cells}
        cells = list(self._cell_of.items())
        return {digest: of_cell[cell] for digest, cell in cells if cell in of_cell}

    def finished(self, job: "Job", result: "Result") -> None:
        kind, began = self._began.pop(job.digest, (_kind(job), None))
        if result.status == "failed":
            return
        self.forecast.learn(kind, result.seconds)
        if began is not None:
            self.forecast.note_beside(time.monotonic() - began - result.seconds)

    def _count(self) -> Left:
        jobs: dict[Kind, int] = {}
        for study in self.studies.studies:
            n_search = study.n_jobs - study.n_wanted - len(study.results)
            jobs[study.cell.index, "search"] = max(n_search, 0)
            jobs[study.cell.index, "final"] = max(study.n_wanted - len(study.rounds), 0)
        hours = self.sweep.budget.hours
        limit = None if hours is None else max(3600 * hours - self.studies.clock.elapsed(), 0.0)
        groups, group_of = self.forecast.groups, self._groups()
        there = Counter(group_of[digest] for digest in self._there & group_of.keys())
        encoders = [group.left(there[i], jobs) for i, group in enumerate(groups)]
        under_way = list(self._began_encoders.items())
        pretraining = [(group_of[d], began) for d, began in under_way if d in group_of]
        return Left(jobs, encoders, list(self._began.values()), pretraining, limit)

    def seconds_left(self) -> tuple[float | None, float | None]:
        """About, and at most where open claims may ask for more rounds."""
        left, n = self.left, max(self.studies.n_slots, 1)
        about, decide = self.forecast.seconds(left, n), self.sweep.decide
        if decide is None or about is None:
            return about, None
        more: dict[Kind, int] = {
            (study.cell.index, "final"): max(decide.rounds - len(study.rounds), 0)
            for study in self.studies.studies
        }
        return about, self.forecast.seconds(left.with_jobs(more), n)


def _kind(job: "Job") -> Kind:
    return job.cell.index, job.phase


def best_of(cell: Cell, best: "Result | None") -> str:
    """The best trial's score, for each target where a trial has several."""
    if best is None or best.value is None:
        return ""
    of_target: dict[str, list[float]] = defaultdict(list)
    for repeat, value in zip(cell.repeat, best.values, strict=False):
        if TARGET in repeat and value is not None:
            of_target[value_label(TARGET, repeat[TARGET])].append(value)
    if len(of_target) < 2:
        return f"{best.value:.3f}"
    means = (f"{name} {sum(of) / len(of):.3f}" for name, of in of_target.items())
    return ", ".join(means)


def _aligned(rows: Sequence[CellRow], columns: int) -> list[Line]:
    """Cells in columns: name, trials and rounds, best score, what is tried now."""
    if not rows:
        return []
    room = min(LABEL, max(columns // 3, 8))
    table = [(cut(row.label, room), row.tried, row.best) for row in rows]
    widths = [max(width(line[i]) for line in table) for i in range(3)]
    lines: list[Line] = []
    for row, line in zip(rows, table, strict=True):
        padded = "  ".join(t + " " * (n - width(t)) for t, n in zip(line, widths, strict=True))
        lines.append((f"  {padded}  {row.doing}".rstrip(), "dim" if row.over else ""))
    return lines


def clock(seconds: float) -> str:
    """`42s`, `3m10s`, `2h05m`."""
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{s:02d}s" if minutes else f"{s}s"
