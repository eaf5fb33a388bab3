"""Facts that come from data and that models and tasks are built for. Choices live in specs, facts live here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SignalContext:
    """What a window looks like: (n_chans, n_times) at sfreq, and how many classes its labels have."""

    n_chans: int
    n_times: int
    sfreq: float
    n_classes: int = 0  # 0: unlabelled
    modalities: tuple[str, ...] = ()  # one name per channel

    @property
    def seconds(self) -> float:
        return self.n_times / self.sfreq
