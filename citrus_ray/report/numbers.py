"""Numbers in words, the same on page, terminal and in tables. Knows nothing of sweeps."""

import math

from citrus_ray.evidence.cost import duration as duration
from citrus_ray.evidence.intervals import Effect

DASH = "–"


def number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """`−0.042`, with a real minus; a dash for what is not there."""
    if value is None or not math.isfinite(value):
        return DASH
    value = round(value, digits) + 0.0  # no minus before a zero
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def interval(found: Effect | None, sign: bool = False) -> str:
    if found is None or not found.is_bounded:
        return "no interval"
    return f"{number(found.low, sign=sign)} to {number(found.high, sign=sign)}"


def spread(found: Effect | None, sign: bool = False) -> str:
    """`0.967 [0.947, 0.987]`"""
    if found is None:
        return DASH
    ends = ""
    if found.is_bounded:
        ends = f" [{number(found.low, sign=sign)}, {number(found.high, sign=sign)}]"
    return number(found.mean, sign=sign) + ends


def sentence(said: str) -> str:
    """With a capital and without its full stop."""
    return said[:1].upper() + said[1:].rstrip(".")


def probability(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-4 else f"{p:.0e}"
