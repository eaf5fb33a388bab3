"""Places of electrodes on the head, from their names in the 10-20, 10-10 and 10-05 systems.

The systems say themselves where a name lies, so no table of coordinates is kept: a row of names
goes over the head from ear to ear, at its share of the way from nose to neck.
"""

import math
import re

Place = tuple[float, float, float]  # right, front and top, on a sphere of radius 1

# tenths of the way from the vertex to the nose; rows behind it are as far the other way
ROWS = {
    "N": 5.0, "FP": 4.0, "AFP": 3.5, "AF": 3.0, "AFF": 2.5, "F": 2.0, "FFC": 1.5, "FFT": 1.5,
    "FC": 1.0, "FT": 1.0, "FCC": 0.5, "FTT": 0.5, "C": 0.0, "T": 0.0, "CCP": -0.5, "TTP": -0.5,
    "CP": -1.0, "TP": -1.0, "CPP": -1.5, "TPP": -1.5, "P": -2.0, "PPO": -2.5, "PO": -3.0,
    "POO": -3.5, "O": -4.0, "OI": -4.5, "I": -5.0,
}  # fmt: skip
OLD = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}  # names of 1958
TENTH = math.pi / 10
NAME = re.compile(r"(?:EEG[ _-]*)?([A-Z]+?)(Z|\d{1,2})(H?)\.*(?:$|[ _-])")


def electrode(name: str) -> str | None:
    """`EEG FP1-REF` as `Fp1`: an electrode by its name of today; None for any other name."""
    if place_of(name) is None:
        return None
    found = NAME.match(name.strip().upper())
    assert found is not None
    row, column = found[1], found[2]
    if row + column in OLD and not found[3]:
        return OLD[row + column]
    return row.replace("FP", "Fp") + column.lower() + found[3].lower()


def place_of(name: str) -> Place | None:
    """Where an electrode lies, of a pair like `C3-A2` the first; None for any other name."""
    name = name.strip().upper()
    found = NAME.match(name)
    if found and found[1] + found[2] in OLD and not found[3]:
        found = NAME.match(OLD[found[1] + found[2]])
    if not found or found[1] not in ROWS or found[2] in ("0", "00"):
        return None
    row, column = ROWS[found[1]], 0 if found[2] == "Z" else int(found[2])
    # 1, 3, 5, … go to the left ear and 2, 4, 6, … to the right; an h is half a step nearer
    steps = (column + 1) // 2 - (0.5 if found[3] else 0.0)
    if steps > 5:
        return None
    x, y, z = _to_the_right(abs(row), steps)
    return (-x if column % 2 else x, y if row >= 0 else -y, z)


def _to_the_right(row: float, steps: float) -> Place:
    """From the row's middle to the ring of Fp, T7 and O, a tenth from the ears, and beyond it
    straight down."""
    if row >= 4:
        return _on_sphere(row * TENTH, steps * TENTH)
    if steps > 4:
        return _on_sphere(steps * TENTH, (5 - row) * TENTH)
    top, ring = _on_sphere(row * TENTH, 0.0), _on_sphere(4 * TENTH, (5 - row) * TENTH)
    angle = math.acos(sum(a * b for a, b in zip(top, ring, strict=True)))
    one, other = (math.sin(share * angle / 4) / math.sin(angle) for share in (4 - steps, steps))
    x, y, z = (one * a + other * b for a, b in zip(top, ring, strict=True))
    return (x, y, z)


def _on_sphere(from_vertex: float, from_front: float) -> Place:
    out = math.sin(from_vertex)
    return (out * math.sin(from_front), out * math.cos(from_front), math.cos(from_vertex))


def distances(names: tuple[str, ...], n_chans: int) -> list[list[float]]:
    """Distances of channels, (C, C): over the head where both have a place on it, else by their
    order, and farther than any two on the head."""
    # the facts of one sensor keep the names of all, which are then no help
    known = names if len(names) == n_chans else ("",) * n_chans
    places = [place_of(name) for name in known]
    return [
        [_apart(one, other, abs(i - j)) for j, other in enumerate(places)]
        for i, one in enumerate(places)
    ]


def _apart(one: Place | None, other: Place | None, steps: int) -> float:
    if steps == 0:
        return 0.0
    if one is None or other is None:
        return 10.0 + steps
    return math.dist(one, other)
