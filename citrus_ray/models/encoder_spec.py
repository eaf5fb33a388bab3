"""What every encoder's spec promises, and how a word or a preset becomes one. No torch: that comes with `build`."""

import json
from abc import abstractmethod
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, TypeAdapter

from citrus_ray.context import SignalContext
from citrus_ray.spec import Spec

if TYPE_CHECKING:
    from citrus_ray.models.nets.encoder import Encoder

Size = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class EncoderSpec(Spec):
    """Sizes of an encoder; the defaults are the preset `small`. `build` makes it for the signals at hand."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}
    mixes_channels: ClassVar[bool] = False  # as `Encoder.mixes_channels`
    multimodal: ClassVar[bool] = False  # as `Encoder.multimodal`

    @abstractmethod
    def build(self, ctx: SignalContext) -> "Encoder": ...

    def check(self, ctx: SignalContext) -> str | None:
        """Why this encoder means nothing for such windows, or None."""
        patch = getattr(self, "patch", 1)
        if ctx.n_times // patch < 2:
            rule = f"a window of {ctx.n_times} samples must hold at least 2 patches"
            return f"patch={patch}: {rule}; at most {ctx.n_times // 2} does"
        return None

    def misfit(self, source: SignalContext, target: SignalContext) -> str | None:
        """Why an encoder that was pre-trained on the one cannot be carried over to the other, or None."""
        one, two = (
            (ctx.n_chans, "pairs" if ctx.n_parts == 2 else "windows") for ctx in (source, target)
        )
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
