"""The training loop: rates, rounds, batches, randomness, and what is said when it leaves the
numbers."""

import ctypes
import itertools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from citrus_ray.experiment.optim import Optim
from citrus_ray.training.loop import (
    NonFiniteLossError,
    ParameterGroup,
    Training,
    adamw_step,
    keep_freed_memory,
    seeded,
    shuffled,
)


def batches(n: int = 16, size: int = 8):
    return shuffled(n, size, np.random.default_rng(0))


def linear() -> nn.Linear:
    with seeded(0):
        return nn.Linear(2, 1)


def line_fit(module: nn.Module):
    """A loss that a linear layer can bring to zero."""
    x = torch.randn(16, 2, generator=torch.Generator().manual_seed(1))
    y = x @ torch.tensor([[1.0], [-2.0]]) + 0.5
    return lambda index: ((module(x[index]) - y[index]) ** 2).mean()


# ---- the loop ----


def test_the_loss_falls_round_by_round():
    module = linear()
    losses = list(
        Training(
            module, line_fit(module), batches(), Optim(lr=0.05, weight_decay=0), 200, 5
        ).rounds()
    )
    assert len(losses) == 5
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.02 * losses[0]


@pytest.mark.parametrize(("n_steps", "n_rounds"), [(10, 3), (7, 7), (100, 1), (11, 4)])
def test_steps_are_spread_over_the_rounds(n_steps, n_rounds):
    module, steps = linear(), itertools.count()
    fit = line_fit(module)
    ends = [
        next(steps)
        for _ in Training(
            module,
            lambda index: fit(index) + 0 * next(steps),
            batches(),
            Optim(),
            n_steps,
            n_rounds,
        ).rounds()
    ]
    counts = np.diff(ends, prepend=-1) - 1  # the look at the counter is a count too
    assert sum(counts) == n_steps
    assert len(counts) == n_rounds
    assert max(counts) - min(counts) <= 1


def test_the_mean_loss_of_a_round_is_yielded():
    module = linear()
    values = iter([1.0, 3.0, 5.0, 7.0])
    losses = list(
        Training(
            module, lambda index: module.weight.sum() * 0 + next(values), batches(), Optim(), 4, 2
        ).rounds()
    )
    assert losses == [2.0, 6.0]


def test_what_is_frozen_stays():
    module = nn.Sequential(linear(), nn.Linear(1, 1))
    module[0].requires_grad_(False)
    before = [p.clone() for p in module.parameters()]
    list(Training(module, line_fit(module), batches(), Optim(lr=0.1), 5, 1).rounds())
    moved = [not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True)]
    assert moved == [False, False, True, True]


@pytest.mark.parametrize("clip", [0.1, 1e3])
def test_a_gradient_is_no_longer_than_it_may_be_and_a_short_one_stays_as_it_is(clip):
    norms = []
    for longest in (None, clip):
        module = linear()
        list(Training(module, line_fit(module), batches(), Optim(clip=longest), 1, 1).rounds())
        grads = [p.grad for p in module.parameters() if p.grad is not None]
        norms.append(float(torch.cat([grad.flatten() for grad in grads]).norm()))
    assert norms[0] > 0.1
    assert norms[1] == pytest.approx(min(norms[0], clip), rel=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_names_step_rate_and_parameter(value):
    module = linear()
    optim = Optim(lr=0.5, warmup=0.0)
    steps = itertools.count()
    loss = lambda index: module.weight.sum() * (value if next(steps) == 13 else 1.0)  # noqa: E731
    with pytest.raises(NonFiniteLossError) as caught:
        list(Training(module, loss, batches(), optim, 20, 2).rounds())
    assert f"step 13 of 20, lr={optim.rate(13, 20):.3g}" in str(caught.value)
    assert "first non-finite parameter weight" in str(caught.value)


def test_a_rate_far_too_high_is_a_failure_and_not_a_result():
    module = linear()
    with pytest.raises(NonFiniteLossError, match=r"step \d+ of 50"):
        list(
            Training(
                module,
                lambda index: line_fit(module)(index).exp(),
                batches(),
                Optim(lr=1e20, warmup=0.0),
                50,
                5,
            ).rounds()
        )


def test_bad_data_is_told_from_a_bad_rate():
    module = linear()
    with pytest.raises(NonFiniteLossError, match="all parameters still finite: look at the data"):
        list(
            Training(
                module,
                lambda index: (
                    torch.tensor(torch.nan) + 0 * module.weight.sum().detach().requires_grad_()
                ),
                batches(),
                Optim(),
                1,
                1,
            ).rounds()
        )


class Noisy(nn.Module):
    """Draws from torch's global generator, as dropout does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.drop = linear(), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(self.drop(x))  # type: ignore[no-any-return]


def run_noisy(seed: int, disturb: bool = False) -> list[float]:
    module, losses = Noisy(), []
    for loss in Training(
        module, line_fit(module), batches(), Optim(lr=0.05), 12, 3, seed=seed
    ).rounds():
        losses.append(loss)
        if disturb:
            torch.rand(7)
    return losses


def test_dropout_hangs_on_the_seed_and_on_nothing_else_that_runs():
    assert run_noisy(1) == run_noisy(1) == run_noisy(1, disturb=True)
    assert run_noisy(1) != run_noisy(2)


@pytest.mark.parametrize("stop", [0, 1, 2, 3])
@pytest.mark.parametrize("wait", [0, 5, 8])
def test_a_training_taken_up_after_a_round_ends_where_it_would_have(stop, wait):
    def training(module: Noisy) -> Training:
        weight, bias = module.inner.parameters()
        groups = [ParameterGroup([weight], 1.0, wait), ParameterGroup([bias], 0.5)]
        return Training(
            module, line_fit(module), batches(), Optim(lr=0.05), 10, 3, seed=4, groups=groups
        )

    whole, first, second = Noisy(), Noisy(), Noisy()
    straight, before, after = training(whole), training(first), training(second)
    losses = [straight.advance() for _ in range(3)]
    taken = [before.advance() for _ in range(stop)]
    second.load_state_dict(first.state_dict())
    after.load_state_dict(before.state_dict())
    taken += [after.advance() for _ in range(3 - stop)]
    assert after.over
    assert taken == losses
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True)
    )


def test_training_leaves_the_global_generator_as_it_found_it():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    run_noisy(1)
    assert torch.equal(before, torch.random.get_rng_state())


# ---- rates ----


@given(
    lr=st.floats(1e-5, 1),
    warmup=st.just(0.0) | st.floats(1e-6, 0.9),
    n_steps=st.integers(1, 300),
)
def test_the_rate_rises_to_lr_then_falls(lr, warmup, n_steps):
    optim = Optim(lr=lr, warmup=warmup)
    rates = [optim.rate(step, n_steps) for step in range(n_steps)]
    top = int(np.argmax(rates))
    assert all(0 < rate <= lr * (1 + 1e-9) for rate in rates)
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(rates[: top + 1]))
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(rates[top:]))
    assert rates[-1] < 0.1 * lr or n_steps * (1 - warmup) < 2.5


def test_warm_up_is_linear():
    optim = Optim(lr=1.0, warmup=0.5)
    assert [optim.rate(step, 10) for step in range(4)] == pytest.approx([0.1, 0.3, 0.5, 0.7])


def test_the_cosine_is_torchs_cosine_in_the_middle_of_each_step():
    optim = Optim(lr=0.3, warmup=0.0)
    inner = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(inner, T_max=40)
    halves = []
    for _ in range(40):
        inner.step()
        schedule.step()
        halves.append(schedule.get_last_lr()[0])
    assert [optim.rate(step, 20) for step in range(20)] == pytest.approx(halves[::2], abs=1e-9)


def test_a_training_of_one_step_learns():
    module = linear()
    before = [p.clone() for p in module.parameters()]
    Training(module, line_fit(module), batches(), Optim(lr=0.1), 1, 1).advance()
    assert not any(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


# ---- batches ----


@given(n=st.integers(1, 50), size=st.integers(1, 20), seed=st.integers(0, 99))
def test_no_window_comes_twice_before_all_full_batches_of_a_pass_are_done(n, size, seed):
    size_ = min(size, n)
    stream = shuffled(n, size, np.random.default_rng(seed))
    for _ in range(2):
        seen = np.concatenate([next(stream) for _ in range(n // size_)])
        assert len(seen) == len(set(seen.tolist())) == n // size_ * size_
        assert seen.min() >= 0
        assert seen.max() < n


@given(n=st.integers(8, 60), size=st.integers(4, 8), world=st.integers(1, 4))
def test_workers_together_see_the_batch_that_one_would_have_seen(n, size, world):
    alone = shuffled(n, size, np.random.default_rng(3))
    shards = [shuffled(n, size, np.random.default_rng(3), (rank, world)) for rank in range(world)]
    for _ in range(5):
        parts = [next(shard) for shard in shards]
        assert np.array_equal(np.sort(np.concatenate(parts)), next(alone))


def test_seeding_a_block_leaves_the_global_generator_as_it_was():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    with seeded(1):
        one = torch.rand(3)
    with seeded(1):
        assert torch.equal(one, torch.rand(3))
    assert torch.equal(before, torch.random.get_rng_state())


def test_steps_without_torchs_look_ups_are_torchs_steps_bit_for_bit():
    """Of groups at rates of their own, one weight that never gets a gradient, one that does
    later."""

    def trained(step: Callable[[torch.optim.AdamW], object]) -> list[torch.Tensor]:
        weights = [nn.Parameter(torch.arange(n, dtype=torch.float32)) for n in range(2, 6)]
        groups: list[dict[str, Any]] = [
            {"params": weights[:1]},
            {"params": weights[1:], "lr": 1e-2},
        ]
        optimizer = torch.optim.AdamW(groups, lr=1e-1, weight_decay=0.1, fused=True)
        generator = torch.Generator().manual_seed(0)
        for number in range(6):
            for i, weight in enumerate(weights):
                gradient = torch.randn(weight.shape, generator=generator)
                weight.grad = None if i == 1 or (i == 2 and number < 3) else gradient
            step(optimizer)
        return [weight.detach() for weight in weights]

    for ours, theirs in zip(trained(adamw_step), trained(torch.optim.AdamW.step), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.skipif(sys.platform != "linux", reason="what a C library keeps is its own affair")
def test_memory_that_a_step_frees_is_kept_for_the_next():
    class Heap(ctypes.Structure):
        of = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
        _fields_ = [(name, ctypes.c_size_t) for name in of.split()]

    ask = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if ask is None:
        pytest.skip("not glibc")
    ask.restype = Heap
    keep_freed_memory()
    before = ask().hblkhd  # bytes that go back to the system as soon as they are freed
    held = torch.empty(31 << 18)  # 31 MB
    assert ask().hblkhd - before < held.nbytes
