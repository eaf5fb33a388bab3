"""Which tokens are hidden. Exact counts per row, so every loss averages over the same number of
tokens."""

from collections.abc import Callable
from functools import partial

import torch

from citrus_ray.tasks.losses.lots import by_window


def n_hidden(n_tokens: int, ratio: float) -> int:
    """The ratio as a count that leaves at least one token hidden and one visible."""
    return min(max(round(ratio * n_tokens), 1), n_tokens - 1)


def span_mask(
    shape: tuple[int, int, int], ratio: float, span: int, generator: torch.Generator
) -> torch.Tensor:
    """(B, C, N) bool, True = hidden: runs of `span` tokens, exactly `n_hidden` of them in every
    row.

    Runs are laid on a grid of blocks with a random offset per row; the last run is cut to meet
    the count.
    """
    n_batch, n_chans, n_tokens = shape
    n_rows = n_batch * n_chans
    device = generator.device
    n_blocks = n_tokens // span + 2
    lot = partial(torch.rand, generator=generator, device=device)
    offset = by_window(partial(torch.randint, span, generator=generator, device=device), n_rows, 1)
    block = (
        torch.arange(n_tokens, device=device) + offset
    ) // span  # (R, N): the run each token belongs to
    rank_of_block = by_window(lot, n_rows, n_blocks).argsort(dim=1).argsort(dim=1)
    rank = rank_of_block.gather(1, block) * n_tokens + torch.arange(n_tokens, device=device)
    chosen = rank.argsort(dim=1)[
        :, : n_hidden(n_tokens, ratio)
    ]  # whole runs in random order, then token order
    hidden = torch.zeros(n_rows, n_tokens, dtype=torch.bool, device=device)
    return hidden.scatter_(1, chosen, True).reshape(shape)


def neighbourhoods(
    distances: torch.Tensor, size: int, n_batch: int, generator: torch.Generator
) -> torch.Tensor:
    """Distances of channels (C, C) -> (B, C): which group of neighbours each is in, `size` of them,
    fewer in the first and the last; drawn for every window.

    Groups are taken from the rim inwards, to a channel that is drawn: what is left stays together.
    """
    n_chans, device = len(distances), generator.device
    whole = partial(torch.randint, generator=generator, device=device)
    centre = by_window(partial(whole, n_chans), n_batch)
    # the first takes any number, or all borders would be multiples of the size away from the rim
    first = by_window(partial(whole, 1, size + 1), n_batch, 1)
    outwards = distances[centre]  # (B, C)
    groups = torch.full_like(outwards, -1, dtype=torch.int64)
    sizes = [first, *[torch.full_like(first, size)] * -(-(n_chans - 1) // size)]
    for number, count in enumerate(sizes):
        left = groups < 0
        rim = outwards.masked_fill(~left, -1.0).argmax(dim=1)
        near = distances[rim].masked_fill(~left, torch.inf)
        nearest = near.argsort(dim=1, stable=True).argsort(dim=1) < count
        groups = torch.where(left & nearest, number, groups)
    return groups


def places(hidden: torch.Tensor, n_shown: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(…, N), `n_shown` visible in every row -> where these are (…, V), and where the hidden
    ones, both in order."""
    order = hidden.byte().argsort(dim=-1, stable=True)
    return order[..., :n_shown], order[..., n_shown:]


def over_hidden(
    loss: Callable[..., torch.Tensor],
    predicted: torch.Tensor,
    target: torch.Tensor,
    hidden: torch.Tensor,
) -> torch.Tensor:
    """The mean loss of the entries that are hidden, of which `hidden` may lack the last axes.

    To take them out is to ask how many they are, for which a GPU would be waited for at every step:
    there all entries are compared, and the visible ones count nothing.
    """
    if predicted.device.type == "cpu":
        return loss(predicted[hidden], target[hidden])
    each = loss(predicted, target, reduction="none")
    wanted = hidden.view(*hidden.shape, *[1] * (each.ndim - hidden.ndim)).expand_as(each)
    return torch.where(wanted, each, 0).sum() / wanted.sum()


def hide_modalities(
    hidden: torch.Tensor, modalities: tuple[str, ...], share: float, generator: torch.Generator
) -> torch.Tensor:
    """(B, C, N): in about `share` of windows, all tokens of one modality are hidden too."""
    names = sorted(set(modalities))
    of_channel = torch.tensor(
        [names.index(name) for name in modalities], device=hidden.device
    )  # (C,)
    own = {"generator": generator, "device": hidden.device}
    drops = by_window(partial(torch.rand, **own), len(hidden), 1) < share
    which = by_window(partial(torch.randint, len(names), **own), len(hidden), 1)
    return hidden | (drops & (of_channel == which))[..., None]


TRIES = 20  # of drawing a pair of views by chance; at keep 0.5 of two sensors, 3 in 8 pairs will do


def two_views(
    cells: torch.Tensor, keep: float, generator: torch.Generator, disjoint: bool = False
) -> torch.Tensor:
    """(B, K) bool, True = there to be seen -> (2, B, K), True = seen: each cell with chance `keep`,
    in each view anew.

    `disjoint`: no cell in both. Every view sees a cell at least, and the two differ; where there
    is one cell only, both see it.
    """
    seen = _drawn(cells, keep, generator, disjoint)
    for _ in range(TRIES):
        bad = _useless(seen)
        if not bool(bad.any()):
            return seen
        seen = torch.where(bad[:, None], _drawn(cells, keep, generator, disjoint), seen)
    return torch.where(_useless(seen)[:, None], _halves(cells, generator), seen)


def _drawn(
    cells: torch.Tensor, keep: float, generator: torch.Generator, disjoint: bool
) -> torch.Tensor:
    if not disjoint:
        return cells & (
            torch.rand(2, *cells.shape, generator=generator, device=cells.device) < keep
        )
    # one lot for all windows: where each had its own, what a view lacks would name its other view
    # without any signal
    lot = torch.rand(1, cells.shape[1], generator=generator, device=cells.device)
    return cells & torch.stack([lot < keep, lot >= 1 - keep])


def _useless(seen: torch.Tensor) -> torch.Tensor:
    """(2, B, K) -> (B,): a view sees nothing, or both see the same."""
    return ~seen.any(dim=2).all(dim=0) | (seen[0] == seen[1]).all(dim=1)


def _halves(cells: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One view sees about half of the cells, the other the rest. Of a single cell there is no
    half."""
    order = torch.rand(cells.shape, generator=generator, device=cells.device).masked_fill(
        ~cells, 2.0
    )
    rank, n = order.argsort(dim=1).argsort(dim=1), cells.sum(dim=1, keepdim=True)
    one, other = cells & (rank < (n + 1) // 2), cells & (rank >= (n + 1) // 2)
    return torch.stack([one, torch.where(n > 1, other, cells)])
