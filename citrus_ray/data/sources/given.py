"""Recordings that are given one by one, read, cut and treated as those that a kept model was
trained on; or refused, with all that does not fit."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

from citrus_ray.data.expected import ExpectedStream, SignalContract
from citrus_ray.data.faults import suggest
from citrus_ray.data.formats.labels import COLUMNS
from citrus_ray.data.formats.recordings import Header, Recording, read_header
from citrus_ray.data.formats.signals import Channel
from citrus_ray.data.formats.tables import read_table
from citrus_ray.data.formats.tracks import Track
from citrus_ray.data.sources.files import Files, Item
from citrus_ray.data.windowing.normalize import straightened
from citrus_ray.data.windows import Windows
from citrus_ray.spec import Problem, SpecError, validate

VOLTS = {"v": 1.0, "mv": 1e-3, "uv": 1e-6, "µv": 1e-6, "μv": 1e-6, "nv": 1e-9}
CLOSE = 1e-4  # of a rate, by which recorders' clocks and headers are apart
SLOW = 0.99  # of the rate that training recordings had, below which something is not in there


@dataclass(frozen=True)
class Allowed:
    """What whoever gives recordings says of them, beside what they say themselves."""

    names: Mapping[str, str] = field(default_factory=dict)  # of the model -> as recorded
    resample: bool = False  # to the model's rate, whatever training did
    units: Literal["same", "convert", "ignore"] = "same"
    stride_s: float | None = None  # from window to window; None: no overlap
    table: Path | None = None  # of stretches to cut, as `kind: files` reads it

    def recorded(self, name: str) -> str:
        """What the recording calls a channel of the model."""
        return self.names.get(name, name)


class GivenRecordings(Files):
    """Windows of given recordings, in their order."""

    given: dict[str, str]
    """Recordings: what each is called, and its path."""
    table: str | None = None
    """Table of stretches; null: recordings are cut from their beginnings."""
    expected: SignalContract
    """What the model expects of them."""
    names: dict[str, str] = {}
    """What recordings call each channel of the model."""
    factors: dict[str, float] = {}
    """By which a channel, as recorded, is multiplied."""

    @classmethod
    def of(cls, paths: Mapping[str, Path], expected: SignalContract, allowed: Allowed) -> Self:
        """What the model makes of the recordings; a SpecError with everything that does not fit."""
        headers, problems = dict[str, Header](), list(_misnamed(expected, allowed))
        if problems:
            raise SpecError(problems)
        for name, path in paths.items():
            try:
                headers[name] = read_header(path, expected.layout)
                problems += misfits(expected, headers[name], allowed)
            except SpecError as err:
                problems += err.problems
        if expected.around and allowed.table is None:
            rule = f"the model was trained on windows around {expected.around}"
            way = "say with --where TABLE where these are"
            problems.append(Problem("", f"{rule}, and knows no other; {way}"))
        if problems:
            raise SpecError(problems)
        first = expected.streams[0]
        streams = [stream.name for stream in expected.streams if stream.name]
        several = any(header.streams for header in headers.values())
        there = {channel.name for header in headers.values() for channel in header.channels}
        names = {c.name: allowed.recorded(c.name) for c in expected.channels}
        channels = [
            (names[c.name], c.modality) for c in expected.channels if names[c.name] in there
        ]
        clean = dict(expected.clean)
        if isinstance(clean.get("reference"), list):
            clean["reference"] = [allowed.recorded(name) for name in clean["reference"]]
        table = str(allowed.table) if allowed.table else None
        return validate(
            cls,
            clean
            | {
                "root": ".",
                "pattern": "*",
                "seconds": expected.seconds,
                "sfreq": "native" if len(expected.streams) > 1 else first.sfreq,
                "labels": table,
                "group_pattern": _group_pattern(allowed.table),
                "channels": [name for name, _ in channels],
                "streams": streams if streams and several else None,
                "modality": [kind for _, kind in channels],
                "absent": "keep" if expected.absent else "refuse",
                "stride_s": allowed.stride_s,
                "short": "pad" if expected.short else "drop",
                "layout": expected.layout.tree(),
                "normalize": expected.normalize,
                "given": {name: str(path) for name, path in paths.items()},
                "table": table,
                "expected": expected.tree(),
                "names": names,
                "factors": _factors(expected, headers.values(), allowed),
            },
        )

    def taken(self) -> tuple[Windows, list[str]]:
        """The windows, and the recordings that their origins count."""
        names = {path: name for name, path in self.given.items()}
        items, _ = self._survey()
        return self.prepare(), [names[str(item.header.path)] for item in items]

    # ---- where things are ----

    def content(self) -> str:
        return ""  # nothing of them is kept under a digest

    def _files(self) -> dict[str, Path]:
        return {name: Path(path) for name, path in self.given.items()}

    def _tables(self) -> list[Path]:
        return [Path(self.table)] if self.table else []

    def _left_out(self, files: object) -> set[str]:
        """Recordings of the table that were not given: it may be of a whole study."""
        if self.table is None:
            return set()
        rows = read_table(Path(self.table), COLUMNS, "labels").rows
        return {row.values["file"] for row in rows if "file" in row.values}

    # ---- reading ----

    def _all_tracks(self, items: Sequence[Item]) -> tuple[Track, ...]:
        """Those of the model, of which these recordings may have a part."""
        if not self.expected.absent:
            return super()._all_tracks(items)
        return tuple(self._track(stream, items) for stream in self.expected.streams)

    def _track(self, stream: ExpectedStream, items: Sequence[Item]) -> Track:
        named = any(item.header.streams for item in items)
        channels = tuple(
            Channel(
                self.names[c.name], stream.sfreq, 0, c.modality, stream=stream.name if named else ""
            )
            for c in stream.channels
        )
        return Track(channels, stream.sfreq, stream.n_times, stream.name)

    def _read(self, header: Header, track: Track) -> Recording:
        found = super()._read(header, track)
        x = found.x
        for row, channel in zip(x, track.channels, strict=True):
            row *= self.factors.get(channel.name, 1.0)
        return replace(found, x=straightened(x)) if self.expected.detrend else found


def _group_pattern(table: Path | None) -> str | None:
    """Groups are recordings, unless the table says who they are of."""
    if table is None or "group" in read_table(table, COLUMNS, "labels").head:
        return None
    return "(.*)"


# ---- what does not fit ----


def _misnamed(expected: SignalContract, allowed: Allowed) -> Iterator[Problem]:
    """Other names that are of no channel of the model, or of two."""
    known = [channel.name for channel in expected.channels]
    for name in (name for name in allowed.names if name not in known):
        yield Problem("names", f"the model reads no channel `{name}`; {suggest(name, known)}")
    for name, n in Counter(map(allowed.recorded, known)).items():
        if n > 1:
            yield Problem("names", f"{name} stands for two channels of the model; name another")


def misfits(expected: SignalContract, header: Header, allowed: Allowed) -> Iterator[Problem]:
    """Why a recording cannot be what the model reads: channels, rates, units, length."""
    file = str(header.path)
    if expected.of_windows:
        rule = f"the model cannot be given recordings: {expected.of_windows}"
        yield Problem("", f"{rule}; give windows to `load_model` in Python")
        return
    by_name = {(c.stream, c.name): c for c in header.channels}
    found = list[Channel]()
    for stream in expected.streams:
        names = [
            (c, (stream.name if header.streams else "", allowed.recorded(c.name)))
            for c in stream.channels
        ]
        lacking = [key[1] for _, key in names if key not in by_name]
        if lacking and not (expected.absent and len(lacking) < len(expected.channels)):
            yield Problem("channels", _lacking(lacking, [name for _, name in by_name]), file)
        here = [(c, by_name[key]) for c, key in names if key in by_name]
        yield from (Problem("channels", c.fault, file) for _, c in here if c.fault)
        found += [c for _, c in here]
        for wanted, channel in here:
            said = _other_rate(stream, wanted.recorded_at, channel, expected, allowed)
            if said:
                yield Problem("rate", said, file)
                break  # of one rate, they would all say the same
        for wanted, channel in here:
            said = _other_unit(wanted.unit, channel, allowed)
            if said:
                yield Problem("units", said, file)
                break
    seconds = min((c.n_times / c.sfreq for c in found), default=0.0)
    if found and not expected.short and seconds < expected.seconds * (1 - CLOSE):
        rule = f"is {seconds:g} s long, shorter than the model's window of {expected.seconds:g} s"
        yield Problem("length", f"{rule}; leave it out", file)


def _lacking(lacking: Sequence[str], there: Sequence[str]) -> str:
    """The channels that are not there, and how to say what they are called."""
    listed = ", ".join(f"`{name}`" for name in lacking)
    way = f"where it is called otherwise, say so with --rename '{lacking[0]}=NAME'"
    return f"has no channel {listed}, which the model reads; {suggest(lacking[0], there)}; {way}"


def _other_rate(
    stream: ExpectedStream,
    recorded_at: float | None,
    channel: Channel,
    expected: SignalContract,
    allowed: Allowed,
) -> str:
    """Why a channel's rate is not the model's, nor brought to it as training did."""
    if abs(channel.sfreq / stream.sfreq - 1) <= CLOSE:
        return ""
    rule = f"{channel.name} is recorded at {channel.sfreq:g} Hz, but the model reads"
    rule += f" {stream.sfreq:g} Hz"
    if len(expected.streams) > 1:
        return f"{rule}, and several rates together; resample the recording"
    least = SLOW * min(stream.sfreq, recorded_at or stream.sfreq)
    if allowed.resample or (expected.resampled and channel.sfreq >= least):
        return ""
    if expected.resampled:
        missing = f"nothing above {channel.sfreq / 2:g} Hz is in there"
        return f"{rule}, and {missing}; --resample takes it all the same"
    return f"{rule}, and training resampled nothing; --resample does"


def _other_unit(unit: str, channel: Channel, allowed: Allowed) -> str:
    """Why amplitudes are not the model's, where it reads them."""
    if not unit or unit.lower() == channel.unit.lower() or allowed.units == "ignore":
        return ""
    known = {one.lower() in VOLTS for one in (unit, channel.unit)} == {True}
    if known and allowed.units == "convert":
        return ""
    said = f"in {channel.unit}" if channel.unit else "in a unit that the file does not say"
    rule = f"{channel.name} is {said}, but the model reads {unit}"
    way = "--units convert brings it there" if known else "convert the file"
    return f"{rule}, and amplitude tells it classes; {way}, or --units ignore where they are one"


def _factors(
    expected: SignalContract, headers: Iterable[Header], allowed: Allowed
) -> dict[str, float]:
    """What recorded amplitudes are multiplied by, by channel; equal in all recordings."""
    if allowed.units != "convert":
        return {}
    found, problems = dict[str, float](), list[Problem]()
    wanted = {allowed.recorded(c.name): c.unit.lower() for c in expected.channels if c.unit}
    for header in headers:
        for channel in header.channels:
            unit = wanted.get(channel.name)
            if unit is None:
                continue
            factor = VOLTS.get(channel.unit.lower(), 1.0) / VOLTS.get(unit, 1.0)
            if unit == channel.unit.lower():
                factor = 1.0
            if found.setdefault(channel.name, factor) != factor:
                rule = f"{channel.name} is in {channel.unit}, but in other units in others"
                problems.append(Problem("units", f"{rule}; give them apart", str(header.path)))
    if problems:
        raise SpecError(problems)
    return found
