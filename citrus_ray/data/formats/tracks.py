"""Tracks: channels of one rate. All of a recording if a source resamples, else one per stream."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Discriminator, Field, Tag

from citrus_ray.data.faults import broken
from citrus_ray.data.formats.signals import Channel
from citrus_ray.data.windows import Signal
from citrus_ray.spec import refuse


def _rate_tag(value: object) -> str | None:
    return ("native" if value == "native" else None) if isinstance(value, str) else "number"


# discriminated, so that a wrong rate is one problem and not one per member of the union
Rate = Annotated[
    Annotated[float, Field(gt=0), Tag("number")] | Annotated[Literal["native"], Tag("native")],
    Discriminator(_rate_tag, "rate", "Input should be a valid number or `native`"),
]


@dataclass(frozen=True)
class Track:
    """Channels whose windows have `n_times` samples at `sfreq`."""

    channels: tuple[Channel, ...]
    sfreq: float
    n_times: int
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name} at {self.sfreq:g} Hz" if self.name else f"{self.sfreq:g} Hz"


def native_tracks(picks: Sequence[Channel], seconds: float) -> tuple[Track, ...]:
    """Tracks in the order of the picks: one per stream, or per rate where there are no streams."""
    found = defaultdict[tuple[str, float], list[Channel]](list)
    for channel in picks:
        found[channel.stream, channel.sfreq].append(channel)
    several = len({rate for _, rate in found}) > 1
    return tuple(
        Track(tuple(of), rate, round(seconds * rate), stream or (f"{rate:g} Hz" if several else ""))
        for (stream, rate), of in found.items()
    )


def key(channel: Channel) -> tuple[str, str]:
    """What makes a channel the same in all recordings."""
    return channel.stream, channel.name


def spread_out(
    window: tuple[Signal, ...], own: Sequence[Track], tracks: Sequence[Track]
) -> tuple[Signal, ...]:
    """A window (C, T) of each track of a recording on the set's tracks: NaN where it has none."""
    mine, all_of = ([key(c) for track in of for c in track.channels] for of in (own, tracks))
    if mine == all_of:
        return window
    rows = dict(zip(mine, (row for x in window for row in x), strict=True))
    nothing = {track.n_times: np.full(track.n_times, np.nan, np.float32) for track in tracks}
    return tuple(
        np.stack([rows.get(key(c), nothing[track.n_times]) for c in track.channels])
        for track in tracks
    )


def same_rates(path: Path, mine: Sequence[Track], first: Path, others: Sequence[Track]) -> None:
    """Refuse native rates that are not those of the first recording."""
    one, two = ([str(track) for track in tracks] for tracks in (mine, others))
    if one != two:
        rule = f"is recorded as {', '.join(one)}, but {first.name} as {', '.join(two)}"
        way = "give `sfreq` a rate, or narrow `pattern`"
        raise broken(path, f"{rule}: sfreq=native needs equal rates; {way}", "sfreq")


def whole_samples(field: str, seconds: float, tracks: Sequence[Track], at_least: int = 1) -> None:
    """Refuse durations of no whole number of samples: windows would drift from stream to stream."""
    counts = [(seconds * track.sfreq, track) for track in tracks]
    odd = [f"{n:g} samples of {track}" for n, track in counts if abs(n - round(n)) > 1e-4]
    few = [f"{n:g} samples of {track}" for n, track in counts if round(n) < at_least]
    if odd or few:
        rule = f"{field}={seconds:g} is {', '.join(odd or few)}, but must be a whole number"
        rule += f" of at least {at_least} in every stream"
        way = f"{_fitting(seconds, tracks, at_least)}, or leave the stream out"
        raise refuse(f"{rule}; {way}", field)


def _fitting(seconds: float, tracks: Sequence[Track], at_least: int) -> str:
    """The nearest durations of whole samples at all rates: multiples of their common period."""
    rates = [Fraction(track.sfreq).limit_denominator(1000) for track in tracks]
    common = math.lcm(*(rate.denominator for rate in rates))
    step = Fraction(common, math.gcd(*(int(rate * common) for rate in rates)))
    least = max(1, math.ceil(at_least / min(rates) / step))
    below = math.floor(seconds / step)
    near = dict.fromkeys(max(least, n) for n in (below, below + 1))
    return f"take {' or '.join(f'{float(n * step):g}' for n in near)} s"
