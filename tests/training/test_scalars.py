"""The bag of scalars, beside scipy's statistics."""

import numpy as np
import pytest
from scipy import stats

from citrus_ray.training.scalars import QUANTILES, scalars

X = np.random.default_rng(0).gamma(2.0, size=(6, 1, 256)).astype(np.float32)


def test_a_channel_has_25_numbers_as_scipy_has_them():
    found, x = scalars(X), X[:, 0].astype(np.float64)
    centred = x - x.mean(axis=1, keepdims=True)
    assert found.shape == (6, 25)
    expected = np.column_stack(
        [
            np.log(x.var(axis=1)),
            np.log((np.diff(x) ** 2).mean(axis=1)),
            np.log((np.diff(x, 2) ** 2).mean(axis=1)),
            (centred[:, 1:] * centred[:, :-1] < 0).mean(axis=1),
            x.mean(axis=1),
            np.abs(centred).mean(axis=1),
            stats.skew(x, axis=1),
            stats.kurtosis(x, axis=1, fisher=False),
            np.quantile(x, QUANTILES, axis=1).T,
        ]
    )
    assert found[:, :13] == pytest.approx(expected)


def test_bands_hold_all_power_and_a_sine_is_in_one():
    bands = np.exp(scalars(X)[:, 13:])
    spectrum = np.abs(np.fft.rfft(X[:, 0]))[:, 1:] ** 2 / 256**2
    assert bands.sum(axis=1) == pytest.approx(spectrum.sum(axis=1))
    wave = np.sin(2 * np.pi * 30 * np.arange(256) / 256).astype(np.float32)
    power = np.exp(scalars(wave[None, None])[0, 13:])
    assert power.max() / power.sum() > 0.999


def test_channels_are_side_by_side_and_keep_their_own_numbers():
    both = scalars(np.concatenate([X, 3 * X[::-1]], axis=1))
    assert both.shape == (6, 50)
    assert both[:, 0::2] == pytest.approx(scalars(X))
    assert both[:, 1::2] == pytest.approx(scalars(3 * X[::-1]))


@pytest.mark.parametrize("n_times", [2, 3, 8, 20])
def test_short_and_silent_windows_have_numbers(n_times):
    x = np.zeros((4, 2, n_times), dtype=np.float32)
    x[:2] = np.random.default_rng(0).normal(size=(2, 2, n_times))
    assert np.isfinite(scalars(x)).all()
