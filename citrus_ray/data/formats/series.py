"""Tables as recordings: CSV, TSV and Parquet, a row for each moment, a column for each channel.

Rows are equally far apart at a stated rate, or where a column of times says so. Then a row that is
missing is a missing sample; times that lie on no grid are refused, or interpolated linearly where a
rate is stated, too. Columns of text are no channels, but may be labels. `Cells` reads any of the
three piece by piece; what is wrong with a row of text is looked for by line in `tables.py`.
"""

import itertools
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from citrus_ray.data.faults import broken, refuse_unknown
from citrus_ray.data.formats.signals import (
    Channel,
    FileLayout,
    Format,
    Pieces,
    Samples,
    Values,
    as_texts,
    check_layout,
)
from citrus_ray.data.formats.tables import MISSING, TextHead, number_of, read_head, wrong_row
from citrus_ray.data.modality import guess_modality

Floats = npt.NDArray[np.float64]
EMPTY = [*MISSING, "NA", "N/A", "NaN", "NAN", "NULL", "None", "Null", "N/a", "#N/A"]
EMPTY += [pad % word for word in EMPTY for pad in (" %s", "%s ")]  # pyarrow takes them as they are
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
# what a column of times is called, and the unit that the name may end in
TIME = re.compile(
    r"(unix|epoch)?[ _]?(t|times?|timestamps?|time ?stamp|seconds?|secs?|datetime|date[ _]?time)"
    r"[ _]?[(\[]?(?P<unit>s|ms|us|µs|ns|sec|secs|seconds?|msec|milliseconds?)?[)\]]?",
    re.IGNORECASE,
)
IN_S = {"sec": "s", "secs": "s", "second": "s", "seconds": "s", "msec": "ms", "µs": "us",
        "millisecond": "ms", "milliseconds": "ms"}  # fmt: skip
EPOCH = 1e8  # seconds since 1970 are more, seconds of a recording less
SLOWEST = 0.05  # Hz: times that say less are in another unit than seconds
HEAD_BYTES = 1 << 16
BATCH = 1 << 16  # rows that are read together


@dataclass(frozen=True)
class RowTimes:
    """When the rows of a table are: at `at` of a grid of `n_times` at `sfreq`, or between."""

    sfreq: float
    n_times: int
    start: float | None = None  # of the first, in seconds since 1970
    at: npt.NDArray[np.int64] | None = None  # None: row after row
    times: Floats | None = None  # in s from the first: rows to interpolate between


# ---- what a table holds ----


class Cells:
    """Columns of a table of text or of Parquet; numbers are float64 and NaN where empty."""

    def __init__(self, path: Path, layout: FileLayout) -> None:
        self.path, self.layout = path, layout
        self.parquet = path.suffix.lower() == ".parquet"
        self.head: TextHead | None = None
        if self.parquet:
            import pyarrow.parquet as pq

            schema = pq.ParquetFile(path).schema_arrow
            self.kinds = {name: _kind(schema.field(name).type) for name in schema.names}
        else:
            self.head = read_head(path, HEAD_BYTES, layout.names)
            self.kinds = {
                name: "number" if self.head.is_number(i) else "text"
                for i, name in enumerate(self.head.names)
                if name
            }
        if layout.names and self.parquet:
            rule = "names its columns itself"
            raise broken(path, f"{rule}; drop `names`", "layout.names")

    def batches(self, columns: Sequence[str]) -> Iterator[dict[str, Samples]]:
        """Values of columns, rows after rows: numbers, moments in ns, or texts."""
        for batch in self._parquet(columns) if self.parquet else self._text(columns):
            yield {name: _values(batch.column(name)) for name in columns}

    def _parquet(self, columns: Sequence[str]) -> Iterator[Any]:
        import pyarrow.parquet as pq

        yield from pq.ParquetFile(self.path).iter_batches(BATCH, columns=list(columns))

    def _text(self, columns: Sequence[str]) -> Iterator[Any]:
        import pyarrow as pa
        from pyarrow import csv

        head = self.head
        assert head is not None
        kinds = {"number": pa.float64(), "text": pa.string()}
        names = [name or f"\0{i}" for i, name in enumerate(head.names)]
        # nameless and unasked columns are read as text, which no value of theirs can break
        types = {n: kinds[self.kinds[n]] if n in columns else pa.string() for n in names}
        convert = csv.ConvertOptions(
            column_types=types,
            include_columns=list(columns),
            null_values=EMPTY,
            strings_can_be_null=True,
            decimal_point=head.decimal,
        )
        read = csv.ReadOptions(
            use_threads=False,
            block_size=1 << 22,
            column_names=names,
            skip_rows=head.skip,
            encoding=head.encoding,
        )
        parse = csv.ParseOptions(delimiter=head.delimiter, ignore_empty_lines=not head.alone)
        given = 0
        try:
            for batch in csv.open_csv(self.path, read, parse, convert):
                given += len(batch)
                yield batch
        except pa.ArrowInvalid:
            wrong_row(self.path, head, [n for n in columns if self.kinds[n] == "number"])
            # nothing is wrong but how it is written: spaces around what is missing, and the like
            yield from self._slowly(head, columns, given)

    def _slowly(self, head: TextHead, columns: Sequence[str], skip: int) -> Iterator[Any]:
        """The same row by row, from one on."""
        import pyarrow as pa

        at = [head.names.index(name) for name in columns]
        is_number = [self.kinds[name] == "number" for name in columns]
        rows = itertools.islice((fields for _, fields in head.records()), skip, None)
        while part := list(itertools.islice(rows, BATCH)):
            found = [
                [number_of(row[i], head.decimal) if number else row[i] for row in part]
                for i, number in zip(at, is_number, strict=True)
            ]
            yield pa.RecordBatch.from_pydict(dict(zip(columns, found, strict=True)))


def _kind(of: Any) -> str:
    import pyarrow as pa

    if pa.types.is_timestamp(of):
        return "moment"
    is_number = pa.types.is_integer(of) or pa.types.is_floating(of) or pa.types.is_decimal(of)
    if is_number:
        return "number"
    if pa.types.is_string(of) or pa.types.is_large_string(of) or pa.types.is_boolean(of):
        return "text"
    if pa.types.is_dictionary(of):
        return "text"
    return "other"  # lists, structs: no channel


def _values(column: Any) -> Samples:
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        return np.asarray(column.cast(pa.timestamp("ns"), safe=False).cast(pa.int64()))
    if _kind(column.type) == "number":
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    texts = column.cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False)
    return np.char.strip(texts.astype(np.str_)) if len(texts) else np.zeros(0, np.str_)


# ---- when its rows are ----


def _time_of(cells: Cells) -> tuple[str, str] | None:
    """The column of times and its unit, if rows go by one."""
    layout, path = cells.layout, cells.path
    numbers = [name for name, kind in cells.kinds.items() if kind in ("number", "moment")]
    if layout.time:
        refuse_unknown("layout.time", [layout.time], cells.kinds, path)
        name = layout.time
    elif layout.rate is not None:
        return None
    else:
        found = [name for name in cells.kinds if TIME.fullmatch(name.strip())]
        if len(found) != 1:
            rule = f"{', '.join(found)} may all be times" if found else "no column is called time"
            way = "say `layout: {time: COLUMN}`, or `layout: {rate: HZ}` where rows are at a rate"
            listed = ", ".join(list(cells.kinds)[:30])
            raise broken(path, f"{rule}; {way}; it has {listed}", "layout")
        name = found[0]
    if name not in numbers and cells.kinds[name] != "text":
        raise broken(path, f"`{name}` holds no times; name another column", "layout.time")
    said = TIME.fullmatch(name.strip())
    ends = (said["unit"] or "").lower() if said else ""
    return name, layout.unit or IN_S.get(ends, ends) or ""


def _clock(cells: Cells) -> RowTimes:
    """When each row is, from one reading of the times alone."""
    layout, found = cells.layout, _time_of(cells)
    if found is None:
        # one column tells how many rows there are, and whether each can be read
        columns = [n for n, kind in cells.kinds.items() if kind in ("number", "text")][:1]
        n_rows = sum(len(batch[columns[0]]) for batch in cells.batches(columns)) if columns else 0
        return RowTimes(layout.rate or math.nan, n_rows)
    name, unit = found
    parts = [batch[name] for batch in cells.batches([name])]
    values = np.concatenate(parts) if parts else np.zeros(0)
    if values.dtype.kind in "US":
        seconds, start = _moments(cells, name, values)
    elif values.dtype.kind == "i":
        seconds, start = (values - values[:1]) * 1e-9, float(values[0]) * 1e-9 if len(values) else 0
    else:
        seconds, start = _numbers(cells, name, values, unit)
    return _on_grid(cells, name, seconds, start if start and start > EPOCH else None)


def _moments(cells: Cells, name: str, texts: Samples) -> tuple[Floats, float]:
    """Dates as texts, ISO 8601, in s from the first."""
    try:
        at = texts.astype("datetime64[ns]").astype(np.int64)
    except ValueError:
        at = np.array([_moment(cells, name, text, i) for i, text in enumerate(texts.tolist())])
    return np.asarray((at - at[:1]) * 1e-9), float(at[0]) * 1e-9 if len(at) else 0.0


def _moment(cells: Cells, name: str, text: str, i: int) -> int:
    from datetime import UTC, datetime

    try:
        said = datetime.fromisoformat(text)
    except ValueError:
        rule = f"{name}={text!r} is no time: neither a number nor a date as 2024-01-31T12:00:00.250"
        raise broken(cells.path, f"{rule}; write one", "layout.time", _line(cells, i)) from None
    said = said if said.tzinfo else said.replace(tzinfo=UTC)
    since = said - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * 10**9 + since.microseconds * 1000


def _numbers(cells: Cells, name: str, values: Floats, unit: str) -> tuple[Floats, float]:
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        rule = f"`{name}` is empty or no number; fill it in, or remove the row"
        raise broken(cells.path, rule, "layout.time", _line(cells, int(bad[0])))
    scale = UNITS[unit or "s"]
    seconds = (values - values[:1]) * scale
    steps = np.diff(seconds)
    rate = 1 / float(np.median(steps)) if len(steps) and np.median(steps) > 0 else math.nan
    if not unit and (rate < SLOWEST or (len(values) and values[0] > 1e11)):
        rule = f"`{name}` in seconds would be {rate:g} Hz from {values[0]:.0f} s"
        way = "say `layout: {unit: ms}`, us or ns, or s if that is right"
        raise broken(cells.path, f"{rule}; {way}", "layout.unit")
    return seconds, float(values[0]) * scale if len(values) else 0.0


def _on_grid(cells: Cells, name: str, seconds: Floats, start: float | None) -> RowTimes:
    """The grid that the times lie on to half a sample, with gaps; or one to interpolate on."""
    layout, path, n = cells.layout, cells.path, len(seconds)
    if n < 3:
        way = "give it more rows, or leave it out of `pattern`"
        raise broken(path, f"`{name}` has {n} times, too few for a rate; {way}", "layout.time")
    steps = np.diff(seconds)
    back = np.flatnonzero(steps <= 0)
    if len(back):
        rule = f"`{name}` does not go on here: {steps[back[0]]:g} s after the row before"
        way = "sort the rows and drop those that are there twice, or split the file"
        raise broken(path, f"{rule}; {way}", "layout.time", _line(cells, int(back[0]) + 1))
    if layout.rate:
        n_times = int(seconds[-1] * layout.rate + 1e-6) + 1
        return RowTimes(layout.rate, n_times, start, times=seconds)
    # where rows are missing the usual step may be none of the grid, but the shortest is
    rate, at, off = min(
        (_grid(seconds, float(np.quantile(steps, q))) for q in (0.5, 0.25, 0)),
        key=lambda found: float(np.abs(found[2]).max()),
    )
    worst = int(np.abs(off).argmax())
    if np.abs(off[worst]) > 0.5:
        rule = f"`{name}` lies on no grid: {abs(off[worst]):.2f} samples of {rate:g} Hz from one"
        way = f"say `layout: {{rate: {rate:.3g}}}` to interpolate between the rows"
        raise broken(path, f"{rule}; {way}", "layout.rate", _line(cells, worst))
    place = at.astype(np.int64)
    return RowTimes(rate, int(place[-1]) + 1, start, at=None if place[-1] == n - 1 else place)


def _grid(seconds: Floats, step: float) -> tuple[float, Floats, Floats]:
    """Rate of the grid whose step is about so long, the sample on it of each time, and how many
    samples off that is; infinitely many for two times of one sample."""
    at = np.concatenate([[0], np.cumsum(np.maximum(np.rint(np.diff(seconds) / step), 1))])
    for _ in range(3):  # one step is a rough rate, the slope over all is not
        rate = float(np.polyfit(seconds, at, 1)[0])
        at = np.rint(seconds * rate)
    rate = _plain(rate, float(seconds[-1]))
    off = seconds * rate - at
    off -= np.median(off)
    return rate, at, np.full_like(off, np.inf) if (np.diff(at) < 1).any() else off


def _plain(rate: float, seconds: float) -> float:
    """The rate of fewest digits that drifts by less than a tenth of a sample."""
    tries = (round(rate, digits) for digits in range(8))
    return next((r for r in tries if r > 0 and abs(r - rate) * seconds < 0.1), rate)


def _line(cells: Cells, row: int) -> int | None:
    return None if cells.head is None else cells.head.line_of(row)


# ---- as a recording ----


def table_header(path: Path, layout: FileLayout) -> tuple[Channel, ...]:
    check_layout(path, layout, TABLE.keys)
    stat = os.stat(path)
    return _header(path, layout, stat.st_size, stat.st_mtime_ns)[0]


@lru_cache(4096)
def _header(
    path: Path, layout: FileLayout, size: int, changed: int
) -> tuple[tuple[Channel, ...], RowTimes]:
    cells = Cells(path, layout)
    clock = _clock(cells)
    time = _time_of(cells)
    times = {time[0]} if time else {n for n in cells.kinds if TIME.fullmatch(n.strip())}
    names = [n for n, kind in cells.kinds.items() if kind == "number" and n not in times]
    if not names:
        rule = "holds no column of numbers beside the times" if times else "holds no numbers"
        raise broken(path, f"{rule}, only {', '.join(cells.kinds) or 'nothing'}; narrow `pattern`")
    if not clock.n_times:
        raise broken(path, "holds no row; leave it out of `pattern`")
    # a value that is no number is found now, not when a sweep reads it
    for _ in cells.batches(names) if cells.head else ():
        pass
    rows = [(name, *_unit(name)) for name in names]
    return tuple(
        Channel(name, clock.sfreq, clock.n_times, guess_modality(bare, unit), unit, index=i)
        for i, (name, bare, unit) in enumerate(rows)
    ), clock


def _unit(name: str) -> tuple[str, str]:
    """A column `EDA [uS]` or `EDA (uS)` says its unit."""
    said = re.fullmatch(r"(.+?)\s*[\[(]([^\])]*)[\])]", name)
    return (said[1], said[2]) if said else (name, "")


def _known(path: Path, layout: FileLayout) -> tuple[tuple[Channel, ...], RowTimes]:
    stat = os.stat(path)
    return _header(path, layout, stat.st_size, stat.st_mtime_ns)


def table_pieces(path: Path, picks: Sequence[Channel], layout: FileLayout) -> Pieces:
    clock, names = _known(path, layout)[1], [c.name for c in picks]
    parts = (
        np.stack([batch[n] for n in names]) for batch in Cells(path, layout).batches(names)
    )  # (C, n) each
    every = range(len(picks))
    if clock.times is not None:
        x = np.concatenate(list(parts), axis=1)
        yield every, _between(clock, x)
        return
    row, end = 0, 0  # rows read, samples given
    for part in parts:
        n = part.shape[1]
        if clock.at is None:
            yield every, part
        else:
            at = clock.at[row : row + n]
            laid = np.full((len(picks), int(at[-1]) + 1 - end), np.nan)
            laid[:, at - end] = part
            yield every, laid
            end = int(at[-1]) + 1
        row += n


def _between(clock: RowTimes, x: Floats) -> Floats:
    """Rows (C, n) on the grid, linearly; missing where rows are further apart than three usual
    steps, or three samples."""
    assert clock.times is not None
    grid = np.arange(clock.n_times) / clock.sfreq
    after = np.clip(np.searchsorted(clock.times, grid), 1, len(clock.times) - 1)
    apart = np.diff(clock.times)
    far = apart[after - 1] > 3 * max(float(np.median(apart)), 1 / clock.sfreq)
    on_row = np.isclose(clock.times[after], grid) | np.isclose(clock.times[after - 1], grid)
    out = np.stack([np.interp(grid, clock.times, row) for row in x])
    out[:, far & ~on_row] = np.nan
    return out


def table_column(path: Path, name: str, layout: FileLayout) -> Values | None:
    cells = Cells(path, layout)
    if name not in cells.kinds or cells.kinds[name] == "other":
        return None
    clock = _known(path, layout)[1]
    values = np.concatenate([as_texts(batch[name]) for batch in cells.batches([name])])
    values = np.where(np.isin(np.char.lower(values), [*MISSING]), "", values)
    if clock.times is not None:  # the row before, as long as there is one
        grid = np.arange(clock.n_times) / clock.sfreq
        row = np.searchsorted(clock.times, grid + 1e-9, side="right") - 1
        return Values(values[np.clip(row, 0, None)], clock.sfreq)
    if clock.at is None:
        return Values(values, clock.sfreq)
    laid = np.full(clock.n_times, "", values.dtype)
    laid[clock.at] = values
    return Values(laid, clock.sfreq)


def table_texts(path: Path, layout: FileLayout) -> list[str]:
    cells = Cells(path, layout)
    time = _time_of(cells)
    return [n for n, kind in cells.kinds.items() if kind == "text" and (not time or n != time[0])]


def table_start(path: Path, layout: FileLayout) -> float | None:
    return _known(path, layout)[1].start


TABLE = Format(
    table_header,
    table_pieces,
    column=table_column,
    texts=table_texts,
    start=table_start,
    keys=frozenset({"rate", "names", "time", "unit"}),
)
