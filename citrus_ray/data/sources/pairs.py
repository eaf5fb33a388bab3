"""Pairs of windows, A before B, side by side in time: does B follow A, or are they of one class?

Wraps another source. Both windows of a pair are from one group of it, or from groups that are
merged here, so that no split can have one window on both sides. Every anchor A gives as many pairs
of the one kind as of the other.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from citrus_ray.data.kinds import AnySource
from citrus_ray.data.source import Count, Handling, Source
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.disk import CHUNK, on_disk
from citrus_ray.data.windows import Index, Origins, Signal, Windows
from citrus_ray.spec import refuse

Samples = Annotated[int, Field(ge=0)]
Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]

CLASSES = {"next": ("other", "next"), "same_class": ("different", "same")}
CONDITION = "/"  # `clarinet/heard`: the class, and the condition that it was met in


class Pairs(Source):
    """`ask: next` needs no label of the source, `ask: same_class` compares them."""

    kind: Literal["pairs"] = "pairs"
    """Pairs of windows of another source."""
    of: AnySource
    """Source whose windows are paired."""
    ask: Literal["next", "same_class"] = "next"
    """Does B follow A (no label needed), or are they of one class?"""
    gap: Samples = 0
    """next: samples between A and what follows it."""
    negatives: Literal["any_run", "same_run", "other_subject"] = "any_run"
    """next: where other Bs are from."""
    buffer: Samples = 0
    """next: samples around A and what follows, in their run, that other Bs keep clear of."""
    partners: Literal["any_run", "across_runs", "across_conditions"] = "any_run"
    """same_class: where B is from, of the same subject."""
    per_anchor: Count = 1
    """Pairs of each kind for each A."""
    groups_of: Count = 1
    """Groups of the source, in the order of their names, that are one group of pairs."""
    shuffle_labels: bool = False
    """A null: whether a pair is of one kind or the other is drawn by lot."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Draws the Bs, and the lot."""

    @model_validator(mode="after")
    def _means_something(self) -> "Pairs":
        if isinstance(self.of, Pairs):
            raise ValueError("of: must be a source of windows, not of pairs; drop the outer one")
        idle = {"next": ("partners",), "same_class": ("gap", "negatives", "buffer")}[self.ask]
        fields = type(self).model_fields
        odd = [name for name in idle if getattr(self, name) != fields[name].default]
        if odd:
            rule = f"{', '.join(odd)}: of no effect with ask={self.ask}"
            raise ValueError(f"{rule}; drop it, or ask otherwise")
        return self

    def check(self) -> None:
        self.of.check()

    def handling(self) -> Handling:
        return Handling(of_windows="it reads pairs of windows, side by side")

    def recordings(self) -> str:
        return self.of.recordings()

    def places(self) -> list[Path]:
        return self.of.places()

    def treatment(self) -> str:
        return self.of.treatment()

    def prepare(self) -> Windows:
        inner = _merged(cache.load(self.of), self.groups_of)
        if inner.origins is None or inner.streams:
            rule = f"kind={self.of.kind}: pairs need windows of one rate"
            way = "fmri, synthetic_fmri and files give them"
            raise refuse(f"{rule}, of which run and time are known; {way}", "of")
        windows = PairCandidates.of(inner, by_class=self.ask == "same_class")
        a, b, y = self._drawn(windows)
        if not len(a):
            raise refuse(self._none_found(inner), "negatives" if self.ask == "next" else "partners")
        if self.shuffle_labels:
            y = np.random.default_rng([9, self.seed]).permutation(y)
        known = vars(inner.origins).values()
        origins = Origins(*(np.stack([of[a], of[b]], axis=1) for of in known))
        left, group = np.unique(inner.group[a], return_inverse=True)
        return replace(
            inner,
            x=_side_by_side(inner.x, a, b),
            y=y,
            group=group.astype(np.int64),
            groups=tuple(inner.groups[g] for g in left),
            origins=origins,
            classes=CLASSES[self.ask],
            caveats=(*inner.caveats, *self._caveats(origins, y)),
            digest=self.digest(),
        )

    # ---- which pairs ----

    def _drawn(self, windows: "PairCandidates") -> tuple[Index, Index, Index]:
        """A, B and label of every pair. An anchor that lacks either kind of B is left out."""
        rng = np.random.default_rng([8, self.seed])
        found = list[tuple[int, int, int]]()
        for anchor in range(len(windows)):
            yes, no = (windows.next if self.ask == "next" else windows.alike)(anchor, self)
            if len(yes) and len(no):
                for label, bs in ((1, yes), (0, no)):
                    found += [(anchor, int(b), label) for b in rng.choice(bs, self.per_anchor)]
        a, b, y = np.array(found, np.int64).reshape(-1, 3).T
        return a, b, y

    def _none_found(self, inner: Windows) -> str:
        there = (
            f"no window of {len(inner)} windows in {len(np.unique(inner.group))} groups has both"
        )
        if self.ask == "next":
            rule = f"negatives={self.negatives}: {there} a next and another B in its group"
            way = "give `of` a stride that gap + window is a multiple of, or raise groups_of"
            return f"{rule}; {way}"
        rule = f"partners={self.partners}: {there} a like and an unlike B in its group"
        return f"{rule}; raise groups_of, or choose other partners"

    def _caveats(self, origins: Origins, y: Index) -> Iterator[str]:
        """Caveats, above all on runs of A and B that give the label away."""
        same_run = origins.run[:, 0] == origins.run[:, 1]
        share = max(float((same_run == (y == k)).mean()) for k in (0, 1))
        if share > 0.55:
            yield f"whether A and B are of one run gives the label of {share:.0%} of pairs away"
        if self.shuffle_labels:
            yield "the labels are shuffled: a null"


class PairCandidates:
    """The windows that pairs are drawn from, and which of them go together."""

    def __init__(self, inner: Windows, origins: Origins, kind: Index, condition: Index) -> None:
        self.group, self.n_times = inner.group, inner.x.shape[2]
        self.subject, self.run, self.first = origins.subject, origins.run, origins.first
        self.kind, self.condition = kind, condition
        groups = np.unique(inner.group).tolist()
        self.members = {g: np.flatnonzero(inner.group == g) for g in groups}

    @classmethod
    def of(cls, inner: Windows, by_class: bool) -> "PairCandidates":
        assert inner.origins is not None
        none = np.zeros(len(inner), np.int64)
        if not by_class:
            return cls(inner, inner.origins, none, none)
        names = [name.partition(CONDITION)[::2] for name in inner.classes]
        parts = (np.array(of) for of in zip(*names, strict=True))
        kind, condition = (np.unique(of, return_inverse=True)[1] for of in parts)
        return cls(inner, inner.origins, kind[inner.labels], condition[inner.labels])

    def __len__(self) -> int:
        return len(self.group)

    def next(self, anchor: int, spec: Pairs) -> tuple[Index, Index]:
        """Windows that follow `anchor`, and windows that do not."""
        there = self.members[int(self.group[anchor])]
        same_run = self.run[there] == self.run[anchor]
        since = self.first[there] - self.first[anchor]  # negative: before
        follows = same_run & (since == self.n_times + spec.gap)
        reach = self.n_times + spec.buffer
        near = same_run & (since > -reach) & (since < self.n_times + spec.gap + reach)
        fits: dict[str, Mask] = {
            "any_run": self.subject[there] == self.subject[anchor],
            "same_run": same_run,
            "other_subject": self.subject[there] != self.subject[anchor],
        }
        return there[follows], there[fits[spec.negatives] & ~near]

    def alike(self, anchor: int, spec: Pairs) -> tuple[Index, Index]:
        """Windows of the class of `anchor`, and of others. Never what shares a volume with it."""
        there = self.members[int(self.group[anchor])]
        same_run = self.run[there] == self.run[anchor]
        apart = ~same_run | (np.abs(self.first[there] - self.first[anchor]) >= self.n_times)
        same_condition = self.condition[there] == self.condition[anchor]
        fits: dict[str, Mask] = {
            "any_run": same_condition,
            "across_runs": same_condition & ~same_run,
            "across_conditions": ~same_condition,
        }
        wanted = (self.subject[there] == self.subject[anchor]) & apart & fits[spec.partners]
        same = self.kind[there] == self.kind[anchor]
        return there[wanted & same], there[wanted & ~same]


def _merged(inner: Windows, n: int) -> Windows:
    """Windows whose groups, by name, are joined by `n`. The last may be larger."""
    if n == 1:
        return inner
    there = np.unique(inner.group)
    parts = np.array_split(there, max(1, len(there) // n))
    block = np.zeros(len(inner.groups), np.int64)
    for number, part in enumerate(parts):
        block[part] = number
    names = tuple("+".join(inner.groups[g] for g in part) for part in parts)
    return replace(inner, group=block[inner.group], groups=names)


def _side_by_side(x: Signal, a: Index, b: Index) -> Signal:
    """Pairs of windows (n, C, T) -> (pairs, C, 2T), on disk."""
    parts = (slice(i, i + CHUNK) for i in range(0, len(a), CHUNK))
    pairs = (np.concatenate([x[a[p]], x[b[p]]], axis=2) for p in parts)
    return on_disk(pairs, (x.shape[1], 2 * x.shape[2]))
