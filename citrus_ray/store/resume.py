"""The state that an interrupted pre-training goes on from: one file beside the entry it is to
become.

What is in it is its owner's business; here it is written at most every so often, checked when read,
and set aside where it does not fit.
"""

import hashlib
import io
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import nn

from citrus_ray import records
from citrus_ray.store.entries import STATE
from citrus_ray.store.files import Where, open_storage

# A state is about three times its model. Written to a disk that takes well under a second, to
# object storage a few:
# a few percent of 30 s at most, and 30 s is what a crash can cost. Where it is dearer, SHARE makes
# it rarer.
EVERY_S = 30.0
SHARE = 0.03
FORMAT = 2
Saved = dict[str, Any]


def made_by(module: nn.Module, device: str) -> dict[str, str]:
    """What must be equal for a state to be gone on from; otherwise the run would be neither the old
    nor the new one."""
    shapes = sorted((name, tuple(t.shape), str(t.dtype)) for name, t in module.state_dict().items())
    facts = {
        "format": str(FORMAT),
        "device": torch.device(device).type,  # their random generators have different states
        "module": hashlib.sha256(repr(shapes).encode()).hexdigest()[:16],
    }
    versions = records.versions()
    return facts | {name: versions[name] for name in ("citrus_ray", "torch", "numpy")}


class State:
    """The saved state of one digest. `offer` is called after every epoch and, when it is time,
    copies it; a thread writes the copy while training goes on."""

    def __init__(self, store: Where, digest: str) -> None:
        self.storage = open_storage(store)
        self.path = f"{digest}/{STATE}"
        self._cost = 0.0
        self._last = time.monotonic()
        self._writer = ThreadPoolExecutor(max_workers=1)
        self._writing: Future[None] | None = None

    def offer(self, make: Callable[[], Saved]) -> None:
        """Take a copy where it is time. What went wrong with the last one is raised."""
        started = time.monotonic()
        if started - self._last < max(EVERY_S, self._cost / SHARE):
            return
        if self._writing is not None and not self._writing.done():
            return
        self.wait()
        self._writing = self._writer.submit(self._write, _copied(make()), started)

    def _write(self, saved: Saved, started: float) -> None:
        buffer = io.BytesIO()
        torch.save(saved, buffer)
        content = buffer.getvalue()
        self.storage.write(self.path, hashlib.sha256(content).digest() + content)
        self._last = time.monotonic()
        self._cost = self._last - started

    def wait(self) -> None:
        """Until nothing is being written: before the lease on the digest goes to someone else."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def read(self, made_by: dict[str, str]) -> Saved | None:
        """What was saved; None, with a warning, where it cannot be gone on from."""
        try:
            content = self.storage.read(self.path)
        except FileNotFoundError:
            return None
        try:
            saved = _checked(content)
            _compare(saved["made_by"], made_by)
        except Exception as err:  # whatever a broken pickle may raise
            self._set_aside(content, str(err))
            return None
        return saved

    def _set_aside(self, content: bytes, why: str) -> None:
        self.storage.write(f"{self.path}.aside", content)
        self.clear()
        what = f"{self.storage.name}/{self.path}: cannot be gone on from: {why}"
        then = f"it is set aside as {self.path}.aside and the run starts over"
        warnings.warn(f"{what}; {then}", stacklevel=3)

    def clear(self) -> None:
        """The entry is stored, so nothing is left to go on with."""
        self.wait()
        self.storage.delete(self.path)


def _copied(value: Any) -> Any:
    """A copy in main memory that no step of training changes."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(of) for key, of in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_copied, value))
    return value


def _checked(content: bytes) -> Saved:
    checksum, body = content[:32], content[32:]
    if hashlib.sha256(body).digest() != checksum:
        raise ValueError("its checksum does not match")
    return dict(torch.load(io.BytesIO(body), map_location="cpu", weights_only=True))


def _compare(saved: dict[str, str], now: dict[str, str]) -> None:
    changed = [key for key in now if saved.get(key) != now[key]]
    if changed:
        raise ValueError(", ".join(f"{key} was {saved.get(key)}, is {now[key]}" for key in changed))
