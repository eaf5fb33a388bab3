"""`encode: visible`: the encoder reads what can be seen, the decoder asks it for the rest."""

from typing import Any

import numpy as np
import pytest
import torch

from citrus_ray.context import SignalContext
from citrus_ray.experiment.optim import Optim
from citrus_ray.models.specs import Citrus, Conv, EncoderSpec, Patch
from citrus_ray.spec import SpecError, validate
from citrus_ray.tasks.losses.masking import span_mask
from citrus_ray.tasks.specs import Hide, Masked, Spectral, TaskSpec
from citrus_ray.training.loop import Training, seeded, shuffled

CTX = SignalContext(n_chans=2, n_times=96, sfreq=50.0, modalities=("eeg", "ecg"))
MODELS = [
    Conv(dim=12, strides=(2, 2)),
    Patch(patch=8, dim=16),
    Citrus(dim=16, conv=Conv(dim=8, strides=(2, 2))),
]
TASKS = [
    Masked(encode="visible", ratio=0.6),
    Masked(encode="visible", by_modality=True, ratio=0.4),
    Spectral(encode="visible"),
    Spectral(encode="visible", ratio=0.0, hide=Hide(band=(0.1, 0.3))),
    Spectral(
        encode="visible", transform="stft", predict="magnitude_phase", hide=Hide(count=1, width=0.3)
    ),
]
each = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.kind)


def built(model: EncoderSpec, spec: TaskSpec) -> Any:
    with seeded(0):
        return spec.build(CTX, model.build(CTX))


def signals(n: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 2, 96, generator=generator(seed))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@each
@pytest.mark.parametrize("spec", TASKS)
def test_every_parameter_that_asks_for_a_gradient_has_one(model, spec):
    """Workers that share gradients wait for all of them, so the mask token, which is never read,
    must not ask."""
    task = built(model, spec)
    task(signals(), generator())[0].backward()
    assert [
        name
        for name, p in task.named_parameters()
        if p.requires_grad and not p.grad.abs().sum() > 0
    ] == []
    silent = [name for name, p in task.named_parameters() if not p.requires_grad]
    assert silent == ([] if model.kind == "conv" else ["encoder.transformer.mask_token"])


@each
def test_hidden_samples_are_the_target_and_visible_ones_are_not(model):
    task = built(model, Masked(encode="visible", ratio=0.5, span=1)).eval()
    for p in task.decoder.decoder.outputs[0][
        -1
    ].parameters():  # it then predicts zeros, whatever it was told
        torch.nn.init.zeros_(p)
    x, patch = signals(), task.encoder.patch
    hidden = span_mask((6, 2, 96 // patch), 0.5, 1, generator(9)).repeat_interleave(patch, dim=-1)
    loss, _ = task(x, generator(9))
    assert float(loss.detach()) == pytest.approx(float((x[hidden] ** 2).mean()), rel=1e-5)


@each
def test_answers_hang_on_visible_samples_and_on_the_place(model):
    task = built(model, Masked(encode="visible")).eval()
    x = signals(1)
    shown, asked = torch.tensor([[[0, 4], [1, 5]]]), torch.tensor([[[1, 9], [0, 9]]])
    answers = task.decoder(task.encoder.visible(x, shown), shown, asked)
    assert answers.shape == (1, 2, 2, task.encoder.patch)
    assert not torch.allclose(answers[:, :, 0], answers[:, :, 1], atol=1e-6)
    other = task.decoder(task.encoder.visible(x + signals(1, seed=1), shown), shown, asked)
    assert not torch.allclose(answers, other, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS[1:], ids=lambda model: model.kind)
def test_what_is_hidden_is_worked_out_from_what_is_seen(model):
    """A rhythm whose phase and rate change from window to window; to predict nothing costs 1."""
    rng = np.random.default_rng(0)
    t, hz = np.arange(96) / 50, rng.uniform(1, 3, (64, 1, 1))
    x = torch.from_numpy(1.4 * np.sin(2 * np.pi * (hz * t + rng.uniform(0, 1, (64, 2, 1))))).float()
    task, masks, batches = (
        built(model, Masked(encode="visible")),
        generator(),
        shuffled(64, 16, rng),
    )
    *_, last = Training(
        task, lambda index: task(x[index], masks)[0], batches, Optim(lr=5e-3), 200, 5
    ).rounds()
    assert last < 0.9


def test_visible_channels_cannot_be_looked_across():
    with pytest.raises(SpecError, match="encode=visible: channels show different moments"):
        validate(Masked, {"encode": "visible", "mix": 1})
    with pytest.raises(SpecError, match="or encode: all"):
        validate(Spectral, {"encode": "visible", "mix": 1, "drop_modality": 0.2})


def test_encoders_from_before_keep_their_names():
    assert "encode" not in Masked().identity()
    assert Masked(encode="visible").digest() != Masked().digest()
