"""Properties of every format: what is written comes back, and what is broken is one error about the
file, or what it still holds; never a traceback, never samples in another place."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from citrus_ray.data.formats.recordings import read_header, read_samples
from citrus_ray.data.formats.signals import PLAIN, FileLayout
from citrus_ray.data.sources.files import Files
from citrus_ray.data.tools.export import write_edf, write_npz, write_wfdb
from citrus_ray.data.windows import Windows
from citrus_ray.spec import SpecError, validate
from tests.data import foreign

SFREQ = 50.0
QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]


def few(n: int) -> Any:
    """So many examples, the same ones in every run."""
    return settings(
        max_examples=n, deadline=None, derandomize=True, database=None, suppress_health_check=QUIET
    )


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("CITRUS_CACHE", str(tmp_path_factory.mktemp("cache")))


def noise(n_chans: int = 2, n_times: int = 300) -> np.ndarray:
    return np.round(40 * np.random.default_rng(0).normal(size=(n_chans, n_times))).astype("f4")


def samples(path: Path, layout: FileLayout = PLAIN) -> np.ndarray:
    header = read_header(path, layout)
    return np.stack(read_samples(header, header.channels))


def windows(path: Path, **edits: Any) -> Windows:
    spec: dict[str, Any] = {"kind": "files", "root": str(path.parent), "pattern": path.name}
    spec |= {"seconds": 1.0, "sfreq": SFREQ, "normalize": "none"}
    return validate(Files, spec | edits).prepare()


# ---- tables ----

MISSING = ["", "NA", "nan", "null", " "]
number = st.one_of(
    st.floats(-1e6, 1e6, width=32).map(lambda v: repr(float(v))),
    st.integers(-999, 999).map(str),
    st.floats(-1.0, 1e3, width=32).map(lambda v: f"{v:.3e}"),
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[bytes, np.ndarray, FileLayout, str]:
    """A table as bytes, the values (C, T) that it means, how it is laid out, and its ending."""
    kinds = [(",", ".csv"), (";", ".csv"), ("\t", ".tsv"), (";", ".txt")]
    mark, ending = draw(st.sampled_from(kinds))
    decimal = "." if mark == "," else draw(st.sampled_from(".,"))
    n_chans, n_rows = draw(st.integers(1, 3)), draw(st.integers(4, 12))
    cells = [
        [draw(st.one_of(number, st.sampled_from(MISSING)) if i else number) for _ in range(n_chans)]
        for i in range(n_rows)
    ]
    values = np.array([[np.nan if c in MISSING else float(c) for c in row] for row in cells]).T
    if not cells[-1][0].strip():
        cells[-1][0], values[0, -1] = "1", 1.0  # an empty last line is the end of the one before
    quote = draw(st.booleans())
    names = [f'"c {i}"' if quote else f"c{i}" for i in range(n_chans)]
    timed = draw(st.sampled_from(["none", "s", "ms", "date"]))
    kept = sorted({0, 1, 2, n_rows - 1, *draw(st.lists(st.integers(0, n_rows - 1), max_size=8))})
    layout, lines = PLAIN, []
    if timed == "none":
        layout, kept = FileLayout(rate=SFREQ), list(range(n_rows))
    for k in kept:
        at = k / SFREQ
        day = np.datetime64("2024-03-01T00:00:00.000") + np.timedelta64(20 * k, "ms")
        stamp = {"none": [], "s": [f"{at:.4f}"], "ms": [f"{1000 * at:.1f}"], "date": [str(day)]}
        lines.append([*stamp[timed], *cells[k]])
    head = {"none": [], "s": ["time"], "ms": ["time_ms"], "date": ["timestamp"]}[timed]
    rows = [[*head, *names]]
    for line in lines:
        rows.append([str(c) if timed == "date" and i == 0 else str(c).replace(".", decimal)
                     for i, c in enumerate(line)])  # fmt: skip
    gone = np.setdiff1d(np.arange(n_rows), kept)
    values[:, gone] = np.nan
    pad = draw(st.sampled_from(["", " "]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    text = [(mark + pad).join(row) for row in rows]
    if n_chans > 1 or timed != "none":  # a blank line is nothing, where a row is not blank
        text.insert(draw(st.integers(0, len(text))), "")
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    last = draw(st.sampled_from(["", end]))
    return (end.join(text) + last).encode(encoding), values, layout, ending


def _is_what_it_means(tmp_path: Path, table: tuple[bytes, np.ndarray, FileLayout, str]) -> None:
    data, values, layout, ending = table
    path = tmp_path / f"a{ending}"
    path.write_bytes(data)
    found = samples(path, layout)
    assert np.array_equal(np.isnan(found), np.isnan(values)), data
    assert np.allclose(found, values, equal_nan=True, rtol=1e-12), data
    assert read_header(path, layout).channels[0].sfreq == SFREQ


@few(10)
@given(table=tables())
def test_a_table_of_any_dialect_is_what_it_means(tmp_path, table):
    _is_what_it_means(tmp_path, table)


@pytest.mark.slow
@few(600)
@given(table=tables())
def test_many_tables_of_any_dialect_are_what_they_mean(tmp_path, table):
    _is_what_it_means(tmp_path, table)


def _is_read_or_refused(tmp_path: Path, data: bytes, layout: FileLayout) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    try:
        samples(path, layout)
    except SpecError as err:
        _names_file_and_way_out(err, "a.csv")


def _names_file_and_way_out(err: SpecError, name: str) -> None:
    for line in str(err).splitlines():
        assert name in line
        assert "; " in line, line


@pytest.mark.slow
@few(600)
@given(table=tables(), at=st.integers(0, 400), junk=st.binary(min_size=1, max_size=4))
def test_a_table_with_junk_in_it_is_read_or_one_error(tmp_path, table, at, junk):
    data, _, layout, _ = table
    at %= len(data)
    _is_read_or_refused(tmp_path, data[:at] + junk + data[at:], layout)
    _is_read_or_refused(tmp_path, data[:at], layout)


@pytest.mark.parametrize("extra", [",9", ",9,9"])
@few(8)
@given(row=st.integers(0, 7))
def test_a_row_of_another_width_is_refused_by_its_line(tmp_path, extra, row):
    lines = ["t,a,b", *(f"{i / SFREQ},{i},{-i}" for i in range(8))]
    for broken in (lines[row + 1] + extra, lines[row + 1].rpartition(",")[0]):
        (tmp_path / "a.csv").write_text("\n".join([*lines[: row + 1], broken, *lines[row + 2 :]]))
        with pytest.raises(SpecError, match=rf"a.csv:{row + 2}: has \d fields"):
            samples(tmp_path / "a.csv")


# ---- formats that mne, wfdb and scipy read ----


def _edf(path: Path, x: np.ndarray) -> None:
    write_edf(path, x, SFREQ, [f"c{i}" for i in range(len(x))])


def _fif(path: Path, x: np.ndarray) -> None:
    import mne

    info = mne.create_info(len(x), SFREQ, "eeg")
    mne.io.RawArray(x * 1e-6, info, verbose="ERROR").save(path, overwrite=True, verbose="ERROR")


def _mat(path: Path, x: np.ndarray) -> None:
    from scipy.io import savemat

    savemat(path, {"x": x, "sfreq": SFREQ})


def _csv(path: Path, x: np.ndarray) -> None:
    rows = ["t,a,b", *(f"{i / SFREQ},{a},{b}" for i, (a, b) in enumerate(x.T))]
    path.write_text("\n".join(rows) + "\n")


def _parquet(path: Path, x: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    times = np.arange(x.shape[1]) / SFREQ
    pq.write_table(pa.table({"t": times, "a": x[0], "b": x[1]}), path)


WRITERS: dict[str, Callable[[Path, np.ndarray], None]] = {
    "a.edf": _edf,
    "a.bdf": _edf,
    "a.dat": lambda path, x: write_wfdb(path.with_suffix(""), x, SFREQ, ["a", "b"]),
    "a.hea": lambda path, x: write_wfdb(path.with_suffix(""), x, SFREQ, ["a", "b"]),
    "a.npz": lambda path, x: write_npz(path, x, SFREQ, ["a", "b"], ["eeg", "eeg"]),
    "a_raw.fif": _fif,
    "a.vhdr": lambda path, x: foreign.brainvision(path, x, SFREQ, [(40, 9, "Stimulus/a")]),
    "a.eeg": lambda path, x: foreign.brainvision(path, x, SFREQ),
    "a.vmrk": lambda path, x: foreign.brainvision(path, x, SFREQ, [(40, 9, "Stimulus/a")]),
    "a.set": lambda path, x: foreign.eeglab(path, x, SFREQ, [(40, 9, "a")]),
    "a.gdf": lambda path, x: foreign.gdf(path, x, int(SFREQ)),
    "a.mat": _mat,
    "a.csv": _csv,
    "a.parquet": _parquet,
}
# scipy's reader of these, compiled, can end the whole process on flipped bytes
MATLAB = ("a.set", "a.mat")
HEADS = {"a.dat": "a.hea", "a.eeg": "a.vhdr", "a.vmrk": "a.vhdr"}


def _broken(folder: Path, name: str, break_it: Callable[[bytes], bytes]) -> Windows | None:
    """Windows of a recording after one of its files was broken; None: refused by name."""
    path = folder / name
    WRITERS[name](path, noise())
    path.write_bytes(break_it(path.read_bytes()))
    try:
        return windows(folder / HEADS.get(name, name))
    except SpecError as err:
        if "no window was found" not in str(err):  # less than a second is left
            _names_file_and_way_out(err, str(folder))
        return None


@pytest.mark.parametrize("name", WRITERS)
@few(3)
@given(share=st.floats(0, 0.999))
def test_what_is_cut_short_is_refused_or_its_beginning(tmp_path, name, share):
    _cut_short(tmp_path, name, share)


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
@few(60)
@given(share=st.floats(0, 0.999))
def test_what_is_cut_short_anywhere_is_refused_or_its_beginning(tmp_path, name, share):
    _cut_short(tmp_path, name, share)


def _cut_short(folder: Path, name: str, share: float) -> None:
    found = _broken(folder, name, lambda data: data[: int(share * len(data))])
    if found is not None:
        x = noise()[:, : len(found) * 50].reshape(2, -1, 50).swapaxes(0, 1)
        assert np.allclose(found.x, x, atol=0.01), (name, share)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in WRITERS if name not in MATLAB])
@few(150)
@given(places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bytes_are_no_traceback(tmp_path, name, places):
    def flip(data: bytes) -> bytes:
        out = bytearray(data)
        for share, bits in places:
            out[int(share * len(out))] ^= bits
        return bytes(out)

    found = _broken(tmp_path, name, flip)
    if found is not None:
        assert np.isfinite(found.x).all()


@few(6)
@given(
    fmt=st.sampled_from(["16", "24", "32", "80"]),
    frames=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    n=st.integers(20, 90),
)
def test_wfdb_of_any_format_and_frame_is_what_wfdb_reads_alone(tmp_path, fmt, frames, n):
    import wfdb

    rng = np.random.default_rng(n)
    signals = [rng.normal(size=n * k) for k in frames]
    names, units = [f"c{i}" for i in range(len(frames))], ["mV"] * len(frames)
    how: dict[str, Any] = {"fmt": [fmt] * len(frames), "samps_per_frame": frames}
    wfdb.wrsamp("a", 100, units, names, e_p_signal=signals, write_dir=str(tmp_path), **how)
    alone = wfdb.rdrecord(str(tmp_path / "a"), smooth_frames=False).e_p_signal
    header = read_header(tmp_path / "a.hea")
    assert [c.sfreq for c in header.channels] == [100.0 * k for k in frames]
    for mine, theirs in zip(read_samples(header, header.channels), alone, strict=True):
        assert np.array_equal(mine, theirs, equal_nan=True)


@few(6)
@given(
    rates=st.lists(st.sampled_from([1, 8, 25, 100]), min_size=1, max_size=4),
    unit=st.sampled_from(["uV", "mV", "V", "degC", ""]),
    bdf=st.booleans(),
)
def test_edf_of_any_rates_and_units_is_what_edfio_reads_alone(tmp_path, rates, unit, bdf):
    import edfio

    rng, path = np.random.default_rng(len(rates)), tmp_path / ("a.bdf" if bdf else "a.edf")
    signal, whole = (edfio.BdfSignal, edfio.Bdf) if bdf else (edfio.EdfSignal, edfio.Edf)
    signals = [
        signal(rng.normal(size=12 * rate), rate, label=f"c{i}", physical_dimension=unit)
        for i, rate in enumerate(rates)
    ]
    whole(signals).write(path)
    alone = (edfio.read_bdf if bdf else edfio.read_edf)(path).signals
    header = read_header(path)
    assert [c.sfreq for c in header.channels] == [float(rate) for rate in rates]
    for mine, theirs in zip(read_samples(header, header.channels), alone, strict=True):
        assert np.allclose(mine, theirs.data, atol=1e-9)


@few(10)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(5, 40)),
    transposed=st.booleans(),
    kind=st.sampled_from(["f8", "f4", "i2", "u1"]),
)
def test_mat_of_any_shape_and_type_is_what_scipy_reads_alone(tmp_path, shape, transposed, kind):
    from scipy.io import loadmat, savemat

    x = np.random.default_rng(0).integers(0, 200, shape).astype(kind)
    savemat(tmp_path / "a.mat", {"val": x.T if transposed else x, "fs": 10})
    alone = loadmat(tmp_path / "a.mat")["val"]
    layout = FileLayout(x="val", transposed=transposed)
    assert np.array_equal(samples(tmp_path / "a.mat", layout), alone.T if transposed else alone)


@few(10)
@given(word=st.lists(st.sampled_from(["rest", "walk", ""]), min_size=4, max_size=60))
def test_stretches_of_a_column_are_its_runs(tmp_path, word):
    from citrus_ray.data.formats.columns import stretches_of

    rows = [f"{i},{w}" for i, w in enumerate(word)]
    (tmp_path / "a.csv").write_text("\n".join(["x,activity", "0,rest", *rows]))
    found = stretches_of(
        read_header(tmp_path / "a.csv", FileLayout(rate=1.0)), "activity", None, "a"
    )
    back = [""] * (len(word) + 1)
    for s in found:
        back[int(s.start_s) : int(s.stop_s)] = [s.label] * int(s.stop_s - s.start_s)
    assert back == ["rest", *word]
    pairs = itertools.pairwise(found)
    assert all(a.stop_s < b.start_s or a.label != b.label for a, b in pairs)
