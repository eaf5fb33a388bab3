"""Seals of folders: size and SHA-256 of each file, for formats that have no checksum of their own.

`citrus data seal FOLDER` writes them; who prepares a recording below such a folder compares.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from citrus_ray.data.faults import AGAIN, broken
from citrus_ray.spec import SpecError, digest_of

FILE = "citrus-seal.json"
Facts = tuple[int, str]  # size in bytes, SHA-256


@dataclass(frozen=True)
class FolderSeal:
    """What was sealed under a folder, by path relative to it."""

    folder: Path
    files: dict[str, Facts]

    def fault(self, path: Path, found: Facts) -> str:
        """Why a file is not what was sealed; empty where it is."""
        name = path.absolute().relative_to(self.folder).as_posix()
        was = self.files.get(name)
        if was is None:
            way = f"look at it, and seal it too: `citrus data seal {self.folder} --again`"
            return f"came after {self.folder / FILE}; {way}"
        if was[0] != found[0]:
            return f"has {found[0]:,} bytes and was sealed with {was[0]:,}; {AGAIN}"
        if was[1] != found[1]:
            return f"is not what was sealed: its SHA-256 is another; {AGAIN}"
        return ""

    def text(self) -> str:
        files = {name: list(facts) for name, facts in sorted(self.files.items())}
        tree = {"format": 1, "files": files, "seal": digest_of(files)}
        return json.dumps(tree, indent=0) + "\n"


def facts_of(path: Path) -> Facts:
    """Size and SHA-256, read now."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def sealed_below(folder: Path) -> Iterator[Path]:
    """Files that a seal of the folder names: all but hidden ones and seals."""
    for at, inside, names in os.walk(folder):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        for name in sorted(names):
            path = Path(at) / name
            if not name.startswith(".") and name != FILE and path.is_file():
                yield path


def read_seal(folder: Path) -> FolderSeal | None:
    """The seal that a folder holds; None without one."""
    try:
        stat = (folder / FILE).stat()
    except (OSError, ValueError):
        return None
    return _read(folder, stat.st_size, stat.st_mtime_ns)


@cache
def _read(folder: Path, size: int, changed: int) -> FolderSeal:
    path = folder / FILE
    try:
        tree = json.loads(path.read_bytes())
        files = {str(name): (int(n), str(digest)) for name, (n, digest) in tree["files"].items()}
        seal = FolderSeal(folder, files)
        if json.loads(seal.text()) != tree:
            raise ValueError("its own seal does not fit")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as err:
        rule = f"is damaged ({str(err)[:80]})"
        raise broken(path, f"{rule}; bring it back from a copy, or seal the folder again") from None
    return seal


def seal_above(path: Path) -> FolderSeal | None:
    """The nearest seal of a folder that holds a file."""
    for folder in path.absolute().parents:
        if (found := read_seal(folder)) is not None:
            return found
    return None


def check_sealed(path: Path, found: Facts | None = None) -> None:
    """Refuse a file that is not what was sealed above it; `found` is known of it, or read now."""
    if (seal := seal_above(path)) is not None:
        fault = seal.fault(path, found or facts_of(path))
        if fault:
            raise broken(path, fault)


def faults_below(seal: FolderSeal) -> dict[str, str]:
    """Everything below a sealed folder that is not what was sealed, by relative path."""
    found = {}
    there = {path.relative_to(seal.folder).as_posix(): path for path in sealed_below(seal.folder)}
    for name in sorted({*seal.files, *there}):
        if name not in there:
            found[name] = f"is gone; {AGAIN}"
            continue
        try:
            fault = seal.fault(there[name], facts_of(there[name]))
        except OSError as err:
            fault = f"cannot be read: {err.strerror}; {AGAIN}"
        if fault:
            found[name] = fault
    return found


def gone_beside(path: Path) -> list[SpecError]:
    """Sealed files of the same ending and folder as a file's that are not there any more."""
    seal = seal_above(path)
    if seal is None:
        return []
    own = path.absolute().relative_to(seal.folder)
    names = [Path(name) for name in seal.files]
    beside = [n for n in names if n.parent == own.parent and n.suffix == own.suffix]
    absent = [seal.folder / n for n in beside if not (seal.folder / n).exists()]
    return [broken(one, f"was sealed and is gone; {AGAIN}") for one in absent]
