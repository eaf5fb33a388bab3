"""Sets whose originals are recordings with labelled stretches: what they share. Each set says in its own file which
recordings, channels and stretches it has; how they are read and cut is in recordings.py and cut.py.
"""

import math
import os
import tempfile
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
from pydantic import model_validator

from citrus_ray.data.cache import cache_root
from citrus_ray.data.channels import alike
from citrus_ray.data.cut import Cut
from citrus_ray.data.files import Item, Positive
from citrus_ray.data.labels import Segment, tidy, unknown
from citrus_ray.data.recordings import file_digest, read
from citrus_ray.data.root import Root, folder_of, place_of
from citrus_ray.data.source import Normalize, Source
from citrus_ray.data.windows import Signal, Windows
from citrus_ray.spec import Problem, SpecError, digest_of, refuse

A = TypeVar("A")
B = TypeVar("B")


class Recorded(Source):
    """Windows of `seconds` at `sfreq` from the recordings under `root`."""

    kind: str
    root: Root = None
    seconds: Positive
    sfreq: Positive
    normalize: Normalize = "window"

    @abstractmethod
    def files(self) -> list[Path]:
        """Every file that the windows depend on, or a SpecError saying which is missing."""

    @abstractmethod
    def survey(self) -> list[Item]:
        """Every recording that is used, from headers and labels; or everything that is wrong."""

    def order(self, found: set[str]) -> Sequence[str]:
        """Class names in their order. Those without a window are left out, and a caveat says so."""
        return sorted(found)

    def notes(self, items: Sequence[Item]) -> Iterator[str]:
        """Caveats that come with the set, whatever is cut from it."""
        yield from ()

    def signal(self, item: Item) -> Signal:
        """(C, T) at `sfreq`."""
        return read(item.header, item.picks, self.sfreq).x

    @property
    def n_times(self) -> int:
        return round(self.seconds * self.sfreq)

    @property
    def folder(self) -> Path:
        return folder_of(self.root, self.kind)

    @model_validator(mode="after")
    def _window_is_long_enough(self) -> Self:
        if self.n_times < 2:
            rule = f"seconds={self.seconds:g} is {self.n_times} samples at sfreq={self.sfreq:g}"
            raise ValueError(f"{rule}; a window needs 2: lengthen it")
        return self

    def recordings(self) -> str:
        return str(place_of(self.root, self.kind).resolve())

    def content(self) -> str:
        """Every file that is used, by its name relative to root: the folder may move."""
        folder = self.folder
        return digest_of(sorted((os.path.relpath(path, folder), file_digest(path)) for path in set(self.files())))

    def check(self) -> None:
        self._survey()

    def _survey(self) -> list[Item]:
        items = self.survey()
        alike({item.header.path: item.picks for item in items}, units=self.normalize == "none")
        return items

    def prepare(self) -> Windows:
        items, tally, origin = self._survey(), Counter[str](), list[Segment]()
        cut = Cut(self.sfreq, self.n_times, self.n_times, self.normalize, "drop")

        def parts() -> Iterator[Signal]:
            for item in items:
                # resample before cutting: cutting first leaves filter edges in the window
                pieces = cut(self.signal(item), item.segments)
                tally.update(pieces.tally)
                origin.extend(pieces.origin)
                yield pieces.x

        picks = items[0].picks
        x = stacked(parts(), (len(picks), self.n_times))
        wanted, found = self.order({s.label for item in items for s in item.segments}), {s.label for s in origin}
        groups, classes = tuple(sorted({s.group for s in origin})), tuple(label for label in wanted if label in found)
        empty = [f"no window of class {label}" for label in wanted if label not in found]
        return Windows(
            x=x,
            y=np.array([classes.index(s.label) for s in origin], dtype=np.int64),
            group=np.searchsorted(groups, [s.group for s in origin]).astype(np.int64),
            sfreq=self.sfreq,
            ch_names=tuple(c.name for c in picks),
            modalities=tuple(c.modality for c in picks),
            groups=groups,
            classes=classes,
            caveats=(*self.notes(items), *slow(items, self.sfreq), *cut.caveats(tally, origin), *empty),
            digest=self.digest(),
        )


def stacked(parts: Iterable[Signal], shape: tuple[int, int]) -> Signal:
    """(n, C, T) of all parts, on disk: a set may be larger than memory. The file goes when the array does."""
    cache_root().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=cache_root()) as file:
        for part in parts:
            file.write(np.ascontiguousarray(part, np.float32).data)
        file.flush()
        n = file.tell() // (4 * math.prod(shape))
        return np.memmap(file, np.float32, "r+", shape=(n, *shape)) if n else np.zeros((0, *shape), np.float32)


def slow(items: Sequence[Item], sfreq: float) -> Iterator[str]:
    """Channels that were recorded more slowly than they are given out."""
    rates = {c.name: c.sfreq for item in items for c in item.picks if c.sfreq < 0.99 * sfreq}
    for rate in sorted(set(rates.values())):
        names = ", ".join(name for name in rates if rates[name] == rate)
        yield f"{names}: recorded at {rate:g} Hz, resampled to {sfreq:g} Hz: nothing above {rate / 2:g} Hz is in there"


def each(things: Iterable[A], step: Callable[[A], B]) -> list[B]:
    """`step` of every thing, or everything that they complain of."""
    out, problems = list[B](), list[Problem]()
    for thing in things:
        try:
            out.append(step(thing))
        except SpecError as err:
            problems.extend(err.problems)
    if problems:
        raise SpecError(tidy(problems))
    return out


def found_in(folder: Path, pattern: str, what: str) -> list[Path]:
    """The files that match, sorted; at least one."""
    paths = sorted(path for path in folder.glob(pattern) if path.is_file())
    if not paths:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise refuse(f"{folder} holds no {what} ({pattern}), but {there}; correct `root`, or fetch the set", "root")
    return paths


def wanted_of(field: str, wanted: Sequence[str] | None, known: Iterable[str]) -> list[str]:
    """Those of `known` that are wanted, or all; a name that is not known is a typo."""
    known = list(known)
    wrong = [unknown(field, name, known) for name in wanted or () if name not in known]
    if wrong:
        raise SpecError(wrong)
    return [name for name in known if wanted is None or name in wanted]
