"""Windows: the one dataset type. Every source yields it and everything downstream reads it."""

import operator
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from citrus_ray.context import SignalContext, TargetKind
from citrus_ray.data.fingerprints import Fingerprints
from citrus_ray.spec import refuse

Signal = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]
NO_LABELS = "no labels"
Targets = npt.NDArray[Any]  # int64 of classes and labels, float64 of a value


@dataclass(frozen=True)
class Stream:
    """Channels that were recorded together, at their own rate: the same windows as others."""

    name: str
    x: Signal  # (n, C, T), finite or, where the channel is absent from a window, NaN throughout
    sfreq: float
    ch_names: tuple[str, ...]
    modalities: tuple[str, ...]

    @property
    def context(self) -> SignalContext:
        _, n_chans, n_times = self.x.shape
        return SignalContext(n_chans, n_times, self.sfreq, modalities=self.modalities)


@dataclass(frozen=True)
class Origins:
    """Origins of windows: (n,) each, or (n, 2) where a window is a pair, A before B."""

    subject: Index
    run: Index  # stretches without a break, numbered through the whole set
    first: Index  # the sample of its run that a window begins at

    def take(self, index: Index) -> "Origins":
        return Origins(self.subject[index], self.run[index], self.first[index])


@dataclass(frozen=True)
class Windows:
    """Windows: n of C channels and T samples at one rate, each of a group that no split may cut."""

    x: Signal  # (n, C, T), finite or, where the channel is absent from a window, NaN throughout
    group: Index  # (n,), index into `groups`
    sfreq: float
    ch_names: tuple[str, ...]
    modalities: tuple[str, ...]  # one per channel: eeg, ecg, emg, …
    groups: tuple[str, ...]  # subject or recording names
    # (n,), index into `classes`, or the value of each; (n, K) of labels, 1 of those that a window
    # has, named by `classes`; None for an unlabelled source
    y: Targets | None = None
    classes: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()  # printed beside every number computed from this set
    digest: str = ""
    # of a multi-rate set: all, the first of which is `x`; empty for one rate
    streams: tuple[Stream, ...] = ()
    origins: Origins | None = None  # where the source knows
    # of its recordings as they were read; None: what the windows themselves show has to do
    fingerprints: Fingerprints | None = None
    # what alignment made of them, as in `SignalContext`
    n_segments: int = 1
    padding: tuple[int, int] = (0, 0)
    target: TargetKind = "classes"  # what `y` is
    # what else a table says of windows, (n,) each by the name of its column: session, site, part
    tags: Mapping[str, npt.NDArray[np.str_]] = field(default_factory=dict)
    unit: str = "group"  # or the column by which a split parts groups

    def __post_init__(self) -> None:
        problem = self._broken_rule()
        if problem:
            raise refuse(problem)

    def _broken_rule(self) -> str | None:
        n, n_chans = self.x.shape[:2] if self.x.ndim == 3 else (-1, -1)
        if self.x.ndim != 3 or self.x.dtype != np.float32:
            return f"windows must be (n, C, T) float32, but got {self.x.shape} {self.x.dtype}"
        if n == 0:
            why = "is the window longer than every recording or labelled stretch?"
            return f"no window was found; {why}"
        of_one = (len(self.classes),) if self.target == "labels" else ()
        if self.group.shape != (n,) or (self.y is not None and self.y.shape != (n, *of_one)):
            return f"{n} windows need {n} groups and labels, but got {self.group.shape[0]} groups"
        if len(self.ch_names) != n_chans or len(self.modalities) != n_chans:
            rule = f"{n_chans} channels need as many names and modalities"
            return f"{rule}, but got {self.ch_names}, {self.modalities}"
        streams = self.streams
        if streams and (streams[0].x is not self.x or any(len(s.x) != n for s in streams)):
            rule = f"every stream needs the same {n} windows, the first of them `x`"
            return f"{rule}; replace both, or drop `streams`"
        if self.target == "value" and self.y is not None and not np.isfinite(self.y).all():
            n_bad = int((~np.isfinite(self.y)).sum())
            return f"{n_bad} of {n} windows have no finite value; correct them or leave them out"
        if self.origins and any(len(known) != n for known in vars(self.origins).values()):
            return f"{n} windows need as many origins; give one for each, or none"
        return None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def context(self) -> SignalContext:
        _, n_chans, n_times = self.x.shape
        n_parts = 2 if self.are_pairs else 1
        streams = tuple(stream.context for stream in self.streams)
        return SignalContext(
            *(n_chans, n_times, self.sfreq, self.n_outputs, self.modalities, n_parts, streams),
            n_segments=self.n_segments,
            padding=self.padding,
            names=self.ch_names,
            target=self.target,
        )

    @property
    def n_outputs(self) -> int:
        """Numbers that are predicted of a window."""
        return int(self.y is not None) if self.target == "value" else len(self.classes)

    @property
    def are_pairs(self) -> bool:
        """Whether each is two windows side by side in time, (n, C, 2T)."""
        return self.origins is not None and self.origins.run.ndim == 2

    @property
    def strata(self) -> Index:
        """(n,): what parts and subsets of windows must all hold, and share alike: the classes, or
        of several labels the rarest that a window has. A value has none."""
        labels: Index = self.labels
        if self.target == "labels":
            none = np.full(len(labels), len(self.classes))
            rare_first = np.argsort(labels.sum(axis=0), kind="stable")
            there = labels[:, rare_first] > 0
            return np.where(there.any(axis=1), rare_first[there.argmax(axis=1)], none)
        return np.zeros(len(labels), np.int64) if self.target == "value" else labels

    @property
    def labels(self) -> Targets:
        """`y`, for those who need it: an unlabelled set is refused with the way out."""
        if self.y is None:
            way = "give `labels:` a CSV, or use it for pre-training only"
            raise refuse(f"this set has no labels; {way}")
        return self.y

    def take(
        self, index: Index, rows: Callable[[Signal, Index], Signal] = operator.getitem
    ) -> "Windows":
        """Windows at `index`, in that order. `rows` copies their signals: into memory, or
        elsewhere."""
        streams = tuple(replace(stream, x=rows(stream.x, index)) for stream in self.streams)
        x = streams[0].x if streams else rows(self.x, index)
        y = None if self.y is None else self.y[index]
        origins = self.origins and self.origins.take(index)
        # without origins they are of windows, which are numbered anew
        known = self.fingerprints if self.origins else None
        tags = {name: of[index] for name, of in self.tags.items()}
        kept = replace(self, x=x, group=self.group[index], y=y, streams=streams, origins=origins)
        kept = replace(kept, tags=tags)
        return replace(kept, fingerprints=known)

    @property
    def labels_said(self) -> str:
        """What its labels are, in words."""
        if self.target == "value" and self.y is not None:
            low, middle, high = np.quantile(self.y, [0, 0.5, 1])
            return f"values from {low:.4g} to {high:.4g}, median {middle:.4g}"
        if self.target == "labels":
            counts = ", ".join(f"{name} {n}" for name, n in self.class_counts().items())
            return f"{len(self.classes)} labels, any at once: {counts}"
        return f"{len(self.classes)} classes" if self.classes else NO_LABELS

    def class_counts(self) -> dict[str, int]:
        if self.target == "labels":
            return dict(zip(self.classes, self.labels.sum(axis=0).tolist(), strict=True))
        counts = Counter(self.labels.tolist())
        return {name: counts[k] for k, name in enumerate(self.classes)}
