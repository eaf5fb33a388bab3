"""CiTrus: a residual convolutional encoder whose output is cut into patches of latent steps for a transformer.

The convolutions see each channel alone, and so does the transformer. Hidden patches are zeroed before the first
convolution, because a receptive field that reaches into them would show them to their neighbours, and their tokens are
replaced by the mask token.
"""

from typing import Any, ClassVar, Literal

import torch
from torch import nn

from citrus_ray.context import SignalContext
from citrus_ray.models.blocks import Transformer, TransformerSpec
from citrus_ray.models.conv import Conv
from citrus_ray.models.encoder import Encoder, Size, hide_samples


class Citrus(TransformerSpec):
    """A token is `steps` latent steps of `conv`: `conv.patch * steps` samples."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "base": {
            "conv": {"dim": 128, "strides": [2, 2, 2], "depth": 2},
            "dim": 128,
            "layers": 6,
            "heads": 8,
            "mlp": 4,
        }
    }

    kind: Literal["citrus"] = "citrus"
    conv: Conv = Conv(dim=32, strides=(2, 2, 2))
    steps: Size = 2

    @property
    def patch(self) -> int:
        return self.conv.patch * self.steps

    def build(self, ctx: SignalContext) -> "CitrusEncoder":
        return CitrusEncoder(self, ctx)


class CitrusEncoder(Encoder):
    def __init__(self, spec: Citrus, ctx: SignalContext) -> None:
        super().__init__()
        self.dim, self.patch, self.steps = spec.dim, spec.patch, spec.steps
        self.conv = spec.conv.build(ctx)
        self.embed = nn.Linear(spec.steps * spec.conv.dim, spec.dim)
        self.transformer = Transformer(spec, ctx)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        if hidden is not None:
            x = hide_samples(x, hidden, self.patch)
        n_batch, n_chans, n_times = x.shape
        n_tokens = self.n_tokens(n_times)
        latent = self.conv(x[..., : n_tokens * self.patch])  # (B, C, N*S, Dc)
        tokens = self.embed(latent.reshape(n_batch * n_chans, n_tokens, -1))  # (B*C, N, S*Dc) -> (B*C, N, D)
        tokens = self.transformer(tokens, hidden, n_chans)
        return tokens.view(n_batch, n_chans, n_tokens, self.dim)  # type: ignore[no-any-return]

    def depths(self) -> list[nn.Module]:
        entrance = nn.ModuleList([self.embed, self.transformer.entrance()])
        return [*self.conv.depths(), entrance, *self.transformer.depths()]
