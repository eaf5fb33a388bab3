"""Networks of the library braindecode, by name: an extra. No torch, and no braindecode, until one
is built."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field

from citrus_ray.context import SignalContext
from citrus_ray.models.specs import EncoderSpec
from citrus_ray.spec import locate

Name = Literal[
    "EEGNet",
    "ShallowFBCSPNet",
    "Deep4Net",
    "EEGConformer",
    "ATCNet",
    "BIOT",
    "Labram",
    "CBraMod",
    "EEGPT",
    "REVE",
    "SignalJEPA",
]


@dataclass(frozen=True)
class Known:
    """What is known of a network of braindecode 1.8."""

    patch: int  # samples from one of its tokens to the next, with its own sizes
    sfreq: float | None = None  # rate that its published weights were trained at
    needs_names: bool = False  # whether it looks channels up by name


NETWORKS: dict[str, Known] = {
    "EEGNet": Known(32),
    "ShallowFBCSPNet": Known(15),
    "Deep4Net": Known(81),
    "EEGConformer": Known(15),
    "ATCNet": Known(56),
    "BIOT": Known(100, 200.0),
    "Labram": Known(200, 200.0, needs_names=True),
    "CBraMod": Known(200, 200.0),
    "EEGPT": Known(32, 256.0, needs_names=True),
    "REVE": Known(180, 200.0, needs_names=True),
    "SignalJEPA": Known(128, 128.0, needs_names=True),
}


class Braindecode(EncoderSpec):
    """A network of braindecode up to its head: `pip install 'citrus_ray[braindecode]'`. Its
    features become a token per patch, of all channels together."""

    net: ClassVar[str] = "citrus_ray.models.nets.braindecode:BraindecodeEncoder"
    mixes_channels: ClassVar[bool] = True

    kind: Literal["braindecode"] = "braindecode"
    name: Name = Field()
    """The class in braindecode.models."""
    kwargs: dict[str, Any] = {}
    """Sizes that the class takes, by keyword; else its own. Channels, samples and rate are those
    of the signals."""

    @property
    def patch(self) -> int:
        return NETWORKS[self.name].patch

    def sizes(self) -> dict[str, Any]:
        return super().sizes() | {"patch": self.patch}

    def reads(self, ctx: SignalContext) -> str:
        rate = NETWORKS[self.name].sfreq
        trained = f" (published weights: {rate:g} Hz)" if rate else ""
        return f"{super().reads(ctx)} into {self.name}{trained}"

    def check(self, ctx: SignalContext) -> str | None:
        known = NETWORKS[self.name]
        if known.sfreq and self.weights is not None and abs(ctx.sfreq / known.sfreq - 1) > 1e-3:
            rule = f"its published weights are of {known.sfreq:g} Hz"
            way = f"give the source `sfreq: {known.sfreq:g}`, or `finetune.align: resample`"
            return f"{self.name}: {rule}, these signals of {ctx.sfreq:g} Hz; {way}"
        if said := super().check(ctx):
            return said
        try:
            locate("citrus_ray.models.nets.braindecode:tried")(self.network(ctx), ctx)
        except ValueError as err:
            return str(err)
        return None
