"""Recordings that a researcher already has, in any format of `formats/known.py`, with an optional
table of labelled stretches, or with events or a column of labels of their own.

`check` looks at headers and labels only and reports everything that is wrong at once. A window with
a missing sample is dropped and counted. How each format is read is in recordings.py.
"""

import glob
import itertools
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Discriminator, Field, Tag, model_validator

from citrus_ray.context import TargetKind
from citrus_ray.data.faults import (
    broken,
    capped,
    each,
    noted,
    nothing_found,
    refuse_unknown,
    tidy,
    unknown,
)
from citrus_ray.data.formats.channels import alike, alike_where_there, pick, pick_there, union
from citrus_ray.data.formats.columns import stretches_of
from citrus_ray.data.formats.digests import content_of, file_fingerprints, file_parts
from citrus_ray.data.formats.events import events_beside, read_events
from citrus_ray.data.formats.known import ending_of, with_ending
from citrus_ray.data.formats.labels import (
    Stretch,
    crossing,
    labels_in,
    lookalikes,
    match,
    not_numbers,
    read_labels,
)
from citrus_ray.data.formats.recordings import (
    Header,
    Recording,
    read,
    read_annotations,
    read_header,
)
from citrus_ray.data.formats.signals import PLAIN, Channel, FileLayout
from citrus_ray.data.formats.tracks import (
    Rate,
    Track,
    key,
    native_tracks,
    same_rates,
    spread_out,
    whole_samples,
)
from citrus_ray.data.originals import PHYSIONET, Original, instead
from citrus_ray.data.root import folder_at
from citrus_ray.data.source import Count, Handling, Name, Names, Normalize, Positive
from citrus_ray.data.windowing.assemble import assemble, gather, time_blocks
from citrus_ray.data.windowing.cleaning import CLEANING, Cleaned
from citrus_ray.data.windowing.cutting import Cutter, RecordingWindows
from citrus_ray.data.windows import Windows
from citrus_ray.spec import Aside, Later, Problem, Spec, SpecError

# words for `labels` that stand in the recordings, beside each of them, and in their names
ANNOTATIONS, EVENTS, NAMES = "annotations", "events.tsv", "names"
LONGEST = 100_000_000  # samples of a window, 0.4 GB a channel
RECORDING = "recording"  # what `columns` calls the name of a file


# A set that needs no source of its own. The address follows the others of its home; it was not
# tried when this was written.
EEGMAT = Original(
    name="eegmat",
    base_url="https://physionet.org/files/eegmat/1.0.0/",
    page="https://physionet.org/content/eegmat/1.0.0/",
    sums="SHA256SUMS.txt",
    wanted=r"Subject\d\d_[12]\.edf",
    holds="eeg, ecg; 36 subjects; 2 classes; 500 Hz; 2.4 h",
    licence="ODC-BY 1.0",
    citation=f"Zyma I et al. Data 4(1):14 (2019). {PHYSIONET}",
    kind="files",
    keys='pattern: "Subject*.edf", labels: names, label_pattern: "_([12])$", '
    'merge: {"1": rest, "2": arithmetic}, group_pattern: "(Subject[0-9]+)", '
    "seconds: 4, sfreq: 125",
)


@dataclass(frozen=True)
class Item:
    """One recording and what is wanted of it."""

    header: Header
    picks: tuple[Channel, ...]
    stretches: tuple[Stretch, ...]

    @property
    def seconds(self) -> float:
        return min(c.n_times / c.sfreq for c in self.picks)


class LabelColumn(Spec):
    """Labels of every sample, which stand in the recording."""

    column: Name
    """The column or channel; what it says in a row of samples is a stretch, empty labels none."""
    group: Name | None = None
    """A column that says the group of each sample."""


def _labels_tag(value: object) -> str:
    return "column" if isinstance(value, dict | LabelColumn) else "name"


LabelsFrom = Annotated[
    Annotated[Name, Tag("name")] | Annotated[LabelColumn, Tag("column")],
    Discriminator(_labels_tag),
]


class Files(Cleaned):
    """Windows cut from the recordings that `pattern` matches under `root`."""

    kind: Literal["files"] = "files"
    """Recordings of one's own: EDF, FIF, BrainVision, WFDB, npz, mat, CSV and many more."""
    root: Annotated[str, Field(min_length=1), Aside()]
    """Folder of the recordings; may hold ~ and $VARIABLES."""
    pattern: Name
    """Which files, relative to root: recordings/*.npz, **/*.edf."""
    seconds: Positive
    """Length of a window in s."""
    sfreq: Rate
    """Rate in Hz that every recording is resampled to; native: none, one stream per rate."""
    labels: LabelsFrom | None = None
    """Table relative to root, parted by commas, semicolons or tabs: file,start_s,stop_s,label,group
    (or start_sample,stop_sample; without times a row labels its whole recording); a pattern, as
    `*/labels.csv`, takes all that it matches together. annotations: those that the files hold;
    events.tsv: a BIDS table beside each recording; what has no duration there labels the `seconds`
    that begin with it. {column: NAME}: a column or channel of the recording itself. names: what
    `label_pattern` finds in the name of each recording."""
    label_pattern: Annotated[str | None, Later()] = None
    """With `labels: names`: regex whose one (…) finds the label in a file's stem, or in its
    path."""
    label_column: Annotated[Name, Later()] = "label"
    """Column of the table that holds the labels."""
    columns: Annotated[Names | None, Later()] = None
    """Other columns of the table that windows keep, for `split`: session, site, split; `recording`
    is the name of the file, which needs no column."""
    target: Annotated[TargetKind, Later()] = "classes"
    """What labels are. classes: names, of which each window has one; value: numbers, which are to
    be predicted (regression); labels: any of several names at once, joined by |, or `none`."""
    value_channel: Annotated[Name | None, Later()] = None
    """With `target: value`, the channel whose mean over a window is its value, in place of
    `labels`. No model sees it."""
    value_delay_s: Annotated[Annotated[float, Field(ge=0)], Later()] = 0.0
    """Seconds that `value_channel` is behind what it measures: the device's own average."""
    group_pattern: str | None = None
    """Regex whose one (…) finds the group in a file's stem, or in its path; for labels without a
    `group` column. Without both, a recording is a group."""
    channels: Names | None = None
    """Channels, in this order; all without."""
    streams: Names | None = None
    """Streams of multi-rate npz files."""
    modality: Name | Names | dict[Name, Name] | None = None
    """What the channels measure, one, one each, or by patterns of their names, {"a?":
    accelerometer@wrist}; overrules what the files say. What follows an @ tells sensors of one kind
    apart."""
    absent: Annotated[Literal["refuse", "keep"], Later()] = "refuse"
    """Recordings that lack some channels: refuse them, or mark these as absent from windows."""
    stride_s: Positive | None = None
    """Seconds from window to window; `seconds` without: no overlap."""
    classes: Names | None = None
    """Labels to use, in this order; all without."""
    merge: dict[str, str] | None = None
    """Labels and their new names."""
    max_windows_per_segment: Count | None = None
    """Windows of a labelled stretch at most, spread evenly over it."""
    max_windows_per_recording: Annotated[Count | None, Later()] = None
    """Windows of a recording at most, spread evenly over those that its stretches give."""
    short: Literal["drop", "pad"] = "drop"
    """What becomes of a stretch shorter than `seconds`: dropped, or padded with zeros."""
    group_blocks: Annotated[int, Field(ge=2)] | None = None
    """Cut each group into so many by time, where it must be."""
    caveats: Names | None = None
    """What must stand beside every number from this set."""
    layout: Annotated[FileLayout, Later()] = PLAIN
    """What tables and arrays do not say of themselves: rate, column of times, where samples are."""
    normalize: Normalize = "recording"
    """z-score each channel over its recording or its window, or not at all. A window's own mean and
    spread often tell classes apart: `window` takes them away."""

    @property
    def n_least(self) -> int:
        """Samples that a window needs."""
        return 2 if self.normalize == "window" else 1

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        n_times = self.n_least if self.sfreq == "native" else round(self.seconds * self.sfreq)
        if n_times < self.n_least:
            rule = f"seconds={self.seconds:g} is {n_times} samples at sfreq={self.sfreq:g}"
            raise ValueError(f"{rule}; normalize={self.normalize} needs more: lengthen the window")
        if n_times > LONGEST:
            rule = f"seconds={self.seconds:g} is {n_times:.3g} samples at sfreq={self.sfreq}"
            raise ValueError(f"{rule}; a window holds at most {LONGEST:,}: shorten it")
        if os.path.isabs(self.pattern):
            rule = f"pattern={self.pattern} must be relative to root"
            raise ValueError(f"{rule}; put the folder into `root`")
        for name in ("classes", "merge"):
            if getattr(self, name) and not self.labels:
                rule = f"{name} has no effect without labels"
                raise ValueError(f"{rule}; give `labels:` a CSV or drop it")
        if self.label_column != "label" and not self._in_table:
            rule = f"label_column={self.label_column} is of a table, and `labels` names none"
            raise ValueError(f"{rule}; give `labels:` a CSV or drop it")
        if self._tabled_tags and not self._in_table:
            rule = (
                f"columns={', '.join(self._tabled_tags)}: are of a table, and `labels` names none"
            )
            raise ValueError(f"{rule}; drop them")
        self._check_target()
        for name in ("channels", "streams", "classes"):
            names = getattr(self, name) or ()
            if len(set(names)) < len(names):
                raise ValueError(f"{name} must name each one once, but got {', '.join(names)}")
        if (self.labels == NAMES) != (self.label_pattern is not None):
            odd = "labels" if self.label_pattern is None else "label_pattern"
            rule = "labels=names and label_pattern go together"
            raise ValueError(f"{rule}; give both, or drop {odd}")
        if self.label_pattern is not None:
            self._check_pattern("label", self.label_pattern)
        if self.group_pattern is not None:
            if self._grouped_by_column:
                rule = "labels.group and group_pattern both say where groups come from"
                raise ValueError(f"{rule}; drop one of the two")
            self._check_pattern("group", self.group_pattern)
        return self

    @property
    def _grouped_by_column(self) -> bool:
        return isinstance(self.labels, LabelColumn) and self.labels.group is not None

    @property
    def _tabled_tags(self) -> tuple[str, ...]:
        return tuple(name for name in self.columns or () if name != RECORDING)

    @property
    def _in_table(self) -> bool:
        others = (ANNOTATIONS, EVENTS, NAMES)
        return isinstance(self.labels, str) and self.labels not in others

    def _check_target(self) -> None:
        """A value comes from one place, and is no class."""
        if self.target != "value":
            if self.value_channel:
                rule = f"value_channel={self.value_channel} is a number, not a class"
                raise ValueError(f"{rule}; give `target: value` or drop it")
            if self.target == "labels" and (self.merge or not self.labels):
                rule = "target=labels reads names joined by | from `labels`, and merges none"
                raise ValueError(f"{rule}; give `labels`, and drop `merge`")
            return
        for name in ("classes", "merge"):
            if getattr(self, name):
                raise ValueError(f"{name}: target=value has no classes; drop it")
        if bool(self.labels) == bool(self.value_channel):
            rule = "target=value needs `labels`, a table of numbers, or `value_channel`"
            raise ValueError(f"{rule}; give {'one of the two' if self.labels else 'one'}")
        if self.value_delay_s and not self.value_channel:
            rule = f"value_delay_s={self.value_delay_s:g} is of `value_channel`"
            raise ValueError(f"{rule}, which is not given; drop it")
        if self.value_channel in (self.channels or ()):
            rule = f"value_channel={self.value_channel} is among channels: a model would see it"
            raise ValueError(f"{rule}; take it out of one")

    @property
    def target_kind(self) -> TargetKind:
        return self.target

    def _check_pattern(self, what: str, pattern: str) -> None:
        said = f"{what}_pattern={pattern}"
        try:
            n_groups = re.compile(pattern).groups
        except re.error as err:
            raise ValueError(f"{said} is not a regular expression: {err}") from None
        if n_groups != 1:
            raise ValueError(f"{said} must hold one (…) around the {what}, but holds {n_groups}")

    # ---- where things are ----

    def _root(self) -> Path:
        return folder_at(self.root, lambda: instead(self.root))

    def _tables(self) -> list[Path]:
        """The label tables; none without `labels`, or where recordings hold their own."""
        if not isinstance(self.labels, str) or self.labels in (ANNOTATIONS, NAMES):
            return []
        if self.labels == EVENTS:
            return each(self._files().values(), _events)
        root, names = self._root(), glob.glob(self.labels, recursive=True, root_dir=self._root())
        paths = [root / name for name in sorted(names) if (root / name).is_file()]
        if not paths:
            rule = "there is no such file; correct `labels:`, it is relative to root"
            raise broken(root / self.labels, rule + instead(self.root), "labels")
        return paths

    def _files(self) -> dict[str, Path]:
        """Recordings by their names relative to root."""
        root = self._root()
        names = sorted(glob.glob(self.pattern, root_dir=root, recursive=True))
        # a folder may be a recording, and what is inside one is none of its own
        labels = self.labels if isinstance(self.labels, str) else ""
        tables = set(glob.glob(labels, root_dir=root, recursive=True))
        names = [n for n in names if n not in tables and with_ending(root / n)]
        files = {PurePosixPath(n).as_posix(): root / n for n in names}
        if not files:
            rule = f"pattern={self.pattern} matches no file under {root}, which holds "
            raise nothing_found(rule, root, "pattern", instead(self.root))
        return files

    def _left_out(self, files: Iterable[str]) -> set[str]:
        """Recordings beside those that `pattern` matches: one table may label more than one set."""
        around = os.path.join(os.path.dirname(self.pattern), "*")
        beside = glob.glob(around, root_dir=self._root(), recursive=True)
        return {n for n in beside if ending_of(Path(n))} - set(files)

    def content(self) -> str:
        """A digest of every matched file and the labels."""
        paths = [part for path in self._files().values() for part in file_parts(path)]
        return content_of([*paths, *self._tables()], self._root())

    # ---- checking ----

    def check(self) -> None:
        self._survey()

    def _survey(self) -> tuple[list[Item], list[str]]:
        """Every recording that is used, from headers and labels, with caveats on these; or
        everything that is wrong."""
        files, problems = self._files(), list[Problem]()
        stretches, items, caveats = dict[str, list[Stretch]](), list[Item](), list[str]()
        with noted(problems):
            if self.labels:
                stretches, caveats = self._labelled(files, problems)
            else:
                groups = self._groups(files, files, problems)
                stretches = {n: [Stretch(n, 0.0, math.inf, "", g)] for n, g in groups.items()}
        # with no usable stretch the headers are looked at all the same: they may be wrong, too
        for name in stretches or files:
            with noted(problems):
                items.append(self._item(files[name], stretches.get(name, [])))
        with noted(problems):
            picks = {item.header.path: item.picks for item in items}
            units = self.normalize == "none"
            if self.absent == "keep" and items:
                everything = union(picks, self.streams, self.channels)
                alike_where_there(picks, everything, units, rates=self.sfreq == "native")
            else:
                alike(picks, units)
        if not problems:
            with noted(problems):
                self._check_rates(items)
        if problems:
            # once: a file that is broken may say so to more than one reader
            raise SpecError(tidy(dict.fromkeys(problems)))
        return items, caveats

    def _check_rates(self, items: Sequence[Item]) -> None:
        if not items:
            return
        first, tracks = items[0].header.path, self._all_tracks(items)
        problems = list(self.cleaning_problems(tracks))
        if problems:
            raise SpecError(problems)
        each(items, lambda item: self.references(item.header, item.picks))
        if self.sfreq != "native":
            return
        whole_samples("seconds", self.seconds, tracks, self.n_least)
        whole_samples("stride_s", self.stride_s or self.seconds, tracks)
        for item in items if self.absent == "refuse" else ():
            same_rates(item.header.path, self._tracks(item.picks), first, tracks)

    @property
    def _said_by_recordings(self) -> bool:
        """Whether labels are in or beside each recording, and not in one table."""
        return not isinstance(self.labels, str) or self.labels in (ANNOTATIONS, EVENTS, NAMES)

    def _labelled(
        self, files: dict[str, Path], problems: list[Problem]
    ) -> tuple[dict[str, list[Stretch]], list[str]]:
        """Stretches of each labelled recording, under the names that are wanted, and caveats on
        the labels."""
        own = self._said_by_recordings
        read, found = (self._own if own else self._tabled)(files, problems)
        new, caveats = dict[str, str](), list[str]()
        if self.target == "value":
            problems += not_numbers(read)
            new = {row.label: row.label for row in read}
        elif self.target == "labels":
            new = {row.label: row.label for row in read}
            names = {name for row in read for name in labels_in(row.label)}
            problems += [unknown("classes", n, names) for n in self.classes or () if n not in names]
        else:
            with noted(problems):
                new = self._rename({row.label for row in read})
            alike_labels, caveats = lookalikes(read, self.merge or {}, self.classes or ())
            problems += alike_labels
        named = {
            name: [replace(row, label=new[row.label]) for row in found[name] if row.label in new]
            for name in files
            if name in found
        }
        named = {name: of for name, of in named.items() if of}
        if (own and not self._grouped_by_column) or self.group_pattern is not None:
            groups = self._groups(named, files, problems)
            named = {
                name: [replace(row, group=groups[name]) for row in of]
                for name, of in named.items()
                if name in groups
            }
        return named, caveats

    def _tabled(
        self, files: dict[str, Path], problems: list[Problem]
    ) -> tuple[list[Stretch], dict[str, list[Stretch]]]:
        """All rows of the tables, and those of each recording."""
        left_out, found = self._left_out(files), defaultdict[str, list[Stretch]](list)
        read = list[Stretch]()
        for table in self._tables():
            grouped = self.group_pattern is None
            columns = self.label_column, self._tabled_tags
            rows, bad_rows = read_labels(table, grouped, *columns)
            of, unmatched = match(rows, files, table, left_out) if rows else ({}, [])
            problems += [*bad_rows, *unmatched]
            read += rows
            for name, stretches in of.items():
                found[name] += stretches
        return read, found

    def _own(
        self, files: dict[str, Path], problems: list[Problem]
    ) -> tuple[list[Stretch], dict[str, list[Stretch]]]:
        """What stands in recordings, or in a table beside each: all of it, and that of each."""
        found = dict[str, list[Stretch]]()
        for name, path in files.items():
            with noted(problems):
                # what is wrong with the recording itself is said first
                header = self._header(path)
                if isinstance(self.labels, LabelColumn):
                    found[name] = stretches_of(header, self.labels.column, self.labels.group, name)
                elif self.labels == EVENTS:
                    found[name], wrong = self._of_events(name, path)
                    problems += wrong
                elif self.labels == NAMES:
                    found[name] = [Stretch(name, 0.0, math.inf, self._in_name(name, path), "")]
                else:
                    found[name] = [
                        Stretch(name, onset, onset + length, text, "", table=str(path))
                        for onset, length, text in read_annotations(path)
                    ]
        read = [row for of in found.values() for row in of]
        if found and not read:
            said = self.labels if isinstance(self.labels, str) else "column"
            rule = f"labels={said}, but none of {len(found)} recordings holds one"
            problems.append(Problem("labels", f"{rule}; give `labels:` a table"))
        return read, found

    def _of_events(self, name: str, path: Path) -> tuple[list[Stretch], list[Problem]]:
        """What the BIDS table beside a recording says, and what is wrong with it."""
        return read_events(_events(path), name, "", instants=True)

    def _in_name(self, name: str, path: Path) -> str:
        """The label that the name of a recording holds."""
        found = _found_in(self.label_pattern or "", name)
        if found is None:
            rule = f"label_pattern={self.label_pattern} finds no label in `{name}`"
            raise broken(path, f"{rule}; widen it, or narrow `pattern`", "label_pattern")
        return found

    def _rename(self, labels: set[str]) -> dict[str, str]:
        """New names by old ones, of the wanted classes; a name that no label has is a typo."""
        merge, wanted = self.merge or {}, self.classes or ()
        new = {label: merge.get(label, label) for label in labels}
        problems = [unknown("merge", name, labels) for name in merge if name not in labels]
        there = set(new.values())
        problems += [unknown("classes", name, there) for name in wanted if name not in there]
        if problems and labels:
            raise SpecError(problems)
        return {old: name for old, name in new.items() if not wanted or name in wanted}

    def _groups(
        self, names: Iterable[str], files: dict[str, Path], problems: list[Problem]
    ) -> dict[str, str]:
        """The group that the name of each recording says: what the pattern finds, or itself."""
        stems = Counter(PurePosixPath(name).stem for name in files)
        out = dict[str, str]()
        for name in names:
            bare = PurePosixPath(name).with_suffix("")
            out[name] = bare.name if stems[bare.name] == 1 else str(bare)
            if self.group_pattern is not None:
                found = _found_in(self.group_pattern, name)
                if found is None:
                    rule = f"group_pattern={self.group_pattern} finds no group in `{bare}`"
                    said = Problem("group_pattern", f"{rule}; widen it", str(files[name]))
                    problems.append(said)
                    del out[name]
                    continue
                out[name] = found
        return out

    def _header(self, path: Path) -> Header:
        return read_header(path, self.layout)

    def _item(self, path: Path, stretches: list[Stretch]) -> Item:
        header = self._header(path)
        choose = pick if self.absent == "refuse" else pick_there
        picks = choose(header, self.streams, self.channels, self.modality)
        if self.value_channel:
            picks = self._without_value(header, picks, self.value_channel)
        item = Item(header, picks, ())
        # times are rounded to samples anyway, and tables round theirs to a millisecond
        rates = [*([] if self.sfreq == "native" else [self.sfreq]), *(c.sfreq for c in item.picks)]
        slack = 0.5 / min(rates) + 1e-3
        timed = [(s, self._timed(s, item)) for s in stretches]
        late = [s for s, t in timed if not t.is_whole and t.stop_s > item.seconds + slack]
        early = [s for s in stretches if s.start_s < 0]
        crossed = crossing((t for _, t in timed), slack)
        other = "has another group, so no split can part them; correct group or times"
        wholes = [s for s in stretches if s.is_whole]
        again = "labels the whole recording, as line {} does; keep one, or give times"
        found = (
            [(_outside(s, item), s) for s in dict.fromkeys([*early, *late])],
            [(f"overlaps line {a.line} but {other}", b) for a, b in crossed],
            [(again.format(a.line), b) for a, b in itertools.pairwise(wholes)],
        )
        said = ([Problem("labels", why, s.table, s.line or None) for why, s in of] for of in found)
        problems = [problem for of in said for problem in capped(of)]
        if problems:
            raise SpecError(problems)
        return replace(item, stretches=tuple(t for _, t in timed))

    def _without_value(
        self, header: Header, picks: tuple[Channel, ...], value: str
    ) -> tuple[Channel, ...]:
        """The channels that a model sees, of a recording that has the one that it is to predict."""
        refuse_unknown("value_channel", [value], self._values(header), header.path)
        left = tuple(c for c in picks if c.name != value)
        if not left:
            rule = f"has nothing but {value}, which is what is to be predicted"
            raise broken(header.path, f"{rule}; give `channels:`", "value_channel")
        return left

    def _values(self, header: Header) -> dict[str, Channel]:
        return {c.name: c for c in header.channels if not c.fault}

    def _timed(self, stretch: Stretch, item: Item) -> Stretch:
        """A stretch in seconds; an event has the `seconds` after it, or what there is of them."""
        if stretch.start_s < stretch.stop_s:
            return stretch.at(item.picks[0].sfreq)
        stop = min(stretch.start_s + self.seconds, max(item.seconds, stretch.start_s))
        return replace(stretch, stop_s=stop)

    # ---- cutting ----

    def handling(self) -> Handling:
        tree = self.tree()
        return Handling(
            self.normalize,
            resampled=self.sfreq != "native",
            short=self.short == "pad",
            absent=self.absent == "keep",
            clean={name: tree[name] for name in CLEANING if tree[name] is not None},
            layout=self.layout,
        )

    def recorded_channels(self) -> dict[str, tuple[str, float]]:
        items = self._survey()[0]
        found = [(c.name, c.unit, c.sfreq) for item in items for c in item.picks]
        # of several rates the lowest; units are alike where they matter
        return {name: (unit, rate) for name, unit, rate in sorted(found, key=lambda c: -c[2])}

    def prepare(self) -> Windows:
        items, on_labels = self._survey()
        tracks = self._all_tracks(items)
        # windows begin with a sample of the slowest
        clock = min(tracks, key=lambda track: track.sfreq)
        stride = max(1, round((self.stride_s or self.seconds) * clock.sfreq))
        most = self.max_windows_per_segment, self.max_windows_per_recording
        cut = Cutter(clock.sfreq, clock.n_times, stride, self.normalize, self.short, *most)
        # resample before cutting: cutting first leaves filter edges in the window
        gathered = gather((self._windows(item, cut, tracks) for item in items), tracks)
        lacking = (*_lacking(items, tracks), *self._caveats_on_channels())
        caveats = (*(self.caveats or ()), *on_labels, *lacking)
        labels = sorted({stretch.label for item in items for stretch in item.stretches})
        if self.target == "labels":
            labels = sorted({name for label in labels for name in labels_in(label)})
        is_classes = self.labels and self.target != "value"
        classes = (self.classes or tuple(labels)) if is_classes else ()
        target = self.target
        windows = assemble(cut, gathered, classes, self.digest(), caveats, target=target)
        if self.columns:
            windows = replace(windows, tags=self._tags(gathered.stretches))
        if self.group_blocks:
            return time_blocks(windows, gathered, cut.n_times, self.group_blocks)
        return windows

    def _caveats_on_channels(self) -> list[str]:
        """What else is to be said of the channels of this kind of folder."""
        return []

    def _tags(self, stretches: Sequence[Stretch]) -> dict[str, np.ndarray]:
        """What the columns say of each window."""
        by_column = {
            name: np.array([stretch.tags[i] for stretch in stretches], np.str_)
            for i, name in enumerate(self._tabled_tags)
        }
        files = [str(PurePosixPath(stretch.file).with_suffix("")) for stretch in stretches]
        own = {RECORDING: np.array(files, np.str_)}
        return {name: (by_column | own)[name] for name in self.columns or ()}

    def _all_tracks(self, items: Sequence[Item]) -> tuple[Track, ...]:
        """Tracks of the set: every channel that some recording has."""
        if self.absent == "refuse":
            return self._tracks(items[0].picks)
        picks = {item.header.path: item.picks for item in items}
        return self._tracks(union(picks, self.streams, self.channels))

    def _tracks(self, picks: tuple[Channel, ...]) -> tuple[Track, ...]:
        if self.sfreq == "native":
            return native_tracks(picks, self.seconds)
        return (Track(picks, self.sfreq, round(self.seconds * self.sfreq)),)

    def _windows(self, item: Item, cut: Cutter, tracks: Sequence[Track]) -> RecordingWindows:
        own = self._tracks(item.picks)
        streams = [self._read(item.header, track) for track in own]
        rates = [track.sfreq for track in own]
        found = cut.together([stream.x for stream in streams], rates, item.stretches)
        known = [stream.fingerprints for stream in streams]
        if self.value_channel:
            found = self._valued(item.header, found, cut)
        return replace(
            found,
            windows=(spread_out(x, own, tracks) for x in found.windows),
            fingerprints=np.concatenate([*known, file_fingerprints(item.header.path)]),
        )

    def _read(self, header: Header, track: Track) -> Recording:
        """Channels (C, T) of a track, clean."""
        if not self.is_cleaned:
            return read(header, track.channels, track.sfreq)
        channels = (*track.channels, *self.references(header, track.channels))
        found = read(header, channels, track.sfreq)
        return replace(found, x=self.clean(found.x, channels, len(track.channels), track.sfreq))

    def _valued(self, header: Header, found: RecordingWindows, cut: Cutter) -> RecordingWindows:
        """Windows with the mean of the value's channel as their label; those in which a sample of
        it is missing are left out."""
        assert self.value_channel is not None
        channel = self._values(header)[self.value_channel]
        (x,) = read(header, [channel], channel.sfreq).x
        start = (found.first / cut.sfreq + self.value_delay_s) * channel.sfreq
        n = max(1, round(self.seconds * channel.sfreq))
        # rounded up: no sample from before the window
        places = np.ceil(start - 1e-6).astype(int)[:, None] + np.arange(n)
        values = np.append(x, np.nan).astype(np.float64)[np.minimum(places, len(x))].mean(axis=1)
        kept = np.isfinite(values)
        stretches = itertools.compress(found.stretches, kept)
        said = (
            replace(stretch, label=repr(float(value)))
            for stretch, value in zip(stretches, values[kept], strict=True)
        )
        tally = found.tally + Counter(gaps=int((~kept).sum()))
        windows = itertools.compress(found.windows, kept)
        first = found.first[kept]
        return replace(found, windows=windows, first=first, stretches=tuple(said), tally=tally)


def _found_in(pattern: str, name: str) -> str | None:
    """What a pattern finds in the stem of a recording's name, else in its path: sub-01/rest.edf."""
    bare = PurePosixPath(name).with_suffix("")
    tries = (re.search(pattern, text) for text in (bare.name, str(bare)))
    found = next((found for found in tries if found), None)
    return found[1] or None if found else None


def _events(path: Path) -> Path:
    """The BIDS table beside a recording, `…_events.tsv` of `…_eeg.edf`."""
    return events_beside(path, path.stem, path.stem.rpartition("_")[2])


def _outside(stretch: Stretch, item: Item) -> str:
    """Why a stretch is not in its recording, and the way out."""
    name, where = item.header.path.name, f"which is {item.seconds:.4f} s long"
    if not stretch.line:
        span = f"from {stretch.start_s:g} to {stretch.stop_s:g} s"
        way = f"leave it out with `classes`, or give `labels:` a table in place of {ANNOTATIONS}"
        return f"annotation `{stretch.label}` {span} is outside the recording, {where}; {way}"
    if stretch.in_samples:
        first = item.picks[0]
        where = f"which has {first.n_times} samples of {first.name}"
    return f"{stretch.said(1)} is outside {name}, {where}; correct the time or the file"


def _lacking(items: Sequence[Item], tracks: Sequence[Track]) -> Iterator[str]:
    """Caveats on channels that some recordings do not have."""
    for channel in (c for track in tracks for c in track.channels):
        n = sum(all(key(c) != key(channel) for c in item.picks) for item in items)
        if n:
            yield f"{channel.name} is absent from {n} of {len(items)} recordings"
