"""Draws of a batch that is taken in parts, on workers or one part after another: each window's are
those that it would have in the whole batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

# which windows of a batch of how many are taken now; None: all of them
_PART: ContextVar[tuple[range, int] | None] = ContextVar("part", default=None)


@contextmanager
def part_of_batch(rows: range, n: int) -> Iterator[None]:
    """The windows at `rows` of a batch of `n`, for what is drawn in the block."""
    token = _PART.set((rows, n))
    try:
        yield
    finally:
        _PART.reset(token)


def by_window(draw: Callable[[tuple[int, ...]], torch.Tensor], *shape: int) -> torch.Tensor:
    """`draw(shape)`, whose first axis is windows, or some rows of each; of a part of a batch, its
    share of what the whole batch draws, after which the generator stands where that leaves it."""
    part = _PART.get()
    if part is None:
        return draw(shape)
    rows, n = part
    of_each, rest = divmod(shape[0], len(rows))
    assert not rest, f"{shape[0]} rows are not some of each of {len(rows)} windows"
    whole = draw((n * of_each, *shape[1:])).view(n, of_each, *shape[1:])
    # not by an index, which would be copied to the device
    return whole[rows.start : rows.stop : rows.step].flatten(0, 1)
