"""Views of a window, each learnt from by a small head of its own, whose votes are averaged. No
torch.

No single description of a signal is best everywhere; the mean over different ones nearly always is.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from citrus_ray.context import SignalContext
from citrus_ray.models.head import Head
from citrus_ray.models.specs import (
    ENCODERS,
    MODELS,
    ClosedForm,
    Conv,
    EncoderSpec,
    Size,
)
from citrus_ray.spec import Kinds, Spec, refuse

Share = Annotated[float, Field(ge=0, lt=1)]


class ViewSpec(Spec):
    """Numbers that describe a window."""

    # `module:function`: the spec and a learner -> features of windows
    features: ClassVar[str]
    voter: ClassVar[str] = "citrus_ray.training.views:Heads"  # what learns from them

    kind: str

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return self.kind

    def check(self, ctx: SignalContext) -> str | None:
        """Why this view means nothing for such windows, or None."""
        return None


class Bands(ViewSpec):
    """Log power of band passes, evenly spaced in log frequency: its mean and its spread over
    frames of time."""

    features: ClassVar[str] = "citrus_ray.training.features:bands"

    kind: Literal["bands"] = "bands"
    n: Size = 16
    """Band passes."""
    frames: Annotated[int, Field(ge=2)] = 8
    """Frames of time."""


class Covariance(ViewSpec):
    """Covariance of channels and delayed copies, in its tangent space."""

    features: ClassVar[str] = "citrus_ray.training.features:covariance"

    kind: Literal["covariance"] = "covariance"
    delays: tuple[Annotated[int, Field(ge=0)], ...] = (1, 2, 4, 8, 16)
    """Samples by which copies of the channels are late, as for `model: tangent`."""


class Scalars(ViewSpec):
    """25 scalars a channel: powers, bands, moments, quantiles, zero crossings."""

    features: ClassVar[str] = "citrus_ray.training.features:scalars_of"

    kind: Literal["scalars"] = "scalars"


class Trees(Scalars):
    """The same scalars, voted on by extremely randomised trees in place of a head."""

    voter: ClassVar[str] = "citrus_ray.training.views:Forests"

    kind: Literal["trees"] = "trees"  # type: ignore[assignment]
    n: Size = 100
    """Trees of each member."""


class TimeSteps(ViewSpec):
    """The window itself in even steps of time, in order."""

    features: ClassVar[str] = "citrus_ray.training.features:time"

    kind: Literal["time"] = "time"
    steps: Size = 64
    """Steps, each the mean of its samples."""


class Kernels(ViewSpec):
    """Shares of positive values of MiniRocket's kernels."""

    features: ClassVar[str] = "citrus_ray.training.features:kernels"

    kind: Literal["kernels"] = "kernels"
    n: Annotated[int, Field(ge=84)] = 840
    """Kernels, of which the largest multiple of 84 is taken."""


class Rocket(Kernels):
    """The same shares, read by ridge regression in place of a head, whose outputs are sharpened
    into probabilities by what it says of windows that it did not see."""

    voter: ClassVar[str] = "citrus_ray.training.views:Ridges"

    kind: Literal["rocket"] = "rocket"  # type: ignore[assignment]
    n: Annotated[int, Field(ge=84)] = 2016
    """Kernels, of which the largest multiple of 84 is taken."""


class Encoded(ViewSpec):
    """What a frozen encoder makes of a window, pre-trained or as it is drawn by lot."""

    features: ClassVar[str] = "citrus_ray.training.features:encoded"

    kind: Literal["encoder"] = "encoder"
    model: Annotated[SerializeAsAny[EncoderSpec], BeforeValidator(ENCODERS)] = Conv()
    """The encoder, of any kind that has one."""
    head: Head = Head(moments=True, bins=4)
    """Which features of it are read, as by the head of a fine-tune."""
    pool: Literal["mean", "channels"] = "channels"
    """Over channels: their mean, or side by side."""
    pretrained: bool = True
    """Whether `pretrain` makes it, where there is one; else its weights are drawn by lot."""

    @property
    def name(self) -> str:
        return self.model.kind if self.pretrained else f"untrained {self.model.kind}"

    def check(self, ctx: SignalContext) -> str | None:
        return self.model.check(ctx) or self.head.misfit(self.model, ctx)


def _written_out(value: Any) -> Any:
    """`bands` as a whole block, and `conv` or `{kind: conv, …}` as a view of that encoder."""
    kind = value.get("kind") if isinstance(value, dict) else value
    if kind in MODELS:
        return {"kind": "encoder", "model": value}
    return {"kind": value} if isinstance(value, str) else value


VIEWS = {
    "bands": "citrus_ray.models.views:Bands",
    "covariance": "citrus_ray.models.views:Covariance",
    "encoder": "citrus_ray.models.views:Encoded",
    "kernels": "citrus_ray.models.views:Kernels",
    "rocket": "citrus_ray.models.views:Rocket",
    "scalars": "citrus_ray.models.views:Scalars",
    "time": "citrus_ray.models.views:TimeSteps",
    "trees": "citrus_ray.models.views:Trees",
}
KINDS = Kinds(VIEWS, _written_out, "views")
AnyView = Annotated[SerializeAsAny[ViewSpec], BeforeValidator(KINDS)]


class Views(ClosedForm):
    """The mean vote of small heads, one for each view of a window. Each view is put on one scale by
    windows of training people, labelled or not; how much each adds is a number of its own in the
    results."""

    method: ClassVar[str] = "citrus_ray.training.views:views"

    kind: Literal["views"] = "views"
    of: tuple[AnyView, ...] = (
        Bands(),
        Covariance(),
        Scalars(),
        Trees(),
        TimeSteps(),
        Kernels(),
        Rocket(),
    )
    """The views: bands, covariance, scalars, trees, time, kernels, rocket, or any encoder. At
    most one of these is pre-trained; give others `{kind: encoder, model: …, pretrained: false}`."""
    votes: Literal["plain", "chosen", "half", "follow"] = "follow"
    """How votes of views are weighed. plain: all alike; chosen: by what they add on labelled
    windows that their heads did not see; half: half of each; follow: chosen by a share that follows
    the number n of these windows, n / (n + 500)."""
    members: Annotated[int, Field(ge=1)] = 5
    """Heads of each view, averaged: each leaves one fold of the labelled windows out, on which
    `votes` are weighed; with 1, or `validation: full`, none is left out."""
    hidden: Size = 64
    """Width of the layer beside the linear one, which starts at zero."""
    steps: Size | None = None
    """Optimiser steps; null: 200 with up to 250 labelled windows, growing with their root to
    400."""
    batch_size: Size | None = None
    """Windows of a step, as many of each class; null: 32 with up to 250 labelled windows, growing
    likewise to 64."""
    lr: Annotated[float, Field(gt=0)] = 3e-3
    """Rate of AdamW."""
    decay: Annotated[float, Field(ge=0)] = 0.1
    """Its weight decay."""
    mixup: Annotated[float, Field(ge=0)] = 0.3
    """Pairs of windows are mixed by a share from Beta(mixup, mixup); 0: none."""
    noise: Annotated[float, Field(ge=0)] = 0.2
    """Added to features, beside their spread of one."""
    dropout: Share = 0.3
    """Share of the hidden layer that is dropped."""

    @model_validator(mode="after")
    def _one_is_pretrained(self) -> "Views":
        names = self.names
        if not names:
            raise refuse("of=[]: names no view; bands and kernels are two", "of")
        if sum(isinstance(view, Encoded) and view.pretrained for view in self.of) > 1:
            rule = f"of={', '.join(names)}: one encoder at most is pre-trained"
            raise refuse(f"{rule}; give the others `pretrained: false`", "of")
        if len({view.model_dump_json() for view in self.of}) < len(self.of):
            raise refuse(f"of={', '.join(names)}: must name each view once", "of")
        return self

    @property
    def backbone(self) -> EncoderSpec | None:
        return next(
            (view.model for view in self.of if isinstance(view, Encoded) and view.pretrained), None
        )

    @property
    def names(self) -> list[str]:
        """The views by name, numbered where two share one."""
        bare = [view.name for view in self.of]
        return [
            n if bare.count(n) == 1 else f"{n} {bare[:i].count(n) + 1}" for i, n in enumerate(bare)
        ]

    def check(self, ctx: SignalContext) -> str | None:
        said = ((view.name, view.check(ctx)) for view in self.of)
        return next((f"{name}: {complaint}" for name, complaint in said if complaint), None)

    def misfit(self, source: SignalContext, target: SignalContext) -> str | None:
        return self.backbone.misfit(source, target) if self.backbone is not None else None

    def seconds(self, ctx: SignalContext, n_learnt: int, n_seen: int) -> float:
        seen = 3e-7 * n_seen * ctx.n_chans * ctx.n_times + 1e-3 * n_seen
        return seen + len(self.of) * 4e-3 * self.n_steps(n_learnt)

    def share_chosen(self, n_known: int) -> float:
        """The share of the weights that is chosen by so many windows; the rest is even."""
        return {"plain": 0.0, "half": 0.5, "chosen": 1.0}.get(self.votes, n_known / (n_known + 500))

    def n_steps(self, n_learnt: int) -> int:
        return self.steps or round(200 * _growth(n_learnt))

    def n_batch(self, n_learnt: int) -> int:
        return self.batch_size or round(32 * _growth(n_learnt))


def _growth(n_learnt: int) -> float:
    """From 1 to 2 with the root of labelled windows."""
    return float(min(max(n_learnt / 250, 1) ** 0.5, 2))
