"""Recordings of people, written under any folder, name and format: what a copy may look like."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from citrus_ray.data.sources.files import Files
from citrus_ray.data.tools.export import write
from citrus_ray.data.windowing.contents import Contents
from citrus_ray.data.windows import Windows

CHANS = ("Fz", "Cz", "ECG")
SFREQ = 100.0
SECONDS = 24.0


def signals(person: int, seconds: float = SECONDS) -> np.ndarray:
    """(C, T) of whole numbers, as a converter gives them: what this person's brain alone does."""
    rng = np.random.default_rng([20261130, person])
    n_times = round(seconds * SFREQ)
    x = 40 * np.sin(np.arange(n_times) * rng.uniform(0.05, 0.2, (len(CHANS), 1)))
    return np.round(x + 30 * rng.normal(size=x.shape))


def recordings(
    root: Path,
    people: Iterable[int] = range(8),
    name: str = "p{}.npz",
    group: str = "p{}",
    picks: slice = slice(None),
    part: slice = slice(None),
) -> Path:
    """A folder of recordings, and `labels.csv`: rest in the first half, move in the second."""
    root.mkdir(parents=True, exist_ok=True)
    rows = ["file,start_s,stop_s,label,group"]
    for person in people:
        x, path = signals(person)[picks, part], root / name.format(person)
        names, seconds = CHANS[picks], x.shape[1] / SFREQ
        if path.suffix == ".npz":
            held: dict[str, Any] = {"ch_names": names, "modality": ["eeg"] * len(x)}
            np.savez(path, x=x.astype(np.int16), scale=0.05, sfreq=SFREQ, **held)
        else:
            write(path, (0.05 * x).astype(np.float32), SFREQ, names, ["eeg"] * len(x))
        for label, start in (("rest", 0.0), ("move", seconds / 2)):
            rows.append(f"{path.name},{start},{start + seconds / 2},{label},{group.format(person)}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


def files(root: Path, **edits: Any) -> Files:
    fields: dict[str, Any] = {"root": str(root), "pattern": "*.npz", "seconds": 2.0, "sfreq": SFREQ}
    return Files(**(fields | {"labels": "labels.csv"} | edits))


def shared(one: Windows, other: Windows) -> set[tuple[str, str]]:
    """Names of the groups of two sets that hold some of the same samples."""
    pairs = Contents.of(one).shared_with(Contents.of(other))
    return {(one.groups[a], other.groups[b]) for a, b in pairs}
