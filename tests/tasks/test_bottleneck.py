"""`bottleneck`: one token per channel has to hold what is predicted."""

from typing import Any

import numpy as np
import pytest
import torch

from citrus_ray.context import SignalContext
from citrus_ray.experiment.optim import Optim
from citrus_ray.models.specs import Bank, Citrus, Conv, EncoderSpec, Patch
from citrus_ray.tasks.losses.reconstruction import SummaryDecoder
from citrus_ray.tasks.specs import Hide, Latent, Masked, Spectral, TaskSpec
from citrus_ray.training.loop import Training, seeded, shuffled

CTX = SignalContext(2, 96, 50.0, modalities=("eeg", "ecg"))
MODELS = [
    Conv(dim=12, strides=(2, 2)),
    Patch(patch=8, dim=16),
    Citrus(dim=16, conv=Conv(dim=8, strides=(2, 2))),
    Bank(dim=8, patch=8, taps=16, bands=4, depth=0),
]
TASKS = [
    Masked(bottleneck=True),
    Masked(bottleneck=True, encode="visible", by_modality=True),
    Masked(bottleneck=True, mix=1, drop_modality=0.3),
    Spectral(bottleneck=True, ratio=0.0, hide=Hide(band=(0.1, 0.3))),
    Spectral(bottleneck=True, encode="visible", whiten="window"),
    Latent(bottleneck=True, neighbours=2),
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def built(model: EncoderSpec, spec: TaskSpec) -> Any:
    with seeded(0):
        return spec.build(CTX, model.build(CTX))


def signals(n: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 2, 96, generator=generator(seed))


@pytest.mark.parametrize("spec", TASKS, ids=lambda spec: spec.kind)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.kind)
def test_every_parameter_that_asks_for_a_gradient_has_one(model, spec):
    task = built(model, spec)
    loss, _ = task(signals(), generator())
    loss.backward()
    assert loss.isfinite()
    assert not [n for n, p in task.named_parameters() if p.requires_grad and p.grad is None]


@pytest.mark.parametrize("encode", ["all", "visible"])
def test_answers_hang_on_the_mean_of_tokens_and_on_the_place_alone(encode):
    decoder = built(MODELS[0], Masked(bottleneck=True, encode=encode)).decoder
    assert isinstance(decoder, SummaryDecoder)
    tokens = torch.randn(2, 2, 10, 12, generator=generator())
    shown = torch.arange(10).expand(2, 2, 10)
    asked = torch.tensor([3, 7, 20]).expand(2, 2, 3)
    one, mixed = (decoder(of, shown, asked) for of in (tokens, tokens[:, :, torch.randperm(10)]))
    torch.testing.assert_close(one, mixed)
    other = torch.cat([tokens[:, :1], tokens[:, 1:] + 1], dim=1)  # a channel is told by its own
    torch.testing.assert_close(decoder(other, shown, asked)[:, :1], one[:, :1])
    assert not torch.allclose(one[:, :, 0], one[:, :, 1], atol=1e-4)
    assert not torch.allclose(one, decoder(tokens + 0.3, shown, asked), atol=1e-4)


def test_all_places_are_asked_where_all_are_read():
    decoder = built(MODELS[0], Masked(bottleneck=True)).decoder
    tokens = torch.randn(2, 2, 10, 12, generator=generator())
    places = torch.arange(10).expand(2, 2, 10)
    torch.testing.assert_close(decoder(tokens), decoder(tokens, places, places))


@pytest.mark.slow
def test_a_summary_learns_to_hold_the_phase_of_a_rhythm():
    """To know nothing of it costs 1."""
    rng, t = np.random.default_rng(0), np.arange(96) / 50
    waves = 1.4 * np.sin(2 * np.pi * (1.5 * t + rng.uniform(0, 1, (128, 2, 1))))
    x = torch.from_numpy(waves).float()
    task, masks = built(Patch(patch=8, dim=32), Masked(bottleneck=True)), generator()
    batches = shuffled(128, 32, rng)
    *_, last = Training(
        task, lambda index: task(x[index], masks)[0], batches, Optim(lr=5e-3), 300, 5
    ).rounds()
    assert last < 0.8
