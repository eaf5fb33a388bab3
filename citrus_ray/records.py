"""Records are the truth: a small file per trial, a line of JSON per member, written before anyone
hears of it."""

import json
import os
import platform
import resource
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

Status = Literal["ok", "failed", "pruned"]
Phase = Literal["search", "final"]


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
    # of a network: `parameters` in all, `trained` ones, `weights` that came from a file, by encoder
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
    """Write beside, flush to disk, rename: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)  # mkstemp makes it private; results are shared
        os.replace(partial, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # a rename is on disk once its folder is
        finally:
            os.close(folder)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    return path


def read_trial(folder: Path, name: str) -> list[Record]:
    """The members of one trial, or an empty list where it has no record yet."""
    path = folder / f"{name}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [Record(**json.loads(line)) for line in lines]


def read_done(folder: Path, name: str) -> list[Record]:
    """As `read_trial`, but a trial that was lost with its worker has no record yet."""
    rows = read_trial(folder, name)
    return [] if any(row.crashed for row in rows) else rows


def read_all(folder: Path) -> Iterator[list[Record]]:
    """Every recorded trial, in order of their digests."""
    for path in sorted(folder.glob("*.jsonl")):
        yield read_trial(folder, path.stem)


def take_over(source: Path, folder: Path, axes: dict[str, dict[str, Any]]) -> int:
    """Copy the trials of cells that `axes` names, by digest, unless they are there; returns how
    many.

    A cell is the same study in both sweeps, but what it is compared with, its axes, is the new
    sweep's; so are the hours of its budget, which the other sweep has not spent.
    """
    found = [rows for rows in read_all(source) if rows[0].cell in axes and not rows[0].crashed]
    new = [rows for rows in found if not (folder / f"{rows[0].trial}.jsonl").exists()]
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
