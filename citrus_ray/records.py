"""Records are the truth: a small file per trial, a line of JSON per member, written before anyone
hears of it. Many of them may be put together into a part, a file that bears the digest of its
bytes; trials that come later lie beside it."""

import hashlib
import json
import os
import platform
import resource
import socket
import subprocess
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

Status = Literal["ok", "failed", "pruned"]
Phase = Literal["search", "final"]

PARTS = "parts"  # the folder of parts, beside files of single trials
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
    # of a network: `parameters` in all, `trained` ones, what it `reads`, `weights` that came from a
    # file, by encoder
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


def write(folder: Path, name: str, records: Iterable[Record]) -> Path:
    """`<folder>/<name>.jsonl`, all lines or none, on disk before this returns."""
    lines = [json.dumps(asdict(record), sort_keys=True, allow_nan=False) for record in records]
    return write_text(folder / f"{name}.jsonl", "\n".join(lines) + "\n")


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


def read_trial(folder: Path, name: str) -> list[Record]:
    """The members of one trial, or an empty list where it has no record yet."""
    return [Record(**json.loads(line)) for line in _lines(folder, name)]


def _lines(folder: Path, name: str) -> list[str]:
    try:
        return (folder / f"{name}.jsonl").read_text().splitlines()
    except FileNotFoundError:  # also where it became part of one a moment ago
        for part in parts(folder):
            if name in (places := _places(part)):
                with part.open("rb") as file:
                    start, stop = places[name]
                    file.seek(start)
                    return file.read(stop - start).decode().splitlines()
    return []


def read_done(folder: Path, name: str) -> list[Record]:
    """As `read_trial`, but a trial that was lost with its worker has no record yet."""
    rows = read_trial(folder, name)
    return [] if any(row.crashed for row in rows) else rows


def read_all(folder: Path) -> Iterator[list[Record]]:
    """Every recorded trial, in order of their digests."""
    alone = {path.stem for path in folder.glob("*.jsonl")}
    for name in sorted(alone.union(*map(_places, parts(folder)))):
        yield read_trial(folder, name)


def files(folder: Path) -> list[Path]:
    """Every file of records: parts, then those of single trials."""
    return [*parts(folder), *sorted(folder.glob("*.jsonl"))]


# ---- parts ----


def parts(folder: Path) -> list[Path]:
    """Files of many trials each, named by the digest of their bytes."""
    return sorted((folder / PARTS).glob("*.jsonl"))


@cache
def _places(part: Path) -> dict[str, tuple[int, int]]:
    """First and last byte of each trial in a part, which never changes."""
    found: dict[str, tuple[int, int]] = {}
    start = 0
    with part.open("rb") as file:
        for line in file:
            trial, stop = json.loads(line)["trial"], start + len(line)
            found[trial] = found.get(trial, (start, 0))[0], stop
            start = stop
    return found


def compact(folder: Path, at_least: int = FEW) -> Path | None:
    """Put the files of single trials into one part, where they are `at_least` so many; the part.

    The part is on disk before the first of them goes, and whoever reads meanwhile finds one or the
    other. Trials that are to be computed again, and files that cannot be read, stay as they are.
    """
    alone = sorted(folder.glob("*.jsonl"))
    if len(alone) < at_least:
        return None
    taken = [(path, text) for path in alone if (text := _whole(path))]
    if not taken:
        return None
    content = "".join(text for _, text in taken).encode()
    part = write_bytes(
        folder / PARTS / f"{hashlib.sha256(content).hexdigest()[:16]}.jsonl", content
    )
    for path, text in taken:
        if path.read_text() == text:
            path.unlink()
    return part


def _whole(path: Path) -> str:
    """The text of a trial's file, empty where it is to be read or written again."""
    try:
        text = path.read_text()
        rows = [json.loads(line) for line in text.splitlines()]
        mine = all(row["trial"] == path.stem and not row.get("crashed") for row in rows)
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return text if rows and mine and text.endswith("\n") else ""


def damaged(folder: Path) -> list[Path]:
    """Parts whose bytes are not those that they were made of."""
    return [part for part in parts(folder) if _digest(part) != part.stem]


def _digest(part: Path) -> str:
    with part.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def take_over(source: Path, folder: Path, axes: dict[str, dict[str, Any]]) -> int:
    """Copy the trials of cells that `axes` names, by digest, unless they are there; returns how
    many.

    A cell is the same study in both sweeps, but what it is compared with, its axes, is the new
    sweep's; so are the hours of its budget, which the other sweep has not spent.
    """
    found = [rows for rows in read_all(source) if rows[0].cell in axes and not rows[0].crashed]
    new = [rows for rows in found if not _lines(folder, rows[0].trial)]
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
    checkout.

    Code that was carried to a cluster has no checkout: `$CITRUS_COMMIT` says what it was taken
    from.
    """
    if carried := os.environ.get("CITRUS_COMMIT"):
        return carried
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
