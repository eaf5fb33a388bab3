"""The bank of band passes: what its tokens say of power, and what counts nowhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.bank import MIDDLE, SPREAD, BankEncoder, convolved, gabor
from citrus_ray.models.specs import Bank
from citrus_ray.testing import EncoderContract
from citrus_ray.training.loop import seeded

CTX = SignalContext(n_chans=2, n_times=256, sfreq=100.0)


class TestLearntFilters(EncoderContract):
    block = {"kind": "bank", "learn": True, "dim": 8, "taps": 32, "depth": 0, "level": False}


def built(ctx: SignalContext = CTX, **sizes: object) -> BankEncoder:
    with seeded(0):
        found = Bank.model_validate({"dim": 8, **sizes}).build(ctx)
    assert isinstance(found, BankEncoder)
    return found.eval()


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def powers(encoder: BankEncoder, x: torch.Tensor) -> torch.Tensor:
    """(B, C, T) -> (B, C, N, K): log powers as they are before the linear layer."""
    features = encoder._features(x, encoder._there(x, None))
    return features[..., : len(encoder.bank.filters[0])] * SPREAD + MIDDLE


def test_every_band_is_loudest_at_its_own_frequency() -> None:
    filters = gabor(16, 128)
    spectra = torch.fft.rfft(filters, 2048).abs().square().sum(dim=0)
    loudest = spectra.argmax(dim=1) / 2048
    assert torch.all(loudest[1:] > loudest[:-1])
    assert float(loudest[0]) == pytest.approx(2 / 128, rel=0.1)
    assert float(loudest[-1]) == pytest.approx(0.4, rel=0.02)


def test_filters_by_the_spectrum_are_convolutions() -> None:
    x, filters = noise(1, 1, 50), gabor(3, 15)
    found = convolved(x, filters)
    for part in range(2):
        for band in range(3):
            want = np.convolve(x[0, 0], filters[part, band])[7:57]
            assert found[0, 0, part, band].numpy() == pytest.approx(want, abs=1e-4)


def test_a_signal_twice_as_strong_is_four_times_as_powerful_in_every_band() -> None:
    x = 10 * noise(1, 1, 256)
    encoder = built()
    gain = powers(encoder, 2 * x) - powers(encoder, x)
    assert torch.allclose(gain, torch.tensor(4.0).log(), atol=1e-3)


def test_power_is_that_of_a_slow_computation_in_numpy() -> None:
    """Away from the ends: squares of what two filters a quarter of a wave apart give."""
    x = noise(1, 1, 256)
    encoder = built(taps=32)
    centred = (x - x.mean())[0, 0].numpy()
    filters = encoder.bank.filters.numpy()
    squares = [sum(np.convolve(centred, f)[16:272] ** 2 for f in filters[:, k]) for k in range(16)]
    want = np.log(np.array(squares)[:, 64:80].mean(axis=1) + 1e-4)
    assert powers(encoder, x)[0, 0, 4].numpy() == pytest.approx(want, abs=1e-3)


def test_the_ends_of_a_window_are_no_silence() -> None:
    """Of steady noise the first frame is as strong as one in the middle, in the mean."""
    found = powers(built(), noise(600, 1, 256)).exp().mean(dim=0)[0]  # (N, K)
    assert torch.allclose(found[0], found[8], rtol=0.2)


def test_padding_counts_nowhere() -> None:
    """A padded window gives the summary of what it holds; frames of padding alone are nothing."""
    inside = noise(3, 2, 96)
    x = torch.nn.functional.pad(inside, (80, 80), value=5.0)
    padded = built(replace(CTX, padding=(80, 80)), depth=0)
    alone = built(replace(CTX, n_times=96), depth=0)
    assert torch.allclose(padded.summary(x), alone.summary(inside), atol=1e-4)
    assert torch.equal(padded(x)[..., :5, :], padded.embed.bias.expand(3, 2, 5, 8))
    unknowing = built(depth=0)
    assert not torch.allclose(unknowing.summary(x), alone.summary(inside), atol=0.1)


def test_filters_are_weights_where_they_are_learnt_and_facts_elsewhere() -> None:
    assert "bank.filters" in built(learn=True).state_dict()
    assert "bank.filters" not in built().state_dict()


def test_an_even_kernel_is_refused_with_the_next_odd_one() -> None:
    with pytest.raises(ValueError, match=r"kernel=6.*7 is"):
        Bank(kernel=6)
