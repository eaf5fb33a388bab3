"""The same few promises on every kind of storage."""

import os
import time

import pytest
from pyarrow import fs

from citrus_ray.spec import SpecError
from citrus_ray.store import Storage, absolute, default_store, open_storage


def paths(store: Storage, folder: str = "") -> list[str]:
    return [file.path for file in store.list(folder)]


def test_what_is_written_is_read_and_listed(store):
    store.write("a/one.json", b"1")
    store.write("a/two.bin", b"22")
    store.write("top", b"")
    assert store.read("a/two.bin") == b"22"
    assert store.exists("a/one.json")
    assert not store.exists("a")
    assert paths(store) == ["a/one.json", "a/two.bin", "top"]
    assert paths(store, "a") == ["a/one.json", "a/two.bin"]
    assert [file.size for file in store.list()] == [1, 2, 0]
    assert [(file.folder, file.name) for file in store.list()] == [
        ("a", "one.json"),
        ("a", "two.bin"),
        ("", "top"),
    ]
    assert all(abs(file.modified - time.time()) < 60 for file in store.list())


def test_writing_again_replaces(store):
    store.write("a/one", b"first")
    store.write("a/one", b"2nd")
    assert store.read("a/one") == b"2nd"
    assert paths(store) == ["a/one"]


def test_a_store_that_is_not_there_is_empty(store):
    assert store.list() == store.list("a") == []
    assert not store.exists("a/one")
    with pytest.raises(FileNotFoundError):
        store.read("a/one")


def test_deleting_twice_is_deleting_once(store):
    for name in ("a/one", "a/two", "b/one"):
        store.write(name, b"x")
    for _ in range(2):
        store.delete("b/one")
        store.delete_folder("a")
    assert paths(store) == []


def test_the_checksum_is_sha256(store):
    store.write("a", b"abc")
    assert store.checksum("a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_trying_a_store_leaves_nothing(store):
    store.check_writable()
    assert store.list() == []


def test_a_write_that_breaks_off_shows_nothing(tmp_path, monkeypatch):
    (tmp_path / "store").mkdir()
    store = Storage(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "store", "renaming")
    store.write("one", b"before")

    def half(path: str, content: bytes) -> None:
        (tmp_path / path).write_bytes(content[:2])
        raise OSError("the line went dead")

    monkeypatch.setattr(store, "_stream", half)
    with pytest.raises(OSError, match="went dead"):
        store.write("one", b"after")
    assert store.read("one") == b"before"


def test_a_store_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(
        SpecError, match=r"taken/store: cannot be written: .*set \$CITRUS_STORE to one that can"
    ):
        open_storage(tmp_path / "taken" / "store").check_writable()


@pytest.mark.parametrize("uri", ["nonsense://bucket/x", "file://relative/x"])
def test_a_uri_that_nothing_opens_is_one_clear_error(uri):
    with pytest.raises(
        SpecError, match=r"cannot be opened: .*; set \$CITRUS_STORE to a folder or to a URI"
    ):
        open_storage(uri)


def test_the_store_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("CITRUS_STORE", "s3://bucket/store")
    assert default_store() == absolute(default_store()) == "s3://bucket/store"
    monkeypatch.delenv("CITRUS_STORE")
    monkeypatch.chdir(tmp_path)
    assert default_store() == "results/store"
    assert absolute(default_store()) == os.path.join(tmp_path, "results", "store")
