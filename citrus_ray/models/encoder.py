"""What every encoder promises: (B, C, T) -> (B, C, N, D), a token per patch of samples, hidden samples never seen."""

import json
from abc import abstractmethod
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, TypeAdapter
from torch import nn

from citrus_ray.context import SignalContext
from citrus_ray.spec import Spec

Size = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Encoder(nn.Module):
    """Channels are folded into the batch inside, so any number of channels and any length goes in.

    An encoder that mixes channels is built for a number of them, and returns one row of tokens for all: (B, 1, N, D).
    """

    mixes_channels: bool = False
    multimodal: bool = False  # reads all streams at once, and NaN as what is absent
    dim: int  # D
    patch: int  # P, samples per token

    def n_tokens(self, n_times: int) -> int:
        """Whole patches only: a remainder shorter than a patch is left out."""
        return n_times // self.patch

    @abstractmethod
    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        """(B, C, T) -> (B, C, N, D). Samples behind `hidden` (B, C, N), True = hidden, cannot reach the output."""

    def visible(self, x: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        """(B, C, T), places (B, C, V) -> (B, C, V, D): tokens of these patches, which no sample of another reaches.

        Not those of `forward`: an encoder that has mask tokens reads none here, and so has less to compute.
        """
        return at_places(self(x, all_but(shown, self.n_tokens(x.shape[-1]))), shown)

    def summary(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> (B, C, D): what heads read. The mean over tokens, unless an encoder has a token for it."""
        return self(x).mean(dim=2)

    def n_rows(self, n_chans: int) -> int:
        """Rows of `rows`."""
        return 1 if self.mixes_channels else n_chans

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> (B, R, D): what can be kept side by side. Zeros for a row of which nothing was recorded."""
        return self.summary(x)

    @abstractmethod
    def depths(self) -> list[nn.Module]:
        """The parts that hold all parameters, each once, from the signal inwards: what layer-wise rates count."""

    def __call__(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        return super().__call__(x, hidden)  # type: ignore[no-any-return]


class EncoderSpec(Spec):
    """Sizes of an encoder; the defaults are the preset `small`. `build` makes it for the signals at hand."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}
    mixes_channels: ClassVar[bool] = False  # as `Encoder.mixes_channels`
    multimodal: ClassVar[bool] = False  # as `Encoder.multimodal`

    @abstractmethod
    def build(self, ctx: SignalContext) -> Encoder: ...

    def check(self, ctx: SignalContext) -> str | None:
        """Why this encoder means nothing for such windows, or None."""
        patch = getattr(self, "patch", 1)
        if ctx.n_times // patch < 2:
            rule = f"a window of {ctx.n_times} samples must hold at least 2 patches"
            return f"patch={patch}: {rule}; at most {ctx.n_times // 2} does"
        return None

    def misfit(self, source: SignalContext, target: SignalContext) -> str | None:
        """Why an encoder that was pre-trained on the one cannot be carried over to the other, or None."""
        one, two = ((ctx.n_chans, "pairs" if ctx.n_parts == 2 else "windows") for ctx in (source, target))
        if not self.mixes_channels or one == two:
            return None
        rule = f"is built for {one[0]} channels and {one[1]}, but the target has {two[0]} channels and {two[1]}"
        return f"{rule}; give both the same voxels, and pairs of both"


def resolver(union: Any, kinds: tuple[type[EncoderSpec], ...]) -> Callable[[Any], Any]:
    """For a field of type `union`: `citrus` and `{kind: citrus, preset: base, dim: 96}` become whole blocks."""
    adapter = cache(lambda: TypeAdapter(union))
    by_kind = {kind.model_fields["kind"].default: kind for kind in kinds}

    def resolve(value: Any) -> Any:
        if isinstance(value, EncoderSpec):
            return value
        block = {"kind": value} if isinstance(value, str) else value
        if isinstance(block, dict) and "preset" in block and block.get("kind") in by_kind:
            block = _of_preset(by_kind[block["kind"]], block)
        # behind a function pydantic forgets that a value came from JSON, and refuses lists for tuples: so once more
        return adapter().validate_json(json.dumps(block))

    return resolve


def _of_preset(kind: type[EncoderSpec], block: dict[str, Any]) -> dict[str, Any]:
    """The sizes of the preset with the block's own keys over them."""
    presets: dict[str, dict[str, Any]] = {"small": {}, **kind.PRESETS}
    name = block["preset"]
    if name not in presets:
        raise ValueError(f"preset={name!r}: must be one of {', '.join(presets)}")
    return _over(presets[name], {key: value for key, value in block.items() if key != "preset"})


def _over(base: dict[str, Any], edits: dict[str, Any]) -> dict[str, Any]:
    """`edits` over `base`, block by block."""
    out = dict(base)
    for key, value in edits.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _over(out[key], value) if both else value
    return out


def patches(x: Any, patch: int) -> Any:
    """(…, T) -> (…, N, P), the remainder cut off. Works on tensors and arrays."""
    n_tokens = x.shape[-1] // patch
    return x[..., : n_tokens * patch].reshape(*x.shape[:-1], n_tokens, patch)


def at_places(tokens: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """(…, N, D), (…, V) -> (…, V, D)."""
    return tokens.gather(-2, places[..., None].expand(*places.shape, tokens.shape[-1]))


def all_but(shown: torch.Tensor, n_tokens: int) -> torch.Tensor:
    """(B, C, V) -> (B, C, N) bool: hidden is what is not shown."""
    hidden = torch.ones(*shown.shape[:-1], n_tokens, dtype=torch.bool, device=shown.device)
    return hidden.scatter(-1, shown, False)


def hide_samples(x: torch.Tensor, hidden: torch.Tensor, patch: int) -> torch.Tensor:
    """Zero the samples of hidden patches: (B, C, T), (B, C, N) -> (B, C, T). The remainder goes too."""
    keep = (~hidden).repeat_interleave(patch, dim=-1)  # (B, C, N) -> (B, C, N*P)
    return x * nn.functional.pad(keep, (0, x.shape[-1] - keep.shape[-1]))
