"""What every source is: a spec that can be prepared into `Windows`, and how windows are normalised."""

import os
from abc import abstractmethod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from citrus_ray.data.windows import Signal, Windows
from citrus_ray.spec import Spec

Normalize = Literal["none", "window", "recording"]


class Source(Spec):
    """Where signals come from. `prepare` does the work; `citrus_ray.data.windowing.cache.load` does it once."""

    kind: str

    @abstractmethod
    def prepare(self) -> Windows:
        """Read or make every window. Slow: call `cache.load(source)` instead."""

    def check(self) -> None:
        """Raise one SpecError with everything that would make `prepare` fail, as far as is cheap to tell."""

    def content(self) -> str:
        """A digest of the bytes outside the spec that the windows depend on; empty where there are none."""
        return ""

    def recordings(self) -> str:
        """Equal for sources that read the same recordings, however they cut them: their folder, else the digest."""
        root = getattr(self, "root", None)
        return str(Path(os.path.expandvars(root)).expanduser().resolve()) if root else self.digest()

    def identity(self) -> dict[str, Any]:
        content = self.content()
        return super().identity() | ({"content": content} if content else {})


def zscore(x: Signal) -> Signal:
    """Zero mean and unit variance over the last axis; a flat channel becomes zeros, not NaN."""
    centred = x - x.mean(axis=-1, keepdims=True, dtype=np.float64)
    spread = centred.std(axis=-1, keepdims=True)
    return np.where(spread > 0, centred / np.where(spread > 0, spread, 1), 0).astype(np.float32)
