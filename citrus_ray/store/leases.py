"""Leases say who computes an encoder right now, so that two sweeps on one store compute it once.

A lease is a file of its own beside the entry, rewritten while its owner lives. A newcomer writes
its own first and looks second: seeing another live one it withdraws, so of two that come at once
never both go on. No file is ever created twice under one name, so this holds on object stores,
which have no exclusive create, and removing the lease of a dead owner can hit no one else.
"""

import json
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from citrus_ray.records import now
from citrus_ray.store.entries import CLAIM
from citrus_ray.store.files import Storage

BEAT_S = 10.0  # between two rewrites of a lease: one small write, next to hours of training
EXPIRE_S = 60.0  # without one, the owner counts as dead: five lost beats, or a machine that is gone


def _here() -> str:
    """This machine, as far as process numbers mean the same: containers share a host name but not
    these."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


class Lease:
    """Held for the length of a `with` block; a thread keeps it fresh."""

    def __init__(self, storage: Storage, digest: str, beat_s: float) -> None:
        self.storage, self.beat_s = storage, beat_s
        self.path = f"{digest}/{CLAIM}{uuid.uuid4().hex}.json"
        self._facts = {"host": _here(), "pid": os.getpid(), "since": now()}
        self._n_beats = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def beat(self) -> None:
        self._n_beats += 1
        self.storage.write(self.path, json.dumps(self._facts | {"beat": self._n_beats}).encode())

    def withdraw(self) -> None:
        self.storage.delete(self.path)

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self.withdraw()

    def _keep(self) -> None:
        while not self._stop.wait(self.beat_s):
            try:
                self.beat()
            except OSError:  # storage that is away for a moment; the next beat tries again
                continue


@dataclass
class Leases:
    """The leases in a store, as one process sees them over time."""

    storage: Storage
    beat_s: float = BEAT_S
    expire_s: float = EXPIRE_S
    # a lease's last text, and when it changed
    _seen: dict[str, tuple[bytes, float]] = field(default_factory=dict)

    def holder(self, digest: str) -> str | None:
        """Who holds it, as a phrase for people; what the dead left behind is removed on the way."""
        return self._other(digest, "")

    def take(self, digest: str) -> Lease | None:
        """The lease, to be entered; None where another holds it."""
        lease = Lease(self.storage, digest, self.beat_s)
        lease.beat()
        if self._other(digest, lease.path):
            lease.withdraw()
            return None
        return lease

    def take_unless(self, digest: str, done: Callable[[], bool]) -> Lease | None:
        """Wait for the lease; None once `done()`."""
        while not done():
            lease = self.take(digest)
            if lease is not None:
                return lease
            # random: two that met must not meet again
            time.sleep(random.uniform(0.2, 1.0) * min(self.beat_s, 2.0))
        return None

    def _other(self, digest: str, mine: str) -> str | None:
        for file in self.storage.list(digest):
            if not file.name.startswith(CLAIM) or file.path == mine:
                continue
            text = self._read(file.path)
            if text is None:
                continue
            if not self._is_dead(file.path, text):
                return _phrase(text)
            self.storage.delete(file.path)
        return None

    def _read(self, path: str) -> bytes | None:
        try:
            return self.storage.read(path)
        except FileNotFoundError:
            return None

    def _is_dead(self, path: str, text: bytes) -> bool:
        """Its process is gone from this machine, or it did not beat for `expire_s` of our own
        clock.

        Our clock and not the file's time: the clocks of two machines and of their storage need not
        agree.
        """
        facts = _facts(text)
        pid = facts.get("pid")
        if facts.get("host") == _here() and isinstance(pid, int) and not _is_alive(pid):
            return True
        last, since = self._seen.get(path, (None, 0.0))
        if text != last:
            self._seen[path] = (text, time.monotonic())
            return False
        return time.monotonic() - since > self.expire_s


def _facts(text: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError, RecursionError):  # damaged: it expires as any other
        return {}


def _phrase(text: bytes) -> str:
    facts = _facts(text)
    host = str(facts.get("host", "?")).partition(" ")[0]
    return f"process {facts.get('pid', '?')} on {host} since {facts.get('since', '?')}"


def _is_alive(pid: int) -> bool:
    if not 0 < pid < 2**31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
