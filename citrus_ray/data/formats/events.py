"""Runs of a functional scan and what was shown: BIDS events, a line per volume, or a table."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from citrus_ray.data.faults import AGAIN, broken, capped
from citrus_ray.data.formats.labels import Stretch, match, read_labels
from citrus_ray.data.formats.tables import read_table
from citrus_ray.spec import Problem, SpecError

TRIAL_TYPE = "trial_type"  # the column of events that says what was shown
BIDS = ("onset", "duration", TRIAL_TYPE)
HEAD = ["labels", "chunks"]  # the first line of Haxby's labels.txt


@dataclass(frozen=True)
class Run:
    """A stretch of volumes without a break. Times in its stretches count from its first volume."""

    name: str
    first: int
    n_volumes: int
    stretches: tuple[Stretch, ...]

    def wanted(self, labelled: bool) -> tuple[Stretch, ...]:
        """What to cut: the labelled stretches, or the whole run where nothing is labelled."""
        return self.stretches if labelled else (Stretch(self.name, 0.0, math.inf, "", self.name),)


def attributes(path: Path, image: str, n_volumes: int, tr: float) -> list[Run]:
    """Runs, one after another, of PyMVPA's attributes: a line `label run` for each volume."""
    rows = [(n, text.split()) for n, text in enumerate(_lines(path), start=1) if text.strip()]
    rows = rows[1:] if rows and rows[0][1] == HEAD else rows
    wrong = [
        Problem("labels", f"must be `label run`, but is {text!r}; correct it", str(path), n)
        for n, text in ((n, " ".join(row)[:40]) for n, row in rows if len(row) != 2)
    ]
    if wrong:
        raise SpecError(capped(wrong))
    if len(rows) != n_volumes:
        rule = f"has {len(rows)} lines, but {image} {n_volumes} volumes; give one line for each"
        raise broken(path, rule, "labels")
    runs, first = list[Run](), 0
    for number, lines in itertools.groupby(rows, key=lambda row: row[1][1]):
        inside = [(n, label) for n, (label, _) in lines]
        name = f"run{number}"
        if any(run.name == name for run in runs):
            rule = f"run {number} comes back after another"
            way = "volumes of a run must follow one another"
            raise broken(path, f"{rule}; {way}", "labels", inside[0][0])
        runs.append(Run(name, first, len(inside), tuple(_stretches(inside, image, name, tr))))
        first += len(inside)
    return runs


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as err:
        raise broken(path, f"is no text: {err}; {AGAIN}", "labels") from None


def _stretches(
    lines: Sequence[tuple[int, str]], image: str, run: str, tr: float
) -> Iterator[Stretch]:
    """Stretches of a run: volumes of one label in a row are one."""
    first = 0
    for label, same in itertools.groupby(lines, key=lambda line: line[1]):
        numbers = [n for n, _ in same]
        stop = first + len(numbers)
        yield Stretch(image, first * tr, stop * tr, label, run, numbers[0])
        first = stop


def bids_events(path: Path, run: Run, tr: float) -> Run:
    """The run with the events of a BIDS table, in seconds from its first volume."""
    found, wrong = read_events(path, path.name, run.name)
    return _checked(path, replace(run, stretches=tuple(found)), tr, wrong)


def events_beside(path: Path, stem: str, entity: str) -> Path:
    """Events of BIDS: `…_bold.nii.gz` has `…_events.tsv` beside it."""
    found = path.with_name(stem.removesuffix(f"_{entity}") + "_events.tsv")
    if not found.is_file():
        rule = f"there is no such file beside {path.name}; add it, or narrow `pattern`"
        raise broken(found, rule, "labels")
    return found


def read_events(
    path: Path, file: str, group: str, instants: bool = False, column: str = TRIAL_TYPE
) -> tuple[list[Stretch], list[Problem]]:
    """Stretches of a BIDS table and what is wrong with its other rows; labels are in `column`.
    Where there may be `instants`, a row without a duration ends where it begins, and one of no
    type is left out."""
    needed = (*BIDS[:2], column)
    read = read_table(path, needed, "labels")
    missing = [name for name in needed if name not in read.head]
    if missing:
        rule = f"has no column {', '.join(missing)}, but {', '.join(read.head)}"
        way = "BIDS names onset, duration and trial_type, separated by tabs"
        raise broken(path, f"{rule}; {way}", "labels", read.line)
    found, wrong = list[Stretch](), list[Problem]()
    for row, line in ((row.values, row.line) for row in read.rows):
        label, said = row[column], row["duration"]
        if instants and label in ("", "n/a"):
            continue
        try:
            onset = float(row["onset"])
            duration = 0.0 if instants and said in ("", "n/a") else float(said)
        except ValueError:
            onset, duration = math.nan, math.nan
        enough = duration >= 0 if instants else duration > 0
        if not (math.isfinite(onset + duration) and onset >= 0 and enough and label):
            rule = f"onset={row['onset']} duration={said} {column}={label}: must be seconds from"
            rule += " 0, a duration above 0" + (", or none," if instants else "") + " and a name"
            way = "correct or remove the row"
            wrong.append(Problem("labels", f"{rule}; {way}", str(path), line))
            continue
        found.append(Stretch(file, onset, onset + duration, label, group, line, str(path)))
    return found, [*read.problems, *capped(wrong)]


def table(path: Path, file: str, files: Sequence[str], run: Run, tr: float) -> Run:
    """The run with the stretches and groups of `file` in a table as `kind: files` reads it."""
    rows, wrong = read_labels(path)
    found, unmatched = match(rows, files, path) if rows else ({}, [])
    named = replace(run, stretches=tuple(row.at(1 / tr) for row in found.get(file, ())))
    return _checked(path, named, tr, [*wrong, *unmatched])


def _checked(path: Path, run: Run, tr: float, wrong: Sequence[Problem]) -> Run:
    """The run, if all of its stretches lie in it. A volume of slack: tables round."""
    end = run.n_volumes * tr
    late = [s for s in run.stretches if not s.is_whole and s.stop_s > end + tr]
    rule = f"is outside {run.name}, which is {end:g} s long; correct the time, or `tr`"
    said = [Problem("labels", f"stop_s={s.stop_s:g} {rule}", str(path), s.line) for s in late]
    if wrong or said:
        raise SpecError([*wrong, *capped(said)])
    return run
