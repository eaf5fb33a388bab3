"""Records are the truth: a small file per trial, a line of JSON per member, written before anyone
hears of it. Many of them may be put together into a part, a file that bears the digest of its
bytes; trials that come later lie beside it.

Each line ends in a seal: which of how many members it is, and a digest of all that stands before.
What a file holds is believed whole or not at all; what is not, is moved into `aside/` and computed
again. Lines from before there were seals are read without.
"""

import hashlib
import json
import math
import os
import platform
import re
import resource
import socket
import stat
import subprocess
import types
import typing
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from citrus_ray.metrics import metric_of

Status = Literal["ok", "failed", "pruned"]
Phase = Literal["search", "final"]

PARTS = "parts"  # the folder of parts, beside files of single trials
ASIDE = "aside"  # the folder of what was damaged
SEAL = b', "seal": "'  # the last key of a line, then `2/3 ` and 16 hex digits
FEW = 2000  # files of single trials that a folder may hold: a shared disk lists no more at ease


@dataclass(frozen=True)
class Record:
    """One member of one trial: what it was, how it went, and on what it ran."""

    digest: str  # of the member
    trial: str  # digest of the trial that it belongs to
    cell: str  # digest of the compared cell
    phase: Phase
    status: Status
    axes: dict[str, Any]  # compared
    params: dict[str, Any]  # searched
    repeat: dict[str, Any]  # averaged over
    config: dict[str, Any]  # the whole member, dotted
    metrics: dict[str, float]
    seed: int
    data_digest: str
    encoder: str | None  # digest of the pre-trained encoder
    modalities: list[str] = field(default_factory=list)  # of the target's channels, each once
    # windows that showed it their label: `learnt` from, `chosen_by`
    labelled: dict[str, int] = field(default_factory=dict)
    # of a network: `parameters` in all, `trained` ones, what it `reads`, `steps` done, `weights`
    # that came from a file, by encoder
    network: dict[str, Any] = field(default_factory=dict)
    # of finals: name -> metrics, without any where it could not be scored
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    # by round: objective, seconds of fine-tuning so far
    curve: list[tuple[float, float]] = field(default_factory=list)
    tested: str = ""  # digest of the test subjects of this round
    n_tested: int = 0  # how many they are
    reason: str | None = None  # why it failed
    crashed: bool = False  # its worker was lost: not a result, and computed again by the next run
    seconds: float = 0.0
    gpu: float = 0.0  # share of one for those seconds
    peak_mb: float = 0.0  # of the process, so an upper bound for this member
    concurrency: int = 1
    host: str = ""  # that it ran on
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = None
    finished: str = ""
    # of the sweep's wall time, all calls together, when the trial was asked for
    asked_s: float = 0.0


class DamagedError(ValueError):
    """What a file of records holds cannot be believed; says why."""


def write(folder: Path, name: str, records: Iterable[Record]) -> Path:
    """`<folder>/<name>.jsonl`, all lines or none, on disk before this returns."""
    return write_text(folder / f"{name}.jsonl", text_of(records))


def text_of(records: Iterable[Record]) -> str:
    """The lines of one trial, each with its seal."""
    lines = [json.dumps(asdict(record), sort_keys=True, allow_nan=False) for record in records]
    sealed = (_sealed(line.encode(), i, len(lines)) for i, line in enumerate(lines, start=1))
    return "".join(line.decode() + "\n" for line in sealed)


def _sealed(line: bytes, place: int, of: int) -> bytes:
    body = line.removesuffix(b"}") + SEAL + f"{place}/{of} ".encode()
    return body + _short(body).encode() + b'"}'


def _short(content: bytes) -> str:
    """16 hex digits of the SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def write_text(path: Path, text: str) -> Path:
    return write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> Path:
    """Write beside, flush to disk, rename: a reader sees the old file or the new one. Who may read
    it is the umask's to say."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # a rename is on disk once its folder is
        finally:
            os.close(folder)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return path


# ---- reading ----

Place = tuple[int, int]  # which line of its trial, of how many
_PLACE = re.compile(rb"(\d{1,9})/(\d{1,9}) ")


def content_of(path: Path) -> bytes:
    """The bytes of a file, which must be one: a pipe would be waited for without end."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(handle, "rb", closefd=False) as file:
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise DamagedError("is no file")
            return file.read()
        finally:
            os.close(handle)


def _trees(lines: list[bytes]) -> list[Any]:
    return [json.loads(line) for line in lines]


def rows_in(
    content: bytes, trees: Callable[[list[bytes]], list[Any]] = _trees, sealed: bool = True
) -> list[Record]:
    """The records of one trial, or of all in a part whose bytes are known to be right (so not
    `sealed`): each line once. `trees` parses them.

    DamagedError where a line is no record, or not what was sealed, or where members are missing.
    """
    lines = list(dict.fromkeys(line for line in content.split(b"\n") if line.strip()))
    if not lines:
        raise DamagedError("is empty")
    if sealed:
        _check_whole([seal_of(line) for line in lines])
    try:
        found = trees(lines)
    except (ValueError, RecursionError) as err:
        raise DamagedError(f"is not JSON: {err}"[:200]) from None
    return [_record(tree) for tree in found]


def seal_of(line: bytes) -> Place | None:
    """What a line's seal says of its place; None of a line from before there were any."""
    head, mark, seal = line.rpartition(SEAL)
    if not mark:
        return None
    said = _PLACE.match(seal)
    if not said or seal[said.end() :] != f'{_short(head + mark + said[0])}"}}'.encode():
        raise DamagedError("a line is not what was written: its seal does not fit")
    return int(said[1]), int(said[2])


def _check_whole(places: list[Place | None]) -> None:
    """Refuse lines that are not all members of one trial, each once."""
    known = {place for place in places if place}
    if not known:
        return
    if None in places:
        raise DamagedError("a line has lost its seal")
    n = max(of for _, of in known)
    if len(known) < len(places) or any(of != n for _, of in known):
        raise DamagedError("holds lines of two writings")
    if len(known) < n:
        raise DamagedError(f"holds {len(known)} of its {n} members: it was cut off")


def _kinds_of(annotation: Any) -> tuple[type, ...]:
    """Types of JSON that a field of this annotation may have."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return (str,)
    if origin is types.UnionType:
        return tuple(kind for of in typing.get_args(annotation) for kind in _kinds_of(of))
    return (int, float) if annotation is float else (origin or annotation,)


FIELDS = {name: _kinds_of(of) for name, of in typing.get_type_hints(Record).items()}
NEEDED = {f.name for f in fields(Record) if f.default is f.default_factory is MISSING}
WORDS = {"phase": typing.get_args(Phase), "status": typing.get_args(Status)}


def _record(tree: Any) -> Record:
    if not isinstance(tree, dict):
        raise DamagedError("a line is no record")
    tree.pop("seal", None)
    if missing := NEEDED - tree.keys():
        raise DamagedError(f"a line is no record: it has no {', '.join(sorted(missing)[:3])}")
    if more := tree.keys() - FIELDS.keys():
        said = ", ".join(sorted(more)[:3])[:80]
        raise DamagedError(
            f"is of a newer citrus_ray, whose records have `{said}`; update this one"
        )
    for name, value in tree.items():
        if not isinstance(value, FIELDS[name]) or value not in WORDS.get(name, (value,)):
            raise DamagedError(f"a line is no record: its {name} is {json.dumps(value)[:40]}")
    for metrics in (tree["metrics"], *tree.get("baselines", {}).values()):
        _check_scores(metrics)
    return Record(**tree)


def _check_scores(metrics: Any) -> None:
    """Refuse a score that its metric cannot have: somebody, or a disk, made it."""
    if not isinstance(metrics, dict):
        raise DamagedError("a line is no record: its scores have no names")
    for name, value in metrics.items():
        low, high = _bounds(name)
        if type(value) not in (float, int) or not low <= value <= high or math.isinf(value):
            rule = f"must be a number from {low:.3g} to {high:.3g}"
            raise DamagedError(f"its score {name[:60]} is {str(value)[:20]}, and {rule}")


@cache
def _bounds(name: str) -> tuple[float, float]:
    """Where a score can lie, `test/auroc:NAME` of one label or `missing:NAME/auroc`; with what
    rounding adds."""
    whole = name.startswith(("missing:", "without:"))
    low, high = metric_of(name if whole else name.partition(":")[0]).bounds
    return low - 1e-6, high + 1e-6


def read_trial(folder: Path, name: str) -> list[Record]:
    """The members of one trial, or an empty list where it has no record yet."""
    if not (content := _content(folder, name)):
        return []
    return of_trial(rows_in(content), name)


def of_trial(rows: list[Record], name: str) -> list[Record]:
    """The rows, which must be of the trial that their file is named by."""
    other = next((row.trial for row in rows if row.trial != name), None)
    if other is not None:
        raise DamagedError(f"holds trial {other[:40]}, whose file would have its name")
    return rows


def _content(folder: Path, name: str) -> bytes:
    try:
        return content_of(folder / f"{name}.jsonl") or b"\n"
    except FileNotFoundError:  # also where it became part of one a moment ago
        for part in parts(folder):
            if name in (places := _places(part)):
                start, stop = places[name]
                return content_of(part)[start:stop]
    return b""


def read_done(folder: Path, name: str, n_members: int = 0) -> list[Record]:
    """As `read_trial`, but a trial that was lost with its worker, or that is damaged, or holds
    fewer than its members without having been stopped, has no record yet."""
    try:
        rows = read_trial(folder, name)
        if is_cut(rows, n_members):
            raise DamagedError(f"holds {len(rows)} of its {n_members} members")
    except (DamagedError, OSError):
        set_aside(folder / f"{name}.jsonl")
        return []
    return [] if any(row.crashed for row in rows) else rows


def is_cut(rows: list[Record], n_members: int) -> bool:
    """Whether members are missing, of lines that say not themselves how many they are."""
    return 0 < len(rows) < n_members and not any(row.status == "pruned" for row in rows)


def read_all(folder: Path) -> Iterator[list[Record]]:
    """Every recorded trial that can be believed, in order of their digests."""
    alone = {path.stem for path in folder.glob("*.jsonl")}
    for name in sorted(alone.union(*map(_places, parts(folder)))):
        with suppress(DamagedError, OSError):
            if rows := read_trial(folder, name):
                yield rows


def files(folder: Path) -> list[Path]:
    """Every file of records: parts, then those of single trials."""
    return [*parts(folder), *sorted(folder.glob("*.jsonl"))]


def set_aside(path: Path) -> Path | None:
    """Move what is damaged out of the way, under the time; where it is now, None if it is gone.

    Of a part, the trials that can be believed become a part of their own first.
    """
    folder = path.parent
    if folder.name == PARTS:
        with suppress(DamagedError, OSError):
            _write_part(folder.parent, b"".join(whole_in(path)))
        folder = folder.parent
    (folder / ASIDE).mkdir(exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    try:
        return path.rename(folder / ASIDE / f"{path.name}.{stamp}")
    except FileNotFoundError:
        return None


# ---- parts ----


def parts(folder: Path) -> list[Path]:
    """Files of many trials each, named by the digest of their bytes."""
    return sorted((folder / PARTS).glob("*.jsonl"))


@cache
def _places(part: Path) -> dict[str, tuple[int, int]]:
    """First and last byte of each trial in a part, which never changes; of one whose bytes have,
    those of the trials that are sealed and whole."""
    found: dict[str, tuple[int, int]] = {}
    try:
        content = content_of(part)
    except (DamagedError, OSError):
        return found
    start = 0
    for line in content.splitlines(keepends=True):
        stop = start + len(line)
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            trial = json.loads(line)["trial"]
            found[trial] = found.get(trial, (start, 0))[0], stop
        start = stop
    if is_as_made(part, content):
        return found
    return {t: at for t, at in found.items() if _is_sealed(content, at)}


def whole_in(part: Path) -> list[bytes]:
    """The lines of each trial of a part that can be believed."""
    content = content_of(part)
    return [content[start:stop] for start, stop in _places(part).values()]


def _is_sealed(content: bytes, at: tuple[int, int]) -> bool:
    lines = content[slice(*at)].split(b"\n")
    try:
        rows_in(content[slice(*at)])
        return all(seal_of(line) for line in lines if line)
    except DamagedError:
        return False


def compact(folder: Path, at_least: int = FEW) -> Path | None:
    """Put the files of single trials into one part, where they are `at_least` so many; the part.

    The part is on disk before the first of them goes, and whoever reads meanwhile finds one or the
    other. Trials that are to be computed again, and files that cannot be read, stay as they are.
    """
    alone = sorted(folder.glob("*.jsonl"))
    if len(alone) < at_least:
        return None
    taken = [(path, content) for path in alone if (content := _whole(path))]
    part = _write_part(folder, b"".join(content for _, content in taken))
    for path, content in taken:
        if path.read_bytes() == content:
            path.unlink()
    return part


def _write_part(folder: Path, content: bytes) -> Path | None:
    if not content:
        return None
    return write_bytes(folder / PARTS / f"{_short(content)}.jsonl", content)


def _whole(path: Path) -> bytes:
    """The bytes of a trial's file, empty where it is to be read or written again."""
    try:
        content = content_of(path)
        rows = of_trial(rows_in(content), path.stem)
    except (OSError, DamagedError):
        return b""
    well = content.endswith(b"\n") and not any(row.crashed for row in rows)
    return content if well else b""


def is_as_made(part: Path, content: bytes) -> bool:
    """Whether the bytes of a part are those that it was made of."""
    return _short(content) == part.stem


def take_over(source: Path, folder: Path, axes: dict[str, dict[str, Any]]) -> int:
    """Copy the trials of cells that `axes` names, by digest, unless they are there; returns how
    many.

    A cell is the same study in both sweeps, but what it is compared with, its axes, is the new
    sweep's; so are the hours of its budget, which the other sweep has not spent.
    """
    found = [rows for rows in read_all(source) if rows[0].cell in axes and not rows[0].crashed]
    new = [rows for rows in found if not _content(folder, rows[0].trial)]
    for rows in new:
        ours = [replace(row, axes=axes[row.cell], asked_s=0.0) for row in rows]
        write(folder, rows[0].trial, ours)
    return len(new)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def host() -> str:
    return socket.gethostname()


def peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


@cache
def versions() -> dict[str, str]:
    names = ("citrus_ray", "ray", "torch", "optuna", "numpy", "scipy", "mne", "wfdb")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


@cache
def commit() -> str | None:
    """The git commit of the code that runs, `+` added when the tree differs from it; None outside a
    checkout, also where the package is installed inside somebody's own.

    Code that was carried to a cluster has no checkout: `$CITRUS_COMMIT` says what it was taken
    from.
    """
    if carried := os.environ.get("CITRUS_COMMIT"):
        return carried
    if not Path(__file__).parents[1].joinpath("pyproject.toml").is_file():
        return None
    found: list[str] = []
    for command in (("rev-parse", "HEAD"), ("status", "--porcelain", "-uno")):
        call = ["git", "-C", str(Path(__file__).parent), *command]
        try:
            done = subprocess.run(call, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode and not found:
            return None
        found.append(done.stdout.strip())
    return found[0] + "+" * bool(found[1])
