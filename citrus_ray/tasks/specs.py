"""What can be asked of each kind of task. The module that a spec builds stands in the file of its name."""

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from citrus_ray.context import SignalContext
from citrus_ray.spec import Later, Spec
from citrus_ray.tasks.task_spec import TaskSpec

if (
    TYPE_CHECKING
):  # torch takes a second to load, and a plan does without: each `build` loads its own
    from citrus_ray.models.nets.encoder import Encoder
    from citrus_ray.tasks.losses.crossmodal import CrossmodalTask
    from citrus_ray.tasks.losses.masked import MaskedTask
    from citrus_ray.tasks.losses.next_thought import NextThoughtTask
    from citrus_ray.tasks.losses.spectral import SpectralTask
    from citrus_ray.tasks.losses.task import Task

Representation = Literal["log_magnitude", "magnitude_phase", "real_imag"]
Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]


# ---- something is hidden and predicted ----


class Reconstruction(TaskSpec):
    """`ratio` of every channel's patches is hidden, in runs of `span`.

    Several modalities at once: `drop_modality` hides all patches of one modality in that share of windows, which only
    other channels can make up for, so it needs a decoder that looks across channels: `mix` layers of attention.
    """

    ratio: Annotated[float, Field(ge=0, lt=1)] = 0.5
    span: Count = 2
    loss: Literal["mse", "l1", "huber"] = "mse"
    drop_modality: Annotated[float, Field(ge=0, le=1)] = 0.0
    mix: Annotated[int, Field(ge=0)] = 0
    by_modality: bool = False  # a decoder per modality instead of one for all
    # what the encoder reads: all patches, a mask token in place of hidden ones, or the visible ones alone, which is
    # faster the more is hidden; the decoder then asks them for what is not there
    encode: Annotated[Literal["all", "visible"], Later()] = "all"

    @model_validator(mode="after")
    def _visible_alone_stay_in_their_channel(self) -> "Reconstruction":
        if self.encode == "visible" and (self.mix or self.drop_modality):
            rule = "encode=visible: channels show different moments, so the decoder cannot look across them"
            raise ValueError(f"{rule}; set mix and drop_modality to 0, or encode: all")
        return self

    @model_validator(mode="after")
    def _dropped_can_be_predicted(self) -> "Reconstruction":
        if self.drop_modality and not self.mix:
            raise ValueError(
                f"drop_modality={self.drop_modality:g}: a modality that is all hidden can only be predicted from other "
                "channels; set mix to 1 or more"
            )
        return self

    def check(self, ctx: SignalContext) -> str | None:
        if self.drop_modality and len(set(ctx.modalities)) < 2:
            there = ctx.modalities[0]
            return f"drop_modality={self.drop_modality:g}: needs signals of 2 modalities, but all are {there}"
        return None

    def build(self, ctx: SignalContext, encoder: "Encoder") -> "Task":
        """The task, or one for each sensor of a crossmodal encoder."""
        from citrus_ray.tasks.losses.reconstruction import of_each_sensor

        return of_each_sensor(self, encoder) if encoder.multimodal else self.single(ctx, encoder)

    @abstractmethod
    def single(self, ctx: SignalContext, encoder: "Encoder") -> "Task":
        """For an encoder whose tokens are of one channel each."""


class Masked(Reconstruction):
    """The target is the samples of hidden patches."""

    kind: Literal["masked"] = "masked"
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.5

    def single(self, ctx: SignalContext, encoder: "Encoder") -> "MaskedTask":
        from citrus_ray.tasks.losses.masked import MaskedTask

        return MaskedTask(self, ctx, encoder)


class Hide(Spec):
    """Bands of frequency that the encoder does not see: `band`, or `count` bands of `width` drawn for every channel."""

    band: tuple[float, float] | None = None
    count: Count = 1
    width: Annotated[float, Field(gt=0)] = 0.2
    unit: Literal["hz", "share"] = (
        "share"  # of `band` and `width`; a share is of the spectrum, 0 to half the rate
    )
    fill: Literal["zero", "noise", "swap"] = (
        "zero"  # noise of the same power, or the band of another window
    )

    @model_validator(mode="after")
    def _leaves_some(self) -> "Hide":
        if self.band is not None and not 0 <= self.band[0] < self.band[1]:
            raise ValueError(f"band={list(self.band)}: 0 <= low < high must hold")
        if self.unit == "share" and self.band is not None and self.band[1] > 1:
            raise ValueError(
                f"band={list(self.band)}: a share ends at 1; give unit: hz for a band in Hz"
            )
        if self.unit == "share" and self.band is None and self.count >= self.slots(1.0):
            rule = f"count={self.count} bands of width={self.width:g} would leave nothing of the spectrum to see"
            raise ValueError(f"{rule}; lower either")
        return self

    def slots(self, nyquist: float) -> int:
        """How many bands of `width` lie side by side."""
        return math.floor(self.top(nyquist) / self.width + 1e-9)

    def top(self, nyquist: float) -> float:
        """The end of the spectrum, in `unit`."""
        return nyquist if self.unit == "hz" else 1.0

    def problem(self, nyquist: float) -> str | None:
        """Why such bands cannot be taken out of signals whose spectrum ends at `nyquist`, or None."""
        if self.unit == "hz" and self.band is not None and self.band[1] > nyquist:
            return f"hide.band={list(self.band)}: signals end at {nyquist:g} Hz; take a lower band"
        if self.unit == "hz" and self.band is None and self.count >= self.slots(nyquist):
            return f"hide: {self.count} bands of {self.width:g} Hz leave nothing of {nyquist:g} Hz to see; lower either"
        return None


class Spectral(Reconstruction):
    """`transform: stft` looks at `window` patches around each, `rfft` at the patch alone."""

    kind: Literal["spectral"] = "spectral"
    predict: Representation = "log_magnitude"
    transform: Literal["rfft", "stft"] = "rfft"
    window: Annotated[int, Field(ge=2)] = 4
    floor: Annotated[float, Field(gt=0)] = 0.01
    hide: Hide | None = None

    @model_validator(mode="after")
    def _hides_something(self) -> "Spectral":
        if self.ratio == 0 and self.hide is None:
            raise ValueError(
                "ratio=0 and hide=null: nothing is hidden; give a ratio above 0 or bands to hide"
            )
        return self

    def check(self, ctx: SignalContext) -> str | None:
        return super().check(ctx) or (
            self.hide.problem(ctx.sfreq / 2) if self.hide is not None else None
        )

    def single(self, ctx: SignalContext, encoder: "Encoder") -> "SpectralTask":
        from citrus_ray.tasks.losses.spectral import SpectralTask

        return SpectralTask(self, ctx, encoder)


# ---- two views should agree ----


class Vicreg(Spec):
    """Bardes et al. 2022. Weights are divided by their sum; the code of CroSSL takes 10, 10 and 100."""

    kind: Literal["vicreg"] = "vicreg"
    invariance: Weight = 25.0
    variance: Weight = 25.0
    covariance: Weight = 1.0

    @model_validator(mode="after")
    def _agrees_and_differs(self) -> "Vicreg":
        if not self.invariance:
            raise ValueError("invariance=0: nothing asks the two views to agree; give it a weight")
        if not self.variance:
            raise ValueError(
                "variance=0: the same embedding for every window would be best; give it a weight"
            )
        return self


class Barlow(Spec):
    """Zbontar et al. 2021: the cross-correlation of the two views should be the identity."""

    kind: Literal["barlow"] = "barlow"
    redundancy: Annotated[float, Field(gt=0)] = 0.005  # weight of what is beside the diagonal


class InfoNce(Spec):
    """van den Oord et al. 2018: find the other view of a window among those of the batch. All others are negatives."""

    kind: Literal["infonce"] = "infonce"
    temperature: Annotated[float, Field(gt=0)] = 0.2


Agreement = Vicreg | Barlow | InfoNce


class Crossmodal(TaskSpec):
    """`mask`: spatial hides whole sensors, random elements of their embeddings, temporal steps of their tokens.

    `keep` is the chance of each to be seen. `expander` is the width of the layers between the embedding and the loss;
    0: none, as released.
    """

    kind: Literal["crossmodal"] = "crossmodal"
    mask: Literal["spatial", "random", "temporal"] = "spatial"
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.5
    disjoint: bool = False  # no cell is seen in both views, so that they can agree on nothing that one sensor shows
    loss: Annotated[Agreement, Field(discriminator="kind")] = Vicreg()
    expander: Annotated[int, Field(ge=0)] = 0
    narrowest: Annotated[float, Field(ge=0, lt=1)] = (
        0.01  # spread of validation embeddings at which training ends
    )

    @model_validator(mode="after")
    def _leaves_for_the_other(self) -> "Crossmodal":
        if self.disjoint and self.keep > 0.5:
            raise ValueError(
                f"keep={self.keep:g}: two disjoint views keep half each at most; lower it to 0.5"
            )
        return self

    def build(self, ctx: SignalContext, encoder: "Encoder") -> "CrossmodalTask":
        from citrus_ray.tasks.losses.crossmodal import CrossmodalTask

        return CrossmodalTask(self, encoder)


# ---- does B follow A? ----


class Weights(Spec):
    """Of the two losses. The predecessor of the published study took 0.1 and 0.9."""

    next: Weight = 1.0
    masked: Weight = 0.0

    @model_validator(mode="after")
    def _one_at_least(self) -> "Weights":
        if self.next + self.masked == 0:
            raise ValueError("next=0 and masked=0: nothing is learnt; give one of them a weight")
        return self


class NextThought(TaskSpec):
    """`ratio` of the volumes are hidden where the masked loss has a weight."""

    kind: Literal["next_thought"] = "next_thought"
    weights: Weights = Weights()
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.15

    def check(self, ctx: SignalContext) -> str | None:
        if ctx.n_parts != 2:
            return "next_thought is asked of pairs; give pretrain.source `{kind: pairs, ask: next, of: …}`"
        return None

    def build(self, ctx: SignalContext, encoder: "Encoder") -> "NextThoughtTask":
        from citrus_ray.tasks.losses.next_thought import NextThoughtTask

        return NextThoughtTask(self, ctx, encoder)
