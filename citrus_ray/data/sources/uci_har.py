"""UCI HAR (Anguita et al. 2013): a phone at the waist of 30 subjects, six activities, 128-sample
windows at 50 Hz.

The published folders `train` and `test` are pooled: here, as for every set, the parts are drawn by
subject.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from citrus_ray.data.faults import AGAIN, broken
from citrus_ray.data.formats.digests import refuse_copies, sealed_digest
from citrus_ray.data.originals import Original, RemoteFile
from citrus_ray.data.root import Root, folder_of
from citrus_ray.data.source import Handling, Source
from citrus_ray.data.windowing.normalize import zscore
from citrus_ray.data.windows import Index, Signal, Windows
from citrus_ray.spec import Problem, SpecError, digest_of

PARTS = ("train", "test")
ACTIVITIES = ("WALKING", "WALKING_UPSTAIRS", "WALKING_DOWNSTAIRS", "SITTING", "STANDING", "LAYING")
N_TIMES = 128
ORIGINAL = Original(
    name="uci_har",
    base_url="https://archive.ics.uci.edu/static/public/240/",
    page="https://archive.ics.uci.edu/dataset/240/human+activity+recognition+using+smartphones",
    files=(
        RemoteFile(
            "human+activity+recognition+using+smartphones.zip",
            # UCI publishes none; a dozen public repositories that fetched it agree on this
            "c00b803081a5c797cd5e4b83700a9810b38d53d9d84e01917e090e1fdbc81031",
            61_005_872,
        ),
    ),
    holds="motion; 30 subjects; 6 classes; 50 Hz; 7.3 h",
    licence="CC BY 4.0",
    citation="Anguita D et al. A public domain dataset for human activity recognition using "
    "smartphones. ESANN (2013).",
    archive="zip",
)


class UciHar(Source):
    """Three axes of each of `signals`, as published: acceleration in g, rotation in rad/s."""

    kind: Literal["uci_har"] = "uci_har"
    """UCI HAR: six activities, a phone at the waist of 30 subjects."""
    root: Root = None
    """The folder `UCI HAR Dataset`, or the one that holds it."""
    signals: Annotated[
        tuple[Literal["total_acc", "body_acc", "body_gyro"], ...], Field(min_length=1)
    ] = ("total_acc", "body_gyro")
    """Signals, three axes of each: acceleration in g, rotation in rad/s."""
    normalize: Literal["none", "window"] = "none"
    """z-score each window or not; gravity, which tells lying from sitting, goes with its mean."""

    @property
    def ch_names(self) -> tuple[str, ...]:
        return tuple(f"{signal}_{axis}" for signal in self.signals for axis in "xyz")

    def _files(self, part: str) -> list[Path]:
        """Subjects, activities, and a file per channel, of `train` or `test`."""
        folder = folder_of(self.root, self.kind)
        inside = folder / "UCI HAR Dataset"
        folder = (inside if inside.is_dir() else folder) / part
        signals = [folder / "Inertial Signals" / f"{name}_{part}.txt" for name in self.ch_names]
        return [folder / f"subject_{part}.txt", folder / f"y_{part}.txt", *signals]

    def content(self) -> str:
        self._check_there()
        return digest_of([sealed_digest(path) for part in PARTS for path in self._files(part)])

    def check(self) -> None:
        self._check_there()
        refuse_copies(path for part in PARTS for path in self._files(part)[2:])
        for part in PARTS:
            self._subjects_and_activities(part)

    def _check_there(self) -> None:
        gone = [path for part in PARTS for path in self._files(part) if not path.is_file()]
        if gone:
            rule = "there is no such file; unpack the whole of the archive, or correct `root`"
            raise SpecError([Problem("root", rule, str(path)) for path in gone])

    def _subjects_and_activities(self, part: str) -> tuple[Index, Index]:
        """Subject and activity of each window, (n,) and (n,)."""
        subjects, activities = self._files(part)[:2]
        group = _numbers(subjects, range(1, 31))
        y = _numbers(activities, range(1, len(ACTIVITIES) + 1))
        if len(group) != len(y):
            rule = f"holds {len(y)} lines, but {subjects.name} {len(group)}"
            raise broken(activities, f"{rule}; {AGAIN}")
        return group, y

    def handling(self) -> Handling:
        return Handling(self.normalize)

    def prepare(self) -> Windows:
        self.check()  # in memory after that: 10,299 windows of 9 channels are 47 MB
        found = [self._subjects_and_activities(part) for part in PARTS]
        parts = zip(PARTS, found, strict=True)
        x = np.concatenate([self._signals(part, len(y)) for part, (_, y) in parts])
        subject, activity = (np.concatenate(of) for of in zip(*found, strict=True))
        subjects, group = np.unique(subject, return_inverse=True)
        activities, y = np.unique(activity, return_inverse=True)
        gone = [name for k, name in enumerate(ACTIVITIES, start=1) if k not in activities]
        return Windows(
            x=zscore(x) if self.normalize == "window" else x,
            y=y.astype(np.int64),
            group=group.astype(np.int64),
            sfreq=50.0,
            ch_names=self.ch_names,
            modalities=("motion",) * len(self.ch_names),
            groups=tuple(f"subject{n:02d}" for n in subjects),
            classes=tuple(ACTIVITIES[k - 1] for k in activities),
            caveats=(
                "windows overlap the one before by half, as published, so they are not independent",
                *(f"no window of class {name}" for name in gone),
            ),
            digest=self.digest(),
        )

    def _signals(self, part: str, n: int) -> Signal:
        """(n, C, T) of `train` or `test`."""
        subjects, _, *signals = self._files(part)
        x = [_windows(path) for path in signals]
        for path, found in zip(signals, x, strict=True):
            if len(found) != n:
                raise broken(path, f"holds {len(found)} windows, but {subjects.name} {n}; {AGAIN}")
        return np.stack(x, axis=1)  # C times (n, T) -> (n, C, T)


def _windows(path: Path) -> Signal:
    """Windows (n, T) of a file, one per line."""
    try:
        x = np.loadtxt(path, dtype=np.float32, ndmin=2)
    except ValueError as err:
        said = str(err).partition(";")[0]
        raise broken(path, f"is no table of numbers: {said}; {AGAIN}") from None
    if x.size and x.shape[1] != N_TIMES:
        rule = f"holds windows of {x.shape[1]} samples, but {N_TIMES} were published"
        raise broken(path, f"{rule}; {AGAIN}")
    if not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0]) + 1
        raise broken(path, f"holds a sample that is no number; {AGAIN}", line=row)
    return x


def _numbers(path: Path, known: Sequence[int]) -> Index:
    """Whole numbers of a file, one per line, each of them `known`."""
    out = []
    for line, text in enumerate(path.read_text("latin-1").split("\n"), start=1):
        word = text.strip()
        if word and not (word.isdecimal() and int(word) in known):
            rule = f"{word[:20]!r} must be a number from {known[0]} to {known[-1]}; {AGAIN}"
            raise broken(path, rule, line=line)
        if word:
            out.append(int(word))
    if not out:
        raise broken(path, f"is empty; {AGAIN}")
    return np.array(out, dtype=np.int64)
