"""The table that says which stretch of which recording is what: `file,start_s,stop_s,label,group`.

Times are seconds, or samples in `start_sample,stop_sample`; a row without any labels its whole
recording. Nothing here opens a recording; every fault is reported with its line.
"""

import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from citrus_ray.data.faults import capped, first_of, suggest
from citrus_ray.data.formats.tables import Row, read_table
from citrus_ray.spec import Problem, SpecError

SECONDS, SAMPLES = ("start_s", "stop_s"), ("start_sample", "stop_sample")
COLUMNS = ("file", *SECONDS, *SAMPLES, "label", "group")
# what a column of times is called where it is not called as it must be: read on without, each row
# would label its whole recording
LIKE_TIMES = re.compile(
    r"(t|time|sample)?[ _]?(start|stop|begin|end|onset|offset|duration|from|to|until)"
    r"([ _]?(time|sample|index))?(?![a-z])",
    re.IGNORECASE,
)
NUMBER = re.compile(r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
COMMON = 10  # rows that make a label no slip of the pen


@dataclass(frozen=True)
class Stretch:
    """A stretch of one recording that belongs to one group. Without labels: the whole recording.

    It ends at infinity where it is all of the recording, and at its start where it is an event.
    """

    file: str
    start_s: float
    stop_s: float
    label: str
    group: str
    line: int = 0  # of the table that says so; 0: an annotation
    table: str = ""
    in_samples: bool = False  # start and stop are so until `at` turns them into seconds
    tags: tuple[str, ...] = ()  # what other columns of the table say

    def at(self, sfreq: float) -> "Stretch":
        """The stretch in seconds, of a recording at a rate in Hz."""
        if not self.in_samples:
            return self
        start, stop = self.start_s / sfreq, self.stop_s / sfreq
        return replace(self, start_s=start, stop_s=stop, in_samples=False)

    @property
    def is_whole(self) -> bool:
        return math.isinf(self.stop_s)

    def said(self, which: int) -> str:
        """Its start (0) or stop (1), as the table has it."""
        value = (self.start_s, self.stop_s)[which]
        if self.in_samples:
            return f"{SAMPLES[which]}={value:.0f}"
        return f"{SECONDS[which]}={value:g}"


def read_labels(
    path: Path, grouped: bool = True, column: str = "label", tags: Sequence[str] = ()
) -> tuple[list[Stretch], list[Problem]]:
    """The rows that make sense, and what is wrong with the others. Where they are not `grouped`,
    the names of recordings say the group, and no column may. Labels are in `column`, what else is
    wanted of a row in columns `tags`."""
    try:
        table = read_table(path, (*COLUMNS, column), "labels")
    except SpecError as err:
        return [], list(err.problems)
    fault = _head_fault(table.head, grouped, column)
    if fault:
        return [], [Problem("labels", fault, str(path), table.line)]
    gone = [name for name in tags if name not in table.head]
    if gone:
        rule = f"has no column {', '.join(gone)}; there are {', '.join(table.head)}"
        return [], [Problem("columns", rule, str(path), table.line)]
    if not table.rows and not table.problems:
        rule = "holds no row; add stretches, or leave `labels` out"
        return [], [Problem("labels", rule, str(path))]
    times = next((pair for pair in (SECONDS, SAMPLES) if pair[0] in table.head), None)
    rows, wrong, marks = list[Stretch](), defaultdict[str, list[Problem]](list), set[str]()
    for row in table.rows:
        read = _stretch(row, times, column, table.delimiter, marks, str(path))
        if isinstance(read, Stretch):
            rows.append(replace(read, tags=tuple(row.values[name] for name in tags)))
        else:
            wrong[read[0]].append(Problem("labels", read[1], str(path), row.line))
    problems = [problem for of in wrong.values() for problem in capped(of)]
    return rows, [*table.problems, *problems]


def _head_fault(head: Collection[str], grouped: bool, column: str) -> str:
    """What is wrong with the names of the columns, if something is."""
    used = [pair for pair in (SECONDS, SAMPLES) if any(name in head for name in pair)]
    if len(used) > 1:
        both = ", ".join(name for pair in used for name in pair if name in head)
        return f"has {both}: times are seconds or samples, not both; drop one pair"
    must = ("file", *(used[0] if used else ()), column, *(["group"] if grouped else []))
    missing = [name for name in must if name not in head]
    if missing:
        rule = f"has no column {', '.join(missing)}; its first line must name file,{column}"
        rule += ",group" if grouped else ""
        rule += f" and, for parts of recordings, {','.join(SECONDS)} or {','.join(SAMPLES)}"
        if "group" in missing:
            rule += " (without group where `group_pattern` finds it in the names of recordings)"
        return f"{rule}, but is {','.join(head)}"
    if not grouped and "group" in head:
        rule = "has a column group, but `group_pattern` says where groups come from"
        return f"{rule}; drop one of the two"
    times = [name for name in head if LIKE_TIMES.match(name)]
    if times and not used:
        rule = f"has {', '.join(times)}, which is not read, so rows would label whole recordings"
        way = f"call times {','.join(SECONDS)} or {','.join(SAMPLES)}, or drop the column"
        return f"{rule}; {way}"
    return ""


def _stretch(
    row: Row,
    times: tuple[str, str] | None,
    column: str,
    delimiter: str,
    marks: set[str],
    table: str,
) -> Stretch | tuple[str, str]:
    """The stretch of a row; or the rule that it breaks, and the message."""
    text = row.values
    start, stop = 0.0, math.inf
    if times and (text[times[0]] or text[times[1]]):
        first, last = (_number(name, text[name], delimiter, marks) for name in times)
        if isinstance(first, tuple):
            return first
        if isinstance(last, tuple):
            return last
        start, stop = first, last
    found = (text["file"], start, stop, text[column], text.get("group", ""))
    stretch = Stretch(*found, row.line, table, in_samples=times == SAMPLES)
    if start < 0:
        return "negative", f"{stretch.said(0)} is before the recording; count from 0"
    if stop <= start:
        return "order", f"{stretch.said(1)} must be after {stretch.said(0)}; correct one of them"
    empty = next((name for name in ("file", "group", column) if text.get(name) == ""), None)
    return (empty, f"`{empty}` is empty; fill it in or remove the row") if empty else stretch


def _number(name: str, text: str, delimiter: str, marks: set[str]) -> float | tuple[str, str]:
    """A time, or why it is none. `marks` are the decimal marks that the table has had so far."""
    unit = "samples" if name in SAMPLES else "seconds"
    mark = "," if "," in text else "." if "." in text else ""
    if not text:
        way = f"write {unit}, or leave both empty for the whole recording"
        return name, f"{name} is empty, but the other time is not; {way}"
    value = float(text.replace(",", ".")) if NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value) or (mark == "," and delimiter == ","):
        return name, f"{name}={text!r} is no number; write {unit}"
    if unit == "samples" and not value.is_integer():
        return name, f"{name}={text!r} is no whole number; write samples, or call it {name[:-6]}s"
    if mark and marks and mark not in marks:
        # thousands, perhaps: 1,000 is one second or a thousand
        other = "point" if mark == "," else "comma"
        rule = f"{name}={text!r}, but rows before have a decimal {other}"
        return "mark", f"{rule}; write one decimal mark, and nothing between thousands"
    if mark:
        marks.add(mark)
    return value


def labels_in(label: str) -> list[str]:
    """The names that are joined in a label of several; `none` says that there is none."""
    names = (name.strip() for name in label.split("|"))
    return [name for name in names if name and name != "none"]


def not_numbers(rows: Iterable[Stretch]) -> list[Problem]:
    """What is wrong with labels that are to be values."""
    odd = [row for row in rows if math.isnan(value_of(row.label))]
    rule = "is no number, and target=value needs one; correct it, leave the row out, or drop target"
    said = (
        Problem("labels", f"label `{row.label}` {rule}", row.table, row.line or None) for row in odd
    )
    return capped(list(said))


def value_of(label: str) -> float:
    """A label as a number, with a point or a comma; NaN where it is none."""
    text = label.strip()
    return float(text.replace(",", ".")) if NUMBER.fullmatch(text) else math.nan


def match(
    rows: Iterable[Stretch], files: Iterable[str], labels: Path, left_out: Iterable[str] = ()
) -> tuple[dict[str, list[Stretch]], list[Problem]]:
    """Rows by recording, and those that fit none. A row may name its file with or without folders
    and suffix.

    Rows of recordings that are `left_out` on purpose are left out too.
    """
    known, others = _by_name(files), _by_name(left_out)
    found, unmatched = defaultdict[str, list[Stretch]](list), list[Stretch]()
    for row in rows:
        if len(known.get(row.file, ())) == 1:
            found[known[row.file][0]].append(row)
        elif row.file in known or row.file not in others:
            unmatched.append(row)
    # what a name was meant to be is looked for where it is shown alone
    problems = first_of(unmatched, lambda row: _unmatched(row, known, labels))
    if not found and not problems:
        rule = "all its rows are of recordings that `pattern` leaves out"
        rule += "; widen `pattern`, or give another table"
        problems.append(Problem("labels", rule, str(labels)))
    return {name: found[name] for name in files if name in found}, problems


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


def lookalikes(
    rows: Iterable[Stretch], merge: Mapping[str, str], apart: Collection[str]
) -> tuple[list[Problem], list[str]]:
    """Labels, as `merge` renames them, that are another but for case and spaces, refused; and
    single ones a letter from a common one, as caveats. Those that are both meant are in `apart`."""
    counts, first = Counter[str](), dict[str, Stretch]()
    for row in rows:
        label = merge.get(row.label, row.label)
        counts[label] += 1
        first.setdefault(label, row)
    folded = defaultdict[str, list[str]](list)
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        folded[_folded(label)].append(label)
    problems = [
        _same(label, common, counts, first[label])
        for common, *others in folded.values()
        for label in others
        if not {label, common} <= {*apart}
    ]
    return capped(problems), list(_slips(counts, apart))


def _folded(label: str) -> str:
    return " ".join(label.casefold().split())


def _same(label: str, common: str, counts: Counter[str], row: Stretch) -> Problem:
    rule = f"label `{label}` ({_rows(counts[label])}) is `{common}` ({_rows(counts[common])})"
    rule += f" but for case or spaces; did you mean `{common}`? correct it, say"
    rule += f" `merge: {{{label}: {common}}}`, or name both in `classes` if they are two"
    return Problem("labels", rule, row.table, row.line or None)


def _slips(counts: Counter[str], apart: Collection[str]) -> Iterator[str]:
    common = [label for label, n in counts.items() if n >= COMMON]
    for rare in sorted(label for label, n in counts.items() if n == 1):
        for label in common:
            if _a_letter_apart(rare, label) and not {rare, label} <= {*apart}:
                rule = f"label `{rare}` (1 row) is a letter from `{label}` ({_rows(counts[label])})"
                yield f"{rule}: a class of its own, unless `merge` says that it is not"


def _rows(n: int) -> str:
    return f"{n} row{'' if n == 1 else 's'}"


def _a_letter_apart(one: str, two: str) -> bool:
    """Whether a letter more, less or other, or two that changed places, make one word of another.

    Short names and digits are not looked at: N1 and N2 are two stages.
    """
    one, two = _folded(one), _folded(two)
    if min(len(one), len(two)) < 4 or one == two:
        return False
    n = _shared(one, two)
    one, two = one[n:], two[n:]
    n = _shared(one[::-1], two[::-1])
    one, two = one[: len(one) - n], two[: len(two) - n]
    swapped = len(one) == 2 and one == two[::-1]
    return (max(len(one), len(two)) == 1 or swapped) and (one + two).isalpha()


def _shared(one: str, two: str) -> int:
    """How many letters two words begin with alike."""
    pairs = enumerate(zip(one, two, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(two)))
