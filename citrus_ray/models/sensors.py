"""Which rows of a window are one sensor.

A sensor is the channels of one modality (of one stream, where a set has several rates), or a
single channel.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal

from citrus_ray.context import SignalContext


@dataclass(frozen=True)
class Sensor:
    """Rows of a window that one encoder reads."""

    name: str
    rows: tuple[int, ...]  # empty: the model knows it, these signals lack it
    ctx: SignalContext


def sensors(ctx: SignalContext, by: Literal["modality", "channel"]) -> tuple[Sensor, ...]:
    """In the order of their names, so that the order of channels changes nothing."""
    found, first = list[tuple[str, tuple[int, ...], SignalContext]](), 0
    for part in ctx.parts:
        kinds = part.modalities or ("unknown",) * part.n_chans
        groups = {c: [c] for c in range(part.n_chans)} if by == "channel" else {}
        for c, kind in enumerate(kinds):
            if by == "modality":
                groups.setdefault(kinds.index(kind), []).append(c)
        for channels in groups.values():
            own = replace(
                part,
                n_chans=len(channels),
                modalities=tuple(kinds[c] for c in channels),
                streams=(),
            )
            found.append((kinds[channels[0]], tuple(first + c for c in channels), own))
        first += part.n_chans
    total, seen, out = Counter(name for name, _, _ in found), Counter[str](), list[Sensor]()
    for name, rows, own in found:  # two of a kind get running numbers
        seen[name] += 1
        out.append(Sensor(f"{name}#{seen[name]}" if total[name] > 1 else name, rows, own))
    return tuple(sorted(out, key=lambda sensor: sensor.name))
