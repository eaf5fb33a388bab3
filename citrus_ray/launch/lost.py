"""Ray that goes away under a sweep: noticed here, as Ray tells its driver late or by aborting it,
and said in a line, with an exit code of its own."""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from citrus_ray.launch import local
from citrus_ray.launch.local import RayLostError

EXIT_CODE = 3
LOOK_EVERY_S = 0.5
ASK_EVERY_S = 5.0  # a head elsewhere
ANSWER_S = 45.0  # without an answer it is lost; Ray itself aborts its driver after 60
OWN_WAY_S = 10.0  # for the driver to come to its end by itself
DAEMONS = {"raylet": "the raylet ended", "gcs_server": "the GCS ended"}
SAFE = "nothing recorded is lost; run the same command to go on"


class Counted(Protocol):
    """How far a sweep is."""

    n_done: int

    @property
    def n_total(self) -> int: ...


@contextmanager
def watched(progress: Counted) -> Iterator[None]:
    """A block that ends with `RayLostError` when Ray is lost, or, where Ray holds it, with the
    process."""
    import ray

    watch = Watch(daemons(_session()), ray.get_runtime_context().gcs_address)
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_EVERY_S):
            if watch.lost() is not None:
                if not over.wait(OWN_WAY_S):
                    _leave(_said(watch, progress))
                return

    threading.Thread(target=look, daemon=True).start()
    try:
        yield
    except Exception as err:
        if watch.lost() is None:
            raise
        raise RayLostError(_said(watch, progress)) from err
    finally:
        over.set()
    if watch.lost() is not None and progress.n_done < progress.n_total:
        raise RayLostError(_said(watch, progress))


def _said(watch: "Watch", progress: Counted) -> str:
    so_far = f"after {progress.n_done} of {progress.n_total} trials"
    return f"Ray was lost {so_far} ({watch.lost()}); {SAFE}"


def _session() -> str:
    from ray._private import worker

    return str(worker._global_node.session_name)


def daemons(session: str) -> dict[int, str]:
    """Those of a session that run on this machine: process -> program."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            program = Path(words[0]).name
            if program in DAEMONS and f"--session-name={session}" in words:
                found[int(folder.name)] = program
    return found


class Watch:
    """Whether what a driver hangs on is there: daemons of this machine, and the head elsewhere."""

    def __init__(
        self,
        here: dict[int, str],
        head: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.here, self.head, self.clock = here, head, clock
        self.asked = self.answered = clock()
        self.why: str | None = None

    def lost(self) -> str | None:
        """What went away; once lost is lost for ever."""
        if self.why is None:
            gone = [program for pid, program in self.here.items() if not _runs(pid)]
            self.why = DAEMONS[gone[0]] if gone else self._silent()
        return self.why

    def _silent(self) -> str | None:
        if "gcs_server" in self.here.values() or self.clock() - self.asked < ASK_EVERY_S:
            return None
        self.asked = self.clock()
        if _answers(self.head):
            self.answered = self.clock()
        silent_s = self.clock() - self.answered
        return f"the head has not answered for {silent_s:.0f} s" if silent_s > ANSWER_S else None


def _runs(pid: int) -> bool:
    """Whether a process is there, and no mere entry that its parent has not taken note of."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ASK_EVERY_S).close()
    except (OSError, ValueError):
        return False
    return True


def _leave(said: str) -> None:
    """The process, from a thread: the main one waits for a Ray that is not there."""
    print(f"\n{said}", file=sys.stderr, flush=True)
    with suppress(Exception):
        local.end()
    os._exit(EXIT_CODE)
