"""What a sweep may say of each kind of encoder. No torch: `build` looks the network up by its
name."""

import inspect
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from citrus_ray.context import SignalContext
from citrus_ray.models.sensors import Sensor, sensors
from citrus_ray.models.weights import AnyCheckpoint, Checkpoint
from citrus_ray.spec import Foreign, Kinds, Later, Spec, locate, refuse

if TYPE_CHECKING:  # torch takes a second to load, and a plan does without
    from citrus_ray.models.nets.encoder import Encoder

Size = Annotated[int, Field(ge=1, le=1_000_000)]
Share = Annotated[float, Field(ge=0, lt=1)]
Positions = Literal["rotary", "learned", "none"]
Pooling = Literal["mean", "channels", "late"]
Name = Annotated[str, Field(min_length=1)]
NO_SIZES = ("kind", "weights")  # what is no size of a network


class EncoderSpec(Spec):
    """Sizes of an encoder; the defaults are the preset `small`. `build` makes it for the signals
    at hand."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}
    net: ClassVar[str]  # `module:Class` of the network, which takes the signals' facts and sizes
    mixes_channels: ClassVar[bool] = False  # as `Encoder.mixes_channels`
    multimodal: ClassVar[bool] = False  # as `Encoder.multimodal`
    is_solved: ClassVar[bool] = False  # a method without a network, see `ClosedForm`

    kind: str
    weights: Annotated[AnyCheckpoint, Later()] = None
    """Weights that it begins with, in place of ones drawn by lot: a file, a folder, `hub:org/name`,
    `store:digest`, or a block that maps names. Pre-training goes on from them."""

    if TYPE_CHECKING:  # a field of some kinds, worked out by others

        @property
        def patch(self) -> int:
            """Samples per token."""
            ...

    @property
    def width(self) -> int:
        """Numbers per token."""
        return int(getattr(self, "dim", 0))

    @property
    def backbone(self) -> "EncoderSpec | None":
        """What of it is pre-trained, and stored under a name of its own; None of a method."""
        return self

    def sizes(self) -> dict[str, Any]:
        """Everything that the network is built from, beside the facts of the signals."""
        return {n: getattr(self, n) for n in type(self).model_fields if n not in NO_SIZES}

    def build(self, ctx: SignalContext) -> "Encoder":
        """The encoder for such signals, with the weights that it begins with."""
        encoder = self.network(ctx)
        if isinstance(self.weights, Checkpoint):
            locate("citrus_ray.models.nets.arrival:fill")(encoder, self.weights, ctx)
        return encoder

    def network(self, ctx: SignalContext) -> "Encoder":
        """The encoder with first weights, drawn by lot."""
        return locate(self.net)(ctx, **self.sizes())  # type: ignore[no-any-return]

    def reads(self, ctx: SignalContext) -> str:
        """What a window is to it: channels, samples, rate."""
        return f"{ctx.n_chans} channels x {ctx.n_times} samples at {ctx.sfreq:g} Hz"

    def untrained(self) -> Self:
        """The same with all weights drawn by lot, those of encoders inside it too."""
        inner = {n: v.untrained() for n, v in self if isinstance(v, EncoderSpec)}
        own = {"weights": None} if isinstance(self.weights, Checkpoint) else {}
        return self.model_copy(update=own | inner)

    def checkpoints(self) -> list[Checkpoint]:
        """All stored weights that it begins with, those of encoders inside it too."""
        inner = (v.checkpoints() for _, v in self if isinstance(v, EncoderSpec))
        own = [self.weights] if isinstance(self.weights, Checkpoint) else []
        return [*own, *(one for found in inner for one in found)]

    def check(self, ctx: SignalContext) -> str | None:
        """Why this encoder means nothing for such windows, or None."""
        if ctx.n_times // self.patch < 2:
            rule = f"a window of {ctx.n_times} samples must hold at least 2 patches"
            return f"patch={self.patch}: {rule}; at most {ctx.n_times // 2} does"
        return None

    def misfit(self, source: SignalContext, target: SignalContext) -> str | None:
        """Why an encoder that was pre-trained on `source` cannot be carried over to `target`, or
        None."""
        one, two = (
            (ctx.n_chans, "pairs" if ctx.n_parts == 2 else "windows") for ctx in (source, target)
        )
        if not self.mixes_channels or one == two:
            return None
        return (
            f"is built for {one[0]} channels and {one[1]}, but the target has {two[0]} channels "
            f"and {two[1]}; give both the same voxels and pairs of both, or use `model: adapted`"
        )


# ---- one encoder for one kind of signal ----


class Conv(EncoderSpec):
    """Residual convolutions along time: each stage one strided and `depth` residual ones."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"base": {"dim": 128, "depth": 2}}
    net: ClassVar[str] = "citrus_ray.models.nets.conv:ConvEncoder"

    kind: Literal["conv"] = "conv"
    dim: Size = 32
    """Width D of a token."""
    strides: Annotated[tuple[Size, ...], Field(min_length=1)] = (2, 2, 2, 2)
    """Stride of each stage; they multiply to the samples per token."""
    kernel: Annotated[int, Field(ge=3)] = 7
    """Taps of a convolution, an odd number."""
    depth: Size = 1
    """Residual pairs of convolutions in each stage."""
    dropout: Share = 0.0
    """Share of features dropped inside a residual pair."""

    @model_validator(mode="after")
    def _odd_kernel(self) -> "Conv":
        if self.kernel % 2 == 0:
            rule = "must be odd to keep tokens aligned"
            raise ValueError(f"kernel={self.kernel}: {rule}; {self.kernel + 1} is")
        return self

    @property
    def patch(self) -> int:
        return math.prod(self.strides)

    def sizes(self) -> dict[str, Any]:
        return super().sizes() | {"patch": self.patch}


class Bank(EncoderSpec):
    """Log powers of band passes in short frames: what a signal's strength is seen by."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"base": {"dim": 128, "bands": 24, "depth": 2}}
    net: ClassVar[str] = "citrus_ray.models.nets.bank:BankEncoder"

    kind: Literal["bank"] = "bank"
    dim: Size = 32
    """Width D of a token."""
    patch: Size = 16
    """Samples per token, over which power is averaged."""
    bands: Size = 16
    """Band passes, evenly spaced in log frequency from two waves within `taps` to 0.4 of the
    rate."""
    taps: Annotated[int, Field(ge=8)] = 128
    """Samples that a filter reaches over."""
    learn: bool = False
    """Whether filters are learnt, from these on."""
    level: bool = True
    """Whether a token also holds the mean of its samples."""
    depth: Annotated[int, Field(ge=0)] = 1
    """Residual pairs of convolutions over tokens."""
    kernel: Annotated[int, Field(ge=3)] = 7
    """Tokens that one of these reads, an odd number."""

    @model_validator(mode="after")
    def _odd_kernel(self) -> "Bank":
        if self.kernel % 2 == 0:
            rule = "must be odd to keep tokens aligned"
            raise ValueError(f"kernel={self.kernel}: {rule}; {self.kernel + 1} is")
        return self


class TransformerSpec(EncoderSpec):
    """What encoders with a transformer have in common."""

    dim: Size = 48
    """Width D of a token."""
    layers: Size = 2
    """Blocks of the transformer."""
    heads: Size = 4
    """Heads of attention; must divide `dim`."""
    mlp: Size = 2
    """Width of a block's hidden layer, in units of `dim`."""
    dropout: Share = 0.1
    """Share dropped of attention and of hidden layers."""
    positions: Positions = "rotary"
    """How a token knows its place: rotary, a learned table, or not at all."""
    max_tokens: Annotated[int, Field(ge=2)] = 1024
    """The longest sequence that learned positions reach, in tokens."""
    modality: bool = False
    """Add an embedding of what each channel measures."""

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> "TransformerSpec":
        if self.dim % self.heads:
            rule = f"must divide dim={self.dim}; 1, 2 and 4 divide most widths"
            raise ValueError(f"heads={self.heads}: {rule}")
        if self.positions == "rotary" and (self.dim // self.heads) % 2:
            rule = f"dim / heads = {self.dim // self.heads}: must be even for rotary positions"
            raise ValueError(f"{rule}; use positions: learned, or another dim")
        return self

    def transformer(self) -> dict[str, Any]:
        """The sizes of the transformer alone."""
        return {
            name: getattr(self, name)
            for name in TransformerSpec.model_fields
            if name not in NO_SIZES
        }

    def sizes(self) -> dict[str, Any]:
        inner = self.transformer()
        own = {n: v for n, v in super().sizes().items() if n not in inner or n == "dim"}
        return own | {"patch": self.patch, "transformer": inner}

    def check(self, ctx: SignalContext) -> str | None:
        return self._too_long(ctx.n_times // self.patch) or super().check(ctx)

    def _too_long(self, n_tokens: int) -> str | None:
        if self.positions == "learned" and n_tokens > self.max_tokens:
            rule = f"a window has {n_tokens} tokens; raise it, or use positions: rotary"
            return f"max_tokens={self.max_tokens}: {rule}"
        return None


class StemSpec(TransformerSpec):
    """What encoders of patches have in common: what a token is made of."""

    stem: Annotated[Literal["samples", "spectrum", "both"], Later()] = "samples"
    """What a token is made of: a linear map of what stands in its patch, of the log powers of the
    spectrum around it, which say how strong the signal is, or of both, added."""
    spectrum_window: Annotated[Size | None, Later()] = None
    """Samples that a spectrum is taken of, under a Hann taper around the patch, without those that
    are hidden or padding; null: those of the patch alone."""

    @model_validator(mode="after")
    def _a_window_around_the_patch(self) -> "StemSpec":
        window = self.spectrum_window
        if window is None:
            return self
        if self.stem == "samples":
            rule = "stem=samples takes no spectrum"
            way = "drop it, or give `stem: both`"
            raise refuse(f"spectrum_window={window}: {rule}; {way}", "spectrum_window")
        if window < self.patch:
            rule = f"must hold the {self.patch} samples of a token"
            way = "raise it, or drop it, which takes just these"
            raise refuse(f"spectrum_window={window}: {rule}; {way}", "spectrum_window")
        return self


class Patch(StemSpec):
    """A transformer over patches of samples, each channel by itself, in the style of PatchTST."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "base": {"dim": 128, "layers": 6, "heads": 8, "mlp": 4}
    }
    net: ClassVar[str] = "citrus_ray.models.nets.patch:PatchEncoder"

    kind: Literal["patch"] = "patch"
    patch: Size = 16
    """Samples per token."""


class Citrus(StemSpec):
    """CiTrus: a transformer over patches of latent steps of `conv`, each channel by itself."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "base": {
            "conv": {"dim": 128, "strides": [2, 2, 2], "depth": 2},
            **Patch.PRESETS["base"],
        }
    }
    net: ClassVar[str] = "citrus_ray.models.nets.citrus:CitrusEncoder"

    kind: Literal["citrus"] = "citrus"
    conv: Conv = Conv(dim=32, strides=(2, 2, 2))
    """The convolutional part."""
    steps: Size = 2
    """Latent steps of `conv` in a token, which holds `conv.patch * steps` samples."""

    @property
    def patch(self) -> int:
        return self.conv.patch * self.steps

    def network(self, ctx: SignalContext) -> "Encoder":
        sizes = self.sizes() | {"conv": self.conv.build(ctx)}
        return locate(self.net)(ctx, **sizes)  # type: ignore[no-any-return]


class Sequence(TransformerSpec):
    """A transformer over volumes: all channels of a moment are one token, as in Next Thought
    Prediction."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "base": {"dim": 128, "layers": 4, "heads": 4, "mlp": 4},
        "published": {"dim": 420, "layers": 3, "heads": 2, "mlp": 4, "project": False},
        "large": {"dim": 768, "layers": 12, "heads": 12, "mlp": 4, "max_tokens": 512},
    }
    net: ClassVar[str] = "citrus_ray.models.nets.sequence:SequenceEncoder"
    mixes_channels: ClassVar[bool] = True

    kind: Literal["sequence"] = "sequence"
    positions: Positions = "learned"
    """How a token knows its place: rotary, a learned table, or not at all."""
    max_tokens: Size = 128
    """The longest sequence that learned positions reach, in tokens."""
    project: bool = True
    """Whether a layer reads the channels; false is the published form: they are the token, with
    zeros up to `dim`."""
    summary: Literal["cls", "mean"] = "cls"
    """What heads read: the first token, or the mean over volumes."""

    @property
    def patch(self) -> int:
        return 1

    @model_validator(mode="after")
    def _one_modality(self) -> "Sequence":
        if self.modality:
            rule = "a token holds all channels, so there is no modality to add; drop it"
            raise ValueError(f"modality=true: {rule}")
        return self

    def misfit(self, source: SignalContext, target: SignalContext) -> str | None:
        """A window alone is read as the first of a pair."""
        folds = self.project or self.positions == "learned"  # what that takes
        if folds and source.n_parts == 2 and target.n_parts == 1:
            source = replace(source, n_parts=1)
        return super().misfit(source, target)

    def check(self, ctx: SignalContext) -> str | None:
        if not self.project and ctx.n_chans > self.dim:
            rule = f"project=false: the {ctx.n_chans} channels are the token"
            return f"{rule}, so dim={self.dim} must be at least as many; raise it, or project"
        return self._too_long(ctx.n_times + ctx.n_parts) or super().check(ctx)


# ---- methods without a network ----


class ClosedForm(EncoderSpec):
    """A method that is solved on labelled windows. It has no encoder: nothing of it can be
    pre-trained, and of `finetune` it takes what it learns from, not how networks learn."""

    is_solved: ClassVar[bool] = True
    weights: ClassVar[None] = None  # type: ignore[misc]  # no key: there is nothing to put them in
    # `module:function`, which takes a `Learner` and this spec, and gives logits of windows
    method: ClassVar[str]

    @property
    def backbone(self) -> EncoderSpec | None:
        return None

    @property
    def patch(self) -> int:
        return 1

    def network(self, ctx: SignalContext) -> "Encoder":
        raise TypeError(f"model={self.kind}: has no encoder, it is solved")

    def check(self, ctx: SignalContext) -> str | None:
        return None

    def seconds(self, ctx: SignalContext, n_learnt: int, n_seen: int) -> float:
        """About what it costs on one core to learn from so many windows, and to look at all."""
        return 0.1 + 1e-7 * n_seen * ctx.n_chans * ctx.n_times


class CappedForm(ClosedForm):
    """A method that learns from a bounded number of windows, so that its cost is bounded."""

    most_windows: Size = 2048
    """Labelled windows that are learnt from at most, classes as even as they can be."""


class BandPower(ClosedForm):
    """Log power of each channel in five bands, and logistic regression."""

    method: ClassVar[str] = "citrus_ray.training.methods:band_power"

    kind: Literal["band_power"] = "band_power"


class Tangent(CappedForm):
    """Logarithms of covariances of channels and delayed copies, seen from their Riemannian mean,
    and logistic regression."""

    method: ClassVar[str] = "citrus_ray.training.methods:tangent"

    kind: Literal["tangent"] = "tangent"
    delays: tuple[Annotated[int, Field(ge=0)], ...] = (1, 2, 4, 8, 16)
    """Samples by which copies of the channels are late: as many of them, smallest first, as make 20
    rows with the channels themselves, which are always there."""


class MiniRocket(CappedForm):
    """MiniRocket: shares of positive values of kernels whose weights are fixed, and ridge
    regression."""

    method: ClassVar[str] = "citrus_ray.training.methods:minirocket"

    kind: Literal["minirocket"] = "minirocket"
    n_kernels: Annotated[int, Field(ge=84)] = 2016
    """Kernels in all: shape, dilation, channels and bias. The largest multiple of 84 is taken."""

    def seconds(self, ctx: SignalContext, n_learnt: int, n_seen: int) -> float:
        solving = 5e-10 * min(n_learnt, self.most_windows) ** 3
        n_chans = min(ctx.n_chans, 9)  # at most that many are read by a kernel
        window = 1e-9 * self.n_kernels * (ctx.n_times + 300) * (1 + n_chans / 4)
        return super().seconds(ctx, 0, n_seen) + solving + window * n_seen


class Bag(CappedForm):
    """25 scalars a channel (powers, bands, moments, quantiles, zero crossings), and extremely
    randomised trees."""

    method: ClassVar[str] = "citrus_ray.training.methods:bag"

    kind: Literal["bag"] = "bag"
    trees: Size = 300
    """Trees of the forest."""

    def seconds(self, ctx: SignalContext, n_learnt: int, n_seen: int) -> float:
        growing = self.trees * (1e-3 + 2e-6 * min(n_learnt, self.most_windows))
        return super().seconds(ctx, 0, n_seen) + growing


class OfSensors(ClosedForm):
    """25 scalars of each channel of every sensor, at its own rate, and logistic regression. A
    sensor that is missing is taken to be as it is on average."""

    multimodal: ClassVar[bool] = True
    method: ClassVar[str] = "citrus_ray.training.methods:scalars_of_sensors"

    kind: Literal["scalars"] = "scalars"


# ---- the registry ----

MODELS = {
    "adapted": "citrus_ray.models.adapted:Adapted",
    "bank": "citrus_ray.models.specs:Bank",
    "braindecode": "citrus_ray.models.braindecode:Braindecode",
    "citrus": "citrus_ray.models.specs:Citrus",
    "conv": "citrus_ray.models.specs:Conv",
    "crossmodal": "citrus_ray.models.specs:Crossmodal",
    "custom": "citrus_ray.models.specs:Custom",
    "patch": "citrus_ray.models.specs:Patch",
    "sequence": "citrus_ray.models.specs:Sequence",
}


def _written_out(value: Any) -> Any:
    """`citrus` and `{kind: citrus, preset: base, dim: 96}` as whole blocks."""
    block = {"kind": value} if isinstance(value, str) else value
    if not (isinstance(block, dict) and "preset" in block and "kind" in block):
        return block
    presets: dict[str, dict[str, Any]] = {"small": {}, **KINDS.of(block["kind"]).PRESETS}  # type: ignore[attr-defined]
    name = block["preset"]
    if name not in presets:
        raise ValueError(f"preset={name!r}: must be one of {', '.join(presets)}")
    return _over(presets[name], {key: v for key, v in block.items() if key != "preset"})


def _over(base: Mapping[str, Any], edits: Mapping[str, Any]) -> dict[str, Any]:
    """`edits` over `base`, block by block."""
    out = dict(base)
    for key, value in edits.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _over(out[key], value) if both else value
    return out


METHODS = {
    "bag": "citrus_ray.models.specs:Bag",
    "band_power": "citrus_ray.models.specs:BandPower",
    "minirocket": "citrus_ray.models.specs:MiniRocket",
    "scalars": "citrus_ray.models.specs:OfSensors",
    "tangent": "citrus_ray.models.specs:Tangent",
    "views": "citrus_ray.models.views:Views",
}

KINDS = Kinds(MODELS | METHODS, _written_out, "models")
ENCODERS = Kinds(MODELS, _written_out, "models")
SINGLES = Kinds(
    {k: v for k, v in MODELS.items() if k not in ("adapted", "crossmodal")}, _written_out, "models"
)
AnyEncoder = Annotated[SerializeAsAny[EncoderSpec], BeforeValidator(KINDS)]
AnySingle = Annotated[SerializeAsAny[EncoderSpec], BeforeValidator(SINGLES)]


# ---- of several sensors ----


class Crossmodal(EncoderSpec):
    """CroSSL: an encoder for each sensor, at its own rate, and an aggregator of their
    embeddings."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "base": {"encoder": {"kind": "conv", **Conv.PRESETS["base"]}, "layers": 2}
    }
    net: ClassVar[str] = "citrus_ray.models.nets.crossmodal:CrossmodalEncoder"
    mixes_channels: ClassVar[bool] = True
    multimodal: ClassVar[bool] = True

    kind: Literal["crossmodal"] = "crossmodal"
    encoder: AnySingle = Conv()
    """The encoder that is built anew for every sensor, of any kind but this one."""
    sensors: Literal["modality", "channel"] | Annotated[tuple[Name, ...], Field(min_length=1)] = (
        "modality"
    )
    """What is a sensor: the channels of a modality, each channel, or the modalities of this
    list."""
    aggregator: Literal["attention", "mlp"] = "attention"
    """What joins their embeddings: attention takes any subset of them, mlp is the released one."""
    layers: Size = 1
    """Blocks of attention in the aggregator."""
    heads: Size = 4
    """Heads of attention in the aggregator."""

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> "Crossmodal":
        dim = self.encoder.width
        if self.aggregator == "attention" and dim % self.heads:
            rule = f"must divide encoder.dim={dim}; 1, 2 and 4 divide most widths"
            raise ValueError(f"heads={self.heads}: {rule}")
        if isinstance(self.sensors, tuple) and len(set(self.sensors)) < len(self.sensors):
            given = ", ".join(self.sensors)
            raise ValueError(f"sensors: must name each one once, but got {given}")
        return self

    @property
    def patch(self) -> int:
        return self.encoder.patch

    @property
    def width(self) -> int:
        return self.encoder.width

    def of(self, ctx: SignalContext) -> tuple[Sensor, ...]:
        """The sensors that it is built for: those of the signals, or the named ones, there or
        not."""
        if isinstance(self.sensors, str):
            return sensors(ctx, self.sensors)
        there = {sensor.name: sensor for sensor in sensors(ctx, "modality")}
        lacking = replace(ctx, n_chans=1, modalities=("unknown",), streams=())
        return tuple(there.get(name) or Sensor(name, (), lacking) for name in sorted(self.sensors))

    def check(self, ctx: SignalContext) -> str | None:
        known = self.of(ctx)
        there = sorted(sensor.name for sensor in sensors(ctx, "modality"))
        extra = sorted(set(there) - {sensor.name for sensor in known})
        if not isinstance(self.sensors, str) and extra:
            way = "add it, or leave its channels out of the source"
            return f"sensors: does not name {', '.join(extra)}; {way}"
        complaints = [(sensor.name, self.encoder.check(sensor.ctx)) for sensor in known]
        return next((f"{name}: {said}" for name, said in complaints if said), None)

    def misfit(self, source: SignalContext, target: SignalContext) -> str | None:
        one, two = ([sensor.name for sensor in self.of(ctx)] for ctx in (source, target))
        if one == two:
            return None
        return (
            f"was pre-trained on {', '.join(one)}, but the target has {', '.join(two)}; "
            "name all of them in `model.sensors`, and those that one lacks are absent there"
        )

    def sizes(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("aggregator", "layers", "heads")}
        return own | {"dim": self.width, "patch": self.patch, "make": self.encoder.build}

    def network(self, ctx: SignalContext) -> "Encoder":
        return locate(self.net)(ctx, sensors=self.of(ctx), **self.sizes())  # type: ignore[no-any-return]


# ---- a network from outside ----


class Custom(Foreign, EncoderSpec):
    """A network of your own: `cls` is an `Encoder` outside this package, built as `cls(ctx,
    **kwargs)`."""

    kind: Literal["custom"] = "custom"

    @property
    def mixes_channels(self) -> bool:  # type: ignore[override]
        return bool(self.found.mixes_channels)

    @property
    def multimodal(self) -> bool:  # type: ignore[override]
        return bool(self.found.multimodal)

    @property
    def patch(self) -> int:
        return self._size("patch", 1)

    @property
    def width(self) -> int:
        return self._size("dim", 0)

    def _size(self, name: str, unknown: int) -> int:
        """As it is given, or the default that the class has for it."""
        parameters = inspect.signature(self.found).parameters
        default = parameters[name].default if name in parameters else inspect.Parameter.empty
        of_class = getattr(self.found, name, unknown)
        known = of_class if default is inspect.Parameter.empty else default
        return int(self.kwargs.get(name, known))

    def network(self, ctx: SignalContext) -> "Encoder":
        from citrus_ray.models.nets.encoder import Encoder

        return self.made(Encoder, ctx)  # type: ignore[type-abstract]

    def check(self, ctx: SignalContext) -> str | None:
        try:
            self.network(ctx)
        except ValueError as err:
            return str(err)
        return super().check(ctx)
