"""Progress of a sweep, in one live line on a terminal and in plain lines elsewhere."""

import sys
import threading
import time
from typing import TYPE_CHECKING, Any, TextIO

from citrus_ray.experiment.sweep import Sweep

if TYPE_CHECKING:
    from citrus_ray.evidence.trials import Result
    from citrus_ray.search.study import Job, Studies

PLAIN_EVERY_S = 10.0


class ProgressLine:
    """Counts that the search hands over, painted by a thread so that a busy driver does not freeze
    the line."""

    def __init__(self, sweep: Sweep, studies: "Studies", out: TextIO | None = None) -> None:
        self.sweep, self.studies, self.out = sweep, studies, out or sys.stderr
        known = [r for study in studies.studies for r in study.results.values()]
        self.n_before = len(known) + sum(len(study.rounds) for study in studies.studies)
        self.n_done, self.n_failed = self.n_before, sum(r.status == "failed" for r in known)
        self.n_running = self.n_pretraining = self.n_elsewhere = self.n_parked = 0
        self.started = time.monotonic()
        self.last_done = self.started
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._paint, daemon=True)

    def __enter__(self) -> "ProgressLine":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self._write(self.line() + "\n")

    @property
    def live(self) -> bool:
        return self.out.isatty()

    @property
    def n_total(self) -> int:
        """Fewer than planned once a search stops early, more once rounds are added."""
        return sum(study.n_jobs for study in self.studies.studies)

    def update(self, live: dict[str, Any], parked: list[Any], encoders: Any) -> None:
        self.n_running, self.n_parked = len(live), len(parked)
        self.n_pretraining, self.n_elsewhere = len(encoders.running), len(encoders.elsewhere)

    def finished(self, job: "Job", result: "Result") -> None:
        self.n_done += 1
        self.n_failed += result.status == "failed"
        self.last_done = time.monotonic()

    @property
    def best(self) -> float | None:
        values = [s.best.value for s in self.studies.studies if s.best and s.best.value is not None]
        return (max if self.sweep.objective.mode == "max" else min)(values, default=None)

    def eta(self) -> float | None:
        """Seconds left at the rate so far; None before anything was finished in this run."""
        n_new = self.n_done - self.n_before
        if n_new == 0:
            return None
        left = (self.last_done - self.started) / n_new * max(self.n_total - self.n_done, 0)
        # counts down between two trials
        return max(left - (time.monotonic() - self.last_done), 0.0)

    def line(self) -> str:
        parts = [f"{self.n_done}/{self.n_total} trials", f"{self.n_running} running"]
        if self.n_pretraining:
            parts.append(f"{self.n_pretraining} pre-training ({self.n_parked} trials wait for it)")
        if self.n_elsewhere:
            parts.append(f"{self.n_elsewhere} pre-training in another sweep")
        parts.append(f"{self.n_failed} failed")
        if self.best is not None:
            parts.append(f"best {self.sweep.objective.metric} {self.best:.3f}")
        eta = self.eta()
        parts.append(f"{clock(time.monotonic() - self.started)} gone")
        if eta is not None and self.n_done < self.n_total:
            parts.append(f"about {clock(eta)} left")
        return f"{self.sweep.name}: " + ", ".join(parts)

    def say(self, text: str) -> None:
        """A line of its own, above the live one."""
        self._write(f"{text}\n")

    def _paint(self) -> None:
        while not self._stop.wait(0.5 if self.live else PLAIN_EVERY_S):
            self._write(f"\r\x1b[2K{self.line()}" if self.live else self.line() + "\n")

    def _write(self, text: str) -> None:
        self.out.write(("\r\x1b[2K" if self.live and text.endswith("\n") else "") + text)
        self.out.flush()


def clock(seconds: float) -> str:
    """`42s`, `3m10s`, `2h05m`."""
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{s:02d}s" if minutes else f"{s}s"
