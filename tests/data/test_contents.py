"""Which groups of two sets are of the same recordings: by their samples, whatever else differs."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray.data.originals import source_of
from citrus_ray.data.source import Source
from citrus_ray.data.sources.bonn import Bonn
from citrus_ray.data.sources.files import Files
from citrus_ray.data.sources.pairs import Pairs
from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.sources.synthetic_fmri import SyntheticFmri
from citrus_ray.data.sources.synthetic_sensors import SyntheticSensors
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.align import Truncate
from citrus_ray.data.windowing.contents import Contents, fingerprints_in
from citrus_ray.data.windows import Windows
from citrus_ray.spec import parse_yaml
from tests.data import layouts, originals
from tests.data.people import files, recordings, shared, signals

DATA = Path(os.environ.get("CITRUS_DATA") or Path(__file__).resolve().parents[3] / "shared/data")
EVERYONE = {(f"p{i}", f"p{i}") for i in range(8)}

COPIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "other windows": ({}, {"seconds": 3.5, "stride_s": 1.0, "normalize": "none"}),
    "another rate": ({}, {"sfreq": 64.0, "normalize": "recording"}),
    "fewer channels": ({}, {"channels": ("Cz",)}),
    "one label of two": ({}, {"classes": ("move",)}),
    "without labels": ({}, {"labels": None, "seconds": 5.0}),
    "another folder and other names": ({"name": "rec{}a.npz", "group": "p{}"}, {}),
    "EDF": ({"name": "p{}.edf"}, {"pattern": "*.edf"}),
    "WFDB": ({"name": "p{}.hea"}, {"pattern": "*.hea"}),
    "fewer channels of EDF": (
        {"name": "p{}.edf", "picks": slice(1, 2)},
        {"pattern": "*.edf", "seconds": 3.0},
    ),
    "an excerpt": ({"part": slice(731, 1431)}, {"seconds": 1.0}),
}


@pytest.mark.parametrize(("written", "read"), COPIES.values(), ids=COPIES)
def test_everyone_is_known_again_and_taken_for_no_one_else(tmp_path, written, read):
    one = files(recordings(tmp_path / "one")).prepare()
    other = files(recordings(tmp_path / "other", **written), **read).prepare()
    assert shared(one, other) == shared(other, one) == EVERYONE


def test_recordings_of_other_people_are_not_known(tmp_path):
    one = files(recordings(tmp_path / "one", range(8)))
    other = files(recordings(tmp_path / "other", range(8, 16), group="p{}"))
    assert shared(one.prepare(), other.prepare()) == set()


def test_groups_may_be_called_and_cut_in_any_way(tmp_path):
    """Two people to a group there, as families or cages are."""
    one = files(recordings(tmp_path / "one")).prepare()
    root = recordings(tmp_path / "other")
    text = (root / "labels.csv").read_text()
    for person in range(8):
        text = text.replace(f",p{person}\n", f",home{person // 2}\n")
    (root / "labels.csv").write_text(text)
    found = shared(one, files(root).prepare())
    assert found == {(f"p{i}", f"home{i // 2}") for i in range(8)}


def test_other_channels_of_one_file_are_of_the_same_person(tmp_path):
    root = recordings(tmp_path / "one")
    brain, heart = files(root, channels=("Fz",)), files(root, channels=("ECG",))
    assert shared(brain.prepare(), heart.prepare()) == EVERYONE
    (tmp_path / "copy").mkdir()
    for i in range(8):
        (tmp_path / "copy" / f"q{i}.npz").write_bytes((root / f"p{i}.npz").read_bytes())
    copied = files(tmp_path / "copy", channels=("ECG",), labels=None).prepare()
    assert shared(brain.prepare(), copied) == {(f"p{i}", f"q{i}") for i in range(8)}


def test_the_data_of_a_wfdb_record_are_known_under_another_header(tmp_path):
    root = recordings(tmp_path / "one", range(2), name="p{}.hea")
    (tmp_path / "copy").mkdir()
    for i in range(2):
        (tmp_path / "copy" / f"q{i}.dat").write_bytes((root / f"p{i}.dat").read_bytes())
        header = (root / f"p{i}.hea").read_text().replace(f"p{i}", f"q{i}")
        (tmp_path / "copy" / f"q{i}.hea").write_text(header)
    brain = files(root, pattern="*.hea", channels=("Fz",), labels=None)
    heart = files(tmp_path / "copy", pattern="*.hea", channels=("ECG",), labels=None)
    assert shared(brain.prepare(), heart.prepare()) == {("p0", "q0"), ("p1", "q1")}


@pytest.mark.parametrize("published", [originals.bonn, layouts.bidmc], ids=["Bonn", "BIDMC"])
def test_text_is_known_again_as_npz(tmp_path, published):
    (tmp_path / "published").mkdir()
    source = published(tmp_path / "published")
    paths = source.files() if isinstance(source, Bonn) else source._files()
    for path in paths:
        x = np.loadtxt(path, ndmin=2, skiprows=int(path.suffix == ".csv"), delimiter=",").T
        name = path.stem.removesuffix("_Signals")
        np.savez(tmp_path / f"{name}.npz", x=x[-1:] if len(x) == 1 else x[2:3], sfreq=100.0)
    copies = files(tmp_path, labels=None).prepare()
    assert shared(source.prepare(), copies) == {(name, name) for name in copies.groups}
    assert len(copies.groups) == len(paths)


def test_blocks_of_one_recording_are_known_by_what_they_span(tmp_path):
    root = recordings(tmp_path, range(1))
    four, two = (files(root, labels=None, group_blocks=n, seconds=1.0).prepare() for n in (4, 2))
    assert shared(four, four) == {(f"p0 {i}/4", f"p0 {i}/4") for i in range(1, 5)}
    # the gap between halves is where the second quarter ends, so it is in the first half alone
    halves = [("1/4", "1/2"), ("2/4", "1/2"), ("3/4", "2/2"), ("4/4", "2/2")]
    assert shared(four, two) == {(f"p0 {a}", f"p0 {b}") for a, b in halves}
    plain = replace(four, fingerprints=None)
    assert shared(plain, four) == shared(four, four)
    others = files(root, labels=None, group_blocks=4, seconds=1.0, channels=("ECG",)).prepare()
    fz = files(root, labels=None, group_blocks=4, seconds=1.0, channels=("Fz",)).prepare()
    assert shared(fz, others) == set()  # the file is of no block alone
    whole = files(root, labels=None).prepare()
    assert shared(whole, four) == {("p0", f"p0 {i}/4") for i in range(1, 5)}


def test_groups_that_take_turns_in_one_recording_keep_apart(tmp_path):
    root = recordings(tmp_path, range(1))
    rows = [f"p0.npz,{4 * i},{4 * i + 4},{'ab'[i % 2]},{'AB'[i // 2 % 2]}" for i in range(6)]
    (root / "labels.csv").write_text("\n".join(["file,start_s,stop_s,label,group", *rows]) + "\n")
    turns = files(root).prepare()
    assert shared(turns, turns) == {("A", "A"), ("B", "B")}
    table = (root / "labels.csv").read_text().replace("a,A", "a,first").replace("a,B", "a,B")
    (root / "halves.csv").write_text(table)
    assert ("first", "B") not in shared(files(root, labels="halves.csv").prepare(), turns)


def test_what_lies_between_the_windows_of_two_groups_is_no_ones(tmp_path):
    root = recordings(tmp_path, range(1))
    for name, rows in (("outer", (0, 6, 18, 24)), ("inner", (8, 12, 12, 16))):
        first, second = rows[:2], rows[2:]
        table = [f"p0,{first[0]},{first[1]},x,{name}1", f"p0,{second[0]},{second[1]},x,{name}2"]
        head = "file,start_s,stop_s,label,group"
        (root / f"{name}.csv").write_text("\n".join([head, *table]) + "\n")
    outer, inner = (files(root, labels=f"{name}.csv").prepare() for name in ("outer", "inner"))
    assert shared(outer, inner) == set()
    assert len(shared(inner, inner)) == len(shared(outer, outer)) == 2


def test_blocks_of_several_streams_are_told_apart_by_the_clock_of_the_slowest(tmp_path):
    x, y = (signals(i)[0] for i in (0, 1))
    held: dict[str, Any] = {"x_fast": x[None], "sfreq_fast": 100.0}
    held |= {"x_slow": y[None, :1200], "sfreq_slow": 50.0}
    np.savez(tmp_path / "p0.npz", streams=["fast", "slow"], **held)
    fields = {"labels": None, "seconds": 0.5, "group_blocks": 4}
    both = files(tmp_path, streams=("fast", "slow"), sfreq="native", **fields).prepare()
    fast = files(tmp_path, streams=("fast",), **fields).prepare()
    assert len(both.streams) == 2
    assert shared(both, fast) == {(f"p0 {i}/4", f"p0 {i}/4") for i in range(1, 5)}


def test_a_fingerprint_or_two_in_common_are_chance_unless_there_are_no_more():
    def group_of(*values: int) -> Contents:
        return Contents(np.array(values, np.uint64), np.zeros(len(values), np.int64))

    many = group_of(*range(10))
    assert many.shared_with(group_of(8, 9, 10, 11)) == []
    assert many.shared_with(group_of(7, 8, 9, 10)) == [(0, 0)]
    assert many.shared_with(group_of(9)) == group_of(9).shared_with(many) == [(0, 0)]
    assert many.shared_with(group_of(11)) == many.shared_with(group_of()) == []


def test_pairs_are_of_the_recordings_that_they_are_made_of():
    series = SyntheticFmri(n_subjects=4, n_runs=2, n_voxels=3, volumes=4, labelled=False)
    inner, pairs = series.prepare(), Pairs(of=series, groups_of=2).prepare()
    both = {"sub-00": "sub-00+sub-01", "sub-01": "sub-00+sub-01"}
    both |= {"sub-02": "sub-02+sub-03", "sub-03": "sub-02+sub-03"}
    assert shared(inner, pairs) == set(both.items())
    assert shared(inner, Pairs(of=series.at({"seed": 1})).prepare()) == set()


@pytest.mark.parametrize("stride", [20, 40], ids=["overlapping", "side by side"])
def test_where_a_source_gives_no_fingerprints_its_windows_do(stride):
    """A stranger's source knows nothing of them; and none of it knows how windows were scaled."""
    series = SyntheticFmri(
        n_subjects=3, n_runs=2, n_voxels=3, volumes=40, stride=stride, labelled=False, detrend=False
    )
    scaled, plain = (
        replace(series.at({"normalize_by": by}).prepare(), fingerprints=None)
        for by in ("run", "none")
    )
    ours = {(f"sub-0{i}", f"sub-0{i}") for i in range(3)}
    assert shared(scaled, plain) == ours
    nameless = replace(scaled, origins=None)
    assert shared(nameless, plain) == ours
    few = replace(nameless, fingerprints=fingerprints_in(nameless)).take(
        np.flatnonzero(nameless.group == 2)
    )
    assert shared(few, plain) == {("sub-02", "sub-02")}
    pairs = Pairs(of=series.at({"stride": None}), groups_of=1)
    assert shared(replace(pairs.prepare(), fingerprints=None), plain) == ours
    by_run = replace(series.at({"group_by": "run"}).prepare(), fingerprints=None)
    assert len(shared(by_run, by_run)) == 6


MADE: list[tuple[Source, dict[str, Any]]] = [
    (Synthetic(n_subjects=4, windows_per_subject=6), {"n_subjects": 3, "normalize": "none"}),
    (
        SyntheticSensors(n_subjects=4, windows_per_subject=6),
        {"n_subjects": 3, "normalize": "none", "absent": 0.5},
    ),
    (
        SyntheticFmri(n_subjects=4, n_runs=2, n_voxels=4),
        {"n_subjects": 3, "volumes": 3, "labelled": False, "normalize_by": "none"},
    ),
]


@pytest.mark.parametrize(("source", "edits"), MADE, ids=[source.kind for source, _ in MADE])
def test_made_subjects_are_the_same_however_many_there_are_and_however_they_are_cut(source, edits):
    """So these are recordings of one place: no sweep has to look whether they share any."""
    other = source.at(edits)
    names = other.prepare().groups
    assert len(names) == 3
    assert shared(source.prepare(), other.prepare()) == {(name, name) for name in names}
    assert source.is_at(other)
    assert not source.is_at(other.at({"seed": 9}))
    assert shared(source.prepare(), other.at({"seed": 9}).prepare()) == set()


def test_sets_of_one_folder_or_of_one_inside_it_lie_together(tmp_path):
    def at(folder: str) -> Files:
        return files(tmp_path / folder)

    assert at("study").is_at(at("study/day1"))
    assert at("study/day1").is_at(at("study"))
    assert at("study").is_at(at("other/../study"))
    assert not at("study").is_at(at("study2"))
    assert not at("study/day1").is_at(at("study/day2"))
    assert Pairs(of=at("study")).is_at(at("study/day1"))


def test_the_cache_keeps_them_and_aligned_windows_do_without(tmp_path):
    source = files(recordings(tmp_path, range(2)))
    made, kept = source.prepare(), cache.load(source)
    assert kept.fingerprints is not None
    assert made.fingerprints is not None
    assert kept.fingerprints.tobytes() == made.fingerprints.tobytes()
    found, again = Contents.of(kept), Contents.of(cache.load(Synthetic(n_subjects=2)))
    assert len(found.value) > 0
    assert len(again.value) > 0
    aligned = cache.load(source, Truncate(n_times=32)).fingerprints
    assert aligned is not None
    assert len(aligned) == 0


def test_a_cache_from_before_is_left_alone_and_prepared_again(tmp_path, monkeypatch):
    monkeypatch.setenv("CITRUS_CACHE", str(tmp_path / "cache"))
    source = files(recordings(tmp_path / "data", range(2)))
    cache.load(source)
    (tmp_path / "cache" / cache.FOLDER).rename(tmp_path / "cache" / "windows-2")
    old = next((tmp_path / "cache" / "windows-2").iterdir())
    (old / "fingerprints.npy").unlink()
    assert len(Contents.of(cache.load(source)).value) > 0
    assert not (old / "fingerprints.npy").exists()


# ---- real recordings ----


def read(block: str) -> Windows:
    return source_of(parse_yaml(block).tree).prepare()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "original", "converted", "same"),
    [
        (
            "mitbih",
            "{kind: files, root: ROOT, pattern: 100.hea, seconds: 8, sfreq: 250, channels: [MLII]}",
            "{kind: files, root: ROOT, pattern: recordings/r10*.npz, seconds: 0.5, sfreq: 360}",
            {("100", "r100")},
        ),
        (
            "haxby",
            "{kind: fmri, root: ROOT, pattern: bold.nii.gz, mask: mask.nii.gz, volumes: 3, "
            "labels: attributes_literal.txt}",
            "{set: haxby, root: ROOT}",
            {(f"run{i}", f"run{i:02d}") for i in range(12)},
        ),
        (
            "myo_emg",
            "{set: myo_emg, root: ROOT}",
            "{kind: files, root: ROOT, pattern: 'recordings/Pre_*[6-9]_training0.npz', "
            "seconds: 2, sfreq: 200}",
            {("Eva_Female0", f"Pre_Female{i}_training0") for i in (7, 8, 9)},
        ),
    ],
    ids=["WFDB and npz", "NIfTI and npz", "copies that were published under other names"],
)
def test_real_recordings_are_known_again(folder, original, converted, same):
    root = DATA / folder
    if not root.is_dir():
        pytest.skip(f"no {root}; set CITRUS_DATA to the folder that holds the sets")
    one, other = (read(block.replace("ROOT", f'"{root}"')) for block in (original, converted))
    assert shared(one, other) == same


@pytest.mark.slow
def test_no_one_of_a_real_set_is_taken_for_another():
    root = DATA / "eegmat"
    if not root.is_dir():
        pytest.skip(f"no {root}; set CITRUS_DATA to the folder that holds the sets")
    windows = read(f'{{set: eegmat, root: "{root}"}}')
    again = read(f'{{set: eegmat, root: "{root}", seconds: 10, sfreq: 64, channels: [O1]}}')
    assert shared(windows, again) == {(name, name) for name in windows.groups}
