"""Windows prepared once per source digest, memory-mapped and shared by all processes of a node.

`meta.json` holds the SHA-256 of each array and a digest of itself. They are compared when a process
first opens windows, by one process an hour for all of a node. What is damaged is named, moved into
`aside/` and prepared again.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from citrus_ray.data.fingerprints import none
from citrus_ray.data.root import cache_root, written_to
from citrus_ray.data.source import Source
from citrus_ray.data.windowing.align import Align, Native
from citrus_ray.data.windowing.contents import fingerprints_in, near_copies
from citrus_ray.data.windows import Origins, Stream, Windows
from citrus_ray.spec import MachineError, digest_of

FOLDER = "windows-5"  # counts up when what is stored changes: older caches are then left alone
AS_THEY_ARE = Native()
ASIDE = "aside"  # the folder of what was damaged
CHECKED = "checked"  # a file of sizes and times of change of arrays whose sums were right
CHECKED_S = 3600.0  # for so long
STREAM_FACTS = ("name", "sfreq", "ch_names", "modalities")


def load(source: Source, align: Align = AS_THEY_ARE) -> Windows:
    """The source's windows, aligned and memory-mapped; prepared first where no one has yet."""
    digest = source.digest()
    if align != AS_THEY_ARE:
        # what its recordings are is asked of a set as it is
        aligned = lambda: replace(align.apply(load(source)), fingerprints=none())  # noqa: E731
        return _prepared(digest_of([digest, align.identity()]), aligned)
    return _prepared(digest, lambda: _with_copies_said(source.prepare()))


def _with_copies_said(windows: Windows) -> Windows:
    windows = replace(windows, fingerprints=fingerprints_in(windows))
    said = near_copies(windows)
    return replace(windows, caveats=(*windows.caveats, said)) if said else windows


def _prepared(digest: str, prepare: Callable[[], Windows]) -> Windows:
    folder = cache_root() / FOLDER / digest
    if _fault(folder):
        with _alone(digest):
            if fault := _fault(folder):
                _set_aside(folder, fault)
                _store(prepare(), digest, folder)
    return _open(folder)


def _fault(folder: Path) -> str:
    """Why what is prepared cannot be used: it is not there, or is not what was written."""
    try:
        if not (folder / "meta.json").exists():
            return "has no meta.json"
        meta = json.loads((folder / "meta.json").read_bytes())
        if "seal" not in meta:  # from before there were seals
            _open(folder)
            return ""
        if meta.pop("seal") != digest_of(meta):
            return "meta.json is not what was written"
        return _fault_of_arrays(folder, meta["sums"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as err:
        return f"cannot be read: {str(err)[:100]}"


def _fault_of_arrays(folder: Path, sums: dict[str, str]) -> str:
    stats = {name: (folder / name).stat() for name in sorted(sums)}
    facts = json.dumps({name: [of.st_size, of.st_mtime_ns] for name, of in stats.items()})
    with contextlib.suppress(OSError):
        checked = folder / CHECKED
        if time.time() - checked.stat().st_mtime < CHECKED_S and checked.read_text() == facts:
            return ""
    for name, wanted in sums.items():
        if _sum_of(folder / name) != wanted:
            return f"{name} is not what was written: its checksum is another"
    with contextlib.suppress(OSError):  # a cache that is only read is compared each time
        (folder / CHECKED).write_text(facts)
    return ""


def _sum_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _set_aside(folder: Path, fault: str) -> None:
    """Move what is damaged out of the way, with a word about it."""
    if not folder.exists():
        return
    aside = folder.parent / ASIDE / f"{folder.name}.{uuid.uuid4().hex[:8]}"
    with written_to(folder.parent):
        aside.parent.mkdir(exist_ok=True)
        folder.rename(aside)
    then = f"moved to {aside}, and prepared again"
    warnings.warn(f"{folder}: {fault}; {then}", stacklevel=2)


@contextlib.contextmanager
def _alone(digest: str) -> Iterator[None]:
    """A lock: one process of this node prepares, others wait. It ends with its owner."""
    path = cache_root() / "locks" / digest
    with written_to(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    with file:
        # a file system without locks: several prepare, the first one's is kept
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _store(windows: Windows, digest: str, folder: Path) -> None:
    """Write beside, then rename: a reader sees all or nothing. The loser of a race clears up."""
    with written_to(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.parent / f".{digest}-{uuid.uuid4().hex[:8]}"
        partial.mkdir()  # mkdtemp would close it to a group that shares the cache
    try:
        with written_to(folder.parent):
            _write(windows, digest, partial)
            if not folder.exists():
                partial.rename(folder)
    except MachineError:
        if not folder.exists():  # otherwise another process was faster, with the same bytes
            raise
    finally:
        # what a killed process left behind goes too; a writer still busy finds that it came second
        others = folder.parent.glob(f".{digest}-*") if folder.exists() else ()
        for leftover in (partial, *others):
            shutil.rmtree(leftover, ignore_errors=True)


def _write(windows: Windows, digest: str, partial: Path) -> None:
    np.save(partial / "x.npy", windows.x)  # from a memory-mapped array it copies in small pieces
    for i, stream in enumerate(windows.streams[1:], start=1):
        np.save(partial / f"x{i}.npy", stream.x)
    np.save(partial / "group.npy", windows.group)
    if windows.y is not None:
        np.save(partial / "y.npy", windows.y)
    if windows.origins is not None:  # (3, n) or (3, n, 2)
        np.save(partial / "places.npy", np.stack(list(vars(windows.origins).values())))
    np.save(partial / "fingerprints.npy", fingerprints_in(windows))
    for name, tags in windows.tags.items():
        np.save(partial / f"tag-{digest_of(name)}.npy", tags)
    facts = ["sfreq", "ch_names", "modalities", "groups", "classes", "caveats"]
    facts += ["n_segments", "padding"]
    # older caches are of classes, and do not say so
    facts += ["target"] * (windows.target != "classes")
    meta = {name: getattr(windows, name) for name in facts} | {"digest": digest}
    streams = [{name: getattr(stream, name) for name in STREAM_FACTS} for stream in windows.streams]
    meta |= {"tags": list(windows.tags)} if windows.tags else {}
    sums = {path.name: _sum_of(path) for path in sorted(partial.iterdir())}
    meta |= {"streams": streams, "sums": sums}
    meta = json.loads(json.dumps(meta))  # as it is read: its seal is of what is there
    (partial / "meta.json").write_text(json.dumps(meta | {"seal": digest_of(meta)}))
    for path in partial.iterdir():
        with path.open("rb") as handle:
            os.fsync(handle.fileno())


def _open(folder: Path) -> Windows:
    meta = json.loads((folder / "meta.json").read_text())
    meta.pop("seal", None)
    meta.pop("sums", None)
    y, origins, facts = folder / "y.npy", folder / "places.npy", meta.pop("streams", [])
    names = ["x", *(f"x{i}" for i in range(1, len(facts)))]
    xs = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in names]
    tags = {name: np.load(folder / f"tag-{digest_of(name)}.npy") for name in meta.pop("tags", [])}
    return Windows(
        tags=tags,
        x=xs[0],
        group=np.load(folder / "group.npy"),
        y=np.load(y) if y.exists() else None,
        streams=tuple(Stream(x=x, **_fields(of)) for x, of in zip(xs, facts, strict=False)),
        origins=Origins(*np.load(origins)) if origins.exists() else None,
        fingerprints=np.load(folder / "fingerprints.npy", mmap_mode="r"),
        **_fields(meta),
    )


def _fields(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts of JSON as those of a dataclass, where lists are tuples."""
    return {name: tuple(of) if isinstance(of, list) else of for name, of in facts.items()}
