"""Windows as a network sees them: on one scale, with what is absent marked or filled in.

Most encoders read one stream and know nothing of absent channels: these are zeros to them. One that
is `multimodal` gets the channels of all streams in one array, rows of slower streams ending early,
and NaN where there is nothing.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from citrus_ray.data.windowing.normalize import Scale
from citrus_ray.data.windows import Index, Signal, Windows

MANY = 5  # modalities: 30 choices of what is missing


@dataclass(frozen=True)
class View:
    """A view of windows: which arrays, on which scales, and what stands for what is absent."""

    arrays: tuple[Signal, ...]  # (n, C, T) of each stream that is looked at
    scales: tuple[Scale, ...]  # from training windows alone
    modalities: tuple[str, ...]  # of the rows
    multimodal: bool

    @classmethod
    def of(cls, windows: Windows, train: Index, multimodal: bool) -> "View":
        arrays = _arrays(windows, multimodal)
        return cls.on(windows, [Scale.of(x, train) for x in arrays], multimodal)

    @classmethod
    def on(cls, windows: Windows, scales: Sequence[Scale], multimodal: bool) -> "View":
        """The same of other windows than those that the scales were taken from."""
        streams = windows.streams if multimodal else ()
        modalities = tuple(name for stream in streams for name in stream.modalities)
        modalities = modalities or windows.modalities
        return cls(_arrays(windows, multimodal), tuple(scales), modalities, multimodal)

    @property
    def blank(self) -> float:
        """What stands where nothing was recorded."""
        return float("nan") if self.multimodal else 0.0

    def __call__(self, index: Index) -> Signal:
        """Windows at `index`, (B, C, T)."""
        parts = [scale(x[index]) for x, scale in zip(self.arrays, self.scales, strict=True)]
        x = parts[0] if len(parts) == 1 else _together(parts)
        # a channel is absent for all of a window
        whole = self.multimodal or not np.isnan(x[..., 0]).any()
        return x if whole else filled(x)

    @property
    def names(self) -> list[str]:
        """The modalities, each once."""
        return sorted(set(self.modalities))

    def drawn(self, n: int, share: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
        """Channels that go, (n, C): of each window each modality by chance `share`, never all."""
        gone = rng.random((n, len(self.names))) < share
        stays = rng.integers(len(self.names), size=n)
        gone[np.arange(n), stays] &= ~gone.all(axis=1)
        return gone[:, [self.names.index(name) for name in self.modalities]]

    def without(self, x: Signal, missing: Sequence[str]) -> Signal:
        """The same windows, had these modalities not been recorded."""
        gone = np.isin(self.modalities, list(missing))
        return np.where(gone[:, None], np.float32(self.blank), x)


def _arrays(windows: Windows, multimodal: bool) -> tuple[Signal, ...]:
    streams = windows.streams if multimodal else ()
    return tuple(stream.x for stream in streams) or (windows.x,)


def filled(x: Signal) -> Signal:
    """Zeros for what is absent: the mean of a channel that has been scaled."""
    return np.nan_to_num(x) if np.isnan(x).any() else x


def _together(parts: Sequence[Signal]) -> Signal:
    """(B, C1, T1), (B, C2, T2), … -> (B, C1 + C2 + …, longest)."""
    longest = max(part.shape[-1] for part in parts)
    short = [(part, longest - part.shape[-1]) for part in parts]
    wide = [np.pad(x, ((0, 0), (0, 0), (0, n)), constant_values=np.nan) for x, n in short]
    return np.concatenate(wide, axis=1)


def fewer(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Choices of what may be missing, never all; of more than `MANY` names, one or all but one."""
    sizes = range(1, len(names)) if len(names) <= MANY else (1, len(names) - 1)
    return [missing for size in sizes for missing in itertools.combinations(names, size)]
