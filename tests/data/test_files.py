"""`kind: files`: recordings that people have, with everything that can be wrong with them."""

import datetime
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy.signal import resample_poly

from citrus_ray.data import AnySource
from citrus_ray.data.formats import digests
from citrus_ray.data.formats.signals import FileLayout
from citrus_ray.data.modality import guess_modality
from citrus_ray.data.root import HERE, data_root, folder_at
from citrus_ray.data.sources.files import Files
from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.tools import export
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.normalize import zscore
from citrus_ray.data.windows import Windows
from citrus_ray.spec import SpecError, validate

SOURCE = Synthetic(n_subjects=2, windows_per_subject=6, n_chans=3, normalize="none")
SUFFIX = {"edf": "edf", "wfdb": "hea", "npz": "npz"}
SFREQ = 100.0
HEAD = "file,start_s,stop_s,label,group\n"
DATA = Path(
    os.environ.get("CITRUS_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data"
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("CITRUS_CACHE", str(tmp_path_factory.mktemp("cache")))
    digests._file_digest.cache_clear()


def noise(n_times: int = 1000, n_chans: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_chans, n_times)).astype(np.float32)


def write_npz(path: Path, x: np.ndarray, sfreq: float = SFREQ, **extra: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = {
        "ch_names": np.array([f"c{i}" for i in range(len(x))]),
        "modality": np.array(["eeg"] * len(x)),
    }
    np.savez(path, x=x, sfreq=np.float64(sfreq), **(names | extra))


Mark = tuple[float, float | None, str]  # onset and duration in s, text


def write_annotated(path: Path, x: np.ndarray, *marks: Mark, begin: float = 0.0) -> None:
    """An EDF+ or BDF+ file whose first sample is `begin` s after the start in its header."""
    import edfio

    bdf = path.suffix == ".bdf"
    signal, whole = (edfio.BdfSignal, edfio.Bdf) if bdf else (edfio.EdfSignal, edfio.Edf)
    signals = [signal(row.astype(float), SFREQ, label=f"c{i}") for i, row in enumerate(x)]
    notes = [edfio.EdfAnnotation(*mark) for mark in marks]
    start = datetime.time(12, 0, 0, round(begin * 1e6))
    whole(signals, annotations=notes, starttime=start).write(path)


def files(folder: Path, **edits: Any) -> Files:
    fields: dict[str, Any] = {
        "root": str(folder),
        "pattern": "*.npz",
        "seconds": 1.0,
        "sfreq": SFREQ,
    }
    return Files(**(fields | edits))


def cut(folder: Path, **edits: Any) -> Windows:
    return files(folder, **edits).prepare()


def raw(folder: Path, **edits: Any) -> Windows:
    return cut(folder, normalize="none", **edits)


def refusal(folder: Path, **edits: Any) -> str:
    return problems_of(files(folder, **edits))


def problems_of(spec: Files) -> str:
    with pytest.raises(SpecError) as caught:
        spec.check()
    return str(caught.value)


# ---- reading ----


@pytest.mark.parametrize("normalize", ["none", "window"])
@pytest.mark.parametrize("fmt", ["edf", "wfdb", "npz"])
def test_written_windows_come_back_the_same_to_within_quantisation(tmp_path, fmt, normalize):
    export.write_recordings(SOURCE, tmp_path, fmt)
    expected = SOURCE.prepare()
    back = cut(
        tmp_path,
        pattern=f"recordings/*.{SUFFIX[fmt]}",
        labels="labels.csv",
        seconds=2.56,
        classes=expected.classes,
        normalize=normalize,
    )
    x = expected.x if normalize == "none" else zscore(expected.x)
    step = 0 if fmt == "npz" else 1e-3  # a 16-bit step is 1e-4 of the range here
    assert back.x.shape == x.shape
    assert np.abs(back.x - x).max() <= step + 1e-6
    assert back.labels.tolist() == expected.labels.tolist()
    assert back.group.tolist() == expected.group.tolist()
    assert (back.groups, back.classes, back.ch_names) == (
        expected.groups,
        expected.classes,
        expected.ch_names,
    )


@pytest.mark.parametrize("unit", ["uV", "mV", "V", "mmHg"])
def test_edf_and_bdf_signals_are_in_the_unit_that_the_file_states(tmp_path, unit):
    x = 50 * noise()
    for name in ("a.edf", "a.bdf"):
        export.write_edf(tmp_path / name, x, SFREQ, ["Fz", "Cz"], unit=unit)
        windows = raw(tmp_path, pattern=name, seconds=10.0)
        assert np.abs(windows.x[0] - x).max() < 0.01


def test_channels_of_different_rates_in_one_edf_keep_their_own_rate_until_resampled(tmp_path):
    import edfio

    slow, fast = noise(200, 1)[0], noise(1000, 1)[0]
    signals = [
        edfio.EdfSignal(slow.astype(float), 20, label="Temp"),
        edfio.EdfSignal(fast.astype(float), 100, label="Fz"),
    ]
    edfio.Edf(signals).write(tmp_path / "a.edf")
    windows = raw(tmp_path, pattern="*.edf", channels=("Fz", "Temp"), seconds=10.0)
    expected = resample_poly(slow, 5, 1, padtype="edge")
    assert np.abs(windows.x[0] - np.stack([fast, expected])).max() < 1e-3
    assert windows.modalities == ("eeg", "temperature")


def test_annotations_are_no_channel_and_equal_names_get_running_numbers(tmp_path):
    import edfio

    x = noise(1000, 3)
    signals = [
        edfio.EdfSignal(row.astype(float), 100, label=name)
        for row, name in zip(x, ["Fz", "E", "E"], strict=True)
    ]
    edfio.Edf(signals, annotations=[edfio.EdfAnnotation(1, None, "blink")]).write(
        tmp_path / "a.edf"
    )
    windows = raw(tmp_path, pattern="*.edf")
    assert windows.ch_names == ("Fz", "E-0", "E-1")
    assert np.allclose(windows.x[0], x[:, :100], atol=1e-3)
    assert raw(tmp_path, pattern="*.edf", channels=("E-1",)).x[0, 0, 5] == windows.x[0, 2, 5]


def test_wfdb_channels_of_several_samples_per_frame_are_not_averaged(tmp_path):
    import wfdb

    fast, slow = noise(2000, 1)[0].astype(float), noise(1000, 1)[0].astype(float)
    wfdb.wrsamp(
        "a",
        fs=100,
        units=["mV", "mmHg"],
        sig_name=["II", "ABP"],
        e_p_signal=[fast, slow],
        samps_per_frame=[2, 1],
        fmt=["16", "16"],
        write_dir=str(tmp_path),
    )
    windows = raw(tmp_path, pattern="*.hea", sfreq=200.0, seconds=10.0)
    assert np.abs(windows.x[0, 0] - fast).max() < 1e-3
    assert np.abs(windows.x[0, 1] - resample_poly(slow, 2, 1, padtype="edge")).max() < 1e-3
    assert windows.modalities == ("ecg", "pressure")


def test_streams_of_a_multi_rate_npz_are_resampled_cut_to_the_shortest_and_stacked(tmp_path):
    parts = {"ACC": (noise(330, 3), 32.0), "EDA": (noise(44, 1), 4.0), "TEMP": (noise(40, 1), 4.0)}
    fields: dict[str, Any] = {f"x_{k}": x for k, (x, _) in parts.items()} | {
        f"sfreq_{k}": f for k, (_, f) in parts.items()
    }
    kinds = ["motion", "eda", "temperature"]
    np.savez(
        tmp_path / "a.npz", streams=list(parts), modality=kinds, scale_EDA=np.float32(2), **fields
    )
    spec = files(
        tmp_path, sfreq=16.0, streams=("TEMP", "ACC", "EDA"), seconds=10.0, normalize="none"
    )
    windows = spec.prepare()
    assert windows.ch_names == ("TEMP", "ACC0", "ACC1", "ACC2", "EDA")
    assert windows.modalities == ("temperature", "motion", "motion", "motion", "eda")
    assert np.allclose(
        windows.x[0, 4],
        2 * resample_poly(parts["EDA"][0][0], 4, 1, padtype="edge")[:160],
        atol=1e-5,
    )
    assert np.allclose(
        windows.x[0, 1], resample_poly(parts["ACC"][0][0], 1, 2, padtype="edge")[:160], atol=1e-5
    )
    assert "name those to use in `streams:`, there are ACC, EDA, TEMP" in refusal(tmp_path)
    assert "did you mean `EDA`?" in refusal(tmp_path, streams=("EDAA",))


@pytest.mark.parametrize(
    ("target", "up", "down"), [(50.0, 1, 2), (128.0, 32, 25), (200.0, 2, 1), (64.0, 16, 25)]
)
def test_resampling_is_scipys_polyphase_filter_over_the_whole_recording(tmp_path, target, up, down):
    x = noise(2000)
    write_npz(tmp_path / "a.npz", x)
    windows = raw(tmp_path, sfreq=target, seconds=1.0)
    whole = resample_poly(x, up, down, axis=-1)
    n = int(target)
    got = np.concatenate([*windows.x], axis=1)
    # the ends are padded otherwise: next test
    assert np.abs(got - whole[:, : got.shape[1]])[:, n:-n].max() < 1e-5


def test_an_offset_does_not_ring_at_the_ends_of_a_recording(tmp_path):
    write_npz(tmp_path / "a.npz", np.full((1, 1000), 30.0, np.float32))
    windows = raw(tmp_path, sfreq=64.0)
    assert np.abs(windows.x - 30).max() < 0.1


@pytest.mark.parametrize(("sfreq", "target"), [(173.61, 128.0), (102.3, 50.0), (1000 / 3, 100.0)])
def test_a_sine_keeps_its_frequency_at_odd_rates_and_one_above_the_new_half_rate_vanishes(
    tmp_path, sfreq, target
):
    t = np.arange(round(120 * sfreq)) / sfreq
    x = np.stack([np.sin(2 * np.pi * 10 * t), np.sin(2 * np.pi * 0.45 * sfreq * t)]).astype(
        np.float32
    )
    write_npz(tmp_path / "a.npz", x, sfreq)
    windows = raw(tmp_path, sfreq=target, seconds=100.0)
    there = np.arange(windows.x.shape[2]) / target
    middle, tenth = slice(50, -50), 0.1 / min(sfreq, target)  # of a sample, in seconds
    off = np.abs(windows.x[0, 0] - np.sin(2 * np.pi * 10 * there))[middle]
    assert off.max() < 2 * np.pi * 10 * tenth + 0.005  # in phase still after 100 s
    if target < 0.8 * sfreq:
        assert np.abs(windows.x[0, 1, middle]).max() < 0.05


def test_a_rate_that_the_header_rounds_is_the_rate_that_was_meant(tmp_path):
    x = noise(1736, 1)
    export.write_edf(tmp_path / "a.edf", x, 173.61, ["Fz"])
    windows = raw(tmp_path, pattern="*.edf", sfreq=173.61, seconds=5.0)
    assert np.abs(windows.x[0] - x[:, :868]).max() < 1e-3  # not resampled


def test_channels_are_picked_in_the_order_asked_for_and_modalities_can_be_overruled(tmp_path):
    x = noise(n_chans=3)
    write_npz(tmp_path / "a.npz", x)
    windows = raw(tmp_path, channels=("c2", "c0"), modality=("ecg", "eog"))
    assert np.array_equal(windows.x[0], x[[2, 0], :100])
    assert (windows.ch_names, windows.modalities) == (("c2", "c0"), ("ecg", "eog"))
    assert "modality: names 2 modalities for 3 channels" in refusal(
        tmp_path, modality=("ecg", "eog")
    )


def test_a_trigger_channel_is_read_only_when_asked_for(tmp_path):
    export.write_edf(tmp_path / "a.bdf", noise(), SFREQ, ["Fz", "Status"])
    assert cut(tmp_path, pattern="*.bdf").ch_names == ("Fz",)
    windows = raw(tmp_path, pattern="*.bdf", channels=("Status",))
    assert np.allclose(windows.x[0, 0], noise()[1, :100], atol=1e-3)


def test_normalising_per_recording_keeps_the_differences_between_its_windows(tmp_path):
    x = noise() * np.linspace(1, 5, 1000, dtype=np.float32) + 3
    write_npz(tmp_path / "a.npz", x)
    assert np.allclose(cut(tmp_path, normalize="recording").x[0], zscore(x)[:, :100], atol=1e-5)
    assert np.allclose(cut(tmp_path).x[0], zscore(x)[:, :100], atol=1e-5)
    by_window = cut(tmp_path, normalize="window").x
    assert np.allclose(by_window[4], zscore(x[:, 400:500]), atol=1e-5)


# ---- segments, groups, labels ----


def test_rows_match_by_stem_name_or_path_and_other_recordings_are_ignored(tmp_path):
    for i, name in enumerate(["s/a.npz", "s/b.npz", "t/c.npz", "t/unlabelled.npz"]):
        write_npz(tmp_path / name, noise(seed=i))
    (tmp_path / "t" / "unlabelled.npz").write_bytes(b"broken, and nobody asked for it")
    (tmp_path / "l.csv").write_text(
        HEAD + "a,0,2,rest,p1\nb.npz,1,3,task,p2\nt/c.npz,0,1,rest,p2\n"
    )
    windows = raw(tmp_path, pattern="**/*.npz", labels="l.csv")
    assert [windows.classes[y] for y in windows.labels] == ["rest", "rest", "task", "task", "rest"]
    assert [windows.groups[g] for g in windows.group] == ["p1", "p1", "p2", "p2", "p2"]
    assert np.array_equal(windows.x[2], noise(seed=1)[:, 100:200])


def test_classes_and_merge_pick_order_and_rename_labels(tmp_path):
    write_npz(tmp_path / "a.npz", noise())
    (tmp_path / "l.csv").write_text(HEAD + "a,0,1,n1,p\na,1,2,n2,q\na,2,3,wake,p\na,3,4,art,p\n")
    spec = files(
        tmp_path, labels="l.csv", merge={"n1": "sleep", "n2": "sleep"}, classes=("wake", "sleep")
    )
    windows = spec.prepare()
    assert windows.classes == ("wake", "sleep")
    assert windows.labels.tolist() == [1, 1, 0]
    assert "did you mean `wake`?" in refusal(tmp_path, labels="l.csv", classes=("wakes",))
    assert "`n3` is not there" in refusal(tmp_path, labels="l.csv", merge={"n3": "sleep"})


def test_without_labels_a_recording_is_its_own_group_or_what_the_pattern_finds(tmp_path):
    for name in ("s1_a", "s1_b", "s2_a"):
        write_npz(tmp_path / f"{name}.npz", noise())
    plain, grouped = cut(tmp_path), cut(tmp_path, group_pattern=r"^(s\d)")
    assert plain.y is None
    assert plain.groups == ("s1_a", "s1_b", "s2_a")
    assert grouped.groups == ("s1", "s2")
    assert np.bincount(grouped.group).tolist() == [20, 10]
    assert "finds no group in `s1_a`" in refusal(tmp_path, group_pattern="(x)")


def test_files_of_one_name_in_two_folders_are_two_groups(tmp_path):
    for name in ("p1/rest", "p2/rest"):
        write_npz(tmp_path / f"{name}.npz", noise())
    assert cut(tmp_path, pattern="*/*.npz").groups == ("p1/rest", "p2/rest")
    assert cut(tmp_path, pattern="*/*.npz", group_pattern=r"(p\d)/").groups == ("p1", "p2")


def test_a_segment_yields_as_many_windows_as_fit_and_a_short_one_none_or_a_padded_one(tmp_path):
    x = noise() + 5
    write_npz(tmp_path / "a.npz", x)
    (tmp_path / "l.csv").write_text(HEAD + "a,0,2.9,k,p\na,3,3.5,k,q\n")
    how = {"labels": "l.csv", "normalize": "window"}
    dropped, padded = (cut(tmp_path, **how), cut(tmp_path, **how, short="pad"))
    assert len(dropped) == 2
    assert any(
        "1 of 2 segments are shorter than 1 s and gave no window" in c for c in dropped.caveats
    )
    assert len(padded) == 3
    # normalised before the zeros come
    assert np.array_equal(padded.x[2, :, 25:75], zscore(x[:, 300:350]))
    assert not padded.x[2, :, :25].any()
    assert not padded.x[2, :, 75:].any()
    assert any("padded with zeros" in c for c in padded.caveats)


def test_overlap_is_allowed_and_said(tmp_path):
    write_npz(tmp_path / "a.npz", noise())
    assert cut(tmp_path).caveats == ()
    windows = cut(tmp_path, stride_s=0.5)
    assert len(windows) == 19
    assert windows.caveats == ("overlapping the one before: 18 of 19 windows, so not independent",)


def test_a_limit_spreads_the_windows_over_the_segment(tmp_path):
    write_npz(tmp_path / "a.npz", np.arange(1000, dtype=np.float32)[None])
    windows = raw(tmp_path, max_windows_per_segment=3)
    assert windows.x[:, 0, 0].tolist() == [0, 400, 900]


def test_a_limit_of_a_recording_spreads_over_all_of_its_segments(tmp_path):
    write_npz(tmp_path / "a.npz", np.arange(1000, dtype=np.float32)[None])
    (tmp_path / "l.csv").write_text(HEAD + "".join(f"a,{i},{i + 1},k,p\n" for i in range(10)))
    windows = raw(tmp_path, labels="l.csv", max_windows_per_recording=3)
    assert windows.x[:, 0, 0].tolist() == [0, 400, 900]


def test_tables_of_several_folders_are_read_together_and_faults_name_theirs(tmp_path):
    for i, name in enumerate(("one", "two")):
        write_npz(tmp_path / name / f"r{i}.npz", noise(seed=i))
        (tmp_path / name / "l.csv").write_text(HEAD + f"r{i},0,2,{name},p{i}\n")
    spec = {"pattern": "*/*.npz", "labels": "*/l.csv"}
    windows = raw(tmp_path, **spec)
    assert windows.classes == ("one", "two")
    assert windows.labels.tolist() == [0, 0, 1, 1]
    assert windows.groups == ("p0", "p1")
    before = files(tmp_path, **spec).digest()
    (tmp_path / "two" / "l.csv").write_text(HEAD + "r1,0,99,two,p1\nr7,0,1,two,p1\n")
    said = refusal(tmp_path, **spec)
    assert "two/l.csv:2: labels: stop_s=99 is outside r1.npz" in said
    assert "two/l.csv:3: labels: file=r7 fits no file" in said
    assert files(tmp_path, **spec).digest() != before


def test_a_row_without_times_labels_its_whole_recording(tmp_path):
    for i, name in enumerate("ab"):
        write_npz(tmp_path / f"{name}.npz", noise(seed=i))
    (tmp_path / "l.csv").write_text("file,label,group\na,rest,p\nb,task,q\n")
    windows = raw(tmp_path, labels="l.csv")
    assert windows.class_counts() == {"rest": 10, "task": 10}
    (tmp_path / "l.csv").write_text(HEAD + "a,,,rest,p\nb,2,4,task,q\n")
    windows = raw(tmp_path, labels="l.csv")
    assert windows.class_counts() == {"rest": 10, "task": 2}
    assert np.array_equal(windows.x[10], noise(seed=1)[:, 200:300])


def test_samples_are_those_of_the_recording_at_its_own_rate(tmp_path):
    for name, sfreq in (("a", 100.0), ("b", 200.0)):
        write_npz(tmp_path / f"{name}.npz", noise(), sfreq)
    head = "file,start_sample,stop_sample,label,group\n"
    (tmp_path / "l.csv").write_text(head + "a,100,300,k,p\nb,200,600,k,q\n")
    windows = raw(tmp_path, labels="l.csv")
    assert windows.group.tolist() == [0, 0, 1, 1]
    assert np.array_equal(windows.x[0], noise()[:, 100:200])
    halved = resample_poly(noise(), 1, 2, axis=1, padtype="edge")
    assert np.abs(windows.x[2] - halved[:, 100:200]).max() < 1e-6


def test_a_table_without_groups_has_those_that_the_pattern_finds(tmp_path):
    for name in ("s1_a", "s1_b", "s2_a", "notes"):
        write_npz(tmp_path / f"{name}.npz", noise())
    (tmp_path / "l.csv").write_text("file,label\ns1_a,rest\ns1_b,task\ns2_a,rest\n")
    windows = raw(tmp_path, labels="l.csv", group_pattern=r"^(s\d)")
    assert windows.groups == ("s1", "s2")
    assert np.bincount(windows.group).tolist() == [20, 10]


def test_labels_of_another_case_are_two_where_merge_or_classes_say_what_they_are(tmp_path):
    write_npz(tmp_path / "a.npz", noise())
    (tmp_path / "l.csv").write_text(HEAD + "a,0,1,rest,p\na,1,2,Rest,p\na,2,3,task,q\n")
    merged = cut(tmp_path, labels="l.csv", merge={"Rest": "rest"})
    assert merged.class_counts() == {"rest": 2, "task": 1}
    apart = cut(tmp_path, labels="l.csv", classes=("rest", "Rest"))
    assert apart.class_counts() == {"rest": 1, "Rest": 1}
    # left out in silence otherwise
    assert "did you mean `Rest`" in refusal(tmp_path, labels="l.csv", classes=("rest", "task"))


def test_a_single_label_a_letter_from_a_common_one_is_a_caveat(tmp_path):
    write_npz(tmp_path / "a.npz", noise(2000))
    rows = [f"a,{i},{i + 1},{label},p\n" for i, label in enumerate(["rest"] * 10 + ["rset"])]
    (tmp_path / "l.csv").write_text(HEAD + "".join(rows))
    said = "label `rset` (1 row) is a letter from `rest` (10 rows)"
    assert any(said in caveat for caveat in cut(tmp_path, labels="l.csv").caveats)
    for edits in ({"merge": {"rset": "rest"}}, {"classes": ("rest", "rset")}):
        assert not any(said in c for c in cut(tmp_path, labels="l.csv", **edits).caveats)


@pytest.mark.parametrize("suffix", ["edf", "bdf"])
def test_annotations_label_their_stretches_and_events_the_seconds_after_them(tmp_path, suffix):
    x, y = noise(1100, 2), noise(1100, 2, seed=1)
    marks = [(1.0, 2.0, "Schlaf ö"), (4.5, None, "spike"), (10.4, None, "spike")]
    write_annotated(tmp_path / f"a.{suffix}", x, *marks)
    # onsets count from the start in the header, which has no fractions
    write_annotated(tmp_path / f"b.{suffix}", y, (6.0, None, "spike"), begin=0.25)
    spec = {"pattern": f"*.{suffix}", "labels": "annotations"}
    windows = raw(tmp_path, **spec)
    assert windows.groups == ("a", "b")
    assert windows.class_counts() == {"Schlaf ö": 2, "spike": 2}
    expected = [x[:, 100:200], x[:, 200:300], x[:, 450:550], y[:, 600:700]]
    assert np.abs(windows.x - np.stack(expected)).max() < 1e-3
    assert "1 of 4 segments are shorter than 1 s and gave no window" in windows.caveats
    only = raw(tmp_path, **spec, classes=("spike",), group_pattern="(.)")
    assert only.class_counts() == {"spike": 2}
    assert "did you mean `spike`" in refusal(tmp_path, **spec, classes=("spikes",))


def test_events_of_bids_label_the_recording_that_they_are_beside(tmp_path):
    x, y = noise(), noise(seed=1)
    write_npz(tmp_path / "sub-1" / "sub-1_task-x_run-1_eeg.npz", x)
    write_npz(tmp_path / "sub-2" / "sub-2_task-x_eeg.npz", y)
    head, first, second = "onset\tduration\ttrial_type\n", tmp_path / "sub-1", tmp_path / "sub-2"
    rows = "1.0\t2\tface\n4.0\t0\ttone\n5.0\tn/a\ttone\n6\t1\tn/a\n"
    (first / "sub-1_task-x_run-1_events.tsv").write_text(head + rows)
    (second / "sub-2_task-x_events.tsv").write_text(head + "3\t1\tface\n")
    spec = {"pattern": "*/*_eeg.npz", "labels": "events.tsv", "group_pattern": r"^(sub-\d)"}
    windows = raw(tmp_path, **spec)
    assert windows.groups == ("sub-1", "sub-2")
    assert [windows.classes[y] for y in windows.labels] == ["face"] * 2 + ["tone"] * 2 + ["face"]
    begins = [x[:, 100 * i : 100 * i + 100] for i in (1, 2, 4, 5)]
    assert np.array_equal(windows.x, np.stack([*begins, y[:, 300:400]]))
    before = files(tmp_path, **spec).digest()
    (second / "sub-2_task-x_events.tsv").write_text(head + "9\t2\tface\n-1\t1\tface\n")
    said = refusal(tmp_path, **spec)
    assert "sub-2_task-x_events.tsv:2: labels: stop_s=11 is outside sub-2_task-x_eeg.npz" in said
    assert "sub-2_task-x_events.tsv:3: labels: onset=-1 duration=1 trial_type=face: must" in said
    assert files(tmp_path, **spec).digest() != before
    (second / "sub-2_task-x_events.tsv").unlink()
    assert "there is no such file beside sub-2_task-x_eeg.npz" in refusal(tmp_path, **spec)


def test_times_rounded_to_a_table_do_not_cost_a_sample(tmp_path):
    write_npz(tmp_path / "a.npz", noise(3610), 360.0)
    # between samples: both ends may round inwards
    starts = [(k + 0.5) / 360 for k in range(0, 3400, 181)]
    rows = "".join(f"a,{start:.4f},{start + 179 / 360:.4f},k,p\n" for start in starts)
    (tmp_path / "l.csv").write_text(HEAD + rows)
    assert len(cut(tmp_path, labels="l.csv", sfreq=360.0, seconds=179 / 360)) == len(
        rows.splitlines()
    )


def test_a_class_that_one_group_alone_has_is_a_caveat(tmp_path):
    write_npz(tmp_path / "a.npz", noise())
    (tmp_path / "l.csv").write_text(HEAD + "a,0,1,ill,p\na,1,2,well,q\na,2,3,well,p\n")
    caveat = "ill: all windows are from one group, so class and group cannot be told apart"
    assert cut(tmp_path, labels="l.csv").caveats == (caveat,)


def test_windows_with_missing_samples_are_dropped_and_counted(tmp_path):
    import wfdb

    x = noise().astype(float)
    x[0, 250:260] = np.nan
    names = ["II", "V1"]
    wfdb.wrsamp("a", 100, ["mV"] * 2, names, p_signal=x.T, fmt=["16"] * 2, write_dir=str(tmp_path))
    for normalize in ("window", "recording"):
        windows = cut(tmp_path, pattern="*.hea", normalize=normalize)
        assert len(windows) == 9
        assert np.isfinite(windows.x).all()
        assert windows.caveats == ("dropped for missing samples: 1 of 10 windows",)
    # resampling does not spread a gap
    assert len(cut(tmp_path, pattern="*.hea", sfreq=50.0)) == 9


def test_a_channel_without_any_sample_is_an_error(tmp_path):
    x = noise()
    x[1] = np.nan
    write_npz(tmp_path / "a.npz", x)
    with pytest.raises(
        SpecError, match=r"a\.npz: c1: every sample is missing; leave the channel out"
    ):
        cut(tmp_path)


def test_a_class_of_which_no_window_is_left_is_an_error(tmp_path):
    write_npz(tmp_path / "a.npz", noise())
    (tmp_path / "l.csv").write_text(HEAD + "a,0,1,long,p\na,1,1.5,brief,q\n")
    with pytest.raises(
        SpecError, match="brief: no window of 1 s is left of this class; shorten `seconds`"
    ):
        cut(tmp_path, labels="l.csv")


# ---- bad input ----


def _truncate(path: Path, keep: float = 0.6) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def _bad_edf(root: Path) -> dict[str, Any]:
    export.write_edf(root / "a.edf", noise(60_000), SFREQ, ["Fz", "Cz"])
    _truncate(root / "a.edf")
    return {"pattern": "*.edf"}


def _no_edf(root: Path) -> dict[str, Any]:
    (root / "a.edf").write_bytes(b"PK\3\4 this is something else" * 40)
    return {"pattern": "*.edf"}


def _empty_edf(root: Path) -> dict[str, Any]:
    (root / "a.edf").write_bytes(b"")
    return {"pattern": "*.edf"}


def _garbled_edf(root: Path) -> dict[str, Any]:
    export.write_edf(root / "a.edf", noise(), SFREQ, ["Fz", "Cz"])
    data = bytearray((root / "a.edf").read_bytes())
    data[252:256] = b"many"
    (root / "a.edf").write_bytes(data)
    return {"pattern": "*.edf"}


def _interrupted_edf(root: Path) -> dict[str, Any]:
    import edfio

    signal = edfio.EdfSignal(noise(1000, 1)[0].astype(float), 100, label="Fz")
    edfio.Edf([signal], annotations=[]).write(root / "a.edf")
    data = (
        (root / "a.edf").read_bytes().replace(b"EDF+C", b"EDF+D").replace(b"+9\x14", b"+99\x14"[:3])
    )
    (root / "a.edf").write_bytes(data.replace(b"+5\x14\x14", b"+7\x14\x14"))
    return {"pattern": "*.edf"}


def _bad_wfdb(root: Path) -> dict[str, Any]:
    export.write_wfdb(root / "a", noise(), SFREQ, ["II", "V1"])
    _truncate(root / "a.dat")
    return {"pattern": "*.hea"}


def _headless_wfdb(root: Path) -> dict[str, Any]:
    export.write_wfdb(root / "a", noise(), SFREQ, ["II", "V1"])
    (root / "a.dat").unlink()
    return {"pattern": "*.hea"}


def _segmented_wfdb(root: Path) -> dict[str, Any]:
    (root / "a.hea").write_text("a/2 1 100 200\na_1 100\na_2 100\n")
    return {"pattern": "*.hea"}


def _bad_npz(root: Path) -> dict[str, Any]:
    write_npz(root / "a.npz", noise())
    _truncate(root / "a.npz")
    return {}


def _no_rate(root: Path) -> dict[str, Any]:
    np.savez(root / "a.npz", x=noise(), fs=100.0)
    return {}


def _flat_npz(root: Path) -> dict[str, Any]:
    np.savez(root / "a.npz", x=noise()[0], sfreq=SFREQ)
    return {}


def _pickled_npz(root: Path) -> dict[str, Any]:
    np.savez(root / "a.npz", x=np.array([[{}]], dtype=object), sfreq=100.0)
    return {}


def _nameless_npz(root: Path) -> dict[str, Any]:
    write_npz(root / "a.npz", noise(), ch_names=np.array(["one"]))
    return {}


def _spreadsheet(root: Path) -> dict[str, Any]:
    (root / "a.xls").write_text("1,2\n")
    return {"pattern": "*.xls"}


def _annotated_table(root: Path) -> dict[str, Any]:
    (root / "a.csv").write_text("x\n1\n2\n")
    return {"pattern": "*.csv", "labels": "annotations", "layout": FileLayout(rate=1.0)}


def _spec(**edits: Any) -> Any:
    def make(root: Path) -> dict[str, Any]:
        write_npz(root / "a.npz", noise())
        return edits

    return make


def _csv(text: str) -> Any:
    def make(root: Path) -> dict[str, Any]:
        write_npz(root / "a.npz", noise())
        (root / "l.csv").write_text(text)
        return {"labels": "l.csv"}

    return make


def _unlike(root: Path) -> dict[str, Any]:
    write_npz(root / "a.npz", noise())
    write_npz(root / "b.npz", noise(), ch_names=np.array(["c0", "Fz"]))
    return {}


def _unlike_units(root: Path) -> dict[str, Any]:
    write_npz(root / "a.npz", noise(), unit="uV")
    write_npz(root / "b.npz", noise(), unit="mV")
    return {"normalize": "none"}


def _same_stem(root: Path) -> dict[str, Any]:
    for folder in ("p", "q"):
        write_npz(root / folder / "a.npz", noise())
    (root / "l.csv").write_text(HEAD + "a,0,1,k,p\n")
    return {"pattern": "*/*.npz", "labels": "l.csv"}


def _annotated(root: Path, *marks: Mark, keep: float = 1.0, name: str = "a") -> dict[str, Any]:
    write_annotated(root / f"{name}.edf", noise(), *marks)
    _truncate(root / f"{name}.edf", keep)
    return {"pattern": "*.edf", "labels": "annotations"}


BAD = {
    "truncated edf": (
        _bad_edf,
        "a.edf: is truncated: its header promises ",
        "; copy or download it again",
    ),
    "not an edf": (
        _no_edf,
        "a.edf: is not EDF or BDF: it starts with",
        "convert it, or narrow `pattern`",
    ),
    "empty edf": (_empty_edf, "a.edf: is not EDF or BDF", "convert it"),
    "garbled edf": (
        _garbled_edf,
        "a.edf: cannot be read as edf: invalid literal",
        "copy or download it again",
    ),
    "interrupted edf": (
        _interrupted_edf,
        "a.edf: is EDF+D, a recording with interruptions",
        "export its stretches",
    ),
    "truncated wfdb": (
        _bad_wfdb,
        "a.hea: its data file a.dat is truncated: 1000 samples promised, 600 there",
        "copy",
    ),
    "wfdb without data": (
        _headless_wfdb,
        "a.hea: its data file a.dat is missing",
        "put it beside the header",
    ),
    "wfdb in segments": (
        _segmented_wfdb,
        "a.hea: pattern: holds 2 segments",
        "the segments' own headers",
    ),
    "truncated npz": (_bad_npz, "a.npz: cannot be read as npz:", "copy or download it again"),
    "npz without rate": (_no_rate, "a.npz: holds no `sfreq`, only x, fs", "write it with them"),
    "npz of one axis": (
        _flat_npz,
        "a.npz: `x` must be numbers (channels, samples), but is float32 (1000,)",
        "reshape",
    ),
    "npz of objects": (
        _pickled_npz,
        "a.npz: `x` must be numbers (channels, samples), but is object",
        "reshape",
    ),
    "npz with too few names": (
        _nameless_npz,
        "a.npz: `x` has 2 channels but 1 names",
        "write one of each",
    ),
    "unknown format": (
        _spreadsheet,
        "a.xls: pattern: `.xls` is no format of recordings",
        "narrow it to .edf, .bdf, .hea, .npz",
    ),
    "no match": (
        _spec(pattern="*.edf"),
        "pattern: pattern=*.edf matches no file",
        "which holds a.npz",
    ),
    "no folder": (
        _spec(root="/nowhere/at/all"),
        "there is no folder /nowhere/at/all",
        "correct the path",
    ),
    "unset variable": (
        _spec(root="$NO_SUCH_PLACE/x"),
        "the variable NO_SUCH_PLACE is not set",
        "set it or write the path",
    ),
    "no such channel": (
        _spec(channels=("c9",)),
        "a.npz: channels: `c9` is not there",
        "there are c0, c1",
    ),
    "near miss": (
        _spec(channels=("C1",)),
        "a.npz: channels: `C1` is not there",
        "did you mean `c1`?",
    ),
    "streams of a plain file": (
        _spec(streams=("BVP",)),
        "a.npz: streams: holds no streams",
        "drop `streams:`",
    ),
    "no labels": (
        _spec(labels="l.csv"),
        "l.csv: labels: there is no such file",
        "it is relative to root",
    ),
    "channels differ": (
        _unlike,
        "b.npz: channels: has Fz, but a.npz has c1",
        "name those to use in `channels:`",
    ),
    "units differ": (
        _unlike_units,
        "b.npz: normalize: has mv, but a.npz has uv",
        "convert the files",
    ),
    "missing column": (
        _csv("file,start,stop_s,label\n"),
        "l.csv:1: labels: has no column start_s, group",
        "must name file,",
    ),
    "empty table": (_csv(HEAD), "l.csv: labels: holds no row", "leave `labels` out"),
    "not a number": (
        _csv(HEAD + "a,zero,1,k,p\n"),
        "l.csv:2: labels: start_s='zero' is no number",
        "write seconds",
    ),
    "nan": (
        _csv(HEAD + "a,0,nan,k,p\n"),
        "l.csv:2: labels: stop_s='nan' is no number",
        "write seconds",
    ),
    "short row": (
        _csv(HEAD + "a,0\n"),
        "l.csv:2: labels: has 2 fields, but the first line names 5",
        "fill in what is missing",
    ),
    "an unquoted comma": (
        _csv(HEAD + "a,0,1,rest, eyes closed,p\n"),
        "l.csv:2: labels: has 6 fields, but the first line names 5",
        "put double quotes around the one that holds a comma",
    ),
    "an unquoted comma, columns without a name": (
        _csv("file,start_s,stop_s,label,group,\na,0,1,k,p,\na,1,2,rest, eyes closed,p\n"),
        "l.csv:3: labels: holds 'p' under no name",
        "put double quotes around the field",
    ),
    "a quote that never closes": (
        _csv(HEAD + 'a,0,1,k,"p\na,1,2,k,p\n'),
        "l.csv:2: labels: cannot be read: unexpected end of data",
        "close the quotes",
    ),
    "a quote that closes lines later": (
        _csv(HEAD + 'a,0,1,k,"p\na,1,2,k,p"\n'),
        "l.csv:2: labels: holds a line break inside quotes",
        "close the quotes",
    ),
    "two columns of one name": (
        _csv("file,start_s,stop_s,label,group,label\na,0,1,k,p,k\n"),
        "l.csv:1: labels: names the column label twice",
        "keep one",
    ),
    "one time": (
        _csv(HEAD + "a,0,,k,p\n"),
        "l.csv:2: labels: stop_s is empty, but the other time is not",
        "leave both empty",
    ),
    "seconds and samples": (
        _csv("file,start_s,stop_sample,label,group\na,0,1,k,p\n"),
        "l.csv:1: labels: has start_s, stop_sample: times are seconds or samples, not both",
        "drop one pair",
    ),
    "times under other names": (
        _csv("file,start,stop,label,group\na,0,1,k,p\n"),
        "l.csv:1: labels: has start, stop, which is not read",
        "call times start_s,stop_s or start_sample,stop_sample",
    ),
    "half a sample": (
        _csv("file,start_sample,stop_sample,label,group\na,0,10.5,k,p\n"),
        "l.csv:2: labels: stop_sample='10.5' is no whole number",
        "write samples, or call it stop_s",
    ),
    "samples after the end": (
        _csv("file,start_sample,stop_sample,label,group\na,0,1100,k,p\n"),
        "l.csv:2: labels: stop_sample=1100 is outside a.npz, which has 1000 samples of c0",
        "correct",
    ),
    "a decimal comma between commas": (
        _csv(HEAD + 'a,0,"1,5",k,p\n'),
        "l.csv:2: labels: stop_s='1,5' is no number",
        "write seconds",
    ),
    "two decimal marks": (
        _csv(HEAD.replace(",", ";") + "a;0,5;1,5;k;p\na;1.500;2,5;k;p\n"),
        "l.csv:3: labels: start_s='1.500', but rows before have a decimal comma",
        "write one decimal mark",
    ),
    "no group at all": (
        _csv("file,label\na,k\n"),
        "l.csv:1: labels: has no column group",
        "without group where `group_pattern` finds it",
    ),
    "two groups": (
        lambda root: _csv(HEAD + "a,0,1,k,p\n")(root) | {"group_pattern": "(a)"},
        "l.csv:1: labels: has a column group, but `group_pattern` says where groups come from",
        "drop one of the two",
    ),
    "whole twice": (
        _csv("file,label,group\na,rest,p\na.npz,task,p\n"),
        "l.csv:3: labels: labels the whole recording, as line 2 does",
        "keep one",
    ),
    "another case": (
        _csv(HEAD + "a,0,1,rest,p\na,1,2,rest,p\na,2,3,Rest,p\n"),
        "l.csv:4: labels: label `Rest` (1 row) is `rest` (2 rows) but for case or spaces",
        "did you mean `rest`? correct it, say `merge: {Rest: rest}`",
    ),
    "annotations of a table": (
        _annotated_table,
        "a.csv: labels: `.csv` holds no annotations",
        "narrow `pattern` to .edf, .bdf, .npz",
    ),
    "no annotation": (
        lambda root: _annotated(root),
        "labels: labels=annotations, but none of 1 recordings holds one",
        "give `labels:` a table",
    ),
    "an annotation beyond the end": (
        lambda root: _annotated(root, (9.0, 4.0, "k")),
        "a.edf: labels: annotation `k` from 9 to 13 s is outside the recording, which is 10.0000 s",
        "leave it out with `classes`",
    ),
    "an annotated file that is cut short": (
        lambda root: _annotated(root, (1.0, 1.0, "k"), keep=0.8),
        "a.edf: is truncated",
        "copy or download it again",
    ),
    "backwards": (
        _csv(HEAD + "a,2,1,k,p\n"),
        "l.csv:2: labels: stop_s=1 must be after start_s=2",
        "correct one",
    ),
    "before the start": (
        _csv(HEAD + "a,-1,1,k,p\n"),
        "l.csv:2: labels: start_s=-1 is before the recording",
        "from 0",
    ),
    "after the end": (
        _csv(HEAD + "a,0,1,k,p\na,9,11,k,p\n"),
        "l.csv:3: labels: stop_s=11 is outside a.npz",
        "10.0000 s long",
    ),
    "no group": (
        _csv(HEAD + "a,0,1,k,\n"),
        "l.csv:2: labels: `group` is empty",
        "fill it in or remove the row",
    ),
    "no label": (
        _csv(HEAD + "a,0,1, ,p\n"),
        "l.csv:2: labels: `label` is empty",
        "fill it in or remove the row",
    ),
    "no such file": (
        _csv(HEAD + "a,0,1,k,p\nab,0,1,k,p\n"),
        "l.csv:3: labels: file=ab fits no file",
        "did you mean `a`?",
    ),
    "groups overlap": (
        _csv(HEAD + "a,0,2,k,p\na,1,3,k,q\n"),
        "l.csv:3: labels: overlaps line 2 but has another group",
        "correct",
    ),
    "ambiguous name": (
        _same_stem,
        "l.csv:2: labels: file=a fits p/a.npz, q/a.npz",
        "write its path relative to root",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_error_that_names_the_place_and_the_way_out(tmp_path, case):
    make, rule, way_out = BAD[case]
    spec = files(tmp_path, **make(tmp_path))
    with pytest.raises(SpecError) as caught:
        spec.check()
    assert len(caught.value.problems) == 1, str(caught.value)
    assert rule in str(caught.value)
    assert way_out in str(caught.value)
    with pytest.raises(SpecError):
        spec.prepare()


def test_everything_wrong_is_reported_at_once(tmp_path):
    write_npz(tmp_path / "a.npz", noise())
    write_npz(tmp_path / "b.npz", noise())
    write_npz(tmp_path / "c.npz", noise(), ch_names=np.array(["c0", "Fz"]))
    _truncate(tmp_path / "b.npz")
    rows = "a,0,99,k,p\nb,0,1,k,p\nc,0,1,k,p\nnobody,0,1,k,p\na,3,2,k,p\na,0,1,k,\n"
    (tmp_path / "l.csv").write_text(HEAD + rows)
    said = refusal(tmp_path, labels="l.csv", channels=("c0", "c1")).splitlines()
    origins = [
        "l.csv:6",
        "l.csv:7",
        "l.csv:5",
        "l.csv:2",
        "b.npz: cannot be read",
        "c.npz: channels: `c1`",
    ]
    assert len(said) == len(origins)
    assert all(any(place in line for line in said) for place in origins), said


def test_the_same_complaint_about_many_rows_or_files_is_cut_short(tmp_path):
    for i in range(8):
        write_npz(tmp_path / f"a{i}.npz", noise(10))
    (tmp_path / "l.csv").write_text(HEAD + "".join(f"x{i},0,1,k,p\n" for i in range(9)))
    said = refusal(tmp_path, labels="l.csv", channels=("z",)).splitlines()
    assert sum("fits no file" in line for line in said) == 5
    assert sum("`z` is not there" in line for line in said) == 5
    assert any("and 4 more like these" in line for line in said)
    assert any("and 3 more like these" in line for line in said)


def test_a_header_that_is_fine_over_data_that_is_not_is_an_error_that_names_the_file(tmp_path):
    write_npz(tmp_path / "a.npz", noise())
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[2000:2010] = bytes(10)  # inside x: only its checksum tells
    (tmp_path / "a.npz").write_bytes(data)
    spec = files(tmp_path)
    spec.check()
    with pytest.raises(SpecError, match=r"a\.npz: cannot be read: Bad CRC-32"):
        spec.prepare()


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        (
            {"seconds": 0.01, "normalize": "window"},
            "is 1 samples at sfreq=100; normalize=window needs more",
        ),
        ({"seconds": 0.001, "normalize": "none"}, "is 0 samples"),
        ({"pattern": "/data/*.npz"}, "must be relative to root"),
        ({"classes": ["a"]}, "classes has no effect without labels"),
        ({"merge": {"a": "b"}}, "merge has no effect without labels"),
        ({"group_pattern": "(", "labels": None}, "is not a regular expression"),
        ({"group_pattern": "s1"}, "must hold one (…) around the group, but holds 0"),
        ({"channels": ["a", "a"]}, "channels must name each one once"),
        ({"stride_s": 0.0}, "must be greater than 0"),
    ],
)
def test_a_spec_that_would_mean_nothing_is_refused_before_any_file_is_opened(edits, message):
    tree = {"kind": "files", "root": "/nowhere", "pattern": "*.npz", "seconds": 1.0, "sfreq": SFREQ}
    with pytest.raises(SpecError) as caught:
        validate(Files, tree | edits)
    assert message in str(caught.value)


# ---- identity ----


@pytest.mark.parametrize("fmt", ["npz", "wfdb"])
def test_the_digest_follows_the_bytes_and_not_the_place(tmp_path, fmt):
    here, there = tmp_path / "here", tmp_path / "there"
    export.write_recordings(SOURCE, here, fmt)
    edits = {"pattern": f"recordings/*.{SUFFIX[fmt]}", "labels": "labels.csv"}
    first = files(here, **edits).digest()
    shutil.move(here, there)
    assert files(there, **edits).digest() == first
    for name in ("labels.csv", f"recordings/subject01.{'dat' if fmt == 'wfdb' else 'npz'}"):
        data = bytearray((there / name).read_bytes())
        data[-1] ^= 1
        (there / name).write_bytes(data)
        assert files(there, **edits).digest() != first
        data[-1] ^= 1
        (there / name).write_bytes(data)
        assert files(there, **edits).digest() == first
    (there / "recordings" / f"subject01.{SUFFIX[fmt]}").rename(
        there / "recordings" / f"renamed.{SUFFIX[fmt]}"
    )
    assert files(there, **edits).digest() != first


def test_a_second_start_does_not_read_the_data_again(tmp_path, monkeypatch):
    write_npz(tmp_path / "a.npz", noise())
    first = files(tmp_path).content()
    digests._file_digest.cache_clear()  # as a new process begins
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("was read again"))
    assert files(tmp_path).content() == first


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path, monkeypatch):
    write_npz(tmp_path / "a.npz", noise())
    first = files(tmp_path).content()
    (tmp_path / "occupied").write_text("a file where the cache should be")
    monkeypatch.setenv("CITRUS_CACHE", str(tmp_path / "occupied"))
    digests._file_digest.cache_clear()
    assert files(tmp_path).content() == first


def test_root_may_hold_a_variable_and_stays_out_of_the_identity(tmp_path, monkeypatch):
    write_npz(tmp_path / "a.npz", noise())
    monkeypatch.setenv("RECORDINGS_OF_MINE", str(tmp_path))
    spec = files(Path("$RECORDINGS_OF_MINE"))
    assert "root" not in spec.identity()
    assert spec.digest() == files(tmp_path).digest()
    assert cache.load(spec).digest == spec.digest()


def test_a_relative_root_is_the_same_in_a_worker_which_runs_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    write_npz(tmp_path / "mine" / "a.npz", noise())
    monkeypatch.chdir(tmp_path / "mine")
    monkeypatch.setenv(HERE, str(tmp_path))
    for root in ("mine", "./mine", str(tmp_path / "mine")):
        assert folder_at(root) == tmp_path / "mine"
    monkeypatch.setenv("CITRUS_DATA", "mine")
    assert data_root() == folder_at("$CITRUS_DATA") == tmp_path / "mine"
    monkeypatch.delenv(HERE)
    with pytest.raises(SpecError, match="there is no folder"):
        folder_at("mine")


def test_the_union_knows_files_by_their_kind(tmp_path):
    tree = {
        "kind": "files",
        "root": str(tmp_path),
        "pattern": "*.npz",
        "seconds": 1.0,
        "sfreq": 100.0,
    }
    assert isinstance(TypeAdapter(AnySource).validate_python(tree), Files)


def test_importing_the_sources_does_not_import_the_slow_readers():
    code = "import sys, citrus_ray.data; print(*{'mne', 'wfdb', 'scipy', 'edfio'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("name", "unit", "kind"),
    [
        ("Fp1", "uV", "eeg"),
        ("EEG Fpz-Cz", "uV", "eeg"),
        ("Cz", "", "eeg"),
        ("EOG horizontal", "uV", "eog"),
        ("E1-M2", "V", "eog"),
        ("EMG submental", "uV", "emg"),
        ("MLII", "mV", "ecg"),
        ("V5", "mV", "ecg"),
        ("aVR", "mV", "ecg"),
        ("ECG", "mV", "ecg"),
        ("Resp oro-nasal", "", "resp"),
        ("PLETH", "NU", "ppg"),
        ("ABP", "mmHg", "pressure"),
        ("SpO2", "%", "spo2"),
        ("C3 Imp", "Ohm", "impedance"),
        ("Status", "", "stim"),
        ("syn0", "uV", "unknown"),
    ],
)
def test_modalities_are_guessed_from_what_people_call_their_channels(name, unit, kind):
    assert guess_modality(name, unit) == kind


# ---- real recordings ----

R = "recordings/*.npz"
REAL: dict[str, tuple[dict[str, Any], tuple[int, int, int], int]] = {
    "bonn": ({"seconds": 1.025, "sfreq": 173.61, "pattern": R}, (11_500, 1, 178), 500),
    "emgdb": ({"seconds": 0.375, "sfreq": 4000.0, "pattern": "*.hea"}, (204, 1, 1500), 3),
    "mitbih": ({"seconds": 0.5, "sfreq": 360.0, "pattern": R}, (25_304, 1, 180), 12),
    "haxby": (
        {"seconds": 15.0, "sfreq": 0.4, "pattern": R, "normalize": "recording"},
        (144, 530, 6),
        12,
    ),
    "eegmat": (
        {"seconds": 4.0, "sfreq": 125.0, "pattern": "recordings/Subject0[0-3]*.npz"},
        (0, 21, 500),
        4,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_recordings_load_with_the_windows_and_groups_they_are_known_for(name, tmp_path):
    root = DATA / name
    if not root.is_dir():
        pytest.skip(f"{name} is not under {DATA}; set CITRUS_DATA to the folder that holds it")
    edits, shape, n_groups = REAL[name]
    labels = root / "labels.csv"
    if name == "eegmat":  # its table names recordings that the pattern leaves out
        lines = labels.read_text().splitlines(keepends=True)
        labels = tmp_path / "labels.csv"
        labels.write_text(
            "".join(
                line
                for line in lines
                if line.startswith(("file", *[f"Subject0{i}" for i in range(4)]))
            )
        )
    windows = cut(root, labels=str(labels), **edits)
    assert windows.x.shape[1:] == shape[1:]
    assert len(windows) == shape[0] or (name == "eegmat" and len(windows) > 200)
    assert len(windows.groups) == n_groups
    assert np.isfinite(windows.x).all()
    assert len(windows.classes) > 1
    assert (windows.x.std(axis=(1, 2)) > 0).all()


def test_original_edf_and_its_npz_copy_hold_the_same_signal():
    root = DATA / "eegmat"
    if not root.is_dir():
        pytest.skip(f"eegmat is not under {DATA}; set CITRUS_DATA to the folder that holds it")
    channels, edits = ("F3", "O2"), {"seconds": 4.0, "sfreq": 125.0, "normalize": "none"}
    copy = cut(root, pattern="recordings/Subject00_1.npz", channels=channels, **edits)
    names = tuple(f"EEG {name}" for name in channels)
    original = cut(root, pattern="edf/Subject00_1.edf", channels=names, **edits)
    n = min(len(copy), len(original)) - 1
    one, two = copy.x[1:n].ravel(), original.x[1:n].ravel()
    assert np.corrcoef(one, two)[0, 1] > 0.99
    assert np.std(one - two) < 0.1 * np.std(one)  # microvolts in both
