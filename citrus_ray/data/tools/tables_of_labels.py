"""Tables that say which recording is what, under whatever names their columns have."""

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from citrus_ray.data.faults import noted
from citrus_ray.data.formats.labels import COLUMNS, read_labels
from citrus_ray.data.formats.tables import DelimitedTable, read_table
from citrus_ray.spec import Problem

MATCHED = 0.8  # share of rows whose file is there, of a table that is of these recordings
MOST_CLASSES = 50
LABELS = re.compile(
    r"label|class|target|condition|activity|stage|state|diagnosis|dx|event|rhythm|task|category|"
    r"outcome|y|group|trial_?type",
    re.IGNORECASE,
)
GROUPS = re.compile(
    r"group|subject(_?id)?|subj|sub|participant(_?id)?|patient(_?id)?|person|user(_?id)?|id|pid",
    re.IGNORECASE,
)
UNIT = r"(?P<unit>_?(s|sec|secs|seconds|ms|samples?))?"
START = re.compile(rf"(t_?)?(start|begin|onset|from)(_?time)?{UNIT}", re.IGNORECASE)
STOP = re.compile(rf"(t_?)?(stop|end|offset|to|until)(_?time)?{UNIT}", re.IGNORECASE)
LENGTH = re.compile(rf"(duration|length){UNIT}", re.IGNORECASE)


@dataclass(frozen=True)
class LabelTable:
    """A table of labels: rows as `kind: files` reads them, and which columns they are from."""

    name: str  # relative to root
    matched: int  # recordings that it names
    said: str  # which column stands for what
    counts: dict[str, int]  # rows by label
    grouped: str  # the column of groups; empty: none
    n_groups: int
    shortest: float  # seconds that nine of ten stretches have
    text: str = ""  # in the layout of `kind: files`, where the file is not


def label_table(root: Path, name: str, files: Sequence[str]) -> LabelTable | None:
    """What a table says of recordings, or None where it speaks of none of them."""
    problems = list[Problem]()
    table = None
    with noted(problems):
        table = read_table(root / name, COLUMNS, "labels")
    if table is None or problems or not table.rows:
        return None
    known = _by_name(files)
    column = max(table.head, key=lambda c: _share(table, c, known), default="")
    if not column or _share(table, column, known) < MATCHED:
        return None
    rows = [row.values for row in table.rows]
    matched = len({known[row[column]] for row in rows if row[column] in known})
    if {"file", "label"} <= {*table.head} and (whole := _as_it_is(root / name)):
        groups = {row["group"] for row in rows} if "group" in table.head else set()
        grouped = "group" if groups else ""
        counts = dict(Counter(row["label"] for row in rows))
        return LabelTable(name, matched, "", counts, grouped, len(groups), whole)
    return _renamed(name, table, column, matched, known)


def _by_name(files: Sequence[str]) -> dict[str, str]:
    """Recordings by everything that a row may call them, where that is one alone."""
    names = Counter[str]()
    known = dict[str, str]()
    for file in files:
        path = PurePosixPath(file)
        for key in {file, str(path.with_suffix("")), path.name, path.stem}:
            names[key] += 1
            known[key] = file
    return {key: file for key, file in known.items() if names[key] == 1}


def _share(table: DelimitedTable, column: str, known: dict[str, str]) -> float:
    if not column:
        return 0.0
    values = [row.values[column] for row in table.rows]
    return sum(value in known for value in values) / len(values)


def _as_it_is(path: Path) -> float:
    """The length that nine of ten stretches have; 0 where the layout is another."""
    for grouped in (True, False):
        rows, problems = read_labels(path, grouped)
        if rows and not problems:
            times = [row.stop_s - row.start_s for row in rows]
            return float(np.quantile(times, 0.1)) if not rows[0].in_samples else math.inf
    return 0.0


def _renamed(
    name: str, table: DelimitedTable, file: str, matched: int, known: dict[str, str]
) -> LabelTable | None:
    rows = [row.values for row in table.rows if row.values[file] in known]
    label = _best(LABELS, rows, {file})
    if label is None:
        return None
    group = _group_column(rows, file, label, known)
    start, stop, length = (_column(rule, table.head) for rule in (START, STOP, LENGTH))
    times = start if start and (stop or length) else None
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = [
        "file",
        *(["start_s", "stop_s"] if times else []),
        "label",
        *(["group"] if group else []),
    ]
    writer.writerow(head)
    spans = list[float]()
    for row in rows:
        if not row[label]:
            continue
        cells = [known[row[file]]]
        if times:
            begin, end = _times(row, times, stop, length)
            if not math.isfinite(begin + end):
                return None
            spans.append(end - begin)
            cells += [f"{begin:.6g}", f"{end:.6g}"]
        writer.writerow([*cells, row[label], *([row[group]] if group else [])])
    said = ", ".join(
        f"{ours} is {theirs}"
        for ours, theirs in (("file", file), ("label", label), ("group", group), ("start", times))
        if theirs
    )
    counts = dict(Counter(row[label] for row in rows if row[label]))
    n_groups = len({row[group] for row in rows}) if group else 0
    shortest = float(np.quantile(spans, 0.1)) if spans else math.inf
    return LabelTable(name, matched, said, counts, group or "", n_groups, shortest, out.getvalue())


def _best(rule: re.Pattern[str], rows: Sequence[dict[str, str]], taken: set[str]) -> str | None:
    """A column called so, of few values that several rows share; one of text before numbers."""
    fits = list[tuple[bool, int, str]]()
    for place, column in enumerate(rows[0] if rows else ()):
        counts = Counter(row[column] for row in rows if row[column])
        few = 2 <= len(counts) <= MOST_CLASSES and len(counts) <= len(rows) / 2
        if column not in taken and rule.fullmatch(column) and few:
            # `group` may be people: another name goes before it
            fits.append((column.lower() == "group", place, column))
    return min(fits)[2] if fits else None


def _group_column(
    rows: Sequence[dict[str, str]], file: str, label: str, known: dict[str, str]
) -> str | None:
    """A column called so, of which each recording has one value."""
    for column in rows[0]:
        if column in (file, label) or not GROUPS.fullmatch(column):
            continue
        pairs = {(known[row[file]], row[column]) for row in rows}
        values = {value for _, value in pairs}
        if "" not in values and len(values) >= 3 and len(pairs) == len({f for f, _ in pairs}):
            return column
    return None


def _column(rule: re.Pattern[str], head: Sequence[str]) -> str | None:
    """A column of times, unless it counts samples, whose rate the table does not know."""
    found = next((name for name in head if rule.fullmatch(name)), None)
    return None if found is None or "sample" in found.lower() else found


def _times(
    row: dict[str, str], start: str, stop: str | None, length: str | None
) -> tuple[float, float]:
    begin = _seconds(row[start], start)
    if stop is not None:
        return begin, _seconds(row[stop], stop)
    assert length is not None
    return begin, begin + _seconds(row[length], length)


def _seconds(text: str, name: str) -> float:
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return math.nan
    return value / 1000 if re.search(r"ms$", name.lower()) else value
