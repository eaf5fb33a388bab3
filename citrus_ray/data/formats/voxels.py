"""Subjects differ in their voxels: which columns of a common array each one's go to.

Averaging over regions makes subjects alike before they come here. Without it a voxel's number means
another place in another subject's brain: what a network learns of one, it cannot carry to the
other, unless it learns a projection for each, which columns of their own give it (`voxels: own`
under a linear input layer).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Literal

import numpy as np

from citrus_ray.data.formats.signals import Channel
from citrus_ray.data.windows import Signal
from citrus_ray.spec import Problem

Voxels = Literal["same", "pad", "own"]
Channels = tuple[Channel, ...]


@dataclass(frozen=True)
class Layout:
    """The common channels, and the first and the number of those that are a subject's."""

    voxels: Voxels
    channels: Channels
    columns: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, found: Sequence[tuple[str, Channels]], voxels: Voxels) -> "Layout":
        own = dict(found)
        sizes = [len(channels) for channels in own.values()]
        if voxels == "own":
            names = [replace(c, name=f"{who}:{c.name}") for who, of in own.items() for c in of]
            starts = accumulate(sizes, initial=0)
            columns = dict(zip(own, zip(starts, sizes, strict=False), strict=True))
            return cls(voxels, tuple(names), columns)
        channels = max(own.values(), key=len)
        if len(set(sizes)) > 1:
            channels = tuple(replace(c, name=f"v{i}") for i, c in enumerate(channels))
        return cls(voxels, channels, {who: (0, n) for who, n in zip(own, sizes, strict=True)})

    @staticmethod
    def problems(found: Sequence[tuple[Path, str, Channels]], voxels: Voxels) -> Iterator[Problem]:
        """Runs whose voxels differ from others of their subject, or of all if `voxels` is same."""
        way = "give each one mask"
        if voxels == "same":
            way = "mask regions that all have, or set `voxels: pad`"
        first: dict[str, tuple[Path, list[str]]] = {}
        for path, subject, channels in found:
            names = [channel.name for channel in channels]
            other, wanted = first.setdefault("" if voxels == "same" else subject, (path, names))
            if names != wanted:
                rule = f"has {len(names)} channels, but {other.name} has {len(wanted)}"
                if len(names) == len(wanted):
                    rule = f"has other channels than {other.name}"
                yield Problem("voxels", f"{rule}; {way}", str(path))

    def placed(self, x: Signal, subject: str) -> Signal:
        """Signals (C of the subject, T) -> (C, T), zeros elsewhere."""
        first, n = self.columns[subject]
        if n == len(self.channels):
            return x
        return np.pad(x, ((first, len(self.channels) - first - n), (0, 0)))

    def caveats(self) -> Iterator[str]:
        sizes = sorted(n for _, n in self.columns.values())
        if self.voxels == "own" and len(sizes) > 1:
            rule = "each person has voxel columns of their own"
            yield f"{rule}: a network knows nothing of people it was not trained on"
        elif len(set(sizes)) > 1:
            rule = f"people have {sizes[0]} to {sizes[-1]} voxels"
            yield f"{rule}, padded with zeros and matched by their number alone"
