"""Patch transformer: samples are cut into patches, each a token. Channel-independent, in the
style of PatchTST."""

from typing import Any

import torch
from torch import nn

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.blocks import Transformer
from citrus_ray.models.nets.encoder import Encoder, at_places, patches


class PatchEncoder(Encoder):
    def __init__(
        self, ctx: SignalContext, *, dim: int, patch: int, transformer: dict[str, Any]
    ) -> None:
        super().__init__()
        self.dim, self.patch = dim, patch
        self.embed = nn.Linear(patch, dim)
        self.transformer = Transformer(ctx, **transformer)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        return self.transformer.norm(self._unnormed(x, hidden))  # type: ignore[no-any-return]

    def tokens(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        unnormed = self._unnormed(x, None)
        return self.transformer.norm(unnormed), unnormed

    def _unnormed(self, x: torch.Tensor, hidden: torch.Tensor | None) -> torch.Tensor:
        n_batch, n_chans, _ = x.shape
        cut = patches(x, self.patch)  # (B, C, T) -> (B, C, N, P)
        tokens = self.embed(cut.flatten(0, 1))  # -> (B*C, N, D)
        tokens = self.transformer.unnormed(tokens, hidden, n_chans)
        return tokens.view(n_batch, n_chans, -1, self.dim)

    def visible(self, x: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        cut = at_places(patches(x, self.patch), shown).flatten(0, 1)  # (B, C, N, P) -> (B*C, V, P)
        tokens = self.transformer(self.embed(cut), None, x.shape[1], shown.flatten(0, 1))
        return tokens.view(*shown.shape, self.dim)  # type: ignore[no-any-return]

    def depths(self) -> list[nn.Module]:
        return [
            nn.ModuleList([self.embed, self.transformer.entrance()]),
            *self.transformer.depths(),
        ]
