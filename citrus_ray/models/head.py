"""What a sweep may say of the head: which features of a window its linear layer reads. No torch."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from citrus_ray.context import SignalContext
from citrus_ray.models.specs import EncoderSpec
from citrus_ray.spec import Later, Spec, code_of, locate, refuse

MOST_ROWS = 32  # of a covariance, which is then 528 numbers; of more channels, principal axes
MOST_DELAYED = 20  # rows of channels and delayed copies


def kept_delays(delays: Iterable[int], n_chans: int, n_times: int) -> tuple[int, ...]:
    """0 and those delays, smallest first, that make no more than 20 rows of so many channels and
    leave three quarters of a window."""
    fit = [delay for delay in sorted({0, *delays}) if delay <= n_times // 4]
    return tuple(fit[: max(1, MOST_DELAYED // n_chans)])


class Head(Spec):
    """Features beside, or in place of, the mean of an encoder's tokens over time."""

    moments: bool = False
    """Beside the mean of tokens over time the log of their variance, of tokens as they were before
    the encoder's last norm, which takes the strength of a signal from them."""
    bins: Annotated[int, Field(ge=1)] = 1
    """Bins of time in which the mean is taken, side by side in order."""
    power: bool = False
    """The log power of each channel of the window, in all and in 8 bands of its spectrum."""
    covariance: bool = False
    """The covariance between the channels of the window: log-Euclidean, at the mean of the labelled
    windows."""
    delays: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Later()] = ()
    """Samples by which copies of the channels are late that stand beside them in `covariance`, as
    many of them, smallest first, as make 20 rows; without, a single channel has a variance alone.
    [1, 2, 4, 8, 16] are those of `model: tangent`."""
    standardise: bool = False
    """Features of the encoder too are standardised as the labelled windows first have them, clipped
    at 6, and weighed down where they are more than 64, in place of a norm over those of a window.
    Power and covariance always are."""
    pairs: Annotated[Literal["joint", "siamese", "bilinear"], Later()] = "joint"
    """Of a pair of windows, how the encoder reads it. joint: both together, as one window; siamese:
    each alone, and the head reads the distance of A and B in each feature; bilinear: their product.
    Distances and products always are standardised."""
    segments: Literal["apart", "joined"] = "apart"
    """What of a window that alignment cut into segments. apart: each is a channel of its own;
    joined: the tokens of a channel follow each other in time."""

    own: Annotated[tuple[Annotated[str, Field(pattern=r"^[\w.]+:\w+$")], ...], Later()] = ()
    """Features of the window by classes of your own, `module:Class`: each an `OfWindow`
    (`citrus_ray.models.nets.parts`), built as `cls(ctx)`. They are standardised."""

    @model_validator(mode="after")
    def _delays_of_a_covariance(self) -> "Head":
        if self.delays and not self.covariance:
            rule = "copies stand beside channels whose covariance is read"
            raise refuse(f"delays={list(self.delays)}: {rule}; give covariance: true", "delays")
        return self

    @model_validator(mode="after")
    def _compares_summaries(self) -> "Head":
        if self.pairs != "joint" and self.of_time:
            rule = "compares one summary of A with one of B"
            way = "drop moments, bins and segments, or give `pairs: joint`"
            raise refuse(f"pairs={self.pairs}: {rule}; {way}", "pairs")
        return self

    def identity(self) -> dict[str, Any]:
        """With the text of modules of others."""
        code = [code_of(path.partition(":")[0]) for path in self.own]
        return super().identity() | ({"code": code} if code else {})

    @property
    def standardises(self) -> bool:
        """Whether features of the encoder are standardised, not normed."""
        return self.standardise or self.pairs != "joint"

    @property
    def of_time(self) -> bool:
        """Whether the mean over all tokens of a row does not do."""
        return self.moments or self.bins > 1 or self.segments == "joined"

    def misfit(self, model: EncoderSpec, ctx: SignalContext) -> str | None:
        """Why this head means nothing on that encoder for such windows, or None."""
        if self == Head():
            return None
        for path in self.own:
            try:
                locate(path)
            except ValueError as err:
                return f"own: {err}"
        if model.multimodal:
            rule = f"its parts read one array of channels, and {model.kind} has sensors"
            return f"{rule}; leave it out"
        if self.pairs != "joint" and ctx.n_parts != 2:
            way = "give finetune.target `{kind: pairs, of: …}`, or `pairs: joint`"
            return f"pairs={self.pairs}: compares A and B, and these are single windows; {way}"
        if self.pairs != "joint" and ctx.n_times // 2 < model.patch:
            rule = f"A and B hold {ctx.n_times // 2} samples each, fewer than a token"
            return f"pairs={self.pairs}: {rule} of {model.patch}; lengthen them"
        if self.segments == "joined" and model.mixes_channels:
            rule = f"segments=joined: {model.kind} reads all channels, segments too, as one"
            return f"{rule}; give segments: apart"
        n_joined = ctx.n_segments if self.segments == "joined" else 1
        n_tokens = n_joined * (ctx.n_times // model.patch)
        if self.bins > n_tokens:
            return f"bins={self.bins}: a window has {n_tokens} tokens; at most {n_tokens} does"
        return None
