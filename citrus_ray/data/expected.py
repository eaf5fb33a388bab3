"""What a kept model expects of recordings: channels, rates, lengths, units, and what is done to
them before they are cut. Facts of its training windows and of the source that made them."""

from collections.abc import Collection
from typing import Annotated, Any

from pydantic import Field

from citrus_ray.data.formats.signals import PLAIN, FileLayout
from citrus_ray.data.source import Normalize, Source
from citrus_ray.data.windows import Stream, Windows
from citrus_ray.spec import Spec, SpecError


class ExpectedChannel(Spec):
    """One channel as training had it."""

    name: str
    """As recorded."""
    modality: str
    """What it measures."""
    unit: str = ""
    """As the files state it; empty: not known, or no matter, as signals are z-scored."""
    recorded_at: float | None = None
    """Rate of training recordings in Hz; null: not known."""


class ExpectedStream(Spec):
    """Channels at one rate, in order."""

    name: str
    """Of a multi-rate recording; else empty."""
    sfreq: Annotated[float, Field(gt=0)]
    """Rate of windows in Hz."""
    n_times: Annotated[int, Field(ge=1)]
    """Samples of a window."""
    channels: tuple[ExpectedChannel, ...]
    """In the order of the windows."""


class SignalContract(Spec):
    """Windows that a model was trained on, and how recordings became them."""

    streams: tuple[ExpectedStream, ...]
    """One, or one for each rate."""
    normalize: Normalize = "none"
    """Scale of windows before the model's own."""
    detrend: bool = False
    """Whether a straight line is taken from each recording first."""
    resampled: bool = False
    """Whether training brought recordings of any rate to that of its windows."""
    short: bool = False
    """Whether a recording that is shorter than a window is padded with zeros."""
    absent: bool = False
    """Whether channels may be absent."""
    clean: dict[str, Any] = {}
    """What is done to a recording before it is cut: reference, band, notch, filter_only, clip."""
    layout: FileLayout = PLAIN
    """What tables and arrays do not say of themselves."""
    around: str = ""
    """What windows stand around, which a table must say; empty: they go through a recording."""
    of_windows: str = ""
    """Why only windows can be given, and no recordings; empty: both can."""

    @property
    def seconds(self) -> float:
        """Length of a window."""
        return self.streams[0].n_times / self.streams[0].sfreq

    @property
    def channels(self) -> tuple[ExpectedChannel, ...]:
        """Of all streams."""
        return tuple(channel for stream in self.streams for channel in stream.channels)


def expected_of(
    source: Source, windows: Windows, picked: Collection[str], multimodal: bool
) -> SignalContract:
    """What the source's windows, before alignment, expect of others. `picked` are the channels
    that alignment reads of them; a model that is not `multimodal` reads the first stream alone."""
    handling, recorded = source.handling(), _recorded(source)
    unit_counts = handling.normalize == "none"
    first = Stream("", windows.x, windows.sfreq, windows.ch_names, windows.modalities)
    streams = windows.streams if multimodal else windows.streams[:1]

    def channel(name: str, modality: str) -> ExpectedChannel:
        unit, rate = recorded.get(name, ("", None))
        unit = unit if unit_counts else ""
        return ExpectedChannel(name=name, modality=modality, unit=unit, recorded_at=rate)

    def expected(stream: Stream) -> ExpectedStream:
        pairs = zip(stream.ch_names, stream.modalities, strict=True)
        channels = tuple(channel(*pair) for pair in pairs if pair[0] in picked)
        facts = {"name": stream.name, "sfreq": stream.sfreq, "n_times": stream.x.shape[2]}
        return ExpectedStream(**facts, channels=channels)

    return SignalContract(streams=tuple(map(expected, streams or (first,))), **vars(handling))


def _recorded(source: Source) -> dict[str, tuple[str, float]]:
    """Unit and rate of each channel; nothing where recordings have gone since they were cut."""
    try:
        return source.recorded_channels()
    except SpecError:
        return {}
