"""What is done to a recording before windows are cut from it: reference, filters, clipping.

All of it is off unless a spec asks for it, and each recording is treated by itself, so nothing that
is learnt here crosses from one person to another. Filters have no phase: nothing moves in time.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from citrus_ray.data.faults import refuse_unknown
from citrus_ray.data.formats.recordings import Header
from citrus_ray.data.formats.signals import Channel
from citrus_ray.data.formats.tracks import Track
from citrus_ray.data.source import Names, Positive, Source
from citrus_ray.data.windows import Signal
from citrus_ray.spec import Later, Problem, SpecError

ORDER = 4  # of the Butterworth pass band, which runs forwards and backwards
QUALITY = 30.0  # of a notch: 50 Hz over a width of 1.7 Hz
REFERENCED = ("eeg", "emg")  # potentials against a common electrode
Band = tuple[Positive | None, Positive | None]
CLEANING = ("reference", "band", "notch", "filter_only", "clip")  # keys of `Cleaned`


class Cleaned(Source):
    """Keys of sources whose recordings may be cleaned, in this order: reference, filters, clip."""

    reference: Annotated[Literal["average"] | Names | None, Later()] = None
    """What EEG and EMG channels are measured against: the average of all channels of their kind in
    the recording, or of those named, which need not be among `channels`; as recorded without."""
    band: Annotated[Band | None, Later()] = None
    """Pass band in Hz, [low, high]; null leaves an end open, as in [0.5, null]."""
    notch: Annotated[Positive | None, Later()] = None
    """Mains frequency in Hz that is taken out, with its multiples."""
    filter_only: Annotated[Names | None, Later()] = None
    """Modalities that `band` and `notch` are for; all without."""
    clip: Annotated[Positive | None, Later()] = None
    """Samples further from their channel's median than so many times its interquartile range, both
    of the recording, are brought back to that distance."""

    @property
    def is_cleaned(self) -> bool:
        return any((self.reference, self.band, self.notch, self.clip))

    @model_validator(mode="after")
    def _filters_mean_something(self) -> Self:
        low, high = self.band or (None, 1.0)
        if low is None and high is None:
            raise ValueError("band=[null, null] lets everything pass; give an end, or drop it")
        if low is not None and high is not None and low >= high:
            raise ValueError(f"band=[{low:g}, {high:g}]: the first must be below the second")
        if self.filter_only and not (self.band or self.notch):
            raise ValueError("filter_only has no effect without `band` or `notch`; drop it")
        return self

    def cleaning(self) -> list[str]:
        said = list[str]()
        if self.reference:
            named = self.reference if isinstance(self.reference, tuple) else ("their average",)
            said.append(f"referenced to {' and '.join(named)}")
        if self.band:
            low, high = self.band
            span = f"above {low:g} Hz" if high is None else f"below {high:g} Hz"
            both = low is not None and high is not None
            said.append(f"band {low:g} to {high:g} Hz" if both else f"band {span}")
        if self.notch:
            said.append(f"notch {self.notch:g} Hz")
        if self.filter_only:
            said[-1] += f" (of {' and '.join(self.filter_only)} alone)"
        if self.clip:
            said.append(f"clipped at {self.clip:g} interquartile ranges")
        return said

    def filtered(self, channel: Channel) -> bool:
        return not self.filter_only or channel.modality in self.filter_only

    # ---- what a recording must have for it ----

    def cleaning_problems(self, tracks: Sequence[Track]) -> Iterator[Problem]:
        """What keys ask of signals that have it not."""
        kinds = {c.modality for track in tracks for c in track.channels}
        for name in self.filter_only or ():
            if name not in kinds:
                rule = f"no channel measures {name}; there are {', '.join(sorted(kinds))}"
                yield Problem("filter_only", f"{rule}: name one of them, or drop it")
        for track in tracks if self.band or self.notch else ():
            if any(map(self.filtered, track.channels)):
                yield from self._beyond(track)
        if self.reference and not kinds & {*REFERENCED}:
            rule = f"is of {' and '.join(REFERENCED)} channels, and there is none"
            way = "drop it, or say in `modality:` what the channels are"
            yield Problem("reference", f"reference {rule}; {way}")

    def _beyond(self, track: Track) -> Iterator[Problem]:
        half = track.sfreq / 2
        why = f"signals of {track} hold nothing from {half:g} Hz on"
        others = " or name in `filter_only:` the modalities that it is for"
        ends = {"band": max((end or 0.0 for end in self.band or ()), default=0.0)}
        for name, end in (ends | {"notch": self.notch or 0.0}).items():
            if end >= half:
                way = f"lower it,{others}" if name == "band" else f"drop it,{others}"
                yield Problem(name, f"{name}={end:g}: {why}; {way}")

    def references(self, header: Header, picks: Sequence[Channel]) -> tuple[Channel, ...]:
        """Channels beside the picks that these are measured against."""
        own = {(c.stream, c.name) for c in picks}
        kinds = {c.modality for c in picks} & {*REFERENCED}
        if not self.reference or not kinds:
            return ()
        if self.reference == "average":
            wanted = [c for c in header.channels if c.modality in kinds and not c.fault]
        else:
            by_name = {c.name: c for c in header.channels}
            refuse_unknown("reference", self.reference, by_name, header.path)
            wanted = [by_name[name] for name in self.reference]
            said = [Problem("reference", c.fault, str(header.path)) for c in wanted if c.fault]
            if said:
                raise SpecError(said)
        return tuple(c for c in wanted if (c.stream, c.name) not in own)

    # ---- doing it ----

    def clean(self, x: Signal, channels: Sequence[Channel], n_picks: int, sfreq: float) -> Signal:
        """The first `n_picks` channels of a recording (C, T), clean; missing samples stay NaN."""
        if self.reference:
            x = self._referenced(x, channels)
        x = x[:n_picks]
        if self.band or self.notch:
            sos = sections(self.band, self.notch, sfreq)
            slowest = (self.band or (None, None))[0] or sfreq / 10
            rows = [i for i, c in enumerate(channels[:n_picks]) if self.filtered(c)]
            x = x.copy()
            x[rows] = passed(x[rows], sos, round(sfreq / slowest))
        return clipped(x, self.clip) if self.clip else x

    def _referenced(self, x: Signal, channels: Sequence[Channel]) -> Signal:
        named = None if self.reference == "average" else {*(self.reference or ())}
        out = x.copy()
        for kind in REFERENCED:
            mine = [i for i, c in enumerate(channels) if c.modality == kind]
            zero = [i for i, c in enumerate(channels) if named and c.name in named] or mine
            if mine:
                out[mine] = x[mine] - x[zero].mean(axis=0)
        return out


def sections(band: Band | None, notch: float | None, sfreq: float) -> npt.NDArray[np.float64]:
    """Second-order sections (n, 6) of a pass band and a notch at every multiple below half the
    rate."""
    from scipy.signal import butter, iirnotch, tf2sos  # half a second to import

    found = list[npt.NDArray[np.float64]]()
    low, high = band or (None, None)
    if low is not None and high is not None:
        found.append(butter(ORDER, (low, high), "bandpass", fs=sfreq, output="sos"))
    elif low is not None:
        found.append(butter(ORDER, low, "highpass", fs=sfreq, output="sos"))
    elif high is not None:
        found.append(butter(ORDER, high, "lowpass", fs=sfreq, output="sos"))
    if notch:
        last = high or sfreq / 2  # what the band takes away needs no notch
        multiples = np.arange(notch, min(sfreq / 2 - 1e-9, last + notch), notch)
        found += [tf2sos(*iirnotch(f, QUALITY, fs=sfreq)) for f in multiples]
    return np.concatenate(found)


def passed(x: Signal, sos: npt.NDArray[np.float64], n_around: int) -> Signal:
    """Rows (C, T) through a filter forwards and backwards, each stretch without a gap by itself.

    A stretch goes on for `n_around` samples beyond its ends, turned about them, so that the filter
    has settled where it begins.
    """
    from scipy.signal import sosfiltfilt

    if np.isfinite(x).all():
        n = min(max(n_around, 6 * len(sos)), x.shape[1] - 1)
        return np.asarray(sosfiltfilt(sos, x, axis=-1, padlen=n), dtype=np.float32)
    out = np.full_like(x, np.nan)
    for row, into in zip(x, out, strict=True):
        there = np.flatnonzero(np.diff(np.isfinite(row), prepend=False, append=False))
        for first, stop in there.reshape(-1, 2):
            n = min(max(n_around, 6 * len(sos)), stop - first - 1)
            into[first:stop] = sosfiltfilt(sos, row[first:stop], padlen=n)
    return out


def clipped(x: Signal, most: float) -> Signal:
    """Rows (C, T) within so many interquartile ranges of their median; of a row that has none, as
    it is."""
    low, middle, high = np.nanquantile(x, (0.25, 0.5, 0.75), axis=1, keepdims=True)
    reach = np.where(high > low, most * (high - low), np.inf)
    return np.asarray(np.clip(x, middle - reach, middle + reach), dtype=np.float32)
