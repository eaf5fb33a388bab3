"""A batch that workers share, for losses that are of it as a whole: variances, covariances,
negatives."""

from typing import Any

import torch
from torch import distributed
from torch.nn import functional as F


def gathered(z: torch.Tensor) -> torch.Tensor:
    """(B, …) -> (rows of all workers, …), the same on each; alone, what came in.

    Every worker must compute the same loss of the result: its gradient is then that of one process
    with the whole batch, once gradients are averaged over workers.
    """
    if not _several():
        return z
    found: torch.Tensor = _Gathered.apply(z)  # type: ignore[no-untyped-call]
    return found


def summed(values: torch.Tensor) -> torch.Tensor:
    """Their sum over workers, without a gradient; alone, what came in."""
    if not _several():
        return values
    total = values.detach().clone()
    distributed.all_reduce(total)
    return total


def in_common(generator: torch.Generator) -> torch.Generator:
    """A generator that draws the same on every worker; alone, the one that came in."""
    if not _several():
        return generator
    seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
    distributed.broadcast(seed, src=0)
    return torch.Generator(generator.device).manual_seed(int(seed))


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized()


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: torch.Tensor) -> torch.Tensor:
        own, world = distributed.get_rank(), distributed.get_world_size()
        counts = [torch.zeros(1, dtype=torch.int64, device=z.device) for _ in range(world)]
        distributed.all_gather(counts, counts[own].new_tensor([len(z)]))
        sizes = [int(count) for count in counts]
        # a batch that workers cannot share evenly gives some of them a row more
        padding = (0, 0) * (z.ndim - 1) + (0, max(sizes) - len(z))
        even = F.pad(z, padding).contiguous()
        parts = [torch.empty_like(even) for _ in range(world)]
        distributed.all_gather(parts, even)
        ctx.first, ctx.size, ctx.world = sum(sizes[:own]), len(z), world
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        """Of the own rows, as every worker's loss has them, which are alike: their sum. Averaging
        over workers divides it again."""
        own: torch.Tensor = grads[0][ctx.first : ctx.first + ctx.size] * ctx.world
        return own
