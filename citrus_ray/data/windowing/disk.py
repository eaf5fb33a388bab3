"""Windows on disk, not in memory: a set may be larger than what a machine can hold."""

import math
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self

import numpy as np

from citrus_ray.data.root import cache_root, written_to
from citrus_ray.data.windows import Index, Signal

CHUNK = 512  # windows copied at a time


class DiskArray:
    """An array (n, *shape) float32 that grows on disk; its nameless file goes with it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape, self._folder = shape, cache_root()
        with written_to(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (closed in __exit__)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None
    ) -> None:
        with suppress(OSError):  # of a full disk, which `add` or `array` has told of
            self._file.close()

    def add(self, x: Signal) -> None:
        """One window, or several: (*shape) or (k, *shape)."""
        x = np.ascontiguousarray(x, np.float32)
        with written_to(self._folder):
            self._file.write(x.data)

    def array(self) -> Signal:
        """All that was added, memory-mapped; outlives this."""
        with written_to(self._folder):
            self._file.flush()
        n = self._file.tell() // (4 * math.prod(self._shape))
        if not n:
            return np.zeros((0, *self._shape), np.float32)
        return np.memmap(self._file, np.float32, "r+", shape=(n, *self._shape))


def on_disk(parts: Iterable[Signal], shape: tuple[int, ...]) -> Signal:
    """An array on disk of all parts, (k, *shape) each."""
    with DiskArray(shape) as whole:
        for part in parts:
            whole.add(part)
        return whole.array()


def rows_on_disk(x: Signal, index: Index) -> Signal:
    """Rows `x[index]` on disk."""
    return on_disk((x[index[i : i + CHUNK]] for i in range(0, len(index), CHUNK)), x.shape[1:])
