"""Several modalities at once: decoders of their own, whole modalities hidden, what other
channels can make up for."""

from functools import partial

import numpy as np
import pytest
import torch

from citrus_ray.context import SignalContext
from citrus_ray.experiment.optim import Optim
from citrus_ray.models.specs import Conv
from citrus_ray.tasks.losses.masking import hide_modalities
from citrus_ray.tasks.losses.reconstruction import Decoder
from citrus_ray.tasks.specs import Masked
from citrus_ray.training.loop import Training, seeded, shuffled

CTX = SignalContext(n_chans=3, n_times=96, sfreq=50.0, modalities=("ecg", "eeg", "ecg"))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_dropped_modality_is_hidden_whole_and_the_others_stay():
    before = torch.zeros(400, 3, 5, dtype=torch.bool)
    before[..., 0] = True
    after = hide_modalities(before, CTX.modalities, 0.5, generator())
    whole = after.all(dim=-1)
    kinds = {tuple(row) for row in whole.tolist()}
    assert kinds == {(False, False, False), (True, False, True), (False, True, False)}
    assert torch.equal(after[~whole], before[~whole])
    assert float(whole.any(dim=1).float().mean()) == pytest.approx(0.5, abs=0.08)


def test_a_decoder_per_modality_serves_its_own_channels():
    with seeded(0):
        decoder = Decoder(8, 4, CTX, mix=0, by_modality=True)
    tokens = torch.randn(2, 3, 5, 8, generator=generator())
    before = decoder(tokens)
    for p in decoder.outputs[0].parameters():  # of ecg, the first by name
        torch.nn.init.zeros_(p)
    after = decoder(tokens)
    assert torch.equal(after[:, 1], before[:, 1])
    assert not after[:, [0, 2]].any()
    assert before[:, [0, 2]].any()


def test_one_decoder_for_all_gives_equal_tokens_equal_predictions():
    decoder = Decoder(8, 4, CTX, mix=0, by_modality=False)
    tokens = torch.randn(2, 1, 5, 8, generator=generator()).expand(-1, 3, -1, -1)
    found = decoder(tokens)
    torch.testing.assert_close(found[:, 0], found[:, 1])
    assert len(decoder.outputs) == 1


def loss_of(task, masks, x, index):
    return task(x[index], masks)[0]


@pytest.mark.slow
def test_what_is_hidden_in_one_modality_is_found_in_another_where_the_decoder_mixes():
    """Two modalities show the same random signal: only across channels can a dropped one be
    predicted."""
    ctx = SignalContext(n_chans=2, n_times=64, sfreq=50.0, modalities=("ecg", "eeg"))
    x = torch.randn(256, 1, 64, generator=generator()).expand(-1, 2, -1).contiguous()
    final = {}
    for mix in (0, 1):
        with seeded(0):
            spec = Masked(ratio=0.25, span=1, mix=mix, drop_modality=0.9 if mix else 0.0)
            task = spec.build(ctx, Conv(dim=16, strides=(2, 2)).build(ctx))
        batches, masks = shuffled(len(x), 32, np.random.default_rng(0)), generator(1)
        *_, final[mix] = Training(
            task, partial(loss_of, task, masks, x), batches, Optim(lr=5e-3), 300, 10
        ).rounds()
    assert final[1] < 0.75 * final[0]


def test_dropping_needs_two_modalities():
    spec = Masked(mix=1, drop_modality=0.3)
    assert spec.check(CTX) is None
    assert "needs signals of 2 modalities" in str(
        spec.check(SignalContext(2, 96, 50.0, modalities=("eeg", "eeg")))
    )
