"""An encoder for one set of channels, and how those of every set are brought to it. No torch."""

from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from citrus_ray.context import SignalContext
from citrus_ray.models.electrodes import electrode, place_of
from citrus_ray.models.specs import AnySingle, EncoderSpec, Name, Sequence, Size
from citrus_ray.spec import refuse


class Adapted(EncoderSpec):
    """An encoder that mixes channels, behind a step that brings each set's channels to those that
    it reads: so that one that was trained on some goes to any others."""

    net: ClassVar[str] = "citrus_ray.models.nets.adapted:AdaptedEncoder"
    mixes_channels: ClassVar[bool] = True

    kind: Literal["adapted"] = "adapted"
    encoder: AnySingle = Sequence()
    """The encoder inside, with `weights` of its own where it has any; it must mix channels."""
    channels: Literal["project", "match", "interpolate"] = "project"
    """project: a linear layer for each data set, learned with the rest, new for every other set;
    match: channels of the same name, zeros for one that is not there; interpolate: each electrode
    is the mean of the set's, by nearness on the head."""
    n_chans: Size | None = None
    """Channels that `project` makes."""
    names: tuple[Name, ...] = ()
    """Channels that the encoder reads, for `match` and `interpolate`, and to name those of
    `project`."""

    @model_validator(mode="after")
    def _channels_are_said(self) -> "Adapted":
        if not self.encoder.mixes_channels:
            rule = f"{self.encoder.kind} reads any number of channels by itself"
            raise refuse(f"encoder={self.encoder.kind}: {rule}; use it without", "encoder")
        if self.channels != "project" and not self.names:
            rule = f"channels={self.channels}: needs the names of channels that the encoder reads"
            raise refuse(f"{rule}; give `names`", "names")
        if self.channels == "project" and not (self.names or self.n_chans):
            rule = "channels=project: needs how many channels the encoder reads"
            raise refuse(f"{rule}; give `n_chans`", "n_chans")
        if self.names and self.n_chans not in (None, len(self.names)):
            rule = f"n_chans={self.n_chans}: `names` has {len(self.names)}"
            raise refuse(f"{rule}; drop it", "n_chans")
        if len(set(self.names)) < len(self.names):
            raise refuse("names: each must stand once", "names")
        lost = [one for one in self.names if place_of(one) is None]
        if self.channels == "interpolate" and lost:
            rule = "have no place on the head by their name"
            raise refuse(f"names: {', '.join(lost)} {rule}; use match or project", "names")
        return self

    @property
    def patch(self) -> int:
        return self.encoder.patch

    @property
    def width(self) -> int:
        return self.encoder.width

    def inside(self, ctx: SignalContext) -> SignalContext:
        """What the encoder inside is built for."""
        n = len(self.names) or self.n_chans or 0
        kinds = ctx.modalities[:1] * n
        return replace(ctx, n_chans=n, names=self.names, modalities=kinds, streams=(), n_segments=1)

    def reads(self, ctx: SignalContext) -> str:
        inner = self.encoder.reads(self.inside(ctx))
        how: str = self.channels
        if how == "match":
            there = {electrode(name) or name for name in ctx.names}
            n = sum((electrode(name) or name) in there for name in self.names)
            how = f"match ({n} of {len(self.names)} are there)"
        return f"{super().reads(ctx)}, brought by {how} to {inner}"

    def check(self, ctx: SignalContext) -> str | None:
        if ctx.streams:
            return "adapted: reads one array of channels, and these are several streams"
        if self.channels == "match" and not set(self.names) & set(ctx.names):
            there = ", ".join(ctx.names) or "no names"
            return f"channels=match: none of `names` is here, which has {there}; use project"
        if self.channels == "interpolate" and not any(place_of(one) for one in ctx.names):
            rule = "no channel here has a place on the head by its name"
            return f"channels=interpolate: {rule}; use match or project"
        return self.encoder.check(self.inside(ctx))

    def misfit(self, source: SignalContext, target: SignalContext) -> str | None:
        return self.encoder.misfit(self.inside(source), self.inside(target))

    def sizes(self) -> dict[str, Any]:
        own = {"channels": self.channels, "names": self.names, "patch": self.patch}
        return own | {"inside": self.inside, "make": self.encoder.build}
