"""Sets by name, the blocks that come with the project, and the real recordings in them."""

import itertools
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from citrus_ray.data import AnySource, sets
from citrus_ray.data.root import data_root
from citrus_ray.data.sources.files import Files
from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.tools.catalogue import HOLDS
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.splits import Split, split
from citrus_ray.experiment.sweep import parse_sweep
from citrus_ray.experiment.trial import Finetune, Pretrain
from citrus_ray.spec import SpecError, parse_yaml, validate
from citrus_ray.training.pretraining import held_out
from tests.data import originals as published
from tests.small import PEOPLE, SCRATCH, STRANGERS, SWEEP

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CITRUS_DATA") or ROOT.parent / "shared" / "data")
NAMES = sorted(path.stem for path in sets.FOLDER.iterdir())


def source_of(value: Any) -> Any:
    return validate(Finetune, {"target": value}).target


def problem_of(value: Any) -> str:
    with pytest.raises(SpecError) as caught:
        source_of(value)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].path.startswith("target")
    return str(caught.value)


# ---- the blocks ----


def test_every_file_of_the_folder_is_a_set():
    assert len(NAMES) >= 15
    assert list(sets.names()) == NAMES
    assert all((sets.FOLDER / f"{name}.yaml").is_file() for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_set_is_a_source_under_the_data_root_and_opens_with_what_it_is(name):
    source = source_of(name)
    assert not isinstance(source, Synthetic)
    assert source.root.startswith("$CITRUS_DATA")
    text = (sets.FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    comment = list(itertools.takewhile(lambda line: line.startswith("# "), text.splitlines()))
    assert len(comment) >= 3
    assert comment[1].startswith("# Licence: ")
    assert comment[2].startswith("# Baseline: ")
    assert HOLDS.fullmatch(comment[3].removeprefix("# Holds: ")), comment[3]


def test_the_sets_travel_with_the_package():
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = setup["tool"]["setuptools"]["package-data"]["citrus_ray"]
    shipped = {path for pattern in patterns for path in (ROOT / "citrus_ray").glob(pattern)}
    assert {path.stem for path in shipped if path.parent == sets.FOLDER} == set(NAMES)


# ---- names in specs ----


def test_a_name_is_the_whole_block_that_it_stands_for():
    source = source_of("bonn5")
    assert source == validate(Files, sets.block("bonn5"))
    assert source.tree()["pattern"] == "recordings/*.npz"
    assert source_of(source.tree()) == source
    assert Finetune(target="bonn5").target == source  # type: ignore[arg-type]
    assert TypeAdapter(AnySource).validate_python("bonn5") == source


def test_a_set_can_be_edited_where_it_is_named():
    source = source_of(
        {"set": "bonn_seizure", "seconds": 2.0, "classes": ["seizure", "other"], "merge": None}
    )
    assert (source.seconds, source.classes, source.merge) == (2.0, ("seizure", "other"), None)
    assert source.at(
        {"seconds": 1.0253, "classes": None, "merge": sets.block("bonn_seizure")["merge"]}
    ) == source_of("bonn_seizure")


def test_an_edit_may_reach_into_a_set_that_is_named_by_another_edit():
    trial = SCRATCH.at({"finetune.target": "bonn5", "finetune.target.seconds": 2.0})
    assert trial.finetune.target == source_of({"set": "bonn5", "seconds": 2.0})


def test_lists_and_tables_of_a_written_out_block_are_read_as_ever():
    tree = {
        "kind": "files",
        "root": "/r",
        "pattern": "*",
        "seconds": 1.0,
        "sfreq": 9,
        "channels": ["a", "b"],
    }
    assert source_of(tree).channels == ("a", "b")
    assert "must be a valid number" in problem_of(tree | {"sfreq": "9"})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "bonn6",
            "`bonn6` is no set that has a name; did you mean `bonn5`? "
            "there are abide_cc200, bidmc, bonn5, bonn_seizure",
        ),
        ({"set": "uwav"}, "did you mean `uwave`?"),
        ({"set": 3}, "`set` goes with the name of a set"),
        ({"set": "bonn5", "kind": "files"}, "`kind` comes from there; write {set: abide_cc200, …}"),
        ({"set": "bonn5", "secondz": 2.0}, "`secondz` is not a key here; did you mean `seconds`?"),
        ({"set": "bonn5", "seconds": -2.0}, "seconds=-2.0: must be greater than 0"),
        (
            {"set": "bonn5", "labels": None, "classes": ["a"]},
            "classes has no effect without labels",
        ),
        ({"kind": "synthetic", "n_subject": 3}, "did you mean `n_subjects`?"),
        ({"kind": "filez"}, 'kind="filez": must be one of'),
        ({"seconds": 2.0}, "`kind` is required here and missing"),
        (17, "must be"),
    ],
)
def test_a_wrong_name_or_edit_is_one_problem_with_a_way_out(value, message):
    assert message in problem_of(value)


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        (f"target: {PEOPLE}", "target: bonn6", "small.yaml:10: trial.finetune.target: "),
        (
            f"target: {PEOPLE}",
            "target: {set: bonn5, secondz: 2.0}",
            "small.yaml:10: trial.finetune.target.secondz: ",
        ),
        (
            f"source: {STRANGERS}",
            "source:\n      set: uwave\n      sfreq: fast",
            "small.yaml:8: trial.pretrain.source.sfreq: ",
        ),
        (
            "repeat:\n",
            "repeat:\n  finetune.target: [uwave, bonn6]\n",
            "small.yaml:17: repeat.finetune.target: bonn6: ",
        ),
    ],
)
def test_the_problem_is_on_the_line_of_the_file(old, new, place):
    assert old in SWEEP
    with pytest.raises(SpecError) as caught:
        parse_sweep(parse_yaml(SWEEP.replace(old, new, 1), "small.yaml"))
    assert str(caught.value).startswith(place), str(caught.value)
    assert len(caught.value.problems) == 1


def test_an_axis_may_go_over_sets():
    axes = "compare:\n  finetune.target: [bonn5, {set: uwave, seconds: 3.0}]\n"
    cells = parse_sweep(parse_yaml(SWEEP.replace("compare:\n", axes))).cells
    assert len(cells) == 4
    assert {c.trial.finetune.target.tree()["root"] for c in cells} == {
        "$CITRUS_DATA/bonn",
        "$CITRUS_DATA/uwave",
    }
    assert {cell.label.split(", ")[1] for cell in cells} == {
        "target bonn5",
        "target uwave (seconds 3)",
    }
    over = "repeat:\n  finetune.target: [bonn5, uwave]\n"
    (cell, *_) = parse_sweep(parse_yaml(SWEEP.replace("repeat:\n", over))).cells
    members = [member for _, member in cell.members({"finetune.optim.lr": 1e-3})]
    assert {member.finetune.target.tree()["seconds"] for member in members} == {5.8983, 3.15}


# ---- where they lie ----


def test_without_the_variable_sets_lie_in_a_folder_of_the_user(tmp_path, monkeypatch):
    monkeypatch.delenv("CITRUS_DATA", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_root() == tmp_path / ".local" / "share" / "citrus_ray"
    with pytest.raises(SpecError) as caught:
        source_of("uwave").check()
    there = tmp_path / ".local" / "share" / "citrus_ray" / "uwave"
    assert f"root=$CITRUS_DATA/uwave: there is no folder {there}" in str(caught.value)
    assert "--data DIR or $CITRUS_DATA" in str(caught.value)
    _gestures(there)
    assert len(source_of("uwave").prepare()) == 4


def test_the_variable_says_where_sets_lie(tmp_path, monkeypatch):
    monkeypatch.setenv("CITRUS_DATA", str(tmp_path))
    _gestures(tmp_path / "uwave")
    source = source_of("uwave")
    assert len(source.prepare()) == 4
    braces = source_of({"set": "uwave", "root": "${CITRUS_DATA}/uwave"})
    assert braces.digest() == source.digest()
    assert braces.recordings() == source.recordings() == str(tmp_path / "uwave")
    other = source_of({"set": "uwave", "root": "$CITRUS_DATA_OLD/uwave"})
    with pytest.raises(SpecError, match="the variable CITRUS_DATA_OLD is not set"):
        other.check()


def test_where_the_public_original_lies_the_error_says_what_reads_it(tmp_path, monkeypatch):
    """It is not read in the set's stead: a digest must not hang on what is in a folder."""
    monkeypatch.setenv("CITRUS_DATA", str(tmp_path))
    absent = said_by(lambda: source_of("mitbih_beats").check())
    assert "fetch mitbih`, which {kind: mitbih, root: $CITRUS_DATA/mitbih} reads" in absent
    (tmp_path / "mitbih").mkdir()
    published.mitbih(tmp_path / "mitbih")
    (tmp_path / "emgdb").mkdir()
    published.emgdb(tmp_path / "emgdb", (16, 16, 16), 1500)
    for word, name in (("mitbih_beats", "mitbih"), ("emgdb_windows", "emgdb")):
        block = f"{{kind: {name}, root: $CITRUS_DATA/{name}}}"
        for step in (source_of(word).check, source_of(word).digest):
            assert f"; the public original lies there instead: {block} reads it" in said_by(step)
        source_of(parse_yaml(block).tree).check()
    (tmp_path / "mitbih" / "100.atr").unlink()  # neither layout is whole
    assert "the public original" not in said_by(lambda: source_of("mitbih_beats").check())
    assert "fetch" not in said_by(lambda: source_of("myo_emg").check())


def said_by(step: Callable[[], Any]) -> str:
    with pytest.raises(SpecError) as caught:
        step()
    return str(caught.value)


def _gestures(folder: Path) -> None:
    (folder / "recordings").mkdir(parents=True)
    x = np.random.default_rng(0).normal(size=(3, 4 * 315)).astype(np.float32)
    np.savez(
        folder / "recordings" / "all.npz",
        x=x,
        sfreq=100.0,
        ch_names=list("xyz"),
        modality=["motion"] * 3,
    )
    rows = [f"all,{i * 3.15:.2f},{(i + 1) * 3.15:.2f},{i % 2},g{i}" for i in range(4)]
    (folder / "labels.csv").write_text("\n".join(["file,start_s,stop_s,label,group", *rows]) + "\n")


# ---- one table for more than one set ----


def test_rows_of_recordings_that_the_pattern_leaves_out_are_left_out(tmp_path):
    for name in ("a_sw", "a_sp"):
        x = np.random.default_rng(len(name)).normal(size=(1, 1000)).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", x=x, sfreq=100.0)
    head, rows = "file,start_s,stop_s,label,group\n", "a_sw,0,2,sit,p\na_sp,2,5,walk,p\n"
    (tmp_path / "l.csv").write_text(head + rows)

    def files(pattern: str) -> Files:
        return Files(root=str(tmp_path), pattern=pattern, seconds=1.0, sfreq=100.0, labels="l.csv")

    assert files("*_sw.npz").prepare().class_counts() == {"sit": 2}
    assert files("*.npz").prepare().class_counts() == {"sit": 2, "walk": 3}
    (tmp_path / "l.csv").write_text(head + rows + "a_sv,0,1,sit,p\n")
    with pytest.raises(SpecError, match=r"l\.csv:4: labels: file=a_sv fits no file"):
        files("*_sw.npz").check()
    (tmp_path / "l.csv").write_text(head + "a_sp,2,5,walk,p\n")
    with pytest.raises(
        SpecError, match=r"l\.csv: labels: all its rows are of recordings that `pattern` leaves out"
    ):
        files("*_sw.npz").check()


# ---- real recordings ----

# (windows, channels, samples), groups, classes, and a word that a caveat must hold
REAL: dict[str, tuple[tuple[int, int, int], int, int, str | None]] = {
    "abide_cc200": ((619, 200, 146), 619, 2, "site is a confound"),
    "bidmc": ((60, 3, 1000), 1, 0, None),
    "bonn5": ((2000, 1, 1024), 500, 5, "segments"),
    "bonn_seizure": ((11_500, 1, 178), 500, 2, "segments"),
    "cinc2017": ((1500, 1, 2400), 1500, 3, "who is who"),
    "eegmat": ((2134, 19, 500), 36, 2, None),
    "emg_gestures36": ((2332, 8, 100), 33, 6, None),
    "emgdb_windows": ((189, 1, 1500), 18, 3, "split by time, not by person"),
    "har_phone": ((1753, 6, 100), 23, 5, "shorter than 1 s"),
    "har_phone_stretches": ((1735, 6, 200), 23, 5, "padded"),
    "har_watch": ((1747, 6, 100), 23, 5, "shorter than 1 s"),
    "har_watch_stretches": ((1733, 6, 200), 23, 5, "padded"),
    "haxby": ((288, 530, 3), 12, 8, "one person"),
    "mitbih36": ((14_400, 1, 180), 35, 2, "paced"),
    "mitbih48": ((19_200, 1, 180), 47, 2, None),
    "mitbih_beats": ((25_304, 1, 180), 12, 2, "overlapping"),
    "myo_emg": ((6516, 8, 200), 18, 7, None),
    "myo_emg_pretraining": ((1946, 8, 200), 16, 7, None),
    "psg_sample": ((57, 8, 400), 4, 0, "split by time"),
    "sisfall": ((1891, 6, 500), 38, 2, "elderly"),
    "stress_predict": ((1762, 6, 1920), 34, 2, None),
    "stress_predict_ppg": ((1762, 1, 3840), 34, 2, None),
    "stress_predict_heart_rate": ((2065, 4, 512), 35, 0, "the wrist band's own"),
    "uci_eeg_alcohol": ((600, 64, 256), 20, 2, None),
    "uwave": ((896, 3, 315), 896, 8, "single gestures"),
    "wfdb_sample": ((60, 3, 2000), 2, 0, "dropped for missing samples: 18 of 78"),
}


def test_no_set_goes_untried_and_no_folder_of_the_data_is_without_a_name():
    assert sorted(REAL) == NAMES
    about = DATA / "README.md"
    if not about.is_file():
        pytest.skip(
            f"no {about}, the table of the sets; set CITRUS_DATA to the folder that holds them"
        )
    cells = re.findall(r"^\| ([a-z][\w, ]*) \|", about.read_text(encoding="utf-8"), re.MULTILINE)
    folders = [name for cell in cells for name in cell.split(", ") if name != "folder"]
    assert len(folders) >= 13
    assert all((DATA / name).is_dir() for name in folders)
    assert set(folders) <= set(map(_folder, NAMES))
    assert all((DATA / _folder(name)).is_dir() for name in NAMES if "*" not in _folder(name))


def _folder(name: str) -> str:
    """The folder of the data that a set reads; a pattern of them, of a set that reads two."""
    block = sets.block(name)
    under = str(block["root"]).removeprefix("$CITRUS_DATA").removeprefix("/")
    return under or str(block["pattern"]).split("/")[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_real_set_loads_and_can_be_split(name, monkeypatch):
    monkeypatch.setenv("CITRUS_DATA", str(DATA))
    source = source_of(name)
    if not Path(os.path.expandvars(source.root)).is_dir():
        pytest.skip(f"{name} is not under {DATA}; set CITRUS_DATA to the folder that holds it")
    shape, n_groups, n_classes, caveat = REAL[name]
    source.check()
    windows = source.prepare()
    assert windows.x.shape == shape
    assert (len(windows.groups), len(windows.classes)) == (n_groups, n_classes)
    assert "unknown" not in windows.modalities
    assert np.isfinite(windows.x).all()
    assert caveat is None or any(caveat in said for said in windows.caveats)
    text = (sets.FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    said = HOLDS.fullmatch(text.partition("# Holds: ")[2].partition("\n")[0])
    assert said
    assert said["signals"] == ", ".join(dict.fromkeys(windows.modalities))
    assert said["classes"] == (str(n_classes) if n_classes else "no")
    assert float(said["rate"]) == pytest.approx(windows.sfreq)
    hours = len(windows) * windows.context.seconds / 3600
    assert float(said["hours"]) == pytest.approx(hours, rel=0.5 if hours < 0.2 else 0.1)
    n_people = int(said["people"].split()[0])
    by_time = source.group_blocks if isinstance(source, Files) else None
    assert n_people == n_groups // (by_time or 1) or name in ("haxby", "bidmc")
    if not n_classes:
        train, val = held_out(windows, Pretrain(source=source, task=None))
        assert len(train) >= len(val) > 0
        return
    parts = split(windows, Split(), seed=0)
    for part in (parts.train, parts.val, parts.test):
        assert len(np.unique(windows.labels[part])) == n_classes


@pytest.mark.slow
def test_abide_has_values_of_people_and_sites_that_no_split_cuts(monkeypatch):
    monkeypatch.setenv("CITRUS_DATA", str(DATA))
    if not (DATA / "abide_cc200").is_dir():
        pytest.skip(f"abide_cc200 is not under {DATA}; set CITRUS_DATA to the folder that holds it")
    text = (sets.FOLDER / "abide_cc200.yaml").read_text(encoding="utf-8")
    age, sites = re.findall(r"^#   (\{.*\})$", text, re.MULTILINE)
    found = cache.load(source_of(parse_yaml(f"target: {age}").tree["target"]))
    assert (len(found), len(found.groups), found.target) == (619, 619, "value")
    assert found.y is not None
    assert 6 < found.y.min() < found.y.max() < 60
    found = cache.load(source_of(parse_yaml(f"target: {sites}").tree["target"]))
    assert (len(found.groups), found.classes) == (10, ("autism", "control"))
