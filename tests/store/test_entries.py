"""An entry is there as a whole or not at all, wherever the store is."""

import pytest

from citrus_ray.spec import SpecError
from citrus_ray.store import Storage, entries
from citrus_ray.store.entries import CheckpointError


def names(store: Storage) -> list[str]:
    return [file.name for file in store.list("d")]


def test_an_entry_comes_back(store):
    entries.write(store, "d", b"weights", {"history": []})
    assert entries.exists(store, "d")
    meta = entries.read_meta(store, "d")
    assert entries.read_weights(store, "d", meta) == b"weights"
    assert meta["digest"] == "d"
    entries.verify(store, "d")


def test_an_entry_whose_writer_dies_before_the_end_does_not_exist(store, monkeypatch):
    real = type(store).write

    def dying(self: Storage, path: str, content: bytes) -> None:
        if path.endswith("meta.json"):
            raise OSError("killed")
        real(self, path, content)

    monkeypatch.setattr(type(store), "write", dying)
    with pytest.raises(OSError, match="killed"):
        entries.write(store, "d", b"weights", {})
    assert not entries.exists(store, "d")
    monkeypatch.undo()
    entries.write(store, "d", b"weights", {})
    entries.verify(store, "d")
    assert len(names(store)) == 2


def test_the_second_writer_changes_nothing(store):
    entries.write(store, "d", b"first", {"writer": 1})
    before = names(store)
    entries.write(store, "d", b"second", {"writer": 2})
    assert entries.read_meta(store, "d")["writer"] == 1
    assert names(store) == before


def weights_name(store: Storage) -> str:
    return entries.weights_path(entries.read_meta(store, "d"), "d")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda store: store.write(weights_name(store), b"weighty"), "its checksum is"),
        (lambda store: store.write(weights_name(store), b"weigh"), "its checksum is"),
        (lambda store: store.delete(weights_name(store)), "its weights are gone"),
        (lambda store: store.write("d/meta.json", b"{"), "its meta.json cannot be read"),
        (lambda store: store.write("d/meta.json", b"[]"), "its meta.json cannot be read"),
        (
            lambda store: store.write("d/meta.json", b"{}"),
            "its weights are gone|its meta.json cannot be read",
        ),
    ],
)
def test_whatever_is_wrong_with_an_entry_is_found_and_named(store, harm, says):
    entries.write(store, "d", b"weights", {})
    harm(store)
    with pytest.raises(CheckpointError, match=says) as caught:
        entries.verify(store, "d")
    assert f"{store.name}/d" in str(caught.value)
    assert "delete the folder" in str(caught.value)


def test_a_beginning_stands_for_the_one_digest_that_has_it(store):
    for digest in ("abc1", "abd2", "abd"):
        entries.write(store, digest, b"", {})
    assert entries.resolve(store, "abc") == "abc1"
    assert entries.resolve(store, "abd") == "abd"  # whole, though another goes on from it
    with pytest.raises(SpecError, match="ab begins 3 digests: abc1, abd, abd2; give more"):
        entries.resolve(store, "ab")
    with pytest.raises(SpecError, match=r"no encoder x: .* holds 3 encoders"):
        entries.resolve(store, "x")


def test_an_edited_description_is_found_and_the_entry_set_aside(store):
    entries.write(store, "d", b"weights", {"history": [{"val/loss": 0.5}]})
    assert entries.is_whole(store, "d")
    path = f"d/{entries.META}"
    store.write(path, store.read(path).replace(b"0.5", b"0.1"))
    with pytest.raises(CheckpointError, match="cannot be read"):
        entries.read_meta(store, "d")
    with pytest.warns(UserWarning, match="computed again"):
        assert not entries.is_whole(store, "d")
    assert not entries.exists(store, "d")
    assert len(store.list(entries.ASIDE)) == 2
    entries.write(store, "d", b"weights", {"history": [{"val/loss": 0.5}]})
    assert entries.read_meta(store, "d")["history"] == [{"val/loss": 0.5}]


@pytest.mark.parametrize(
    "text", [b"[]", b"3", b'{"sha256": 1}', b'{"sha256": "a", "history": [{"x": "y"}]}', b"["]
)
def test_what_describes_no_encoder_is_none(store, text):
    store.write(f"d/{entries.META}", text)
    assert entries.read_meta_or_none(store, "d") is None
    with pytest.raises(CheckpointError, match="cannot be read"):
        entries.verify(store, "d")
