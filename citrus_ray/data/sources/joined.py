"""Recordings of one moment in several files, each sensor at its own rate, as one set of windows.

Phone and watch, EEG and ECG: each part is a block of `kind: files` or the name of such a set.
Recordings belong together where their names agree in what `moment` finds, and side by side in time:
from their first samples, or by the starts that they state. One part leads: it says what is cut and
how it is labelled; of the others, recordings, channels, rates and cleaning count.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from citrus_ray.data.faults import broken, capped, noted, tidy
from citrus_ray.data.fingerprints import Fingerprints
from citrus_ray.data.formats.digests import file_fingerprints
from citrus_ray.data.formats.labels import Stretch
from citrus_ray.data.formats.recordings import read_start
from citrus_ray.data.formats.signals import Channel
from citrus_ray.data.formats.tracks import Track, key, spread_out, whole_samples
from citrus_ray.data.kinds import KINDS
from citrus_ray.data.source import Name, Source
from citrus_ray.data.sources.files import Files, Item
from citrus_ray.data.windowing.assemble import assemble, gather, time_blocks
from citrus_ray.data.windowing.cutting import Cutter, RecordingWindows
from citrus_ray.data.windows import Signal, Stream, Windows
from citrus_ray.spec import Problem, SpecError, digest_of, refuse

APART_S = 1.0  # stated starts that differ by more are not those of recordings that begin together
# keys of a part by which windows are cut, which the lead says for all
CUTS = (
    "labels", "group_pattern", "classes", "merge", "stride_s", "max_windows_per_segment",
    "max_windows_per_recording", "group_blocks", "caveats",
)  # fmt: skip

Part = Annotated[SerializeAsAny[Files], BeforeValidator(KINDS)]
PartName = Annotated[str, Field(pattern=r"^[A-Za-z][\w-]*$")]


@dataclass(frozen=True)
class Moment:
    """Recordings of one moment, by part, and how many seconds later than the lead's each
    begins."""

    name: str
    items: Mapping[str, Item]
    late: Mapping[str, float]


class Joined(Source):
    """Windows of several sensors that were recorded apart."""

    cutting: ClassVar[frozenset[str]] = frozenset()
    kind: Literal["joined"] = "joined"
    """Recordings of one moment in several files: phone and watch, EEG and ECG."""
    of: Annotated[dict[PartName, Part], Field(min_length=2)]
    """Parts by name, each a block of `kind: files`, or a set of it; of equal `seconds` and
    `normalize`."""
    lead: PartName
    """The part that says what is cut and how it is labelled; other keys of the kind in others have
    no effect. Models of a single stream read it."""
    moment: Name | None = None
    """Regex whose one (…) finds, in a file's stem or path, what recordings of one moment have in
    common; their stems without."""
    clock: Literal["start", "stated"] = "start"
    """What lays recordings side by side: they begin together, or at the starts that files state."""
    late: dict[PartName, float] = {}
    """Seconds by which recordings of a part begin later than that says."""
    absent: Literal["refuse", "drop", "keep"] = "refuse"
    """Moments, and windows, that a part has not recorded: refused; dropped; or kept, the part being
    absent from them."""

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if self.lead not in self.of:
            raise ValueError(f"lead={self.lead} is no part; name one of {', '.join(self.of)}")
        lengths = {name: part.seconds for name, part in self.of.items()}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{name} {seconds:g}" for name, seconds in lengths.items())
            raise ValueError(f"of: parts have windows of other `seconds`: {said}; make them equal")
        scales = {name: part.normalize for name, part in self.of.items()}
        if len(set(scales.values())) > 1:
            said = ", ".join(f"{name} {scale}" for name, scale in scales.items())
            raise ValueError(f"of: parts have other `normalize`: {said}; make them equal")
        odd = [name for name in self.late if name not in self.of]
        if odd or self.late.get(self.lead):
            others = ", ".join(name for name in self.of if name != self.lead)
            rule = f"late: names {', '.join(odd or [self.lead])}"
            raise ValueError(f"{rule}, but must name parts that do not lead: {others}")
        if self.moment is not None:
            self._check_moment(self.moment)
        for name, part in self.of.items():
            if part.target_kind != "classes" or part.columns:
                what = f"target={part.target}" if part.target_kind != "classes" else "columns"
                rule = f"{what}: joined windows have classes, and no columns"
                raise ValueError(f"of.{name}: {rule}; drop it")
        return self

    def _check_moment(self, moment: str) -> None:
        try:
            n_groups = re.compile(moment).groups
        except re.error as err:
            raise ValueError(f"moment={moment} is not a regular expression: {err}") from None
        if n_groups != 1:
            rule = f"moment={moment} must hold one (…) around what recordings have in common"
            raise ValueError(f"{rule}, but holds {n_groups}")

    @property
    def first(self) -> Files:
        return self.of[self.lead]

    @property
    def parts(self) -> dict[str, Files]:
        """Parts as they are read: the lead, and others by name, without labels."""
        bare = {key: Files.model_fields[key].get_default() for key in CUTS}
        others = {name: self.of[name].model_copy(update=bare) for name in sorted(self.of)}
        return {self.lead: self.first} | {n: of for n, of in others.items() if n != self.lead}

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"of": {n: part.identity() for n, part in self.of.items()}}

    def recordings(self) -> str:
        return digest_of(sorted({part.recordings() for part in self.of.values()}))

    def places(self) -> list[Path]:
        return [place for part in self.of.values() for place in part.places()]

    def treatment(self) -> str:
        return "; ".join(f"{name} {part.treatment()}" for name, part in self.of.items())

    def check(self) -> None:
        self._survey()

    # ---- what belongs together ----

    def _survey(self) -> tuple[list[Moment], list[str]]:
        """Moments in the order of the lead's recordings, and caveats; or what is wrong."""
        found, problems, caveats = dict[str, dict[str, Item]](), list[Problem](), list[str]()
        for name, part in self.parts.items():
            here = list[Problem]()
            with noted(here):
                items, said = part._survey()
                caveats += [*(part.caveats or ()), *said]
                with noted(here):
                    found[name] = self._by_moment(part, items)
            problems += [replace(p, path=f"of.{name}.{p.path}".rstrip(".")) for p in here]
        if problems:
            raise SpecError(tidy(problems))
        names = [*self.parts]
        every = dict.fromkeys(moment for name in names for moment in found[name])
        gone = self._gone(found, list(every))
        # windows are cut and labelled by the lead
        keys = [m for m in found[names[0]] if self.absent == "keep" or m not in gone]
        if not keys:
            shown = ", ".join(list(every)[:8])
            rule = "no moment was recorded by every part"
            raise refuse(f"{rule}: there are {shown}; correct `moment`", "moment")
        caveats += [f"{said}: {', '.join(of[:4])}" + ("…" if len(of) > 4 else "")
                    for said, of in self._lost(found, gone)]  # fmt: skip
        moments = list[Moment]()
        for moment in keys:
            there = {name: found[name][moment] for name in names if moment in found[name]}
            with noted(problems):
                moments.append(self._laid(moment, there))
        if problems:
            raise SpecError(tidy(problems))
        self._check_rates(moments)
        return moments, caveats

    def _by_moment(self, part: Files, items: Sequence[Item]) -> dict[str, Item]:
        root, found, problems = part._root(), dict[str, Item](), list[Problem]()
        for item in items:
            path = item.header.path
            bare = PurePosixPath(path.relative_to(root).as_posix()).with_suffix("")
            moment = self._moment_in(bare)
            if moment is None:
                rule = f"moment={self.moment} finds nothing in `{bare}`; widen it"
                problems.append(Problem("moment", rule, str(path)))
            elif moment in found:
                rule = f"is of the moment `{moment}`, as {found[moment].header.path.name} is"
                way = "a part has one recording of each; narrow `pattern`, or correct `moment`"
                problems.append(Problem("moment", f"{rule}; {way}", str(path)))
            else:
                found[moment] = item
        if problems:
            raise SpecError(capped(problems))
        return found

    def _moment_in(self, bare: PurePosixPath) -> str | None:
        if self.moment is None:
            return bare.name
        tries = (re.search(self.moment, text) for text in (bare.name, str(bare)))
        return next((found[1] for found in tries if found and found[1]), None)

    def _gone(self, found: Mapping[str, Mapping[str, Item]], every: Sequence[str]) -> set[str]:
        """Moments that some part has not recorded; refused, if they are to be."""
        lacking = {
            name: [moment for moment in every if moment not in of] for name, of in found.items()
        }
        if self.absent == "refuse":
            wrong = [
                Problem("absent", f"`{moment}` was not recorded by {name}; "
                        "say `absent: keep` or `drop`, narrow `pattern`, or correct `moment`")
                for name, those in lacking.items() for moment in those
            ]  # fmt: skip
            if wrong:
                raise SpecError(capped(wrong))
        return {moment for those in lacking.values() for moment in those}

    def _lost(
        self, found: Mapping[str, Mapping[str, Item]], gone: set[str]
    ) -> Iterator[tuple[str, list[str]]]:
        first, *others = self.parts
        every = set(found[first])
        alone = sorted({moment for name in others for moment in found[name]} - every)
        if alone:
            yield f"left out, not recorded by {first}: {len(alone)} moments", alone
        for name in others:
            lacking = sorted(every - set(found[name]))
            if lacking:
                fate = "absent from" if self.absent == "keep" else "left out for the lack of"
                said = f"{name} is {fate}" if self.absent == "keep" else f"{fate} {name}:"
                yield f"{said} {len(lacking)} of {len(every)} moments", lacking

    def _laid(self, name: str, items: dict[str, Item]) -> Moment:
        """Recordings side by side in time."""
        first = self.lead
        starts = {part: read_start(item.header) for part, item in items.items()}
        if self.clock == "stated":
            for part, start in starts.items():
                if start is None:
                    rule = "states no start, which clock=stated goes by"
                    way = "say `clock: start` if recordings of a moment begin together"
                    raise broken(items[part].header.path, f"{rule}; {way}", "clock")
            late = {part: (start or 0.0) - (starts[first] or 0.0) for part, start in starts.items()}
        else:
            known = [start for start in starts.values() if start is not None]
            if len(known) > 1 and max(known) - min(known) > APART_S:
                rule = f"moment `{name}`: files state starts {max(known) - min(known):.1f} s apart"
                way = "say `clock: stated` to go by them; or, if they are wrong, cut them together"
                raise broken(items[first].header.path, f"{rule}; {way}", "clock")
            late = dict.fromkeys(items, 0.0)
        late = {part: seconds + self.late.get(part, 0.0) for part, seconds in late.items()}
        end = items[first].seconds
        for part, seconds in late.items():
            if seconds >= end or seconds + items[part].seconds <= 0:
                rule = f"has nothing of moment `{name}`: it is {seconds:.1f} s later than {first}"
                way = "correct `clock`, `late` or `moment`"
                raise broken(items[part].header.path, f"{rule}; {way}", "clock")
        return Moment(name, items, late)

    # ---- what a window holds ----

    def _check_rates(self, moments: Sequence[Moment]) -> None:
        tracks = self._tracks(moments).tracks
        if len({track.sfreq for track in tracks}) > 1:
            first = self.first
            whole_samples("seconds", first.seconds, tracks, first.n_least)
            whole_samples("stride_s", first.stride_s or first.seconds, tracks)

    def _tracks(self, moments: Sequence[Moment]) -> "PartTracks":
        """Tracks of each part, with names that tell its channels from those of others."""
        own = {
            name: part._all_tracks([m.items[name] for m in moments if name in m.items])
            for name, part in self.parts.items()
        }
        every = {n: [c for track in of for c in track.channels] for n, of in own.items()}
        names = Counter(name for of in every.values() for name in {c.name for c in of})
        kinds = Counter(kind for of in every.values() for kind in {c.modality for c in of})
        told, tracks = dict[tuple[str, str, str], Channel](), list[Track]()
        for part, of in own.items():
            for track in of:
                rate = track.name or f"{track.sfreq:g} Hz"
                stream = part if len(of) == 1 else f"{part} {rate}"
                for c in track.channels:
                    name = f"{part}:{c.name}" if names[c.name] > 1 else c.name
                    kind = f"{c.modality}@{part}" if kinds[c.modality] > 1 else c.modality
                    told[part, *key(c)] = replace(c, name=name, modality=kind, stream=stream)
                channels = tuple(told[part, *key(c)] for c in track.channels)
                tracks.append(replace(track, channels=channels, name=stream))
        return PartTracks(tuple(tracks), told)

    def prepare(self) -> Windows:
        moments, caveats = self._survey()
        tracks, first = self._tracks(moments), self.first
        clock = min(tracks.tracks, key=lambda track: track.sfreq)
        stride = max(1, round((first.stride_s or first.seconds) * clock.sfreq))
        most = first.max_windows_per_segment, first.max_windows_per_recording
        cut = Cutter(clock.sfreq, clock.n_times, stride, first.normalize, first.short, *most)
        gathered = gather((self._windows(m, cut, tracks) for m in moments), tracks.shown)
        labels = sorted({s.label for moment in moments for s in self._stretches(moment)})
        classes = (first.classes or tuple(labels)) if first.labels else ()
        made = assemble(cut, gathered, classes, self.digest(), caveats)
        made = replace(made, caveats=(*made.caveats, *_absences(gathered.streams)))
        if first.group_blocks:
            return time_blocks(made, gathered, cut.n_times, first.group_blocks)
        return made

    def _stretches(self, moment: Moment) -> tuple[Stretch, ...]:
        return moment.items[self.lead].stretches

    def _windows(self, moment: Moment, cut: Cutter, tracks: "PartTracks") -> RecordingWindows:
        own, xs, late = list[Track](), list[Signal](), list[float]()
        known = list[Fingerprints]()
        for name, item in moment.items.items():
            part = self.parts[name]
            for track in part._tracks(item.picks):
                found = part._read(item.header, track)
                own.append(tracks.of(name, track))
                xs.append(found.x)
                late.append(moment.late[name])
                known.append(found.fingerprints.copy())
                known[-1]["at"] += moment.late[name]
            known.append(file_fingerprints(item.header.path))
        keep, rates = self.absent == "keep", [track.sfreq for track in own]
        ends = [on + x.shape[1] / f for x, f, on in zip(xs, rates, late, strict=True)]
        stretches = _until(self._stretches(moment), (max if keep else min)(ends))
        whole = cut.together(xs, rates, stretches, late, keep)
        windows = (tracks.laid(window, own) for window in whole.windows)
        return replace(whole, windows=windows, fingerprints=np.concatenate(known))


@dataclass(frozen=True)
class PartTracks:
    """Tracks of all parts, and what each channel of a part is called among them."""

    tracks: tuple[Track, ...]
    told: Mapping[tuple[str, str, str], Channel]  # by part, stream and name

    @property
    def shown(self) -> tuple[Track, ...]:
        """One track where all are of one rate: any model reads it, not one of sensors alone."""
        if len({track.sfreq for track in self.tracks}) > 1:
            return self.tracks
        channels = tuple(c for track in self.tracks for c in track.channels)
        return (replace(self.tracks[0], channels=channels, name=""),)

    def of(self, part: str, track: Track) -> Track:
        """A track of one recording, its channels as they are called in the set."""
        return replace(track, channels=tuple(self.told[part, *key(c)] for c in track.channels))

    def laid(self, window: tuple[Signal, ...], own: Sequence[Track]) -> tuple[Signal, ...]:
        """A window of the tracks of one moment on those of the set: NaN where it has none."""
        whole = spread_out(window, own, self.tracks)
        return (np.concatenate(whole),) if len(self.shown) < len(whole) else whole


def _absences(streams: Sequence[Stream]) -> Iterator[str]:
    """Caveats on channels that are absent from some windows."""
    for stream in streams:
        lacking = np.isnan(stream.x[:, :, 0])  # (n, C): a channel is absent for all of a window
        counts = Counter(dict(zip(stream.ch_names, lacking.sum(axis=0).tolist(), strict=True)))
        for n in sorted({n for n in counts.values() if n}):
            names = ", ".join(name for name in stream.ch_names if counts[name] == n)
            yield f"absent from {n} of {len(lacking)} windows: {names}"


def _until(stretches: Sequence[Stretch], end: float) -> list[Stretch]:
    """Stretches as far as there are recordings: cut anywhere else, windows would move."""
    kept = (s if s.stop_s <= end or s.is_whole else replace(s, stop_s=end) for s in stretches)
    return [s for s in kept if s.start_s < s.stop_s]
