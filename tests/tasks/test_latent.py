"""Latent prediction: who the teacher is, what is asked of the student, what collapse is."""

from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from citrus_ray.context import SignalContext
from citrus_ray.experiment.optim import Optim
from citrus_ray.models.specs import Bank, Citrus, Conv, Crossmodal, EncoderSpec, Patch
from citrus_ray.spec import SpecError
from citrus_ray.store.resume import State
from citrus_ray.tasks.losses import reconstruction
from citrus_ray.tasks.losses.latent import LatentTask, standardised
from citrus_ray.tasks.losses.reconstruction import Decoder, EachSensor
from citrus_ray.tasks.losses.task import References, Task
from citrus_ray.tasks.specs import Latent
from citrus_ray.training import pretraining as pretrain
from citrus_ray.training.loop import Training, seeded, shuffled
from tests.small import MODEL, PRETRAIN
from tests.store.test_resume import CrashError, assert_equal, crash_after, save_every_epoch

CTX = SignalContext(2, 96, 50.0, modalities=("eeg", "ecg"))
CONV = Conv(dim=8, strides=(2, 2))
MODELS = [
    CONV,
    Patch(patch=8, dim=16),
    Citrus(dim=16, conv=Conv(dim=8, strides=(2, 2))),
    Bank(dim=8, patch=8, taps=16, bands=4, learn=True),
]
each = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.kind)
SPEC = PRETRAIN.at({"task": Latent(momentum=0.9).tree(), "epochs": 4})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def signals(n: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 2, 96, generator=generator(seed))


def task_of(model: EncoderSpec = CONV, **fields: Any) -> LatentTask:
    with seeded(0):
        task = Latent(**fields).build(CTX, model.build(CTX))
    assert isinstance(task, LatentTask)
    return task


# ---- the teacher ----


def test_the_teacher_is_the_running_average_of_the_encoders_that_were():
    task, x, masks = task_of(momentum=0.8), signals(16), generator()
    average = [p.detach().clone() for p in task.encoder.parameters()]

    def loss_of(index: Any) -> torch.Tensor:
        for mean, p in zip(average, task.encoder.parameters(), strict=True):
            mean.mul_(0.8).add_(0.2 * p.detach())
        loss: torch.Tensor = task(x[index], masks)[0]
        return loss

    batches = shuffled(16, 8, np.random.default_rng(0))
    for _ in Training(task, loss_of, batches, Optim(lr=1e-2), 5, 1).rounds():
        task.eval()(x, generator())  # a look at validation data is no step
    for mean, p, own in zip(
        average, task.teacher.parameters(), task.encoder.parameters(), strict=True
    ):
        torch.testing.assert_close(p, mean)
        assert not torch.allclose(p, own, atol=1e-4)


@each
@pytest.mark.parametrize("encode", ["all", "visible"])
def test_the_teacher_asks_for_no_gradient_and_all_else_that_asks_has_one(model, encode):
    task = task_of(model, encode=encode)
    task(signals(), generator())[0].backward()
    assert not any(p.requires_grad for p in task.teacher.parameters())
    asks = {name: p.grad for name, p in task.named_parameters() if p.requires_grad}
    assert not [name for name, grad in asks.items() if grad is None or not grad.any()]
    assert {name.partition(".")[0] for name in asks} == {"encoder", "decoder"}


def test_a_teacher_drops_nothing_out_and_draws_nothing():
    task = task_of(Patch(patch=8, dim=16, dropout=0.5)).train()
    assert not any(module.training for module in task.teacher.modules())
    one, other = (task.question(signals(), generator()).target for _ in range(2))
    assert torch.equal(one, other)


# ---- what is asked ----


@each
def test_the_target_is_what_the_teacher_makes_of_all_and_the_loss_is_of_hidden_places(model):
    task, x = task_of(model), signals()
    assert isinstance(task.decoder, Decoder)
    for p in task.decoder.outputs[0][-1].parameters():  # type: ignore[index]
        torch.nn.init.zeros_(p)
    tokens = task.teacher(x)
    over = tokens.flatten(0, 2)
    target = (tokens - over.mean(dim=0)) / over.std(dim=0, unbiased=False)
    hidden = task.hidden(tuple(tokens.shape[:3]), generator(9))  # type: ignore[arg-type]
    loss = float(task(x, generator(9))[0].detach())
    assert loss == pytest.approx(float(target[hidden].square().mean()), rel=1e-3)
    assert 0.8 < loss < 1.2, "whatever the size of tokens, to know nothing costs about 1"


@each
@pytest.mark.parametrize("encode", ["all", "visible"])
def test_the_student_is_shown_nothing_of_what_the_teacher_sees_at_hidden_places(model, encode):
    task, x, seen = task_of(model, encode=encode).eval(), signals(), []
    hidden = task.question(x, generator(4)).wanted.all(dim=-1)
    noise = 9 * signals(seed=3) * hidden.repeat_interleave(task.encoder.patch, dim=-1)
    task.decoder.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    losses = [task(signal, generator(4))[0] for signal in (x, x + noise)]
    torch.testing.assert_close(seen[0], seen[1], atol=1e-4, rtol=0)
    assert not torch.equal(*losses)


def test_references_are_the_mean_of_tokens_and_that_of_a_windows_visible_ones():
    task = task_of().eval()
    x = signals(64) + 3 * torch.randn(64, 2, 1, generator=generator(5))  # windows differ in level
    found = task.references(x[:40], generator(1))
    assert found is not None
    losses = {name: float(loss) for name, loss in found(x[40:], generator(2)).items()}
    assert losses.keys() == {"constant", "visible"}
    asked = task.question(x[40:], generator(2))
    train = task.question(x[:40], generator(1)).target.mean(dim=(0, 2), keepdim=True)
    hidden = asked.wanted
    off = ((asked.target - train)[hidden] ** 2).mean()
    assert losses["constant"] == pytest.approx(float(off), rel=1e-5)
    mean = torch.where(hidden, 0, asked.target).sum(dim=2) / (~hidden).sum(dim=2)
    off = ((asked.target - mean[:, :, None])[hidden] ** 2).mean()
    assert losses["visible"] == pytest.approx(float(off), rel=1e-4)
    assert losses["visible"] < 0.9 * losses["constant"]


def own_loss(task: Task, *_: Any) -> References:
    """A reference that is the task itself, as it stands when it is asked."""
    return lambda *batch: {"constant": task(*batch)[0]}


def test_references_are_of_the_teacher_that_the_last_loss_is_of(monkeypatch):
    monkeypatch.setattr(LatentTask, "references", own_loss)
    done = pretrain.run(SPEC.at({"optim.lr": 1e-2}), MODEL)
    assert done.references["constant"] == pytest.approx(done.history[-1]["val/loss"], rel=1e-5)
    assert done.references["constant"] != pytest.approx(done.history[0]["val/loss"], rel=1e-3)


# ---- collapse ----


def test_tokens_that_are_the_same_in_all_windows_are_a_collapse_wherever_they_stand():
    task = task_of(narrowest=0.05).eval()
    fine = float(task(signals(), generator())[1]["token_std"])
    place = torch.linspace(0, 3, 96).sin()  # of the place alone
    gone = float(task(place.expand(6, 2, 96), generator())[1]["token_std"])
    assert gone < 0.01 < 0.2 < fine
    assert task.complaint({"val/token_std": fine}) is None
    assert "tokens have collapsed" in str(task.complaint({"val/token_std": gone}))


def test_a_lone_window_is_no_collapse():
    task = task_of().eval()
    assert float(task(signals(1), generator())[1]["token_std"]) > 0.1


def test_a_collapsed_pretraining_ends_with_what_to_do():
    with pytest.raises(SpecError, match=r"epoch 2 of 4: tokens have collapsed.*momentum"):
        pretrain.run(SPEC.at({"task.narrowest": 0.99}), MODEL)


# ---- through a pre-training ----


def test_what_is_stored_is_the_encoder_without_its_teacher():
    done = pretrain.run(SPEC, MODEL)
    assert done.weights.keys() == MODEL.build(CTX).state_dict().keys()
    assert done.references.keys() == {"constant", "visible"}


@pytest.mark.parametrize("n_epochs", [1, 3])
def test_a_run_taken_up_after_a_crash_equals_an_undisturbed_one(tmp_path, monkeypatch, n_epochs):
    whole = pretrain.run(SPEC, MODEL)
    save_every_epoch(monkeypatch)
    with pytest.raises(CrashError):
        pretrain.run(SPEC, MODEL, report=crash_after(n_epochs), state=State(str(tmp_path), "d"))
    taken_up = pretrain.run(SPEC, MODEL, state=State(str(tmp_path), "d"))
    assert [attempt["epoch"] for attempt in taken_up.resumed] == [n_epochs]
    assert_equal(taken_up, whole)
    assert taken_up.references == whole.references


def test_each_sensor_has_a_teacher_of_its_own_and_may_be_absent():
    with seeded(0):
        encoder = Crossmodal(encoder=CONV).build(CTX)
        task = Latent().build(CTX, encoder)
    assert isinstance(task, EachSensor)
    assert task.target_moves
    x = signals()
    x[:, 1] = float("nan")
    loss, metrics = task(x, generator())
    loss.backward()
    assert loss.isfinite()
    assert "collapsed" in str(task.complaint({"val/token_std": 0.0}))
    assert (
        task.complaint(
            {name: float(value) for name, value in metrics.items()}
            | {"val/token_std": float(metrics["token_std"])}
        )
        is None
    )


@pytest.mark.slow
@each
def test_tokens_of_a_rhythm_are_worked_out_from_what_is_seen_and_do_not_collapse(model):
    """Its rate and phase change from window to window; to know nothing costs 1."""
    rng, t = np.random.default_rng(0), np.arange(96) / 50
    waves = 1.4 * np.sin(2 * np.pi * (rng.uniform(1, 3, (64, 1, 1)) * t + rng.random((64, 2, 1))))
    x, masks = torch.from_numpy(waves).float(), generator()
    task = task_of(model, momentum=0.95)
    batches = shuffled(64, 16, rng)
    *_, last = Training(
        task, lambda index: task(x[index], masks)[0], batches, Optim(lr=5e-3), 300, 5
    ).rounds()
    assert last < 0.8
    assert float(task.eval()(x, generator())[1]["token_std"]) > 0.1


# ---- several workers ----


def every_other(shape: tuple[int, int, int], *_: Any) -> torch.Tensor:
    """Masks without a lot: which worker draws which is not the question here."""
    return (torch.arange(shape[2]) % 2 == 0).expand(shape)


def train(task: LatentTask, module: torch.nn.Module, x: torch.Tensor) -> list[float]:
    optimizer, losses = torch.optim.SGD(task.parameters(), lr=0.1), []
    for step in range(3):
        optimizer.zero_grad()
        loss = module(x + step, generator())[0]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def compare(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    patch.object(reconstruction, "span_mask", every_other).start()  # this process ends with it
    x = signals(8)
    alone = task_of(momentum=0.5)
    train(alone, alone, x)
    distributed.init_process_group("gloo", f"file://{folder}/meet", world_size=2, rank=rank)
    task = task_of(momentum=0.5)
    train(task, DistributedDataParallel(task), x[rank::2])
    close = partial(torch.testing.assert_close, rtol=1e-3, atol=1e-5)
    for name, value in alone.state_dict().items():
        close(task.state_dict()[name], value)
    # in validation each worker has all windows to itself
    close(*(of.eval()(x, generator())[0] for of in (alone, task)))
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_workers_go_where_one_with_the_whole_batch_goes_and_so_does_their_teacher(
    tmp_path: Path,
) -> None:
    spawn(compare, (str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]


def test_every_dimension_counts_the_same():
    tokens = torch.randn(5, 2, 7, 3, generator=generator()) * torch.tensor([0.1, 1.0, 9.0]) + 4
    found = standardised(tokens, shared=False).flatten(0, 2)
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.var(dim=0, unbiased=False), torch.ones(3), atol=1e-3, rtol=0)
    assert standardised(torch.zeros(2, 1, 3, 4), shared=True).isfinite().all()
