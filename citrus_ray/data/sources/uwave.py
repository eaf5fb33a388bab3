"""uWave gestures (Liu et al. 2009) as the UEA archive has them: 440 gestures of 8 kinds, 3 axes of
acceleration.

Reads `.ts` (sktime) and `.arff` (Weka, the axes as a relation). TRAIN and TEST are pooled. Who made
a gesture is not in these files, so every window is a group of its own and a caveat says so.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from citrus_ray.data.faults import AGAIN, broken
from citrus_ray.data.formats.digests import refuse_copies, sealed_digest
from citrus_ray.data.originals import Original, RemoteFile
from citrus_ray.data.root import Root, folder_of
from citrus_ray.data.source import Handling, Source
from citrus_ray.data.windowing.normalize import zscore
from citrus_ray.data.windows import Signal, Windows
from citrus_ray.spec import digest_of

PARTS = ("TRAIN", "TEST")
SUFFIXES = (".ts", ".arff")
NAME = "UWaveGestureLibrary"
CAVEAT = "groups are single gestures: whose they are is not in the files"
CAVEAT += ", so people are on both sides of every split"
ORIGINAL = Original(
    name="uwave",
    base_url="https://www.timeseriesclassification.com/aeon-toolkit/",
    page="https://www.timeseriesclassification.com/description.php?Dataset=UWaveGestureLibrary",
    files=(RemoteFile(f"{NAME}.zip"),),
    holds="motion; 440 gestures; 8 classes; 100 Hz; 0.4 h",
    licence="none formal; for research, with citation",
    citation="Liu J et al. uWave: accelerometer-based personalized gesture recognition. "
    "PerCom (2009).",
    archive="zip",
)


class UWave(Source):
    """Windows of a whole gesture, 315 samples at 100 Hz."""

    kind: Literal["uwave"] = "uwave"
    """uWave: eight gestures, a window each."""
    root: Root = None
    """Folder with the `.ts` or `.arff` files."""
    normalize: Literal["none", "window"] = "window"
    """z-score each axis over its gesture, or not."""

    def _files(self) -> list[Path]:
        """TRAIN and TEST, both of one format."""
        folder = folder_of(self.root, self.kind)
        found = [[folder / f"{NAME}_{part}{suffix}" for part in PARTS] for suffix in SUFFIXES]
        there = [paths for paths in found if all(path.is_file() for path in paths)]
        if not there:
            wanted = " or ".join(f"{NAME}_{{TRAIN,TEST}}{suffix}" for suffix in SUFFIXES)
            rule = f"holds no {wanted}; correct `root`, or copy both files there"
            raise broken(folder, rule, "root")
        return there[0]

    def content(self) -> str:
        return digest_of([sealed_digest(path) for path in self._files()])

    def check(self) -> None:
        refuse_copies(self._files())

    def handling(self) -> Handling:
        return Handling(self.normalize)

    def prepare(self) -> Windows:
        self.check()  # in memory after that: 440 gestures are 1.7 MB
        parts = [_read(path) for path in self._files()]
        sizes, lengths = [len(x) for x, _ in parts], [x.shape[2] for x, _ in parts]
        if len(set(lengths)) > 1:
            train, test = self._files()
            rule = f"holds gestures of {lengths[1]} samples, but {train.name} of {lengths[0]}"
            raise broken(test, f"{rule}; copy both from one place")
        x, labels = (np.concatenate(of) for of in zip(*parts, strict=True))
        classes, y = np.unique(labels, return_inverse=True)
        groups = [f"{part}{i:03d}" for part, n in zip(PARTS, sizes, strict=True) for i in range(n)]
        return Windows(
            x=zscore(x) if self.normalize == "window" else x,
            y=y.astype(np.int64),
            group=np.arange(len(x)),
            sfreq=100.0,
            ch_names=("x", "y", "z"),
            modalities=("motion",) * 3,
            groups=tuple(groups),
            classes=tuple(str(name) for name in classes),
            caveats=(CAVEAT,),
            digest=self.digest(),
        )


def _read(path: Path) -> tuple[Signal, list[str]]:
    """(n, 3, T) and the label of each."""
    rows, labels = list[Signal](), list[str]()
    for line, dimensions, label in _cases(path):
        rows.append(_gesture(path, line, dimensions))
        labels.append(label)
        if rows[-1].shape != rows[0].shape:
            rule = f"is {rows[-1].shape[1]} samples long, but the first gesture {rows[0].shape[1]}"
            raise broken(path, f"{rule}; {AGAIN}", line=line)
    if not rows:
        raise broken(path, f"holds no gesture after `@data`; {AGAIN}")
    return np.stack(rows), labels


def _cases(path: Path) -> Iterator[tuple[int, list[str], str]]:
    """Line number, a text per dimension, and label of every line after `@data`."""
    lines = enumerate(path.read_text("latin-1").splitlines(), start=1)
    # leaves `lines` behind that line
    if not any(text.strip().lower() == "@data" for _, text in lines):
        raise broken(path, f"has no line `@data`, so it is no {path.suffix} file; {AGAIN}")
    for line, text in lines:
        text = text.strip()
        if not text or text[0] in "#%":
            continue
        if path.suffix == ".ts":
            signal, _, label = text.rpartition(":")
            yield line, signal.split(":"), _label(path, line, label)
        else:
            signal, _, label = text.rpartition(",")
            yield line, signal.strip("'\" ").split("\\n"), _label(path, line, label)


def _label(path: Path, line: int, text: str) -> str:
    label = text.strip("'\" ")
    try:
        number = float(label)
    except ValueError:
        number = -1.0
    if number not in range(1, 9):
        rule = f"its label is {label[:20]!r}, but must be a number from 1 to 8"
        raise broken(path, f"{rule}; is the line cut off? {AGAIN}", line=line)
    return f"{number:g}"


def _gesture(path: Path, line: int, dimensions: list[str]) -> Signal:
    """A gesture, (3, T)."""
    try:
        x = np.array([list(map(float, text.split(","))) for text in dimensions], dtype=np.float32)
    except ValueError as err:
        rule = "its axes differ in length" if "inhomogeneous" in str(err) else str(err)
        raise broken(path, f"{rule}; {AGAIN}", line=line) from None
    if len(x) != 3:
        raise broken(path, f"must hold 3 axes of numbers, but holds {len(x)}; {AGAIN}", line=line)
    if not np.isfinite(x).all():
        raise broken(path, f"holds a sample that is missing; {AGAIN}", line=line)
    return x
