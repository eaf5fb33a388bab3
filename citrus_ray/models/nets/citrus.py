"""CiTrus: a residual convolutional encoder whose output is cut into patches of latent steps for a
transformer.

The convolutions see each channel alone, and so does the transformer. Hidden patches are zeroed
before the first convolution, because a receptive field that reaches into them would show them to
their neighbours, and their tokens are replaced by the mask token.
"""

from typing import Any

import torch
from torch import nn

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.blocks import Transformer
from citrus_ray.models.nets.encoder import Encoder, all_but, at_places, hide_samples


class CitrusEncoder(Encoder):
    def __init__(
        self,
        ctx: SignalContext,
        *,
        conv: Encoder,
        steps: int,
        dim: int,
        patch: int,
        transformer: dict[str, Any],
    ) -> None:
        super().__init__()
        self.dim, self.patch, self.steps = dim, patch, steps
        self.conv = conv
        self.embed = nn.Linear(steps * conv.dim, dim)
        self.transformer = Transformer(ctx, **transformer)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        return self.transformer.norm(self._unnormed(x, hidden))  # type: ignore[no-any-return]

    def tokens(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        unnormed = self._unnormed(x, None)
        return self.transformer.norm(unnormed), unnormed

    def _unnormed(self, x: torch.Tensor, hidden: torch.Tensor | None) -> torch.Tensor:
        if hidden is not None:
            x = hide_samples(x, hidden, self.patch)
        latent = self._latent(x)
        embedded = self.embed(latent.flatten(0, 1))  # (B*C, N, D)
        tokens = self.transformer.unnormed(embedded, hidden, x.shape[1])
        return tokens.view(*latent.shape[:3], self.dim)

    def visible(self, x: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        seen = hide_samples(x, all_but(shown, self.n_tokens(x.shape[-1])), self.patch)
        latent = at_places(self._latent(seen), shown).flatten(
            0, 1
        )  # (B, C, N, S*Dc) -> (B*C, V, S*Dc)
        tokens = self.transformer(self.embed(latent), None, x.shape[1], shown.flatten(0, 1))
        return tokens.view(*shown.shape, self.dim)  # type: ignore[no-any-return]

    def _latent(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> (B, C, N, S*Dc): the latent steps of every token, side by side."""
        n_tokens = self.n_tokens(x.shape[-1])
        latent = self.conv(x[..., : n_tokens * self.patch])  # (B, C, N*S, Dc)
        return latent.reshape(*x.shape[:2], n_tokens, -1)

    def depths(self) -> list[nn.Module]:
        entrance = nn.ModuleList([self.embed, self.transformer.entrance()])
        return [*self.conv.depths(), entrance, *self.transformer.depths()]
