"""Patch transformer: samples are cut into patches, each a token. Channel-independent, in the
style of PatchTST. A token is a linear map of its samples, of the power spectrum around them, or the
sum of both."""

from typing import Any

import torch
from torch import nn

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.blocks import Transformer
from citrus_ray.models.nets.encoder import Encoder, all_but, at_places, patches
from citrus_ray.models.nets.spectrum import Spectrum


class PatchEncoder(Encoder):
    def __init__(
        self,
        ctx: SignalContext,
        *,
        dim: int,
        patch: int,
        transformer: dict[str, Any],
        stem: str = "samples",
        spectrum_window: int | None = None,
    ) -> None:
        super().__init__()
        self.dim, self.patch = dim, patch
        self.embed = nn.Linear(patch, dim) if stem != "spectrum" else None
        sees_power = stem != "samples"
        self.spectrum = Spectrum(ctx, patch, spectrum_window, dim) if sees_power else None
        self.transformer = Transformer(ctx, **transformer)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        return self.transformer.norm(self._unnormed(x, hidden))  # type: ignore[no-any-return]

    def tokens(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        unnormed = self._unnormed(x, None)
        return self.transformer.norm(unnormed), unnormed

    def _unnormed(self, x: torch.Tensor, hidden: torch.Tensor | None) -> torch.Tensor:
        n_batch, n_chans, _ = x.shape
        tokens = self._stem(x, hidden).flatten(0, 1)  # (B, C, T) -> (B*C, N, D)
        tokens = self.transformer.unnormed(tokens, hidden, n_chans)
        return tokens.view(n_batch, n_chans, -1, self.dim)

    def _stem(
        self, x: torch.Tensor, hidden: torch.Tensor | None, shown: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, C, T) -> (B, C, N, D), or at the places (B, C, V) alone: of samples, of the power
        spectrum, or the sum."""
        found: list[torch.Tensor] = []
        if self.embed is not None:
            cut = patches(x, self.patch)  # (B, C, N, P)
            found.append(self.embed(cut if shown is None else at_places(cut, shown)))
        if self.spectrum is not None:
            found.append(self.spectrum(x, hidden, shown))
        return found[0] if len(found) == 1 else found[0] + found[1]

    def visible(self, x: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        stem = self._stem(x, all_but(shown, self.n_tokens(x.shape[-1])), shown)
        tokens = self.transformer(stem.flatten(0, 1), None, x.shape[1], shown.flatten(0, 1))
        return tokens.view(*shown.shape, self.dim)  # type: ignore[no-any-return]

    def depths(self) -> list[nn.Module]:
        stem = [part for part in (self.embed, self.spectrum) if part is not None]
        return [
            nn.ModuleList([*stem, self.transformer.entrance()]),
            *self.transformer.depths(),
        ]
