"""Servers, lists and archives that lie bring one printable line, or the right file; never another
file under its name, and never a traceback."""

import os
import shutil
import ssl
import subprocess
import time
from email.message import Message
from io import BytesIO
from pathlib import Path
from urllib.request import Request

import pytest

from citrus_ray.data.originals import Original, RemoteFile
from citrus_ray.data.tools import unpack
from citrus_ray.data.tools.fetch import ContradictionError, FetchOptions, _Followed, fetch
from citrus_ray.data.tools.unpack import FetchError
from citrus_ray.spec import SpecError
from tests.data import hostile
from tests.data.hostile import BODY, PINNED, UNKNOWN, of_archive, of_list, of_server, outcome


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.parametrize("resumed", [False, True], ids=["new", "resumed"])
@pytest.mark.parametrize("name", hostile.SERVERS)
def test_a_server_that_lies_is_one_line_or_the_right_file(
    tmp_path: Path, name: str, resumed: bool
) -> None:
    found = of_server(name, tmp_path, resumed)
    assert found.is_right != bool(found.said)
    assert not found.files
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.part")]
    assert sum(sizes) <= len(BODY)


@pytest.mark.parametrize("name", hostile.LISTS)
def test_a_list_that_lies_is_one_line(tmp_path: Path, name: str) -> None:
    found = of_list(name, tmp_path)
    assert found.said
    assert not found.is_right
    assert set(found.files) <= {"toy/SUMS"}


@pytest.mark.parametrize("name", [*hostile.ZIPS, *hostile.TARS])
def test_an_archive_that_lies_is_one_line_and_leaves_nothing_of_it(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "SMALL", 2 << 20)
    found = of_archive(name, tmp_path)
    assert found.said
    assert not [path for path in found.files if "evil" in path]
    assert sum(map(len, found.files.values())) < 4 << 20
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


@pytest.mark.parametrize("url", hostile.ADDRESSES)
def test_an_address_that_is_not_a_folder_behind_https_is_refused(tmp_path: Path, url: str) -> None:
    original = Original("toy", "https://example.org/", (UNKNOWN,))
    with pytest.raises(SpecError) as caught:
        fetch(original, tmp_path, FetchOptions(bases=(url,)))
    assert str(caught.value).startswith("--url: ")
    assert "hush" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("to", ["http://example.org/a", "HTTP://example.org/a", "ftp://h/a"])
def test_a_redirect_away_from_https_is_not_followed(to: str) -> None:
    follow = _Followed(FetchOptions()).redirect_request
    request = Request("https://example.org/a.dat")
    with pytest.raises(ContradictionError, match="which is no https address"):
        follow(request, BytesIO(), 302, "Found", Message(), to)
    assert follow(request, BytesIO(), 302, "Found", Message(), "https://example.org/b") is not None


def test_a_server_that_drips_is_given_up(tmp_path: Path) -> None:
    def drips(path: str, start: int):
        yield hostile.OK + f"Content-Length: {len(BODY)}\r\n\r\n".encode()
        while True:
            time.sleep(0.02)
            yield b"x"

    began = time.monotonic()
    with hostile.serving(drips) as url:
        found = outcome(tmp_path, url, Original("toy", url, (PINNED,)), timeout_s=0.06)
    assert "bytes in 0 s" in found.said
    assert time.monotonic() - began < 3


def test_a_certificate_that_no_one_vouches_for_ends_it(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    call = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    call += ["-nodes", "-days", "1", "-subj", "/CN=127.0.0.1", "-keyout", str(key)]
    subprocess.run([*call, "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with hostile.serving(hostile.sized(BODY), context) as url:
        found = outcome(tmp_path / "data", url, Original("toy", url, (PINNED,)), plain_http=False)
    assert "CERTIFICATE_VERIFY_FAILED" in found.said
    assert not found.is_right


# ---- what lies there ----


def test_what_came_first_is_what_comes_later(tmp_path: Path) -> None:
    original = Original("toy", "", (UNKNOWN,))
    with hostile.serving(hostile.sized(BODY)) as url:
        assert outcome(tmp_path, url, original).is_right
    lock = (tmp_path / "toy.lock").read_text().splitlines()
    assert lock[-1] == f"{hostile.SHA256}  {len(BODY)}  a.dat"
    shutil.rmtree(tmp_path / "toy")
    for other in (BODY[:-1] + b"?", BODY + b"?"):
        with hostile.serving(hostile.sized(other)) as url:
            found = outcome(tmp_path, url, original)
        assert "came the first time" in found.said or "were published" in found.said
        assert not found.is_right
    (tmp_path / "toy" / "a.dat").write_bytes(BODY[:-1] + b"?")  # changed on this disk
    assert "came the first time" in outcome(tmp_path, "http://127.0.0.1:9/", original).said
    (tmp_path / "toy" / "a.dat").unlink()
    with hostile.serving(hostile.sized(BODY)) as url:
        assert outcome(tmp_path, url, original).is_right


@pytest.mark.parametrize(
    "text", ["nonsense\n", f"{'0' * 64}  5  a.dat\n" * 2, f"{'0' * 63}  5  a.dat\n", "\0\n"]
)
def test_a_damaged_memory_of_what_came_first_is_named_by_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "toy.lock").write_text(f"# as before\n{text}")
    found = outcome(tmp_path, "http://127.0.0.1:9/", Original("toy", "", (UNKNOWN,)))
    assert "toy.lock: line " in found.said


def test_what_is_published_needs_no_memory(tmp_path: Path) -> None:
    with hostile.serving(hostile.sized(BODY)) as url:
        assert outcome(tmp_path, url, Original("toy", "", (PINNED,))).is_right
    assert not (tmp_path / "toy.lock").exists()


def test_links_that_lie_there_are_not_followed(tmp_path: Path) -> None:
    (away := tmp_path / "away").mkdir()
    (root := tmp_path / "data").mkdir()
    (root / "toy").mkdir()
    (root / "toy" / "a.dat.part").symlink_to(away / "key")
    with hostile.serving(hostile.sized(BODY)) as url:
        found = outcome(root, url, Original("toy", "", (PINNED,)))
    assert "is a link" in found.said
    (root / "toy" / "x").symlink_to(away)
    with hostile.serving(hostile.sized(hostile.zipped({"x/evil.txt": b"e"}))) as url:
        files = (RemoteFile("a.zip"),)
        found = outcome(root, url, Original("toy", "", files, archive="zip"))
    assert "through a link that is there" in found.said
    assert list(away.iterdir()) == []


def test_a_full_disk_is_not_blamed_on_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10_000})())
    with hostile.serving(hostile.sized(BODY)) as url:
        found = outcome(tmp_path, url, Original("toy", "", (PINNED,)))
    assert "10,240 bytes are to come, 10,000 free; make room" in found.said


def test_a_member_that_changed_on_the_disk_is_unpacked_again(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(hostile.zipped({"x.txt": b"right"}))
    (tmp_path / "x.txt").write_bytes(b"wrong")
    unpack.unpack(tmp_path / "a.zip", tmp_path)
    assert (tmp_path / "x.txt").read_bytes() == b"right"


def test_what_is_unpacked_is_for_whom_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        (tmp_path / "a.zip").write_bytes(hostile.zipped({"x/y.txt": b"right"}))
        unpack.unpack(tmp_path / "a.zip", tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "x" / "y.txt").stat().st_mode & 0o777 == 0o600


def test_an_error_is_one_printable_line_without_secrets() -> None:
    said = str(FetchError("https://me:word@h/a?token=b: \x1b[2J\nand more"))
    assert said == "https://***@h/a?token=***: ?[2J and more"
