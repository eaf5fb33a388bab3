"""Which tokens are hidden. Exact counts per row, so every loss averages over the same number of tokens."""

import torch


def n_hidden(n_tokens: int, ratio: float) -> int:
    """The ratio as a count that leaves at least one token hidden and one visible."""
    return min(max(round(ratio * n_tokens), 1), n_tokens - 1)


def span_mask(shape: tuple[int, int, int], ratio: float, span: int, generator: torch.Generator) -> torch.Tensor:
    """(B, C, N) bool, True = hidden: runs of `span` tokens, exactly `n_hidden` of them in every row.

    Runs are laid on a grid of blocks with a random offset per row; the last run is cut to meet the count.
    """
    n_batch, n_chans, n_tokens = shape
    n_rows = n_batch * n_chans
    device = generator.device
    n_blocks = n_tokens // span + 2
    offset = torch.randint(span, (n_rows, 1), generator=generator, device=device)
    block = (torch.arange(n_tokens, device=device) + offset) // span  # (R, N): the run each token belongs to
    rank_of_block = torch.rand(n_rows, n_blocks, generator=generator, device=device).argsort(dim=1).argsort(dim=1)
    rank = rank_of_block.gather(1, block) * n_tokens + torch.arange(n_tokens, device=device)
    chosen = rank.argsort(dim=1)[:, : n_hidden(n_tokens, ratio)]  # whole runs in random order, then token order
    hidden = torch.zeros(n_rows, n_tokens, dtype=torch.bool, device=device)
    return hidden.scatter_(1, chosen, True).reshape(shape)


def places(hidden: torch.Tensor, n_shown: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(…, N) with `n_shown` visible in every row -> where these are (…, V), and where the hidden ones, both in order."""
    order = hidden.byte().argsort(dim=-1, stable=True)
    return order[..., :n_shown], order[..., n_shown:]


def hide_modalities(
    hidden: torch.Tensor, modalities: tuple[str, ...], share: float, generator: torch.Generator
) -> torch.Tensor:
    """(B, C, N): in about `share` of windows, all tokens of one modality are hidden too."""
    names = sorted(set(modalities))
    of_channel = torch.tensor([names.index(name) for name in modalities], device=hidden.device)  # (C,)
    drops = torch.rand(len(hidden), 1, generator=generator, device=hidden.device) < share
    which = torch.randint(len(names), (len(hidden), 1), generator=generator, device=hidden.device)
    return hidden | (drops & (of_channel == which))[..., None]
