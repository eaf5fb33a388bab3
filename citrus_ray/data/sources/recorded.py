"""Sets whose originals are recordings with labelled stretches: what they share. Each set says in
its own file which recordings, channels and stretches it has; how they are read and cut is in
recordings.py and cut.py."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import model_validator

from citrus_ray.data.faults import nothing_found, refuse_unknown
from citrus_ray.data.formats.channels import alike
from citrus_ray.data.formats.digests import content_of, file_fingerprints
from citrus_ray.data.formats.recordings import Recording, read
from citrus_ray.data.formats.tracks import Track
from citrus_ray.data.root import Root, folder_of
from citrus_ray.data.source import Handling, Normalize, Positive, Source
from citrus_ray.data.sources.files import Item
from citrus_ray.data.windowing.assemble import assemble, gather
from citrus_ray.data.windowing.cutting import Cutter, RecordingWindows
from citrus_ray.data.windows import Windows


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

    def recording(self, item: Item) -> Recording:
        """The channels of a recording at `sfreq`."""
        return read(item.header, item.picks, self.sfreq)

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
        """A digest of every file that is used."""
        return content_of(self.files(), self.folder)

    def check(self) -> None:
        self._survey()

    def _survey(self) -> list[Item]:
        items = self.survey()
        alike({item.header.path: item.picks for item in items}, units=self.normalize == "none")
        return items

    def handling(self) -> Handling:
        return Handling(self.normalize, resampled=True)

    def recorded_channels(self) -> dict[str, tuple[str, float]]:
        return {c.name: (c.unit, c.sfreq) for c in self.survey()[0].picks}

    def prepare(self) -> Windows:
        items = self._survey()
        cut = Cutter(self.sfreq, self.n_times, self.n_times, self.normalize, "drop")
        gathered = gather(
            (self._windows(item, cut) for item in items),
            [Track(items[0].picks, self.sfreq, self.n_times)],
        )
        names = self.order({s.label for item in items for s in item.stretches})
        there = {s.label for s in gathered.stretches}
        classes = tuple(name for name in names if name in there)
        caveats = (*self.notes(items), *slow(items, self.sfreq))
        windows = assemble(cut, gathered, classes, self.digest(), caveats)
        empty = (f"no window of class {name}" for name in names if name not in there)
        return replace(windows, caveats=(*windows.caveats, *empty))

    def _windows(self, item: Item, cut: Cutter) -> RecordingWindows:
        # resample before cutting: cutting first leaves filter edges in the window
        whole = self.recording(item)
        known = [whole.fingerprints, file_fingerprints(item.header.path)]
        return replace(cut(whole.x, item.stretches), fingerprints=np.concatenate(known))


def slow(items: Sequence[Item], sfreq: float) -> Iterator[str]:
    """Caveats on channels that were recorded more slowly than they are given out."""
    rates = {c.name: c.sfreq for item in items for c in item.picks if c.sfreq < 0.99 * sfreq}
    for rate in sorted(set(rates.values())):
        names = ", ".join(name for name in rates if rates[name] == rate)
        done = f"recorded at {rate:g} Hz, resampled to {sfreq:g} Hz"
        yield f"{names}: {done}: nothing above {rate / 2:g} Hz is in there"


def found_in(folder: Path, pattern: str, what: str) -> list[Path]:
    """Files that match, sorted; at least one."""
    paths = sorted(path for path in folder.glob(pattern) if path.is_file())
    if not paths:
        way = "; correct `root`, or fetch the set"
        raise nothing_found(f"{folder} holds no {what} ({pattern}), but ", folder, "root", way)
    return paths


def wanted_of(field: str, wanted: Sequence[str] | None, known: Iterable[str]) -> list[str]:
    """Those of `known` that are wanted, or all; a name that is not known is a typo."""
    known = list(known)
    refuse_unknown(field, wanted or (), known)
    return [name for name in known if wanted is None or name in wanted]
