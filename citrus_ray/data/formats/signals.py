"""What is common to all formats of recordings: a channel, a layout, and what a format can do.

Each format reads a file in a module of its own; `known.py` is the table of them. Rates are left as
they are; recordings.py brings them together.
"""

import gzip
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from citrus_ray.data.faults import broken
from citrus_ray.spec import Spec

Samples = npt.NDArray[Any]
# consecutive samples (k, n) of the picked channels at these places; each time (k,) may be others
Pieces = Iterator[tuple[Sequence[int], Samples]]
# onset and duration in s from the first sample, and text
Marks = list[tuple[float, float, str]]
PIECE = 1 << 23  # samples of all channels that are read together, 64 MiB as float64


@dataclass(frozen=True)
class Channel:
    """One channel as the header describes it. `fault` says why it cannot be read."""

    name: str
    sfreq: float
    n_times: int
    modality: str
    unit: str = ""
    stream: str = ""  # of a multi-rate npz
    index: int = 0  # in the file, or in its stream
    fault: str = ""


class FileLayout(Spec):
    """What tables and arrays do not say of themselves."""

    x: str | None = Field(None, min_length=1)
    """Arrays: the variable of samples, `EEG.data` in a struct; x without."""
    rate: float | None = Field(None, gt=0)
    """Rate in Hz where the file states none; beside `time`, that of a grid to interpolate on."""
    names: tuple[str, ...] | None = Field(None, min_length=1)
    """Names of the columns of a table without a first line of names, or of the rows of an array."""
    time: str | None = Field(None, min_length=1)
    """Tables: the column of times; time, t, timestamp and the like without."""
    unit: Literal["s", "ms", "us", "ns"] | None = None
    """Unit of the times; that which their name ends in, or s, without."""
    transposed: bool = False
    """Arrays: whether samples come before channels, (T, C)."""


PLAIN = FileLayout()


@dataclass(frozen=True)
class Values:
    """What a column says of every sample: (T,) texts, empty where it says nothing."""

    texts: npt.NDArray[np.str_]
    sfreq: float


@dataclass(frozen=True)
class Format:
    """What can be read from files of one ending. Samples come in the unit that `header` states."""

    header: Callable[[Path, FileLayout], tuple[Channel, ...]]
    pieces: Callable[[Path, Sequence[Channel], FileLayout], Pieces]
    marks: Callable[[Path], Marks] | None = None  # annotations
    # what a column that may be no channel says of each sample; None: it has no such column
    column: Callable[[Path, str, FileLayout], Values | None] | None = None
    # columns of text, which `column` reads
    texts: Callable[[Path, FileLayout], list[str]] = lambda path, layout: []
    # of the first sample in seconds since 1970; None: not stated
    start: Callable[[Path, FileLayout], float | None] | None = None
    parts: Callable[[Path], list[Path]] | None = None  # files beside it that it is made of
    keys: frozenset[str] = frozenset()  # those of a layout that it can do with
    folder: bool = False  # whether a recording is a folder


def as_texts(values: Samples) -> npt.NDArray[np.str_]:
    """Values as labels: whole numbers without a point, nothing for what is no number."""
    if values.dtype.kind in "iub":
        return values.astype(np.str_)
    if values.dtype.kind != "f":
        return np.char.strip(values.astype(np.str_))
    distinct, at = np.unique(values, return_inverse=True)
    texts = ["" if not np.isfinite(v) else _as_text(v) for v in distinct.tolist()]
    return np.array(texts, np.str_)[at]


def _as_text(value: float) -> str:
    """A whole number also where a file in volts and 32 bits has it a millionth beside."""
    whole = round(value)
    return str(whole) if abs(value - whole) <= 1e-6 * max(1.0, abs(value)) else f"{value:.6g}"


def unique(names: list[str]) -> list[str]:
    """Equal names get running numbers, as mne does it."""
    total, seen, out = Counter(names), Counter[str](), []
    for name in names:
        out.append(f"{name}-{seen[name]}" if total[name] > 1 else name)
        seen[name] += 1
    return out


def check_gzip(path: Path) -> None:
    """Read a file that gzip packed to its end, where its checksum is: who reads the samples alone
    does not get there."""
    if path.name.lower().endswith(".gz") and path.is_file():
        with gzip.open(path) as file:
            while file.read(1 << 22):
                pass


def steps(n_times: int, n_chans: int) -> Iterator[tuple[int, int]]:
    """First sample and end of each piece of a recording."""
    step = max(1, PIECE // max(n_chans, 1))
    yield from ((first, min(first + step, n_times)) for first in range(0, n_times, step))


def check_layout(path: Path, layout: FileLayout, known: frozenset[str]) -> None:
    """Refuse keys that a format has no use for: what it says of itself cannot be overruled."""
    fields = type(layout).model_fields
    odd = [k for k, info in fields.items() if getattr(layout, k) != info.default and k not in known]
    if odd:
        way = f"drop {', '.join(odd)}" + (f"; it takes {', '.join(sorted(known))}" if known else "")
        raise broken(path, f"`{path.suffix}` says so itself; {way}", "layout")
