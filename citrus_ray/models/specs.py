"""The sizes of each kind of encoder. The module that a spec builds stands in the file of its name."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from citrus_ray.context import SignalContext
from citrus_ray.models.encoder_spec import EncoderSpec, Share, Size
from citrus_ray.models.sensors import Sensor, sensors

if (
    TYPE_CHECKING
):  # torch takes a second to load, and a plan does without: each `build` loads its own
    from citrus_ray.models import AnySingle
    from citrus_ray.models.nets.citrus import CitrusEncoder
    from citrus_ray.models.nets.conv import ConvEncoder
    from citrus_ray.models.nets.crossmodal import CrossmodalEncoder
    from citrus_ray.models.nets.patch import PatchEncoder
    from citrus_ray.models.nets.sequence import SequenceEncoder

Positions = Literal["rotary", "learned", "none"]
Pooling = Literal["mean", "channels", "late"]
Name = Annotated[str, Field(min_length=1)]


class Conv(EncoderSpec):
    """`strides` multiply to the samples per token; every stage is one strided and `depth` residual convolutions."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"base": {"dim": 128, "depth": 2}}

    kind: Literal["conv"] = "conv"
    dim: Size = 32
    strides: Annotated[tuple[Size, ...], Field(min_length=1)] = (2, 2, 2, 2)
    kernel: Annotated[int, Field(ge=3)] = 7
    depth: Size = 1
    dropout: Share = 0.0

    @model_validator(mode="after")
    def _odd_kernel(self) -> "Conv":
        if self.kernel % 2 == 0:
            raise ValueError(
                f"kernel={self.kernel}: must be odd to keep tokens aligned; {self.kernel + 1} is"
            )
        return self

    @property
    def patch(self) -> int:
        product = 1
        for stride in self.strides:
            product *= stride
        return product

    def build(self, ctx: SignalContext) -> "ConvEncoder":
        from citrus_ray.models.nets.conv import ConvEncoder

        return ConvEncoder(self)


class TransformerSpec(EncoderSpec):
    """What encoders with a transformer have in common."""

    dim: Size = 48
    layers: Size = 2
    heads: Size = 4
    mlp: Size = 2  # width of a block's hidden layer, in units of dim
    dropout: Share = 0.1
    positions: Positions = "rotary"
    max_tokens: Annotated[int, Field(ge=2)] = (
        1024  # learned positions only: the longest sequence they reach
    )
    modality: bool = False  # add an embedding of what each channel measures

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> "TransformerSpec":
        if self.dim % self.heads:
            raise ValueError(
                f"heads={self.heads}: must divide dim={self.dim}; 1, 2 and 4 divide most widths"
            )
        if self.positions == "rotary" and (self.dim // self.heads) % 2:
            rule = f"dim / heads = {self.dim // self.heads}: must be even for rotary positions"
            raise ValueError(f"{rule}; use positions: learned, or another dim")
        return self

    def check(self, ctx: SignalContext) -> str | None:
        n_tokens = ctx.n_times // getattr(self, "patch", 1)
        if self.positions == "learned" and n_tokens > self.max_tokens:
            return f"max_tokens={self.max_tokens}: a window has {n_tokens} tokens; raise it, or use positions: rotary"
        return super().check(ctx)


class Patch(TransformerSpec):
    """`patch` samples are a token, read by one linear layer."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "base": {"dim": 128, "layers": 6, "heads": 8, "mlp": 4}
    }

    kind: Literal["patch"] = "patch"
    patch: Size = 16

    def build(self, ctx: SignalContext) -> "PatchEncoder":
        from citrus_ray.models.nets.patch import PatchEncoder

        return PatchEncoder(self, ctx)


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
        from citrus_ray.models.nets.citrus import CitrusEncoder

        return CitrusEncoder(self, ctx)


class Sequence(TransformerSpec):
    """`project: false` is the published form: no input layer, the voxels are the token, with zeros up to `dim`."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "base": {"dim": 128, "layers": 4, "heads": 4, "mlp": 4},
        "published": {"dim": 420, "layers": 3, "heads": 2, "mlp": 4, "project": False},
        "large": {"dim": 768, "layers": 12, "heads": 12, "mlp": 4, "max_tokens": 512},
    }
    mixes_channels: ClassVar[bool] = True

    kind: Literal["sequence"] = "sequence"
    positions: Positions = "learned"
    max_tokens: Size = 128
    project: bool = True
    summary: Literal["cls", "mean"] = (
        "cls"  # what heads read: the first token, or the mean over volumes
    )

    @property
    def patch(self) -> int:
        return 1

    @model_validator(mode="after")
    def _one_modality(self) -> "Sequence":
        if self.modality:
            raise ValueError(
                "modality=true: a token holds all channels, so there is no modality to add; drop it"
            )
        return self

    def check(self, ctx: SignalContext) -> str | None:
        n_tokens = ctx.n_times + ctx.n_parts
        if self.positions == "learned" and n_tokens > self.max_tokens:
            return f"max_tokens={self.max_tokens}: a window has {n_tokens} tokens; raise it, or use positions: rotary"
        if not self.project and ctx.n_chans > self.dim:
            rule = f"project=false: the {ctx.n_chans} channels are the token"
            return f"{rule}, so dim={self.dim} must be at least as many; raise it, or project"
        return super().check(ctx)

    def build(self, ctx: SignalContext) -> "SequenceEncoder":
        from citrus_ray.models.nets.sequence import SequenceEncoder

        return SequenceEncoder(self, ctx)


class Crossmodal(EncoderSpec):
    """`encoder` is built anew for every sensor. `aggregator: mlp` is the released one, `attention` takes any subset."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "base": {"encoder": {"kind": "conv", "dim": 128, "depth": 2}, "layers": 2}
    }

    kind: Literal["crossmodal"] = "crossmodal"
    mixes_channels: ClassVar[bool] = True
    multimodal: ClassVar[bool] = True
    encoder: "AnySingle" = Conv()
    sensors: Literal["modality", "channel"] | Annotated[tuple[Name, ...], Field(min_length=1)] = (
        "modality"
    )
    aggregator: Literal["attention", "mlp"] = "attention"
    layers: Size = 1  # of attention
    heads: Size = 4

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> "Crossmodal":
        dim = self.encoder.dim
        if self.aggregator == "attention" and dim % self.heads:
            raise ValueError(
                f"heads={self.heads}: must divide encoder.dim={dim}; 1, 2 and 4 divide most widths"
            )
        if isinstance(self.sensors, tuple) and len(set(self.sensors)) < len(self.sensors):
            raise ValueError(f"sensors: must name each one once, but got {', '.join(self.sensors)}")
        return self

    @property
    def patch(self) -> int:
        return self.encoder.patch

    def of(self, ctx: SignalContext) -> tuple[Sensor, ...]:
        """The sensors that it is built for: those of the signals, or the named ones, there or not."""
        if isinstance(self.sensors, str):
            return sensors(ctx, self.sensors)
        there = {sensor.name: sensor for sensor in sensors(ctx, "modality")}
        lacking = replace(ctx, n_chans=1, modalities=("unknown",), streams=())
        return tuple(there.get(name) or Sensor(name, (), lacking) for name in sorted(self.sensors))

    def check(self, ctx: SignalContext) -> str | None:
        known = self.of(ctx)
        there = sorted(sensor.name for sensor in sensors(ctx, "modality"))
        extra = set(there) - {sensor.name for sensor in known}
        if not isinstance(self.sensors, str) and extra:
            return f"sensors: does not name {', '.join(sorted(extra))}; add it, or leave its channels out of the source"
        complaints = [(sensor.name, self.encoder.check(sensor.ctx)) for sensor in known]
        return next((f"{name}: {complaint}" for name, complaint in complaints if complaint), None)

    def misfit(self, source: SignalContext, target: SignalContext) -> str | None:
        one, two = ([sensor.name for sensor in self.of(ctx)] for ctx in (source, target))
        if one == two:
            return None
        rule = f"was pre-trained on {', '.join(one)}, but the target has {', '.join(two)}"
        return f"{rule}; name all of them in `model.sensors`, and those that one lacks are absent there"

    def build(self, ctx: SignalContext) -> "CrossmodalEncoder":
        from citrus_ray.models.nets.crossmodal import CrossmodalEncoder

        return CrossmodalEncoder(self, ctx)
