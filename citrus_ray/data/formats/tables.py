"""Tables as text: fields parted by commas, semicolons or tabs, which the first line tells.

A row with more or fewer fields than the first line is refused with its line: read on, it would put
a value under the name of another.
"""

import csv
import io
import itertools
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from citrus_ray.data.faults import AGAIN, broken, capped
from citrus_ray.spec import Problem, SpecError

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # what Excel calls Unicode text


@dataclass(frozen=True)
class Row:
    line: int
    values: dict[str, str]  # by the column's name, without spaces around


@dataclass(frozen=True)
class DelimitedTable:
    """The rows that have a value under every name, and what is wrong with the others."""

    head: tuple[str, ...]
    line: int  # of the names
    delimiter: str
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]


def read_table(path: Path, needed: Collection[str], field: str) -> DelimitedTable:
    """The table in a file; of the delimiters that one is meant which finds most `needed` names."""
    text = _text(path, field)
    delimiter = max(DELIMITERS, key=lambda mark: _fit(text, mark, needed))
    records = _records(io.StringIO(text, newline=""), delimiter)
    try:
        line, head = next(records, (1, []))
        _check_names(path, head, field, line)
        rows, wrong = list[Row](), defaultdict[str, list[Problem]](list)
        for number, fields in records:
            fault = _fault(fields, head, delimiter)
            if fault:
                wrong[fault[0]].append(Problem(field, fault[1], str(path), number))
                continue
            values = {name: value for name, value in zip(head, fields, strict=True) if name}
            rows.append(Row(number, values))
    except _RowError as err:
        raise broken(path, str(err), field, err.line) from None
    problems = tuple(problem for of in wrong.values() for problem in capped(of))
    return DelimitedTable(tuple(head), line, delimiter, tuple(rows), problems)


def _check_names(path: Path, head: Sequence[str], field: str, line: int) -> None:
    odd = next((name for name in head if not name.isprintable()), None)
    if odd is not None:
        rule = f"names a column {odd!r}, which cannot be shown; write it with letters"
        raise broken(path, rule, field, line)
    twice = [name for i, name in enumerate(head) if name and name in head[:i]]
    if twice:
        rule = f"names the column {twice[0]} twice; keep one, or rename the other"
        raise broken(path, rule, field, line)


def _text(path: Path, field: str) -> str:
    try:
        data = path.read_bytes()
        return data.decode(BOMS.get(data[:2], "utf-8-sig"))
    except (OSError, UnicodeDecodeError) as err:
        rule = f"cannot be read as CSV: {err}; save it as UTF-8 CSV"
        raise SpecError([Problem(field, rule, str(path))]) from None


def _fit(text: str, delimiter: str, needed: Collection[str]) -> tuple[int, int]:
    """How well the first line reads with a delimiter: the needed names in it, and its fields."""
    try:
        _, head = next(_records(io.StringIO(text, newline=""), delimiter), (1, []))
    except _RowError:
        return 0, 0
    return sum(name in head for name in needed), len(head)


class _RowError(ValueError):
    """A row of which csv cannot tell where its fields end."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def _records(
    lines: Iterable[str], delimiter: str, blank: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Rows that hold something, each with the line that it begins at; of `blank` fields, too."""
    how = {"delimiter": delimiter, "skipinitialspace": True, "strict": True}
    reader = csv.reader(lines, **how)  # type: ignore[arg-type]
    while True:
        line = reader.line_num + 1
        try:
            fields = [value.strip() for value in next(reader)]
        except StopIteration:
            return
        except csv.Error as err:
            rule = f'cannot be read: {err}; close the quotes, and write " inside them as ""'
            raise _RowError(line, rule) from None
        if any("\n" in value or "\r" in value for value in fields):
            rule = "holds a line break inside quotes; close the quotes that begin here"
            raise _RowError(line, rule)
        if any(fields) or (blank and fields):
            yield line, fields


def _fault(fields: list[str], head: list[str], delimiter: str) -> tuple[str, str] | None:
    """The rule that a row breaks, and the message."""
    n, m, mark = len(fields), len(head), DELIMITERS[delimiter]
    if n > m:
        others = " or ".join(f"{name}s" for name in DELIMITERS.values() if name != mark)
        way = f"put double quotes around the one that holds a {mark}, or part fields by {others}"
        return "more", f"has {n} fields, but the first line names {m}; {way}"
    if n < m:
        way = f"fill in what is missing, or write its {mark}"
        return "fewer", f"has {n} fields, but the first line names {m}; {way}"
    odd = next((value for value, name in zip(fields, head, strict=True) if value and not name), "")
    if odd:  # a column that ends every line: what stands there was pushed out of another
        way = f"name the column, or put double quotes around the field that holds a {mark}"
        return "nameless", f"holds {odd!r} under no name; {way}"
    return None


# ---- tables of numbers, too long to be held as text ----

NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
# what an empty field may hold in its place
MISSING = frozenset({"", "na", "n/a", "nan", "-nan", "null", "none", "#n/a"})


@dataclass(frozen=True)
class TextHead:
    """How a table of text is written, and its columns, by its first rows."""

    path: Path
    names: tuple[str, ...]
    skip: int  # lines before the rows
    delimiter: str
    decimal: str
    encoding: str
    sample: tuple[list[str], ...]

    def is_number(self, i: int) -> bool:
        """Whether the first value of a column is a number, or it has none."""
        values = (row[i] for row in self.sample if i < len(row))
        first = next((value for value in values if value.lower() not in MISSING), None)
        return first is None or NUMBER.fullmatch(first) is not None

    @property
    def alone(self) -> bool:
        """Whether there is but one column: a blank line is a row of it, not nothing."""
        return len(self.names) == 1

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """Rows with their lines, one after another, those of empty fields too."""
        with self.path.open(encoding=self.encoding, newline="") as handle:
            lines = ('""\n' if self.alone and not line.strip() else line for line in handle)
            rows = _records(lines, self.delimiter, blank=True)
            yield from (row for row in rows if row[0] > self.skip)

    def line_of(self, row: int) -> int | None:
        return next((line for i, (line, _) in enumerate(self.records()) if i == row), None)


def read_head(path: Path, n_bytes: int, names: Sequence[str] | None) -> TextHead:
    """Delimiter, decimal mark and columns of a table. `names`: it has no first line of them."""
    with path.open("rb") as handle:
        data = handle.read(n_bytes)
    encoding = BOMS.get(data[:2], "utf-8-sig")
    whole = len(data) < n_bytes
    try:
        # a character may be cut in two at the end of what was read
        text = data.decode(encoding) if whole else data.decode(encoding, "ignore")
    except UnicodeDecodeError as err:
        raise broken(path, f"is no text: {err}; save it as UTF-8") from None
    if not whole:
        text = text[: text.rfind("\n") + 1]
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise broken(path, "holds zero bytes, so it is no text; save it as UTF-8", line=line)
    delimiter = max(DELIMITERS, key=lambda mark: _width(text, mark))
    try:
        rows = list(_records(io.StringIO(text, newline=""), delimiter))
    except _RowError as err:
        raise broken(path, str(err), line=err.line) from None
    if not rows:
        raise broken(path, f"is empty; {AGAIN}, or leave it out of `pattern`")
    line, first = rows[0]
    if names is None:
        _check_head(path, first, [fields for _, fields in rows[1:2]], line)
        skip, shown, rows = line, tuple(first), rows[1:]
    elif len(names) != len(first):
        rule = f"has {len(first)} columns, but `names` names {len(names)}"
        raise broken(path, f"{rule}; name each", "layout.names", line)
    else:
        skip, shown = line - 1, tuple(names)
    sample = tuple(fields for _, fields in rows)
    return TextHead(path, shown, skip, delimiter, _decimal(sample, delimiter), encoding, sample)


def _width(text: str, delimiter: str) -> tuple[int, bool]:
    """How many fields a delimiter finds in each of the first rows, and whether as many."""
    try:
        rows = itertools.islice(_records(io.StringIO(text, newline=""), delimiter), 50)
        found = [len(fields) for _, fields in rows]
    except _RowError:
        return 0, False
    return min(found[:2], default=0), len(set(found)) == 1


def _check_head(path: Path, head: Sequence[str], below: Sequence[Sequence[str]], line: int) -> None:
    if all(NUMBER.fullmatch(name) for name in head if name):
        rule = f"begins with numbers, not with names: {', '.join(head)[:60]}"
        way = "add a first line of names, or say them in `layout: {names: […]}`"
        raise broken(path, f"{rule}; {way}", "layout.names", line)
    words = [len(fields[0].split()) for fields in (head, *below) if len(fields) == 1]
    if len(words) == 2 and words[0] == words[1] > 1:
        marks = ", ".join(f"{name}s" for name in DELIMITERS.values())
        rule = f"has one column, `{head[0][:60]}`"
        raise broken(path, f"{rule}; part fields by {marks}, not by spaces", line=line)
    _check_names(path, head, "", line)


def _decimal(sample: Iterable[Sequence[str]], delimiter: str) -> str:
    """A comma where it is the first mark that a number has."""
    if delimiter == ",":
        return "."
    numbers = (value for row in sample for value in row if NUMBER.fullmatch(value))
    marks = (re.search(r"[.,]", value) for value in numbers)
    return next((mark[0] for mark in marks if mark), ".")


def wrong_row(path: Path, head: TextHead, numbers: Sequence[str]) -> None:
    """Refuse rows of another width than the names, and values of `numbers` that are none."""
    wrong = defaultdict[str, list[Problem]](list)
    other = "." if head.decimal == "," else ","
    try:
        for line, fields in head.records():
            fault = _fault(fields, list(head.names), head.delimiter)
            if fault is None:
                fault = _no_number(dict(zip(head.names, fields, strict=True)), numbers, other)
            if fault:
                wrong[fault[0]].append(Problem("", fault[1], str(path), line))
    except _RowError as err:
        raise broken(path, str(err), line=err.line) from None
    except UnicodeDecodeError as err:
        raise broken(path, f"is no text: {err}; save it as UTF-8") from None
    if wrong:
        raise SpecError([problem for of in wrong.values() for problem in capped(of)])


def number_of(value: str, decimal: str) -> float:
    """A field as a number, NaN where it is missing. It was looked at by `wrong_row`."""
    return float("nan") if value.lower() in MISSING else float(value.replace(decimal, "."))


def _no_number(row: dict[str, str], numbers: Sequence[str], other: str) -> tuple[str, str] | None:
    for name in numbers:
        value = row[name]
        if value.lower() in MISSING:
            continue
        if NUMBER.fullmatch(value) is None:
            way = "correct it, leave it empty, or leave the column out with `channels`"
            return name, f"{name}={value[:40]!r} is no number, as values before are; {way}"
        if other in value:
            mark = "comma" if other == "," else "point"
            rule = f"{name}={value!r} has a decimal {mark}, but values before the other mark"
            return "mark", f"{rule}; write one, and nothing between thousands"
    return None
