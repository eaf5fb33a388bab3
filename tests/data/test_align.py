"""Alignment: what each kind does to windows, checked against scipy and torch."""

import numpy as np
import pytest
import torch
from scipy.signal import resample_poly

from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.align import Align, Interpolate, Native, Pad, Resample, Truncate
from citrus_ray.data.windows import Windows
from citrus_ray.experiment.trial import Trial
from citrus_ray.spec import SpecError, validate

# 256 samples at 100 Hz
SOURCE = Synthetic(n_subjects=3, windows_per_subject=4, n_chans=2, seconds=2.56)
KINDS: list[Align] = [
    Native(),
    Truncate(n_times=100),
    Pad(n_times=300),
    Interpolate(n_times=77),
    Resample(sfreq=50.0, n_times=64),
    Resample(sfreq=100.0, n_times=400),
]


@pytest.fixture(scope="module")
def windows() -> Windows:
    return SOURCE.prepare()


@pytest.mark.parametrize("align", KINDS, ids=lambda align: f"{align.kind}")
def test_every_kind_keeps_labels_groups_and_order(align: Align, windows: Windows) -> None:
    found = align.apply(windows)
    assert np.array_equal(found.labels, windows.labels)
    assert np.array_equal(found.group, windows.group)
    assert len(found.ch_names) == found.x.shape[1]
    assert np.isfinite(found.x).all()


def test_truncate_keeps_the_first_samples_of_the_first_channel(windows: Windows) -> None:
    assert np.array_equal(Truncate(n_times=100).apply(windows).x, windows.x[:, :1, :100])


def test_interpolation_is_that_of_torch(windows: Windows) -> None:
    want = torch.nn.functional.interpolate(
        torch.from_numpy(windows.x), 77, mode="linear", align_corners=False
    )
    found = Interpolate(n_times=77).apply(windows)
    assert np.allclose(found.x, want.numpy(), atol=1e-4)  # torch places samples in single precision
    assert found.sfreq == pytest.approx(100 * 77 / 256)


def test_resampling_is_that_of_scipy_and_filters_what_the_new_rate_cannot_hold(
    windows: Windows,
) -> None:
    found = Resample(sfreq=50.0, n_times=128).apply(windows)
    assert found.x.shape == (12, 2, 128)
    assert np.allclose(found.x, resample_poly(windows.x, 1, 2, axis=-1, padtype="line"), atol=1e-4)
    t = np.arange(256) / 100
    # 40 Hz would fold to 10 Hz
    fast = np.tile(np.sin(2 * np.pi * 40 * t).astype(np.float32), (12, 2, 1))
    from dataclasses import replace

    kept = Resample(sfreq=50.0, n_times=128).apply(replace(windows, x=fast)).x[..., 16:-16]
    folded = Interpolate(n_times=128).apply(replace(windows, x=fast)).x[..., 16:-16]
    assert kept.std() < 0.05
    assert folded.std() > 0.2


def test_segments_cover_every_sample_in_pretraining_lengths(windows: Windows) -> None:
    found = Resample(sfreq=100.0, n_times=100).apply(windows)
    assert found.x.shape == (12, 2 * 3, 100)  # 256 samples: three segments
    assert np.array_equal(found.x[:, 0], windows.x[:, 0, :100])
    assert np.array_equal(found.x[:, 2], windows.x[:, 0, 156:])
    seen = np.zeros(256, bool)
    for start in (0, 78, 156):
        seen[start : start + 100] = True
    assert seen.all()
    assert found.ch_names[:3] == ("syn0#0", "syn0#1", "syn0#2")


def test_short_windows_are_padded_on_both_sides(windows: Windows) -> None:
    x = Resample(sfreq=100.0, n_times=300).apply(windows).x
    assert np.array_equal(x[..., 22:278], windows.x)
    assert not x[..., :22].any()
    assert not x[..., 278:].any()


@pytest.mark.parametrize(
    ("align", "says"),
    [
        (
            Truncate(n_times=300),
            "n_times=300: truncate needs at least as many, but windows have 256; use pad",
        ),
        (Pad(n_times=200), "use truncate"),
        (Native(channels=("Cz",)), "not in this set, which has syn0, syn1"),
    ],
)
def test_what_cannot_be_aligned_is_refused_with_the_way_out(
    align: Align, says: str, windows: Windows
) -> None:
    with pytest.raises(SpecError, match=says):
        align.apply(windows)


def test_channels_can_be_averaged_and_picked(windows: Windows) -> None:
    assert np.allclose(
        Native(channels="average").apply(windows).x[:, 0], windows.x.mean(axis=1), atol=1e-6
    )
    assert np.array_equal(Native(channels=("syn1",)).apply(windows).x, windows.x[:, 1:])


def test_aligned_windows_are_prepared_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CITRUS_CACHE", str(tmp_path))
    first = cache.load(SOURCE, Resample(sfreq=50.0, n_times=128))
    monkeypatch.setattr(Resample, "apply", lambda *_: pytest.fail("aligned twice"))
    again = cache.load(SOURCE, Resample(sfreq=50.0, n_times=128))
    assert np.array_equal(first.x, again.x)
    assert cache.load(SOURCE).x.shape[-1] == 256


def test_resampling_to_another_rate_than_pretraining_is_refused() -> None:
    tree = {
        "pretrain": {"source": {"kind": "synthetic"}, "task": {"kind": "masked"}},
        "finetune": {
            "target": {"kind": "synthetic"},
            "align": {"kind": "resample", "sfreq": 50.0, "n_times": 128},
        },
    }
    trial = validate(Trial, tree)
    contexts = {
        "pretrain.source": SOURCE.prepare().context,
        "finetune.target": SOURCE.prepare().context,
    }
    (problem,) = trial.problems(contexts)
    assert "must be the rate of pretrain.source, which is 100 Hz" in problem.message


@pytest.mark.parametrize("align", KINDS, ids=lambda align: f"{align.kind}")
def test_windows_know_their_segments_and_what_of_them_is_padding(
    align: Align, windows: Windows
) -> None:
    found = align.apply(windows)
    before, after = found.padding
    n_chans = 1 if align.channels == "first" else 2
    assert found.n_segments == found.x.shape[1] // n_chans
    assert not found.x[..., :before].any()
    assert not found.x[..., found.x.shape[-1] - after :].any()
    inside = found.x[..., before : found.x.shape[-1] - after]
    assert inside[..., 0].any()
    assert inside[..., -1].any()
    assert found.context.padding == found.padding
    assert found.context.n_segments == found.n_segments


def test_prepared_windows_remember_segments_and_padding() -> None:
    assert cache.load(SOURCE, Resample(sfreq=100.0, n_times=400)).padding == (72, 72)
    assert cache.load(SOURCE, Resample(sfreq=100.0, n_times=100)).n_segments == 3
    assert cache.load(SOURCE).context.n_segments == 1
