"""Recordings as files: headers, signals at one rate, digests. What to cut from them is in files.py.

Settled here, once: signals are (C, T) float32, and a sample that is missing is NaN. Channels of
different rates are resampled to one rate and cut to the shortest of them.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from citrus_ray.data.faults import broken, unknown, unreadable
from citrus_ray.data.fingerprints import Fingerprints, fingerprints_of
from citrus_ray.data.formats.known import FORMATS, ending_of, format_of
from citrus_ray.data.formats.signals import (
    PIECE,
    PLAIN,
    Channel,
    FileLayout,
    Marks,
    Pieces,
    Samples,
    Values,
    as_texts,
    check_gzip,
)
from citrus_ray.data.root import mapped
from citrus_ray.data.windows import Signal
from citrus_ray.spec import SpecError


@dataclass(frozen=True)
class Header:
    path: Path
    channels: tuple[Channel, ...]
    layout: FileLayout = PLAIN

    @property
    def streams(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(c.stream for c in self.channels if c.stream))


@dataclass(frozen=True)
class Recording:
    x: Signal  # (C, T), physical, at the rate asked for; NaN where a sample is missing
    fingerprints: Fingerprints  # of its samples as they were read


def read_header(path: Path, layout: FileLayout = PLAIN) -> Header:
    """Header of a recording, without its signals."""
    form = format_of(path)
    with _readable(path, f" as {ending_of(path)[1:]}"):
        channels = form.header(path, layout)
    if not channels or not max(c.n_times for c in channels):
        what = "sample" if channels else "signal"
        raise broken(path, f"holds no {what}; leave it out of `pattern`")
    return Header(path, channels, layout)


@contextmanager
def _readable(path: Path, what: str) -> Iterator[None]:
    """What a library raises inside, as an error about the file: a broken one can raise anything."""
    try:
        yield
    except SpecError:
        raise
    except Exception as err:
        raise unreadable(path, what, err) from None


def read_annotations(path: Path) -> Marks:
    """Onset and duration in s, and text, of what was written into a recording."""
    marks = format_of(path).marks
    if marks is None:
        known = ", ".join(end for end, form in FORMATS.items() if form.marks)
        rule = f"`{path.suffix}` holds no annotations; narrow `pattern` to {known}"
        raise broken(path, f"{rule}, or give `labels:` a table", "labels")
    with _readable(path, " for its annotations"):
        return marks(path)


def read_column(header: Header, name: str) -> Values:
    """What a column of a recording, channel or not, says of each of its samples."""
    path, form = header.path, format_of(header.path)
    with _readable(path, f" for `{name}`"):
        found = form.column(path, name, header.layout) if form.column else None
    if found is not None:
        return found
    channels = [c for c in header.channels if c.name == name]
    if not channels:
        known = [c.name for c in header.channels]
        raise SpecError([unknown("labels.column", name, known, path)])
    return Values(as_texts(read_samples(header, channels)[0]), channels[0].sfreq)


def read_start(header: Header) -> float | None:
    """Seconds since 1970 of the first sample, where the recording says so."""
    start = format_of(header.path).start
    with _readable(header.path, " for its start"):
        return start(header.path, header.layout) if start else None


def read_samples(header: Header, picks: Sequence[Channel]) -> list[Samples]:
    """Samples (T,) of each channel as they stand in the file, on disk where they are many."""
    form = format_of(header.path)
    pieces = form.pieces
    with _readable(header.path, ""):
        for part in (header.path, *(form.parts(header.path) if form.parts else ())):
            check_gzip(part)
        found = pieces(header.path, picks, header.layout)
        if sum(c.n_times for c in picks) > PIECE:
            return _on_disk(found, picks)
        parts: list[list[Samples]] = [[] for _ in picks]
        for at, piece in found:
            for i, row in zip(at, piece, strict=True):
                parts[i].append(row)
        return [of[0] if len(of) == 1 else np.concatenate(of) for of in parts]


def _on_disk(pieces: Pieces, picks: Sequence[Channel]) -> list[Samples]:
    """Channels one after another in a nameless file."""
    begins = np.cumsum([0, *(c.n_times for c in picks)])
    whole = mapped((int(begins[-1]),), np.dtype(np.float64))
    filled = [0] * len(picks)
    for at, piece in pieces:
        for i, row in zip(at, piece, strict=True):
            first = begins[i] + filled[i]
            whole[first : first + len(row)] = row
            filled[i] += len(row)
    return [whole[begins[i] : begins[i] + n] for i, n in enumerate(filled)]


def read(header: Header, picks: Sequence[Channel], sfreq: float) -> Recording:
    """The picked channels at `sfreq`, each (T,) -> (C, T)."""
    signals = read_samples(header, picks)
    x = _stack(signals, [c.sfreq for c in picks], sfreq)
    for row in x:
        row[~np.isfinite(row)] = np.nan
    empty = [c.name for c, row in zip(picks, x, strict=True) if not np.isfinite(row).any()]
    if empty:
        way = "leave the channel out with `channels:` or the file out of `pattern`"
        raise broken(header.path, f"{', '.join(empty)}: every sample is missing; {way}")
    return Recording(x, fingerprints_of(signals, [c.sfreq for c in picks]))


def _stack(signals: Sequence[npt.NDArray[Any]], rates: Sequence[float], sfreq: float) -> Signal:
    if sum(map(len, signals)) > PIECE:
        return _stack_on_disk(signals, rates, sfreq)
    rows: dict[int, Signal] = {}
    alike = [(rate, len(signal)) for rate, signal in zip(rates, signals, strict=True)]
    for key in set(alike):  # streams of one rate may still end apart
        index = [i for i, other in enumerate(alike) if other == key]
        block = np.stack([signals[i] for i in index]).astype(np.float32)
        rows.update(zip(index, resample(block, key[0], sfreq), strict=True))
    shortest = min(len(row) for row in rows.values())
    return np.stack([rows[i][:shortest] for i in range(len(signals))])


def _stack_on_disk(
    signals: Sequence[npt.NDArray[Any]], rates: Sequence[float], sfreq: float
) -> Signal:
    """The same, a piece of a channel at a time, on disk."""
    ratios = [
        _ratio(max(rate, sfreq) / min(rate, sfreq), len(signal))
        for rate, signal in zip(rates, signals, strict=True)
    ]
    pairs = [
        ratio.as_integer_ratio() if sfreq >= rate else (1 / ratio).as_integer_ratio()
        for ratio, rate in zip(ratios, rates, strict=True)
    ]
    lengths = [-(-len(s) * up // down) for s, (up, down) in zip(signals, pairs, strict=True)]
    x = mapped((len(signals), min(lengths)), np.dtype(np.float32))
    for row, signal, (up, down) in zip(x, signals, pairs, strict=True):
        for first, part in resampled_pieces(signal, up, down):
            row[first : first + len(part)] = part[: len(row) - first]
    return x


def resampled_pieces(signal: Samples, up: int, down: int) -> Iterator[tuple[int, Signal]]:
    """First sample and samples of each piece of a signal (T,) at `up / down` times its rate: as
    `resample` makes it whole, for each is filtered with what the filter reaches around it."""
    reach = down * math.ceil((10 * max(up, down) / up + 2) / down)
    step = down * max(1, PIECE // 8 // down)
    for first in range(0, len(signal), step):
        before, stop = max(first - reach, 0), min(first + step, len(signal))
        part = signal[before : min(stop + reach, len(signal))].astype(np.float32)
        if (up, down) != (1, 1):
            from scipy.signal import resample_poly

            part = np.asarray(resample_poly(part, up, down, padtype="edge"), np.float32)
        skip = (first - before) * up // down
        n = -(-(stop - first) * up // down)
        yield first * up // down, part[skip : skip + n]


def resample(x: Signal, sfreq: float, target: float) -> Signal:
    """Signals (…, T) -> (…, T * target / sfreq), filtered. A gap grows by the filter's length."""
    ratio = _ratio(max(sfreq, target) / min(sfreq, target), x.shape[-1])
    if ratio == 1:
        return x
    from scipy.signal import resample_poly  # half a second to import

    up, down = ratio.as_integer_ratio() if target > sfreq else (1 / ratio).as_integer_ratio()
    # beyond its ends a signal stays where it was: padding with zeros rings where there is an offset
    # (temperature)
    return np.asarray(resample_poly(x, up, down, axis=-1, padtype="edge"), dtype=np.float32)


def _ratio(exact: float, n_times: int) -> Fraction:
    """The ratio of smallest whole numbers, so of a short filter, that drifts by < 0.1 samples."""
    for limit in (100, 1_000, 10_000):
        ratio = Fraction(exact).limit_denominator(limit)
        if abs(ratio - Fraction(exact)) * n_times < 0.1:
            break
    return ratio
