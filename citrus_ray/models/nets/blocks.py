"""The channel-independent transformer that `patch` and `citrus` share: pre-norm blocks, positions,
modality embeddings.

Tokens come in as (R, N, D), a row R per channel of every window: attention never crosses
channels or windows.
"""

import torch
from torch import nn
from torch.nn import functional as F

from citrus_ray.context import MODALITY_SLOTS, SignalContext, modality_slot
from citrus_ray.models.nets.attention import Turns, place_turns, self_attention, side_by_side
from citrus_ray.models.nets.dropout import Dropout, dropped, kept


class Transformer(nn.Module):
    """(B*C, N, D) -> (B*C, N, D): mask token, positions and modalities, then `layers` blocks and a
    norm.

    `places` (B*C, N) says where tokens stand when they are not all of a window.
    """

    def __init__(
        self,
        ctx: SignalContext,
        *,
        dim: int,
        layers: int,
        heads: int,
        mlp: int,
        dropout: float,
        positions: str,
        max_tokens: int,
        modality: bool,
    ) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(dim))
        learned = positions == "learned"
        self.table = nn.Parameter(0.02 * torch.randn(max_tokens, dim)) if learned else None
        self.kinds = ModalityEmbedding(dim, ctx) if modality else None
        self.rotary, self.head_dim = positions == "rotary", dim // heads
        self.blocks = nn.ModuleList(Block(dim, heads, mlp * dim, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        tokens: torch.Tensor,
        hidden: torch.Tensor | None,
        n_chans: int,
        places: torch.Tensor | None = None,
    ) -> torch.Tensor:
        return self.norm(self.unnormed(tokens, hidden, n_chans, places))  # type: ignore[no-any-return]

    def unnormed(
        self,
        tokens: torch.Tensor,
        hidden: torch.Tensor | None,
        n_chans: int,
        places: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What `forward` gives before its norm."""
        n_tokens = tokens.shape[1]
        if hidden is not None:
            tokens = torch.where(hidden.reshape(-1, n_tokens, 1), self.mask_token, tokens)
        if self.table is not None:
            tokens = tokens + (self.table[:n_tokens] if places is None else self.table[places])
        if self.kinds is not None:
            tokens = self.kinds(tokens, n_chans)
        at = torch.arange(n_tokens, device=tokens.device) if places is None else places
        if side_by_side(tokens, n_tokens, n_tokens, len(tokens)):
            return self._by_place(tokens, at)
        turns = rope_turns(at, self.head_dim) if self.rotary else None
        for block in self.blocks:
            tokens = block(tokens, turns)
        return tokens

    def _by_place(self, tokens: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """All blocks, on the tokens of a place side by side."""
        turns = place_turns(places, self.head_dim) if self.rotary else None
        tokens = tokens.transpose(0, 1).contiguous()  # (R, N, D) -> (N, R, D)
        for block in self.blocks:
            assert isinstance(block, Block)
            tokens = block.by_place(tokens, turns)
        return tokens.transpose(0, 1).contiguous()

    def entrance(self) -> nn.ParameterList:
        """What is added to tokens before the first block."""
        added = [self.mask_token, self.table, self.kinds.weight if self.kinds is not None else None]
        return nn.ParameterList(p for p in added if p is not None)

    def depths(self) -> list[nn.Module]:
        *inner, last = self.blocks
        return [*inner, nn.ModuleList([last, self.norm])]


class Block(nn.Module):
    """norm -> attention, norm -> hidden layer, each added to its input."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.head_dim, self.p = heads, dim // heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), Dropout(dropout), nn.Linear(hidden, dim)
        )
        self.drop = Dropout(dropout)

    def forward(
        self, x: torch.Tensor, turns: torch.Tensor | None = None, seen: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(R, N, D) -> (R, N, D). Tokens outside `seen` (R, N) are attended to by none."""
        x = x + self.drop(self._attend(self.norm1(x), turns, seen))
        return x + self.drop(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]

    def by_place(self, x: torch.Tensor, turns: Turns | None) -> torch.Tensor:
        """`forward` of (N, R, D), by the same draws: faster where tokens are few and rows many."""
        keep, (n_tokens, rows, _) = None, x.shape
        if self.training and self.p:
            drawn = kept((rows, self.heads, n_tokens, 1), self.p)
            keep = drawn.permute(1, 3, 2, 0).contiguous()
        weights = self.qkv.weight, self.qkv.bias
        mixed = self_attention(self.norm1(x), *weights, self.heads, turns, keep)
        x = self.drop.added(x, _by_features(self.out, mixed))
        widen, activation, drop, narrow = self.mlp
        assert isinstance(drop, Dropout)
        inner = drop.by_place(activation(widen(self.norm2(x))))
        return self.drop.added(x, narrow(inner))

    def _attend(
        self, x: torch.Tensor, turns: torch.Tensor | None, seen: torch.Tensor | None
    ) -> torch.Tensor:
        rows, n_tokens, dim = x.shape
        q, k, v = self._heads(x, turns)  # (R, H, N, D/H) each
        v = (
            dropped(v, self.p, (*v.shape[:3], 1)) if self.training else v
        )  # whole values: see `dropped`
        reach = None if seen is None else seen[:, None, None]  # (R, N) -> (R, 1, 1, N)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=reach)
        return self.out(mixed.transpose(1, 2).reshape(rows, n_tokens, dim))  # type: ignore[no-any-return]

    def _heads(
        self, x: torch.Tensor, turns: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(R, N, D) -> queries, keys and values, the first two turned by their places: (R, H, N,
        D/H) each."""
        rows, n_tokens, dim = x.shape
        qkv = (
            self.qkv(x)
            if turns is None
            else F.linear(x, *in_pairs(self.qkv, 2 * dim, self.head_dim))
        )
        qk, v = qkv.view(rows, n_tokens, 3, self.heads, self.head_dim).split([2, 1], dim=2)
        q, k = (qk if turns is None else apply_rope(qk, turns)).permute(
            2, 0, 3, 1, 4
        )  # (R, N, 2, H, D/H)
        return q, k, v[:, :, 0].transpose(1, 2)


def _by_features(linear: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """A linear layer on (N, R, D), which lies as (D, N, R) and is not copied."""
    n_tokens, rows, dim = x.shape
    flat = x.permute(2, 0, 1).reshape(dim, n_tokens * rows).t()
    return torch.addmm(linear.bias, flat, linear.weight.t()).view(n_tokens, rows, -1)


class ModalityEmbedding(nn.Module):
    """Zero at first, so that a modality which was never trained on adds nothing at fine-tune."""

    def __init__(self, dim: int, ctx: SignalContext) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(MODALITY_SLOTS, dim))
        slots = torch.tensor([modality_slot(name) for name in ctx.modalities], dtype=torch.long)
        self.register_buffer(
            "slots", slots, persistent=False
        )  # a fact of the signals at hand, not a weight

    def forward(self, tokens: torch.Tensor, n_chans: int) -> torch.Tensor:
        assert isinstance(self.slots, torch.Tensor)
        if len(self.slots) != n_chans:
            raise ValueError(
                f"{n_chans} channels came in, but the model was built for {len(self.slots)} "
                "modalities"
            )
        rows, n_tokens, dim = tokens.shape
        added = self.weight[self.slots][:, None]  # (C, 1, D)
        return (tokens.view(-1, n_chans, n_tokens, dim) + added).view(rows, n_tokens, dim)


# ---- rotary positions ----


def rope_turns(places: torch.Tensor, head_dim: int) -> torch.Tensor:
    """How far each pair of features is turned at every place: (N,) or (R, N) -> (…, N, 1, 1, D/H
    / 2), complex."""
    speeds = 10_000 ** (-torch.arange(0, head_dim, 2, device=places.device) / head_dim)
    angles = (places[..., None] * speeds)[
        ..., None, None, :
    ]  # the same for queries and keys, and for all heads
    return torch.polar(torch.ones_like(angles), angles)


def apply_rope(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Turn each pair of features by its place: (R, N, …, H, D/H). Products then depend on
    distance alone."""
    pairs = torch.view_as_complex(x.float().view(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns).flatten(-2)


def in_pairs(linear: nn.Linear, n: int, head_dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias with the first `n` outputs in another order: those side by side that are
    turned together.

    Stored weights have them half a head apart. Ordering weights once a step costs next to
    nothing; turning features that lie apart took a dozen passes in runs of a few numbers, a
    fifth of a block.
    """

    def ordered(whole: torch.Tensor) -> torch.Tensor:
        halves = whole[:n].view(-1, 2, head_dim // 2, *whole.shape[1:])
        return torch.cat([halves.transpose(1, 2).flatten(0, 2), whole[n:]])

    return ordered(linear.weight), ordered(linear.bias)
