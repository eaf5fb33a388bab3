"""Fetching a set's public original: over https alone, resumable, checked, atomic. Nothing here
knows what is in the files.

A file is written as `<name>.part`, checked and renamed: what has its name is whole. A server is
believed in nothing: what it says of lengths must agree with itself and with what is known, and more
than that is not taken. Where nobody published a SHA-256, the first download is remembered.
"""

import fnmatch
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from citrus_ray.data.formats.digests import file_digest
from citrus_ray.data.originals import Original, RemoteFile
from citrus_ray.data.tools.unpack import FetchError, is_archive, outside, unpack
from citrus_ray.spec import refuse

CHUNK = 1 << 18
TRIES = 5  # connections in a row that bring next to nothing before a mirror is given up
TIMEOUT_S = 30.0
LITTLE = 1024  # bytes, in TIMEOUT_S or by a connection, that are as good as nothing
MOST_REDIRECTS = 5
LOCK_LINE = re.compile(r"([0-9a-f]{64})  (\d+)  (\S.*)")
LOCK_HEAD = """\
# What came first of files whose SHA-256 nobody published: later downloads are compared with it.
# SHA-256, bytes, path. Delete a line if the publisher says that the file was replaced.
"""


class ContradictionError(FetchError):
    """What a server says contradicts itself, or what is known of the file."""


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
    plain_http: bool = False  # for tests, whose servers have no certificate

    @property
    def schemes(self) -> tuple[str, ...]:
        return ("https", "http") if self.plain_http else ("https",)


def fetch(original: Original, root: Path, options: FetchOptions = FetchOptions()) -> list[Path]:
    """Every file of the set under root/name; those that are there already are not fetched again."""
    folder = root / original.name
    bases = options.bases or (original.base_url, *original.mirrors)
    for base in bases:
        _check_base(base, options)
    folder.mkdir(parents=True, exist_ok=True)
    getting = Getting(original, folder, bases, options, Lock.read(lock_of(root, original)))
    paths = list[Path]()
    for file in getting.listed():
        path = getting.ensure(file)
        paths += unpack(path, path.parent) if original.archive else [path]
        getting.lock.add(file, path)
    return paths


def _check_base(base: str, options: FetchOptions) -> None:
    try:
        parts = urlsplit(base)
        fine = parts.scheme in options.schemes and bool(parts.hostname)
    except ValueError:  # brackets of an address that are not closed
        fine = False
    if not fine:
        raise refuse(f"{base}: is no https address; write it as https://host/folder/", "--url")
    if parts.username is not None or parts.query or parts.fragment:
        rule = "must end in a folder, without name, password, ? or #: none of them would be sent"
        raise refuse(f"{base}: {rule}", "--url")


# ---- what came first ----


def lock_of(root: Path, original: Original) -> Path:
    """Beside the folder of the set, so that it outlives it."""
    return root / f"{original.name}.lock"


@dataclass
class Lock:
    """SHA-256 and size of files as they came first, by path."""

    path: Path
    known: dict[str, tuple[str, int]]

    @classmethod
    def read(cls, path: Path) -> "Lock":
        known = {}
        text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
        for number, line in enumerate(text.splitlines(), start=1):
            if line.startswith("#") or not line.strip():
                continue
            found = LOCK_LINE.fullmatch(line)
            if found is None or found[3] in known:
                rule = "must be SHA-256, bytes and a path, each path once"
                raise FetchError(f"{path}: line {number} {rule}; mend or delete it")
            known[found[3]] = (found[1], int(found[2]))
        return cls(path, known)

    def with_first(self, file: RemoteFile) -> RemoteFile:
        """The file, with what is known of its first download where that is more than published."""
        first = self.known.get(file.path)
        if first is None or _is_sha256(file.checksum):
            return file
        size = first[1] if file.size is None else file.size
        return replace(file, size=size, first=first[0])

    def add(self, file: RemoteFile, path: Path) -> None:
        if _is_sha256(file.checksum) or file.path in self.known:
            return
        self.known[file.path] = (file_digest(path), path.stat().st_size)
        lines = [f"{sha}  {size}  {name}\n" for name, (sha, size) in sorted(self.known.items())]
        beside = self.path.with_name(f".{self.path.name}")
        beside.write_text(LOCK_HEAD + "".join(lines), "utf-8")
        os.replace(beside, self.path)


def _is_sha256(checksum: str | None) -> bool:
    return checksum is not None and len(checksum) == 64


def read_sums(path: Path, wanted: str) -> list[RemoteFile]:
    """Files that a list of checksums names and `wanted` fits."""
    rule = re.compile(r"([0-9a-fA-F]{64}|[0-9a-fA-F]{32}) [ *]?(.+)")
    lines = path.read_text("utf-8", errors="replace").splitlines()
    found = [line for text in lines if (line := rule.fullmatch(text.strip()))]
    files = [RemoteFile(of[2], of[1].lower()) for of in found if re.fullmatch(wanted, of[2])]
    if not files:
        why = "lists no file of the set, so it is no list of checksums"
        raise FetchError(f"{path}: {why}; delete it and fetch again")
    bad = [file.path for file in files if outside(file.path)]
    if bad:
        why = f"{bad[0]} would be written outside its folder"
        raise FetchError(f"{path}: {why}; fetch from another mirror")
    once = dict[str, RemoteFile]()
    for file in files:
        if once.setdefault(file.path, file) != file:
            why = f"has two checksums for {file.path}"
            raise FetchError(f"{path}: {why}; fetch from another mirror")
    return list(once.values())


# ---- one file ----


@dataclass(frozen=True)
class Getting:
    """Files of one original on their way into its folder."""

    original: Original
    folder: Path
    bases: Sequence[str]
    options: FetchOptions
    lock: Lock

    def listed(self) -> list[RemoteFile]:
        original, only = self.original, self.options.only
        files = list(original.files)
        if original.sums:
            plain = replace(self, original=replace(original, archive=None))
            listing = RemoteFile(original.sums, most=16 << 20)
            files += read_sums(path := plain.ensure(listing), original.wanted)
            self.lock.add(listing, path)
        chosen = [file for file in files if only is None or fnmatch.fnmatch(file.path, only)]
        if not chosen:
            known = ", ".join(file.path for file in files[:4])
            rule = f"only={only} fits no file of {original.name}; there are {known}, …"
            raise refuse(rule, "--only")
        return chosen

    def ensure(self, wanted: RemoteFile) -> Path:
        """The file, fetched from the first address that gives it whole."""
        path, file = self.folder / wanted.path, self.lock.with_first(wanted)
        if not _is_whole(path, file):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._get(path, file)
        return path

    def _get(self, path: Path, file: RemoteFile) -> None:
        below = quote(file.path, safe="/+")
        bases = [base if base.endswith("/") else base + "/" for base in self.bases]
        urls = [urljoin(base, below) for base in bases]
        failures = list[str]()
        for url in [*urls, *(() if self.options.bases else file.urls)]:
            try:
                self._download(url, path, file)
                return
            except FetchError as err:
                failures.append(str(err))
        where = self.original.page or self.original.base_url
        by_hand = f"to do it by hand, get {file.path} from {where}"
        by_hand += f", put it at {path.absolute()} and run this again"
        raise FetchError("; ".join(dict.fromkeys([*failures, by_hand])))

    def _download(self, url: str, path: Path, file: RemoteFile) -> None:
        part = path.with_name(path.name + ".part")
        if part.is_symlink():
            raise FetchError(f"{part}: is a link, which is not followed; delete it")
        resumed = part.exists() and part.stat().st_size > 0
        # what was there before may be of another version: once more, from nothing
        for _ in range(1 + resumed):
            try:
                _receive(url, part, file, self.options)
                fault = _fault(part, file, self.original.archive)
            except ContradictionError as err:
                fault = str(err)
            if fault is None:
                break
            part.unlink(missing_ok=True)
        if fault:
            raise FetchError(f"{url}: {fault}")
        with part.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(part, path)


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


def _fault(part: Path, file: RemoteFile, archive: str | None) -> str | None:
    """What is wrong with a file that came whole."""
    if fault := _checksum_fault(part, file):
        return fault
    size = part.stat().st_size
    if file.size is not None and size != file.size:
        return f"sent {size:,} bytes, but {file.size:,} were published"
    if archive and not file.checksum and not is_archive(part, archive):
        with part.open("rb") as handle:
            head = handle.read(15)
        return f"sent no {archive} archive but {head!r}…, perhaps a page for people"
    return None


def _checksum_fault(path: Path, file: RemoteFile) -> str | None:
    if not (file.checksum or file.first):
        return None
    sha256 = file_digest(path)
    if file.first and sha256 != file.first:
        way = "its line in the .lock beside the folder may go if the publisher replaced it"
        return f"SHA-256 is {sha256}, but {file.first} came the first time ({way})"
    if not file.checksum:
        return None
    name, digest = "SHA-256", sha256
    if not _is_sha256(file.checksum):
        with path.open("rb") as handle:
            name, digest = "MD5", hashlib.file_digest(handle, "md5").hexdigest()
    same = digest == file.checksum
    return None if same else f"{name} is {digest}, but {file.checksum} was published"


def _receive(url: str, part: Path, file: RemoteFile, options: FetchOptions) -> None:
    """Append to `part` what it lacks of `url`; new tries as long as each brings something."""
    failures, pause = 0, options.pause_s
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            with _connected(url, before, options) as reply:
                if _take(reply, part, before, file, options):
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
        brought = there - before >= LITTLE
        failures, pause = (0, options.pause_s) if brought else (failures + 1, 2 * pause)
        if failures >= TRIES or (failures and not there and what.startswith("cannot reach")):
            kept = f" after {there:,} bytes; they are kept, and the same command goes on from there"
            raise FetchError(f"{url}: {what}{kept if there else ''}")
        time.sleep(pause)


class _Followed(HTTPRedirectHandler):
    """Redirects, as long as they stay with https."""

    max_redirections = MOST_REDIRECTS

    def __init__(self, options: FetchOptions) -> None:
        self.options = options

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        if urlsplit(newurl).scheme not in self.options.schemes:
            raise ContradictionError(f"leads to {newurl}, which is no https address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def _connected(url: str, start: int, options: FetchOptions) -> Iterator[Any]:
    # gzip would make lengths and ranges those of the packed stream
    headers = {"User-Agent": "citrus_ray", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    opener = build_opener(_Followed(options))
    try:
        with opener.open(Request(url, headers=headers), timeout=options.timeout_s) as reply:
            yield reply
    except ValueError as err:  # of Python's own, about an address that makes no sense
        raise ContradictionError(f"leads nowhere ({err})") from None


def _take(reply: Any, part: Path, before: int, file: RemoteFile, options: FetchOptions) -> bool:
    """Append what comes, or begin anew if the server ignores ranges. True where all of it came."""
    start, total = _span(reply, before, file)
    most = file.most if total is None else total
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - start > free:
        raise FetchError(f"{part}: {total - start:,} bytes are to come, {free:,} free; make room")
    name, done = PurePosixPath(file.path).name, start
    since, then = time.monotonic(), done
    with part.open("ab" if start else "wb") as out:
        while chunk := reply.read1(CHUNK):
            done += len(chunk)
            if done > most:
                raise ContradictionError(f"sends more than {most:,} bytes")
            _write(out, chunk, part)
            options.progress(name, done, total)
            if (now := time.monotonic()) - since > options.timeout_s:
                if done - then < LITTLE:
                    raise TimeoutError(f"{done - then} bytes in {now - since:.0f} s")
                since, then = now, done
    return total is None or done >= total


def _write(out: IO[bytes], chunk: bytes, part: Path) -> None:
    try:
        out.write(chunk)
    except OSError as err:  # ours, not the server's
        raise FetchError(f"{part}: cannot be written: {err.strerror}; make room") from None


def _span(reply: Any, before: int, file: RemoteFile) -> tuple[int, int | None]:
    """Where in the file the body begins, and the size of the whole file, where it is known."""
    packed = reply.headers.get("Content-Encoding") or "identity"
    if packed.lower() != "identity":
        raise ContradictionError(f"sends it packed ({packed}), which was not asked for")
    said = {text.strip() for text in reply.headers.get_all("Content-Length") or ()}
    if len(said) > 1 or not all(re.fullmatch(r"\d{1,15}", text, re.ASCII) for text in said):
        raise ContradictionError(f"says a length of {', '.join(sorted(said))}")
    start, total = 0, next(map(int, said), None)
    if reply.status == 206:
        start, total = _part_of(reply.headers.get("Content-Range") or "", before, total)
    elif reply.status != 200:
        raise ContradictionError(f"answers {reply.status} where a file was asked for")
    if total is None:
        is_whole = file.size or file.checksum or file.first
        if not is_whole and not getattr(reply, "chunked", False):
            rule = "does not say how long it is, and a part would look like the whole"
            raise ContradictionError(rule)
        return start, file.size
    if file.size is not None and total != file.size:
        raise ContradictionError(f"says {total:,} bytes, but {file.size:,} were published")
    if total > file.most:
        raise ContradictionError(f"says {total:,} bytes, more than {file.most:,}")
    return start, total


def _part_of(said: str, before: int, length: int | None) -> tuple[int, int | None]:
    """Where the part begins that a server sends, and the size of the whole file."""
    span = re.fullmatch(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15}|\*)", said, re.ASCII)
    first, last = (int(span[1]), int(span[2])) if span else (-1, -1)
    total = None if span is None or span[3] == "*" else int(span[3])
    sound = first == before <= last and (total is None or last < total)
    if not sound or length not in (None, last - first + 1):
        which = said or "which one it does not say"
        raise ContradictionError(f"sends another part than was asked for ({which})")
    return first, total


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
