"""`python -m citrus_ray.data fetch`: from a server in this process that breaks as real ones do."""

import hashlib
import io
import os
import re
import stat
import sys
import tarfile
import threading
import types
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray.data.__main__ import main
from citrus_ray.data.originals import Original, RemoteFile, originals, source_of
from citrus_ray.data.source import Source
from citrus_ray.data.sources.emgdb import EmgDb
from citrus_ray.data.tools.catalogue import HOLDS
from citrus_ray.data.tools.export import write_edf
from citrus_ray.data.tools.fetch import FetchLine, FetchOptions, fetch, read_sums
from citrus_ray.data.tools.unpack import FetchError, unpack
from citrus_ray.spec import SpecError, parse_yaml
from tests.data import layouts
from tests.data import originals as published
from tests.data.hostile import tarred, zipped

BODY = np.random.default_rng(0).bytes(700_000)


class Server:
    """Files by path, how to serve them, and what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []  # bytes after which the next answers break off
        self.statuses: list[int] = []  # instead of the next answers
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/set/1.0.0/"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, span = request.path.removeprefix("/set/1.0.0/"), request.headers.get("Range")
        self.asked.append((path, span))
        body = self.files.get(path)
        if body is None or self.statuses:
            request.send_error(self.statuses.pop(0) if self.statuses else 404)
            return
        start = int(re.sub(r"\D", "", span)) if span and self.ranges else 0
        if start >= len(body) > 0:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(body)}")
            request.end_headers()
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        request.send_header("Content-Length", str(len(body) - start))
        request.end_headers()
        stop = start + self.cuts.pop(0) if self.cuts else len(body)
        request.wfile.write(body[start:stop])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    served = Server()
    yield served
    served.http.shutdown()
    served.http.server_close()


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def original(server: Server, **fields: Any) -> Original:
    known: dict[str, Any] = {
        "name": "toy",
        "base_url": server.url,
        "files": (RemoteFile("a.dat", sha256(BODY)),),
    }
    return Original(**(known | fields))


def way(**fields: Any) -> FetchOptions:
    return FetchOptions(pause_s=0.0, timeout_s=5.0, plain_http=True, **fields)


def failure(step: Any, *args: Any) -> str:
    with pytest.raises(FetchError) as caught:
        step(*args)
    said = str(caught.value)
    assert "\n" not in said
    return said


def left(folder: Path) -> list[str]:
    """Names of files below, but for what is remembered of them."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return sorted(path.name for path in found)


# ---- one file ----


def test_a_file_comes_whole_under_its_name_and_a_second_time_nothing_is_asked(server, tmp_path):
    server.files["a.dat"] = BODY
    for _ in range(2):
        assert fetch(original(server), tmp_path, way()) == [tmp_path / "toy" / "a.dat"]
    assert (tmp_path / "toy" / "a.dat").read_bytes() == BODY
    assert server.asked == [("a.dat", None)]
    assert left(tmp_path) == ["a.dat"]


def test_a_cut_connection_is_gone_on_with_from_where_it_broke(server, tmp_path):
    server.files["a.dat"], server.cuts = BODY, [300_000, 200_000]
    fetch(original(server), tmp_path, way())
    assert (tmp_path / "toy" / "a.dat").read_bytes() == BODY
    assert server.asked == [("a.dat", None), ("a.dat", "bytes=300000-"), ("a.dat", "bytes=500000-")]


def test_a_stopped_command_goes_on_the_next_time(server, tmp_path):
    server.files["a.dat"], server.cuts = BODY, [300_000, 0, 0, 0, 0, 0]
    said = failure(fetch, original(server), tmp_path, way())
    assert "the connection broke after 300,000 bytes; they are kept" in said
    assert left(tmp_path) == ["a.dat.part"]
    server.asked, server.cuts = [], []
    fetch(original(server), tmp_path, way())
    assert server.asked == [("a.dat", "bytes=300000-")]
    assert (tmp_path / "toy" / "a.dat").read_bytes() == BODY


def test_a_server_that_ignores_ranges_is_read_from_the_start(server, tmp_path):
    server.files["a.dat"], server.cuts, server.ranges = BODY, [300_000], False
    fetch(original(server), tmp_path, way())
    assert (tmp_path / "toy" / "a.dat").read_bytes() == BODY
    assert left(tmp_path) == ["a.dat"]


@pytest.mark.parametrize("stale", [b"x" * 1000, BODY, BODY + b"x"])
def test_a_part_of_another_version_or_a_whole_one_ends_as_the_right_file(server, tmp_path, stale):
    server.files["a.dat"] = BODY
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "a.dat.part").write_bytes(stale)
    fetch(original(server), tmp_path, way())
    assert (tmp_path / "toy" / "a.dat").read_bytes() == BODY


def test_a_part_that_is_too_long_is_thrown_away_even_without_a_checksum(server, tmp_path):
    server.files["a.dat"] = BODY
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "a.dat.part").write_bytes(BODY + b"x")
    fetch(original(server, files=(RemoteFile("a.dat"),)), tmp_path, way())
    assert (tmp_path / "toy" / "a.dat").read_bytes() == BODY


def test_a_wrong_checksum_leaves_nothing_behind(server, tmp_path):
    server.files["a.dat"] = BODY[:-1] + b"?"
    said = failure(fetch, original(server), tmp_path, way())
    assert f"SHA-256 is {sha256(server.files['a.dat'])}, but {sha256(BODY)} was published" in said
    assert left(tmp_path) == []


def test_a_wrong_file_that_was_there_is_named_and_not_overwritten(server, tmp_path):
    server.files["a.dat"] = BODY
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "a.dat").write_bytes(b"mine")
    assert "delete it and fetch again" in failure(fetch, original(server), tmp_path, way())
    assert (tmp_path / "toy" / "a.dat").read_bytes() == b"mine"


def test_mirrors_are_tried_in_turn_and_url_stands_in_for_all(server, tmp_path):
    server.files["a.dat"] = BODY
    elsewhere = server.url.replace("/set/", "/other/")
    fetch(original(server, base_url=elsewhere, mirrors=(server.url,)), tmp_path, way())
    assert [path for path, _ in server.asked] == ["/other/1.0.0/a.dat", "a.dat"]
    said = failure(fetch, original(server), tmp_path / "b", way(bases=(elsewhere,)))
    assert "the server says 404" in said
    assert f"put it at {tmp_path / 'b' / 'toy' / 'a.dat'} and run this again" in said


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.files["a.dat"], server.statuses = BODY, [503, 429]
    fetch(original(server), tmp_path, way())
    assert len(server.asked) == 3


def test_offline_the_host_and_what_to_do_are_named(server, tmp_path):
    server.http.shutdown()
    server.http.server_close()
    said = failure(fetch, original(server, page="https://example.org/toy"), tmp_path, way())
    assert f"cannot reach 127.0.0.1:{server.http.server_port}" in said
    assert f"get a.dat from https://example.org/toy, put it at {tmp_path / 'toy' / 'a.dat'}" in said


def test_only_http_addresses_are_opened(server, tmp_path):
    (tmp_path / "a.dat").write_bytes(BODY)
    with pytest.raises(SpecError, match="is no https address"):
        fetch(original(server), tmp_path, way(bases=(f"file://{tmp_path}/",)))


# ---- published checksums ----


def sums(files: dict[str, bytes]) -> bytes:
    return "".join(f"{sha256(body)} {path}\n" for path, body in files.items()).encode()


def test_a_published_list_of_checksums_says_what_to_fetch_and_checks_it(server, tmp_path):
    server.files = {
        "p 1/a.dat": b"a" * 99,
        "p 1/b.dat": b"b" * 99,
        "p 1/b.hyp": b"",
        "RECORDS": b"",
    }
    server.files["SHA256SUMS.txt"] = sums(server.files)
    server.files["p%201/a.dat"], server.files["p%201/b.dat"] = b"a" * 99, b"b" * 98 + b"?"
    spec = original(server, files=(), sums="SHA256SUMS.txt", wanted=r"p 1/\w+\.dat")
    assert "SHA-256" in failure(fetch, spec, tmp_path, way())
    assert left(tmp_path) == ["SHA256SUMS.txt", "a.dat"]
    server.files["p%201/b.dat"], server.asked = b"b" * 99, []
    assert len(fetch(spec, tmp_path, way())) == 2
    assert [path for path, _ in server.asked] == ["p%201/b.dat"]


def test_a_list_of_the_older_md5_checks_as_well(server, tmp_path):
    server.files = {"a.tar.gz": tarred(("a.txt", b"a", {})), "b.tar.gz": b""}
    right = hashlib.md5(server.files["a.tar.gz"]).hexdigest()
    server.files["MD5SUMS"] = f"{'0' * 32}  a.tar.gz\n{'0' * 32}  b.tar.gz\n".encode()
    spec = original(server, files=(), sums="MD5SUMS", wanted=r"a.*\.gz", archive="tar.gz")
    assert f"MD5 is {right}, but {'0' * 32} was published" in failure(fetch, spec, tmp_path, way())
    assert left(tmp_path) == ["MD5SUMS"]
    (tmp_path / "toy" / "MD5SUMS").write_text(f"{right}  a.tar.gz\n")
    assert "came the first time" in failure(fetch, spec, tmp_path, way())
    (tmp_path / "toy.lock").unlink()
    assert [path.name for path in fetch(spec, tmp_path, way())] == ["a.txt"]


def test_a_part_of_a_set_can_be_asked_for(server, tmp_path):
    server.files = {"SC4001E0-PSG.edf": b"1", "SC4011E0-PSG.edf": b"2"}
    server.files["SHA256SUMS.txt"] = sums(server.files)
    spec = original(server, files=(), sums="SHA256SUMS.txt", wanted=r".+\.edf")
    assert [path.name for path in fetch(spec, tmp_path, way(only="*SC400*"))] == [
        "SC4001E0-PSG.edf"
    ]
    with pytest.raises(
        SpecError, match=r"only=\*SC402\* fits no file of toy; there are SC4001E0-PSG.edf"
    ):
        fetch(spec, tmp_path, way(only="*SC402*"))


def test_a_list_of_checksums_that_is_none_or_leads_out_is_refused(tmp_path):
    path = tmp_path / "SHA256SUMS.txt"
    path.write_text("<html>please log in</html>")
    assert "is no list of checksums" in failure(read_sums, path, ".*")
    path.write_bytes(sums({"../../a": b""}))
    assert "would be written outside its folder" in failure(read_sums, path, ".*")


# ---- archives ----


def test_archives_are_unpacked_with_the_zips_inside_and_a_second_time_nothing_changes(
    server, tmp_path
):
    inner = zipped({"data/b.txt": b"b"})
    server.files["a.zip"] = zipped({"folder/": b"", "folder/a.txt": b"a", "folder/in.zip": inner})
    spec = original(server, files=(RemoteFile("a.zip"),), archive="zip")
    paths = fetch(spec, tmp_path, way())
    assert {path.relative_to(tmp_path / "toy").as_posix() for path in paths} == {
        "folder/a.txt",
        "folder/in.zip",
        "folder/data/b.txt",
    }
    before = {path: path.stat().st_mtime_ns for path in paths}
    assert fetch(spec, tmp_path, way()) == paths
    assert {path: path.stat().st_mtime_ns for path in paths} == before
    paths[0].unlink()
    fetch(spec, tmp_path, way())
    assert paths[0].exists()
    assert len(server.asked) == 1


def test_tar_archives_are_unpacked_too(server, tmp_path):
    server.files["a.tar.gz"] = tarred(
        ("x", b"", {"type": tarfile.DIRTYPE}), ("x/a.txt", b"a" * 10, {})
    )
    paths = fetch(
        original(server, files=(RemoteFile("a.tar.gz"),), archive="tar.gz"), tmp_path, way()
    )
    assert [path.read_bytes() for path in paths] == [b"a" * 10]


HOSTILE_ZIPS = {
    "up": zipped({"good.txt": b"g", "../evil.txt": b"e"}),
    "deep": zipped({"good.txt": b"g", "a/../../evil.txt": b"e"}),
    "absolute": zipped({"good.txt": b"g", "/tmp/evil.txt": b"e"}),
    "backslash": zipped({"good.txt": b"g", "..\\evil.txt": b"e"}),
    "drive": zipped({"good.txt": b"g", "C:/evil.txt": b"e"}),
    "link": zipped({"good.txt": b"g", "evil": b"/etc"}, {"evil": stat.S_IFLNK | 0o777}),
    "folder": zipped({"good.txt": b"g", "../evil/": b""}),
}
HOSTILE_TARS = {
    "up": tarred(("good.txt", b"g", {}), ("../evil.txt", b"e", {})),
    "absolute": tarred(("good.txt", b"g", {}), ("/tmp/evil.txt", b"e", {})),
    "link": tarred(
        ("good.txt", b"g", {}), ("evil", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc"})
    ),
    "hard link": tarred(
        ("good.txt", b"g", {}), ("evil", b"", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"})
    ),
    "device": tarred(("good.txt", b"g", {}), ("evil", b"", {"type": tarfile.CHRTYPE})),
    "pipe": tarred(("good.txt", b"g", {}), ("evil", b"", {"type": tarfile.FIFOTYPE})),
}


@pytest.mark.parametrize("kind", HOSTILE_ZIPS)
def test_a_zip_that_would_write_outside_its_folder_is_refused_whole(tmp_path, kind):
    archive = tmp_path / "in" / "a.zip"
    archive.parent.mkdir()
    archive.write_bytes(HOSTILE_ZIPS[kind])
    assert re.search(
        r"its member .*evil.* (would be written outside|is a link)",
        failure(unpack, archive, archive.parent),
    )
    assert left(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("kind", HOSTILE_TARS)
def test_a_tar_that_would_write_outside_its_folder_is_refused_whole(tmp_path, kind):
    archive = tmp_path / "in" / "a.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes(HOSTILE_TARS[kind])
    assert re.search(
        r"its member .*evil.* (would be written outside|is a link)",
        failure(unpack, archive, archive.parent),
    )
    assert left(tmp_path) == ["a.tar.gz"]


def test_a_page_in_place_of_an_archive_is_refused_and_a_damaged_archive_too(server, tmp_path):
    server.files["a.zip"] = b"<!DOCTYPE html><html>are you human?</html>"
    spec = original(server, files=(RemoteFile("a.zip"),), archive="zip")
    assert "sent no zip archive but b'<!DOCTYPE html>'…, perhaps a page for people" in failure(
        fetch, spec, tmp_path, way()
    )
    assert left(tmp_path) == []
    body = bytearray(zipped({"a.txt": BODY[:5000]}))
    body[1000] ^= 255
    server.files["a.zip"] = bytes(body)
    assert "cannot be unpacked" in failure(fetch, spec, tmp_path, way())
    assert left(tmp_path) == ["a.zip"]


def test_an_archive_put_there_by_hand_is_unpacked_without_a_network(server, tmp_path):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "a.zip").write_bytes(zipped({"a.txt": b"a"}))
    fetch(original(server, files=(RemoteFile("a.zip"),), archive="zip"), tmp_path, way())
    assert server.asked == []
    assert left(tmp_path) == ["a.txt", "a.zip"]


# ---- the command ----


def test_the_command_fetches_what_the_source_then_reads(server, tmp_path, capsys, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    made = published.emgdb(home)
    known = originals()["emgdb"]
    server.files = {path.name: path.read_bytes() for path in home.iterdir()}
    files = tuple(RemoteFile(name, sha256(body)) for name, body in sorted(server.files.items()))
    monkeypatch.setattr(
        "citrus_ray.data.sources.emgdb.ORIGINAL",
        Original("emgdb", "https://nowhere.invalid/", files),
    )
    assert [file.path for file in files] == [file.path for file in known.files]
    command = ["fetch", "emgdb", "--root", str(tmp_path / "data"), "--url", server.url]
    command.append("--plain-http")
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "emgdb: 6 files" in said
    assert f"read it as {{kind: emgdb, root: {tmp_path / 'data' / 'emgdb'}}}" in said
    fetched = EmgDb(**(made.model_dump() | {"root": str(tmp_path / "data" / "emgdb")}))
    assert fetched.digest() == made.digest()
    asked = len(server.asked)
    assert main(command) == 0
    assert len(server.asked) == asked


# ---- what every source then reads ----


def eegmat(root: Path) -> Source:
    """Two people at rest and at sums, in files that are called so."""
    for name in ("Subject00_1", "Subject00_2", "Subject01_1", "Subject01_2"):
        x = np.random.default_rng(len(name)).normal(size=(2, 1000)).astype(np.float32)
        write_edf(root / f"{name}.edf", x, 125.0, ["EEG Fp1", "ECG ECG"])
    return source_of(parse_yaml(originals()["eegmat"].block(str(root))).tree)


MADE: dict[str, Callable[[Path], Source]] = {
    "bidmc": layouts.bidmc,
    "bonn": published.bonn,
    "eegmat": eegmat,
    "emgdb": lambda root: published.emgdb(root, (16, 16, 16), 1500),
    "haxby": layouts.haxby,
    "mitbih": published.mitbih,
    "ptb": published.ptb,
    "sleep_edf": published.sleep_edf,
    "uci_har": layouts.uci_har,
    "uwave": layouts.uwave,
}


def packed(name: str, files: dict[str, bytes]) -> dict[str, bytes]:
    """What the home of a set serves, of the files that its source reads."""
    if name == "bonn":
        folders = {path.split("/")[0] for path in files}
        return {
            f"{f}.zip": zipped({k: v for k, v in files.items() if k.startswith(f)}) for f in folders
        }
    if name == "uci_har":
        return {originals()[name].files[0].path: zipped({"UCI HAR Dataset.zip": zipped(files)})}
    if name == "uwave":
        return {originals()[name].files[0].path: zipped(files)}
    if name == "haxby":
        members = [
            ("subj1", b"", {"type": tarfile.DIRTYPE}),
            *((path, body, {}) for path, body in files.items()),
        ]
        return {
            "subj1-2010.01.14.tar.gz": tarred(*members),
            "stimuli-2010.01.14.tar.gz": b"not wanted",
        }
    return files


@pytest.mark.parametrize("name", originals())
def test_what_is_fetched_is_what_the_source_reads(server, tmp_path, name):
    home = tmp_path / "home"
    home.mkdir()
    made, known = MADE[name](home), originals()[name]
    server.files = packed(
        name,
        {p.relative_to(home).as_posix(): p.read_bytes() for p in home.rglob("*") if p.is_file()},
    )
    if known.sums == "MD5SUMS":
        lines = [
            f"{hashlib.md5(body).hexdigest()}  {path}\n" for path, body in server.files.items()
        ]
        server.files["MD5SUMS"] = "".join(lines).encode()
    elif known.sums:
        server.files[known.sums] = sums(server.files)
    # made up, so of other checksums
    loose = replace(known, files=tuple(RemoteFile(file.path) for file in known.files))
    assert fetch(loose, tmp_path, way(bases=(server.url,)))
    folder = str(tmp_path / name)
    reader = source_of(parse_yaml(known.block(folder)).tree)
    reader.check()
    fetched = made.at({"root": folder})
    assert type(fetched) is type(reader)
    assert fetched.digest() == made.digest()
    assert np.array_equal(fetched.prepare().x, made.prepare().x)


def test_a_set_can_be_fetched_by_the_kind_that_reads_it(server, tmp_path, capsys):
    server.files["MD5SUMS"] = f"{'0' * 32}  subj1-2010.01.14.tar.gz\n".encode()
    flags = ["--root", str(tmp_path), "--url", server.url, "--plain-http"]
    assert main(["fetch", "fmri", *flags]) == 1
    assert "subj1-2010.01.14.tar.gz: the server says 404" in capsys.readouterr().err


def test_exit_codes_tell_a_wrong_request_from_a_failed_one(server, tmp_path, capsys):
    assert main(["fetch", "nothing", "--root", str(tmp_path)]) == 2
    assert re.search(
        "there is no set nothing to fetch; there are .*bonn, eegmat, emgdb", capsys.readouterr().err
    )
    flags = ["--root", str(tmp_path), "--url", server.url]
    assert main(["fetch", "emgdb", *flags]) == 2
    assert "is no https address" in capsys.readouterr().err
    assert main(["fetch", "emgdb", *flags, "--plain-http"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: http://127.0.0.1")
    assert said.count("\n") == 1
    with pytest.raises(SystemExit) as caught:
        main(["fech"])
    assert caught.value.code == 2


def test_every_original_says_where_it_is_from_and_what_may_be_done_with_it():
    for found in originals().values():
        assert found.base_url.startswith("https://")
        assert found.base_url.endswith("/")
        assert found.licence
        assert HOLDS.fullmatch(found.holds)
        assert found.citation
        assert bool(found.files) != bool(found.sums)
        re.compile(found.wanted)


def test_describe_is_handed_on(monkeypatch):
    module = types.ModuleType("citrus_ray.data.tools.describe")
    monkeypatch.setattr(module, "main_describe", len, raising=False)
    monkeypatch.setitem(sys.modules, "citrus_ray.data.tools.describe", module)
    assert main(["describe", "emgdb", "--all"]) == 2
    assert main(["describe", "a", "b", "c"]) == 3


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_says_how_much_how_fast_and_how_long(monkeypatch):
    clock = iter([0.0, 10.0, 20.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    out = Terminal()
    line = FetchLine(out)
    for done in (0, 10_000_000, 48_000_000):
        line("a.edf", done, 48_000_000)
    assert "a.edf 10.0 of 48.0 MB, 1.0 MB/s, 0:38 left" in out.getvalue()
    assert out.getvalue().endswith("a.edf 48.0 of 48.0 MB, 2.4 MB/s\n")
    log = io.StringIO()
    monkeypatch.setattr("time.monotonic", lambda: 1.0)
    quiet = FetchLine(log)
    for done in (1, 5, 10):
        quiet("a", done, 10)
    assert log.getvalue().count("\n") == 1


def test_files_are_readable_by_others(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"a.txt": b"a"}))
    [path] = unpack(tmp_path / "a.zip", tmp_path)
    assert os.stat(path).st_mode & 0o044 == 0o044
