"""Batches that are taken in parts, by several workers or one part after another: losses and
gradients of the whole batch, up to rounding."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from citrus_ray.data.windows import Index
from citrus_ray.tasks.losses.lots import part_of_batch
from citrus_ray.tasks.losses.task import Task

Take = Callable[[Index], list[torch.Tensor]]  # windows -> what a task takes beside the generator
Lost = Callable[..., torch.Tensor]  # of what was taken, the loss
Losses = Iterator[torch.Tensor]


@dataclass(frozen=True)
class Worker:
    """One worker of a run: which of how many it is, and how it wraps a module to share
    gradients."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module


ALONE = Worker()


@dataclass(frozen=True)
class BatchParts:
    """A worker's windows of every batch of `n`, in up to so many parts."""

    n: int
    n_parts: int
    worker: Worker
    task: Task
    masks: torch.Generator

    @property
    def own(self) -> range:
        """Which windows of the batch, in order, are the worker's."""
        return range(self.worker.rank, self.n, self.worker.world)

    def __iter__(self) -> Iterator[slice]:
        """BatchParts of the worker's own windows, none of them empty."""
        n_parts = min(self.n_parts, len(self.own))
        edges = np.linspace(0, len(self.own), n_parts + 1).round().astype(int)
        return itertools.starmap(slice, itertools.pairwise(edges.tolist()))

    def losses(self, wrapped: nn.Module, lost: Lost, take: Take, index: Index) -> Losses:
        """Each part's loss, as much of it as it is of the batch's. Their sum, averaged over
        workers, is the loss of the batch, and so it is with gradients."""
        before = self.masks.get_state()
        later = getattr(wrapped, "no_sync", contextlib.nullcontext)
        for part in self:
            x, *y = take(index[part])
            rows = self.own[part]
            self.masks.set_state(before)
            share = self._share(rows, x.shape)
            self.masks.set_state(before)
            # workers bring gradients together once, after the last part
            with later() if part.stop < len(self.own) else contextlib.nullcontext():
                with part_of_batch(rows, self.n):
                    loss = lost(x, *y)
                yield loss * (share * self.worker.world)

    def _share(self, rows: range, shape: torch.Size) -> torch.Tensor | float:
        """Of the numbers that the loss of the whole batch is a mean of, how many are of these
        windows."""
        _, n_chans, n_times = shape
        asked = self.task.n_asked((self.n, n_chans, n_times), self.masks)
        if asked is None:
            return len(rows) / self.n
        return asked[rows.start : rows.stop : rows.step].sum() / asked.sum()
