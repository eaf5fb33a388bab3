"""Servers, lists and archives that lie: what each is called, and what it does to a fetch."""

import gzip
import hashlib
import io
import socket
import ssl
import stat
import struct
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from citrus_ray.data.originals import Original, RemoteFile
from citrus_ray.data.tools.fetch import FetchOptions, fetch
from citrus_ray.data.tools.unpack import FetchError
from citrus_ray.spec import SpecError

BODY = bytes(range(256)) * 40  # 10 KB
SHA256 = hashlib.sha256(BODY).hexdigest()
PINNED = RemoteFile("a.dat", SHA256, len(BODY))
UNKNOWN = RemoteFile("a.dat")
OK = b"HTTP/1.1 200 OK\r\n"
# path, and the first byte that is asked for -> raw bytes, in pieces
Answer = Callable[[str, int], Iterable[bytes]]


@contextmanager
def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The address of a server on loopback that sends what it is told, and no more of HTTP."""
    scheme = "https" if tls else "http"
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:  # closed
                    return
                with suppress(OSError, IndexError):
                    connection = tls.wrap_socket(connection, True) if tls else connection
                    asked = connection.recv(65536).decode("latin-1")
                    start = 0
                    if "range: bytes=" in asked.lower():
                        start = int(asked.lower().split("range: bytes=")[1].split("-")[0])
                    for piece in answer(asked.split()[1].removeprefix("/set/"), start):
                        connection.sendall(piece)
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"{scheme}://127.0.0.1:{listening.getsockname()[1]}/set/"
        listening.shutdown(socket.SHUT_RDWR)


def plain(body: bytes = BODY, *headers: str, head: bytes = OK) -> Answer:
    """Always the same reply."""
    lines = "".join(f"{line}\r\n" for line in headers).encode("latin-1")
    return lambda path, start: [head + lines + b"\r\n" + body]


def sized(body: bytes, *headers: str) -> Answer:
    return plain(body, f"Content-Length: {len(body)}", *headers)


def endless(*headers: str, chunk: bytes = bytes(1 << 16)) -> Answer:
    def answer(path: str, start: int) -> Iterator[bytes]:
        yield OK + "".join(f"{line}\r\n" for line in headers).encode() + b"\r\n"
        while True:
            yield chunk

    return answer


def part(body: bytes, said: str | None, *headers: str) -> Answer:
    """A part of the file, whatever was asked for."""
    lines = [f"Content-Range: {said}"] if said else []
    head = b"HTTP/1.1 206 Partial\r\n"
    return plain(body, f"Content-Length: {len(body)}", *lines, *headers, head=head)


def redirect(to: str) -> Answer:
    return plain(b"", f"Location: {to}", "Content-Length: 0", head=b"HTTP/1.1 302 Found\r\n")


def one_byte(path: str, start: int) -> list[bytes]:
    lines = f"Content-Length: {len(BODY) - start}\r\nContent-Range: "
    lines += f"bytes {start}-{len(BODY) - 1}/{len(BODY)}\r\n\r\n"
    head = b"HTTP/1.1 206 Partial\r\n" if start else OK
    return [head + lines.encode() + BODY[start : start + 1]]


def chunked(*pieces: bytes) -> Answer:
    return plain(b"".join(pieces), "Transfer-Encoding: chunked")


CHUNKED_ZEROS = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
SERVERS: dict[str, tuple[RemoteFile, Answer]] = {
    "a negative length": (UNKNOWN, plain(BODY, "Content-Length: -5")),
    "a length that is no number": (UNKNOWN, plain(BODY, "Content-Length: many")),
    "a length with a sign": (UNKNOWN, plain(BODY, "Content-Length: +10240")),
    "an empty length": (UNKNOWN, plain(BODY, "Content-Length: ")),
    "two lengths": (UNKNOWN, plain(BODY, "Content-Length: 99", "Content-Length: 10240")),
    "a length of 10^30": (UNKNOWN, plain(BODY, f"Content-Length: {10**30}")),
    "a length beyond every disk": (UNKNOWN, plain(BODY, f"Content-Length: {10**14}")),
    "a length above what was published": (PINNED, sized(BODY + b"x")),
    "a length below what was published": (PINNED, sized(BODY[:-1])),
    "a length below what comes": (PINNED, plain(BODY + b"x", f"Content-Length: {len(BODY)}")),
    "a length above what comes": (UNKNOWN, plain(BODY, f"Content-Length: {len(BODY) + 9}")),
    "no length, and no end": (PINNED, endless()),
    "no length of a file that no one knows": (UNKNOWN, plain(BODY)),
    "no length, and half the file": (PINNED, plain(BODY[:5000])),
    "chunks without an end": (PINNED, endless("Transfer-Encoding: chunked", chunk=CHUNKED_ZEROS)),
    "a chunk of a size that is no number": (UNKNOWN, chunked(b"zz\r\n", BODY)),
    "a chunk of a negative size": (UNKNOWN, chunked(b"-5\r\n", BODY[:5000])),
    "chunks that break off": (UNKNOWN, chunked(b"2800\r\n", BODY[:5000])),
    "chunks of other bytes": (PINNED, chunked(b"5\r\nhello\r\n0\r\n\r\n")),
    "a packed body": (PINNED, sized(gzip.compress(BODY), "Content-Encoding: gzip")),
    "other bytes of the same length": (PINNED, sized(BODY[:-1] + b"?")),
    "a page in place of the file": (PINNED, sized(b"<!DOCTYPE html><html>log in</html>")),
    "a part that was not asked for": (UNKNOWN, part(BODY[5:], "bytes 5-10239/10240")),
    "a part without a place": (UNKNOWN, part(BODY, None)),
    "a part beyond the file": (UNKNOWN, part(BODY, "bytes 0-10239/9")),
    "a part of another length": (UNKNOWN, part(BODY, "bytes 0-99/10240")),
    "a part of another file": (PINNED, part(BODY[:99], "bytes 0-98/99")),
    "a place that is no number": (UNKNOWN, part(BODY, "bytes a-b/c")),
    "one byte a connection": (PINNED, one_byte),
    "nothing there, for ever": (
        PINNED,
        plain(b"", "Content-Range: bytes */5", head=b"HTTP/1.1 416 No\r\n"),
    ),
    "an answer without a file": (UNKNOWN, plain(b"", head=b"HTTP/1.1 204 None\r\n")),
    "a status of its own": (UNKNOWN, plain(BODY, "Content-Length: 9", head=b"HTTP/1.1 299 ?\r\n")),
    "a status that is no number": (UNKNOWN, plain(BODY, head=b"HTTP/1.1 abc OK\r\n")),
    "nothing at all": (UNKNOWN, lambda path, start: []),
    "no HTTP": (UNKNOWN, lambda path, start: [BODY]),
    "a thousand headers": (UNKNOWN, plain(BODY, *(f"X-{i}: 1" for i in range(1000)))),
    "a header of 100 KB": (UNKNOWN, plain(BODY, "X: " + "y" * 100_000)),
    "control characters in the status": (
        UNKNOWN,
        plain(b"", head=b"HTTP/1.1 404 \x1b[2J\x1b]0;mine\x07\r\n"),
    ),
    "a redirect to a file": (UNKNOWN, redirect("file:///etc/passwd")),
    "a redirect to ftp": (UNKNOWN, redirect("ftp://127.0.0.1/a.dat")),
    "a redirect to data": (UNKNOWN, redirect("data:text/plain,hello")),
    "a redirect to half an address": (UNKNOWN, redirect("http://[::1/a.dat")),
    "a redirect to a port of letters": (UNKNOWN, redirect("http://127.0.0.1:http/a.dat")),
    "a redirect to itself": (UNKNOWN, redirect("/set/a.dat")),
    "a redirect without end": (
        UNKNOWN,
        lambda path, start: redirect(f"/set/{path}x")(path, start),
    ),
    "a redirect to nowhere": (UNKNOWN, redirect("")),
    "a redirect with line ends": (UNKNOWN, redirect("http://127.0.0.1/%0d%0aX: y")),
}

# ---- lists of checksums ----


def sums(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


LISTS = {
    "a list that leads out": sums(f"{SHA256} ../a.dat"),
    "a list that leads to the root": sums(f"{SHA256} /tmp/a.dat"),
    "a list that leads out by backslash": sums(f"{SHA256} ..\\a.dat"),
    "a list with two checksums of a file": sums(f"{SHA256} a.dat", f"{'0' * 64} a.dat"),
    "a list that is a page": b"<html>please log in</html>",
    "a list of other bytes": bytes(range(256)),
    "an empty list": b"",
    "a list of 17 MB": b"#" * (17 << 20),
    "a list with a control character": sums(f"{SHA256} a\x1b[2J.dat"),
}

# ---- archives ----


def zipped(
    members: dict[str, bytes], modes: dict[str, int] | None = None, deflated: bool = True
) -> bytes:
    out = io.BytesIO()
    how = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", how) as archive:
        for name, body in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = how
            info.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
            archive.writestr(info, body)
    return out.getvalue()


def tarred(*members: tuple[str, bytes, dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, body, fields in members:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            for key, value in fields.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(body))
    return out.getvalue()


def twice(name: str) -> bytes:
    """Two members of one name."""
    first = zipped({name: b"1", name[:-1] + "_": b"2"}, deflated=False)
    return first.replace((name[:-1] + "_").encode(), name.encode())


def shrunk(body: bytes) -> bytes:
    """A member whose header says that it is shorter than it is."""
    packed = bytearray(zipped({"evil.txt": body}))
    for at in (22, packed.index(b"PK\1\2") + 24):
        packed[at : at + 4] = struct.pack("<I", 10)
    return bytes(packed)


def crossed(name: str, offset: int, value: int) -> bytes:
    """A zip with one field of its directory replaced: 8 is the flags, 10 how it is packed."""
    packed = bytearray(zipped({name: BODY}))
    at = packed.index(b"PK\1\2") + offset
    packed[at : at + 2] = struct.pack("<H", value)
    return bytes(packed)


def overlapping() -> bytes:
    """A hundred names of one packed body, as in the better zip bombs."""
    one = zipped({"0000": bytes(1 << 20)})
    at, end = one.index(b"PK\1\2"), one.index(b"PK\5\6")
    entry = one[at:end]
    entries = b"".join(entry.replace(b"0000", b"%04d" % i) for i in range(100))
    tail = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 100, 100, len(entries), at, 0)
    return one[:at] + entries + tail


def raw_tar(*blocks: bytes) -> bytes:
    return gzip.compress(b"".join(blocks), 1)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def _nested() -> bytes:
    """Zips in zips, each of them honest enough alone."""
    inner = zipped({f"{i}.bin": bytes(1 << 20) for i in range(3)})
    return zipped({f"{i}.zip": inner for i in range(3)}, deflated=False)


GOOD = {"good.txt": b"g"}
ZIPS: dict[str, Callable[[], bytes]] = {
    "a zip that leads up": lambda: zipped(GOOD | {"../evil.txt": b"e"}),
    "a zip that leads up from below": lambda: zipped(GOOD | {"a/../../evil.txt": b"e"}),
    "a zip of absolute paths": lambda: zipped(GOOD | {"/tmp/evil.txt": b"e"}),
    "a zip with backslashes": lambda: zipped(GOOD | {"..\\evil.txt": b"e"}),
    "a zip with a drive": lambda: zipped(GOOD | {"C:/evil.txt": b"e"}),
    "a zip with a link": lambda: zipped(GOOD | {"evil": b"/etc"}, {"evil": stat.S_IFLNK | 0o777}),
    "a zip with a folder outside": lambda: zipped(GOOD | {"../evil/": b""}),
    "a zip over itself": lambda: zipped(GOOD | {"a.zip": b"evil"}),
    "a zip over itself in other words": lambda: zipped(GOOD | {"./x/.././a.zip": b"evil"}),
    "a zip with a name twice": lambda: twice("evil.txt"),
    "a zip with a file that is a folder": lambda: zipped({"evil": b"e", "evil/b.txt": b"e"}),
    "a zip with line ends in a name": lambda: zipped({"evil\n\x1b[2J.txt": b"e"}),
    "a zip with a name of 400 letters": lambda: zipped({"e" * 400: b"e"}),
    "a zip with no name": lambda: zipped({".": b"evil"}),
    "a zip of zeros": lambda: zipped({"evil.bin": bytes(20 << 20)}),
    "a zip of one body under many names": overlapping,
    "zips in a zip": _nested,
    "a zip that says less than it holds": lambda: shrunk(BODY),
    "a zip with a password": lambda: crossed("evil.txt", 8, 1),
    "a zip packed in a way of its own": lambda: crossed("evil.txt", 10, 77),
    "a zip that is cut": lambda: zipped({"evil.txt": BODY})[:-9],
    "a zip of damaged bytes": lambda: zipped({"evil.txt": BODY}, deflated=False).replace(
        BODY[:64], BODY[1:65], 1
    ),
}
TARS: dict[str, Callable[[], bytes]] = {
    "a tar that leads up": lambda: tarred(("../evil.txt", b"e", {})),
    "a tar of absolute paths": lambda: tarred(("/tmp/evil.txt", b"e", {})),
    "a tar with a link": lambda: tarred(
        ("evil", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc"})
    ),
    "a tar with a hard link": lambda: tarred(
        ("evil", b"", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"})
    ),
    "a tar with a device": lambda: tarred(("evil", b"", {"type": tarfile.CHRTYPE})),
    "a tar with a pipe": lambda: tarred(("evil", b"", {"type": tarfile.FIFOTYPE})),
    "a tar over itself": lambda: tarred(("a.tar.gz", b"evil", {})),
    "a tar of zeros": lambda: raw_tar(header("evil.bin", 20 << 20), bytes(20 << 20)),
    "a tar that says 8 exabytes": lambda: raw_tar(header("evil.bin", 8 << 60), bytes(512)),
    "a tar with a name of 2 GB": lambda: raw_tar(
        header("././@LongLink", 2 << 30, tarfile.GNUTYPE_LONGNAME), bytes(1 << 20)
    ),
    "a tar with further facts of 2 GB": lambda: raw_tar(
        header("pax", 2 << 30, tarfile.XHDTYPE), bytes(1 << 20)
    ),
    "a tar of facts on facts": lambda: raw_tar(
        *[header("pax", 512, tarfile.XHDTYPE) + b"12 path=evil\n".ljust(512, b"\0")] * 3000
    ),
    "a tar with a size that is no number": lambda: raw_tar(
        header("evil", 5).replace(b"00000000005", b"0000000-005")
    ),
    "a tar with a name that is no text": lambda: raw_tar(
        header("pax", 512, tarfile.XHDTYPE) + b"13 path=\xff\xfe\xfd\n".ljust(512, b"\0")
    ),
    "a tar that is cut": lambda: tarred(("evil.txt", BODY * 9, {}))[:-40],
    "a tar whose checksum is wrong": lambda: tarred(("evil.txt", BODY, {}))[:-8] + b"\0" * 8,
    "a tar that goes on for ever": lambda: raw_tar(
        header("evil.txt", 5), b"hello".ljust(512, b"\0"), bytes(20 << 20)
    ),
    "another packing under its name": lambda: b"\xfd7zXZ\0" + BODY,
}

# ---- what is asked for, and what lies there ----

ADDRESSES = (
    "http://example.org/set/",
    "ftp://example.org/set/",
    "file:///etc/",
    "example.org/set/",
    "https://",
    "https://[::1/set/",
    "https://me:hush@example.org/set/",
    "https://example.org/set/?token=hush",
    "https://example.org/set/#there",
    "",
)


@dataclass(frozen=True)
class Outcome:
    """What came of a fetch."""

    said: str  # the error, or nothing
    is_right: bool  # what was asked for is there, to the byte
    files: dict[str, bytes]  # what else lies there under a name of its own


def outcome(root: Path, url: str, original: Original, **options: Any) -> Outcome:
    how = FetchOptions(bases=(url,), pause_s=0.0, timeout_s=0.5, plain_http=True)
    said = ""
    try:
        fetch(original, root, replace(how, **options))
    except (FetchError, SpecError) as err:
        said = str(err)
        assert said.isprintable(), repr(said)
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.suffix not in (".part", ".lock")
    }
    right = files.pop("toy/a.dat", None) == BODY
    return Outcome(said, right, files)


def of_server(name: str, root: Path, resumed: bool = False) -> Outcome:
    """A file from a server that lies; `resumed`: a third of it was there before."""
    file, answer = SERVERS[name]
    if resumed:
        (root / "toy").mkdir()
        (root / "toy" / "a.dat.part").write_bytes(BODY[:3000])
    with serving(answer) as url:
        return outcome(root, url, Original("toy", url, (file,)))


def of_list(name: str, root: Path) -> Outcome:
    with serving(sized(LISTS[name])) as url:
        return outcome(root, url, Original("toy", url, sums="SUMS", wanted=".*dat"))


def of_archive(name: str, root: Path) -> Outcome:
    kind, made = ("zip", ZIPS[name]) if name in ZIPS else ("tar.gz", TARS[name])
    original = Original("toy", "", (RemoteFile(f"a.{kind}"),), archive=kind)  # type: ignore[arg-type]
    body = made()
    with serving(sized(body)) as url:
        found = outcome(root, url, original)
    found.files.pop(f"toy/a.{kind}", None)
    return found
