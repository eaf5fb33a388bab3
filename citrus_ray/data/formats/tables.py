"""Tables as text: fields parted by commas, semicolons or tabs, which the first line tells.

A row with more or fewer fields than the first line is refused with its line: read on, it would put
a value under the name of another.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from citrus_ray.data.faults import broken, capped
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
    records = _records(text, delimiter)
    try:
        line, head = next(records, (1, []))
        twice = [name for i, name in enumerate(head) if name and name in head[:i]]
        if twice:
            rule = f"names the column {twice[0]} twice; keep one, or rename the other"
            raise broken(path, rule, field, line)
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
        _, head = next(_records(text, delimiter), (1, []))
    except _RowError:
        return 0, 0
    return sum(name in head for name in needed), len(head)


class _RowError(ValueError):
    """A row of which csv cannot tell where its fields end."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that hold something, each with the line that it begins at."""
    how = {"delimiter": delimiter, "skipinitialspace": True, "strict": True}
    reader = csv.reader(io.StringIO(text, newline=""), **how)  # type: ignore[arg-type]
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
        if any(fields):
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
