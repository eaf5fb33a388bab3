"""Whitened spectra: what is taken away, what is left, and which questions mean nothing."""

import numpy as np
import pytest
import torch

from citrus_ray.context import SignalContext
from citrus_ray.models.specs import Conv
from citrus_ray.spec import SpecError, validate
from citrus_ray.tasks.losses.spectra import trend
from citrus_ray.tasks.losses.spectral import SpectralTask
from citrus_ray.tasks.specs import Spectral
from citrus_ray.training.loop import seeded

CTX = SignalContext(n_chans=2, n_times=320, sfreq=100.0, modalities=("eeg", "eeg"))
CONV = Conv(dim=8, strides=(4, 4))


def task_of(whiten: str) -> SpectralTask:
    spec = validate(Spectral, {"whiten": whiten, "floor": 1e-6})
    with seeded(0):
        task = spec.build(CTX, CONV.build(CTX)).eval()
    assert isinstance(task, SpectralTask)
    return task


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed))


def log_spectra(x: torch.Tensor) -> np.ndarray:
    """(B, C, N, F), by numpy."""
    cut = x.numpy().reshape(*x.shape[:2], -1, 16)
    return np.log(np.abs(np.fft.rfft(cut, norm="ortho")) + 1e-6)


def test_a_whitened_window_is_told_from_its_own_mean_spectrum():
    x = noise(3, 2, 320)
    target = task_of("window").question(x, generator()).target.numpy()
    log = log_spectra(x)
    np.testing.assert_allclose(target, log - log.mean(axis=2, keepdims=True), atol=1e-4)


def test_a_smooth_trend_is_numpys_parabola_in_log_frequency():
    x = noise(3, 2, 320)
    target = task_of("smooth").question(x, generator()).target.numpy()
    log, octave = log_spectra(x), np.log2(np.maximum(np.arange(9), 0.5))
    for b, c in np.ndindex(3, 2):
        fit = np.polyval(np.polyfit(octave, log[b, c].mean(axis=0), 2), octave)
        np.testing.assert_allclose(target[b, c], log[b, c] - fit, atol=1e-4)


@pytest.mark.parametrize("whiten", ["window", "smooth"])
def test_how_loud_a_recording_is_and_how_steep_its_spectrum_makes_no_difference(whiten):
    at = torch.arange(9).clamp(min=0.5).log2()
    log = noise(2, 2, 20, 9)
    there = torch.ones_like(log, dtype=torch.bool)
    other = log + 3 - 1.5 * at + 0.2 * at.square()
    one, two = (of - trend(of, there, whiten) for of in (log, other))
    torch.testing.assert_close(one, two, atol=1e-5, rtol=0)


def test_a_rhythm_is_left_by_the_smooth_trend_and_not_by_the_mean():
    rhythm = 3 * torch.sin(2 * torch.pi * 25 * torch.arange(320) / 100)  # the fifth of 9 bins
    x = noise(200, 2, 320) + rhythm
    left = {w: task_of(w).question(x, generator()).target.mean(dim=(0, 1, 2)) for w in KINDS}
    assert left["smooth"].argmax() == 4
    assert left["smooth"][4] > 0.5
    assert left["window"].abs().max() < 1e-4


KINDS = ("window", "smooth")


@pytest.mark.parametrize("whiten", KINDS)
def test_the_trend_of_what_is_seen_is_of_bins_that_are_seen(whiten):
    """Whatever stands in the others, a band that is hidden in all patches too."""
    log, there = noise(2, 2, 20, 9), torch.rand(2, 2, 20, 9, generator=generator(3)) < 0.6
    there[..., 3:5] = False
    other = torch.where(there, log, 50 * noise(2, 2, 20, 9, seed=1))
    one, two = (trend(of, there, whiten) for of in (log, other))
    torch.testing.assert_close(one, two)
    assert (one[..., 3:5] != 0).any() == (whiten == "smooth"), "a parabola goes through the gap"


def test_a_parabola_is_known_from_the_bins_that_are_seen():
    at = torch.arange(9).clamp(min=0.5).log2()
    log = (2 - 1.5 * at + 0.3 * at.square()).expand(1, 1, 20, 9)
    there = torch.ones_like(log, dtype=torch.bool)
    there[..., 3:5] = False
    torch.testing.assert_close(trend(log, there, "smooth"), log[:, :, :1], atol=1e-4, rtol=0)


def test_loudness_is_worth_something_to_the_plain_task_alone():
    """Of the whitened one the visible mean spectrum knows what a constant knows."""
    x = noise(300, 2, 320) * (2 * noise(300, 1, 1, seed=9)).exp()

    def losses(whiten: str) -> dict[str, float]:
        found = task_of(whiten).references(x[:200], generator(1))
        assert found is not None
        return {name: float(loss) for name, loss in found(x[200:], generator(2)).items()}

    plain, white = losses("none"), losses("window")
    assert plain["spectrum"] < 0.3 * plain["constant"]
    assert white["constant"] < 1.1 * plain["spectrum"]
    assert white["spectrum"] == pytest.approx(white["constant"], rel=1e-5)


def test_where_it_means_nothing_it_is_refused():
    for predict in ("magnitude_phase", "real_imag"):
        with pytest.raises(SpecError, match="set predict: log_magnitude"):
            validate(Spectral, {"whiten": "smooth", "predict": predict})
    short, spec = Conv(strides=(2, 2)), Spectral(whiten="smooth")
    assert "all 3 frequencies of a patch of 4 samples" in str(spec.misfit(short, CTX))
    assert spec.misfit(CONV, CTX) is None
    assert Spectral(whiten="smooth", transform="stft").misfit(short, CTX) is None
    assert Spectral(whiten="window").misfit(short, CTX) is None


def test_encoders_from_before_keep_their_names():
    assert not {"whiten", "neighbours", "bottleneck"} & set(Spectral().identity())
    others = [Spectral(whiten="window"), Spectral(neighbours=2), Spectral(bottleneck=True)]
    assert len({spec.digest() for spec in [Spectral(), *others]}) == 4
