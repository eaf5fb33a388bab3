"""Functional MRI as signals: voxels or regions are channels, volumes are samples, runs or
subjects are groups.

Reads NIfTI images through a mask, or npz recordings in the layout of `kind: files`. Times of labels
are rounded to volumes. What motion correction, registration and filtering do is left to the
programs made for it.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from citrus_ray.data.faults import broken, each, nothing_found, tidy, unknown
from citrus_ray.data.fingerprints import fingerprints_of
from citrus_ray.data.formats.channels import pick
from citrus_ray.data.formats.digests import content_of, file_fingerprints
from citrus_ray.data.formats.events import Run, attributes, bids_events, events_beside, table
from citrus_ray.data.formats.labels import Stretch
from citrus_ray.data.formats.nifti import Mask, is_nifti, read_image, read_mask, read_series
from citrus_ray.data.formats.recordings import read, read_header
from citrus_ray.data.formats.signals import Channel
from citrus_ray.data.formats.tracks import Track
from citrus_ray.data.formats.voxels import Layout, Voxels
from citrus_ray.data.originals import Original
from citrus_ray.data.root import folder_at
from citrus_ray.data.source import Count, Handling, Name, Names, Positive, Source
from citrus_ray.data.windowing.assemble import assemble, gather
from citrus_ray.data.windowing.cutting import Cutter, RecordingWindows
from citrus_ray.data.windowing.normalize import NormalizeBy, cleaned
from citrus_ray.data.windows import Signal, Windows
from citrus_ray.spec import Aside, Problem, SpecError, refuse

# Six subjects, a tarball each (0.3 GB): every one's mask is another, so each is a set of its own.
# The address and the names in the tarballs are those that PyMVPA documents and nilearn fetches;
# they were not tried when this was written.
ORIGINAL = Original(
    name="haxby",
    base_url="https://data.pymvpa.org/datasets/haxby2001/",
    page="http://www.pymvpa.org/datadb/haxby2001.html",
    sums="MD5SUMS",
    wanted=r"subj[1-6]-2010\.01\.14\.tar\.gz",
    holds="fmri; 6 subjects; 8 classes; 0.4 Hz; 6 h",
    licence="CC BY-SA 3.0",
    citation="Haxby JV et al. Science 293:2425-2430 (2001).",
    archive="tar.gz",
    kind="fmri",
    keys="pattern: subj1/bold.nii.gz, mask: subj1/mask4_vt.nii.gz, labels: subj1/labels.txt",
)


@dataclass(frozen=True)
class Series:
    """Series of one file, from its header and the labels."""

    path: Path
    channels: tuple[Channel, ...]
    tr: float
    runs: tuple[Run, ...]
    subject: str


class Fmri(Source):
    """Windows of `volumes` from the files that `pattern` matches under `root`."""

    kind: Literal["fmri"] = "fmri"
    """Functional MRI: NIfTI images through a mask, or npz recordings."""
    root: Annotated[str, Field(min_length=1), Aside()]
    """Folder of the files; may hold ~ and $VARIABLES."""
    pattern: Name = "**/*_bold.nii.gz"
    """Which files, relative to root: NIfTI images, or npz recordings."""
    mask: Name | None = None
    """NIfTI relative to root: which voxels; {subject} stands for each one's. npz has none."""
    regions: bool = False
    """The mask's numbers are regions, and a channel is the mean over one."""
    labels: Name | None = None
    """Relative to root. .csv: as in `kind: files`; .txt: label and run a line; events.tsv: BIDS."""
    subjects: Name = "(sub-[0-9A-Za-z]+)"
    """Regex whose one (…) finds the subject in a path; without match all are one."""
    group_by: Literal["run", "subject"] = "run"
    """What no split cuts; a .csv names the runs itself."""
    voxels: Voxels = "same"
    """Where subjects differ in them: refuse, pad with zeros, or give each columns of their own."""
    tr: Positive | None = None
    """Seconds from volume to volume, where a header is silent or wrong."""
    delay_s: Annotated[float, Field(ge=0)] = 0.0
    """Seconds by which labels begin and end later, as blood answers late."""
    classes: Names | None = None
    """Labels to use, in this order; all without."""
    labelled: bool = True
    """False: labels say where runs are, and windows go through all of each."""
    volumes: Count = 1
    """Volumes of a window."""
    stride: Count | None = None
    """Volumes from window to window; `volumes` without."""
    detrend: bool = True
    """Take the straight line out of what is normalised."""
    normalize_by: NormalizeBy = "run"
    """z-score each channel over its run, over all runs of a subject, or not at all."""

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        odd = "classes" if self.classes else "delay_s" if self.delay_s else ""
        if self.labels is None and odd:
            raise ValueError(f"{odd} has no effect without labels; give `labels:`")
        if not self.labelled and (self.labels is None or odd):
            rule = "has no effect where labelled=false or no labels are given"
            raise ValueError(f"{odd or 'labelled'} {rule}; drop it")
        if self.labels is not None and not self.labels.endswith((".csv", ".txt", "events.tsv")):
            rule = "must be a .csv table, a .txt of attributes, or events.tsv"
            raise ValueError(f"labels={self.labels}: {rule}")
        if self.regions and self.mask is None:
            raise ValueError("regions has no effect without a mask that numbers them; give `mask:`")
        if re.compile(self.subjects).groups != 1:
            rule = "must be a regex with one (…) around the name of the person"
            raise ValueError(f"subjects={self.subjects}: {rule}")
        return self

    @property
    def _uses_labels(self) -> bool:
        return self.labels is not None and self.labelled

    # ---- where things are ----

    @property
    def _folder(self) -> Path:
        return folder_at(self.root)

    def _files(self) -> list[Path]:
        found = [p for p in self._folder.glob(self.pattern) if p.is_file()]
        paths = sorted(path for path in found if path != self._mask_at(path))
        if not paths:
            rule = f"pattern={self.pattern} matches no file under {self._folder}, which holds "
            raise nothing_found(rule, self._folder, "pattern")
        return paths

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _subject(self, path: Path) -> str:
        found = re.search(self.subjects, self._name(path))
        return found.group(1) if found else ""

    def _mask_at(self, path: Path) -> Path | None:
        """Where the mask of an image must be."""
        if self.mask is None:
            return None
        return self._folder / self.mask.replace("{subject}", self._subject(path))

    def _mask_path(self, path: Path) -> Path | None:
        mask = self._mask_at(path)
        return mask and self._there(self._name(mask), "mask")

    def _there(self, name: str, field: str) -> Path:
        path = self._folder / name
        if not path.is_file():
            rule = f"there is no such file; correct `{field}:`, it is relative to root"
            raise broken(path, rule, field)
        return path

    def content(self) -> str:
        images = self._files()
        paths = [*images, *(mask for path in images if (mask := self._mask_path(path)))]
        if self.labels and self.labels.endswith("events.tsv"):
            paths += [events_beside(path, _stem(path), "bold") for path in images]
        elif self.labels:
            paths.append(self._there(self.labels, "labels"))
        return content_of(paths, self._folder)

    # ---- checking ----

    def check(self) -> None:
        self._survey()

    def _survey(self) -> list[Series]:
        """Every file with its runs, from headers and labels; or everything that is wrong."""
        files = self._files()
        if len(files) > 1 and self.labels and self.labels.endswith(".txt"):
            rule = f"labels={self.labels} is of one image"
            rule += f", but pattern={self.pattern} matches {len(files)}"
            raise refuse(f"{rule}; narrow `pattern`, or give a .csv", "labels")
        found = each(files, lambda path: self._series(path, self._mask(path)))
        problems = tidy(self._unlike(found))
        if problems:
            raise SpecError(problems)
        moved = [replace(s, runs=tuple(self._moved(run, s.tr) for run in s.runs)) for s in found]
        return sorted(moved, key=lambda series: series.subject)

    def _mask(self, path: Path) -> Mask | None:
        mask = self._mask_path(path)
        return None if mask is None else read_mask(mask, self.regions)

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
                rule = "its header does not say the time between volumes; give it in `tr:`"
                raise broken(path, rule, "tr")
            channels = tuple(Channel(name, 1 / tr, n_volumes, "fmri") for name in mask.names())
        runs = tuple(self._runs(path, n_volumes, tr))
        return Series(path, channels, tr, runs, self._subject(path))

    def _runs(self, path: Path, n_volumes: int, tr: float) -> Sequence[Run]:
        whole = Run(_stem(path).removesuffix("_bold"), 0, n_volumes, ())
        if self.labels is None:
            return [whole]
        if self.labels.endswith("events.tsv"):
            return [bids_events(events_beside(path, _stem(path), "bold"), whole, tr)]
        labels = self._there(self.labels, "labels")
        if labels.suffix == ".csv":
            names = [self._name(file) for file in self._files()]
            return [table(labels, self._name(path), names, whole, tr)]
        return attributes(labels, path.name, n_volumes, tr)

    def _unlike(self, found: Sequence[Series]) -> Iterator[Problem]:
        """What keeps these files from being one set."""
        first = found[0]
        for series in found[1:]:
            if abs(series.tr / first.tr - 1) > 0.01:
                rule = f"has a volume every {series.tr:g} s"
                rule += f", but {first.path.name} every {first.tr:g} s"
                yield Problem("tr", f"{rule}; narrow `pattern` to one of them", str(series.path))
        nameless = [series for series in found if not series.subject]
        if nameless and (self.group_by == "subject" or len(nameless) < len(found)):
            rule = f"subjects={self.subjects}: finds no person in {self._name(nameless[0].path)}"
            yield Problem("subjects", f"{rule}; correct the regex, or narrow `pattern`")
        yield from Layout.problems([(s.path, s.subject, s.channels) for s in found], self.voxels)
        there = _labels(found)
        yield from (unknown("classes", c, there) for c in self.classes or () if c not in there)

    def _moved(self, run: Run, tr: float) -> Run:
        """The wanted stretches, later by the delay, and not beyond the end."""
        end = run.n_volumes * tr
        moved = [
            replace(s, start_s=s.start_s + self.delay_s, stop_s=min(s.stop_s + self.delay_s, end))
            for s in run.stretches
            if self.classes is None or s.label in self.classes
        ]
        return replace(run, stretches=tuple(s for s in moved if s.stop_s > s.start_s))

    # ---- cutting ----

    def handling(self) -> Handling:
        if self.normalize_by == "scan":
            return Handling(of_windows="each scan is z-scored over all runs of its subject")
        if self.normalize_by == "none":
            return Handling()
        return Handling("recording", detrend=self.detrend)

    def prepare(self) -> Windows:
        found = self._survey()
        cut = Cutter(1 / found[0].tr, self.volumes, self.stride or self.volumes, "none", "drop")
        layout = Layout.of([(series.subject, series.channels) for series in found], self.voxels)
        track = Track(layout.channels, cut.sfreq, cut.n_times)
        gathered = gather(self._windows(found, layout, cut), [track])
        subject = np.unique([s.subject for s in found for _ in s.runs], return_inverse=True)[1]
        subject = subject[gathered.recording]  # of each run -> of each window
        classes, caveats = self._classes(found, gathered.stretches), self._caveats(layout)
        return assemble(cut, gathered, classes, self.digest(), caveats, subject)

    def _caveats(self, layout: Layout) -> tuple[str, ...]:
        # `.csv` names the groups itself
        by_run = self.group_by == "run" and not (self.labels and self.labels.endswith(".csv"))
        said = ["groups are runs, so one person may be on both sides of a split"] if by_run else []
        return (*said, *layout.caveats())

    def _classes(self, found: Sequence[Series], stretches: Sequence[Stretch]) -> tuple[str, ...]:
        if not self._uses_labels:
            return ()
        labels = _labels(found)
        gone = sorted(labels - {stretch.label for stretch in stretches})
        if gone:
            rule = f"volumes={self.volumes}: no window is left of {', '.join(gone)}"
            raise refuse(f"{rule}; take fewer volumes, or leave it out of `classes`", "volumes")
        return self.classes or tuple(sorted(labels))

    def _windows(
        self, found: Sequence[Series], layout: Layout, cut: Cutter
    ) -> Iterator[RecordingWindows]:
        """Windows of one run after the other. What is normalised together is in memory together."""
        by_scan = self.normalize_by == "scan"
        for _, of in itertools.groupby(found, key=lambda s: s.subject if by_scan else s.path):
            runs = [(series, run, x) for series in of for run, x in self._read(series)]
            xs = cleaned([x for *_, x in runs], self.normalize_by, self.detrend)
            for (series, run, raw), x in zip(runs, xs, strict=True):
                wanted = run.wanted(self._uses_labels)
                if self.group_by == "subject":
                    wanted = tuple(replace(s, group=series.subject) for s in wanted)
                known = [fingerprints_of(raw, [1 / series.tr] * len(raw))]
                if len(series.runs) == 1:
                    known.append(file_fingerprints(series.path))
                windows = cut(layout.placed(x, series.subject), wanted)
                yield replace(windows, fingerprints=np.concatenate(known))

    def _read(self, series: Series) -> list[tuple[Run, Signal]]:
        """Runs and the series (C, T) of each."""
        mask = self._mask(series.path)
        if mask is None:
            x = read(read_header(series.path), series.channels, series.channels[0].sfreq).x
        else:
            x = read_series(series.path, mask)
        return [(run, x[:, run.first : run.first + run.n_volumes]) for run in series.runs]


def _labels(found: Sequence[Series]) -> set[str]:
    return {stretch.label for series in found for run in series.runs for stretch in run.stretches}


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[0]
