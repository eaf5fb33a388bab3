"""Which entries of a store the records of sweeps refer to, and what else may go."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from citrus_ray import records
from citrus_ray.spec import Problem, SpecError
from citrus_ray.store.entries import (
    ASIDE,
    CLAIM,
    META,
    STATE,
    Entry,
    Meta,
    entries,
    folders,
    weights_path,
)
from citrus_ray.store.files import File, Storage

# far beyond any beat of a claim and the writing of a file: what lies still for so long is nobody's
HOUR = 3600.0
# A store that was named by mistake holds other files too; what has one of those is never touched.
OURS = re.compile(
    rf"\.?({META}|encoder(-\w+)?\.safetensors|{CLAIM}\w+\.json|{STATE}(\.aside)?)(-\w+)?"
)


def count_uses(results: Iterable[Path]) -> Counter[str]:
    """Records per digest below the results folders. One that cannot be read is raised: it may refer
    to anything."""
    found: Counter[str] = Counter()
    problems = []
    patterns = ("records/*.jsonl", "records/parts/*.jsonl")
    paths = {path.resolve() for folder in results for of in patterns for path in folder.rglob(of)}
    for path in sorted(paths):
        try:
            found.update(_encoders(path))
        except (OSError, ValueError, RecursionError) as err:
            rule = f"must be readable records: {err}; repair it or move it away"
            problems.append(Problem("", rule, str(path)))
    if problems:
        raise SpecError(problems)
    return found


def _encoders(path: Path) -> list[str]:
    content = records.content_of(path)
    if path.parent.name == records.PARTS and not records.is_as_made(path, content):
        raise records.DamagedError("is a part whose bytes have changed")
    lines = [line for line in content.splitlines() if line.strip()]
    for line in lines:
        records.seal_of(line)
    rows = [json.loads(line) for line in lines]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is no record")
    return [row["encoder"] for row in rows if row.get("encoder")]


@dataclass(frozen=True)
class Prunable:
    """What may go: a whole entry or what there is of one, or single files that are not part of
    it."""

    folder: str
    why: str
    files: tuple[File, ...]
    whole: bool = True

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def prunable(storage: Storage, uses: Counter[str], min_age_s: float, now: float) -> list[Prunable]:
    """What no record refers to, and what was left half-written an hour ago. Nothing that a
    pre-training holds."""
    found = folders(storage)
    complete = {entry.digest: entry for entry in entries(storage, found)}
    out: list[Prunable] = []
    for folder, inside in found.items():
        if folder == ASIDE:  # what was damaged: for people to look at, and to delete
            continue
        entry = complete.get(folder)
        if entry is None:
            probes = [file for file in inside if ".probe-" in file.name]
            out += _leftover(folder, inside, now) if folder else _old("", probes, now)
        elif not uses[folder] and now - entry.made >= min_age_s and _is_free(inside, now):
            out.append(Prunable(folder, "no record refers to it", tuple(inside)))
        elif entry.meta is not None:
            out += _strays(entry, entry.meta, now)
    return out


def _is_free(inside: Iterable[File], now: float) -> bool:
    """Whether all of it is of a store's making, and no claim in it was alive within the hour."""
    return all(OURS.fullmatch(file.name) for file in inside) and not any(
        CLAIM in file.name and now - file.modified < HOUR for file in inside
    )


def _leftover(folder: str, inside: list[File], now: float) -> list[Prunable]:
    if not _is_free(inside, now) or any(now - file.modified < HOUR for file in inside):
        return []
    resumable = any(file.name == STATE for file in inside)
    why = "interrupted, could be gone on from" if resumable else "half-written"
    return [Prunable(folder, why, tuple(inside))]


def _strays(entry: Entry, meta: Meta, now: float) -> list[Prunable]:
    """Storage of a store's making that are not part of the entry they lie in."""
    own = {f"{entry.digest}/{META}", weights_path(meta, entry.digest)}
    others = [file for file in entry.files if file.path not in own and OURS.fullmatch(file.name)]
    return _old(entry.digest, others, now)


def _old(folder: str, strays: list[File], now: float) -> list[Prunable]:
    old = tuple(file for file in strays if now - file.modified >= HOUR)
    return [Prunable(folder, "left behind", old, whole=False)] if old else []


def delete(storage: Storage, item: Prunable) -> bool:
    """False where the folder is no longer what it was when it was judged."""
    if not item.whole:
        for file in item.files:
            storage.delete(file.path)
        return True
    if tuple(storage.list(item.folder)) != item.files:
        return False
    storage.delete(f"{item.folder}/{META}")  # first: half an entry must not be taken for one
    storage.delete_folder(item.folder)
    return True
