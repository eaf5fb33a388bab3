"""Digests of what is in files, and the copies and wrong names that they and headers betray."""

import hashlib
import os
import re
import uuid
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

from citrus_ray.data.faults import AGAIN, capped, each
from citrus_ray.data.fingerprints import Fingerprints, of_file
from citrus_ray.data.formats.known import FORMATS, ending_of
from citrus_ray.data.formats.seals import check_sealed, gone_beside
from citrus_ray.data.root import cache_root
from citrus_ray.spec import Problem, SpecError, digest_of


def file_parts(path: Path) -> list[Path]:
    """Files that a recording is made of: of WFDB, the header and the data files that it names."""
    form = FORMATS.get(ending_of(path))
    beside = form.parts(path) if form and form.parts else []
    return beside if path.is_dir() else [path, *beside]


def file_fingerprints(path: Path) -> Fingerprints:
    """Fingerprints of the bytes of a recording: of its data, where the header is a file apart."""
    of = file_parts(path)
    for part in of:  # read anew: what is remembered of a file is as old as its time of change
        check_sealed(part)
    return np.concatenate([of_file(file_digest(part)) for part in of[1:] or of])


def refuse_copies(paths: Iterable[Path]) -> None:
    """Refuse equal recordings: one of them has a wrong name, and may be across a split."""
    seen, problems = dict[str, Path](), list[Problem]()
    for path in paths:
        first = seen.setdefault(file_digest(path), path)
        if first is not path:
            rule = f"holds the same samples as {first}, so one has the wrong name; {AGAIN}"
            problems.append(Problem("", rule, str(path)))
    if problems:
        raise SpecError(problems)


def content_of(paths: Iterable[Path], root: Path) -> str:
    """A digest of files and their names relative to `root`: the folder may move."""
    paths = sorted(set(paths))
    digests = each(paths, sealed_digest)
    gone = {str(err): err for path in paths for err in gone_beside(path)}
    if gone:
        raise SpecError(capped([p for err in gone.values() for p in err.problems]))
    names = (os.path.relpath(path, root) for path in paths)
    return digest_of(sorted(zip(names, digests, strict=True)))


def sealed_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, which must be those that were sealed above it, if any were."""
    digest = file_digest(path)
    check_sealed(path, (path.stat().st_size, digest))
    return digest


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, remembered for as long as its size and time of change stay."""
    stat = path.stat()
    return _file_digest(str(path.absolute()), stat.st_size, stat.st_mtime_ns)


@cache
def _file_digest(path: str, size: int, mtime_ns: int) -> str:
    key = hashlib.sha256(f"{path}\0{size}\0{mtime_ns}".encode()).hexdigest()
    memo = cache_root() / "hashes" / key
    with suppress(OSError):
        known = memo.read_text()
        if re.fullmatch("[0-9a-f]{64}", known):
            return known
    with open(path, "rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    with suppress(OSError):  # a cache that cannot be written only costs time
        memo.parent.mkdir(parents=True, exist_ok=True)
        partial = memo.with_name(f".{uuid.uuid4().hex}")
        with partial.open("x") as handle:
            handle.write(digest)
        os.replace(partial, memo)
    return digest
