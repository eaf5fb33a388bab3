"""`kind: bidmc`: PPG of the intensive care unit, from CSV."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import resample_poly

from citrus_ray.data.sources.bidmc import Bidmc
from citrus_ray.data.windowing.normalize import zscore
from citrus_ray.spec import SpecError, validate
from tests.data.layouts import COLUMNS, bidmc, ppg

DATA = Path(
    os.environ.get("CITRUS_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data"
)


def test_windows_are_the_samples_of_the_column_record_by_record(tmp_path):
    windows = bidmc(tmp_path, normalize="none").prepare()
    assert windows.x.shape == (10, 1, 500)
    assert windows.sfreq == 125
    for g, record in enumerate((1, 2)):
        signal = np.concatenate([*windows.x[windows.group == g, 0]])
        assert np.allclose(signal, ppg(2501, record)[1, :2500])
    assert np.allclose(bidmc(tmp_path).prepare().x, zscore(windows.x), atol=1e-5)


def test_a_record_is_a_group_and_nothing_is_labelled(tmp_path):
    windows = bidmc(tmp_path).prepare()
    assert windows.groups == ("bidmc_01", "bidmc_02")
    assert windows.y is None
    with pytest.raises(SpecError, match="this set has no labels"):
        _ = windows.labels


def test_channels_are_picked_by_their_names_and_known_by_what_they_measure(tmp_path):
    windows = bidmc(tmp_path, channels=("II", "RESP", "PLETH"), normalize="none").prepare()
    assert windows.modalities == ("ecg", "resp", "ppg")
    assert np.allclose(windows.x[0], ppg(2501, 1)[[4, 0, 1], :500])


def test_another_rate_is_scipys_polyphase_filter_over_the_whole_record(tmp_path):
    windows = bidmc(tmp_path, records=(1,), sfreq=50.0, normalize="none").prepare()
    whole = resample_poly(ppg(2501, 1)[1], 2, 5, padtype="edge")
    assert np.allclose(np.concatenate([*windows.x[:, 0]]), whole[:1000], atol=1e-5)


def test_missing_samples_cost_their_window_only(tmp_path):
    spec = bidmc(tmp_path, records=(1,))
    path = tmp_path / "bidmc_csv" / "bidmc_01_Signals.csv"
    lines = path.read_text().splitlines()
    cells = lines[700].split(",")
    lines[700] = ",".join([*cells[:2], "NaN", *cells[3:]])
    path.write_text("\n".join(lines) + "\n")
    windows = spec.prepare()
    assert len(windows) == 4
    assert windows.caveats == ("dropped for missing samples: 1 of 5 windows",)


def _edit(path: Path, line: int, new: str | None) -> None:
    lines = path.read_text().splitlines()
    lines[line - 1 : line] = [] if new is None else [new]
    path.write_text("\n".join(lines) + "\n")


BAD: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no column": (
        lambda path: _edit(path, 1, "Time [s], RESP, PLET, V, AVR, II"),
        "`PLETH` is not there",
        "`PLET`?",
    ),
    "no time": (
        lambda path: _edit(path, 1, "RESP, PLETH, V, AVR, II"),
        "`Time [s]` is not there",
        "there are AVR",
    ),
    "cut off": (
        lambda path: path.write_text(path.read_text()[:-35]),
        "is no table of numbers: ",
        "download it again",
    ),
    "text": (
        lambda path: _edit(path, 9, "0.056, a, b, c, d, e"),
        "is no table of numbers: could not convert",
        "again",
    ),
    "gap": (
        lambda path: _edit(path, 9, None),
        "csv:9: its time is 0.064 s where 125 Hz lead to 0.056 s",
        "again",
    ),
    "empty": (
        lambda path: path.write_text(path.read_text().partition("\n")[0] + "\n"),
        "holds 0 samples",
        "again",
    ),
}


@pytest.mark.filterwarnings("ignore:loadtxt")
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_error_that_names_the_place_and_the_way_out(tmp_path, case):
    spoil, rule, way_out = BAD[case]
    spec = bidmc(tmp_path)
    spoil(tmp_path / "bidmc_csv" / "bidmc_01_Signals.csv")
    with pytest.raises(SpecError) as caught:
        spec.prepare()
    assert len(caught.value.problems) == 1
    assert "bidmc_01_Signals.csv" in str(caught.value)
    assert rule in str(caught.value)
    assert way_out in str(caught.value)


def test_one_patient_under_two_names_is_refused(tmp_path):
    spec, folder = bidmc(tmp_path), tmp_path / "bidmc_csv"
    (folder / "bidmc_02_Signals.csv").write_bytes((folder / "bidmc_01_Signals.csv").read_bytes())
    with pytest.raises(
        SpecError, match=r"02_Signals\.csv: holds the same samples as .*01_Signals\.csv.*wrong name"
    ):
        spec.prepare()


def test_a_folder_without_such_files_says_what_it_holds(tmp_path):
    (tmp_path / "else.txt").write_text("")
    with pytest.raises(
        SpecError, match=r"holds no bidmc_\*_Signals\.csv, but else\.txt; correct `root`"
    ):
        Bidmc(root=str(tmp_path)).check()


@pytest.mark.parametrize(
    ("edits", "message"),
    [({"seconds": 0.004}, "is 0 samples"), ({"channels": ["II", "II"]}, "once")],
)
def test_a_spec_that_would_mean_nothing_is_refused(edits, message):
    with pytest.raises(SpecError, match=message):
        validate(Bidmc, edits)


def test_the_real_record_of_eight_minutes():
    root = DATA / "bidmc"
    if not root.is_dir():
        pytest.skip(f"bidmc is not under {DATA}; set CITRUS_DATA to the folder that holds it")
    windows = Bidmc(root=str(root), channels=COLUMNS).prepare()
    assert windows.x.shape == (60, 5, 1000)  # 60,001 samples
    assert windows.groups == ("bidmc_01",)
    assert windows.modalities == ("resp", "ppg", "ecg", "ecg", "ecg")
    spectrum = np.abs(np.fft.rfft(np.concatenate([*windows.x[:, 1]]))) ** 2
    hz = np.fft.rfftfreq(60_000, 1 / 125)
    assert 0.7 < hz[1 + spectrum[1:].argmax()] < 3  # a pulse
