"""Archives of public originals: looked through before anything is unpacked. One member that would
land outside the folder, or more than an honest archive holds, refuses them all."""

import gzip
import os
import re
import shutil
import stat
import struct
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from citrus_ray.spec import without_secrets

CHUNK = 1 << 18
ZIPS_IN_ZIPS = 3
# recordings as text pack to a fifth, masked volumes to a fiftieth; zeros to a thousandth
MOST_RATIO = 100
SMALL = 64 << 20  # bytes that an archive may unpack to, however small it is
MOST_BYTES = 256 << 30
MOST_MEMBERS = 200_000
MOST_HEADER = 1 << 20  # of a tar's long names and further facts, which are read into memory
HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
LONG_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
BROKEN_ARCHIVE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, gzip.BadGzipFile, struct.error),
    *(EOFError, RuntimeError, NotImplementedError),  # cut, encrypted, packed in a way not known
    *(ValueError, OverflowError),  # numbers and names in headers that are none
)


class FetchError(Exception):
    """Why a file could not be fetched, in one line, whatever servers and archives say."""

    def __init__(self, message: str) -> None:
        line = "".join(c if c.isprintable() else " " if c in "\n\t" else "?" for c in message)
        super().__init__(without_secrets(line))


@dataclass
class Bounds:
    """How much an archive, and those inside it, may yet unpack to."""

    n_bytes: int
    n_members: int = MOST_MEMBERS

    @classmethod
    def of(cls, archive: Path) -> "Bounds":
        return cls(min(max(SMALL, MOST_RATIO * archive.stat().st_size), MOST_BYTES))

    def take(self, size: int) -> str:
        """What is wrong with one more member of this size; nothing, if it fits."""
        self.n_bytes -= size
        self.n_members -= 1
        if size < 0 or self.n_bytes < 0:
            return "unpacks to more than an honest archive of its size"
        return "" if self.n_members >= 0 else f"holds more than {MOST_MEMBERS:,} files"


@dataclass(frozen=True)
class ArchiveEntry:
    name: str
    size: int
    fault: str  # why it must not be unpacked
    open: Callable[[], IO[bytes] | None]
    crc: int | None = None


def unpack(
    archive: Path, folder: Path, depth: int = ZIPS_IN_ZIPS, bounds: Bounds | None = None
) -> list[Path]:
    """Files of an archive, and of zip files inside it, under `folder`. What is there stays."""
    bounds = bounds or Bounds.of(archive)
    try:
        with _opened(archive, bounds) as members:
            _refuse_hostile(archive, members, folder)
            for member in members:
                _place(member, folder)
            paths = [folder / member.name for member in members]
    except BROKEN_ARCHIVE as err:
        why = f"cannot be unpacked: {err or type(err).__name__}"
        raise FetchError(f"{archive}: {why}; delete it and fetch again") from None
    except OSError as err:
        where = err.filename or archive
        raise FetchError(f"{where}: cannot be unpacked: {err.strerror or err}") from None
    inner = [path for path in paths if path.suffix.lower() == ".zip"] if depth else []
    return paths + [
        path for zipped in inner for path in unpack(zipped, zipped.parent, depth - 1, bounds)
    ]


def is_archive(path: Path, kind: str) -> bool:
    """Whether a file begins, or a zip ends, as an archive of this kind."""
    if kind == "zip":
        return zipfile.is_zipfile(path)
    try:
        with _tar(path) as tarred:
            return tarred.next() is not None
    except (*BROKEN_ARCHIVE, OSError):
        return False


@contextmanager
def _opened(archive: Path, bounds: Bounds) -> Iterator[list[ArchiveEntry]]:
    """Files in an archive; folders are made as they are needed."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield list(_within(archive, bounds, _of_zip(zipped)))
        return
    with _tar(archive) as tarred:
        found = list(_within(archive, bounds, _of_tar(tarred)))
        _read_to_the_end(archive, tarred, bounds)
        yield found


def _of_zip(zipped: zipfile.ZipFile) -> Iterator[ArchiveEntry]:
    for i in zipped.infolist():
        if not i.is_dir() or outside(i.filename):
            opened = partial(zipped.open, i)
            yield _entry(i.filename, i.file_size, _is_plain(i), opened, i.CRC)


def _of_tar(tarred: tarfile.TarFile) -> Iterator[ArchiveEntry]:
    for i in tarred:
        if not i.isdir() or outside(i.name):
            yield _entry(i.name, i.size, i.isreg(), partial(tarred.extractfile, i))


def _within(
    archive: Path, bounds: Bounds, members: Iterable[ArchiveEntry]
) -> Iterator[ArchiveEntry]:
    """Members, one by one: of a tar the next is looked for by unpacking the last."""
    for member in members:
        if fault := bounds.take(member.size):
            raise FetchError(f"{archive}: {fault}; nothing was unpacked, get it elsewhere")
        yield member


class _Tar(tarfile.TarInfo):
    """A member whose names and further facts fit into memory."""

    def _proc_member(self, tarred: tarfile.TarFile) -> Any:
        if self.type in HEADERS + LONG_NAMES and self.size > MOST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(tarred)  # type: ignore[misc]


@contextmanager
def _tar(archive: Path) -> Iterator[tarfile.TarFile]:
    with gzip.open(archive) as stream, tarfile.open(fileobj=stream, tarinfo=_Tar) as tarred:
        yield tarred


def _read_to_the_end(archive: Path, tarred: tarfile.TarFile, bounds: Bounds) -> None:
    """Beyond the last member, where the checksum of the stream stands, and nothing much else."""
    stream = tarred.fileobj
    assert stream is not None
    left = SMALL + bounds.n_bytes
    while piece := stream.read(CHUNK):
        left -= len(piece)
        if left < 0:
            why = "goes on long after its last file"
            raise FetchError(f"{archive}: {why}; nothing was unpacked, get it elsewhere")


def _entry(
    name: str,
    size: int,
    plain: bool,
    opened: Callable[[], IO[bytes] | None],
    crc: int | None = None,
) -> ArchiveEntry:
    fault = "" if plain else "is a link or a device"
    if not name.isprintable() or not PurePosixPath(name).name:
        fault = "has no name for a file"
    if outside(name):
        fault = "would be written outside its folder"
    return ArchiveEntry(name, size, fault, opened, crc)


def _is_plain(info: zipfile.ZipInfo) -> bool:
    return stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)


def outside(name: str) -> bool:
    """Whether a path leaves the folder it is written in: on this system or another."""
    rooted = name.startswith(("/", "\\")) or bool(re.match(r"[A-Za-z]:", name))
    return rooted or ".." in re.split(r"[/\\]", name) or "\0" in name


def _refuse_hostile(archive: Path, members: Sequence[ArchiveEntry], folder: Path) -> None:
    home, seen, folders = folder.resolve(), {archive.resolve(): archive.name}, set[Path]()
    for member in members:
        fault = member.fault
        if not fault:
            place = (folder / member.name).resolve()
            if not place.is_relative_to(home):
                fault = "would be written outside its folder, through a link that is there"
            elif over := next(filter(seen.get, (place, *place.parents)), None):
                fault = f"would be written over {seen[over]}"
            elif place in folders:
                fault = "is a file and a folder"
            seen[place] = member.name
            folders.update(place.parents)
        if fault:
            why = f"its member {member.name} {fault}"
            raise FetchError(f"{archive}: {why}; nothing was unpacked, get it elsewhere")
    needed = sum(m.size for m in members if not _is_there(m, folder))
    free = shutil.disk_usage(folder).free
    if needed > free:
        why = f"unpacks to {needed:,} bytes, but {free:,} are free at {folder}"
        raise FetchError(f"{archive}: {why}; make room")


def _is_there(member: ArchiveEntry, folder: Path) -> bool:
    """Whether a file of its size is there and, as a zip knows it, of its checksum."""
    path = folder / member.name
    if not path.is_file() or path.stat().st_size != member.size:
        return False
    if member.crc is None:
        return True
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            crc = zlib.crc32(piece, crc)
    return crc == member.crc


def _place(member: ArchiveEntry, folder: Path) -> None:
    """Write one member beside its place and rename it."""
    path = folder / member.name
    if _is_there(member, folder):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    assert source is not None, "only regular files are opened"
    beside = path.with_name(f".{uuid.uuid4().hex}")
    try:
        with source, beside.open("xb") as out:
            shutil.copyfileobj(source, out, CHUNK)
            out.flush()
            os.fsync(out.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
