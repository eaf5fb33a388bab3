"""Fingerprints: the same in whatever holds the same samples, none where nothing can be known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from citrus_ray.data import fingerprints as prints
from citrus_ray.data.fingerprints import REACH, are_shapes, thinned


def fingerprints_of(signals: list[np.ndarray], rates: list[float]) -> np.ndarray:
    """Those that only the same samples have."""
    found = prints.fingerprints_of(signals, rates)
    return found[~are_shapes(found)]


def signal(seed: int, n_times: int = 3000, levels: int = 0) -> np.ndarray:
    """A rhythm in noise, (T,); in whole numbers of so many levels, as a converter gives them."""
    rng = np.random.default_rng(seed)
    x = np.sin(np.arange(n_times) * rng.uniform(0.05, 0.2)) + rng.normal(size=n_times)
    return np.asarray(np.round(x * levels / 8) if levels else x)


def values(x: np.ndarray, rate: float = 100.0) -> set[int]:
    return set(fingerprints_of([x], [rate])["value"].tolist())


@given(
    seed=st.integers(0, 1000),
    first=st.integers(0, 1500),
    n_times=st.integers(200, 1400),
    levels=st.sampled_from([0, 200, 4000]),
)
def test_a_part_of_a_recording_has_the_fingerprints_that_lie_in_it(seed, first, n_times, levels):
    x, rate = signal(seed, levels=levels), 100.0
    whole = fingerprints_of([x], [rate])
    at = np.round(whole["at"] * rate)
    inside = (at >= first + REACH) & (at < first + n_times - REACH)
    assert values(x[first : first + n_times]) == set(whole["value"][inside].tolist())
    assert inside.sum() >= 1


@pytest.mark.parametrize("levels", [30, 4000], ids=["many equal samples", "few"])
def test_peaks_are_the_first_of_the_highest_samples_around(levels):
    x = signal(2, 8000, levels=levels)
    around = np.lib.stride_tricks.sliding_window_view(x, 2 * REACH + 1)
    before, after = around[:, :REACH].max(axis=1), around[:, REACH + 1 :].max(axis=1)
    peaks = REACH + np.flatnonzero((before < around[:, REACH]) & (after <= around[:, REACH]))
    found = fingerprints_of([x], [1.0])["at"]
    assert set(found.astype(int).tolist()) <= set(peaks.tolist())
    assert len(found) >= 0.9 * len(peaks)


@pytest.mark.parametrize(
    "copy",
    [
        lambda x: 1e-6 * x,
        lambda x: -40.0 + 0.3 * x,
        lambda x: x.astype(np.float32),
        lambda x: (0.00488 * x).astype(np.float32) + np.float32(2.5),
        lambda x: x.astype(np.int16),
    ],
    ids=["volts", "gain and offset", "float32", "npz with a scale", "raw numbers"],
)
def test_unit_gain_offset_and_type_of_the_numbers_do_not_matter(copy):
    x = signal(3, 20_000, levels=2000)
    assert len(values(x) & values(copy(x))) >= 0.95 * len(values(x))


def test_a_copy_in_16_bits_is_still_known():
    x = signal(4, 20_000)
    step = (x.max() - x.min()) / 2**16
    assert len(values(x) & values(np.round(x / step) * step)) >= 0.5 * len(values(x))


def test_other_recordings_share_nothing():
    found = [values(signal(seed, levels=300)) for seed in range(60)]
    assert min(map(len, found)) >= 20
    assert len(set().union(*found)) == sum(map(len, found))


@pytest.mark.parametrize("n_times", [40, 3000], ids=["hashed whole", "by its peaks"])
def test_what_looks_alike_in_everyone_has_no_fingerprint(n_times):
    rng, t = np.random.default_rng(0), np.arange(n_times)
    last_bits = rng.integers(-2, 3, n_times).astype(float)
    steps, ramp = (t % 20 < 10).astype(float), t.astype(float)
    for x in (np.zeros(n_times), np.full(n_times, 5.0), steps, last_bits, np.full(n_times, np.nan)):
        assert not values(x)
    assert n_times < REACH * 2 or not values(ramp)


def test_a_short_signal_is_hashed_whole_and_a_shorter_one_not_at_all():
    x = signal(5)
    assert len(values(x[:40])) == 1
    assert values(x[:40]) == values(2 * x[:40] + 1) != values(x[1:41])
    assert not values(x[:15])
    assert not values(x[:0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
def test_a_gap_hides_what_is_around_it_alone(missing):
    x = signal(6)
    gap = x.copy()
    gap[1000:1010] = missing
    whole, found = (fingerprints_of([of], [1.0]) for of in (x, gap))
    far = np.abs(whole["at"] - 1005) > REACH + 10
    assert set(whole["value"][far].tolist()) <= set(found["value"].tolist())
    assert (np.abs(found["at"] - 1005) > REACH).all()


def test_recordings_that_are_thinned_unequally_keep_the_same_of_what_they_share():
    x = signal(7, 200_000)
    whole, part = fingerprints_of([x], [1.0]), fingerprints_of([x[:50_000]], [1.0])
    few, more = thinned(whole, 300), thinned(part, 300)
    assert 100 < len(few) <= 300
    first = few["value"][few["at"] < 50_000 - REACH]
    assert len(first) > 20
    assert set(first.tolist()) <= set(more["value"].tolist())


def test_a_recording_has_no_more_than_it_may_keep(monkeypatch):
    monkeypatch.setattr(prints, "KEPT", 50)
    assert 0 < len(fingerprints_of([signal(8), signal(9)], [1.0, 1.0])) <= 50


def test_long_channels_and_many_are_looked_at_in_pieces(monkeypatch):
    rows = [signal(seed, 5000) for seed in range(5)]
    whole = np.sort(fingerprints_of(rows, [100.0] * 5), order=["at", "value"])
    for size in (12_000, 700):  # two channels at a time; a part of one
        monkeypatch.setattr(prints, "CHUNK", size)
        found = np.sort(fingerprints_of(rows, [100.0] * 5), order=["at", "value"])
        assert np.array_equal(found["value"], whole["value"])
        assert found["at"] == pytest.approx(whole["at"])
