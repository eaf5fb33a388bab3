"""Functional MRI as signals: voxels or regions are channels, volumes are samples, runs are groups.

Reads NIfTI images through a mask, or npz recordings in the layout of `kind: files`. Times of labels are rounded to
volumes. What motion correction, registration and filtering do is left to the programs made for it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from citrus_ray.data.assemble import assemble, gather
from citrus_ray.data.channels import alike, pick
from citrus_ray.data.cut import Cut, Pieces
from citrus_ray.data.events import Run, attributes, bids_events, table
from citrus_ray.data.formats import Channel, broken
from citrus_ray.data.labels import Segment, tidy, unknown
from citrus_ray.data.nifti import Mask, is_nifti, read_image, read_mask, read_series
from citrus_ray.data.recordings import file_digest, read, read_header
from citrus_ray.data.root import folder_at, place_at
from citrus_ray.data.source import Source, zscore
from citrus_ray.data.tracks import Track
from citrus_ray.data.windows import Signal, Windows
from citrus_ray.spec import Aside, Problem, SpecError, digest_of, refuse

Name = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0)]
Volumes = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Series:
    """One file, from its header and the labels."""

    path: Path
    channels: tuple[Channel, ...]
    tr: float
    runs: tuple[Run, ...]


class Fmri(Source):
    """Windows of `volumes` from the files that `pattern` matches under `root`."""

    kind: Literal["fmri"] = "fmri"
    root: Annotated[str, Field(min_length=1), Aside()]  # may hold ~ and $VARIABLES
    pattern: Name = "**/*_bold.nii.gz"  # relative to root: NIfTI images, or npz recordings
    mask: Name | None = None  # NIfTI relative to root: which voxels. Images need it, npz has none
    regions: bool = False  # the mask's numbers are regions, and a channel is the mean over one
    labels: Name | None = None  # .csv: as in `kind: files`; .txt: label and run of each volume; events.tsv: BIDS
    tr: Positive | None = None  # seconds from volume to volume, where a header is silent or wrong
    delay_s: Annotated[float, Field(ge=0)] = 0.0  # blood answers late: how much later labels begin and end
    classes: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None  # which labels, in this order
    volumes: Volumes = 1
    stride: Volumes | None = None  # volumes from window to window; `volumes` without: no overlap
    detrend: bool = True  # take the straight line out of what is normalised
    normalize_by: Literal["run", "scan", "none"] = "run"  # z-score each channel over its run, or over the whole file

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if self.labels is None and (self.classes or self.delay_s):
            raise ValueError(f"{'classes' if self.classes else 'delay_s'} has no effect without labels; give `labels:`")
        if self.labels is not None and not self.labels.endswith((".csv", ".txt", "events.tsv")):
            raise ValueError(f"labels={self.labels}: must be a .csv table, a .txt of attributes, or events.tsv")
        if self.regions and self.mask is None:
            raise ValueError("regions has no effect without a mask that numbers them; give `mask:`")
        return self

    # ---- where things are ----

    @property
    def _folder(self) -> Path:
        return folder_at(self.root)

    def _files(self) -> list[Path]:
        folder = self._folder
        paths = sorted(path for path in folder.glob(self.pattern) if path.is_file() and path != self._mask_path())
        if not paths:
            there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
            raise refuse(f"pattern={self.pattern} matches no file under {folder}, which holds {there}", "pattern")
        return paths

    def _mask_path(self) -> Path | None:
        return None if self.mask is None else self._there(self.mask, "mask")

    def _there(self, name: str, field: str) -> Path:
        path = self._folder / name
        if not path.is_file():
            raise broken(path, f"there is no such file; correct `{field}:`, it is relative to root", field)
        return path

    def _events(self, image: Path) -> Path:
        """BIDS: `…_bold.nii.gz` has `…_events.tsv` beside it."""
        path = image.with_name(_stem(image).removesuffix("_bold") + "_events.tsv")
        if not path.is_file():
            raise broken(path, f"there is no such file beside {image.name}; add it, or narrow `pattern`", "labels")
        return path

    def content(self) -> str:
        paths = [*self._files(), *filter(None, [self._mask_path()])]
        if self.labels and self.labels.endswith("events.tsv"):
            paths += [self._events(path) for path in self._files()]
        elif self.labels:
            paths.append(self._there(self.labels, "labels"))
        return digest_of(sorted((str(path.relative_to(self._folder)), file_digest(path)) for path in paths))

    def recordings(self) -> str:
        return str(place_at(self.root).resolve())

    # ---- checking ----

    def check(self) -> None:
        self._survey()

    def _survey(self) -> list[Series]:
        """Every file with its runs, from headers and labels; or everything that is wrong."""
        files, mask = self._files(), self._mask()
        if len(files) > 1 and self.labels and self.labels.endswith(".txt"):
            rule = f"labels={self.labels} is of one image, but pattern={self.pattern} matches {len(files)}"
            raise refuse(f"{rule}; narrow `pattern`, or give a .csv", "labels")
        found, problems = list[Series](), list[Problem]()
        for path in files:
            try:
                found.append(self._series(path, mask))
            except SpecError as err:
                problems += err.problems
        if not problems:
            problems += self._unlike(found)
        if problems:
            raise SpecError(tidy(problems))
        return [replace(series, runs=tuple(self._moved(run, series.tr) for run in series.runs)) for series in found]

    def _mask(self) -> Mask | None:
        return None if self.mask is None else read_mask(self._there(self.mask, "mask"), self.regions)

    def _series(self, path: Path, mask: Mask | None) -> Series:
        if is_nifti(path) != (mask is not None):
            rule = "is no image, so there is nothing to mask; drop `mask:`, or narrow `pattern`"
            if mask is None:
                rule = "is an image: say with `mask:` which of its voxels are channels"
            raise broken(path, rule, "mask")
        if mask is None:
            channels = pick(read_header(path), None, None, None)
            tr, n_volumes = self.tr or 1 / channels[0].sfreq, channels[0].n_times
        else:
            image = read_image(path)
            mask.check(image)
            tr, n_volumes = self.tr or image.tr or 0.0, image.n_volumes
            if not tr:
                raise broken(path, "its header does not say the time between volumes; give it in `tr:`", "tr")
            channels = tuple(Channel(name, 1 / tr, n_volumes, "fmri") for name in mask.names())
        return Series(path, channels, tr, tuple(self._runs(path, n_volumes, tr)))

    def _runs(self, path: Path, n_volumes: int, tr: float) -> Sequence[Run]:
        name = _stem(path).removesuffix("_bold")
        if self.labels is None:
            return [Run(name, 0, n_volumes, ())]
        if self.labels.endswith("events.tsv"):
            return [bids_events(self._events(path), Run(name, 0, n_volumes, ()), tr)]
        labels = self._there(self.labels, "labels")
        if labels.suffix == ".csv":
            names = [file.relative_to(self._folder).as_posix() for file in self._files()]
            return [table(labels, path.relative_to(self._folder).as_posix(), names, Run(name, 0, n_volumes, ()), tr)]
        return attributes(labels, path.name, n_volumes, tr)

    def _unlike(self, found: Sequence[Series]) -> Iterator[Problem]:
        """What keeps these files from being one set."""
        first = found[0]
        for series in found[1:]:
            if abs(series.tr / first.tr - 1) > 0.01:
                rule = f"has a volume every {series.tr:g} s, but {first.path.name} every {first.tr:g} s"
                yield Problem("tr", f"{rule}; narrow `pattern` to one of them", str(series.path))
        try:
            alike({series.path: series.channels for series in found}, units=False)
        except SpecError as err:
            yield from err.problems
        there = {segment.label for series in found for run in series.runs for segment in run.segments}
        yield from (unknown("classes", name, there) for name in self.classes or () if name not in there)

    def _moved(self, run: Run, tr: float) -> Run:
        """The wanted segments, later by the delay, and not beyond the end."""
        end = run.n_volumes * tr
        moved = [
            replace(s, start_s=s.start_s + self.delay_s, stop_s=min(s.stop_s + self.delay_s, end))
            for s in run.segments
            if self.classes is None or s.label in self.classes
        ]
        return replace(run, segments=tuple(s for s in moved if s.stop_s > s.start_s))

    # ---- cutting ----

    def prepare(self) -> Windows:
        found, mask = self._survey(), self._mask()
        cut = Cut(1 / found[0].tr, self.volumes, self.stride or self.volumes, "none", "drop")
        parts = (pieces for series in found for pieces in self._pieces(series, mask, cut))
        gathered = gather(parts, [Track(tuple(found[0].channels), cut.sfreq, cut.n_times)])
        # `.csv` names the groups itself
        caveat = "groups are runs, so one person may be on both sides of a split"
        said = () if self.labels and self.labels.endswith(".csv") else (caveat,)
        return assemble(cut, gathered, self._classes(found, gathered.origin), self.digest(), said)

    def _classes(self, found: Sequence[Series], origin: Sequence[Segment]) -> tuple[str, ...]:
        labels = {segment.label for series in found for run in series.runs for segment in run.segments}
        gone = sorted(labels - {segment.label for segment in origin})
        if gone:
            rule = f"volumes={self.volumes}: no window is left of {', '.join(gone)}"
            raise refuse(f"{rule}; take fewer volumes, or leave it out of `classes`", "volumes")
        return self.classes or tuple(sorted(labels))

    def _pieces(self, series: Series, mask: Mask | None, cut: Cut) -> Iterator[Pieces]:
        if mask is None:
            x = read(read_header(series.path), series.channels, series.channels[0].sfreq).x
        else:
            x = read_series(series.path, mask)
        x = self._clean(x) if self.normalize_by == "scan" else x
        for run in series.runs:
            part = x[:, run.first : run.first + run.n_volumes]  # (C, T) -> (C, T of the run)
            yield cut(self._clean(part) if self.normalize_by == "run" else part, run.wanted(bool(self.labels)))

    def _clean(self, x: Signal) -> Signal:
        """(C, T), each channel over all of its time."""
        return zscore(straightened(x) if self.detrend else x)


def straightened(x: Signal) -> Signal:
    """(C, T) less the straight line that fits each row best."""
    t = np.arange(x.shape[1]) - (x.shape[1] - 1) / 2
    centred = x - x.mean(axis=1, keepdims=True, dtype=np.float64)
    slope = centred @ t / max(float(t @ t), 1.0)  # (C,)
    return np.asarray(centred - slope[:, None] * t, dtype=np.float32)


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[0]
