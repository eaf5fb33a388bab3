"""What a token of `patch` and `citrus` is made of: samples, their power spectrum, or both."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.bank import FAINT, MIDDLE, SPREAD
from citrus_ray.models.nets.spectrum import Spectrum
from citrus_ray.models.specs import KINDS, EncoderSpec
from citrus_ray.spec import SpecError
from citrus_ray.testing import EncoderContract
from citrus_ray.training.loop import seeded
from tests.small import SCRATCH
from tests.training.test_vmapped import assert_alike, finished, members

CTX = SignalContext(n_chans=2, n_times=256, sfreq=100.0, n_outputs=2, modalities=("eeg",) * 2)
KINDS_OF_PATCHES = ("patch", "citrus")
STEMS = [{"stem": "spectrum"}, {"stem": "both", "spectrum_window": 50}]


def spec_of(kind: str, **keys: Any) -> EncoderSpec:
    found: EncoderSpec = KINDS({"kind": kind, **keys})
    return found


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class TestStems(EncoderContract):
    """Above all: no sample of a hidden patch reaches a visible token through a wide window."""

    @pytest.fixture(
        params=[(kind, stem) for kind in KINDS_OF_PATCHES for stem in STEMS],
        ids=lambda param: f"{param[0]}-{param[1]['stem']}",
    )
    def spec(self, request: pytest.FixtureRequest) -> EncoderSpec:
        kind, stem = request.param
        return spec_of(kind, layers=1, **stem)


def spectrum_of(ctx: SignalContext = CTX, window: int | None = None) -> Spectrum:
    with seeded(0):
        return Spectrum(ctx, 16, window, 8)


def test_a_spectrum_is_that_of_numpy() -> None:
    x = noise(1, 1, 256)
    centred = np.pad((x - x.mean())[0, 0].double().numpy(), (17, 17))
    taper = np.hanning(52)[1:-1]
    for n in (0, 7, 15):  # patch n: 16 samples in the middle of 50
        inside = (np.arange(50) + 16 * n >= 17) & (np.arange(50) + 16 * n < 273)
        lines = np.abs(np.fft.rfft(taper * centred[16 * n : 16 * n + 50])) ** 2
        want = np.log(lines / (taper**2 * inside).sum() + FAINT)
        found = spectrum_of(window=50).powers(x)[0, 0, n] * SPREAD + MIDDLE
        assert found.numpy() == pytest.approx(want, abs=1e-3)


def test_power_is_near_unit_size_and_says_how_strong_a_signal_is() -> None:
    spectrum, x = spectrum_of(), noise(50, 1, 256)
    found = spectrum.powers(x)
    assert 0.2 < float(found.mean()) < 1.2
    assert float(found.std()) < 1
    more = (spectrum.powers(100 * x) - spectrum.powers(10 * x)).median()
    assert float(more) == pytest.approx(np.log(100) / SPREAD, abs=0.01)


@pytest.mark.parametrize("kind", KINDS_OF_PATCHES)
def test_a_stem_of_samples_is_the_encoder_as_it_was(kind: str) -> None:
    """Its digest too, so that stored encoders keep their names."""
    spec = spec_of(kind)
    assert {"stem", "spectrum_window"}.isdisjoint(spec.identity())
    assert spec.digest() == spec_of(kind, stem="samples").digest()
    assert spec.digest() != spec_of(kind, stem="both").digest()
    assert not [name for name in spec.build(CTX).state_dict() if "spectrum" in name]


def built(kind: str, stem: str) -> Any:
    return spec_of(kind, stem=stem).build(CTX)


@pytest.mark.parametrize("kind", KINDS_OF_PATCHES)
def test_both_is_the_sum_of_two_linear_maps(kind: str) -> None:
    encoders = {stem: built(kind, stem) for stem in ("samples", "spectrum")}
    both = built(kind, "both")
    for encoder in encoders.values():
        shared = both.state_dict().keys() & encoder.state_dict().keys()
        encoder.load_state_dict({name: both.state_dict()[name] for name in shared})
    x = noise(2, 2, 256)
    samples, spectrum = (encoder._stem(x, None) for encoder in encoders.values())
    assert torch.allclose(both._stem(x, None), samples + spectrum, atol=1e-5)


def test_padding_is_no_silence_to_a_spectrum() -> None:
    """A padded window has the spectra of what it holds; patches of padding alone are nothing."""
    inside = noise(3, 2, 96)
    x = torch.nn.functional.pad(inside, (80, 80), value=5.0)
    padded = spectrum_of(replace(CTX, padding=(80, 80)), 50).powers(x)
    alone = spectrum_of(replace(CTX, n_times=96), 50).powers(inside)
    assert torch.allclose(padded[..., 5:11, :], alone, atol=1e-4)
    assert not padded[..., :5, :].any()
    assert not padded[..., 11:, :].any()
    unknowing = spectrum_of(CTX, 50).powers(x)
    assert not torch.allclose(unknowing[..., 5:11, :], alone, atol=0.1)


def test_steady_noise_is_as_strong_between_hidden_patches() -> None:
    hidden = torch.zeros(300, 1, 16, dtype=torch.bool)
    hidden[..., 7], hidden[..., 9] = True, True
    found = spectrum_of(window=100).powers(noise(300, 1, 256), hidden).mean(dim=(0, 3))[0]
    assert float(found[8]) == pytest.approx(float(found[4]), abs=0.05)


def test_stacked_members_that_see_power_get_the_numbers_that_they_get_alone() -> None:
    model = {"kind": "patch", "layers": 1, "dropout": 0.0, "stem": "both", "spectrum_window": 24}
    trials = members(SCRATCH.at({"model": model}))
    together = finished(trials, True)
    assert len(together.vmap_groups) == 1
    assert_alike(together, finished(trials, False))


def test_a_window_that_means_nothing_is_refused() -> None:
    with pytest.raises(SpecError, match="spectrum_window=64: stem=samples takes no spectrum; drop"):
        spec_of("patch", spectrum_window=64)
    with pytest.raises(SpecError, match="spectrum_window=8: must hold the 16 samples of a token"):
        spec_of("citrus", stem="both", spectrum_window=8)
