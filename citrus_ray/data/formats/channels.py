"""Which channels of a recording are used, and whether all recordings have the same ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from citrus_ray.data.faults import broken, unknown
from citrus_ray.data.formats.recordings import Header
from citrus_ray.data.formats.signals import Channel
from citrus_ray.spec import Problem, SpecError

Picks = tuple[Channel, ...]


def pick(
    header: Header,
    streams: Sequence[str] | None,
    names: Sequence[str] | None,
    modality: str | Sequence[str] | None,
) -> Picks:
    """The wanted channels, in the order wanted, all of them readable."""
    channels = _of_streams(header, streams)
    # a trigger channel holds the labels: only by name
    signals = [c for c in channels if c.modality != "stim"]
    picks = signals if names is None else _named(header.path, channels, names)
    faults = dict.fromkeys(c.fault for c in picks if c.fault)
    if faults or not picks:
        empty = "holds nothing but triggers; leave it out of `pattern`"
        raise SpecError([Problem("", fault, str(header.path)) for fault in faults or [empty]])
    return _with_modality(header.path, picks, modality)


def pick_there(
    header: Header,
    streams: Sequence[str] | None,
    names: Sequence[str] | None,
    modality: str | Sequence[str] | None,
) -> Picks:
    """The wanted channels that a recording has; one at least."""
    there = {c.name for c in header.channels if not streams or c.stream in streams}
    if streams and header.streams:
        streams = [name for name in streams if name in header.streams]
    if names is not None:
        if modality is not None and not isinstance(modality, str):
            modality = [kind for kind, name in zip(modality, names, strict=True) if name in there]
        names = [name for name in names if name in there]
    if not there or streams == [] or names == []:
        raise broken(
            header.path, "has none of the wanted channels; leave it out of `pattern`", "channels"
        )
    return pick(header, streams, names, modality)


def union(
    picks: Mapping[Path, Picks], streams: Sequence[str] | None, names: Sequence[str] | None
) -> Picks:
    """Every channel that some recording has, in the order wanted, or of their first appearance."""
    found = {(c.stream, c.name): c for of in reversed(list(picks.values())) for c in of}
    if names is not None:
        wrong = [
            unknown("channels", name, {c.name for c in found.values()})
            for name in names
            if not _has(found, name)
        ]
        if wrong:
            raise SpecError(wrong)
    first = list(dict.fromkeys((c.stream, c.name) for of in picks.values() for c in of))
    place = {name: i for i, name in enumerate(names or ())}
    stream_place = {name: i for i, name in enumerate(streams or ())}
    # stable: else as they appear
    first.sort(key=lambda key: (stream_place.get(key[0], 0), place.get(key[1], 0)))
    return tuple(found[key] for key in first)


def _has(found: Mapping[tuple[str, str], Channel], name: str) -> bool:
    return any(name == of for _, of in found)


def _named(path: Path, channels: Sequence[Channel], names: Sequence[str]) -> list[Channel]:
    by_name = {c.name: c for c in channels}
    wrong = [unknown("channels", name, by_name, path) for name in names if name not in by_name]
    if wrong:
        raise SpecError(wrong)
    return [by_name[name] for name in names]


def _with_modality(
    path: Path, picks: Sequence[Channel], modality: str | Sequence[str] | None
) -> Picks:
    if modality is None:
        return tuple(picks)
    kinds = [modality] * len(picks) if isinstance(modality, str) else modality
    if len(kinds) != len(picks):
        rule = f"names {len(kinds)} modalities for {len(picks)} channels; give one, or one for each"
        raise broken(path, rule, "modality")
    return tuple(replace(c, modality=kind) for c, kind in zip(picks, kinds, strict=True))


def _of_streams(header: Header, streams: Sequence[str] | None) -> list[Channel]:
    """The channels of the wanted streams of a multi-rate file, or all of any other file."""
    there = header.streams
    if streams is None:
        if there:
            rule = f"holds several streams; name those to use in `streams:`, there are {', '.join(there)}"
            raise broken(header.path, rule, "streams")
        return list(header.channels)
    if not there:
        raise broken(
            header.path, "holds no streams; drop `streams:`, or pick with `channels:`", "streams"
        )
    wrong = [unknown("streams", name, there, header.path) for name in streams if name not in there]
    if wrong:
        raise SpecError(wrong)
    return [c for name in streams for c in header.channels if c.stream == name]


def alike(picks: Mapping[Path, Picks], units: bool) -> None:
    """Refuse recordings that differ in channels, their kind or, where it matters, their units."""
    rules: list[tuple[str, str, Callable[[Channel], str]]] = [
        ("channels", "name those to use in `channels:`", lambda c: c.name),
        ("modality", "say what the channels are in `modality:`", lambda c: c.modality),
    ]
    if units:
        rules.append(
            ("normalize", "convert the files, or set `normalize: window`", lambda c: c.unit.lower())
        )
    (first, others), *rest = picks.items() or [(Path(), ())]
    for field, way, of in rules:
        for path, mine in rest:
            one, two = [of(c) for c in others], [of(c) for c in mine]
            if one != two:
                raise broken(path, f"{_difference(two, one, first.name)}; {way}", field)


def alike_where_there(picks: Mapping[Path, Picks], all_of: Picks, units: bool, rates: bool) -> None:
    """Refuse channels that differ between recordings in kind or, where it matters, unit or rate."""
    known = {(c.stream, c.name): c for c in all_of}
    rules: list[tuple[bool, str, str, Callable[[Channel], str]]] = [
        (True, "modality", "say what the channels are in `modality:`", lambda c: c.modality),
        (
            units,
            "normalize",
            "convert the files, or set `normalize: window`",
            lambda c: c.unit.lower(),
        ),
        (rates, "sfreq", "give `sfreq` a rate, or narrow `pattern`", lambda c: f"{c.sfreq:g} Hz"),
    ]
    for path, mine in picks.items():
        for c in mine:
            other = known[c.stream, c.name]
            for field, way, of in ((field, way, of) for wanted, field, way, of in rules if wanted):
                if of(c) != of(other):
                    raise broken(
                        path, f"has {c.name} as {of(c)}, but others as {of(other)}; {way}", field
                    )


def _difference(one: Sequence[str], two: Sequence[str], name: str) -> str:
    if set(one) == set(two):
        return f"has the channels of {name} in another order"
    return f"has {_less(one, two)}, but {name} has {_less(two, one)}"


def _less(one: Sequence[str], two: Sequence[str], limit: int = 8) -> str:
    """What the one has and the other has not."""
    extra = [name for name in dict.fromkeys(one) if name not in two]
    return ", ".join(extra[:limit]) + ("…" if len(extra) > limit else "") or "nothing more"
