"""The CSV that says which stretch of which recording is what: `file,start_s,stop_s,label,group`.

Nothing here opens a recording; every fault is reported with its line.
"""

import csv
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from citrus_ray.data.faults import capped, suggest
from citrus_ray.spec import Problem

COLUMNS = ("file", "start_s", "stop_s", "label", "group")


@dataclass(frozen=True)
class Stretch:
    """A stretch of one recording that belongs to one group. Without labels: the whole recording."""

    file: str
    start_s: float
    stop_s: float
    label: str
    group: str
    line: int = 0  # of the table that says so
    table: str = ""


def read_labels(path: Path) -> tuple[list[Stretch], list[Problem]]:
    """The rows that make sense, and what is wrong with the others."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, skipinitialspace=True)
            head, raw = reader.fieldnames or [], [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        rule = f"cannot be read as CSV: {err}; save it as UTF-8 CSV"
        return [], [Problem("labels", rule, str(path))]
    missing = [name for name in COLUMNS if name not in head]
    if missing:
        rule = f"has no column {', '.join(missing)}"
        rule += f"; its first line must name {','.join(COLUMNS)}, but is {','.join(head)}"
        return [], [Problem("labels", rule, str(path), 1)]
    if not raw:
        rule = "holds no row; add stretches, or leave `labels` out"
        return [], [Problem("labels", rule, str(path))]
    rows, wrong = list[Stretch](), defaultdict[str, list[Problem]](list)
    for line, row in raw:
        text = {name: (row[name] or "").strip() for name in COLUMNS}
        start, stop = _number(text["start_s"]), _number(text["stop_s"])
        fault = _row_fault(text, start, stop)
        if fault:
            wrong[fault[0]].append(Problem("labels", fault[1], str(path), line))
        else:
            said = (text["file"], start, stop, text["label"], text["group"], line, str(path))
            rows.append(Stretch(*said))
    return rows, [problem for problems in wrong.values() for problem in capped(problems)]


def _row_fault(text: dict[str, str], start: float, stop: float) -> tuple[str, str] | None:
    """The rule that a row breaks, and the message."""
    for name, value in (("start_s", start), ("stop_s", stop)):
        if not math.isfinite(value):
            return name, f"{name}={text[name]!r} is no number; write seconds"
    if start < 0:
        return "negative", f"start_s={start:g} is before the recording; count from 0"
    if stop <= start:
        return "order", f"stop_s={stop:g} must be after start_s={start:g}; correct one of them"
    empty = next((name for name in ("file", "group", "label") if not text[name]), None)
    return (empty, f"`{empty}` is empty; fill it in or remove the row") if empty else None


def match(
    rows: Iterable[Stretch], files: Iterable[str], labels: Path, left_out: Iterable[str] = ()
) -> tuple[dict[str, list[Stretch]], list[Problem]]:
    """Rows by recording, and those that fit none. A row may name its file with or without folders
    and suffix.

    Rows of recordings that are `left_out` on purpose are left out too.
    """
    known, others = _by_name(files), _by_name(left_out)
    found, problems = defaultdict[str, list[Stretch]](list), list[Problem]()
    for row in rows:
        if len(known.get(row.file, ())) == 1:
            found[known[row.file][0]].append(row)
        elif row.file in known or row.file not in others:
            problems.append(_unmatched(row, known, labels))
    if not found and not problems:
        rule = "all its rows are of recordings that `pattern` leaves out"
        rule += "; widen `pattern`, or give another table"
        problems.append(Problem("labels", rule, str(labels)))
    return {name: found[name] for name in files if name in found}, capped(problems)


def _by_name(files: Iterable[str]) -> dict[str, list[str]]:
    """Files by everything that a row may call them."""
    known = defaultdict[str, list[str]](list)
    for name in files:
        path = PurePosixPath(name)
        for key in {name, str(path.with_suffix("")), path.name, path.stem}:
            known[key].append(name)
    return known


def _unmatched(row: Stretch, known: dict[str, list[str]], labels: Path) -> Problem:
    if row.file in known:
        rule = f"file={row.file} fits {', '.join(known[row.file])}; write its path relative to root"
    else:
        rule = f"file={row.file} fits no file that `pattern` matches; {suggest(row.file, known)}"
    return Problem("labels", rule, str(labels), row.line)


def crossing(stretches: Iterable[Stretch], tolerance: float) -> list[tuple[Stretch, Stretch]]:
    """Neighbouring stretches of one recording that overlap and belong to different groups."""
    pairs = itertools.pairwise(sorted(stretches, key=lambda s: s.start_s))
    return [(a, b) for a, b in pairs if a.group != b.group and b.start_s < a.stop_s - tolerance]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
