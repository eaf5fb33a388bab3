"""Sensors of one body from a seed, in which the class lives in what they have in common.

A letter is a jump that dies away: upwards or downwards, forwards or backwards in time. All four
have one magnitude spectrum, so no power in any band tells them apart. Every sensor has its own way
of showing each letter. A window holds two of them in every sensor, at any time: one that all
sensors share, the class, and one that is the sensor's own. Where both are of equal strength (`own:
1`) a single sensor cannot tell which of its two is shared; that several agree can.
"""

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from citrus_ray.context import MODALITIES
from citrus_ray.data.source import Count, Handling, Normalize, Positive, Source, refuse_too_many
from citrus_ray.data.windowing.disk import DiskArray
from citrus_ray.data.windowing.normalize import zscore
from citrus_ray.data.windows import Index, Signal, Stream, Windows

Rng = np.random.Generator
Amount = Annotated[float, Field(ge=0)]

# seeds how sensors show letters, so that sets of other seeds are other subjects of one kind
EVERYONE = 20240304
DECAY = 8.0  # of a letter, in samples of its sensor: what is left of it is divided by e


class SyntheticSensors(Source):
    """Windows of `n_subjects` subjects; a sensor for each of `rates`."""

    cutting = frozenset({"n_subjects", "absent", "normalize"})
    kind: Literal["synthetic_sensors"] = "synthetic_sensors"
    """Synthetic sensors of one body whose class is what they share."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Draws the subjects."""
    n_subjects: Count = 24
    """Subjects, each a group."""
    windows_per_subject: Count = 20
    """Windows of each subject."""
    rates: Annotated[tuple[Positive, ...], Field(min_length=2, max_length=8)] = (64.0, 48.0, 32.0)
    """Rates in Hz, a sensor each."""
    seconds: Positive = 2.0
    """Length of a window in s."""
    letters: Annotated[int, Field(ge=2, le=4)] = 4
    """Letters, as many classes."""
    burst: Amount = 4.5
    """Height of a letter's jump."""
    own: Amount = 1.0
    """Strength of the letter that is a sensor's own, over that of the shared one."""
    rhythm: Amount = 0.3
    """Amplitude of a slow rhythm that is a sensor's own."""
    noise: Amount = 0.1
    """Standard deviation of white noise."""
    absent: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of subjects who lack one sensor."""
    normalize: Normalize = "window"
    """z-score each sensor over its window, or not at all."""

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        refuse_too_many(self.n_subjects * self.windows_per_subject * self.seconds * sum(self.rates))
        return self

    def n_times(self, sensor: int) -> int:
        return round(self.seconds * self.rates[sensor])

    def handling(self) -> Handling:
        return Handling(self.normalize, absent=self.absent > 0)

    def prepare(self) -> Windows:
        letters = [self._letters(i) for i in range(self.n_subjects)]
        streams = tuple(self._stream(m, letters) for m in range(len(self.rates)))
        return Windows(
            x=streams[0].x,
            y=np.concatenate([of[:, -1] for of in letters]),
            group=np.repeat(np.arange(self.n_subjects), self.windows_per_subject),
            sfreq=self.rates[0],
            ch_names=streams[0].ch_names,
            modalities=streams[0].modalities,
            groups=tuple(f"subject{i:02d}" for i in range(self.n_subjects)),
            classes=tuple(f"letter{k}" for k in range(self.letters)),
            digest=self.digest(),
            streams=streams,
        )

    def _letters(self, i: int) -> Index:
        """(n, M + 1): what each sensor has of its own, and in the last column what all share."""
        rng = np.random.default_rng([self.seed, i])
        shared = rng.permutation(np.arange(self.windows_per_subject) % self.letters)
        other = rng.integers(1, self.letters, (self.windows_per_subject, len(self.rates)))
        letters = [(shared[:, None] + other) % self.letters, shared[:, None]]
        return np.concatenate(letters, axis=1).astype(np.int64)

    def _stream(self, m: int, letters: list[Index]) -> Stream:
        name = MODALITIES[1 + m]
        with DiskArray((1, self.n_times(m))) as found:
            for i, of in enumerate(letters):
                found.add(self._signal(i, m, of))
            return Stream(name, found.array(), self.rates[m], (name,), (name,))

    def _signal(self, i: int, m: int, letters: Index) -> Signal:
        """Windows (n, 1, T) of a subject's sensor, NaN if it lacks it; letters decay at its own
        pace."""
        rng = np.random.default_rng([self.seed, i, m])
        n, n_times, warp = len(letters), self.n_times(m), rng.uniform(0.95, 1.05)
        shared, own = (self._burst(rng, letters[:, i], m, warp) for i in (-1, m))
        x = shared + self.own * own
        hz, phase = rng.uniform(0.01, 0.04, (n, 1)), rng.uniform(0, 2 * np.pi, (n, 1))
        x += self.rhythm * np.sin(2 * np.pi * hz * np.arange(n_times) + phase)
        noisy: Signal = (x + self.noise * rng.normal(size=(n, n_times)))[:, None].astype(np.float32)
        if self._lacks(i) == m:
            return np.full_like(noisy, np.nan)
        return zscore(noisy) if self.normalize == "window" else noisy

    def _burst(self, rng: Rng, letter: Index, m: int, warp: float) -> np.ndarray:
        """(n, T): the letter as the sensor shows it, at any time but the very ends."""
        n, n_times = len(letter), self.n_times(m)
        shown = np.random.default_rng([EVERYONE, m]).permutation(self.letters)[letter][:, None]
        upwards, forwards = 1 - 2 * (shown // 2), 1 - 2 * (shown % 2)
        jump = rng.uniform(0.15, 0.85, (n, 1)) * n_times
        since = (np.arange(n_times) - jump) * forwards
        shape = np.where(since >= 0, np.exp(-np.abs(since) / (DECAY * warp)), 0.0)
        return np.asarray(self.burst * rng.uniform(0.8, 1.2, (n, 1)) * upwards * shape)

    def _lacks(self, i: int) -> int:
        """The sensor that subject `i` does not have, -1: none."""
        rng = np.random.default_rng([self.seed, i, len(self.rates)])
        return int(rng.integers(len(self.rates))) if rng.random() < self.absent else -1
