"""NIfTI images as series of voxels or regions: shape and timing from headers, signals through a
mask."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from citrus_ray.data.faults import broken, unreadable
from citrus_ray.data.formats.signals import check_gzip
from citrus_ray.data.windows import Signal

SUFFIXES = (".nii", ".nii.gz")
SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


def is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


@dataclass(frozen=True)
class Image:
    """What the header of a series of volumes says."""

    path: Path
    space: tuple[int, ...]  # (X, Y, Z)
    n_volumes: int
    tr: float | None  # seconds from volume to volume; None where the header does not say


@dataclass(frozen=True)
class Mask:
    """Which voxels are channels, or of which region each is."""

    path: Path
    number: npt.NDArray[np.int64]  # (X, Y, Z); 0: outside
    regions: bool

    def check(self, image: Image) -> None:
        if self.number.shape != image.space:
            rule = f"is {self.number.shape} voxels, but {image.path.name} {image.space}"
            raise broken(self.path, f"{rule}; resample it to the images' space", "mask")

    def names(self) -> list[str]:
        if self.regions:
            return [f"region{n}" for n in np.unique(self.number[self.number != 0])]
        return ["v" + "_".join(map(str, where)) for where in np.argwhere(self.number != 0).tolist()]


def read_image(path: Path) -> Image:
    image = _load(path)
    if len(image.shape) != 4:
        rule = f"must hold volumes (X, Y, Z, time), but is {image.shape}"
        raise broken(path, f"{rule}; narrow `pattern` to the functional images", "pattern")
    unit = image.header.get_xyzt_units()[1]
    tr = float(image.header.get_zooms()[3]) * SECONDS.get(unit, 0.0)
    return Image(path, image.shape[:3], image.shape[3], tr if tr > 0 else None)


def read_mask(path: Path, regions: bool) -> Mask:
    image = _load(path)
    space = (*image.shape, 1, 1, 1)[:3]
    values = _values(path, image)
    if values.size != np.prod(space):
        rule = f"must be one volume, but is {image.shape}; give a mask, not the series"
        raise broken(path, rule, "mask")
    number = np.nan_to_num(values).reshape(space)
    if regions and (number != number.round()).any():
        rule = "must number the regions, but holds fractions; round it, or drop `regions`"
        raise broken(path, rule, "mask")
    if not number.any():
        raise broken(path, "has no voxel inside; give another mask", "mask")
    return Mask(path, (number.round() if regions else number != 0).astype(np.int64), regions)


def read_series(path: Path, mask: Mask) -> Signal:
    """(C, T): a voxel of the mask, or the mean of a region, in each row."""
    inside = mask.number != 0
    x: Signal = _values(path, _load(path))[inside].astype(np.float32)  # (X, Y, Z, T) -> (V, T)
    empty = int((~np.isfinite(x).all(axis=1)).sum())
    if empty:
        rule = f"{empty} voxels of the mask have no value at some time; tighten the mask"
        raise broken(path, rule, "mask")
    if not mask.regions:
        return x
    number = mask.number[inside]
    return np.stack([x[number == n].mean(axis=0) for n in np.unique(number)])  # (V, T) -> (R, T)


def _load(path: Path) -> Any:
    import nibabel  # a quarter of a second to import

    try:
        return nibabel.load(path)
    except Exception as err:  # a broken file can raise anything in the library that reads it
        raise unreadable(path, " as NIfTI", err) from None


def _values(path: Path, image: Any) -> npt.NDArray[Any]:
    try:
        check_gzip(path)
        return np.asanyarray(image.dataobj)
    except Exception as err:
        raise unreadable(path, "", err) from None
