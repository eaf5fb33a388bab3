"""Faults of processes and of the machine in the middle of a sweep: each ends with a sentence and an
exit code that is known, or is not noticed, and the same command goes on to the records of an
undisturbed run.

The sweep runs without Ray, in a fork of this process; `tests/bench/kills.py` kills workers, GCS and
raylet of one on Ray.
"""

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from citrus_ray import records
from citrus_ray.cli import live, sweep
from citrus_ray.cli.citrus import main as citrus
from tests.bench.kills import _content
from tests.fuzz.attack import Attack, Verdict
from tests.small import SWEEP

PATIENCE_S = 300.0  # of the wall's: the machine may be busy
# a sweep whose records went away ends with a table of what is left, and the code of failure
SAFE = ("run the same command", "what was finished", "results      ")
Inside = Callable[[Path, int], None]  # done in the process of the sweep, before it starts
Outside = Callable[[int, Path], None]  # done to it, once it has so many records


@dataclass(frozen=True)
class Fault:
    """What is done, after how many records, and exit codes that may come of it."""

    codes: tuple[int, ...]
    inside: Inside | None = None
    outside: Outside | None = None
    after: tuple[int, ...] = (0, 2, 5)


# ---- in the process of the sweep ----


def _after(n: int, what: Callable[[], object], every: bool = True) -> None:
    """Do something when the records of more than `n` trials are written."""
    write, seen = records.write_bytes, list[Path]()

    def written(path: Path, content: bytes) -> Path:
        seen.append(path)
        n_records = sum(one.parent.name == "records" for one in seen)
        if n_records > n and (every or n_records == n + 1) and path.parent.name == "records":
            what()
        return write(path, content)

    mock.patch.object(records, "write_bytes", written).start()


def _fails(number: int) -> Inside:
    def fail() -> None:
        raise OSError(number, os.strerror(number), "results")

    return lambda out, n: _after(n, fail)


def _no_memory(out: Path, n: int) -> None:
    def fail() -> None:
        raise MemoryError

    _after(n, fail)


def _slow(out: Path, n: int) -> None:
    """A folder that answers late: each flush and each look takes its time."""
    fsync, listed = os.fsync, Path.glob

    def flushed(handle: int) -> None:
        time.sleep(0.05)
        fsync(handle)

    mock.patch.object(os, "fsync", flushed).start()

    def late(self: Path, pattern: str, **how: Any) -> Any:
        time.sleep(0.02)
        return listed(self, pattern, **how)

    mock.patch.object(Path, "glob", late).start()


def _limited(what: int, by: int) -> Inside:
    """A limit of the system, from some record on."""
    return lambda out, n: _after(n, lambda: resource.setrlimit(what, (by, by)), every=False)


def _few_files(out: Path, n: int) -> None:
    def limit() -> None:
        most = max(int(name) for name in os.listdir("/proc/self/fd")) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        _held.extend(_all_handles())

    _after(n, limit, every=False)


_held: list[Any] = []


def _all_handles() -> Iterator[Any]:
    with suppress(OSError):
        while True:
            yield open(os.devnull)  # noqa: SIM115


def _clock(by: float) -> Inside:
    def step() -> None:
        now = time.time
        mock.patch.object(time, "time", lambda: now() + by).start()  # noqa: PT008

    return lambda out, n: _after(n, step, every=False)


def _turns_read_only(out: Path, n: int) -> None:
    """The folder's mount does, where a process may mount; elsewhere its answers."""
    import ctypes

    out.mkdir(parents=True, exist_ok=True)
    may = ctypes.CDLL(None, use_errno=True).unshare(0x20000) == 0  # CLONE_NEWNS
    mounts = [["--make-rprivate", "/"], ["--bind", str(out), str(out)]]
    if not may or any(subprocess.call(["mount", *of], stderr=-3) for of in mounts):
        return _fails(errno.EROFS)(out, n)
    again = ["mount", "-o", "remount,ro,bind", str(out)]
    return _after(n, lambda: subprocess.check_call(again), every=False)


def _nobody_reads(out: Path, n: int) -> None:
    read, write = os.pipe()
    os.close(read)
    sys.stdout = os.fdopen(write, "w")


# ---- from outside ----


def _sent(number: int) -> Outside:
    return lambda pid, out: os.kill(pid, number)


def _stopped(pid: int, out: Path) -> None:
    os.kill(pid, signal.SIGSTOP)
    time.sleep(1.0)
    os.kill(pid, signal.SIGCONT)


def _gone(name: str) -> Outside:
    """A folder is deleted, or moved out of the way, under the sweep."""
    return lambda pid, out: shutil.rmtree((out / name).resolve(), ignore_errors=True)


FAULTS: dict[str, Fault] = {
    "SIGKILL": Fault((-9,), outside=_sent(signal.SIGKILL)),
    "SIGTERM": Fault((143,), outside=_sent(signal.SIGTERM)),
    "SIGINT": Fault((130,), outside=_sent(signal.SIGINT)),
    "stopped for a second": Fault((0,), outside=_stopped),
    "disk full": Fault((1,), _fails(errno.ENOSPC)),
    "quota exceeded": Fault((1,), _fails(errno.EDQUOT), after=(0, 4)),
    "disk does not answer": Fault((1,), _fails(errno.EIO), after=(1, 4)),
    "folder turns read-only": Fault((1,), _turns_read_only),
    "folder answers late": Fault((0,), _slow, after=(0,)),
    "largest file too small": Fault((1,), _limited(resource.RLIMIT_FSIZE, 500), after=(0, 3)),
    "no more file handles": Fault((1,), _few_files, after=(0, 3)),
    "no more memory": Fault((1,), _no_memory, after=(0, 3)),
    "clock goes back an hour": Fault((0,), _clock(-3600.0), after=(1, 4)),
    "clock goes on a day": Fault((0,), _clock(86400.0), after=(1, 4)),
    "records deleted": Fault((0, 1, 2), outside=_gone("records"), after=(1, 3)),
    "results deleted": Fault((0, 1, 2), outside=_gone("."), after=(1, 3)),
    "store deleted": Fault((0, 1), outside=_gone("../store"), after=(1, 3)),
    "cache deleted": Fault((0, 1), outside=_gone("../cache"), after=(0, 2)),
    "nobody reads": Fault((0, 141), _nobody_reads, after=(0,)),
}
TWICE = "the same sweep twice"
CASES = [(name, n) for name, fault in FAULTS.items() for n in fault.after] + [(TWICE, 0)]


@dataclass
class Ground:
    """The spec, prepared data, and the records of an undisturbed run."""

    home: Path
    right: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tree = yaml.safe_load(SWEEP) | {"budget": {"trials": 3}, "final": {"rounds": 2}}
        tree["search"].pop("pretrain.task.ratio")
        (self.home / "spec.yaml").write_text(yaml.safe_dump(tree))
        out = self.home / "whole" / "out"
        # the page and viewers are not looked at here, and take longer than the trials
        mock.patch.object(sweep, "write_viewers", return_value=[]).start()
        mock.patch.object(sweep.SweepCommand, "_report", lambda command: command.out).start()
        mock.patch.object(live, "FIRST_S", 1e9).start()
        # here, so that what it imports is there for every process
        assert self._run(out) == 0
        self.right = _content(out / "records")

    def _run(self, out: Path) -> int:
        os.environ["CITRUS_CACHE"] = str(out.parent / "cache")
        os.environ["CITRUS_STORE"] = str(out.parent / "store")
        return citrus(["run", str(self.home / "spec.yaml"), "--out", str(out), "--no-ray"])

    def start(self, out: Path, inside: Inside | None = None, n: int = 0) -> int:
        """A sweep in a process of its own."""
        out.parent.mkdir(parents=True, exist_ok=True)
        if pid := os.fork():
            return pid
        code = 70
        try:
            for number in (signal.SIGINT, signal.SIGPROF, signal.SIGALRM):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.stdout = sys.stderr = (out.parent / "log").open("a", buffering=1)
            if inside:
                inside(out, n)
            code = self._run(out)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            with suppress(Exception):
                sys.stderr.flush()
            os._exit(code)

    def ended(self, pid: int, out: Path) -> tuple[int | None, str]:
        """Exit code, None where it had to be killed, and what was said."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                log = out.parent / "log"
                said = log.read_text(errors="replace") if log.exists() else ""
                return os.waitstatus_to_exitcode(status), said
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return None, ""

    def disturbed(self, name: str, n: int, out: Path) -> tuple[int | None, str]:
        """One call of the sweep in which something happens after `n` records."""
        fault = FAULTS[name]
        pid = self.start(out, fault.inside, n)
        if fault.outside:
            looker = threading.Thread(target=_when, args=(pid, out, n, fault.outside))
            looker.start()
            found = self.ended(pid, out)
            looker.join()
            return found
        return self.ended(pid, out)

    def attack(self, name: str, n: int, out: Path) -> tuple[Verdict, str]:
        if name == TWICE:
            both = [self.start(out) for _ in range(2)]
            ends = [self.ended(pid, out) for pid in both]
            codes, wanted, said = {code for code, _ in ends}, {0}, ends[-1][1]
        else:
            code, said = self.disturbed(name, n, out)
            codes, wanted = {code}, {*FAULTS[name].codes, 0}
        if None in codes:
            return "hang", said[-300:]
        if "Traceback" in said or "has no word for" in said:
            return "traceback", said[-600:]
        if codes - wanted or (1 in codes and not any(word in said for word in SAFE)):
            return "silent", f"exit codes {codes}: {said[-300:]}"
        code, said_then = self.ended(self.start(out), out)
        if code or _content(out / "records") != self.right:
            return "silent", f"the next run ended with {code} and other records: {said_then[-300:]}"
        return ("harmless" if codes == {0} else "said"), " ".join(said[-200:].split())


def _when(pid: int, out: Path, n: int, what: Outside) -> None:
    """Do it once there are so many records, or the sweep is over."""
    while len(list((out / "records").glob("*.jsonl"))) < n or not (out / "spec.yaml").exists():
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except OSError:
            return
        time.sleep(0.002)
    with suppress(ProcessLookupError):
        what(pid, out)


@contextmanager
def _home() -> Iterator[Path]:
    """A folder for sweeps; what they change in this process is as before afterwards."""
    with tempfile.TemporaryDirectory() as home, mock.patch.dict(os.environ):
        try:
            yield Path(home)
        finally:
            mock.patch.stopall()


def attacks(n: int, seed: int = 0) -> Iterator[Attack]:
    """`n` faults, of each kind and at each time in turn."""
    with _home() as home:
        ground = Ground(home)
        for i in range(seed, seed + n):
            name, when = CASES[i % len(CASES)]
            out = ground.home / f"at{i}" / "out"
            yield Attack(name, *ground.attack(name, when, out))
            shutil.rmtree(out.parent, ignore_errors=True)


def soak(minutes: float, seed: int = 0) -> Iterator[Attack]:
    """Sweeps, one after another until the time is over, each disturbed until a run of it ends
    well."""
    rng, until = random.Random(seed), time.monotonic() + 60 * minutes
    deadly = [name for name in FAULTS if "deleted" not in name and name != "folder answers late"]
    with _home() as home:
        ground = Ground(home)
        i = 0
        while time.monotonic() < until:
            out, i = ground.home / f"soak{i}" / "out", i + 1
            for _ in range(rng.randint(2, 6)):
                name = rng.choice(deadly)
                code, said = ground.disturbed(name, rng.choice(FAULTS[name].after), out)
                bad = code is None or "Traceback" in said or "has no word for" in said
                yield Attack(name, "traceback" if bad else "said", said[-300:])
            code, said = ground.ended(ground.start(out), out)
            same = code == 0 and _content(out / "records") == ground.right
            yield Attack("records at the end", "harmless" if same else "silent", said[-300:])
            shutil.rmtree(out.parent, ignore_errors=True)
