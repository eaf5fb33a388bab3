"""Spectral pre-training: targets against numpy and scipy, bands that are really gone, a loss
over what is hidden."""

from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given
from hypothesis import strategies as st

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.encoder import Encoder
from citrus_ray.models.specs import Conv
from citrus_ray.spec import SpecError, validate
from citrus_ray.tasks.losses.spectra import (
    draw_bands,
    in_bands,
    n_parts,
    patch_spectra,
    represent,
    take_out,
)
from citrus_ray.tasks.losses.spectral import SpectralTask
from citrus_ray.tasks.specs import Hide, Spectral

SFREQ = 100.0
NAMES: tuple[Any, ...] = ("log_magnitude", "magnitude_phase", "real_imag")
CTX = SignalContext(n_chans=2, n_times=400, sfreq=SFREQ, modalities=("eeg", "eeg"))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed))


# ---- targets ----


def test_the_spectrum_of_a_patch_is_numpys():
    x = noise(3, 2, 103)
    ours = patch_spectra(x, 20, None).numpy()
    theirs = np.fft.rfft(x[..., :100].numpy().reshape(3, 2, 5, 20), norm="ortho")
    assert ours.shape == (3, 2, 5, 11)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_spectrum_around_a_patch_is_scipys_short_time_transform():
    patch, n_fft = 16, 64
    x = noise(1, 1, 160)[0, 0].numpy().astype(np.float64)
    window = scipy.signal.get_window("hann", n_fft)
    transform = scipy.signal.ShortTimeFFT(window, hop=patch, fs=SFREQ, mfft=n_fft)
    ours = patch_spectra(torch.from_numpy(x[None, None]), patch, n_fft)[0, 0].numpy()
    # scipy centres its slice p on sample p * hop; ours is centred on a patch: half a patch later
    shifted = transform.stft(np.concatenate([x[patch // 2 :], np.zeros(patch // 2)]), p0=0, p1=10).T
    inside = slice(2, 7)  # windows that reach beyond neither end
    np.testing.assert_allclose(
        np.abs(ours)[inside], np.abs(shifted)[inside] / np.sqrt(n_fft), atol=1e-6
    )


def test_representations_are_what_their_names_say():
    spectra = torch.fft.rfft(noise(2, 1, 3, 16))
    log, phase, real = (represent(spectra, name, 0.01).numpy() for name in NAMES)
    theirs = spectra.numpy()
    np.testing.assert_allclose(log[..., 0], np.log(np.abs(theirs) + 0.01), atol=1e-5)
    np.testing.assert_allclose(phase[..., :1], log)
    np.testing.assert_allclose(
        np.arctan2(phase[..., 2], phase[..., 1]), np.angle(theirs), atol=1e-4
    )
    np.testing.assert_allclose(real[..., 0] + 1j * real[..., 1], theirs, atol=1e-6)
    assert [log.shape[-1], phase.shape[-1], real.shape[-1]] == [n_parts(name) for name in NAMES]


def test_silence_has_a_finite_target():
    for name in NAMES:
        assert (
            represent(torch.zeros(1, 1, 2, 5, dtype=torch.complex64), name, 0.01).isfinite().all()
        )


# ---- bands ----


@given(count=st.integers(1, 3), width=st.floats(0.05, 0.24), seed=st.integers(0, 50))
def test_drawn_bands_are_as_many_and_as_wide_as_asked_and_lie_apart(count, width, seed):
    edges = draw_bands(4, 2, generator(seed), **Hide(count=count, width=width).sizes(50.0)).numpy()
    assert edges.shape == (4, 2, count, 2)
    assert edges.min() >= 0
    assert edges.max() <= 1 + 1e-6
    np.testing.assert_allclose(edges[..., 1] - edges[..., 0], width, atol=1e-6)
    low = np.sort(edges[..., 0], axis=-1)
    assert (np.diff(low, axis=-1) >= width - 1e-6).all()


def test_bands_differ_from_row_to_row_and_a_given_band_is_the_same_in_all():
    drawn = draw_bands(8, 2, generator(), **Hide(width=0.2).sizes(50.0))
    assert len({tuple(row) for row in drawn.reshape(16, 2).tolist()}) > 2
    given_band = draw_bands(3, 2, generator(), **Hide(band=(8, 12), unit="hz").sizes(50.0))
    assert given_band.reshape(6, 2).tolist() == [pytest.approx([0.16, 0.24])] * 6


@pytest.mark.parametrize(
    ("hide", "edges"),
    [
        (Hide(center=0.3, width=0.2), [0.2, 0.4]),
        (Hide(center=0.95, width=0.2), [0.85, 1.0]),
        (Hide(center=10, width=4, unit="hz"), [0.16, 0.24]),
    ],
    ids=["share", "cut at the end", "hz"],
)
def test_a_band_is_given_by_its_middle_and_width_as_two_axes_to_search(hide, edges):
    drawn = draw_bands(3, 2, generator(), **hide.sizes(50.0))
    assert drawn.reshape(6, 2).tolist() == [pytest.approx(edges)] * 6


def test_a_band_in_hertz_covers_its_frequencies_and_no_others():
    edges = draw_bands(1, 1, generator(), **Hide(band=(8, 12), unit="hz").sizes(SFREQ / 2))
    at = np.fft.rfftfreq(400, 1 / SFREQ)
    assert np.array_equal(
        in_bands(edges, len(at))[0, 0].numpy(), (at >= 8 - 1e-6) & (at <= 12 + 1e-6)
    )


def test_a_band_narrower_than_a_bin_hides_the_nearest_bin():
    edges = torch.tensor([[[[0.52, 0.53]]]])
    assert in_bands(edges, 5)[0, 0].tolist() == [False, False, True, False, False]


def rhythm(hz: float) -> torch.Tensor:
    return torch.sin(2 * torch.pi * hz * torch.arange(400) / SFREQ)


def test_what_is_taken_out_is_gone_and_the_rest_is_left():
    x = (rhythm(10) + rhythm(30))[None, None]
    edges = draw_bands(1, 1, generator(), **Hide(band=(8, 12), unit="hz").sizes(SFREQ / 2))
    torch.testing.assert_close(
        take_out(x, edges, "zero", generator())[0, 0], rhythm(30), atol=1e-4, rtol=0
    )


def test_content_of_a_hidden_band_cannot_reach_the_encoder():
    edges = draw_bands(3, 1, generator(), **Hide(band=(8, 12), unit="hz").sizes(SFREQ / 2))
    x = noise(3, 1, 400)
    one, other = (
        take_out(signal, edges, "zero", generator()) for signal in (x, x + 5 * rhythm(10))
    )
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_noise_has_the_power_of_what_it_stands_for():
    x = 3 * rhythm(10)[None, None].repeat(400, 1, 1)
    edges = draw_bands(400, 1, generator(), **Hide(band=(8, 12), unit="hz").sizes(SFREQ / 2))
    filled = take_out(x, edges, "noise", generator())
    assert float(filled.var()) == pytest.approx(float(x.var()), rel=0.1)
    assert abs(float((filled * rhythm(10)).mean())) < 0.2


def test_swap_gives_the_band_of_another_window():
    x = torch.stack([rhythm(10), 2 * rhythm(11), 3 * rhythm(9)])[:, None] + rhythm(30)
    edges = draw_bands(3, 1, generator(), **Hide(band=(8, 12), unit="hz").sizes(SFREQ / 2))
    swapped = (take_out(x, edges, "swap", generator()) - rhythm(30))[:, 0]
    others = x[:, 0] - rhythm(30)
    for i, row in enumerate(swapped):
        sources = [j for j in range(3) if torch.allclose(row, others[j], atol=1e-3)]
        assert len(sources) == 1
        assert sources != [i]
    alone = take_out(x[:1], edges[:1], "swap", generator())[0, 0]
    torch.testing.assert_close(alone, rhythm(30), atol=1e-4, rtol=0)


# ---- the task ----


class Listening(Encoder):
    """Keeps what it was given and says nothing, so that the loss hangs on the target alone."""

    dim, patch = 3, 20

    def forward(self, x, hidden=None):
        self.heard, self.hidden = x, hidden
        return torch.zeros(*x.shape[:2], self.n_tokens(x.shape[2]), self.dim)

    def depths(self):
        return []


def silent_task(**fields) -> tuple[SpectralTask, Listening]:
    encoder = Listening()
    task = Spectral(**fields).single(CTX, encoder)
    assert isinstance(task, SpectralTask)
    for p in task.decoder.parameters():
        torch.nn.init.zeros_(p)
    return task, encoder


def test_the_loss_counts_all_frequencies_of_hidden_patches_and_no_others():
    (task, encoder), x = silent_task(predict="real_imag", span=1), noise(3, 2, 400)
    loss, _ = task(x, generator(9))
    spectra = np.fft.rfft(x.numpy().reshape(3, 2, 20, 20), norm="ortho")
    target = np.stack([spectra.real, spectra.imag], axis=-1)
    hidden = encoder.hidden.numpy()
    assert hidden.sum() == 3 * 2 * 10
    assert float(loss.detach()) == pytest.approx(float((target[hidden] ** 2).mean()), rel=1e-5)


def test_bands_alone_are_predicted_in_every_patch():
    task, encoder = silent_task(predict="real_imag", ratio=0.0, hide=Hide(band=(20, 30), unit="hz"))
    x = noise(3, 2, 400)
    loss, _ = task(x, generator(9))
    spectra = np.fft.rfft(x.numpy().reshape(3, 2, 20, 20), norm="ortho")[
        ..., 4:7
    ]  # 20, 25 and 30 Hz of 5 Hz bins
    assert not encoder.hidden.any()
    assert float(loss.detach()) == pytest.approx(float(np.mean(np.abs(spectra) ** 2) / 2), rel=1e-5)
    heard = np.abs(np.fft.rfft(encoder.heard.numpy()))
    at = np.fft.rfftfreq(400, 1 / SFREQ)
    band = (at > 20.01) & (at < 29.99)
    assert heard[..., band].max() < 1e-2 < np.median(heard[..., ~band])


def test_hidden_patches_do_not_reach_the_encoder_through_the_filter_either():
    task, encoder = silent_task(hide=Hide(width=0.3), span=2)
    x = noise(3, 2, 400)
    task(x, generator(4))
    one, hidden = encoder.heard, encoder.hidden
    task(x + 50 * hidden.repeat_interleave(20, dim=-1) * noise(3, 2, 400, seed=1), generator(4))
    torch.testing.assert_close(encoder.heard, one, atol=1e-4, rtol=0)


def test_visible_tokens_of_a_real_encoder_do_not_move_when_hidden_samples_do():
    encoder = Conv(dim=8, strides=(2, 2)).build(CTX).eval()
    task = Spectral(hide=Hide(width=0.3)).single(CTX, encoder)
    assert isinstance(task, SpectralTask)
    x, seen = noise(2, 2, 400), []
    task.decoder.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    for scale in (0.0, 30.0):
        masks = generator(3)
        hidden = task.hidden((2, 2, 100), generator(3))
        task(x + scale * hidden.repeat_interleave(4, dim=-1), masks)
    torch.testing.assert_close(seen[0], seen[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("predict", NAMES)
@pytest.mark.parametrize("transform", ["rfft", "stft"])
@pytest.mark.parametrize("loss", ["mse", "l1", "huber"])
def test_every_combination_trains(predict, transform, loss):
    encoder = Conv(dim=8, strides=(2, 2)).build(CTX)
    task = Spectral(
        predict=predict, transform=transform, loss=loss, hide=Hide(count=2, width=0.1)
    ).build(CTX, encoder)
    value, metrics = task(noise(4, 2, 400), generator())
    value.backward()
    assert value.isfinite()
    assert list(metrics) == [f"hidden_{loss}"]
    assert all(p.grad is not None for p in task.parameters())


@pytest.mark.parametrize(
    ("tree", "rule"),
    [
        ({"ratio": 0.0}, "ratio=0 and hide=null: nothing is hidden"),
        ({"hide": {"band": [12, 8], "unit": "hz"}}, "band=[12.0, 8.0]: 0 <= low < high must hold"),
        ({"hide": {"band": [4, 8]}}, "a share ends at 1; give unit: hz"),
        ({"hide": {"count": 3, "width": 0.34}}, "count=3 bands of width=0.34 would leave nothing"),
        ({"hide": {"center": 0.5, "count": 2}}, "center=0.5: is one band of `width`"),
        ({"hide": {"center": 0.5, "width": 1.0}}, "leaves nothing of the spectrum to see"),
        ({"hide": {"center": 1.5}}, "center=1.5: the spectrum ends at 1"),
        ({"drop_modality": 0.5}, "set mix to 1 or more"),
    ],
)
def test_a_task_that_hides_nothing_or_everything_is_refused(tree, rule):
    with pytest.raises(SpecError) as caught:
        validate(Spectral, tree)
    assert rule in str(caught.value)


def test_bands_beyond_the_signals_are_refused():
    assert "signals end at 50 Hz" in str(Spectral(hide=Hide(band=(40, 60), unit="hz")).check(CTX))
    assert "leave nothing of 50 Hz" in str(
        Spectral(hide=Hide(width=30, unit="hz", count=2)).check(CTX)
    )
    assert Spectral(hide=Hide(width=10, unit="hz", count=2)).check(CTX) is None
    beyond = Spectral(hide=Hide(center=60, width=4, unit="hz"))
    assert "spectrum ends at 50" in str(beyond.check(CTX))
