"""Sets whose originals are recordings with labelled stretches: what they share. Each set says in
its own file which recordings, channels and stretches it has; how they are read and cut is in
recordings.py and cut.py."""

import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from pydantic import model_validator

from citrus_ray.data.faults import unknown
from citrus_ray.data.formats.channels import alike
from citrus_ray.data.formats.digests import file_digest
from citrus_ray.data.formats.recordings import read
from citrus_ray.data.formats.tracks import Track
from citrus_ray.data.root import Root, folder_of
from citrus_ray.data.source import Normalize, Positive, Source
from citrus_ray.data.sources.files import Item
from citrus_ray.data.windowing.assemble import assemble, gather
from citrus_ray.data.windowing.cutting import Cutter
from citrus_ray.data.windows import Signal, Windows
from citrus_ray.spec import SpecError, digest_of, refuse


class Recorded(Source):
    """Windows of `seconds` at `sfreq` from the recordings under `root`."""

    kind: str
    """Which set."""
    root: Root = None
    """Folder of the set."""
    seconds: Positive
    """Length of a window in s."""
    sfreq: Positive
    """Rate in Hz that recordings are resampled to."""
    normalize: Normalize = "window"
    """z-score each channel over its window or its recording, or not at all."""

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

    def content(self) -> str:
        """Every file that is used, by its name relative to root: the folder may move."""
        folder = self.folder
        return digest_of(
            sorted((os.path.relpath(path, folder), file_digest(path)) for path in set(self.files()))
        )

    def check(self) -> None:
        self._survey()

    def _survey(self) -> list[Item]:
        items = self.survey()
        alike({item.header.path: item.picks for item in items}, units=self.normalize == "none")
        return items

    def prepare(self) -> Windows:
        items = self._survey()
        cut = Cutter(self.sfreq, self.n_times, self.n_times, self.normalize, "drop")
        # resample before cutting: cutting first leaves filter edges in the window
        parts = (cut(self.signal(item), item.stretches) for item in items)
        gathered = gather(parts, [Track(items[0].picks, self.sfreq, self.n_times)])
        wanted, found = (
            self.order({s.label for i in items for s in i.stretches}),
            {s.label for s in gathered.stretches},
        )
        classes, empty = (
            tuple(c for c in wanted if c in found),
            [c for c in wanted if c not in found],
        )
        windows = assemble(
            cut, gathered, classes, self.digest(), (*self.notes(items), *slow(items, self.sfreq))
        )
        return replace(
            windows, caveats=(*windows.caveats, *(f"no window of class {label}" for label in empty))
        )


def slow(items: Sequence[Item], sfreq: float) -> Iterator[str]:
    """Channels that were recorded more slowly than they are given out."""
    rates = {c.name: c.sfreq for item in items for c in item.picks if c.sfreq < 0.99 * sfreq}
    for rate in sorted(set(rates.values())):
        names = ", ".join(name for name in rates if rates[name] == rate)
        yield f"{names}: recorded at {rate:g} Hz, resampled to {sfreq:g} Hz: nothing above {rate / 2:g} Hz is in there"


def found_in(folder: Path, pattern: str, what: str) -> list[Path]:
    """The files that match, sorted; at least one."""
    paths = sorted(path for path in folder.glob(pattern) if path.is_file())
    if not paths:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise refuse(
            f"{folder} holds no {what} ({pattern}), but {there}; correct `root`, or fetch the set",
            "root",
        )
    return paths


def wanted_of(field: str, wanted: Sequence[str] | None, known: Iterable[str]) -> list[str]:
    """Those of `known` that are wanted, or all; a name that is not known is a typo."""
    known = list(known)
    wrong = [unknown(field, name, known) for name in wanted or () if name not in known]
    if wrong:
        raise SpecError(wrong)
    return [name for name in known if wanted is None or name in wanted]
