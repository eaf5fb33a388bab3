"""The synthetic source: seeds, classes, and that the class lives where the module says."""

import numpy as np
import pytest
from scipy import signal

from citrus_ray.data.sources.synthetic import Synthetic, coloured_noise

SPEC = Synthetic(n_subjects=4, windows_per_subject=20, rhythm_gain=3.0, normalize="none")


def test_classes_are_balanced_within_every_person():
    windows = SPEC.prepare()
    for g in range(4):
        assert np.bincount(windows.labels[windows.group == g]).tolist() == [5, 5, 5, 5]


def test_a_seed_makes_other_people_and_more_people_leave_the_first_as_they_were():
    assert not np.array_equal(SPEC.prepare().x, SPEC.at({"seed": 1}).prepare().x)
    assert np.array_equal(SPEC.at({"n_subjects": 6}).prepare().x[:80], SPEC.prepare().x)


def test_the_shape_is_what_the_spec_says():
    spec = SPEC.at({"n_chans": 3, "sfreq": 64.0, "seconds": 1.5})
    assert spec.prepare().x.shape == (80, 3, 96)
    assert spec.prepare().context.sfreq == 64.0


def test_the_class_is_the_frequency_of_the_strongest_rhythm():
    spec = SPEC.at({"seconds": 8.0, "rhythm_gain": 10.0})
    windows = spec.prepare()
    hz, power = signal.welch(windows.x, fs=spec.sfreq, nperseg=400)
    inside = (hz > 3) & (hz < 24)
    peak = hz[inside][power[..., inside].mean(axis=1).argmax(axis=1)]
    nearest = np.abs(peak[:, None] - np.asarray(spec.rhythms)).argmin(axis=1)
    assert (nearest == windows.labels).mean() > 0.95


def test_without_its_rhythm_a_window_does_not_show_its_class():
    windows = SPEC.at({"rhythm_gain": 0.0, "n_subjects": 10}).prepare()
    # an offset would be a sign too
    _, power = signal.welch(windows.x, fs=SPEC.sfreq, nperseg=256, detrend=False)
    spectra = np.log(power.mean(axis=1))
    means = np.stack([spectra[windows.labels == k].mean(axis=0) for k in range(4)])
    predicted = ((spectra[:, None] - means) ** 2).sum(axis=-1).argmin(axis=1)
    assert (predicted == windows.labels).mean() < 0.5


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_the_power_of_coloured_noise_falls_as_told(exponent):
    x = coloured_noise(np.random.default_rng(0), (64, 1024), 100.0, exponent)
    hz, power = signal.periodogram(x, fs=100.0)
    inside = (hz > 1) & (hz < 40)
    slope = np.polyfit(np.log(hz[inside]), np.log(power.mean(axis=0)[inside]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.1)
    assert x.std() == pytest.approx(1)


def test_windows_wait_on_disk_however_many_people_are_asked_for():
    assert isinstance(SPEC.prepare().x, np.memmap)


def test_a_rhythm_that_the_rate_does_not_hold_is_refused():
    with pytest.raises(ValueError, match="below half the rate, 50 Hz"):
        Synthetic(rhythms=(6.0, 60.0))
