"""MiniRocket against its published definition, written out kernel by kernel."""

import numpy as np
import pytest

from citrus_ray.training import minirocket
from citrus_ray.training.minirocket import (
    HIGH,
    Kernel,
    MiniRocketFeatures,
    dilations,
    output,
)


def white(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def by_definition(x: np.ndarray, kernel: Kernel) -> np.ndarray:
    """(C, T) -> (b,): shares of positive values, the kernel laid out and convolved."""
    weights = np.zeros(8 * kernel.dilation + 1)
    weights[:: kernel.dilation] = [2.0 if j in HIGH[kernel.shape] else -1.0 for j in range(9)]
    summed = x[list(kernel.channels)].astype(np.float64).sum(axis=0)
    edge = 4 * kernel.dilation if kernel.padded else 0
    out = np.correlate(np.pad(summed, edge), weights, mode="valid")
    return np.asarray((out[None] > kernel.biases[:, None]).mean(axis=1))


def test_there_are_84_kernels_of_three_twos_and_six_minus_ones():
    impulse = np.eye(9, dtype=np.float32)[4]
    found = {tuple(output(impulse, shape, 1).tolist()) for shape in range(84)}
    assert len(found) == 84
    assert all(sorted(taps) == [-1.0] * 6 + [2.0] * 3 for taps in found)


def test_a_hand_computed_example():
    impulse = np.eye(9, dtype=np.float32)[None, None, 4]  # one window, one channel
    assert HIGH[0] == (0, 1, 2)
    assert output(impulse, 0, 1).ravel().tolist() == [-1, -1, -1, -1, -1, -1, 2, 2, 2]
    assert output(impulse, 0, 2).ravel().tolist() == [-1, 0, -1, 0, -1, 0, -1, 0, 2]
    biases = np.array([-2.0, 0.0, 2.0], dtype=np.float32)
    padded = Kernel(0, 1, True, (0,), biases)
    (shares,) = MiniRocketFeatures((padded,))(impulse)
    assert shares == pytest.approx([1, 3 / 9, 0])
    # of nine samples one has all of its taps inside: the middle one, whose tap is -1
    inside = Kernel(0, 1, False, (0,), biases)
    assert MiniRocketFeatures((inside,))(impulse).tolist() == [[1, 0, 0]]


@pytest.mark.parametrize("n_chans", [1, 3, 12])
def test_every_share_is_that_of_the_definition(n_chans):
    x = white(5, n_chans, 70)
    found = MiniRocketFeatures.of(x, 84 * 6, np.random.default_rng(1))
    expected = [np.concatenate([by_definition(w, k) for k in found.kernels]) for w in x]
    assert found(x) == pytest.approx(np.array(expected), abs=1.01 / 14)  # a tie by rounding
    assert np.mean(np.abs(found(x) - expected) > 1e-6) < 0.01
    assert {k.padded for k in found.kernels} == {True, False}
    assert max(len(k.channels) for k in found.kernels) <= min(n_chans, 9)
    assert {c for k in found.kernels for c in k.channels} == set(range(n_chans))


def test_dilations_grow_exponentially_to_the_window():
    assert dilations(129, 5) == {1: 1, 2: 1, 4: 1, 8: 1, 16: 1}
    assert dilations(129, 64).keys() >= {1, 2, 4, 8, 16}
    for n_times, n in [(9, 3), (70, 24), (1024, 24), (1024, 119)]:
        found = dilations(n_times, n)
        assert sum(found.values()) == n
        assert 8 * max(found) < n_times


def test_biases_are_evenly_spread_quantiles_of_the_output_on_a_training_window():
    x = white(1, 1, 400)
    found = MiniRocketFeatures.of(x, 84 * 4, np.random.default_rng(0))
    start = 0
    for kernel in found.kernels:
        n = len(kernel.biases)
        wanted = np.arange(start + 1, start + n + 1) * (1 + np.sqrt(5)) / 2 % 1
        reached = output(x[0, 0], kernel.shape, kernel.dilation)[None] < kernel.biases[:, None]
        assert reached.mean(axis=1) == pytest.approx(wanted, abs=1 / 400)
        start += n


@pytest.mark.parametrize("n_times", [2, 8, 9, 10, 63])
def test_short_windows_have_as_many_features(n_times):
    x = white(3, 2, n_times)
    shares = MiniRocketFeatures.of(x, 200, np.random.default_rng(0))(x)
    assert shares.shape == (3, 168)
    assert ((shares >= 0) & (shares <= 1)).all()


def test_windows_worked_on_one_by_one_have_the_same_features(monkeypatch):
    x = white(7, 3, 50)
    found = MiniRocketFeatures.of(x, 252, np.random.default_rng(0))
    together = found(x)
    monkeypatch.setattr(minirocket, "CHUNK", 50)
    assert np.array_equal(found(x), together)
