"""Windows: the one dataset type. Every source yields it and everything downstream reads it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from citrus_ray.context import SignalContext
from citrus_ray.spec import SpecError, refuse

Signal = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """n windows of C channels and T samples at one rate, each belonging to a group that no split may cut."""

    x: Signal  # (n, C, T), finite
    group: Index  # (n,), index into `groups`
    sfreq: float
    ch_names: tuple[str, ...]
    modalities: tuple[str, ...]  # one per channel: eeg, ecg, emg, …
    groups: tuple[str, ...]  # subject or recording names
    y: Index | None = None  # (n,), index into `classes`; None for an unlabelled source
    classes: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()  # printed beside every number computed from this set
    digest: str = ""

    def __post_init__(self) -> None:
        problem = self._broken_rule()
        if problem:
            raise refuse(problem)

    def _broken_rule(self) -> str | None:
        n, n_chans = self.x.shape[:2] if self.x.ndim == 3 else (-1, -1)
        if self.x.ndim != 3 or self.x.dtype != np.float32:
            return f"windows must be (n, C, T) float32, but got {self.x.shape} {self.x.dtype}"
        if n == 0:
            return "no window was found; is the window longer than every recording or labelled stretch?"
        if self.group.shape != (n,) or (self.y is not None and self.y.shape != (n,)):
            return f"{n} windows need {n} groups and labels, but got {self.group.shape[0]} groups"
        if len(self.ch_names) != n_chans or len(self.modalities) != n_chans:
            return f"{n_chans} channels need as many names and modalities, but got {self.ch_names}, {self.modalities}"
        return None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def context(self) -> SignalContext:
        _, n_chans, n_times = self.x.shape
        return SignalContext(n_chans, n_times, self.sfreq, len(self.classes), self.modalities)

    @property
    def labels(self) -> Index:
        """`y`, for those who need it: an unlabelled set is refused with the way out."""
        if self.y is None:
            raise refuse("this set has no labels; give `labels:` a CSV, or use it for pre-training only")
        return self.y

    def take(self, index: Index) -> "Windows":
        """The windows at `index`, in that order."""
        return replace(self, x=self.x[index], group=self.group[index], y=None if self.y is None else self.y[index])

    def class_counts(self) -> dict[str, int]:
        counts = Counter(self.labels.tolist())
        return {name: counts[k] for k, name in enumerate(self.classes)}


def concatenate(parts: Sequence[Windows]) -> Windows:
    """Windows of several recordings of one set: same channels, rate, classes and groups."""
    first = parts[0]
    if any((p.ch_names, p.sfreq, p.x.shape[2]) != (first.ch_names, first.sfreq, first.x.shape[2]) for p in parts):
        raise SpecError([*refuse("recordings of one set must share channels, rate and window length").problems])
    x = np.concatenate([part.x for part in parts])
    y = None if first.y is None else np.concatenate([part.labels for part in parts])
    return replace(first, x=x, group=np.concatenate([part.group for part in parts]), y=y)
