"""Recordings of made people, and one of them once more in disguise, as another group."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.signal import decimate, lfilter

from citrus_ray.data.sources.files import Files
from citrus_ray.data.windowing.contents import Contents
from citrus_ray.data.windowing.disguises import Disguise
from tests.data.people import files

SFREQ, SECONDS, N_CHANS = 100.0, 32.0, 3
DATA = Path(os.environ.get("CITRUS_DATA") or Path(__file__).resolve().parents[3] / "shared/data")
Rng = np.random.Generator


def brain(rng: Rng) -> np.ndarray:
    """Noise that falls with frequency, and a rhythm that comes and goes; channels have a part in
    common, as electrodes do."""
    n = int(SECONDS * SFREQ)
    slow = lfilter([1], [1, -0.97], rng.normal(size=(N_CHANS + 1, n)))
    swell = np.abs(lfilter([0.02], [1, -0.98], rng.normal(size=n)))
    alpha = 60 * swell * np.sin(2 * np.pi * np.cumsum(rng.normal(10, 1, n)) / SFREQ)
    return np.asarray(slow[:-1] + 0.7 * slow[-1] + alpha)


def heart(rng: Rng) -> np.ndarray:
    """Pulses of one form at times that vary a little, over a line that wanders."""
    n, t = int(SECONDS * SFREQ), np.arange(-20, 40) / SFREQ
    beats = np.cumsum(rng.normal(rng.uniform(0.6, 1.1), 0.04, 60))
    train = np.zeros(n)
    train[(beats[beats < SECONDS] * SFREQ).astype(int)] = 1
    wave = np.exp(-((t / 0.02) ** 2)) + 0.25 * np.exp(-(((t - 0.25) / 0.05) ** 2))
    lead = np.convolve(train, wave)[:n]
    gains, wander = (
        rng.uniform(0.5, 1.5, (N_CHANS, 1)),
        lfilter([1], [1, -0.999], rng.normal(size=n)),
    )
    return np.asarray(gains * lead + 0.003 * wander + 0.02 * rng.normal(size=(N_CHANS, n)))


def muscle(rng: Rng) -> np.ndarray:
    """White noise in bursts."""
    n = int(SECONDS * SFREQ)
    burst = np.repeat(rng.uniform(0.3, 3, (N_CHANS, 32)), n // 32, axis=1)
    return burst * rng.normal(size=(N_CHANS, n))


def movement(rng: Rng) -> np.ndarray:
    """Smooth steps that are never quite alike, on top of gravity."""
    n = int(SECONDS * SFREQ)
    steps = 2 * np.pi * np.cumsum(rng.normal(1.8, 0.4, n)) / SFREQ
    wide = lfilter(np.ones(10) / 10, [1], 3 * rng.normal(size=(N_CHANS, n)))
    phases, gravity = rng.uniform(0, 6, (N_CHANS, 1)), rng.normal(0, 9.8, (N_CHANS, 1))
    return np.asarray(gravity + 2 * np.sin(steps + phases) + np.sin(2 * steps) + wide)


SIGNALS: dict[str, Callable[[Rng], np.ndarray]] = {
    "brain": brain,
    "heart": heart,
    "muscle": muscle,
    "movement": movement,
}


def _noisy(x: np.ndarray, rng: Rng, share: float) -> np.ndarray:
    return np.asarray(x + share * x.std(axis=1, keepdims=True) * rng.normal(size=x.shape))


def _half(x: np.ndarray, rng: Rng) -> np.ndarray:
    """The second half, from any sample on, and then as much of somebody else."""
    first = x.shape[1] // 2 - int(rng.integers(8))
    return np.concatenate([x[:, first:], x[:, ::-1][:, :first]], axis=1)


Change = Callable[[np.ndarray, Rng], np.ndarray]
# the same in other words: refused as a copy to the byte is
SAME: dict[str, Change] = {
    "scaled and shifted": lambda x, rng: -7 + 0.31 * x,
    "turned over": lambda x, rng: -1.7 * x,
    "channels swapped": lambda x, rng: np.roll(x, 1, axis=0) * [[-1], [2], [0.5]][: len(x)],
    "overlapping by half": lambda x, rng: -_half(x, rng),
}
# much alike: a caveat at least
NEAR: dict[str, Change] = {"with a little noise": lambda x, rng: _noisy(-2 * x, rng, 0.02)}
RATE_HALVED = "at half the rate"
MORE: dict[str, Change] = {
    RATE_HALVED: lambda x, rng: np.asarray(decimate(-x, 2, axis=1)),
    "with more noise": lambda x, rng: _noisy(x, rng, 0.05),
    "half of it, noisy, swapped": lambda x, rng: _noisy(
        _half(np.roll(x, 1, axis=0), rng), rng, 0.01
    ),
}


def write(path: Path, x: np.ndarray, sfreq: float) -> None:
    """A recording of whole numbers of 16 bits, as a converter gives them."""
    x = x - x.mean(axis=1, keepdims=True)
    scale = np.abs(x).max() / 30_000
    names = [f"c{i}" for i in range(len(x))]
    held = {"x": np.round(x / scale).astype(np.int16), "modality": ["eeg"] * len(x)}
    np.savez(path, scale=scale, sfreq=sfreq, ch_names=names, **held)


def recorded(root: Path, people: list[np.ndarray], copy: np.ndarray | None, rate: float) -> Files:
    """Windows of people at SFREQ, each a group, and of one called `copy` at a rate of its own."""
    for i, x in enumerate(people):
        write(root / f"p{i}.npz", x, SFREQ)
    if copy is not None:
        write(root / "copy.npz", copy, rate)
    return files(root, labels=None, seconds=4.0, sfreq=SFREQ, normalize="none")


def pairs_in(source: Files) -> dict[tuple[str, str], Disguise | None]:
    """Names of groups that are found to hold the same, or nearly the same."""
    windows = source.prepare()
    contents = Contents.of(windows)
    same = contents.matches_with(contents)
    found = same | contents.disguises_in(contents, {*same})
    named = {(windows.groups[a], windows.groups[b]): how for (a, b), how in found.items()}
    return {(a, b): how for (a, b), how in named.items() if a < b}
