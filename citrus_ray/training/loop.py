"""Training loop of pre-training and fine-tuning: it knows losses and parameters, not their use."""

import ctypes
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from citrus_ray.data.windows import Index
from citrus_ray.experiment.optim import Optim

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LossOf = Callable[[Index], torch.Tensor]  # window indices of a batch -> scalar loss
# or those of its parts, which add up to it
LossesOf = Callable[[Index], torch.Tensor | Iterator[torch.Tensor]]


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters with a rate of their own: `factor` times the common one, after `wait` steps of
    standing still. `anchor` pulls them to their first values, per step, as a share of the rate."""

    parameters: list[nn.Parameter]
    factor: float = 1.0
    wait: int = 0
    anchor: float = 0.0


class NonFiniteLossError(ArithmeticError):
    """Training left the numbers; says at which step, at which rate and in which tensor."""


class Training:
    """`n_steps` optimiser steps in `n_rounds` rounds. Between two rounds its state can be saved,
    and taken up later.

    The module's own state is the caller's to keep: it knows what of it is wrapped or frozen.
    """

    def __init__(
        self,
        module: nn.Module,
        loss_of: LossesOf,
        batches: Iterator[Index],
        optim: Optim,
        n_steps: int,
        n_rounds: int,
        seed: int = 0,
        groups: Sequence[ParameterGroup] = (),
    ) -> None:
        keep_freed_memory()
        self.module, self.loss_of, self.batches, self.optim = module, loss_of, batches, optim
        self.n_steps, self.seed, self.round = n_steps, seed, 0
        learning = [p for p in module.parameters() if p.requires_grad]
        self.groups = groups or [ParameterGroup(learning)]
        # fused: one pass over all tensors; 0.17 ms a step on a small model, a loop takes 0.86
        self.optimizer = torch.optim.AdamW(
            [{"params": group.parameters} for group in self.groups],
            lr=optim.lr,
            weight_decay=optim.weight_decay,
            fused=True,
        )
        self.first = [
            [p.detach().clone() for p in group.parameters] if group.anchor else []
            for group in self.groups
        ]
        self.edges = edges(n_steps, n_rounds)

    @property
    def over(self) -> bool:
        return self.round == len(self.edges) - 1

    def rounds(self) -> Generator[float, None, None]:
        """All rounds that are left; yields the mean loss of each."""
        while not self.over:
            yield self.advance()

    def advance(self) -> float:
        """One round; its mean loss."""
        start, stop = self.edges[self.round : self.round + 2]
        self.module.train()
        # dropout: members run in turn must not share its draws
        with seeded(self.seed * 100_003 + start):
            losses = [self._step(i, i == start) for i in range(start, stop)]
        self.round += 1
        return finite_mean(losses, start, self.optim, self.n_steps, self.module)

    def _step(self, step: int, begins: bool) -> torch.Tensor:
        """One step, from a batch to the optimiser; its loss stays on the device."""
        rate = self.optim.rate(step, self.n_steps)
        for options, group in zip(self.optimizer.param_groups, self.groups, strict=True):
            options["lr"] = rate * group.factor
            # at each round, since it may be the first after a restart
            if group.wait and (begins or step == group.wait):
                for parameter in group.parameters:
                    # without a gradient the optimiser leaves it, and it costs no backward
                    parameter.requires_grad_(step >= group.wait)
        self.optimizer.zero_grad(set_to_none=True)
        found = self.loss_of(next(self.batches))
        losses = list[torch.Tensor]()
        for loss in [found] if isinstance(found, torch.Tensor) else found:
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        if self.optim.clip is not None:
            clip_gradient([p for group in self.groups for p in group.parameters], self.optim.clip)
        adamw_step(self.optimizer)
        for group, first in zip(self.groups, self.first, strict=True):
            if group.anchor:
                pull = pull_to_first(rate * group.factor, group.anchor)
                with torch.no_grad():
                    for parameter, value in zip(group.parameters, first, strict=True):
                        parameter.lerp_(value, pull)
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def state_dict(self) -> dict[str, Any]:
        return {"round": self.round, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Of a training that has not begun. Drawing the batches that are done again costs
        microseconds each."""
        self.optimizer.load_state_dict(state["optimizer"])
        for _ in range(self.edges[self.round], self.edges[state["round"]]):
            next(self.batches)
        self.round = state["round"]


def edges(n_steps: int, n_rounds: int) -> list[int]:
    """Steps done before each round, and after the last."""
    return [int(edge) for edge in np.linspace(0, n_steps, n_rounds + 1).round()]


@cache
def keep_freed_memory() -> None:
    """Let this process keep what a step frees for the next one, up to 128 MB. Else the C library
    gives it back to the system and takes it anew, page by page: up to a seventh of a step."""
    keep = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if keep is not None:  # glibc alone has it
        keep(M_MMAP_THRESHOLD, 32 << 20)
        keep(M_TRIM_THRESHOLD, 128 << 20)


@torch.no_grad()
def adamw_step(optimizer: torch.optim.AdamW) -> None:
    """`optimizer.step()`, bit for bit. On a CPU without what torch looks up around the kernel: 0.3
    ms of a step of a small model, which takes 5 in all."""
    state, groups = optimizer.state, []
    for options in optimizer.param_groups:
        learning = [p for p in options["params"] if p.grad is not None]
        if any(p not in state or p.device.type != "cpu" for p in learning):
            optimizer.step()  # the first time, what it keeps of a weight is made
            for known in optimizer.param_groups:
                _count_together([state[p] for p in known["params"] if p in state])
            return
        if learning:
            groups.append((options, learning))
    for options, learning in groups:
        kept = [state[p] for p in learning]
        steps = [one["step"] for one in kept]
        all_of = steps[0]._base
        if all_of is not None and len(all_of) == len(steps):
            all_of.add_(1)  # one for all weights
        else:
            torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            learning,
            [p.grad for p in learning],
            [one["exp_avg"] for one in kept],
            [one["exp_avg_sq"] for one in kept],
            [],
            steps,
            lr=options["lr"],
            beta1=options["betas"][0],
            beta2=options["betas"][1],
            weight_decay=options["weight_decay"],
            eps=options["eps"],
            amsgrad=False,
            maximize=False,
        )


def _count_together(kept: Sequence[dict[str, torch.Tensor]]) -> None:
    """Counts of steps as parts of one tensor: each by itself, they cost more than the kernel."""
    if kept:
        counts = torch.stack([one["step"] for one in kept]).unbind()
        for one, count in zip(kept, counts, strict=True):
            one["step"] = count


@torch.no_grad()
def clip_gradient(parameters: Sequence[nn.Parameter], longest: float) -> None:
    """Scale the gradient of all parameters together down to a norm: `clip_grad_norm_` without a
    factor that some devices hand to the host."""
    grads = [p.grad for p in parameters if p.grad is not None]
    scale = (longest / (nn.utils.get_total_norm(grads) + 1e-6)).clamp(max=1)
    for grad in grads:
        grad.mul_(scale)


def pull_to_first(rate: float, anchor: float) -> float:
    """Share of the way back to its first value that a weight goes after a step: apart from the
    gradient, as AdamW has its decay towards 0, so that its moments do not divide it away."""
    return min(1.0, rate * anchor)


def finite_mean(
    losses: Sequence[torch.Tensor], start: int, optim: Optim, n_steps: int, module: nn.Module
) -> float:
    """The mean of a round's losses. Checked once a round: a look at every step would make a GPU
    wait."""
    values = torch.stack(list(losses))
    if bool(values.isfinite().all()):
        return float(values.mean())
    step = start + int((~values.isfinite()).nonzero()[0])
    bad = [name for name, p in module.named_parameters() if not bool(p.isfinite().all())]
    where = f"first non-finite parameter {bad[0]}" if bad else "all parameters still finite"
    raise NonFiniteLossError(
        f"loss is {float(values[step - start])} at step {step} of {n_steps}, "
        f"lr={optim.rate(step, n_steps):.3g}, {where}{'' if bad else ': look at the data'}"
    )


def shuffled(
    n: int, batch_size: int, rng: np.random.Generator, shard: tuple[int, int] = (0, 1)
) -> Iterator[Index]:
    """Batches of indices below `n`, reshuffled when all were seen, for ever.

    `shard` is (rank, world size). Every rank draws the same permutation and takes its part of each
    batch, every so-manieth window of the batch that one worker would have seen.
    """
    rank, world = shard
    batch_size = min(batch_size, n)
    while True:
        order = rng.permutation(n)
        for start in range(0, n - batch_size + 1, batch_size):
            # sorted: memory-mapped reads go forward
            yield np.sort(order[start : start + batch_size])[rank::world]


def balanced(
    labels: npt.NDArray[np.int64], batch_size: int, rng: np.random.Generator
) -> Iterator[Index]:
    """Batches of indices of `labels` in which every class is as often, give or take one, for ever.

    Each class is reshuffled when all of its windows were seen, so a rare one comes again sooner.
    """
    classes, n = np.unique(labels), min(batch_size, len(labels))
    turns = [_in_turn(np.flatnonzero(labels == k), rng) for k in classes]
    first = 0  # the class that has one more where they do not divide the batch
    while True:
        counts = n // len(classes) + (
            (np.arange(len(classes)) - first) % len(classes) < n % len(classes)
        )
        first = (first + n) % len(classes)
        taken = [
            next(turn) for turn, count in zip(turns, counts, strict=True) for _ in range(count)
        ]
        yield np.sort(np.array(taken))


def _in_turn(index: Index, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(index)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's global generator, which first weights and dropout come from, seeded for the block and
    then put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
