"""The same layers as plain PyTorch has them: what a careful person writes in an afternoon.

`nn.TransformerEncoder` over all tokens with mask tokens, learned positions, a `DataLoader` over
samples, plain Adam, eager. Convolutions are `nn.Conv1d`, `nn.GroupNorm` and `nn.GELU` of the same
sizes.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from citrus_ray.context import SignalContext
from citrus_ray.data.windowing.normalize import Scale
from citrus_ray.data.windows import Signal
from citrus_ray.models.nets.encoder import hide_samples
from citrus_ray.models.specs import Citrus, Conv, EncoderSpec, TransformerSpec


class Samples(Dataset[torch.Tensor]):
    """One window at a time, from the same memory-mapped array."""

    def __init__(self, x: Signal, scale: Scale) -> None:
        self.x, self.scale = x, scale

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> torch.Tensor:
        return torch.from_numpy(self.scale(np.array(self.x[i])))


def for_ever(x: Signal, scale: Scale, batch_size: int) -> Iterator[torch.Tensor]:
    loader = DataLoader(Samples(x, scale), batch_size=batch_size, shuffle=True, drop_last=True)
    while True:
        yield from loader


class Residual(nn.Module):
    def __init__(self, dim: int, kernel: int, dropout: float) -> None:
        super().__init__()
        first = [nn.GroupNorm(1, dim), nn.GELU(), nn.Conv1d(dim, dim, kernel, padding=kernel // 2)]
        second = [nn.GroupNorm(1, dim), nn.GELU(), nn.Dropout(dropout)]
        self.body = nn.Sequential(*first, *second, nn.Conv1d(dim, dim, kernel, padding=kernel // 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)  # type: ignore[no-any-return]


class PlainConv(nn.Module):
    """(B, C, T) -> (B*C, N, D)."""

    def __init__(self, spec: Conv) -> None:
        super().__init__()
        widths = [
            max(spec.dim >> (len(spec.strides) - 1 - i), 8) for i in range(len(spec.strides) - 1)
        ]
        layers: list[nn.Module] = []
        for n_in, n_out, stride in zip(
            [1, *widths], [*widths, spec.dim], spec.strides, strict=True
        ):
            kernel = max(spec.kernel, stride)
            layers.append(
                nn.Conv1d(n_in, n_out, kernel, stride, padding=(kernel - stride + 1) // 2)
            )
            layers += [Residual(n_out, spec.kernel, spec.dropout) for _ in range(spec.depth)]
        self.stages, self.norm = nn.Sequential(*layers), nn.LayerNorm(spec.dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.stages(x.flatten(0, 1)[:, None]).transpose(1, 2))  # type: ignore[no-any-return]


class PlainMasked(nn.Module):
    """Masked auto-encoding: (B, C, T) -> loss over hidden patches."""

    def __init__(self, spec: EncoderSpec, ctx: SignalContext, ratio: float) -> None:
        super().__init__()
        self.patch, dim = int(getattr(spec, "patch", 1)), int(getattr(spec, "dim", 1))
        self.n_tokens = ctx.n_times // self.patch
        self.n_hidden = round(ratio * self.n_tokens)
        conv = spec if isinstance(spec, Conv) else spec.conv if isinstance(spec, Citrus) else None
        self.conv = PlainConv(conv) if conv is not None else None
        n_in = self.patch if conv is None else conv.dim * self.patch // conv.patch
        self.transformer = None
        if isinstance(spec, TransformerSpec):
            self.embed = nn.Linear(n_in, dim)
            self.mask_token = nn.Parameter(torch.zeros(dim))
            self.positions = nn.Parameter(0.02 * torch.randn(self.n_tokens, dim))
            layer = nn.TransformerEncoderLayer(
                dim,
                spec.heads,
                spec.mlp * dim,
                spec.dropout,
                "gelu",
                batch_first=True,
                norm_first=True,
            )
            norm = nn.LayerNorm(dim)
            self.transformer = nn.TransformerEncoder(
                layer, spec.layers, norm, enable_nested_tensor=False
            )
        self.head = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, self.patch))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n_batch, n_chans, _ = x.shape
        rows = n_batch * n_chans
        x = x[..., : self.n_tokens * self.patch]
        target = x.reshape(rows, self.n_tokens, self.patch)
        hidden = torch.zeros(rows, self.n_tokens, dtype=torch.bool)
        hidden.scatter_(1, torch.rand(rows, self.n_tokens).argsort(dim=1)[:, : self.n_hidden], True)
        tokens = target
        if self.conv is not None:
            shown = hide_samples(x, hidden.view(n_batch, n_chans, -1), self.patch)
            tokens = self.conv(shown).reshape(rows, self.n_tokens, -1)
        if self.transformer is not None:
            tokens = (
                torch.where(hidden[..., None], self.mask_token, self.embed(tokens)) + self.positions
            )
            tokens = self.transformer(tokens)
        return F.mse_loss(self.head(tokens)[hidden], target[hidden])
