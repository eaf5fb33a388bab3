"""Fetching a set's public original: resumable, checked, atomic. Nothing here knows what is in the
files.

A file is written as `<name>.part`, checked against its SHA-256 and renamed: what has its name is
whole. Archives are looked through before anything is unpacked: one member that would land outside
the folder refuses them all.
"""

import fnmatch
import hashlib
import os
import re
import shutil
import stat
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import Request, urlopen

from citrus_ray.data.formats.digests import file_digest
from citrus_ray.data.originals import Original, RemoteFile
from citrus_ray.spec import refuse

CHUNK = 1 << 18
TRIES = 5  # connections in a row that bring nothing before a mirror is given up
TIMEOUT_S = 30.0
ZIPS_IN_ZIPS = 3
BROKEN_ARCHIVE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error),
    *(EOFError, RuntimeError, NotImplementedError),  # cut, encrypted, packed in a way not known
)


class FetchError(Exception):
    """Why a file could not be fetched, in one line."""


class OnProgress(Protocol):
    def __call__(self, name: str, done: int, total: int | None, /) -> None: ...


@dataclass(frozen=True)
class FetchOptions:
    """How to fetch: `bases` stand in for the original's own addresses."""

    bases: tuple[str, ...] = ()
    only: str | None = None  # a shell pattern of paths
    progress: OnProgress = lambda name, done, total: None
    pause_s: float = 1.0  # before the first new try, doubled at each
    timeout_s: float = TIMEOUT_S


def fetch(original: Original, root: Path, options: FetchOptions = FetchOptions()) -> list[Path]:
    """Every file of the set under root/name; those that are there already are not fetched again."""
    folder = root / original.name
    folder.mkdir(parents=True, exist_ok=True)
    bases = options.bases or (original.base_url, *original.mirrors)
    wrong = [base for base in bases if urlsplit(base).scheme not in ("http", "https")]
    if wrong:
        rule = f"{wrong[0]} is no http or https address; write it as https://host/folder/"
        raise refuse(rule, "--url")
    listed = _listed(original, folder, bases, options)
    paths = [_ensure(original, file, folder, bases, options) for file in listed]
    if original.archive:
        return [path for archive in paths for path in unpack(archive, archive.parent)]
    return paths


def _listed(
    original: Original, folder: Path, bases: Sequence[str], options: FetchOptions
) -> list[RemoteFile]:
    files = list(original.files)
    if original.sums:
        plain = replace(original, archive=None)
        sums = _ensure(plain, RemoteFile(original.sums), folder, bases, options)
        files += read_sums(sums, original.wanted)
    chosen = [
        file for file in files if options.only is None or fnmatch.fnmatch(file.path, options.only)
    ]
    if not chosen:
        known = ", ".join(file.path for file in files[:4])
        rule = f"only={options.only} fits no file of {original.name}; there are {known}, …"
        raise refuse(rule, "--only")
    return chosen


def read_sums(path: Path, wanted: str) -> list[RemoteFile]:
    """Files that a list of checksums names and `wanted` fits."""
    rule = re.compile(r"([0-9a-fA-F]{64}|[0-9a-fA-F]{32}) [ *]?(.+)")
    lines = path.read_text("utf-8", errors="replace").splitlines()
    found = [line for text in lines if (line := rule.fullmatch(text.strip()))]
    files = [RemoteFile(of[2], of[1].lower()) for of in found if re.fullmatch(wanted, of[2])]
    if not files:
        why = "lists no file of the set, so it is no list of checksums"
        raise FetchError(f"{path}: {why}; delete it and fetch again")
    bad = [file.path for file in files if _outside(file.path)]
    if bad:
        why = f"{bad[0]} would be written outside its folder"
        raise FetchError(f"{path}: {why}; fetch from another mirror")
    return files


# ---- one file ----


def _ensure(
    original: Original, file: RemoteFile, folder: Path, bases: Sequence[str], options: FetchOptions
) -> Path:
    """The file, fetched from the first address that gives it whole."""
    path = folder / file.path
    if _is_whole(path, file):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    below = quote(file.path, safe="/+")
    urls = [urljoin(base if base.endswith("/") else base + "/", below) for base in bases]
    failures = list[str]()
    for url in [*urls, *(() if options.bases else file.urls)]:
        try:
            _download(url, path, file, original, options)
            return path
        except FetchError as err:
            failures.append(str(err))
    where = original.page or original.base_url
    by_hand = f"to do it by hand, get {file.path} from {where}"
    by_hand += f", put it at {path.absolute()} and run this again"
    raise FetchError("; ".join(dict.fromkeys([*failures, by_hand])))


def _is_whole(path: Path, file: RemoteFile) -> bool:
    """Whether the file is there. A wrong one is refused: someone may have put it there."""
    if not path.is_file():
        return False
    wrong, size = _checksum_fault(path, file), path.stat().st_size
    if not wrong and file.size is not None and size != file.size:
        wrong = f"has {size:,} bytes, not {file.size:,}"
    if wrong:
        raise FetchError(f"{path}: {wrong}; delete it and fetch again")
    return True


def _download(
    url: str, path: Path, file: RemoteFile, original: Original, options: FetchOptions
) -> None:
    part = path.with_name(path.name + ".part")
    resumed = part.exists() and part.stat().st_size > 0
    _receive(url, part, file, options)
    fault = _fault(part, file, original.archive)
    # what was there before may be of another version: once more, from nothing
    if fault and resumed:
        part.unlink()
        _receive(url, part, file, options)
        fault = _fault(part, file, original.archive)
    if fault:
        part.unlink()
        raise FetchError(f"{url}: {fault}")
    with part.open("rb") as handle:
        os.fsync(handle.fileno())
    os.replace(part, path)


def _fault(part: Path, file: RemoteFile, archive: str | None) -> str | None:
    """What is wrong with a file that came whole."""
    if file.checksum:
        return _checksum_fault(part, file)
    if archive and not (zipfile.is_zipfile(part) if archive == "zip" else tarfile.is_tarfile(part)):
        with part.open("rb") as handle:
            head = handle.read(15)
        return f"sent no {archive} archive but {head!r}…, perhaps a page for people"
    return None


def _checksum_fault(path: Path, file: RemoteFile) -> str | None:
    if not file.checksum:
        return None
    if len(file.checksum) == 64:
        name, digest = "SHA-256", file_digest(path)
    else:
        with path.open("rb") as handle:
            name, digest = "MD5", hashlib.file_digest(handle, "md5").hexdigest()
    same = digest == file.checksum
    return None if same else f"{name} is {digest}, but {file.checksum} was published"


def _receive(url: str, part: Path, file: RemoteFile, options: FetchOptions) -> None:
    """Append to `part` what it lacks of `url`; new tries as long as each brings something."""
    failures, pause = 0, options.pause_s
    progress = partial(options.progress, PurePosixPath(file.path).name)
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            with _connected(url, before, options.timeout_s) as reply:
                if _take(reply, part, before, file, progress):
                    return
            what = "the connection broke"
        except HTTPError as err:
            if err.code == 416 and before:  # nothing beyond what is there
                if (err.headers.get("Content-Range") or "").endswith(f"/{before}"):
                    return
                part.unlink()  # it is of another version
                continue
            if err.code not in (408, 429, 500, 502, 503, 504):
                raise FetchError(f"{url}: the server says {err.code} {err.reason}") from None
            what = f"the server says {err.code} {err.reason}"
        except (URLError, OSError, HTTPException) as err:
            why = getattr(err, "reason", None) or err or type(err).__name__
            what = f"cannot reach {urlsplit(url).netloc} ({why})"
        there = part.stat().st_size if part.exists() else 0
        failures, pause = (failures + 1, 2 * pause) if there <= before else (0, options.pause_s)
        if failures >= TRIES or (failures and not there and what.startswith("cannot reach")):
            kept = f" after {there:,} bytes; they are kept, and the same command goes on from there"
            raise FetchError(f"{url}: {what}{kept if there else ''}")
        time.sleep(pause)


@contextmanager
def _connected(url: str, start: int, timeout_s: float) -> Iterator[Any]:
    # gzip would make lengths and ranges those of the packed stream
    headers = {"User-Agent": "citrus_ray", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with urlopen(Request(url, headers=headers), timeout=timeout_s) as reply:
        yield reply


def _take(
    reply: Any,
    part: Path,
    before: int,
    file: RemoteFile,
    progress: Callable[[int, int | None], None],
) -> bool:
    """Append what comes, or begin anew if the server ignores ranges. True where all of it came."""
    span = re.match(r"bytes (\d+)-\d+/(\d+)", reply.headers.get("Content-Range") or "")
    goes_on = reply.status == 206 and span is not None and int(span[1]) == before
    length = reply.headers.get("Content-Length")
    done = before if goes_on else 0
    total = done + int(length) if length else file.size
    with part.open("ab" if goes_on else "wb") as out:
        while chunk := reply.read(CHUNK):
            out.write(chunk)
            done += len(chunk)
            progress(done, total)
    return total is None or done >= total


# ---- archives ----


@dataclass(frozen=True)
class ArchiveEntry:
    name: str
    size: int
    fault: str  # why it must not be unpacked
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, depth: int = ZIPS_IN_ZIPS) -> list[Path]:
    """Files of an archive, and of zip files inside it, under `folder`. What is there stays."""
    try:
        with _opened(archive) as members:
            _refuse_hostile(archive, members, folder)
            for member in members:
                _place(member, folder)
            paths = [folder / member.name for member in members]
    except BROKEN_ARCHIVE as err:
        why = f"cannot be unpacked: {err}"
        raise FetchError(f"{archive}: {why}; delete it and fetch again") from None
    inner = [path for path in paths if path.suffix.lower() == ".zip"] if depth else []
    return paths + [path for zipped in inner for path in unpack(zipped, zipped.parent, depth - 1)]


@contextmanager
def _opened(archive: Path) -> Iterator[list[ArchiveEntry]]:
    """Files in an archive; folders are made as they are needed."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield [
                _entry(i.filename, i.file_size, _is_plain(i), partial(zipped.open, i))
                for i in zipped.infolist()
                if not i.is_dir() or _outside(i.filename)
            ]
        return
    with tarfile.open(archive) as tarred:
        yield [
            _entry(i.name, i.size, i.isreg(), partial(tarred.extractfile, i))
            for i in tarred.getmembers()
            if not i.isdir() or _outside(i.name)
        ]


def _entry(
    name: str, size: int, plain: bool, opened: Callable[[], IO[bytes] | None]
) -> ArchiveEntry:
    fault = "" if plain else "is a link or a device"
    if _outside(name):
        fault = "would be written outside its folder"
    return ArchiveEntry(name, size, fault, opened)


def _is_plain(info: zipfile.ZipInfo) -> bool:
    return stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)


def _outside(name: str) -> bool:
    """Whether a path leaves the folder it is written in: on this system or another."""
    rooted = name.startswith(("/", "\\")) or bool(re.match(r"[A-Za-z]:", name))
    return rooted or ".." in re.split(r"[/\\]", name) or "\0" in name


def _refuse_hostile(archive: Path, members: Sequence[ArchiveEntry], folder: Path) -> None:
    bad = next((member for member in members if member.fault), None)
    if bad:
        why = f"its member {bad.name} {bad.fault}"
        raise FetchError(f"{archive}: {why}; nothing was unpacked, get it elsewhere")
    needed = sum(m.size for m in members if not _is_there(m, folder))
    free = shutil.disk_usage(folder).free
    if needed > free:
        why = f"unpacks to {needed:,} bytes, but {free:,} are free at {folder}"
        raise FetchError(f"{archive}: {why}; make room")


def _is_there(member: ArchiveEntry, folder: Path) -> bool:
    path = folder / member.name
    return path.is_file() and path.stat().st_size == member.size


def _place(member: ArchiveEntry, folder: Path) -> None:
    """Write one member beside its place and rename it."""
    path = folder / member.name
    if _is_there(member, folder):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    assert source is not None, "only regular files are opened"
    descriptor, beside = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with source, os.fdopen(descriptor, "wb") as out:
            shutil.copyfileobj(source, out, CHUNK)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(beside, 0o644)  # mkstemp makes it private
        os.replace(beside, path)
    finally:
        Path(beside).unlink(missing_ok=True)


# ---- words ----


class FetchLine:
    """Progress on one line of a terminal; nothing elsewhere but the end of every file."""

    def __init__(self, out: Any = None) -> None:
        self._out = out or sys.stderr
        self._name, self._start, self._first, self._shown = "", 0.0, 0, 0.0

    def __call__(self, name: str, done: int, total: int | None, /) -> None:
        now = time.monotonic()
        if name != self._name:
            self._name, self._start, self._first, self._shown = name, now, done, 0.0
        ended = total is not None and done >= total
        text = self._text(done, total, now)
        if self._out.isatty() and (ended or now - self._shown > 0.2):
            self._shown = now
            end = "\n" if ended else ""
            print(f"\r\x1b[K{text}", end=end, file=self._out, flush=True)
        elif ended and not self._out.isatty():
            print(text, file=self._out, flush=True)

    def _text(self, done: int, total: int | None, now: float) -> str:
        rate = (done - self._first) / max(now - self._start, 1e-3)
        text = f"{self._name} {done / 1e6:.1f}"
        if total is None:
            return f"{text} MB, {rate / 1e6:.1f} MB/s"
        left = (total - done) / rate if rate > 0 else 0
        eta = f", {int(left // 60)}:{int(left % 60):02d} left" if done < total else ""
        return f"{text} of {total / 1e6:.1f} MB, {rate / 1e6:.1f} MB/s{eta}"
