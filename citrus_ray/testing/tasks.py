"""What every pre-training task promises."""

from typing import Any

import numpy as np
import pytest
import torch

from citrus_ray.context import SignalContext
from citrus_ray.experiment.optim import Optim
from citrus_ray.models.specs import Conv, EncoderSpec
from citrus_ray.spec import validate
from citrus_ray.tasks.losses.task import Loss, Task
from citrus_ray.tasks.specs import KINDS, TaskSpec
from citrus_ray.testing.device import DEVICE, FakeDevice
from citrus_ray.training.loop import Training, seeded, shuffled

CTX = SignalContext(n_chans=2, n_times=96, sfreq=50.0, modalities=("eeg",) * 2)


def rhythms(n: int = 64, seed: int = 0) -> torch.Tensor:
    """(n, 2, 96): one slow sine per window, phase and frequency random, so what is hidden can be
    worked out."""
    rng = np.random.default_rng(seed)
    t = np.arange(CTX.n_times) / CTX.sfreq
    hz, phase = rng.uniform(1, 3, (n, 1, 1)), rng.uniform(0, 2 * np.pi, (n, 2, 1))
    return torch.from_numpy((1.4 * np.sin(2 * np.pi * hz * t + phase)).astype(np.float32))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def labelled(task: Task, x: torch.Tensor) -> list[torch.Tensor]:
    """A batch, with labels where the task uses them: whether the rhythm is a slow one."""
    crossings = (x[:, 0].diff(dim=1).sign().diff(dim=1) != 0).sum(dim=1)
    return [x, (crossings > 7).long()] if task.uses_labels else [x]


def run(task: Task, x: torch.Tensor, masks: torch.Generator) -> Loss:
    """The task on a batch."""
    x, *y = labelled(task, x)
    found: Loss = task(x, masks, *y)
    return found


class TaskContract:
    """Finite losses, gradients everywhere, randomness from the generator alone, and something
    learnt."""

    block: Any  # as `pretrain.task:` in a sweep
    encoder: EncoderSpec = Conv(dim=16, strides=(2, 2))  # one that the task can train

    @pytest.fixture
    def spec(self) -> TaskSpec:
        found: TaskSpec = KINDS(self.block)
        return found

    def build(self, spec: TaskSpec, seed: int = 0) -> Task:
        with seeded(seed):
            return spec.build(CTX, self.encoder.build(CTX))

    def test_a_spec_survives_its_tree_and_names_itself(self, spec: TaskSpec) -> None:
        assert validate(type(spec), spec.tree()) == spec
        assert spec.tree()["kind"] == spec.kind

    @pytest.mark.parametrize(("n", "n_times"), [(1, 96), (5, 96), (4, 97), (3, 8)])
    def test_a_batch_becomes_a_finite_scalar_and_named_scalars(
        self, spec: TaskSpec, n: int, n_times: int
    ) -> None:
        loss, metrics = run(
            self.build(spec),
            rhythms(n)[..., :1].repeat(1, 1, n_times) + torch.randn(n, 2, n_times),
            generator(),
        )
        assert loss.shape == ()
        assert loss.dtype == torch.float32
        assert loss.isfinite()
        assert loss > 0
        assert metrics
        assert all(value.shape == () and not value.requires_grad for value in metrics.values())

    def test_the_task_trains_the_encoder_it_was_given(self, spec: TaskSpec) -> None:
        with seeded(0):
            encoder = self.encoder.build(CTX)
            task = spec.build(CTX, encoder)
        assert task.encoder is encoder

    def test_gradients_reach_every_parameter(self, spec: TaskSpec) -> None:
        task = self.build(spec)
        run(task, rhythms(8), generator())[0].backward()  # type: ignore[no-untyped-call]
        dead = [
            name
            for name, p in task.named_parameters()
            # the encoder learns all that it has; what else there is may be a teacher
            if (p.requires_grad or name.startswith("encoder."))
            and (p.grad is None or not p.grad.abs().sum() > 0)
        ]
        assert not dead

    def test_all_randomness_comes_from_the_generator(self, spec: TaskSpec) -> None:
        task = self.build(spec).eval()
        x = rhythms(8) + 0.1 * torch.randn(8, 2, 96, generator=generator(1))
        torch.manual_seed(1)
        one = run(task, x, generator(4))[0]
        torch.manual_seed(2)
        state = torch.random.get_rng_state()
        assert torch.equal(run(task, x, generator(4))[0], one)
        assert torch.equal(torch.random.get_rng_state(), state)

    def test_it_goes_to_the_device_that_its_signals_are_on(self, spec: TaskSpec) -> None:
        """Without one: `FakeDevice` says what a GPU would."""
        task, x = self.build(spec).eval(), rhythms(8)
        with torch.no_grad():
            here = run(task, x, generator(4))[0]
        with FakeDevice():
            masks = torch.Generator(DEVICE).manual_seed(4)
            there = run(task.to(DEVICE), x.to(DEVICE), masks)[0]
            there.backward()  # type: ignore[no-untyped-call]
            found = there.detach().cpu()
        torch.testing.assert_close(found, here, rtol=1e-3, atol=1e-4)

    def test_references_are_finite_losses_by_name_or_none_at_all(self, spec: TaskSpec) -> None:
        task = self.build(spec).eval()
        x, *y = labelled(task, rhythms(32))
        found = task.references(x, generator(1), *y)
        if found is not None:
            losses = found(x[:8], generator(2), *(of[:8] for of in y))
            assert losses
            assert all(value.shape == () and value.isfinite() for value in losses.values())

    def test_a_seed_decides_the_first_weights(self, spec: TaskSpec) -> None:
        one, again, other = (self.build(spec, seed).state_dict() for seed in (3, 3, 4))
        assert all(torch.equal(one[name], again[name]) for name in one)
        assert not all(torch.equal(one[name], other[name]) for name in one)

    def test_the_loss_falls_on_a_signal_that_can_be_learnt(self, spec: TaskSpec) -> None:
        task, x, masks = self.build(spec), rhythms(), generator()
        batches = shuffled(len(x), 16, np.random.default_rng(0))
        training = Training(
            task, lambda index: run(task, x[index], masks)[0], batches, Optim(lr=5e-3), 80, 8
        )
        losses = list(training.rounds())
        assert losses[-1] < 0.7 * losses[0]
