"""The channel-independent transformer that `patch` and `citrus` share: pre-norm blocks, positions, modality embeddings.

Tokens come in as (R, N, D), a row R per channel of every window: attention never crosses channels or windows.
"""

import torch
from torch import nn
from torch.nn import functional as F

from citrus_ray.context import MODALITY_SLOTS, SignalContext, modality_slot
from citrus_ray.models.dropout import Dropout, dropped
from citrus_ray.models.kinds import TransformerSpec


class Transformer(nn.Module):
    """(B*C, N, D) -> (B*C, N, D): mask token, positions and modalities, then `layers` blocks and a norm.

    `places` (B*C, N) says where tokens stand when they are not all of a window.
    """

    def __init__(self, spec: TransformerSpec, ctx: SignalContext) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(spec.dim))
        self.table = (
            nn.Parameter(0.02 * torch.randn(spec.max_tokens, spec.dim)) if spec.positions == "learned" else None
        )
        self.kinds = ModalityEmbedding(spec.dim, ctx) if spec.modality else None
        self.rotary, self.head_dim = spec.positions == "rotary", spec.dim // spec.heads
        width = spec.mlp * spec.dim
        self.blocks = nn.ModuleList(Block(spec.dim, spec.heads, width, spec.dropout) for _ in range(spec.layers))
        self.norm = nn.LayerNorm(spec.dim)

    def forward(
        self, tokens: torch.Tensor, hidden: torch.Tensor | None, n_chans: int, places: torch.Tensor | None = None
    ) -> torch.Tensor:
        n_tokens = tokens.shape[1]
        if hidden is not None:
            tokens = torch.where(hidden.reshape(-1, n_tokens, 1), self.mask_token, tokens)
        if self.table is not None:
            tokens = tokens + (self.table[:n_tokens] if places is None else self.table[places])
        if self.kinds is not None:
            tokens = self.kinds(tokens, n_chans)
        at = torch.arange(n_tokens, device=tokens.device) if places is None else places
        angles = rotations(at, self.head_dim) if self.rotary else None
        for block in self.blocks:
            tokens = block(tokens, angles)
        return self.norm(tokens)  # type: ignore[no-any-return]

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
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), Dropout(dropout), nn.Linear(hidden, dim))
        self.drop = Dropout(dropout)

    def forward(
        self,
        x: torch.Tensor,
        angles: tuple[torch.Tensor, torch.Tensor] | None = None,
        seen: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(R, N, D) -> (R, N, D). Tokens outside `seen` (R, N) are attended to by none."""
        x = x + self.drop(self._attend(self.norm1(x), angles, seen))
        return x + self.drop(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]

    def _attend(
        self, x: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor] | None, seen: torch.Tensor | None
    ) -> torch.Tensor:
        rows, n_tokens, dim = x.shape
        qkv = self.qkv(x).view(rows, n_tokens, 3, self.heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (R, N, 3, H, D/H) -> 3 x (R, H, N, D/H)
        if angles is not None:
            q, k = rotate(q, *angles), rotate(k, *angles)
        v = dropped(v, self.p, (*v.shape[:3], 1)) if self.training else v  # whole values: see `dropped`
        reach = None if seen is None else seen[:, None, None]  # (R, N) -> (R, 1, 1, N)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=reach)
        return self.out(mixed.transpose(1, 2).reshape(rows, n_tokens, dim))  # type: ignore[no-any-return]


class ModalityEmbedding(nn.Module):
    """Zero at first, so that a modality which was never trained on adds nothing at fine-tune."""

    def __init__(self, dim: int, ctx: SignalContext) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(MODALITY_SLOTS, dim))
        slots = torch.tensor([modality_slot(name) for name in ctx.modalities], dtype=torch.long)
        self.register_buffer("slots", slots, persistent=False)  # a fact of the signals at hand, not a weight

    def forward(self, tokens: torch.Tensor, n_chans: int) -> torch.Tensor:
        assert isinstance(self.slots, torch.Tensor)
        if len(self.slots) != n_chans:
            raise ValueError(f"{n_chans} channels came in, but the model was built for {len(self.slots)} modalities")
        rows, n_tokens, dim = tokens.shape
        added = self.weight[self.slots][:, None]  # (C, 1, D)
        return (tokens.view(-1, n_chans, n_tokens, dim) + added).view(rows, n_tokens, dim)


def rotations(places: torch.Tensor, head_dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of the angles of every place: (N,) -> (N, D/H / 2) each, (R, N) -> (R, 1, N, D/H / 2)."""
    speeds = 10_000 ** (-torch.arange(0, head_dim, 2, device=places.device) / head_dim)
    angles = places[..., None] * speeds
    angles = angles if places.dim() == 1 else angles[:, None]  # the same for all heads
    return angles.cos(), angles.sin()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn pairs of features by their position: (R, H, N, D/H). Products then depend on distance alone."""
    one, other = x.chunk(2, dim=-1)
    return torch.cat([one * cos - other * sin, one * sin + other * cos], dim=-1)
