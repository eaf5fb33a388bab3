"""A small encoder that mixes channels: a token is made of a patch of all of them."""

import torch
from torch import nn

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.encoder import Encoder, hide_samples, patches


class MixNet(Encoder):
    mixes_channels = True

    def __init__(self, ctx: SignalContext, *, dim: int = 16, patch: int = 4) -> None:
        super().__init__()
        self.dim, self.patch = dim, patch
        self.embed = nn.Linear(ctx.n_chans * patch, dim)
        self.time = nn.Conv1d(dim, dim, 9, padding=4)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        if hidden is not None:
            x = hide_samples(x, hidden, self.patch)
        cut = patches(x, self.patch).transpose(1, 2).flatten(2)  # (B, C, T) -> (B, N, C*P)
        embedded = self.embed(cut)
        mixed = self.time(embedded.transpose(1, 2)).transpose(1, 2)
        tokens: torch.Tensor = self.norm(embedded + nn.functional.gelu(mixed))
        return tokens[:, None]  # (B, 1, N, D)

    def depths(self) -> list[nn.Module]:
        return [self.embed, nn.ModuleList([self.time, self.norm])]
