"""Which channels of a recording are used, and whether all recordings have the same ones."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from citrus_ray.data.faults import broken, refuse_unknown, suggest
from citrus_ray.data.formats.recordings import Header
from citrus_ray.data.formats.signals import Channel
from citrus_ray.spec import Problem, SpecError

Picks = tuple[Channel, ...]
# one for all, one each, or by patterns of names: {"a?": accelerometer}
Kinds = str | Sequence[str] | Mapping[str, str] | None


def pick(
    header: Header,
    streams: Sequence[str] | None,
    names: Sequence[str] | None,
    modality: Kinds,
) -> Picks:
    """The wanted channels, in the order wanted, all of them readable."""
    channels = _of_streams(header, streams)
    if names is None:  # a trigger channel holds the labels: only by name
        picks = [c for c in channels if c.modality != "stim"]
    else:
        by_name = {c.name: c for c in channels}
        refuse_unknown("channels", names, by_name, header.path)
        picks = [by_name[name] for name in names]
    faults = dict.fromkeys(c.fault for c in picks if c.fault)
    if faults or not picks:
        empty = "holds nothing but triggers; leave it out of `pattern`"
        raise SpecError([Problem("", fault, str(header.path)) for fault in faults or [empty]])
    if modality is None:
        return tuple(picks)
    if isinstance(modality, Mapping):
        return tuple(_by_name(header, picks, modality))
    kinds = [modality] * len(picks) if isinstance(modality, str) else modality
    if len(kinds) != len(picks):
        rule = f"names {len(kinds)} modalities for {len(picks)} channels; give one, or one for each"
        raise broken(header.path, rule, "modality")
    return tuple(replace(c, modality=kind) for c, kind in zip(picks, kinds, strict=True))


def _by_name(
    header: Header, picks: Sequence[Channel], modality: Mapping[str, str]
) -> Iterator[Channel]:
    """Channels as the first pattern says that fits their name, others as they were."""
    names = [c.name for c in picks]
    idle = [p for p in modality if not any(fnmatchcase(name, p) for name in names)]
    if idle:
        rule = f"`{idle[0]}` fits no channel; {suggest(idle[0], names)}"
        raise broken(header.path, rule, "modality")
    for c in picks:
        kind = next((kind for p, kind in modality.items() if fnmatchcase(c.name, p)), c.modality)
        yield replace(c, modality=kind)


def pick_there(
    header: Header,
    streams: Sequence[str] | None,
    names: Sequence[str] | None,
    modality: Kinds,
) -> Picks:
    """The wanted channels that a recording has; one at least."""
    there = {c.name for c in header.channels if not streams or c.stream in streams}
    if streams and header.streams:
        streams = [name for name in streams if name in header.streams]
    if names is not None:
        if modality is not None and not isinstance(modality, str | Mapping):
            modality = [kind for kind, name in zip(modality, names, strict=True) if name in there]
        names = [name for name in names if name in there]
    if not there or streams == [] or names == []:
        rule = "has none of the wanted channels; leave it out of `pattern`"
        raise broken(header.path, rule, "channels")
    if isinstance(modality, Mapping):
        here = there if names is None else {*names}
        modality = {p: k for p, k in modality.items() if any(fnmatchcase(n, p) for n in here)}
    return pick(header, streams, names, modality)


def union(
    picks: Mapping[Path, Picks], streams: Sequence[str] | None, names: Sequence[str] | None
) -> Picks:
    """Every channel that some recording has, in the order wanted, or of their first appearance."""
    found = {(c.stream, c.name): c for of in reversed(list(picks.values())) for c in of}
    refuse_unknown("channels", names or (), {name for _, name in found})
    first = list(dict.fromkeys((c.stream, c.name) for of in picks.values() for c in of))
    place = {name: i for i, name in enumerate(names or ())}
    stream_place = {name: i for i, name in enumerate(streams or ())}
    # stable: else as they appear
    first.sort(key=lambda key: (stream_place.get(key[0], 0), place.get(key[1], 0)))
    return tuple(found[key] for key in first)


def _of_streams(header: Header, streams: Sequence[str] | None) -> list[Channel]:
    """The channels of the wanted streams of a multi-rate file, or all of any other file."""
    there = header.streams
    if streams is None and there:
        rule = (
            f"holds several streams; name those to use in `streams:`, there are {', '.join(there)}"
        )
        raise broken(header.path, rule, "streams")
    if streams is None:
        return list(header.channels)
    if not there:
        rule = "holds no streams; drop `streams:`, or pick with `channels:`"
        raise broken(header.path, rule, "streams")
    refuse_unknown("streams", streams, there, header.path)
    return [c for name in streams for c in header.channels if c.stream == name]


def alike(picks: Mapping[Path, Picks], units: bool) -> None:
    """Refuse recordings that differ in channels, their kind or, where it matters, their units."""
    (first, others), *rest = picks.items() or [(Path(), ())]
    for field, way, of in _rules(units):
        for path, mine in rest:
            one, two = [of(c) for c in others], [of(c) for c in mine]
            if one != two:
                raise broken(path, f"{_difference(two, one, first.name)}; {way}", field)


def alike_where_there(picks: Mapping[Path, Picks], all_of: Picks, units: bool, rates: bool) -> None:
    """Refuse channels that differ between recordings in kind or, where it matters, unit or rate."""
    known = {(c.stream, c.name): c for c in all_of}
    for path, mine in picks.items():
        for c in mine:
            other = known[c.stream, c.name]
            for field, way, of in _rules(units, rates)[1:]:
                if of(c) != of(other):
                    rule = f"has {c.name} as {of(c)}, but others as {of(other)}"
                    raise broken(path, f"{rule}; {way}", field)


def _rules(units: bool, rates: bool = False) -> list[tuple[str, str, Callable[[Channel], str]]]:
    """What must not differ: the key that settles it, the way out, and the fact of a channel."""
    convert, narrow = "convert the files, or set `normalize: window`", "or narrow `pattern`"
    return [
        ("channels", "name those to use in `channels:`", lambda c: c.name),
        ("modality", "say what the channels are in `modality:`", lambda c: c.modality),
        *([("normalize", convert, lambda c: c.unit.lower())] if units else []),
        *(
            [("sfreq", f"give `sfreq` a rate, {narrow}", lambda c: f"{c.sfreq:g} Hz")]
            if rates
            else []
        ),
    ]


def _difference(one: Sequence[str], two: Sequence[str], name: str) -> str:
    if set(one) == set(two):
        return f"has the channels of {name} in another order"
    less = [[n for n in dict.fromkeys(a) if n not in b] for a, b in ((one, two), (two, one))]
    mine, others = (
        ", ".join(of[:8]) + ("…" if len(of) > 8 else "") or "nothing more" for of in less
    )
    return f"has {mine}, but {name} has {others}"
