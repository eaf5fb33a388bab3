"""`citrus init`: folders of different shapes, each to a spec that runs as it was written."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray.cli.citrus import main as citrus
from citrus_ray.cli.init import FirstSweep, main, propose, sweep_text
from citrus_ray.data.tools.export import write, write_edf
from citrus_ray.experiment.sweep import Sweep, parse_sweep
from citrus_ray.spec import SpecError, parse_yaml
from tests.data import test_bids

SFREQ, SECONDS, N = 100.0, 24, 8


def signals(person: int, n_chans: int = 2, seconds: float = SECONDS) -> np.ndarray:
    """(C, T): rest in the first half, 20 Hz in the second."""
    rng = np.random.default_rng(person)
    t = np.arange(round(seconds * SFREQ)) / SFREQ
    beat = 3 * np.sin(2 * np.pi * 20 * t) * (t >= seconds / 2)
    x: np.ndarray = (rng.normal(size=(n_chans, len(t))) + beat).astype(np.float32)
    return x


def edf_and_csv(root: Path) -> None:
    """EDF files in one folder, and a table whose columns are not called as ours."""
    rows = ["recording;condition;onset;duration;participant"]
    for p in range(N):
        write_edf(root / "eeg" / f"rec{p:02}.edf", signals(p), SFREQ, ["Fz", "Cz"])
        rows += [f"rec{p:02}.edf;rest;0;12,0;P{p}", f"rec{p:02}.edf;move;12;12,0;P{p}"]
    (root / "notes.csv").write_text("\n".join(rows) + "\n")
    (root / "ages.csv").write_text("who,age\nP0,20\nP1,31\n")


def wfdb_records(root: Path) -> None:
    """WFDB records of people by folder, and a table as ours."""
    rows = ["file,start_s,stop_s,label,group"]
    for p in range(N):
        write(root / f"p{p:02}" / f"r{p:02}.hea", signals(p), SFREQ, ["II", "V1"], ["ecg"] * 2)
        rows += [f"r{p:02},0,12,calm,p{p:02}", f"r{p:02},12,24,fast,p{p:02}"]
    (root / "labels.csv").write_text("\n".join(rows) + "\n")


def npz_by_name(root: Path) -> None:
    """npz files whose names say who and what, each a recording."""
    for p in range(N):
        for label, x in zip(("rest", "move"), np.split(signals(p), 2, axis=1), strict=True):
            write(root / f"s{p:02}_{label}.npz", x, SFREQ, ["Fz", "Cz"], ["eeg"] * 2)


def tables_by_subject(root: Path) -> None:
    """A folder per subject of CSV tables with a column of times and one of activities."""
    for p in range(N):
        x = signals(p, 3)
        t = np.arange(x.shape[1]) / SFREQ
        rows = [
            f"{s:.2f},{a:.4f},{b:.4f},{c:.4f},{'sit' if s < 12 else 'walk'}"
            for s, a, b, c in zip(t, *x, strict=True)
        ]
        path = root / f"subject{p}" / "watch.csv"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(["time,acc_x,acc_y,acc_z,activity", *rows]) + "\n")


def bids(root: Path) -> None:
    test_bids.folder(root)


FOLDERS: dict[str, Callable[[Path], None]] = {
    f.__name__: f for f in (edf_and_csv, wfdb_records, npz_by_name, tables_by_subject, bids)
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("init")


@pytest.fixture
def made(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """The folder of a name, made once."""
    monkeypatch.setenv("CITRUS_CACHE", str(home / "cache"))
    monkeypatch.chdir(home)

    def at(name: str) -> Path:
        if not (home / name).is_dir():
            (home / name).mkdir()
            FOLDERS[name](home / name)
        return home / name

    return at


def proposed(root: Path) -> tuple[FirstSweep, Sweep]:
    out = Path(f"{root.name}.yaml")
    first = propose(root, root.name, out)
    text, problem = sweep_text(first, out)
    assert not problem
    return first, parse_sweep(parse_yaml(text, str(out)))


@pytest.mark.parametrize("name", FOLDERS)
def test_a_spec_that_runs_is_proposed_for_folders_of_every_shape(made, name):
    """`sweep_text` has asked for everything that a plan checks: files, labels, splits, sizes."""
    first, sweep = proposed(made(name))
    windows = first.windows
    assert windows
    assert len(windows.groups) == N
    assert len(windows.classes) == 2
    counts = windows.class_counts().values()
    assert max(counts) == min(counts)
    assert [cell.label for cell in sweep.cells] == ["from scratch", "masked"]
    target = sweep.cells[0].trial.finetune.target
    assert np.array_equal(target.prepare().x, windows.x)


def said(first: FirstSweep) -> str:
    return "\n".join([*first.found.facts, "?", *first.found.unknown])


def test_a_table_under_other_names_is_written_out_as_it_is_read(made):
    first, _ = proposed(made("edf_and_csv"))
    table = Path("edf_and_csv-labels.csv").read_text().splitlines()
    assert table[:3] == [
        "file,start_s,stop_s,label,group",
        "eeg/rec00.edf,0,12,rest,P0",
        "eeg/rec00.edf,12,24,move,P0",
    ]
    assert first.block["pattern"] == "eeg/*.edf"
    assert "label is condition, group is participant" in said(first)
    assert not (made("edf_and_csv") / "edf_and_csv-labels.csv").exists()  # nothing of theirs


def test_the_samples_of_wfdb_records_are_no_recordings_of_their_own(made):
    first, _ = proposed(made("wfdb_records"))
    assert first.block["pattern"] == "*/*.hea"
    assert (first.block["labels"], first.block["seconds"]) == ("labels.csv", 4.0)
    assert said(first).startswith("8 recordings (.hea)")


def test_names_say_who_and_what_and_that_is_said_to_be_unsure(made):
    first, _ = proposed(made("npz_by_name"))
    assert first.block["labels"] == "names"
    assert re.search(first.block["label_pattern"], "s03_move")[1] == "move"  # type: ignore[index]
    assert first.block["group_pattern"] == "(s[0-9]+)"
    found, _, unsure = said(first).partition("?")
    assert "8 groups" in found
    assert "whether these groups are people" in unsure
    assert "whether these words are what is to be predicted: move, rest" in unsure


def test_a_column_of_labels_is_found_and_is_no_channel(made):
    first, _ = proposed(made("tables_by_subject"))
    assert first.block["labels"] == {"column": "activity"}
    assert first.windows
    assert first.windows.ch_names == ("acc_x", "acc_y", "acc_z")
    root = made("tables_by_subject")
    numbers = root.with_name("numbers")
    for path in root.rglob("*.csv"):
        other = numbers / path.relative_to(root)
        other.parent.mkdir(parents=True)
        text = path.read_text().replace(",sit", ",0").replace(",walk", ",1")
        other.write_text(text.replace("activity", "state"))
    first, _ = proposed(numbers)
    assert first.block["labels"] == {"column": "state"}
    assert first.windows
    assert first.windows.ch_names == ("acc_x", "acc_y", "acc_z")


def test_what_cannot_be_read_or_told_is_listed(made, tmp_path):
    x = signals(0)
    for p in range(4):
        write(tmp_path / f"r{p}.npz", x, SFREQ, [f"c{p}", "both"], ["unknown"] * 2)
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    first = propose(tmp_path, "x", Path("x.yaml"))
    text, problem = sweep_text(first, Path("x.yaml"))
    assert not problem
    assert first.block["channels"] == ["both"]
    assert "target: {kind: synthetic" in text
    found, _, unsure = said(first).partition("?")
    assert "left out, as not in all recordings: c0, c1, c2, c3" in found
    for words in ("how to read 1 of 5 files", "what both measure", "labels: there is no table"):
        assert words in unsure
        assert f"# Unsure:  {words}" in text


def test_people_are_too_few_to_split_and_rare_classes_are_left_out(made, tmp_path):
    rows = ["file,start_s,stop_s,label,group"]
    for p in range(2):
        write(tmp_path / f"r{p}.npz", signals(p), SFREQ, ["Fz", "Cz"], ["eeg"] * 2)
        rows += [f"r{p},{t},{t + 2},{('a', 'b')[t // 2 % 2]},g{p}" for t in range(0, 22, 2)]
    rows.append("r0,22,24,odd,g0")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    first = propose(tmp_path, "x", Path("x.yaml"))
    assert first.block["group_blocks"] == 4
    assert first.block["classes"] == ["a", "b"]
    assert "odd is left out, being in too few groups to split" in first.notes


def test_labels_that_cannot_be_split_are_not_used_and_that_is_said(made, tmp_path):
    rows = ["file,label,group"]
    for p in range(N):
        write(tmp_path / f"r{p}.npz", signals(p), SFREQ, ["Fz", "Cz"], ["eeg"] * 2)
        rows.append(f"r{p},{'ill' if p == 0 else 'well'},g{p}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    first = propose(tmp_path, "x", Path("x.yaml"))
    assert "labels" not in first.block
    assert "labels that a sweep can use: no two classes can be split by people" in said(first)
    assert not sweep_text(first, Path("x.yaml"))[1]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "is empty; point to the folder of the recordings"),
        ({"a.docx": b"x"}, "holds no recording of a known format, only .docx"),
        ({"a.edf": b"x"}, "a.edf: "),
        ({"a.csv": b"x,y\n" + b"1,2\n" * 99}, "where its rows are at a rate"),
    ],
)
def test_a_folder_of_which_nothing_can_be_made_is_one_clear_error(
    files: dict[str, bytes], message: str, tmp_path: Path, capsys: Any, monkeypatch: Any
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name, body in files.items():
        (tmp_path / "in" / name).write_bytes(body)
    assert main(["in"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "in.yaml").exists()
    with pytest.raises(SpecError, match="there is no folder"):
        propose(tmp_path / "nowhere", "x", Path("x.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_the_command_writes_a_file_that_is_planned_unedited_and_replaces_none(made, name, capsys):
    root, out = made(name), Path(f"{name}.yaml")
    assert citrus(["init", str(root), "--out", str(out), "--force"]) == 0
    assert f"citrus run {out}" in capsys.readouterr().out
    costs = r"^# Costs:   about (\d+ minutes|a minute) of one core"
    assert re.search(costs, out.read_text(), re.MULTILINE)
    assert citrus(["run", str(out), "--dry-run", "--out", f"{name}-out"]) == 0
    assert "signals: finetune.target" in capsys.readouterr().out
    assert citrus(["init", str(root), "--out", str(out)]) == 2
    assert "is there already; give --out FILE, or --force" in capsys.readouterr().err
