"""Recordings as files: headers, signals at one rate, digests. What to cut from them is in files.py.

Settled here, once: signals are (C, T) float32, and a sample that is missing is NaN. Channels of
different rates are resampled to one rate and cut to the shortest of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from citrus_ray.data.faults import broken, unreadable
from citrus_ray.data.fingerprints import Fingerprints, fingerprints_of
from citrus_ray.data.formats.signals import ANNOTATED, FORMATS, Channel, edf_annotations
from citrus_ray.data.windows import Signal
from citrus_ray.spec import SpecError


@dataclass(frozen=True)
class Header:
    path: Path
    channels: tuple[Channel, ...]

    @property
    def streams(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(c.stream for c in self.channels if c.stream))


@dataclass(frozen=True)
class Recording:
    x: Signal  # (C, T), physical, at the rate asked for; NaN where a sample is missing
    fingerprints: Fingerprints  # of its samples as they were read


def read_header(path: Path) -> Header:
    """Header of a recording, without its signals."""
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        rule = f"`{path.suffix}` is no format of recordings; narrow it to {', '.join(FORMATS)}"
        raise broken(path, rule, "pattern")
    try:
        channels = form[0](path)
    except SpecError:
        raise
    except Exception as err:  # a broken file can raise anything in the library that reads it
        raise unreadable(path, f" as {path.suffix[1:]}", err) from None
    if not channels:
        raise broken(path, "holds no signal; leave it out of `pattern`")
    return Header(path, channels)


def read_annotations(path: Path) -> list[tuple[float, float, str]]:
    """Onset and duration in s, and text, of what was written into an EDF+ or BDF+ recording."""
    if path.suffix.lower() not in ANNOTATED:
        rule = f"`{path.suffix}` holds no annotations; narrow `pattern` to {', '.join(ANNOTATED)}"
        raise broken(path, f"{rule}, or give `labels:` a table", "labels")
    try:
        return edf_annotations(path)
    except SpecError:
        raise
    except Exception as err:
        raise unreadable(path, " for its annotations", err) from None


def read(header: Header, picks: Sequence[Channel], sfreq: float) -> Recording:
    """The picked channels at `sfreq`, each (T,) -> (C, T)."""
    try:
        signals = FORMATS[header.path.suffix.lower()][1](header.path, picks)
    except Exception as err:
        raise unreadable(header.path, "", err) from None
    x = _stack(signals, [c.sfreq for c in picks], sfreq)
    x[~np.isfinite(x)] = np.nan
    empty = [c.name for c, row in zip(picks, x, strict=True) if not np.isfinite(row).any()]
    if empty:
        way = "leave the channel out with `channels:` or the file out of `pattern`"
        raise broken(header.path, f"{', '.join(empty)}: every sample is missing; {way}")
    return Recording(x, fingerprints_of(signals, [c.sfreq for c in picks]))


def _stack(signals: Sequence[npt.NDArray[Any]], rates: Sequence[float], sfreq: float) -> Signal:
    rows: dict[int, Signal] = {}
    alike = [(rate, len(signal)) for rate, signal in zip(rates, signals, strict=True)]
    for key in set(alike):  # streams of one rate may still end apart
        index = [i for i, other in enumerate(alike) if other == key]
        block = np.stack([signals[i] for i in index]).astype(np.float32)
        rows.update(zip(index, resample(block, key[0], sfreq), strict=True))
    shortest = min(len(row) for row in rows.values())
    return np.stack([rows[i][:shortest] for i in range(len(signals))])


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
