"""Recordings of several rates whose streams are kept apart: the same windows, at the same times,
each at its rate."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray.data.sources.files import Files
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.align import Native, Truncate
from citrus_ray.data.windows import Windows
from citrus_ray.spec import SpecError, validate

DATA = Path(
    os.environ.get("CITRUS_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data"
)
RATES = {"BVP": 64.0, "EDA": 4.0, "ACC": 32.0}
CHANS = {"BVP": 1, "EDA": 1, "ACC": 3}
HEAD = "file,start_s,stop_s,label,group\n"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITRUS_CACHE", str(tmp_path_factory.mktemp("cache")))


def signals(seconds: float = 60.0) -> dict[str, np.ndarray]:
    """Noise well below 1: a marker is what is above it."""
    rng = np.random.default_rng(0)
    return {
        k: rng.uniform(-0.1, 0.1, (CHANS[k], round(seconds * RATES[k]))).astype(np.float32)
        for k in RATES
    }


def write(path: Path, x: dict[str, np.ndarray], **rates: float) -> None:
    fields: dict[str, Any] = {f"x_{k}": x[k] for k in x} | {
        f"sfreq_{k}": (RATES | rates)[k] for k in x
    }
    np.savez(path, streams=list(x), modality=["ppg", "eda", "motion"], **fields)


def files(root: Path, rows: str | None = None, **edits: Any) -> Files:
    if rows is not None:
        (root / "l.csv").write_text(HEAD + rows)
        edits |= {"labels": "l.csv"}
    fields: dict[str, Any] = {
        "root": str(root),
        "pattern": "*.npz",
        "seconds": 10.0,
        "sfreq": "native",
    }
    return Files(**(fields | {"streams": ("BVP", "EDA", "ACC"), "normalize": "none"} | edits))


def markers(windows: Windows) -> list[list[tuple[int, float]]]:
    """Window, and second in it, of every sample above the noise, stream by stream."""
    return [
        [(int(i), float(t / s.sfreq)) for i, t in zip(*np.nonzero(s.x[:, 0] > 0.5), strict=True)]
        for s in windows.streams
    ]


def test_each_stream_keeps_its_rate_and_the_first_is_x(tmp_path):
    write(tmp_path / "a.npz", signals())
    windows = files(tmp_path).prepare()
    shapes = [(s.name, s.x.shape, s.sfreq, s.modalities) for s in windows.streams]
    assert shapes == [
        ("BVP", (6, 1, 640), 64.0, ("ppg",)),
        ("EDA", (6, 1, 40), 4.0, ("eda",)),
        ("ACC", (6, 3, 320), 32.0, ("motion",) * 3),
    ]
    assert windows.x is windows.streams[0].x
    assert (windows.sfreq, windows.ch_names) == (64.0, ("BVP",))
    # not a sample was touched
    assert np.array_equal(windows.streams[2].x[1], signals()["ACC"][:, 320:640])


@pytest.mark.parametrize("start", [0.0, 3.0, 7.13])
def test_one_moment_is_in_the_same_window_and_at_the_same_second_of_every_stream(tmp_path, start):
    x = signals()
    for name, signal in x.items():
        signal[:, round(27 * RATES[name])] = 1
        signal[:, round(44.5 * RATES[name])] = 1
    write(tmp_path / "a.npz", x)
    found = markers(files(tmp_path, f"a,{start},60,k,p\n", stride_s=5.0).prepare())
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 4  # windows overlap by half
    begin = round(start * 4) / 4  # the nearest sample of the slowest stream
    assert {begin + 5 * i + t for i, t in found[0]} == {27, 44.5}


def test_a_window_that_one_stream_lacks_is_dropped_from_all(tmp_path):
    x = signals()
    x["EDA"][0, 50] = np.nan  # second 12.5
    x["ACC"] = x["ACC"][:, : 55 * 32]
    x["BVP"][0, round(31 * RATES["BVP"])] = 1
    write(tmp_path / "a.npz", x)
    windows = files(tmp_path).prepare()
    assert [len(s.x) for s in windows.streams] == [4, 4, 4]  # 0, 2, 3, 4
    assert markers(windows)[0] == [(2, 1.0)]
    assert windows.caveats == ("dropped for missing samples: 1 of 5 windows",)


def test_streams_are_stored_and_come_back_memory_mapped(tmp_path):
    write(tmp_path / "a.npz", signals())
    made, found = files(tmp_path).prepare(), cache.load(files(tmp_path))
    assert found.x is found.streams[0].x
    for one, two in zip(made.streams, found.streams, strict=True):
        assert isinstance(two.x, np.memmap)
        assert not two.x.flags.writeable
        assert np.array_equal(one.x, two.x)
        assert vars(one) | {"x": None} == vars(two) | {"x": None}


def test_taking_takes_from_every_stream(tmp_path):
    write(tmp_path / "a.npz", signals())
    windows = files(tmp_path).prepare()
    taken = windows.take(np.array([4, 1]))
    for before, after in zip(windows.streams, taken.streams, strict=True):
        assert np.array_equal(after.x, before.x[[4, 1]])
    assert taken.x is taken.streams[0].x


def test_blocks_of_time_keep_streams_together(tmp_path):
    write(tmp_path / "a.npz", signals(120))
    whole, blocks = files(tmp_path).prepare(), files(tmp_path, group_blocks=3).prepare()
    assert [len(s.x) for s in blocks.streams] == [10] * 3
    for before, after in zip(whole.streams, blocks.streams, strict=True):
        assert np.array_equal(after.x, before.x[[0, 1, 2, 3, 5, 6, 7, 9, 10, 11]])


def test_a_short_segment_is_padded_in_every_stream(tmp_path):
    write(tmp_path / "a.npz", signals())
    windows = files(tmp_path, "a,0,8,k,p\n", short="pad", normalize="window").prepare()
    silent = [(s.x[0, 0] == 0).sum() / s.sfreq for s in windows.streams]
    assert silent == [2, 2, 2]


def test_one_rate_is_one_array_as_before(tmp_path):
    write(tmp_path / "a.npz", signals())
    native, same = (files(tmp_path, streams=("ACC",), sfreq=s).prepare() for s in ("native", 32.0))
    assert native.streams == ()
    assert np.array_equal(native.x, same.x)
    assert (native.sfreq, native.ch_names) == (same.sfreq, same.ch_names)


def test_a_file_without_streams_is_kept_by_rate(tmp_path):
    import edfio

    fast, slow = signals()["BVP"][0].astype(float), signals()["EDA"][0].astype(float)
    edfio.Edf(
        [edfio.EdfSignal(fast, 64, label="Fz"), edfio.EdfSignal(slow, 4, label="Temp")]
    ).write(tmp_path / "a.edf")
    windows = files(tmp_path, pattern="*.edf", streams=None).prepare()
    assert [(s.name, s.ch_names, s.x.shape) for s in windows.streams] == [
        ("64 Hz", ("Fz",), (6, 1, 640)),
        ("4 Hz", ("Temp",), (6, 1, 40)),
    ]


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        (
            {"seconds": 10.1},
            "seconds=10.1 is 646.4 samples of BVP at 64 Hz, 40.4 samples of EDA at 4 Hz",
        ),
        (
            {"seconds": 10.1},
            "must be a whole number of at least 1 in every stream; take 10 or 10.25 s",
        ),
        (
            {"stride_s": 0.125},
            "stride_s=0.125 is 0.5 samples of EDA at 4 Hz, but must be a whole number",
        ),
        (
            {"seconds": 0.25, "normalize": "window"},
            "is 1 samples of EDA at 4 Hz, but must be a whole number of",
        ),
    ],
)
def test_a_window_of_part_of_a_sample_is_refused(tmp_path, edits, says):
    write(tmp_path / "a.npz", signals())
    with pytest.raises(SpecError) as caught:
        files(tmp_path, **edits).check()
    assert len(caught.value.problems) == 1
    assert says in str(caught.value)


def test_recordings_of_unequal_rates_are_refused(tmp_path):
    write(tmp_path / "a.npz", signals())
    write(tmp_path / "b.npz", signals(), EDA=8.0)
    with pytest.raises(SpecError, match="recorded as BVP at 64 Hz, EDA at 8 Hz") as caught:
        files(tmp_path).check()
    assert len(caught.value.problems) == 1


def test_a_rate_is_a_number_or_native():
    tree = {
        "kind": "files",
        "root": "/nowhere",
        "pattern": "*.npz",
        "seconds": 1.0,
        "sfreq": "natve",
    }
    with pytest.raises(SpecError, match='sfreq="natve": must be a valid number or `native`'):
        validate(Files, tree)
    with pytest.raises(SpecError, match="must be greater than 0") as caught:
        validate(Files, tree | {"sfreq": 0})
    assert len(caught.value.problems) == 1


def test_aligning_one_stream_and_not_the_others_is_refused(tmp_path):
    write(tmp_path / "a.npz", signals())
    windows = files(tmp_path).prepare()
    assert Native().apply(windows) is windows
    with pytest.raises(SpecError, match="name one of them in `streams:`"):
        Truncate(n_times=20).apply(windows)
    with pytest.raises(SpecError, match="every stream needs the same 6 windows"):
        replace(windows, x=windows.x.copy())


def test_the_real_wrist_band_keeps_its_rates():
    root = DATA / "stress_predict"
    if not root.is_dir():
        pytest.skip(
            f"stress_predict is not under {DATA}; set CITRUS_DATA to the folder that holds it"
        )
    edits: dict[str, Any] = {"pattern": "recordings/*.npz", "labels": "labels.csv", "seconds": 60.0}
    windows = files(root, normalize="recording", **edits).prepare()
    assert [s.x.shape for s in windows.streams] == [
        (1762, 1, 3840),
        (1762, 1, 240),
        (1762, 3, 1920),
    ]
    assert len(windows.groups) == 34
    alone = files(
        root, normalize="recording", streams=("EDA",), **(edits | {"sfreq": 4.0})
    ).prepare()
    assert np.array_equal(windows.streams[1].x[:20], alone.x[:20])
