"""CiTrus: a residual convolutional encoder whose output is cut into patches of latent steps for a
transformer.

The convolutions see each channel alone, and so does the transformer. Hidden patches are zeroed
before the first convolution, because a receptive field that reaches into them would show them to
their neighbours, and their tokens are replaced by the mask token. Beside latent steps, or in their
place, a token may be made of the power spectrum around its samples.
"""

from typing import Any

import torch
from torch import nn

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.blocks import Transformer
from citrus_ray.models.nets.encoder import Encoder, all_but, at_places, hide_samples
from citrus_ray.models.nets.spectrum import Spectrum


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
        stem: str = "samples",
        spectrum_window: int | None = None,
    ) -> None:
        super().__init__()
        self.dim, self.patch, self.steps = dim, patch, steps
        reads_samples, sees_power = stem != "spectrum", stem != "samples"
        self.conv = conv if reads_samples else None
        self.embed = nn.Linear(steps * conv.dim, dim) if reads_samples else None
        self.spectrum = Spectrum(ctx, patch, spectrum_window, dim) if sees_power else None
        self.transformer = Transformer(ctx, **transformer)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        return self.transformer.norm(self._unnormed(x, hidden))  # type: ignore[no-any-return]

    def tokens(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        unnormed = self._unnormed(x, None)
        return self.transformer.norm(unnormed), unnormed

    def _unnormed(self, x: torch.Tensor, hidden: torch.Tensor | None) -> torch.Tensor:
        stem = self._stem(x, hidden).flatten(0, 1)  # (B*C, N, D)
        tokens = self.transformer.unnormed(stem, hidden, x.shape[1])
        return tokens.view(*x.shape[:2], -1, self.dim)

    def visible(self, x: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        stem = self._stem(x, all_but(shown, self.n_tokens(x.shape[-1])), shown)
        tokens = self.transformer(stem.flatten(0, 1), None, x.shape[1], shown.flatten(0, 1))
        return tokens.view(*shown.shape, self.dim)  # type: ignore[no-any-return]

    def _stem(
        self, x: torch.Tensor, hidden: torch.Tensor | None, shown: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, C, T) -> (B, C, N, D), or at the places (B, C, V) alone: of latent steps, of the
        power spectrum, or the sum."""
        found: list[torch.Tensor] = []
        if self.conv is not None and self.embed is not None:
            seen = x if hidden is None else hide_samples(x, hidden, self.patch)
            latent = latent_steps(self.conv, seen, self.patch)  # (B, C, N, S*Dc)
            found.append(self.embed(latent if shown is None else at_places(latent, shown)))
        if self.spectrum is not None:
            found.append(self.spectrum(x, hidden, shown))
        return found[0] if len(found) == 1 else found[0] + found[1]

    def depths(self) -> list[nn.Module]:
        of_conv = [] if self.conv is None else self.conv.depths()
        stem = [part for part in (self.embed, self.spectrum) if part is not None]
        entrance = nn.ModuleList([*stem, self.transformer.entrance()])
        return [*of_conv, entrance, *self.transformer.depths()]


def latent_steps(conv: Encoder, x: torch.Tensor, patch: int) -> torch.Tensor:
    """(B, C, T) -> (B, C, N, S*Dc): the latent steps of every patch, side by side."""
    n_tokens = x.shape[-1] // patch
    latent = conv(x[..., : n_tokens * patch])  # (B, C, N*S, Dc)
    return latent.reshape(*x.shape[:2], n_tokens, -1)
