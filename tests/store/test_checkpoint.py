"""Stored encoders: read back as they were, or refused."""

import json

import pytest
import torch

from citrus_ray.context import SignalContext
from citrus_ray.store import Storage, checkpoint, entries
from citrus_ray.store.checkpoint import CheckpointError
from citrus_ray.training.loading import load_encoder
from tests.small import MODEL

CTX = SignalContext(2, 64, 50.0)


def weights(seed: int = 0) -> checkpoint.Weights:
    generator = torch.Generator().manual_seed(seed)
    return {
        "a.weight": torch.randn(3, 4, generator=generator),
        "b": torch.arange(3),
        "scalar": torch.tensor(2.0),
    }


def same(one: checkpoint.Weights, other: checkpoint.Weights) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[k], other[k]) and one[k].dtype == other[k].dtype for k in one
    )


def test_weights_and_what_they_are_come_back(tmp_path):
    assert not checkpoint.exists(tmp_path, "d")
    checkpoint.save(tmp_path, "d", weights(), {"history": [{"loss": 0.5}]})
    assert checkpoint.exists(tmp_path, "d")
    assert same(checkpoint.load(tmp_path, "d"), weights())
    meta = checkpoint.read_meta(tmp_path, "d")
    assert meta["history"] == [{"loss": 0.5}]
    assert meta["digest"] == "d"
    assert len(meta["sha256"]) == 64


def test_weights_that_are_views_or_need_gradients_are_stored_too(tmp_path):
    table = torch.randn(4, 6, requires_grad=True)
    checkpoint.save(tmp_path, "d", {"t": table.t(), "row": table[1]}, {})
    assert same(checkpoint.load(tmp_path, "d"), {"t": table.t().detach(), "row": table[1].detach()})


def test_a_changed_file_is_an_error_that_names_its_folder_and_the_way_out(tmp_path):
    checkpoint.save(tmp_path, "d", weights(), {})
    (path,) = (tmp_path / "d").glob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="checksum") as caught:
        checkpoint.load(tmp_path, "d")
    assert str(tmp_path / "d") in str(caught.value)
    assert "delete the folder" in str(caught.value)


def test_the_second_writer_of_a_digest_changes_nothing(tmp_path):
    checkpoint.save(tmp_path, "d", weights(0), {"writer": 1})
    checkpoint.save(tmp_path, "d", weights(1), {"writer": 2})
    assert same(checkpoint.load(tmp_path, "d"), weights(0))
    assert checkpoint.read_meta(tmp_path, "d")["writer"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_two_writers_at_once_never_mix_their_weights(tmp_path, monkeypatch):
    """The second does all of its writing between the two files of the first; both had looked
    before."""
    real = Storage.write
    monkeypatch.setattr(entries, "exists", lambda *args: False)

    def overtaken(self: Storage, path: str, content: bytes) -> None:
        if path.endswith("meta.json"):
            monkeypatch.setattr(Storage, "write", real)
            checkpoint.save(tmp_path, "d", weights(1), {"writer": 1})
        real(self, path, content)

    monkeypatch.setattr(Storage, "write", overtaken)
    checkpoint.save(tmp_path, "d", weights(0), {"writer": 0})
    assert checkpoint.read_meta(tmp_path, "d")["writer"] == 0
    assert same(checkpoint.load(tmp_path, "d"), weights(0))


def test_a_remote_encoder_is_read_once_and_the_copy_is_checked(tmp_path, monkeypatch):
    checkpoint.save("mock:///near", "d", weights(), {})
    assert same(checkpoint.load("mock:///near", "d", tmp_path), weights())
    (copy,) = tmp_path.iterdir()
    copy.write_bytes(copy.read_bytes()[:-1])
    assert same(checkpoint.load("mock:///near", "d", tmp_path), weights())
    monkeypatch.setattr(entries, "read_weights", lambda *args: pytest.fail("read twice"))
    assert same(checkpoint.load("mock:///near", "d", tmp_path), weights())


def test_a_local_encoder_is_not_copied(tmp_path):
    checkpoint.save(tmp_path / "store", "d", weights(), {})
    checkpoint.load(tmp_path / "store", "d", tmp_path / "near")
    assert not (tmp_path / "near").exists()


def test_an_encoder_stored_under_the_earlier_name_is_still_read(tmp_path):
    checkpoint.save(tmp_path, "d", weights(), {})
    (path,) = (tmp_path / "d").glob("*.safetensors")
    path.rename(path.with_name("encoder.safetensors"))
    meta = checkpoint.read_meta(tmp_path, "d")
    del meta["weights"]
    (tmp_path / "d" / "meta.json").write_text(json.dumps(meta))
    assert same(checkpoint.load(tmp_path, "d"), weights())


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(json, "dumps", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        checkpoint.save(tmp_path, "d", weights(), {})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_its_meta_is_not_there_and_is_written_anew(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "encoder.safetensors").write_bytes(b"half")
    assert not checkpoint.exists(tmp_path, "d")
    checkpoint.save(tmp_path, "d", weights(), {})
    assert same(checkpoint.load(tmp_path, "d"), weights())


# ---- into an encoder ----


def test_a_whole_encoder_is_loaded():
    one, other = MODEL.build(CTX), MODEL.build(CTX)
    assert load_encoder(other, other, one.state_dict()) == {}
    assert same(one.state_dict(), other.state_dict())


@pytest.mark.parametrize("how", ["missing", "unexpected", "other shape"])
def test_an_encoder_that_would_be_loaded_in_part_is_refused_by_name_and_left_alone(how):
    encoder, stored = MODEL.build(CTX), dict(MODEL.build(CTX).state_dict())
    name = next(iter(stored))
    changed = {
        "missing": {k: v for k, v in stored.items() if k != name},
        "unexpected": stored | {"extra.weight": torch.zeros(1)},
        "other shape": stored | {name: torch.zeros(1, 1)},
    }[how]
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_encoder(encoder, encoder, changed)
    reason = {
        "missing": f"{name}: not in the stored weights",
        "unexpected": "extra.weight: in the stored weights alone",
        "other shape": f"{name}: stored as (1, 1), the model has {tuple(stored[name].shape)}",
    }[how]
    assert reason in str(caught.value)
    assert "1 of" in str(caught.value)
    assert same(encoder.state_dict(), before)
