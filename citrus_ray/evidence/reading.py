"""Records of one or many results folders as rows, each computation with one value. Computes no
score.

A computation is a (digest, phase). Two machines may both have done it, and two trials may share
it: every place that it takes in a sweep stays a row, and all of them carry the same result.
"""

import gc
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from citrus_ray import records
from citrus_ray.records import Record

TOLERANCE = 1e-6  # of a metric; two machines may round differently below it
PREFERENCE = {"ok": 2, "pruned": 1, "failed": 0}  # which of several copies stands

Computation = tuple[str, str]  # digest, phase
Wanted = Callable[[int, str], bool]


@dataclass(frozen=True)
class Conflict:
    """The same computation with different results: something that changes numbers is not in the
    digest."""

    digest: str
    phase: str
    metric: str
    values: tuple[float, ...]  # sorted


@dataclass(frozen=True)
class Unreadable:
    """A record file that could not be taken in."""

    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


@dataclass(frozen=True)
class Collection:
    """Everything that some results folders hold."""

    rows: tuple[Record, ...]  # one per (cell, trial, digest, phase)
    folders: dict[str, tuple[int, ...]]  # cell -> the folders that have rows of it, by number
    conflicts: tuple[Conflict, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    n_read: int = 0
    n_other: int = 0  # lines of cells that no spec in their folder has
    n_superseded: int = (
        0  # failures and cut-short runs that a full result of the same computation stands for
    )

    @property
    def n_computations(self) -> int:
        return len({(row.digest, row.phase) for row in self.rows})


@contextmanager
def no_collector() -> Iterator[None]:
    """Python's cycle collector walks every dict again and again while millions are made, none of
    them in a cycle."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@no_collector()
def collect(folders: Sequence[Path], wanted: Wanted = lambda number, cell: True) -> Collection:
    """The records in several folders. A file that cannot be read is reported, not raised.

    `wanted` says of a folder, by number, and a cell whether its records belong.
    """
    found: list[tuple[int, Record]] = []
    unreadable: list[Unreadable] = []
    n_other = 0
    for number, folder in enumerate(folders):
        read = list(_read_folder(folder, unreadable))
        mine = [(number, record) for record in read if wanted(number, record.cell)]
        n_other += len(read) - len(mine)
        found += mine
    copies: dict[Computation, list[Record]] = defaultdict(list)
    for _, row in found:
        copies[row.digest, row.phase].append(row)
    standing = {key: _standing(rows) for key, rows in copies.items()}
    return Collection(
        rows=tuple(_places((row for _, row in found), standing)),
        folders=_folders_of_cells(found),
        conflicts=tuple(conflict for rows in copies.values() for conflict in _conflicts(rows)),
        unreadable=tuple(unreadable),
        n_read=len(found),
        n_other=n_other,
        n_superseded=sum(row.status != standing[row.digest, row.phase].status for _, row in found),
    )


def _read_folder(folder: Path, unreadable: list[Unreadable]) -> Iterator[Record]:
    parse, read = _Parser(), set[Path]()
    # a trial may become part of a part while we read: then the part is read, which is new
    while left := [path for path in records.files(folder) if path not in read]:
        read.update(left)
        for path in left:
            try:
                yield from _rows_of(folder, path, parse, unreadable)
            except FileNotFoundError:
                if path.is_symlink():
                    unreadable.append(Unreadable(path.name, "is a link to nothing"))
            except OSError as err:
                unreadable.append(Unreadable(path.name, f"cannot be read: {err.strerror}"))
            except records.DamagedError as err:
                unreadable.append(Unreadable(str(path.relative_to(folder)), str(err)))


def _rows_of(
    folder: Path, path: Path, parse: "_Parser", unreadable: list[Unreadable]
) -> list[Record]:
    """The rows of a file, all or none; of a part whose bytes have changed, of the trials that can
    be believed."""
    content = records.content_of(path)
    if path.parent == folder:
        return records.of_trial(records.rows_in(content, parse), path.stem)
    if records.is_as_made(path, content):
        return records.rows_in(content, parse, sealed=False)
    whole = records.whole_in(path)
    rule = f"is a part whose bytes have changed: {len(whole)} of its trials can be believed"
    unreadable.append(Unreadable(f"{records.PARTS}/{path.name}", rule))
    return [row for content in whole for row in records.rows_in(content, parse)]


class _Parser:
    """Lines of JSON as trees, equal version tables once in memory."""

    def __init__(self) -> None:
        self.versions: dict[str, dict[str, str]] = {}

    def __call__(self, lines: list[bytes]) -> list[Any]:
        # pydantic's parser takes a third of the time of json's, and makes each key once
        trees = from_json(b"[" + b",".join(lines) + b"]", allow_inf_nan=False)
        if len(trees) != len(lines):
            raise ValueError("lines that are more than one value")
        for tree in trees:
            if isinstance(tree, dict) and (versions := tree.get("versions")):
                tree["versions"] = self.versions.setdefault(repr(versions), versions)
        return list(trees)


def _standing(rows: Sequence[Record]) -> Record:
    """A full result before one cut short before a failure. Which one ended last decides nothing,
    not even the last digit: clocks of machines do not agree, and are set."""
    if len(rows) == 1:
        return rows[0]
    return max(
        rows, key=lambda row: (PREFERENCE[row.status], json.dumps(row.metrics, sort_keys=True))
    )


def _places(rows: Iterable[Record], standing: dict[Computation, Record]) -> Iterator[Record]:
    """Every place once, in the order read, with the result that stands."""
    seen = set()
    for row in rows:
        place = (row.cell, row.trial, row.digest, row.phase)
        if place not in seen:
            seen.add(place)
            stands = standing[row.digest, row.phase]
            yield row if row is stands else _with_result(row, stands)


def _with_result(row: Record, of: Record) -> Record:
    names = (
        *("status", "metrics", "reason", "finished", "crashed"),
        *("labelled", "baselines", "curve", "encoder"),
    )
    return replace(row, **{name: getattr(of, name) for name in names})


def _conflicts(rows: Sequence[Record]) -> Iterator[Conflict]:
    full = [row for row in rows if row.status == "ok"]
    if len(full) < 2:
        return
    for metric in sorted(set.intersection(*(set(row.metrics) for row in full))):
        values = sorted({row.metrics[metric] for row in full})
        if values[-1] - values[0] > TOLERANCE:
            yield Conflict(full[0].digest, full[0].phase, metric, tuple(values))


def _folders_of_cells(found: Iterable[tuple[int, Record]]) -> dict[str, tuple[int, ...]]:
    folders: dict[str, set[int]] = defaultdict(set)
    for number, row in found:
        folders[row.cell].add(number)
    return {cell: tuple(sorted(numbers)) for cell, numbers in folders.items()}


def trials_in(folder: Path) -> list[list[Record]]:
    """Every readable trial of a folder of records, in order of their digests."""
    return trials_of(collect([folder]).rows)


def trials_of(rows: Iterable[Record]) -> list[list[Record]]:
    """Rows by trial, in order of their digests."""
    trials: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for row in rows:
        trials[row.cell, row.trial].append(row)
    return sorted(trials.values(), key=lambda rows: rows[0].trial)


def table(rows: Iterable[Record]) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns, and a flat dict per row: `axes.…`, `params.…`, `repeat.…` and each metric by its
    name."""
    flat = [_flat(row) for row in rows]
    columns = dict.fromkeys(name for line in flat for name in line)
    fixed = [name for name in columns if name in FIXED]
    return fixed + sorted(name for name in columns if name not in FIXED), flat


FIXED = (
    *("digest", "phase", "status", "cell", "trial", "seed", "encoder", "data_digest"),
    *("reason", "seconds", "peak_mb", "concurrency", "commit", "finished"),
)


def _flat(row: Record) -> dict[str, Any]:
    line = {name: getattr(row, name) for name in FIXED}
    for group, values in (("axes.", row.axes), ("params.", row.params), ("repeat.", row.repeat)):
        for path, value in values.items():
            line[group + path] = plain(value)
    line.update(row.metrics)
    return line


def plain(value: Any) -> Any:
    """Numbers and text as they are, blocks as JSON: few different ones, in hundreds of thousands
    of rows."""
    if isinstance(value, str | int | float):
        return value
    known = repr(value)
    if known not in _JSON:
        _JSON[known] = json.dumps(value, sort_keys=True)
    return _JSON[known]


_JSON: dict[str, str] = {}
