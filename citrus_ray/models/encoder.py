"""What every encoder promises: (B, C, T) -> (B, C, N, D), a token per patch of samples, hidden samples never seen."""

from abc import abstractmethod
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from citrus_ray.context import SignalContext
from citrus_ray.spec import Spec

Size = Annotated[int, Field(ge=1)]


class Encoder(nn.Module):
    """Channels are folded into the batch inside, so any number of channels and any length goes in."""

    dim: int  # D
    patch: int  # P, samples per token

    def n_tokens(self, n_times: int) -> int:
        """Whole patches only: a remainder shorter than a patch is left out."""
        return n_times // self.patch

    @abstractmethod
    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        """(B, C, T) -> (B, C, N, D). Samples behind `hidden` (B, C, N), True = hidden, cannot reach the output."""

    def __call__(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        return super().__call__(x, hidden)  # type: ignore[no-any-return]


class EncoderSpec(Spec):
    """Sizes of an encoder. `build` makes it for the signals at hand."""

    @abstractmethod
    def build(self, ctx: SignalContext) -> Encoder: ...

    def check(self, ctx: SignalContext) -> str | None:
        """Why this encoder means nothing for such windows, or None."""
        patch = getattr(self, "patch", 1)
        if ctx.n_times // patch < 2:
            rule = f"a window of {ctx.n_times} samples must hold at least 2 patches"
            return f"patch={patch}: {rule}; at most {ctx.n_times // 2} does"
        return None


def patches(x: Any, patch: int) -> Any:
    """(…, T) -> (…, N, P), the remainder cut off. Works on tensors and arrays."""
    n_tokens = x.shape[-1] // patch
    return x[..., : n_tokens * patch].reshape(*x.shape[:-1], n_tokens, patch)


def hide_samples(x: torch.Tensor, hidden: torch.Tensor, patch: int) -> torch.Tensor:
    """Zero the samples of hidden patches: (B, C, T), (B, C, N) -> (B, C, T). The remainder goes too."""
    keep = (~hidden).repeat_interleave(patch, dim=-1)  # (B, C, N) -> (B, C, N*P)
    return x * nn.functional.pad(keep, (0, x.shape[-1] - keep.shape[-1]))
