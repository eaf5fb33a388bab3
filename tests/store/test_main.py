"""The command line over a store."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from citrus_ray.store import checkpoint, entries, open_storage
from citrus_ray.store.__main__ import main
from citrus_ray.store.leases import Lease

META = {
    "pretrain": {
        "task": {"kind": "masked"},
        "source": {"kind": "files", "root": "$CITRUS_DATA/bonn5"},
        "seed": 0,
    },
    "model": {"kind": "conv", "dim": 8},
    "history": [
        {"epoch": 1.0, "train/loss": 0.9, "val/loss": 0.75},
        {"epoch": 2.0, "val/loss": 0.5},
    ],
    "commit": "c0ffee",
    "data_digest": "feed",
    "resumed": [{"epoch": 1, "commit": "c0ffee"}],
    "references": {"constant": 0.8, "linear": 0.6},
}
WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(2)}


@pytest.fixture(params=["folder", "URI"])
def place(request, tmp_path, monkeypatch) -> str:
    """Where a store of two encoders is, one of them used by two records; the working folder has
    results/."""
    where = str(tmp_path / "store") if request.param == "folder" else (tmp_path / "store").as_uri()
    for digest in ("abc1", "abd2"):
        checkpoint.save(where, digest, WEIGHTS, META)
    (tmp_path / "results" / "one" / "records").mkdir(parents=True)
    rows = [{"encoder": "abc1"}, {"encoder": None}, {"encoder": "abc1"}]
    records = tmp_path / "results" / "one" / "records" / "t.jsonl"
    records.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("CITRUS_STORE", where)
    monkeypatch.chdir(tmp_path)
    return where


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    return code, *capsys.readouterr()


def make_old(tmp_path: Path, hours: float = 3) -> None:
    for path in (tmp_path / "store").rglob("*"):
        os.utime(path, (time.time() - hours * 3600,) * 2)


def spoil(tmp_path: Path, digest: str) -> None:
    (path,) = (tmp_path / "store" / digest).glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"!")


@pytest.mark.usefixtures("place")
def test_a_list_has_a_row_for_every_encoder(capsys, tmp_path):
    make_old(tmp_path)
    code, out, err = call(capsys, "list")
    header, *rows = out.splitlines()
    assert (code, err) == (0, "")
    assert header.split() == [
        "digest",
        "task",
        "model",
        "source",
        "val",
        "loss",
        "size",
        "age",
        "records",
    ]
    assert [row.split()[:6] for row in rows] == [
        [d, "masked", "conv", "files", "bonn5", "0.5"] for d in ("abc1", "abd2")
    ]
    assert [row.split()[-3:] for row in rows] == [["3", "h", "2"], ["3", "h", "0"]]


@pytest.mark.usefixtures("place")
def test_a_list_tells_what_is_unfinished_and_what_cannot_be_read(capsys, tmp_path):
    open_storage(tmp_path / "store").write("beef/state.bin", b"1234")
    (tmp_path / "store" / "abd2" / "meta.json").write_text("{")
    code, out, _ = call(capsys, "list")
    assert code == 0
    assert "abd2    cannot be read" in out
    assert "beef  unfinished, its last state is kept, last written " in out
    assert "4 B" in out


@pytest.mark.usefixtures("place")
def test_a_list_without_readable_records_says_so_and_shows_the_rest(capsys, tmp_path):
    (tmp_path / "results" / "one" / "records" / "bad.jsonl").write_text("{")
    code, out, err = call(capsys, "list")
    assert code == 0
    assert out.splitlines()[1].endswith("?")
    assert "uses are not counted" in err
    assert "bad.jsonl" in err


@pytest.mark.usefixtures("place")
def test_show_tells_lineage_and_every_epoch(capsys):
    code, out, _ = call(capsys, "show", "abc")
    assert code == 0
    for text in (
        "digest       abc1",
        "commit       c0ffee",
        "data_digest  feed",
        "records      2",
        "kind: masked",
    ):
        assert text in out
    assert "root: $CITRUS_DATA/bonn5" in out
    assert "resumed:" in out
    assert "references:\n  constant: 0.8\n  linear: 0.6\n" in out
    assert [line.split() for line in out.splitlines()[-3:]] == [
        ["epoch", "train/loss", "val/loss"],
        ["1", "0.9", "0.75"],
        ["2", "0.5"],
    ]


@pytest.mark.usefixtures("place")
def test_verify_names_the_bad_and_exits_with_1(capsys, tmp_path):
    code, out, err = call(capsys, "verify")
    assert (code, err) == (0, "")
    assert "2 of 2 encoders are what they were" in out
    spoil(tmp_path, "abd2")
    code, out, err = call(capsys, "verify")
    assert code == 1
    assert "1 of 2 encoders" in out
    assert "abd2: its checksum is" in err
    assert "abc1" not in err
    assert call(capsys, "verify", "abc")[0] == 0


@pytest.mark.usefixtures("place")
def test_verify_names_one_whose_description_is_broken(capsys, tmp_path):
    (tmp_path / "store" / "abc1" / "meta.json").write_text("{")
    code, _, err = call(capsys, "verify")
    assert code == 1
    assert "abc1: its meta.json cannot be read" in err


def stored(tmp_path: Path) -> set[str]:
    return {file.folder for file in open_storage(tmp_path / "store").list()}


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("flags", [[], ["--dry-run"]])
def test_prune_shows_first_and_deletes_nothing(capsys, tmp_path, flags):
    make_old(tmp_path)
    code, out, _ = call(capsys, "prune", *flags)
    assert code == 0
    assert "would go: abd2 (" in out
    assert "no record refers to it" in out
    assert "abc1" not in out
    assert "1 would go; nothing was deleted, --yes does it" in out
    assert stored(tmp_path) == {"abc1", "abd2"}


@pytest.mark.usefixtures("place")
def test_prune_deletes_what_no_record_refers_to(capsys, tmp_path):
    make_old(tmp_path)
    code, out, _ = call(capsys, "prune", "--yes")
    assert code == 0
    assert "deleted: abd2" in out
    assert stored(tmp_path) == {"abc1"}
    assert call(capsys, "verify")[0] == 0


@pytest.mark.usefixtures("place")
def test_prune_leaves_the_young_and_the_held(capsys, tmp_path):
    assert "0 deleted" in call(capsys, "prune", "--yes")[1]
    make_old(tmp_path)
    Lease(open_storage(tmp_path / "store"), "abd2", 10.0).beat()
    assert "0 deleted" in call(capsys, "prune", "--yes", "--min-age", "0")[1]
    assert stored(tmp_path) == {"abc1", "abd2"}


@pytest.mark.usefixtures("place")
def test_prune_refuses_where_it_would_only_seem_that_nothing_is_used(capsys, tmp_path):
    make_old(tmp_path)
    for flags in (
        ["--results", "elsewhere"],
        ["--results", "results", "--results", str(tmp_path / "store")],
    ):
        code, _, err = call(capsys, "prune", "--yes", "--min-age", "0", *flags)
        assert code == 2
        assert "must hold the records that say which encoders are used" in err
    (tmp_path / "results" / "one" / "records" / "bad.jsonl").write_text("{")
    assert call(capsys, "prune", "--yes")[0] == 2
    assert stored(tmp_path) == {"abc1", "abd2"}


@pytest.mark.usefixtures("place")
def test_an_exported_encoder_is_a_copy_that_safetensors_opens(capsys, tmp_path):
    code, out, _ = call(capsys, "export", "abd", "deep/copy")
    assert code == 0
    assert "abd2 in " in out
    found = safetensors.torch.load_file(tmp_path / "deep" / "copy" / "encoder.safetensors")
    assert all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)
    assert (
        json.loads((tmp_path / "deep" / "copy" / "meta.json").read_text())["history"]
        == META["history"]
    )
    assert os.listdir(tmp_path / "deep") == ["copy"]


@pytest.mark.usefixtures("place")
def test_an_export_that_fails_leaves_nothing(capsys, tmp_path, monkeypatch):
    spoil(tmp_path, "abd2")
    assert call(capsys, "export", "abd", "copy")[0] == 1
    monkeypatch.setattr(
        entries, "read_weights", lambda *args: b"x" if os.listdir(tmp_path) else b""
    )
    monkeypatch.setattr(os, "rename", lambda *args: (_ for _ in ()).throw(OSError("disk full")))
    code, _, err = call(capsys, "export", "abc", "copy")
    assert code == 1
    assert "disk full" in err
    assert sorted(os.listdir(tmp_path)) == ["results", "store"]


@pytest.mark.usefixtures("place")
def test_an_export_overwrites_nothing(capsys, tmp_path):
    (tmp_path / "copy").mkdir()
    code, _, err = call(capsys, "export", "abc", "copy")
    assert code == 2
    assert "is there already" in err


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["show", "ab"], "ab begins 2 digests: abc1, abd2"),
        (["show", "x"], "no encoder x: "),
        (["verify", "x"], "no encoder x: "),
        (["export", "x", "copy"], "no encoder x: "),
        (["list", "--store", "nowhere"], "there is no store "),
        (["list", "--store", "nonsense://x"], "cannot be opened"),
    ],
)
def test_what_makes_no_sense_is_one_clear_line_and_exit_2(capsys, words, says):
    code, out, err = call(capsys, *words)
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1


def test_help_tells_every_command_and_exit_code():
    done = subprocess.run(
        [sys.executable, "-m", "citrus_ray.store", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    for word in (
        "list",
        "show",
        "verify",
        "prune",
        "export",
        "0 done",
        "1 an encoder",
        "2 what was asked",
    ):
        assert word in done.stdout
