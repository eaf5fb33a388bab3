"""Windows: what is refused, and what taking and joining keep."""

from dataclasses import replace

import numpy as np
import pytest

from citrus_ray.data.windowing.normalize import zscore
from citrus_ray.data.windows import Windows
from citrus_ray.spec import SpecError
from tests.small import windows_of


def windows(n: int = 6) -> Windows:
    found = windows_of(np.arange(n) % 2, np.arange(n) // 2, 2)
    return replace(found, x=np.arange(n * 2, dtype=np.float32).reshape(n, 1, 2))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x": np.zeros((6, 1, 2))}, "must be (n, C, T) float32, but got (6, 1, 2) float64"),
        ({"x": np.zeros((6, 2), dtype=np.float32)}, "must be (n, C, T) float32"),
        ({"x": np.zeros((0, 1, 2), dtype=np.float32)}, "no window was found"),
        ({"group": np.zeros(5, dtype=np.int64)}, "6 windows need 6 groups and labels"),
        ({"y": np.zeros(5, dtype=np.int64)}, "6 windows need 6 groups and labels"),
        ({"ch_names": ("a", "b")}, "1 channels need as many names and modalities"),
        ({"modalities": ()}, "1 channels need as many names and modalities"),
    ],
)
def test_windows_that_do_not_fit_together_are_refused(change, says):
    with pytest.raises(SpecError) as caught:
        replace(windows(), **change)
    assert says in str(caught.value)


def test_the_context_is_what_the_data_say():
    ctx = windows().context
    assert (ctx.n_chans, ctx.n_times, ctx.sfreq, ctx.n_outputs, ctx.modalities) == (
        1,
        2,
        1.0,
        2,
        ("eeg",),
    )
    assert ctx.seconds == 2.0


def test_taking_keeps_the_order_that_was_asked_for():
    found = windows().take(np.array([4, 1]))
    assert found.x[:, 0, 0].tolist() == [8, 2]
    assert found.group.tolist() == [2, 0]
    assert found.labels.tolist() == [0, 1]
    assert len(found) == 2
    assert replace(windows(), y=None).take(np.array([0])).y is None


def test_an_unlabelled_set_says_so_when_labels_are_asked_for():
    with pytest.raises(SpecError, match="this set has no labels; give `labels:`"):
        _ = replace(windows(), y=None).labels


def test_classes_are_counted_those_without_a_window_too():
    assert replace(windows(), classes=("a", "b", "c")).class_counts() == {"a": 3, "b": 3, "c": 0}


def test_normalised_channels_have_no_mean_and_unit_spread_and_flat_ones_are_zero():
    x = np.random.default_rng(0).normal(5e4, 3, (4, 2, 100)).astype(np.float32)
    x[1, 0] = 7.5
    found = zscore(x)
    assert found.dtype == np.float32
    assert np.abs(found.mean(axis=-1)).max() < 1e-4
    assert not found[1, 0].any()
    spread = found.std(axis=-1)
    spread[1, 0] = 1
    assert spread == pytest.approx(1, abs=1e-3)
