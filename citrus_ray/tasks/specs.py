"""What a sweep may ask of each pre-training task. No torch: `build` looks the loss up by its
name."""

import math
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from citrus_ray.context import SignalContext
from citrus_ray.models.specs import Crossmodal, EncoderSpec
from citrus_ray.spec import Foreign, Kinds, Later, Spec, locate

if TYPE_CHECKING:  # torch takes a second to load, and a plan does without
    from citrus_ray.models.nets.encoder import Encoder
    from citrus_ray.tasks.losses.task import Task

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
LOSSES = "citrus_ray.tasks.losses"
PARABOLA = 3  # numbers that it has


class TaskSpec(Spec):
    """What is learnt without labels."""

    kind: str

    @abstractmethod
    def build(self, ctx: SignalContext, encoder: "Encoder") -> "Task": ...

    def check(self, ctx: SignalContext) -> str | None:
        """Why this task means nothing for such windows, or None."""
        return None

    def misfit(self, model: EncoderSpec, ctx: SignalContext) -> str | None:
        """Why this task and this encoder do not go together on such windows, or None."""
        return None

    def takes_parts(self, model: EncoderSpec) -> bool:
        """Whether parts of a batch add up to the whole: no window's loss hangs on another, and what
        is drawn by lot is drawn `by_window`."""
        return False


# ---- something is hidden and predicted ----


class Reconstruction(TaskSpec):
    """Patches of every channel are hidden, and something of them is predicted from what is left."""

    ratio: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of every channel's patches that is hidden."""
    span: Count = 2
    """Patches in a run of hidden ones."""
    loss: Literal["mse", "l1", "huber"] = "mse"
    """How far a prediction is from what was hidden."""
    drop_modality: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of windows in which all of one modality is hidden, for others to make up for; needs
    `mix`."""
    mix: Annotated[int, Field(ge=0)] = 0
    """Layers of attention across channels in the decoder."""
    by_modality: bool = False
    """A decoder per modality instead of one for all."""
    encode: Annotated[Literal["all", "visible"], Later()] = "all"
    """What the encoder reads: all patches, hidden ones as a mask token, or the visible ones
    alone, which is faster."""
    neighbours: Annotated[Count, Later()] = 1
    """Channels that hide the same patches because they lie side by side: on the head where their
    names say so, else in their order. It matters where one can be looked at for another: with
    `mix`."""
    bottleneck: Annotated[bool, Later()] = False
    """Whether the decoder is shown one token per channel, the mean of all that the encoder made,
    and the places that it is asked for."""

    @model_validator(mode="after")
    def _visible_alone_stay_in_their_channel(self) -> "Reconstruction":
        if self.encode == "visible" and (self.mix or self.drop_modality):
            rule = "channels show different moments, so the decoder cannot look across them"
            raise ValueError(
                f"encode=visible: {rule}; set mix and drop_modality to 0, or encode: all"
            )
        return self

    @model_validator(mode="after")
    def _dropped_can_be_predicted(self) -> "Reconstruction":
        if self.drop_modality and not self.mix:
            rule = "a modality that is all hidden can only be predicted from other channels"
            raise ValueError(f"drop_modality={self.drop_modality:g}: {rule}; set mix to 1 or more")
        return self

    def check(self, ctx: SignalContext) -> str | None:
        if self.neighbours > ctx.n_chans:
            rule = f"windows have {ctx.n_chans} channels; lower it to that or less"
            return f"neighbours={self.neighbours}: {rule}"
        if self.drop_modality and len(set(ctx.modalities)) < 2:
            rule = f"needs signals of 2 modalities, but all are {ctx.modalities[0]}"
            return f"drop_modality={self.drop_modality:g}: {rule}"
        return None

    def misfit(self, model: EncoderSpec, ctx: SignalContext) -> str | None:
        if model.multimodal and self.drop_modality:
            rule = "each sensor of a crossmodal model learns from itself; drop it"
            return f"drop_modality={self.drop_modality:g}: {rule}"
        if model.mixes_channels and not model.multimodal:
            return self._of_joint_tokens(model)
        return None

    def build(self, ctx: SignalContext, encoder: "Encoder") -> "Task":
        """The task, or one for each sensor of a crossmodal encoder."""
        if not encoder.multimodal:
            return self.single(ctx, encoder)
        of_sensors: Any = encoder
        tasks = [self.single(sensor.ctx, of_sensors.of(sensor)) for sensor in of_sensors.there]
        return locate(f"{LOSSES}.reconstruction:EachSensor")(tasks, encoder)  # type: ignore[no-any-return]

    def _of_joint_tokens(self, model: EncoderSpec) -> str | None:
        """What means nothing where a token is of all channels, from which each is predicted."""
        odd = {
            "encode=visible": self.encode == "visible",
            f"mix={self.mix}": self.mix > 0,
            "by_modality=true": self.by_modality,
            f"neighbours={self.neighbours}": self.neighbours > 1,
        }
        said = ", ".join(name for name, is_so in odd.items() if is_so)
        rule = f"{model.kind} has one token for all channels: all are hidden and predicted together"
        return f"{said}: {rule}; drop it" if said else None

    @abstractmethod
    def single(self, ctx: SignalContext, encoder: "Encoder") -> "Task":
        """For an encoder whose tokens are of one channel each."""

    def common(self) -> dict[str, Any]:
        """What all such tasks are built from."""
        return {n: getattr(self, n) for n in Reconstruction.model_fields if n != "kind"}


class Masked(Reconstruction):
    """Masked auto-encoding: the samples of hidden patches are predicted."""

    kind: Literal["masked"] = "masked"
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of every channel's patches that is hidden."""

    def takes_parts(self, model: EncoderSpec) -> bool:
        return not model.multimodal  # of which each sensor counts the windows that have it

    def single(self, ctx: SignalContext, encoder: "Encoder") -> "Task":
        return locate(f"{LOSSES}.masked:MaskedTask")(ctx, encoder, **self.common())  # type: ignore[no-any-return]


class Hide(Spec):
    """Bands of frequency that the encoder does not see."""

    band: tuple[float, float] | None = None
    """The band, low and high in `unit`; null: that around `center`, or bands that are drawn anew
    for every channel."""
    center: Annotated[Annotated[float, Field(ge=0)] | None, Later()] = None
    """Middle of one band of `width`, in `unit`, cut where the spectrum ends: where a band lies and
    how wide it is as two axes to search; null: `band`, or drawn bands."""
    count: Count = 1
    """How many bands are drawn."""
    width: Annotated[float, Field(gt=0)] = 0.2
    """Width of each drawn band, or of that around `center`, in `unit`."""
    unit: Literal["hz", "share"] = "share"
    """Of `band`, `center` and `width`; a share is of the spectrum, which goes from 0 to half the
    rate."""
    fill: Literal["zero", "noise", "swap"] = "zero"
    """What stands in a hidden band: nothing, noise of the same power, or the band of another
    window."""

    @model_validator(mode="after")
    def _leaves_some(self) -> "Hide":
        if self.band is not None and not 0 <= self.band[0] < self.band[1]:
            raise ValueError(f"band={list(self.band)}: 0 <= low < high must hold")
        if self.unit == "share" and self.band is not None and self.band[1] > 1:
            way = "give unit: hz for a band in Hz"
            raise ValueError(f"band={list(self.band)}: a share ends at 1; {way}")
        if self.center is not None and (self.band is not None or self.count > 1):
            rule = "is one band of `width`; drop `band` and `count`"
            raise ValueError(f"center={self.center:g}: {rule}")
        if self.unit == "share" and (said := self._nothing_seen(1.0)):
            raise ValueError(said)
        if self.unit == "share" and self._draws and self.count >= self.n_slots(1.0):
            rule = f"count={self.count} bands of width={self.width:g}"
            raise ValueError(f"{rule} would leave nothing of the spectrum to see; lower either")
        return self

    @property
    def _draws(self) -> bool:
        return self.band is None and self.center is None

    def _edges(self, top: float) -> tuple[float, float] | None:
        """The band that is given, by its ends or by its middle."""
        if self.center is None:
            return self.band
        return max(0.0, self.center - self.width / 2), min(top, self.center + self.width / 2)

    def _nothing_seen(self, top: float) -> str | None:
        """Why a band around `center` is none, or is all that there is, or None."""
        if self.center is None:
            return None
        if self.center > top:
            return f"center={self.center:g}: the spectrum ends at {top:g}; take a lower one"
        if self._edges(top) == (0.0, top):
            rule = f"center={self.center:g}, width={self.width:g} leaves nothing of the spectrum"
            return f"{rule} to see; lower the width"
        return None

    def n_slots(self, nyquist: float) -> int:
        """How many bands of `width` lie side by side."""
        return math.floor(self.top(nyquist) / self.width + 1e-9)

    def top(self, nyquist: float) -> float:
        """The end of the spectrum, in `unit`."""
        return nyquist if self.unit == "hz" else 1.0

    def sizes(self, nyquist: float) -> dict[str, Any]:
        """What the loss draws bands from."""
        top = self.top(nyquist)
        own: dict[str, Any] = {"band": self._edges(top), "count": self.count, "top": top}
        return own | {"n_slots": self.n_slots(nyquist), "width": self.width / top}

    def problem(self, nyquist: float) -> str | None:
        """Why such bands cannot be taken out of signals whose spectrum ends at `nyquist`, or
        None."""
        if self.unit == "hz" and self.band is not None and self.band[1] > nyquist:
            rule = f"signals end at {nyquist:g} Hz; take a lower band"
            return f"hide.band={list(self.band)}: {rule}"
        if self.unit == "hz" and (said := self._nothing_seen(nyquist)):
            return f"hide.{said}"
        if self.unit == "hz" and self._draws and self.count >= self.n_slots(nyquist):
            rule = f"{self.count} bands of {self.width:g} Hz leave nothing of {nyquist:g} Hz to see"
            return f"hide: {rule}; lower either"
        return None


class Spectral(Reconstruction):
    """Frequency-based masked auto-encoding: the spectrum of what is hidden is predicted."""

    kind: Literal["spectral"] = "spectral"
    predict: Literal["log_magnitude", "magnitude_phase", "real_imag"] = "log_magnitude"
    """What of the spectrum is predicted."""
    transform: Literal["rfft", "stft"] = "rfft"
    """Whether the spectrum is of the patch alone, or of `window` patches around it."""
    window: Annotated[int, Field(ge=2)] = 4
    """Patches in the window of `transform: stft`."""
    floor: Annotated[float, Field(gt=0)] = 0.01
    """Added to magnitudes before their logarithm."""
    hide: Hide | None = None
    """Bands of frequency to hide as well; null: none."""
    # no `recording`: a task is given windows and labels, not which recording a window is of
    whiten: Annotated[Literal["none", "window", "smooth"], Later()] = "none"
    """What is taken from log magnitudes before they are predicted: nothing, the mean over the
    patches of the window's channel, or the parabola in log frequency that fits this mean."""

    @model_validator(mode="after")
    def _whitens_logarithms(self) -> "Spectral":
        if self.whiten != "none" and self.predict != "log_magnitude":
            rule = f"is taken from log magnitudes, and predict={self.predict} has phases"
            raise ValueError(f"whiten={self.whiten}: {rule}; set predict: log_magnitude")
        return self

    @model_validator(mode="after")
    def _hides_something(self) -> "Spectral":
        if self.ratio == 0 and self.hide is None:
            way = "give a ratio above 0 or bands to hide"
            raise ValueError(f"ratio=0 and hide=null: nothing is hidden; {way}")
        return self

    def check(self, ctx: SignalContext) -> str | None:
        bands = self.hide.problem(ctx.sfreq / 2) if self.hide is not None else None
        return super().check(ctx) or bands

    def misfit(self, model: EncoderSpec, ctx: SignalContext) -> str | None:
        return super().misfit(model, ctx) or self._nothing_left(model)

    def takes_parts(self, model: EncoderSpec) -> bool:
        swaps = self.hide is not None and self.hide.fill == "swap"
        return not model.multimodal and not swaps

    def _nothing_left(self, model: EncoderSpec) -> str | None:
        """That a smooth trend would be all that there is."""
        patch = model.patch
        n_bins = (patch * self.window if self.transform == "stft" else patch) // 2 + 1
        if self.whiten != "smooth" or n_bins > PARABOLA:
            return None
        rule = f"a parabola goes through all {n_bins} frequencies of a patch of {patch} samples"
        return f"whiten=smooth: {rule}; take longer patches, transform: stft, or whiten: window"

    def single(self, ctx: SignalContext, encoder: "Encoder") -> "Task":
        names = ("predict", "transform", "window", "floor", "whiten")
        own = self.common() | {name: getattr(self, name) for name in names}
        own["hide"] = self.hide and self.hide.sizes(ctx.sfreq / 2)
        own["fill"] = self.hide.fill if self.hide else "zero"
        return locate(f"{LOSSES}.spectral:SpectralTask")(ctx, encoder, **own)  # type: ignore[no-any-return]


class Latent(Reconstruction):
    """Latent prediction (data2vec, JEPA): an averaged teacher sees all, and its tokens of hidden
    patches are predicted."""

    kind: Literal["latent"] = "latent"
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of every channel's patches that is hidden."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Share of the teacher's weights that stays at each step; the rest is the encoder's."""
    predictor: Annotated[int, Field(ge=0)] = 0
    """Width of the predictor's hidden layer; 0: as wide as a token."""
    narrowest: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Spread of the teacher's validation tokens over windows, beside their size, at which training
    ends as collapsed."""

    def single(self, ctx: SignalContext, encoder: "Encoder") -> "Task":
        own: dict[str, Any] = {"momentum": self.momentum, "narrowest": self.narrowest}
        own |= self.common() | {"width": self.predictor or None}
        return locate(f"{LOSSES}.latent:LatentTask")(ctx, encoder, **own)  # type: ignore[no-any-return]


# ---- two views should agree ----


class Vicreg(Spec):
    """Bardes et al. 2022. Weights are divided by their sum; the code of CroSSL takes 10, 10 and
    100."""

    kind: Literal["vicreg"] = "vicreg"
    invariance: Weight = 25.0
    """Weight of the distance between the two views of a window."""
    variance: Weight = 25.0
    """Weight of a spread over the batch that is below 1."""
    covariance: Weight = 1.0
    """Weight of what different dimensions share."""

    @model_validator(mode="after")
    def _agrees_and_differs(self) -> "Vicreg":
        if not self.invariance:
            rule = "nothing asks the two views to agree"
            raise ValueError(f"invariance=0: {rule}; give it a weight")
        if not self.variance:
            rule = "the same embedding for every window would be best"
            raise ValueError(f"variance=0: {rule}; give it a weight")
        return self


class Barlow(Spec):
    """Zbontar et al. 2021: the cross-correlation of the two views should be the identity."""

    kind: Literal["barlow"] = "barlow"
    redundancy: Annotated[float, Field(gt=0)] = 0.005
    """Weight of what is beside the diagonal."""


class InfoNce(Spec):
    """van den Oord et al. 2018: find the other view of a window among those of the batch; all
    others are negatives."""

    kind: Literal["infonce"] = "infonce"
    temperature: Annotated[float, Field(gt=0)] = 0.2
    """Divides how alike two embeddings are."""


Agreement = Vicreg | Barlow | InfoNce


def agreement(spec: Agreement) -> Callable[..., Any]:
    """The loss of two views that a block asks for."""
    weights = {name: value for name, value in spec.tree().items() if name != "kind"}
    return partial(locate(f"{LOSSES}.agreement:{spec.kind}"), **weights)


class CrossmodalViews(TaskSpec):
    """CroSSL: two masked views of the sensors' embeddings, aggregated, should be alike."""

    kind: Literal["crossmodal"] = "crossmodal"
    mask: Literal["spatial", "random", "temporal"] = "spatial"
    """What is hidden: whole sensors, elements of their embeddings, or steps of their tokens."""
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Chance of each to be seen in a view."""
    disjoint: bool = False
    """Whether nothing is seen in both views, so that they cannot agree on what one sensor shows."""
    loss: Annotated[Agreement, Field(discriminator="kind")] = Vicreg()
    """What makes the views agree and windows differ."""
    expander: Annotated[int, Field(ge=0)] = 0
    """Width of the layers between the embedding and the loss; 0: none, as released."""
    narrowest: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Spread of validation embeddings, beside their size, at which training ends as collapsed."""

    @model_validator(mode="after")
    def _leaves_for_the_other(self) -> "CrossmodalViews":
        if self.disjoint and self.keep > 0.5:
            rule = "two disjoint views keep half each at most"
            raise ValueError(f"keep={self.keep:g}: {rule}; lower it to 0.5")
        return self

    def misfit(self, model: EncoderSpec, ctx: SignalContext) -> str | None:
        if not isinstance(model, Crossmodal):
            rule = f"masks the embeddings of sensors, which {model.kind} has not"
            return f"crossmodal {rule}; give `model: crossmodal`"
        there = [sensor.name for sensor in model.of(ctx) if sensor.rows]
        if self.mask == "spatial" and len(there) < 2:
            rule = f"needs signals of 2 sensors, but there is only {', '.join(there)}"
            return f"mask=spatial: {rule}; give `model.sensors: channel`, or another mask"
        return None

    def build(self, ctx: SignalContext, encoder: "Encoder") -> "Task":
        names = ("mask", "keep", "disjoint", "expander", "narrowest")
        own = {name: getattr(self, name) for name in names} | {"agreement": agreement(self.loss)}
        return locate(f"{LOSSES}.crossmodal:CrossmodalTask")(encoder, **own)  # type: ignore[no-any-return]


class Contrastive(TaskSpec):
    """Embeddings of windows should be told apart, those of one window's views not."""

    temperature: Annotated[float, Field(gt=0)] = 0.2
    """Divides how alike two embeddings are."""
    narrowest: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Spread of validation tokens over windows, beside their size, at which training ends as
    collapsed."""

    net: ClassVar[str]

    def misfit(self, model: EncoderSpec, ctx: SignalContext) -> str | None:
        if model.multimodal:
            rule = "reads one array of channels, and its tokens in order of time"
            return f"{self.kind}: {rule}; {model.kind} has sensors, take `crossmodal`"
        return None

    def build(self, ctx: SignalContext, encoder: "Encoder") -> "Task":
        sizes = {n: getattr(self, n) for n in type(self).model_fields if n != "kind"}
        return locate(self.net)(ctx, encoder, **sizes)  # type: ignore[no-any-return]


class Ts2Vec(Contrastive):
    """In the manner of TS2Vec: moments of a stretch are known again in another context, among other
    moments and other windows, at every scale of time."""

    net: ClassVar[str] = f"{LOSSES}.contrast:Ts2VecTask"

    kind: Literal["ts2vec"] = "ts2vec"
    overlap: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of a window that both contexts hold."""
    ratio: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Chance of each patch to be hidden in a context."""
    weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of other windows; the rest is that of other moments."""


class SimMtm(Contrastive):
    """In the manner of SimMTM: a window is put together from masked views, its own and those of
    others, by how alike they are."""

    net: ClassVar[str] = f"{LOSSES}.contrast:SimMtmTask"

    kind: Literal["simmtm"] = "simmtm"
    views: Annotated[int, Field(ge=1, le=8)] = 3
    """Masked views of each window."""
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of a view's patches that is hidden."""
    span: Count = 2
    """Patches in a run of hidden ones."""
    weight: Weight = 0.5
    """Weight of telling windows apart, beside the reconstruction."""


# ---- does B follow A? ----


class Weights(Spec):
    """Weights of the two losses of Next Thought Prediction; the published study's predecessor
    took 0.1 and 0.9."""

    next: Weight = 1.0
    """Weight of whether B follows A."""
    masked: Weight = 0.0
    """Weight of what hidden volumes were."""

    @model_validator(mode="after")
    def _one_at_least(self) -> "Weights":
        if self.next + self.masked == 0:
            raise ValueError("next=0 and masked=0: nothing is learnt; give one of them a weight")
        return self


class NextThought(TaskSpec):
    """Next Thought Prediction: does B follow A, of pairs of windows?"""

    kind: Literal["next_thought"] = "next_thought"
    weights: Weights = Weights()
    """Weights of the two losses."""
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of volumes that is hidden, where the masked loss has a weight."""
    head: Annotated[Literal["joint", "siamese", "bilinear"], Later()] = "joint"
    """What tells whether B follows A: the summary of both, read together; or, each read alone, the
    distance of their summaries in each feature (siamese), or their product (bilinear)."""

    def check(self, ctx: SignalContext) -> str | None:
        if ctx.n_parts != 2:
            way = "give pretrain.source `{kind: pairs, ask: next, of: …}`"
            return f"next_thought is asked of pairs; {way}"
        return None

    def takes_parts(self, model: EncoderSpec) -> bool:
        return True

    def build(self, ctx: SignalContext, encoder: "Encoder") -> "Task":
        own = {"next_weight": self.weights.next, "masked_weight": self.weights.masked}
        net = locate(f"{LOSSES}.next_thought:NextThoughtTask")
        return net(ctx, encoder, ratio=self.ratio, compares=self.head, **own)  # type: ignore[no-any-return]


# ---- a task from outside ----


class CustomTask(Foreign, TaskSpec):
    """A task of your own: `cls` is a `Task` outside this package, built as `cls(ctx, encoder,
    **kwargs)`."""

    kind: Literal["custom"] = "custom"

    def build(self, ctx: SignalContext, encoder: "Encoder") -> "Task":
        from citrus_ray.tasks.losses.task import Task

        return self.made(Task, ctx, encoder)  # type: ignore[type-abstract]


# ---- the registry ----

TASKS = {
    "crossmodal": "citrus_ray.tasks.specs:CrossmodalViews",
    "custom": "citrus_ray.tasks.specs:CustomTask",
    "latent": "citrus_ray.tasks.specs:Latent",
    "masked": "citrus_ray.tasks.specs:Masked",
    "next_thought": "citrus_ray.tasks.specs:NextThought",
    "simmtm": "citrus_ray.tasks.specs:SimMtm",
    "spectral": "citrus_ray.tasks.specs:Spectral",
    "ts2vec": "citrus_ray.tasks.specs:Ts2Vec",
}
KINDS = Kinds(TASKS, room="tasks")
AnyTask = Annotated[SerializeAsAny[TaskSpec], BeforeValidator(KINDS)]
