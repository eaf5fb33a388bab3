"""A transformer over volumes: all channels of a moment are one token, as in Next Thought Prediction
on fMRI.

A window is [CLS] A1 … AT; a pair of windows is [CLS] A1 … AT [SEP] B1 … BT, with a segment
embedding that tells A from B. What leaves is a token per volume, (B, 1, N, D), for all channels
together; the summary of a window is its [CLS].
"""

from typing import Any

import torch
from torch import nn

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.blocks import Transformer
from citrus_ray.models.nets.encoder import Encoder, hide_samples


class SequenceEncoder(Encoder):
    mixes_channels = True

    def __init__(
        self,
        ctx: SignalContext,
        *,
        dim: int,
        patch: int,
        project: bool,
        summary: str,
        transformer: dict[str, Any],
    ) -> None:
        super().__init__()
        self.dim, self.patch, self.n_parts, self.by_cls = dim, patch, ctx.n_parts, summary == "cls"
        self.embed = nn.Linear(ctx.n_chans, dim) if project else None
        is_pair = self.n_parts == 2
        self.cls = nn.Parameter(0.02 * torch.randn(dim))
        self.sep = nn.Parameter(0.02 * torch.randn(dim)) if is_pair else None
        self.segments = nn.Parameter(0.02 * torch.randn(2, dim)) if is_pair else None
        self.transformer = Transformer(ctx, **transformer)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        tokens = self._tokens(x, hidden)
        return self._of_volumes(tokens)[:, None]  # (B, 1, N, D)

    def tokens(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        unnormed = self._of_volumes(self._unnormed(x, None))[:, None]
        return self.transformer.norm(unnormed), unnormed

    def summary(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self._tokens(x, None)
        return tokens[:, :1] if self.by_cls else self._of_volumes(tokens).mean(dim=1, keepdim=True)

    def halves(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A window alone is the first part of a pair, as in `adopted`."""
        volumes = self._read(torch.cat(x.chunk(2, dim=-1)).transpose(1, 2))  # (2B, T, D)
        tokens = self._joined([volumes], self.cls, None)
        if self.segments is not None:
            tokens = tokens + self.segments[0]
        tokens = self.transformer(tokens, None, n_chans=1)
        read = tokens[:, :1] if self.by_cls else tokens[:, 1:].mean(dim=1, keepdim=True)
        a, b = read.chunk(2)
        return a, b

    def _tokens(self, x: torch.Tensor, hidden: torch.Tensor | None) -> torch.Tensor:
        """(B, C, T) -> (B, 1 + T, D), or (B, 2 + T, D) of a pair, special tokens included."""
        return self.transformer.norm(self._unnormed(x, hidden))  # type: ignore[no-any-return]

    def _unnormed(self, x: torch.Tensor, hidden: torch.Tensor | None) -> torch.Tensor:
        if hidden is not None:
            x = hide_samples(x, hidden, self.patch)
        volumes = self._read(x.transpose(1, 2))  # (B, C, T) -> (B, T, D)
        parts = volumes.chunk(self.n_parts, dim=1)
        tokens = self._joined(parts, self.cls, self.sep)
        if self.segments is not None:
            zero, one = self.segments
            tokens = tokens + self._joined(
                [zero.expand_as(parts[0]), one.expand_as(parts[-1])], zero, zero
            )
        behind = None if hidden is None else self._behind(hidden)
        return self.transformer.unnormed(tokens, behind, n_chans=1)

    def _read(self, volumes: torch.Tensor) -> torch.Tensor:
        if self.embed is not None:
            return self.embed(volumes)  # type: ignore[no-any-return]
        return nn.functional.pad(volumes, (0, self.dim - volumes.shape[-1]))

    def _joined(
        self, parts: Any, first: torch.Tensor, between: torch.Tensor | None
    ) -> torch.Tensor:
        """[first] A, or [first] A [between] B."""
        n_batch, dim = len(parts[0]), self.dim
        tokens = [first.expand(n_batch, 1, dim), parts[0]]
        if between is not None:
            tokens += [between.expand(n_batch, 1, dim), parts[1]]
        return torch.cat(tokens, dim=1)

    def _behind(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, N) -> (B, 1 + N) or (B, 2 + N): a token whose channels are all hidden is
        replaced; some are zeros."""
        parts = hidden.all(dim=1).chunk(self.n_parts, dim=1)
        seen = torch.zeros(len(hidden), 1, dtype=torch.bool, device=hidden.device)
        return torch.cat([piece for part in parts for piece in (seen, part)], dim=1)

    def _of_volumes(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, 1 + T, D), or (B, 2 + T, D) of a pair -> (B, T, D): without the special token that
        each part begins with."""
        n_batch, n_tokens, dim = tokens.shape
        parts = tokens.reshape(n_batch, self.n_parts, n_tokens // self.n_parts, dim)
        return parts[:, :, 1:].flatten(1, 2)

    def adopted(
        self, weights: dict[str, torch.Tensor]
    ) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        """Of one of pairs: a window alone is their first part, whose embedding goes into what is
        added to every token."""
        if self.segments is not None or "segments" not in weights:
            return weights, {}
        found = {n: v for n, v in weights.items() if n not in ("sep", "segments")}
        first = weights["segments"][0]
        every = ["transformer.table"] if "transformer.table" in found else ["cls", "embed.bias"]
        return found | {name: found[name] + first for name in every if name in found}, {}

    def depths(self) -> list[nn.Module]:
        added = [p for p in (self.cls, self.sep, self.segments) if p is not None]
        read = nn.ModuleList([] if self.embed is None else [self.embed])
        entrance = nn.ModuleList([read, nn.ParameterList(added), self.transformer.entrance()])
        return [entrance, *self.transformer.depths()]
