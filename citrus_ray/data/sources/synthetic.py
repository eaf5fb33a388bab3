"""Signals of known structure from a seed: rhythms, bursts, 1/f background, evoked shapes.

The class lives in the rhythm: every class has its own frequency, with random phase, waxing
amplitude and a different mix over channels in every window. It is weaker than the background, so a
few labels do not show it to a network; but it is the only thing that a masked stretch can be
predicted from, so self-supervision finds it. Bursts and evoked shapes carry no class: they are what
a network that memorises its few windows latches on to.
"""

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from citrus_ray.context import TargetKind
from citrus_ray.data.source import Count, Handling, Normalize, Positive, Source, refuse_too_many
from citrus_ray.data.windowing.disk import DiskArray
from citrus_ray.data.windowing.normalize import zscore
from citrus_ray.data.windows import Targets, Windows
from citrus_ray.spec import Later

Rng = np.random.Generator


class Synthetic(Source):
    """Windows of `n_subjects` subjects, classes balanced within every one."""

    cutting = frozenset({"n_subjects", "normalize"})
    kind: Literal["synthetic"] = "synthetic"
    """Synthetic windows whose class is a rhythm."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Draws the subjects."""
    n_subjects: Count = 24
    """Subjects, each a group."""
    windows_per_subject: Count = 40
    """Windows of each subject, classes balanced."""
    n_chans: Count = 4
    """Channels."""
    sfreq: Positive = 100.0
    """Rate in Hz."""
    seconds: Positive = 2.56
    """Length of a window in s."""
    rhythms: Annotated[tuple[float, ...], Field(min_length=2)] = (6.0, 9.0, 13.0, 19.0)
    """Frequencies in Hz, a class each."""
    rhythm_gain: Annotated[float, Field(ge=0)] = 0.5
    """Rhythm over background, as amplitudes."""
    normalize: Normalize = "window"
    """z-score each window, or not at all."""
    target: Annotated[TargetKind, Later()] = "classes"
    """classes: which of the rhythms there is; value: its frequency in Hz, anywhere between the
    least and the greatest of them; labels: which of them there are, any at once."""

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        if len(set(self.rhythms)) < len(self.rhythms) or not min(self.rhythms) > 0:
            rule = "must be frequencies above 0, each another one, and a class each"
            raise ValueError(f"rhythms={list(self.rhythms)}: {rule}")
        if max(self.rhythms) >= self.sfreq / 2:
            rule = f"must lie below half the rate, {self.sfreq / 2:g} Hz; lower them or raise sfreq"
            raise ValueError(f"rhythms={list(self.rhythms)}: {rule}")
        n = self.n_subjects * self.windows_per_subject * self.n_chans
        refuse_too_many(n * self.seconds * self.sfreq)
        return self

    @property
    def n_times(self) -> int:
        return round(self.seconds * self.sfreq)

    @property
    def target_kind(self) -> TargetKind:
        return self.target

    def handling(self) -> Handling:
        return Handling(self.normalize)

    def prepare(self) -> Windows:
        labels = list[Targets]()
        # one subject in memory at a time: a spec may ask for many
        with DiskArray((self.n_chans, self.n_times)) as found:
            for i in range(self.n_subjects):
                x, y = self._subject(i)
                x = x.astype(np.float32)
                found.add(zscore(x) if self.normalize == "window" else x)
                labels.append(y)
            windows = found.array()  # (n, C, T)
        return Windows(
            x=windows,
            y=np.concatenate(labels),
            group=np.repeat(np.arange(self.n_subjects), self.windows_per_subject),
            sfreq=self.sfreq,
            ch_names=tuple(f"syn{c}" for c in range(self.n_chans)),
            modalities=("eeg",) * self.n_chans,
            groups=tuple(f"subject{i:02d}" for i in range(self.n_subjects)),
            classes=() if self.target == "value" else tuple(f"{hz:g} Hz" for hz in self.rhythms),
            digest=self.digest(),
            target=self.target,
        )

    def _subject(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Windows and labels of a subject, whose background, rhythm shift and gain are its own."""
        rng = np.random.default_rng([self.seed, i])
        n = self.windows_per_subject
        shape = (n, self.n_chans, self.n_times)
        y: Targets
        if self.target == "labels":
            return self._of_labels(rng, shape)
        if self.target == "value":
            y = rng.uniform(min(self.rhythms), max(self.rhythms), n)
        else:
            y = rng.permutation(np.arange(n) % len(self.rhythms)).astype(np.int64)
        x = coloured_noise(rng, shape, self.sfreq, exponent=rng.uniform(0.8, 1.4))
        hz = y if self.target == "value" else np.asarray(self.rhythms)[y]
        hz = hz * rng.uniform(0.95, 1.05)
        x += self.rhythm_gain * self._rhythm(rng, hz)
        x += self._bursts(rng, shape) + self._evoked(rng, shape)
        return x * rng.lognormal(0.0, 0.3), y

    def _of_labels(self, rng: Rng, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Windows in which each rhythm is or is not, whatever the others are."""
        y = (rng.random((shape[0], len(self.rhythms))) < 0.4).astype(np.int64)
        x = coloured_noise(rng, shape, self.sfreq, exponent=rng.uniform(0.8, 1.4))
        for k, hz in enumerate(np.asarray(self.rhythms) * rng.uniform(0.95, 1.05)):
            there = y[:, k, None, None]
            x += self.rhythm_gain * there * self._rhythm(rng, np.full(shape[0], hz))
        x += self._bursts(rng, shape) + self._evoked(rng, shape)
        return x * rng.lognormal(0.0, 0.3), y

    def _rhythm(self, rng: Rng, hz: np.ndarray) -> np.ndarray:
        """A waxing oscillation per window, mixed into channels with random sign and phase lag."""
        n, t = len(hz), np.arange(self.n_times) / self.sfreq
        phase = rng.uniform(0, 2 * np.pi, (n, 1, 1)) + rng.normal(0, 0.6, (n, self.n_chans, 1))
        slow = 2 * np.pi * rng.uniform(0.2, 0.6, (n, 1, 1)) * t
        waxing = 1 + 0.5 * np.sin(slow + rng.uniform(0, 6.28, (n, 1, 1)))
        gain = rng.uniform(0.5, 1.5, (n, self.n_chans, 1))
        return np.asarray(gain * waxing * np.sin(2 * np.pi * hz[:, None, None] * t + phase))

    def _bursts(self, rng: Rng, shape: tuple[int, int, int]) -> np.ndarray:
        """Short 25 to 35 Hz packets at random times in about every other window."""
        n, n_chans, n_times = shape
        t = np.arange(n_times) / self.sfreq
        centre = rng.uniform(0, self.seconds, (n, 1, 1))
        envelope = np.exp(-0.5 * ((t - centre) / 0.08) ** 2)
        packet = envelope * np.sin(2 * np.pi * rng.uniform(25, 35, (n, 1, 1)) * t)
        there = rng.random((n, 1, 1)) < 0.5
        return np.asarray(there * rng.uniform(0.5, 2.0, (n, n_chans, 1)) * packet)

    def _evoked(self, rng: Rng, shape: tuple[int, int, int]) -> np.ndarray:
        """A slow biphasic wave, as after a stimulus, at a random time."""
        n, n_chans, n_times = shape
        t = np.arange(n_times) / self.sfreq
        since = (t - rng.uniform(0, self.seconds, (n, 1, 1))) / 0.15
        return np.asarray(rng.normal(0, 1.0, (n, n_chans, 1)) * since * np.exp(-0.5 * since**2))


def coloured_noise(rng: Rng, shape: tuple[int, ...], sfreq: float, exponent: float) -> np.ndarray:
    """Noise whose power falls as 1/f**exponent, unit variance."""
    n_times = shape[-1]
    hz = np.fft.rfftfreq(n_times, 1 / sfreq)
    amplitude = np.concatenate([[0.0], hz[1:] ** (-exponent / 2)])
    size = (*shape[:-1], len(hz))
    spectrum = amplitude * (rng.normal(size=size) + 1j * rng.normal(size=size))
    x = np.fft.irfft(spectrum, n=n_times)
    return np.asarray(x / x.std())
