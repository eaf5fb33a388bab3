"""One training loop for pre-training and fine-tuning. It knows losses and parameters, not what they are for."""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import nn

from citrus_ray.data.windows import Index
from citrus_ray.spec import Spec

LossOf = Callable[[Index], torch.Tensor]  # window indices of a batch -> scalar loss


class Optim(Spec):
    """AdamW with linear warm-up over a share of the steps, then a cosine to zero."""

    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    batch_size: Annotated[int, Field(ge=1)] = 64
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1

    def rate(self, step: int, n_steps: int) -> float:
        done = (step + 1) / n_steps
        if done < self.warmup:
            return self.lr * done / self.warmup
        return self.lr * 0.5 * (1 + math.cos(math.pi * min((done - self.warmup) / (1 - self.warmup), 1.0)))


class NonFiniteLossError(ArithmeticError):
    """Training left the numbers; says at which step, at which rate and in which tensor."""


def train(
    module: nn.Module,
    loss_of: LossOf,
    batches: Iterator[Index],
    optim: Optim,
    n_steps: int,
    n_rounds: int,
    seed: int = 0,
) -> Iterator[float]:
    """Take `n_steps` optimiser steps in `n_rounds` rounds; yields the mean loss of each round."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    # foreach: one call over all tensors; the per-tensor loop costs more than the arithmetic on small models
    optimizer = torch.optim.AdamW(parameters, lr=optim.lr, weight_decay=optim.weight_decay, foreach=True)
    edges = np.linspace(0, n_steps, n_rounds + 1).round().astype(int)
    for start, stop in itertools.pairwise(edges):
        module.train()
        with seeded(seed * 100_003 + int(start)):  # dropout: members run in turn must not share its draws
            losses = [_step(loss_of, next(batches), optimizer, optim.rate(i, n_steps)) for i in range(start, stop)]
        yield _finite_mean(losses, int(start), optim, n_steps, module)


def _step(loss_of: LossOf, index: Index, optimizer: torch.optim.Optimizer, rate: float) -> torch.Tensor:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss = loss_of(index)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def _finite_mean(losses: list[torch.Tensor], start: int, optim: Optim, n_steps: int, module: nn.Module) -> float:
    """The mean of a round's losses. Checked once a round: a look at every step would make a GPU wait."""
    values = torch.stack(losses)
    if bool(values.isfinite().all()):
        return float(values.mean())
    step = start + int((~values.isfinite()).nonzero()[0])
    bad = [name for name, p in module.named_parameters() if not bool(p.isfinite().all())]
    raise NonFiniteLossError(
        f"loss is {float(values[step - start])} at step {step} of {n_steps}, lr={optim.rate(step, n_steps):.3g}"
        + (f", first non-finite parameter {bad[0]}" if bad else ", all parameters still finite: look at the data")
    )


def shuffled(n: int, batch_size: int, rng: np.random.Generator, shard: tuple[int, int] = (0, 1)) -> Iterator[Index]:
    """Batches of indices below `n`, reshuffled when all were seen, for ever. `shard` is (rank, world size).

    Every rank draws the same permutation and takes its part of each batch, so the union over ranks is the batch
    that one worker would have seen.
    """
    rank, world = shard
    batch_size = min(batch_size, n)
    while True:
        order = rng.permutation(n)
        for start in range(0, n - batch_size + 1, batch_size):
            yield np.sort(order[start : start + batch_size][rank::world])  # sorted: memory-mapped reads go forward


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """First weights and dropout come from torch's global generator: seed it for the block, then put it back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
