"""Facts that come from data and that models and tasks are built for. Choices live in specs,
facts live here."""

from dataclasses import dataclass
from typing import Literal

# What the labels of a set are: one class of several for each window, a number, or any of several
# labels at once.
TargetKind = Literal["classes", "value", "labels"]

# The place of each modality in embedding tables. Append only: a stored encoder knows them by their
# place.
MODALITIES = (
    "unknown", "eeg", "ecg", "emg", "eog", "ppg", "resp", "eda", "motion", "temperature",
    "heart_rate", "pressure", "spo2", "impedance", "stim", "fmri", "accelerometer", "gyroscope",
    "magnetometer", "meg", "seeg", "ecog", "fnirs",
)  # fmt: skip
MODALITY_SLOTS = 32  # room for more, so that a longer list still fits stored encoders


def modality_slot(name: str) -> int:
    """Modalities that are not in the list share the first place; `motion@wrist` is motion."""
    name = name.partition("@")[0]
    return MODALITIES.index(name) if name in MODALITIES else 0


@dataclass(frozen=True)
class SignalContext:
    """What a window looks like: (n_chans, n_times) at sfreq, and what is predicted of it."""

    n_chans: int
    n_times: int
    sfreq: float
    n_outputs: int = 0  # classes, labels, or 1 of a value; 0: unlabelled
    modalities: tuple[str, ...] = ()  # one name per channel
    n_parts: int = 1  # 2: a pair, two windows of equal length one after the other
    streams: tuple[
        "SignalContext", ...
    ] = ()  # of a multi-rate set: each stream's own facts, the first as above
    n_segments: int = 1  # pieces of time that stand side by side as channels, those of one together
    padding: tuple[int, int] = (0, 0)  # samples at both ends that are no signal
    names: tuple[str, ...] = ()  # one per channel, as recorded; empty: unknown
    target: TargetKind = "classes"

    @property
    def seconds(self) -> float:
        return self.n_times / self.sfreq

    @property
    def parts(self) -> tuple["SignalContext", ...]:
        """The streams, or all channels as the one that there is."""
        return self.streams or (self,)

    @property
    def together(self) -> tuple[int, int]:
        """Channels and samples of a window that holds every stream: rows of slower ones end
        early."""
        return sum(part.n_chans for part in self.parts), max(part.n_times for part in self.parts)
