"""Recordings that are somebody else's in disguise, made or from the sets under $CITRUS_DATA, among
others; and as often none: whoever is found, and no one else."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.data.disguises import (
    DATA,
    MORE,
    NEAR,
    RATE_HALVED,
    SAME,
    SECONDS,
    SFREQ,
    SIGNALS,
    Rng,
    pairs_in,
    recorded,
)
from tests.fuzz.attack import Attack, Verdict, tried

CHANGES = SAME | NEAR | MORE
NO_COPY = "no copy"
REAL = (
    "eegmat",
    "mitbih36",
    "cinc2017",
    "emg_gestures36",
    "sisfall",
    "stress_predict",
    "uci_eeg_alcohol",
)


def attacks(n: int, seed: int) -> Iterator[Attack]:
    kinds = [*SIGNALS, *(name for name in REAL if (DATA / name).is_dir())]
    every = [(kind, change) for change in (*CHANGES, NO_COPY) for kind in kinds]
    for i in range(seed, seed + n):
        kind, change = every[i % len(every)]
        rng = np.random.default_rng([i, 20261201])
        yield tried(change, lambda kind=kind, change=change, rng=rng: _verdict(kind, change, rng))  # type: ignore[misc]


def _verdict(kind: str, change: str, rng: Rng) -> tuple[Verdict, str]:
    people = [SIGNALS[kind](rng) for _ in range(6)] if kind in SIGNALS else _real(kind, rng)
    who = int(rng.integers(len(people)))
    copy = CHANGES[change](people[who], rng) if change in CHANGES else None
    rate = SFREQ / 2 if change == RATE_HALVED else SFREQ
    with tempfile.TemporaryDirectory() as root:
        found = pairs_in(recorded(Path(root), people, copy, rate))
    wanted = [] if copy is None else [("copy", f"p{who}")]
    said = f"{kind}: found {found}, there {wanted}"
    if [*found] != wanted:
        return "silent", said
    return ("said" if wanted else "harmless"), said


def _real(name: str, rng: Rng) -> list[np.ndarray]:
    """Stretches of six recordings of a set, as if all were sampled at SFREQ."""
    paths = sorted((DATA / name / "recordings").glob("*.npz"))
    out, n = list[np.ndarray](), int(SECONDS * SFREQ)
    for i in rng.permutation(len(paths)):
        with np.load(paths[i]) as held:
            x = np.atleast_2d(held["x"] if "x" in held else held[f"x_{held['streams'][0]}"])
        x = x[rng.permutation(len(x))[:3]].astype(np.float64)
        first = int(rng.integers(max(1, x.shape[1] - n)))
        if x.shape[1] >= n // 2 and (x.std(axis=1) > 0).all():
            out.append(x[:, first : first + n])
        if len(out) == 6:
            break
    n_chans = min(len(x) for x in out)
    return [x[:n_chans] for x in out]
