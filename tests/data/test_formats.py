"""Every format beside EDF, WFDB and npz (test_files.py): what is read is what mne, scipy or pyarrow
read alone."""

from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest

from citrus_ray.data.formats import recordings, series, signals
from citrus_ray.data.formats.known import FORMATS, ending_of
from citrus_ray.data.formats.recordings import read, read_annotations, read_header, read_start
from citrus_ray.data.formats.signals import FileLayout
from citrus_ray.data.sources.files import Files
from citrus_ray.data.windows import Windows
from citrus_ray.spec import SpecError, validate
from tests.data import foreign

SFREQ = 100.0
NAMES = ["Fz", "Cz", "EOG1"]
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("CITRUS_CACHE", str(tmp_path_factory.mktemp("cache")))


def noise(n_times: int = 1000, n_chans: int = 3, seed: int = 0) -> np.ndarray:
    return 50 * np.random.default_rng(seed).normal(size=(n_chans, n_times))


def fif(path: Path, x: np.ndarray, first: int = 0, dated: bool = False, **marks: Any) -> None:
    info = mne.create_info(NAMES, SFREQ, ["eeg", "eeg", "eog"])
    raw = mne.io.RawArray(x * 1e-6, info, first_samp=first, verbose="ERROR")
    if dated:
        raw.set_meas_date(1_600_000_000.0)
    if marks:
        raw.set_annotations(mne.Annotations(**marks, orig_time=raw.info["meas_date"]))
    raw.save(path, verbose="ERROR")


def whole(path: Path, layout: FileLayout = signals.PLAIN) -> tuple[np.ndarray, Any]:
    header = read_header(path, layout)
    return read(header, header.channels, header.channels[0].sfreq).x, header


def windows(folder: Path, **edits: Any) -> Windows:
    return files(folder, **edits).prepare()


def files(folder: Path, **edits: Any) -> Files:
    fields: dict[str, Any] = {"kind": "files", "root": str(folder), "seconds": 1.0, "sfreq": SFREQ}
    return validate(Files, fields | {"normalize": "none"} | edits)


def refusal(folder: Path, **edits: Any) -> str:
    with pytest.raises(SpecError) as caught:
        files(folder, **edits).check()
    return str(caught.value)


# ---- what mne reads ----


@pytest.mark.parametrize("ending", [".fif", ".fif.gz", ".vhdr", ".set", ".gdf"])
def test_samples_are_those_of_mne_in_microvolts(tmp_path, ending):
    x, path = np.round(noise()), tmp_path / f"a{'_raw' if 'fif' in ending else ''}{ending}"
    match ending:
        case ".vhdr":
            foreign.brainvision(path, x, SFREQ)
        case ".set":
            foreign.eeglab(path, x, SFREQ)
        case ".gdf":
            foreign.gdf(path, x, int(SFREQ))
        case _:
            fif(path, x)
    found, header = whole(path)
    alone = mne.io.read_raw(path, verbose="ERROR")
    assert np.allclose(found, alone.get_data() * 1e6, atol=1e-3)
    assert np.allclose(found, x, atol=1e-3)
    assert [c.name for c in header.channels] == alone.ch_names
    assert {c.unit for c in header.channels} == {"uV"}
    assert header.channels[0].modality == "eeg"


@pytest.mark.parametrize(("first", "dated"), [(0, False), (250, False), (250, True)])
def test_annotations_count_from_the_first_sample_whenever_the_recorder_started(
    tmp_path, first, dated
):
    onset = [first / SFREQ * dated + at for at in (1.0, 4.5)]
    marks: dict[str, Any] = {"onset": onset, "duration": [0.5, 0.0], "description": ["task", "tap"]}
    fif(tmp_path / "a_raw.fif", noise(), first, dated, **marks)
    assert read_annotations(tmp_path / "a_raw.fif") == [(1.0, 0.5, "task"), (4.5, 0.0, "tap")]
    raw = mne.io.read_raw(tmp_path / "a_raw.fif", verbose="ERROR")
    events, names = mne.events_from_annotations(raw, verbose="ERROR")
    at = {code: (sample - raw.first_samp) / SFREQ for sample, _, code in events}
    assert [at[names["task"]], at[names["tap"]]] == [1.0, 4.5]


@pytest.mark.parametrize("write", [foreign.brainvision, foreign.eeglab])
def test_labels_of_annotations_are_windows_at_their_samples(tmp_path, write):
    x = noise()
    marks = [(130, 100, "Stimulus/a"), (500, 200, "Stimulus/b")]
    path = tmp_path / ("a.vhdr" if write is foreign.brainvision else "a.set")
    write(path, x, SFREQ, marks)
    found = windows(tmp_path, pattern=path.name, labels="annotations")
    assert [found.classes[y].rpartition("/")[2] for y in found.labels] == ["a", "b", "b"]
    spans = [(130, 230), (500, 600), (600, 700)]
    assert np.allclose(found.x, np.stack([x[:, a:b] for a, b in spans]), atol=1e-3)


def test_no_window_goes_across_a_break(tmp_path):
    foreign.eeglab(tmp_path / "a.set", noise(), SFREQ, [(350, 0, "boundary")])
    found = windows(tmp_path, pattern="*.set")
    assert len(found) == 9
    assert "dropped for missing samples: 1 of 10 windows" in found.caveats
    assert read_annotations(tmp_path / "a.set") == []


def test_a_header_stands_for_its_data_and_counts_in_the_digest(tmp_path):
    foreign.brainvision(tmp_path / "a.vhdr", noise(), SFREQ)
    before = files(tmp_path, pattern="*.vhdr").content()
    assert "is the data of a.vhdr; narrow it to the headers" in refusal(tmp_path, pattern="*.eeg")
    foreign.brainvision(tmp_path / "a.vhdr", noise(seed=1), SFREQ)
    assert files(tmp_path, pattern="*.vhdr").content() != before


def test_kinds_are_those_of_mne_or_where_it_calls_all_eeg_those_of_the_names(tmp_path):
    fif(tmp_path / "a_raw.fif", noise())
    kinds = [c.modality for c in read_header(tmp_path / "a_raw.fif").channels]
    assert kinds == ["eeg", "eeg", "eog"]


def test_starts_are_told_where_files_state_them(tmp_path):
    fif(tmp_path / "a_raw.fif", noise(), first=50, dated=True)
    assert read_start(read_header(tmp_path / "a_raw.fif")) == 1_600_000_000.5
    foreign.eeglab(tmp_path / "a.set", noise(), SFREQ)
    assert read_start(read_header(tmp_path / "a.set")) is None


# ---- MATLAB ----


def variables(x: np.ndarray) -> dict[str, Any]:
    return {"x": x, "sfreq": SFREQ, "ch_names": ["Fz", "Cz", "ECG"], "unit": "uV"}


def write_mat(path: Path, version: str, **given: Any) -> None:
    if version == "7.3":
        pytest.importorskip("h5py", reason="h5py is not there: install it, .mat of 7.3 needs it")
        foreign.matlab73(path, **given)
        return
    from scipy.io import savemat

    savemat(path, {k: np.array(v, object) if isinstance(v, list) else v for k, v in given.items()})


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_a_mat_in_the_layout_of_npz_needs_no_word(tmp_path, version):
    x = noise()
    write_mat(tmp_path / "a.mat", version, **variables(x))
    found, header = whole(tmp_path / "a.mat")
    assert np.array_equal(found, x.astype(np.float32))
    assert [(c.name, c.modality, c.unit, c.sfreq) for c in header.channels] == [
        ("Fz", "eeg", "uV", SFREQ),
        ("Cz", "eeg", "uV", SFREQ),
        ("ECG", "ecg", "uV", SFREQ),
    ]


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_a_layout_finds_samples_in_a_struct_and_turns_them(tmp_path, version):
    x = noise()
    write_mat(tmp_path / "a.mat", version, EEG={"data": x.T, "srate": SFREQ}, other=np.ones((2, 2)))
    layout = FileLayout(x="EEG.data", transposed=True, names=("a", "b", "c"))
    found, header = whole(tmp_path / "a.mat", layout)
    assert np.array_equal(found, x.astype(np.float32))
    assert [c.name for c in header.channels] == ["a", "b", "c"]
    said = refusal(tmp_path, pattern="*.mat")
    assert "holds no `x` of numbers, but EEG" in said
    assert "layout: {x: NAME, rate: HZ}" in said
    said = refusal(tmp_path, pattern="*.mat", layout={"x": "EEG.data"})
    assert "has 1000 channels of 3 samples, more than samples; say `layout: {transposed" in said
    said = refusal(tmp_path, pattern="*.mat", layout={"x": "other"})
    assert "holds no rate beside `other`" in said


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_one_channel_is_a_row_or_a_column(tmp_path, version):
    x = noise(n_chans=1)
    for name, shaped in (("row", x), ("column", x.T)):
        write_mat(tmp_path / f"{name}.mat", version, x=shaped, fs=SFREQ)
        found, _ = whole(tmp_path / f"{name}.mat")
        assert np.array_equal(found, x.astype(np.float32))


# ---- tables ----


def table(path: Path, rows: list[list[Any]], head: list[str], mark: str = ",") -> None:
    path.write_text("\n".join(mark.join(map(str, row)) for row in [head, *rows]) + "\n")


def timed(x: np.ndarray, times: np.ndarray) -> list[list[Any]]:
    return [[f"{t:.6f}", *row] for t, row in zip(times, x.T.tolist(), strict=True)]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt"])
def test_a_table_with_times_is_a_recording_at_their_rate(tmp_path, name):
    x, mark = noise(), "," if name == "a.csv" else "\t"
    rows = timed(x, 5 + np.arange(1000) / 102.5)
    table(tmp_path / name, rows, ["time", "ax [m/s2]", "ECG", "note"], mark)
    (tmp_path / name).write_text((tmp_path / name).read_text().replace("note", "c"))
    found, header = whole(tmp_path / name)
    assert header.channels[0].sfreq == 102.5
    assert [(c.name, c.unit, c.modality) for c in header.channels][:2] == [
        ("ax [m/s2]", "m/s2", "unknown"),
        ("ECG", "", "ecg"),
    ]
    assert np.allclose(found, x, atol=1e-4)


def test_a_row_that_is_missing_is_a_missing_sample_and_moves_no_other(tmp_path):
    x, keep = noise(), np.r_[0:210, 260:1000]
    table(tmp_path / "a.csv", timed(x[:, keep], keep / SFREQ), ["t", "a", "b", "c"])
    found = windows(tmp_path, pattern="*.csv")
    assert len(found) == 9
    assert np.allclose(found.x[2], x[:, 300:400], atol=1e-4)
    assert "dropped for missing samples: 1 of 10 windows" in found.caveats


def test_times_on_no_grid_are_refused_or_interpolated_where_a_rate_is_said(tmp_path):
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.2, 1.8, 1000)) / SFREQ
    x = np.stack([np.sin(times), 3 * times])
    table(tmp_path / "a.csv", timed(x, times), ["t", "a", "b"])
    said = refusal(tmp_path, pattern="*.csv")
    assert "a.csv:" in said
    assert "lies on no grid" in said
    assert "to interpolate between the rows" in said
    found, _ = whole(tmp_path / "a.csv", FileLayout(time="t", rate=50.0))
    grid = times[0] + np.arange(found.shape[1]) / 50
    assert np.allclose(found[0], np.interp(grid, times, x[0]), atol=1e-5)
    assert np.allclose(found[1], 3 * grid, atol=1e-4)


def test_a_parquet_table_is_read_as_the_same_table_in_text(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    x, word = noise(), np.repeat(["rest", "walk"], 500)
    times = np.datetime64("2024-01-31T12:00") + (np.arange(1000) * 10).astype("timedelta64[ms]")
    of = {"when": times, "a": x[0], "b": x[1], "activity": word}
    pq.write_table(pa.table(of), tmp_path / "a.parquet", row_group_size=300)
    rows = [[str(t), a, b, w] for t, a, b, w in zip(*of.values(), strict=True)]
    table(tmp_path / "a.csv", rows, list(of))
    layout = FileLayout(time="when")
    (one, first), (two, second) = (whole(tmp_path / n, layout) for n in ("a.parquet", "a.csv"))
    assert np.array_equal(one, x[:2].astype(np.float32))
    assert np.array_equal(one, two)
    assert first.channels == second.channels
    start = times[0].astype("datetime64[s]").astype(int)
    assert [read_start(h) for h in (first, second)] == [start, start]


def test_labels_and_groups_of_columns_are_stretches(tmp_path):
    x = noise()
    word = np.repeat(["rest", "walk", "", "rest"], [200, 300, 100, 400])
    who = np.repeat(["p1", "p2"], 500)
    rows = [[*r, w, g] for r, w, g in zip(x.T.tolist(), word, who, strict=True)]
    table(tmp_path / "a.csv", rows, ["a", "b", "c", "activity", "who"])
    found = windows(
        tmp_path,
        pattern="*.csv",
        layout={"rate": SFREQ},
        labels={"column": "activity", "group": "who"},
    )
    assert [found.classes[y] for y in found.labels] == [*["rest"] * 2, *["walk"] * 3, *["rest"] * 4]
    assert [found.groups[g] for g in found.group] == ["p1"] * 5 + ["p2"] * 4
    assert np.allclose(found.x[5], x[:, 600:700], atol=1e-4)
    said = refusal(tmp_path, pattern="*.csv", layout={"rate": SFREQ}, labels={"column": "activty"})
    assert "labels.column: `activty` is not there" in said
    said = refusal(tmp_path, pattern="*.csv", layout={"rate": SFREQ}, labels={"column": "a"})
    assert "values, so it is a signal" in said


def test_a_channel_may_be_the_label_in_any_format(tmp_path):
    x = noise()
    x[2] = np.repeat([0, 1], 500)
    fif(tmp_path / "a_raw.fif", x)
    found = windows(
        tmp_path, pattern="*.fif", labels={"column": "EOG1"}, channels=["Fz"], classes=["1"]
    )
    assert len(found) == 5
    assert np.allclose(found.x[0, 0], x[0, 500:600], atol=1e-3)


def test_an_npz_may_hold_its_labels_and_annotations(tmp_path):
    x, label = noise(), np.repeat([3, 4], 500)
    marks: dict[str, Any] = {"mark_onset_s": [1.0], "mark_duration_s": [2.0]}
    marks |= {"mark_text": ["task"]}
    np.savez(tmp_path / "a.npz", x=x, sfreq=SFREQ, stage=label, **marks)
    found = windows(tmp_path, pattern="*.npz", labels={"column": "stage"})
    assert found.classes == ("3", "4")
    assert found.class_counts() == {"3": 5, "4": 5}
    assert windows(tmp_path, pattern="*.npz", labels="annotations").class_counts() == {"task": 2}


BAD_TABLES = {
    "no times": ("a,b\n1,2\n3,4\n", {}, "no column is called time", "layout: {rate: HZ}"),
    "no names": ("1,2\n3,4\n", {}, "begins with numbers", "layout: {names: […]}"),
    "an unquoted comma": (
        "t,a,b\n0,1,2\n1,1,5,2\n2,1,2\n",
        {},
        "a.csv:3: has 4 fields, but the first line names 3",
        "double quotes",
    ),
    "a short row": ("t,a,b\n0,1,2\n1,1\n2,1,2\n", {}, "a.csv:3: has 2 fields", "fill in"),
    "a word among numbers": (
        "t,a\n0,1\n1,2\n2,lost\n3,1\n",
        {},
        "a.csv:4: a='lost' is no number",
        "correct it, leave it empty",
    ),
    "a word among times": (
        "t,a\n0,1\n1,2\nlater,1\n3,1\n",
        {},
        "a.csv:4: t='later' is no number",
        "correct it",
    ),
    "time goes back": (
        "t,a\n0,1\n1,2\n0.5,3\n2,1\n3,1\n",
        {},
        "a.csv:4: layout.time: `t` does not go on here: -0.5 s after the row before",
        "sort the rows",
    ),
    "a time is empty": (
        "t,a\n0,1\n,2\n2,3\n3,1\n",
        {},
        "a.csv:3: layout.time: `t` is empty",
        "remove the row",
    ),
    "milliseconds, not said": (
        "t,a\n" + "".join(f"{1_700_000_000_000 + 10 * i},1\n" for i in range(9)),
        {},
        "`t` in seconds would be 0.1 Hz from 1700000000000 s",
        "layout: {unit: ms}",
    ),
    "two decimal marks": (
        "t;a\n0;1,5\n1;2,5\n2;3.5\n3;1\n",
        {},
        "a.csv:4: a='3.5' has a decimal point",
        "write one",
    ),
    "two columns of one name": ("t,a,a\n0,1,1\n1,1,1\n2,1,1\n", {}, "column a twice", "keep one"),
    "spaces": ("t a\n0 1\n1 1\n2 1\n", {}, "a.csv:1: has one column, `t a`", "not by spaces"),
    "nothing but times": ("t\n0\n1\n2\n", {}, "holds no column of numbers beside", "narrow"),
    "empty": ("", {}, "is empty", "leave it out of `pattern`"),
    "names alone": ("t,a\n", {}, "`t` has 0 times", "too few for a rate"),
    "a time that is not there": (
        "t,a\n0,1\n1,2\n2,3\n",
        {"time": "tt"},
        "layout.time: `tt` is not there",
        "did you mean `t`",
    ),
    "too few names": ("0,1\n1,2\n", {"names": ["t"]}, "has 2 columns, but `names` names 1", "each"),
    "of no use": ("t,a\n0,1\n1,2\n2,3\n", {"x": "a"}, "says so itself; drop x", "it takes names"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_one_error_with_its_line_and_the_way_out(tmp_path, case):
    text, layout, says, way = BAD_TABLES[case]
    (tmp_path / "a.csv").write_text(text)
    said = refusal(tmp_path, pattern="*.csv", sfreq=1.0, seconds=2.0, layout=layout)
    assert says in said
    assert way in said
    assert "Traceback" not in said


DIALECTS = {
    "commas": (",", ".", "utf-8"),
    "semicolons": (";", ",", "utf-8"),
    "semicolons and points": (";", ".", "utf-8-sig"),
    "tabs": ("\t", ",", "utf-16"),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects_are_found_out(tmp_path, dialect):
    mark, decimal, encoding = DIALECTS[dialect]
    x = np.round(noise(30, 2), 3)
    rows = [["t", "a", '"b c"'], *([i, a, b] for i, (a, b) in enumerate(x.T.tolist()))]
    text = "\r\n".join(mark.join(str(v).replace(".", decimal) for v in row) for row in rows)
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    found, header = whole(tmp_path / "a.csv")
    assert [c.name for c in header.channels] == ["a", "b c"]
    assert np.allclose(found, x, atol=1e-4)


# ---- all of them ----


@pytest.mark.slow
def test_a_recording_that_is_read_in_pieces_is_the_one_that_is_read_whole(tmp_path, monkeypatch):
    x = noise(2003)
    fif(tmp_path / "a_raw.fif", x)
    np.savez(tmp_path / "a.npz", x=x.astype(np.float32), sfreq=SFREQ)
    table(tmp_path / "a.csv", timed(x, np.arange(2003) / SFREQ), ["t", "a", "b", "c"])
    for name in ("a_raw.fif", "a.npz", "a.csv"):
        header = read_header(tmp_path / name)
        for rate in (SFREQ, 64.0):
            once = read(header, header.channels, rate)
            with monkeypatch.context() as small:
                for module in (signals, recordings, *([series] if name == "a.csv" else [])):
                    small.setattr(module, "PIECE" if module is not series else "BATCH", 1000)
                again = read(header, header.channels, rate)
            assert isinstance(again.x, np.memmap)
            assert not isinstance(once.x, np.memmap)
            assert np.array_equal(once.x, again.x)
            assert set(once.fingerprints["value"]) == set(again.fingerprints["value"])


def test_an_ending_is_the_longest_that_fits(tmp_path):
    assert ending_of(Path("a_raw.fif.gz")) == ".fif.gz"
    assert ending_of(Path("A.EDF")) == ".edf"
    assert ending_of(Path("a.xlsx")) == ""


def test_an_image_is_sent_where_it_is_read(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"")
    said = refusal(tmp_path, pattern="*.nii.gz")
    assert "is an image, not channels; `kind: fmri` reads it" in said


def test_what_is_not_what_its_ending_says_is_one_error(tmp_path):
    for end in FORMATS:
        path = tmp_path / f"a{end}"
        path.write_bytes(b"\x89not a recording\0\xff")
        said = refusal(tmp_path, pattern=path.name)
        assert path.name in said
        assert said.count("\n") == 0
        path.unlink()
