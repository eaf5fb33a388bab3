"""Augmentations: what each changes, and what it promises to keep."""

import numpy as np
import pytest
import torch

from citrus_ray.context import SignalContext
from citrus_ray.experiment.augment import (
    KINDS,
    Augmentation,
    DropChannels,
    Noise,
    RandomGain,
    Shift,
    Surrogate,
)
from citrus_ray.spec import SpecError
from tests.small import SCRATCH

CTX = SignalContext(n_chans=3, n_times=64, sfreq=50.0, modalities=("eeg",) * 3)


def windows(n: int = 40, n_times: int = 64) -> torch.Tensor:
    """Noise around a level, channels of unequal size."""
    x = torch.randn(n, 3, n_times, generator=torch.Generator().manual_seed(0))
    return x * torch.tensor([1.0, 5.0, 0.2])[:, None] + 0.7


def done(augmentation: Augmentation, x: torch.Tensor, seed: int = 0) -> np.ndarray:
    return augmentation(x, np.random.default_rng(seed)).numpy()


@pytest.mark.parametrize("kind", KINDS.classes(), ids=lambda kind: kind.__name__)
def test_draws_come_from_the_generator_alone_and_what_is_absent_stays_absent(kind):
    x, augmentation = windows(), kind()
    x[3, 1] = float("nan")
    before = x.clone()
    out = done(augmentation, x, 1)
    torch.rand(3)
    assert np.array_equal(out, done(augmentation, x, 1), equal_nan=True)
    assert not np.array_equal(out, done(augmentation, x, 2), equal_nan=True)
    assert torch.equal(x.nan_to_num(9), before.nan_to_num(9))
    assert out.dtype == np.float32
    if kind is not DropChannels:
        assert np.array_equal(np.isnan(out), np.isnan(x.numpy()))
        silent = done(augmentation, torch.zeros(4, 2, 64))
        assert (silent == 0).all()


@pytest.mark.parametrize("n_times", [64, 63])
def test_a_shift_that_wraps_rolls_all_channels_of_a_window_together(n_times):
    x, by = windows(n_times=n_times), set()
    for window, out in zip(x.numpy(), done(Shift(most=0.1), x), strict=True):
        fits = [k for k in range(-6, 7) if np.array_equal(np.roll(window, k, axis=-1), out)]
        assert len(fits) == 1
        by |= set(fits)
    assert {-6, 0, 6} <= by


def test_a_shift_with_zeros_brings_nothing_round():
    x = windows()
    for window, out in zip(x.numpy(), done(Shift(most=0.1, edge="zero"), x), strict=True):
        padded = np.pad(window, ((0, 0), (6, 6)))
        assert any(np.array_equal(padded[:, k : k + 64], out) for k in range(13))


def test_a_window_is_scaled_by_one_factor_of_the_given_spread():
    x = windows(2000)
    factor = done(RandomGain(spread=0.3), x) / x.numpy()
    assert np.ptp(factor, axis=(1, 2)) == pytest.approx(0, abs=1e-4)
    logs = np.log(factor[:, 0, 0])
    assert (logs.mean(), logs.std()) == pytest.approx((0, 0.3), abs=0.02)


def test_noise_is_white_and_a_share_of_each_channel():
    x = windows(400)
    added = done(Noise(share=0.1), x) - x.numpy()
    assert added.std(axis=(0, 2)) == pytest.approx([0.1, 0.5, 0.02], rel=0.05)
    assert np.abs(np.corrcoef(np.moveaxis(added, 1, 0).reshape(3, -1)) - np.eye(3)).max() < 0.05
    power = (np.abs(np.fft.rfft(added, axis=-1)) ** 2).mean(axis=0)[:, 1:-1]  # (C, F)
    assert power[:, :10].mean(axis=1) == pytest.approx(power[:, -10:].mean(axis=1), rel=0.1)


@pytest.mark.parametrize("blank", [0.0, float("nan")])
def test_dropped_channels_are_blank_others_untouched_and_one_stays(blank):
    x = windows(2000)
    out = DropChannels(chance=0.8)(x, np.random.default_rng(0), blank).numpy()
    gone = np.isnan(out[..., 0]) if np.isnan(blank) else (out == 0).all(axis=-1)
    assert np.array_equal(out[~gone], x.numpy()[~gone])
    assert np.isnan(out[gone]).all() if np.isnan(blank) else (out[gone] == 0).all()
    assert gone.sum(axis=1).max() == 2
    assert gone.mean() == pytest.approx(0.8 - 0.8**3 / 3, abs=0.02)


@pytest.mark.parametrize("n_times", [64, 63])
def test_a_surrogate_keeps_amplitudes_and_cross_spectra_and_nothing_else(n_times):
    x = windows(n_times=n_times)
    out = done(Surrogate(chance=1.0), x)
    mine, theirs = (np.fft.rfft(a.astype(np.float64), axis=-1) for a in (out, x.numpy()))
    size = np.abs(theirs).max()
    for i in range(3):
        for j in range(i, 3):
            cross = mine[:, i] * mine[:, j].conj(), theirs[:, i] * theirs[:, j].conj()
            np.testing.assert_allclose(*cross, atol=1e-4 * size**2)
    assert out.mean(axis=-1) == pytest.approx(x.numpy().mean(axis=-1), abs=1e-5)
    turned = np.angle(mine[:, 0, 1:-1] / theirs[:, 0, 1:-1])
    assert turned.std() == pytest.approx(np.pi / np.sqrt(3), rel=0.05)  # uniform over a turn
    assert np.ptp(turned, axis=1).min() > 4
    assert np.ptp(turned, axis=0).min() > 4


def test_only_the_share_of_windows_that_is_asked_for_becomes_surrogates():
    x = windows(1000)
    same = (done(Surrogate(chance=0.3), x) == x.numpy()).all(axis=(1, 2))
    assert same.mean() == pytest.approx(0.7, abs=0.05)


# ---- in a spec ----


def test_a_word_is_a_block_and_none_is_what_was_always_done():
    words = SCRATCH.at({"finetune.augment": ["shift", {"kind": "noise", "share": 0.2}]})
    assert words.finetune.augment == (Shift(), Noise(share=0.2))
    assert type(words).model_validate_json(words.model_dump_json()) == words
    assert words.digest() != SCRATCH.digest()
    assert SCRATCH.at({"finetune.augment": []}).digest() == SCRATCH.digest()
    turned = SCRATCH.at({"finetune.augment": [{"kind": "noise", "share": 0.2}, "shift"]})
    assert turned.digest() != words.digest()


def test_what_is_not_an_augmentation_is_refused_by_name():
    with pytest.raises(SpecError, match=r"finetune.augment.*kind=\"nois\": must be one of"):
        SCRATCH.at({"finetune.augment": ["nois"]})


def test_an_augmentation_from_outside_is_a_kind_by_its_path(tmp_path, monkeypatch):
    (tmp_path / "strange_augmentation.py").write_text(
        "from typing import Literal\n"
        "from citrus_ray.experiment.augment import Augmentation\n"
        "class Flip(Augmentation):\n"
        "    kind: Literal['strange_augmentation:Flip'] = 'strange_augmentation:Flip'\n"
        "    def __call__(self, x, rng, blank=0.0):\n"
        "        return -x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    trial = SCRATCH.at({"finetune.augment": ["strange_augmentation:Flip"]})
    assert torch.equal(torch.from_numpy(done(trial.finetune.augment[0], windows())), -windows())
    assert 0 < trial.run()["val/balanced_accuracy"] <= 1


@pytest.mark.parametrize(
    ("edits", "says"), [({"mode": "frozen"}, "made once"), ({"mode": "probe"}, "a probe is solved")]
)
def test_features_that_are_made_once_cannot_be_augmented(edits, says):
    with pytest.raises(SpecError, match=says):
        SCRATCH.at({f"finetune.{key}": value for key, value in edits.items()} | NOISY)


NOISY = {"finetune.augment": ["noise"]}


def test_an_augmentation_that_changes_nothing_is_said_before_anything_starts():
    one = SignalContext(n_chans=1, n_times=64, sfreq=50.0, modalities=("eeg",))
    for block, says in (
        ({"kind": "drop_channels"}, "one channel, and one always stays"),
        ({"kind": "shift", "most": 0.005}, "most=0.005: is less than a sample of 64"),
    ):
        trial = SCRATCH.at({"finetune.augment": ["noise", block]})
        (problem,) = trial.problems({"finetune.target": one})
        assert problem.path == "finetune.augment"
        assert says in problem.message
    assert not SCRATCH.at({"finetune.augment": list(KINDS.table)}).problems(
        {"finetune.target": CTX}
    )
