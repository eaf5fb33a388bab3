"""What is done to recordings before they are cut: off unless asked for, as scipy does it, and said.

A made recording is a sum of sines, so what is left of each says what a filter did.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from citrus_ray.data.sources.files import Files
from citrus_ray.data.windowing.contents import Contents
from citrus_ray.spec import SpecError, validate
from tests.small import SCRATCH

SFREQ, SECONDS = 200.0, 20
NAMES, KINDS = ["Cz", "Pz", "M1", "ECG"], ["eeg", "eeg", "eeg", "ecg"]
T = np.arange(round(SFREQ * SECONDS)) / SFREQ


def sines(*rates: float) -> np.ndarray:
    return sum(np.sin(2 * np.pi * rate * T) for rate in rates) + np.zeros_like(T)


def write(root: Path, x: np.ndarray) -> None:
    np.savez(root / "a.npz", x=x.astype(np.float32), sfreq=SFREQ, ch_names=NAMES, modality=KINDS)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Three EEG channels and an ECG, of 0.2, 10, 50 and 100-odd Hz; one electrode has more."""
    monkeypatch.setenv("CITRUS_CACHE", str(tmp_path / "cache"))
    write(tmp_path, np.stack([sines(0.2, 10, 50), 3 * sines(10), sines(10), sines(10, 50)]))
    return tmp_path


def files(root: Path, **edits: Any) -> Files:
    known = {"root": str(root), "pattern": "*.npz", "seconds": 20.0, "sfreq": SFREQ}
    return validate(Files, known | {"normalize": "none"} | edits)


def left(root: Path, **edits: Any) -> dict[str, dict[float, float]]:
    """Amplitude of each rate in each channel, away from the ends."""
    windows = files(root, **edits).prepare()
    middle = slice(1000, 3000)  # ten seconds: whole waves of every rate
    out = {}
    for name, row in zip(windows.ch_names, windows.x[0], strict=True):
        spectrum = 2 * np.abs(np.fft.rfft(row[middle])) / 2000
        out[name] = {rate: float(spectrum[round(rate * 10)]) for rate in (0.2, 10, 50)}
    return out


def test_all_of_it_is_off_unless_asked_for_and_digests_are_those_from_before(root):
    plain = files(root)
    assert "band" not in plain.identity()
    assert np.array_equal(plain.prepare().x[0], np.load(root / "a.npz")["x"])
    others = ({"band": [1, 40]}, {"notch": 50}, {"reference": "average"}, {"clip": 3})
    digests = {plain.digest(), *(files(root, **edits).digest() for edits in others)}
    assert len(digests) == 5


def test_a_band_is_the_zero_phase_butterworth_of_scipy(root):
    x = np.random.default_rng(0).normal(size=(4, len(T))).astype(np.float32)
    write(root, x)
    found = files(root, band=[1.0, 40.0]).prepare().x[0]
    sos = butter(4, (1.0, 40.0), "bandpass", fs=SFREQ, output="sos")
    assert found == pytest.approx(sosfiltfilt(sos, x, padlen=200), abs=1e-5)


@pytest.mark.parametrize(
    ("edits", "gone"),
    [
        ({"band": [1.0, 40.0]}, {0.2, 50}),
        ({"band": [1.0, None]}, {0.2}),
        ({"band": [None, 40.0]}, {50}),
        ({"notch": 50.0}, {50}),
        ({"band": [1.0, None], "notch": 50.0}, {0.2, 50}),
    ],
)
def test_what_is_outside_goes_and_what_is_inside_stays(root, edits, gone):
    found = left(root, **edits)["Cz"]
    for rate in (0.2, 10, 50):
        assert found[rate] == pytest.approx(0 if rate in gone else 1, abs=0.1), rate


def test_a_notch_takes_multiples_too(root):
    write(root, np.stack([sines(25, 50, 75)] * 4))
    row = files(root, notch=25.0).prepare().x[0, 0, 1000:3000]
    assert np.abs(row).max() < 0.05


def test_filters_may_be_for_some_modalities_alone(root):
    found = left(root, notch=50.0, filter_only=["ecg"])
    assert found["Cz"][50] == pytest.approx(1, abs=0.01)
    assert found["ECG"][50] < 0.03


def test_the_average_is_of_all_of_a_kind_picked_or_not_and_of_no_other(root):
    found = left(root, reference="average", channels=["Cz", "ECG"])
    assert set(found) == {"Cz", "ECG"}
    assert found["Cz"][10] == pytest.approx(abs(1 - 5 / 3), abs=0.01)  # of 1, 3 and 1
    assert found["ECG"][10] == pytest.approx(1, abs=0.01)


def test_a_named_reference_need_not_be_a_channel_of_the_windows(root):
    found = left(root, reference=["M1"], channels=["Pz", "ECG"])
    assert found["Pz"][10] == pytest.approx(2, abs=0.01)
    assert found["ECG"][10] == pytest.approx(1, abs=0.01)


def test_clipping_brings_back_what_is_far_and_nothing_else(root):
    x = np.stack([sines(10)] * 4)
    x[:, 500] = 100
    write(root, x)
    found, (low, mid, high) = (
        files(root, clip=2.0).prepare().x[0, 0],
        np.quantile(x[0], (0.25, 0.5, 0.75)),
    )
    assert found[500] == pytest.approx(mid + 2 * (high - low), rel=1e-3)
    assert np.delete(found, 500) == pytest.approx(np.delete(x[0], 500), abs=1e-6)


def test_stretches_between_gaps_are_filtered_by_themselves(root):
    x = np.random.default_rng(0).normal(size=(4, len(T))).astype(np.float32)
    write(root, x)
    whole = files(root, seconds=5.0, band=[1.0, None]).prepare().x
    x[:, 1200] = np.nan
    write(root, x)
    gapped = files(root, seconds=5.0, band=[1.0, None]).prepare()
    assert len(gapped) == 3  # the second window has the gap
    assert gapped.x[2] == pytest.approx(whole[3], abs=1e-3)
    x[:, 1201:] += 1e4  # what comes after a gap is not felt before it
    write(root, x)
    shifted = files(root, seconds=5.0, band=[1.0, None]).prepare().x
    assert np.array_equal(shifted[0], gapped.x[0])


def test_a_recording_is_known_by_its_samples_whatever_is_done_to_it(root):
    plain, clean = files(root), files(root, band=[1.0, 40.0], clip=3.0)
    one, two = (Contents.of(source.prepare()).value for source in (plain, clean))
    assert np.array_equal(one, two)


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"band": [40.0, 1.0]}, "the first must be below the second"),
        ({"band": [None, None]}, "lets everything pass"),
        ({"filter_only": ["eeg"]}, "filter_only has no effect without `band` or `notch`"),
        ({"notch": 50.0, "sfreq": 100.0}, "notch=50: signals of 100 Hz hold nothing from 50 Hz on"),
        ({"band": [1.0, 120.0]}, "band=120: signals of 200 Hz hold nothing from 100 Hz on; lower"),
        ({"notch": 50.0, "filter_only": ["emg"]}, "no channel measures emg; there are ecg, eeg"),
        ({"reference": ["M2"]}, "`M2` is not there; there are Cz, ECG, M1, Pz"),
        ({"reference": "average", "channels": ["ECG"]}, "reference is of eeg and emg channels"),
    ],
)
def test_what_means_nothing_is_refused_before_anything_is_read(root, edits, message):
    with pytest.raises(SpecError) as caught:
        files(root, **edits).check()
    assert message in str(caught.value)
    assert len(caught.value.problems) == 1


def test_all_of_it_is_said_in_one_line(root):
    assert files(root).treatment() == "at 200 Hz, amplitudes as recorded"
    clean = {"reference": "average", "band": [0.5, 40], "notch": 50, "clip": 20}
    said = "at 200 Hz, referenced to their average, band 0.5 to 40 Hz, notch 50 Hz, "
    said += "clipped at 20 interquartile ranges, each window z-scored"
    target = files(root, **clean, normalize="window")
    assert target.treatment() == said
    trial = SCRATCH.at({"finetune.target": target.tree()})
    assert trial.signals() == {"finetune.target": f"{root.name}: {said}"}
    align = {"kind": "pad", "n_times": 5000}
    padded = trial.at({"finetune.align": align}).signals()["finetune.target"]
    assert padded.startswith(f"{root.name}: {said}; aligned by pad (")
