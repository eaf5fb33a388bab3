"""Small files in published layouts: UCI HAR, UWave, BIDMC, and functional MRI. Every signal says
where it is from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from citrus_ray.data.sources.bidmc import Bidmc
from citrus_ray.data.sources.fmri import Fmri
from citrus_ray.data.sources.uci_har import ACTIVITIES, UciHar
from citrus_ray.data.sources.uwave import NAME, UWave


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# ---- UCI HAR ----


def uci_har(
    root: Path,
    subjects: Sequence[tuple[str, int]] = (("train", 1), ("train", 3), ("test", 2)),
    **edits: Any,
):
    """Each person shows every activity once, in order. Channel c of window k is noise around 10 * c
    + k."""
    for part in ("train", "test"):
        people = [n for where, n in subjects if where == part]
        k = len(people) * len(ACTIVITIES)
        folder = root / "UCI HAR Dataset" / part
        (folder / "Inertial Signals").mkdir(parents=True)
        _lines(folder / f"subject_{part}.txt", np.repeat(people, len(ACTIVITIES)))
        _lines(folder / f"y_{part}.txt", np.tile(np.arange(1, len(ACTIVITIES) + 1), len(people)))
        for c, name in enumerate(
            f"{signal}_{axis}" for signal in ("total_acc", "body_gyro") for axis in "xyz"
        ):
            x = noise(k, 128, seed=c) * 0.1
            x += 10 * c + np.arange(k)[:, None] - x.mean(axis=1, keepdims=True)
            # as published, less a digit
            rows = ["".join(f"{value:16.7e}" for value in row) for row in x]
            (folder / "Inertial Signals" / f"{name}_{part}.txt").write_text("\n".join(rows) + "\n")
    return UciHar(**({"root": str(root), "normalize": "window"} | edits))


def _lines(path: Path, values: np.ndarray) -> None:
    path.write_text("".join(f"{value}\n" for value in values))


# ---- UWave ----

TS = """\
#A gesture made with an accelerometer in the hand
@problemName {name}
@timeStamps false
@missing false
@univariate false
@dimensions 3
@equalLength true
@seriesLength {length}
@classLabel true 1.0 2.0 3.0 4.0 5.0 6.0 7.0 8.0
@data
"""
ARFF = """\
%A gesture made with an accelerometer in the hand
@relation {name}

@attribute relationalAtt relational
{numeric}
@end relationalAtt
@attribute classAtt {{1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0}}

@data
"""


def gestures(part: str, n: int = 16, length: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """(n, 3, T), rounded as it is written, and labels 1 to 8 in turn."""
    return noise(n, 3, length, seed=len(part)).round(4), np.arange(n) % 8 + 1


def uwave(root: Path, suffix: str = ".ts", **edits: Any) -> UWave:
    for part in ("TRAIN", "TEST"):
        x, y = gestures(part)
        if suffix == ".ts":
            rows = [
                ":".join([*map(_commas, axes), f"{label:.1f}"])
                for axes, label in zip(x, y, strict=True)
            ]
            head = TS.format(name=NAME, length=x.shape[2])
        else:
            rows = [
                "'" + "\\n".join(map(_commas, axes)) + f"',{label:.1f}"
                for axes, label in zip(x, y, strict=True)
            ]
            numeric = "\n".join(f"\t@attribute att{i} numeric" for i in range(x.shape[2]))
            head = ARFF.format(name=NAME, numeric=numeric)
        (root / f"{NAME}_{part}{suffix}").write_text(head + "\n".join(rows) + "\n")
    return UWave(**({"root": str(root)} | edits))


def _commas(values: np.ndarray) -> str:
    return ",".join(f"{value:.4f}" for value in values)


# ---- BIDMC ----

COLUMNS = ("RESP", "PLETH", "V", "AVR", "II")


def bidmc(
    root: Path, records: Sequence[int] = (1, 2), seconds: float = 20.0, **edits: Any
) -> Bidmc:
    (root / "bidmc_csv").mkdir(exist_ok=True)
    n = round(seconds * 125) + 1
    for record in records:
        lines = ["Time [s]," + ",".join(f" {name}" for name in COLUMNS)]
        x = ppg(n, record)
        lines += [
            f"{i / 125:.5g}," + ",".join(f"{value:.5f}" for value in row)
            for i, row in enumerate(x.T)
        ]
        (root / "bidmc_csv" / f"bidmc_{record:02d}_Signals.csv").write_text("\n".join(lines) + "\n")
    fields: dict[str, Any] = {"root": str(root), "seconds": 4.0}
    return Bidmc(**(fields | edits))


def ppg(n: int, record: int) -> np.ndarray:
    """(C, T), rounded as it is written."""
    return noise(len(COLUMNS), n, seed=record).round(5)


# ---- functional MRI ----

SPACE = (4, 3, 2)
INSIDE = (slice(1, 3), slice(0, 2), slice(0, 2))  # 8 voxels
TR = 2.0


def volumes(n: int, seed: int = 0) -> np.ndarray:
    """(X, Y, Z, T) of whole numbers, drifting."""
    x = 1000 + 100 * noise(*SPACE, n, seed=seed) + np.linspace(0, 500, n)
    return x.round().astype(np.int16)


def write_nifti(path: Path, x: np.ndarray, tr: float = TR, unit: str = "sec") -> None:
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(x, np.eye(4))
    if x.ndim == 4:
        image.header.set_zooms((3.0, 3.0, 3.0, tr))
    image.header.set_xyzt_units("mm", unit)
    nibabel.save(image, path)


def mask(value: int = 1) -> np.ndarray:
    inside = np.zeros(SPACE, np.int16)
    inside[INSIDE] = value
    return inside


def attributes(root: Path, n_runs: int = 3, per_label: int = 4, **edits: Any) -> Fmri:
    """PyMVPA: an image of all runs (rest, face, house, rest), `label run` for each volume."""
    labels = [label for label in ("rest", "face", "house", "rest") for _ in range(per_label)]
    lines = [f"{label} {run}" for run in range(n_runs) for label in labels]
    write_nifti(root / "bold.nii.gz", volumes(len(lines)))
    write_nifti(root / "mask.nii.gz", mask())
    (root / "attributes.txt").write_text("\n".join(lines) + "\n")
    fields = {
        "root": str(root),
        "pattern": "bold.nii.gz",
        "mask": "mask.nii.gz",
        "labels": "attributes.txt",
    }
    return Fmri(**(fields | edits))


def haxby(root: Path, **edits: Any) -> Fmri:
    """A subject of Haxby 2001: as above, under a first line that names the columns."""
    whole = attributes(root / "subj1")
    lines = (root / "subj1" / "attributes.txt").read_text()
    (root / "subj1" / "labels.txt").write_text("labels chunks\n" + lines)
    (root / "subj1" / "attributes.txt").unlink()
    (root / "subj1" / "mask.nii.gz").rename(root / "subj1" / "mask4_vt.nii.gz")
    names = {
        "pattern": "subj1/bold.nii.gz",
        "mask": "subj1/mask4_vt.nii.gz",
        "labels": "subj1/labels.txt",
    }
    return whole.at({"root": str(root)} | names | edits)


EVENTS = "onset\tduration\ttrial_type\n4.0\t8.0\tface\n14.0\t8.0\thouse\n"


def bids(
    root: Path,
    runs: Sequence[str] = ("sub-01/func/sub-01_run-1", "sub-02/func/sub-02_run-1"),
    **edits: Any,
) -> Fmri:
    """BIDS: an image for each run, events beside it."""
    for seed, run in enumerate(runs):
        write_nifti(root / f"{run}_bold.nii.gz", volumes(12, seed))
        (root / f"{run}_events.tsv").write_text(EVENTS)
    write_nifti(root / "mask.nii", mask())
    return Fmri(**({"root": str(root), "mask": "mask.nii", "labels": "events.tsv"} | edits))
