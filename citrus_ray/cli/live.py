"""Results that can be read while a sweep runs: page, summary.json and what viewers open, written by
a process of its own, so that the driver waits for none of it.

`python -m citrus_ray.cli.live OUT SECONDS < SWEEP` writes them once.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

from citrus_ray import records
from citrus_ray.cli.viewers import write_viewers
from citrus_ray.evidence.evidence import Evidence, evidence_of
from citrus_ray.evidence.summary import summary_of
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.store import encoders_of

EVERY_S = 45.0  # between two writings: with a short one, they are a minute apart at most
SHARE = 4.0  # times what a writing took, so that it has a fifth of one core at most
FIRST_S = 15.0


def write_summary(
    sweep: Sweep, evidence: Evidence, out: Path, seconds: float, ended: bool
) -> dict[str, Any]:
    """`summary.json`; `ended` is false while the sweep runs, or where it was stopped."""
    found = summary_of(sweep, evidence, seconds, encoders_of(out)) | {"ended": ended}
    records.write_text(out / "summary.json", json.dumps(found, indent=1) + "\n")
    return found


class LiveResults:
    """A block in which results are written anew once there are new records, never twice at once."""

    def __init__(self, sweep: Sweep, out: Path, every: float = EVERY_S) -> None:
        self.sweep, self.out, self.every = sweep, out, every
        self.started = time.monotonic()
        self._seen: int | None = None
        self._writer: subprocess.Popen[str] | None = None
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """What is being written is of no use any longer: the end writes all of it."""
        with self._lock:
            self._stop.set()
            if self._writer is not None:
                self._writer.terminate()
        self._thread.join()

    def _run(self) -> None:
        pause = min(FIRST_S, self.every)
        while not self._stop.wait(pause):
            pause = self.pause_after(self._look())

    def pause_after(self, took: float) -> float:
        return max(self.every, SHARE * took)

    def _look(self) -> float:
        """Write if records came; the seconds that it took."""
        now = _changed(self.out / "records")
        if now is None or now == self._seen:
            return 0.0
        started = time.monotonic()
        complaint = self._write(started - self.started)
        if complaint and not self._stop.is_set():
            said = f"page and summary could not be written while it runs: {complaint}"
            print(f"{self.sweep.name}: {said}", file=sys.stderr)
        self._seen = now
        return time.monotonic() - started

    def _write(self, seconds: float) -> str:
        """The last line of what went wrong, empty where nothing did."""
        call = [sys.executable, "-m", __name__, str(self.out), f"{seconds:.2f}"]
        paths = os.pathsep.join(path for path in sys.path if path)  # as this process finds code
        with self._lock:
            if self._stop.is_set():
                return ""
            self._writer = subprocess.Popen(
                call,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": paths},
                start_new_session=True,  # Ctrl-C is for the sweep
            )
        _, errors = self._writer.communicate(self.sweep.model_dump_json(by_alias=True))
        lines = errors.strip().splitlines() or ["it was stopped"]
        return "" if self._writer.returncode == 0 else lines[-1]


def _changed(folder: Path) -> int | None:
    """When something was last put into a folder of records; None before there is one."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return None


def main(argv: list[str]) -> int:
    out, seconds = Path(argv[0]), float(argv[1])
    # an exit, so that no half-written file stays
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.nice(19)  # trials go first
    sweep = Sweep.model_validate_json(sys.stdin.read())
    from citrus_ray.report.files import write_report

    evidence = evidence_of(sweep, out / "records")
    write_summary(sweep, evidence, out, seconds, ended=False)
    write_report([out], publish=False)
    write_viewers(sweep, evidence, out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
