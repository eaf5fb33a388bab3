"""BIDMC PPG and Respiration (Pimentel et al. 2017): 53 patients of an intensive care unit, 8
minutes each at 125 Hz.

Reads the CSV layout, `bidmc_NN_Signals.csv` with the columns RESP, PLETH, V, AVR and II. There are
no labels: this is a set to pre-train on.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import model_validator

from citrus_ray.data.faults import AGAIN, broken, each, nothing_found, refuse_unknown
from citrus_ray.data.fingerprints import fingerprints_of
from citrus_ray.data.formats.digests import file_fingerprints, refuse_copies, sealed_digest
from citrus_ray.data.formats.labels import Stretch
from citrus_ray.data.formats.recordings import resample
from citrus_ray.data.formats.signals import Channel
from citrus_ray.data.formats.tracks import Track
from citrus_ray.data.modality import guess_modality
from citrus_ray.data.originals import PHYSIONET, Original
from citrus_ray.data.root import Root, folder_of
from citrus_ray.data.source import Names, Normalize, Positive, Source
from citrus_ray.data.windowing.assemble import assemble, gather
from citrus_ray.data.windowing.cutting import Cutter, RecordingWindows
from citrus_ray.data.windows import Signal, Windows
from citrus_ray.spec import digest_of

PATTERN = "bidmc_*_Signals.csv"
TIME = "Time [s]"
SFREQ = 125.0
ORIGINAL = Original(
    name="bidmc",
    base_url="https://physionet.org/files/bidmc/1.0.0/",
    page="https://physionet.org/content/bidmc/1.0.0/",
    sums="SHA256SUMS.txt",
    wanted=r"bidmc_csv/bidmc_\d\d_Signals\.csv",
    holds="ppg, ecg, resp; 53 subjects; no classes; 125 Hz; 7.1 h",
    licence="ODC-BY 1.0",
    citation=f"Pimentel MAF et al. IEEE Trans Biomed Eng 64(8):1914-1923 (2017). {PHYSIONET}",
)


class Bidmc(Source):
    """Windows of 53 patients, unlabelled, a group each."""

    kind: Literal["bidmc"] = "bidmc"
    """BIDMC: PPG, ECG and breathing of 53 patients, unlabelled."""
    root: Root = None
    """Folder of the set."""
    seconds: Positive = 8.0
    """Length of a window in s."""
    sfreq: Positive = SFREQ
    """Rate in Hz that recordings are resampled to."""
    channels: Names = ("PLETH",)
    """Columns of the files, in this order: RESP, PLETH, V, AVR, II."""
    normalize: Normalize = "window"
    """z-score each channel over its window or its recording, or not at all."""

    @property
    def n_times(self) -> int:
        return round(self.seconds * self.sfreq)

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if self.n_times < 2:
            rule = f"seconds={self.seconds:g} is {self.n_times} samples at sfreq={self.sfreq:g}"
            raise ValueError(f"{rule}; a window needs 2: lengthen it")
        if len(set(self.channels)) < len(self.channels):
            said = ", ".join(self.channels)
            raise ValueError(f"channels must name each one once, but got {said}")
        return self

    def _files(self) -> list[Path]:
        folder = folder_of(self.root, self.kind)
        paths = sorted(folder.glob(f"**/{PATTERN}"))
        if not paths:
            way = "; correct `root`, or fetch the set"
            raise nothing_found(f"{folder} holds no {PATTERN}, but ", folder, "root", way)
        return paths

    def content(self) -> str:
        return digest_of([(path.name, sealed_digest(path)) for path in self._files()])

    def check(self) -> None:
        refuse_copies(self._files())
        each(self._files(), self._columns)

    def _columns(self, path: Path) -> list[int]:
        """Columns of the time and the wanted channels."""
        with path.open(encoding="utf-8-sig", errors="replace") as handle:
            names = [name.strip() for name in handle.readline().split(",")]
        refuse_unknown("channels", (TIME, *self.channels), names, path)
        return [names.index(name) for name in (TIME, *self.channels)]

    def prepare(self) -> Windows:
        self.check()
        cut = Cutter(self.sfreq, self.n_times, self.n_times, self.normalize, "drop")
        found = (self._windows(path, cut) for path in self._files())
        channels = tuple(Channel(name, SFREQ, 0, guess_modality(name)) for name in self.channels)
        gathered = gather(found, [Track(channels, self.sfreq, self.n_times)])
        return assemble(cut, gathered, (), self.digest())

    def _windows(self, path: Path, cut: Cutter) -> RecordingWindows:
        # resample before cutting: cutting first leaves filter edges in the window
        x = _samples(path, self._columns(path))
        record = path.name.removesuffix("_Signals.csv")
        whole = [Stretch(path.name, 0.0, math.inf, "", record)]
        known = [fingerprints_of(x, [SFREQ] * len(x)), file_fingerprints(path)]
        found = cut(resample(x, SFREQ, self.sfreq), whole)
        return replace(found, fingerprints=np.concatenate(known))


def _samples(path: Path, columns: list[int]) -> Signal:
    """Samples (C, T) at 125 Hz; NaN where one is missing."""
    form: dict[str, Any] = {"delimiter": ",", "skiprows": 1, "ndmin": 2, "encoding": "utf-8-sig"}
    try:
        table = np.loadtxt(path, usecols=columns, **form)
    except ValueError as err:
        said = str(err).partition(";")[0]
        raise broken(path, f"is no table of numbers: {said}; {AGAIN}") from None
    if len(table) < 2:
        raise broken(path, f"holds {len(table)} samples; {AGAIN}")
    expected = table[0, 0] + np.arange(len(table)) / SFREQ
    # times are written with 5 digits, so 5 ms off from 100 s on
    off = np.flatnonzero(~(np.abs(table[:, 0] - expected) < 0.75 / SFREQ))
    if len(off):
        i = int(off[0])
        rule = f"its time is {table[i, 0]:g} s where {SFREQ:g} Hz lead to {expected[i]:g} s"
        raise broken(path, f"{rule}: samples are missing; {AGAIN}", line=i + 2)
    return np.ascontiguousarray(table[:, 1:].T, dtype=np.float32)  # (T, C) -> (C, T)
