"""The quality report of a set: what is in it, and what could flatter a number computed from it.

`citrus data describe WHAT [--json]`, WHAT a set, a kind of source, '{kind: …}',
FILE.yaml, or FILE.yaml:path.to.block. Measured in quality.py.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from citrus_ray.context import TargetKind
from citrus_ray.data import originals, sets
from citrus_ray.data.faults import unknown
from citrus_ray.data.source import Source
from citrus_ray.data.tools.catalogue import columns
from citrus_ray.data.tools.probes import KNOWN, SOLVED, Probes, probe, share_of_the_way
from citrus_ray.data.tools.quality import (
    ChannelQuality,
    Confounding,
    Neighbours,
    Quality,
    Repeats,
    measure,
)
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.splits import Split
from citrus_ray.data.windows import NO_LABELS
from citrus_ray.spec import SpecError, parse_yaml, read_yaml, refuse, validate

NO_PROBES = Probes()
TESTED = 8  # names of test groups that are shown

# ---- judging ----


def warnings(quality: Quality) -> Iterator[str]:
    """Plain sentences about what could flatter or spoil a number."""
    if quality.confounding is not None:
        yield from _confounded(quality, quality.confounding)
    if quality.windows_per_group[1] == 1 and quality.groups > 1:
        rule = "most groups are one window: nothing says which windows are from one person"
        yield f"{rule}, so a person may be in train and in test"
    if quality.unsplittable:
        yield f"no split with the defaults of `split:`: {quality.unsplittable}"
    elif quality.groups < 8:
        count = "1 group" if quality.groups == 1 else f"{quality.groups} groups"
        yield f"only {count}: a test part is one or two of them, so scores vary much with the split"
    for stream in (quality, *quality.others):
        about = f"{stream.stream}: " if quality.others else ""
        for said in (*_repeated(stream.repeats, stream.neighbours), *_spoilt(stream)):
            yield about + said


def told_by_little(quality: Quality, probes: Probes) -> Iterator[str]:
    """Plain sentences about what makes a score say less than it seems to."""
    one, who = probes.one_feature, probes.recognised
    if one and share_of_the_way(one.score, one.chance) >= SOLVED:
        rule = f"solved by one feature: {one.name} alone reaches {one.score:.2f} on others' windows"
        yield f"{rule} (chance {one.chance:.2f}), so a model that does as well has shown little"
    found = quality.confounding
    if probes.time and share_of_the_way(probes.time.score, probes.time.chance) >= KNOWN:
        rule = f"when a window was recorded tells its class ({probes.time.score:.2f}, chance"
        rule += f" {probes.time.chance:.2f}): what drifts (temperature, electrodes, tiredness)"
        yield f"{rule} may be learnt in its place"
    if who and found and share_of_the_way(who.right, who.chance) >= KNOWN:
        rule = f"a window says who it is of: the group of {who.right:.0%} is guessed right from"
        rule += f" means and spreads (chance {who.chance:.0%})"
        if found.group_has_one_class > 0.5:
            yield f"{rule}, and every group has one class: a model may learn people, not classes"
        else:
            yield f"{rule}: with few people to learn from, a model may learn them"
    if probes.shared:
        named = "; ".join(probes.shared[:4]) + ("; …" if len(probes.shared) > 4 else "")
        rule = f"{len(probes.shared)} pairs of groups share samples of their recordings: {named}"
        yield f"{rule}; a sweep that tests one of them refuses to start"


def _confounded(quality: Quality, found: Confounding) -> Iterator[str]:
    single = [name for name, n in found.groups_per_class.items() if n == 1]
    several = quality.windows_per_group[1] > 1
    if found.class_has_one_group == 1 and quality.groups == len(quality.classes):
        rule = "class = group: whoever knows the recording knows the class"
        yield f"{rule}, so no score on this set means anything"
    elif single:
        rule = f"{', '.join(single)}: all windows are from one group"
        yield f"{rule}, so class and group cannot be told apart"
    elif found.group_has_one_class == 1 and several:
        counts = ", ".join(f"{name} {n}" for name, n in found.groups_per_class.items())
        rule = "every group has one class: the class is a trait of the group, so the sample is"
        yield f"{rule} {quality.groups} groups ({counts}), not {quality.windows} windows"
    elif found.group_has_one_class > 0.5 and several:
        rule = f"{found.group_has_one_class:.0%} of windows are in groups of one class"
        yield f"{rule}: the group gives it away"
    rare, common = min(quality.classes.values()), max(quality.classes.values())
    if rare * 20 < common:
        rule = f"the rarest class has {rare} windows and the most common {common}"
        yield f"{rule}: read balanced accuracy, not accuracy"


def _repeated(repeated: Repeats, near: Neighbours) -> Iterator[str]:
    if repeated.across_groups:
        named = "; ".join(repeated.shared_by[:4]) + ("; …" if len(repeated.shared_by) > 4 else "")
        rule = f"{repeated.across_groups} windows are copies of a window of another group"
        yield f"{rule} and may cross a split: {named}"
    if repeated.across_classes:
        rule = f"{repeated.across_classes} windows are copies of a window of another class"
        yield f"{rule}: their labels contradict"
    if near.overlapping_across_groups:
        rule = f"{near.overlapping_across_groups} windows overlap a window of another group"
        yield f"{rule}: they may cross a split"
    ends = near.ends_correlate_across_groups
    if ends is not None and ends > 0.8:
        rule = "windows of one group go on where those of another end (their ends correlate"
        yield f"{rule} {ends:.2f}): the groups may be pieces of one recording"
    if near.overlapping > 0.05:
        rule = f"{near.overlapping:.0%} of neighbours overlap by {near.overlap:.0%} of their length"
        yield f"{rule}: there are fewer independent windows than windows"


def _spoilt(quality: Quality) -> Iterator[str]:
    if quality.non_finite:
        yield f"{quality.non_finite} samples are not finite"
    if quality.dropped > 0.05:
        rule = f"{quality.dropped:.0%} of windows were dropped for missing samples"
        yield f"{rule}: is what is left representative?"
    for what, word in (("flat", "flat"), ("clipped", "clipped, coarsely quantised or padded")):
        bad = [(c.name, share) for c in quality.channels if (share := getattr(c, what)) > 0.05]
        if bad:
            named = ", ".join(f"{name} ({share:.0%})" for name, share in bad[:5])
            more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
            yield f"{word} windows: {named}{more}"


# ---- showing ----


def render(quality: Quality, probes: Probes = NO_PROBES) -> str:
    """A screen of text: the warnings first, since they are what matters."""
    low, middle, high = quality.windows_per_group
    size = f"{quality.windows} windows of {quality.seconds:g} s {_size(quality)}"
    classes = ", ".join(f"{name} {n}" for name, n in quality.classes.items())
    if quality.classes or quality.labels == NO_LABELS:
        labels = f"classes     {classes or 'none: not labelled'}"
    else:
        labels = f"labels      {quality.labels}"
    within = f"windows in each {low} / {middle:g} / {high} (min / median / max)"
    lines = [
        f"{quality.name}: {size}, {quality.digest}",
        *(f"  ! {warning}" for warning in all_warnings(quality, probes)),
        *(f"  caveat: {caveat}" for caveat in quality.caveats),
        labels,
        f"groups      {quality.groups}, {within}",
    ]
    if quality.confounding and middle > 1:
        lines.append(_confounding_line(quality.confounding))
    lines += _probe_lines(probes)
    amplitudes = _AMPLITUDES.get(quality.normalize or "", "as the source gives them")
    return "\n".join([*lines, f"amplitudes  {amplitudes}", *_signal_lines(quality)])


def all_warnings(quality: Quality, probes: Probes) -> list[str]:
    return [*warnings(quality), *told_by_little(quality, probes)]


def _probe_lines(probes: Probes) -> Iterator[str]:
    """Chance, the parts of the split, who tests, and what little knows."""
    if probes.chance is not None:
        said = f"{probes.chance:.2f} balanced accuracy"
        yield f"chance      {said}; {probes.majority:.2f} accuracy by the most common class"
    for part in probes.parts:
        of = ", ".join(f"{name} {n}" for name, n in part.classes.items())
        groups = f"{len(part.groups)} group{'s' if len(part.groups) > 1 else ''}"
        yield f"{part.name:12}{groups}, {part.windows} windows{': ' if of else ''}{of}"
    if probes.parts:
        tested = probes.parts[-1].groups
        more = f" and {len(tested) - TESTED} more" if len(tested) > TESTED else ""
        yield f"held out    {', '.join(tested[:TESTED])}{more}: tested, and seen by no choice"
    if probes.one_feature:
        one = probes.one_feature
        yield f"one feature {one.name}: {one.score:.2f} balanced accuracy on others' windows"
    if probes.time:
        yield f"time alone  {probes.time.score:.2f} from when in its recording a window begins"
    if probes.recognised:
        who = probes.recognised
        guess = f"group of {who.right:.0%} of windows guessed right among {who.groups}"
        yield f"identity    {guess}, {who.chance:.0%} blindly"


def _size(quality: Quality) -> str:
    if quality.others:
        return f"in {1 + len(quality.others)} streams"
    return f"({quality.n_times} samples at {quality.sfreq:g} Hz), {_channels(quality.channels)}"


def _signal_lines(quality: Quality) -> Iterator[str]:
    """What is said of the samples: of each stream, where there are several."""
    for stream in (quality, *quality.others):
        if quality.others:
            size = f"{stream.n_times} samples at {stream.sfreq:g} Hz, {_channels(stream.channels)}"
            yield f"stream      {stream.stream}: {size}"
        yield _repeats_line(stream)
        yield from _channel_lines(stream.channels)


def as_json(quality: Quality, probes: Probes = NO_PROBES) -> str:
    said = {"probes": asdict(probes), "warnings": all_warnings(quality, probes)}
    return json.dumps(asdict(quality) | said, allow_nan=False)


_AMPLITUDES = {
    "window": "every window has mean 0 and spread 1; `normalize: none` shows what was there",
    "recording": "every recording has mean 0 and spread 1; `normalize: none` shows what was there",
    "none": "in the unit of the files",
}


def _confounding_line(found: Confounding) -> str:
    right = f"{found.class_guessed_from_group:.0%} from the group"
    guess = f"{right}, {found.class_guessed_blindly:.0%} blindly"
    nmi = f"normalised mutual information {found.nmi:.2f}"
    return f"confounding class guessed right: {guess}; {nmi}"


def _repeats_line(quality: Quality) -> str:
    near, ends = quality.neighbours, quality.neighbours.ends_correlate
    overlap = f"{near.overlapping:.0%} of {near.pairs} neighbours overlap"
    correlate = "" if ends is None else f", their ends correlate {ends:.2f}"
    return f"repeats     {quality.repeats.windows} exact copies, {overlap}{correlate}"


def _channel_lines(channels: Sequence[ChannelQuality], limit: int = 8) -> Iterator[str]:
    """A line per channel, or per modality where they are many."""
    if len(channels) > limit:
        kinds = dict.fromkeys(channel.modality for channel in channels)
        by_kind = [[c for c in channels if c.modality == kind] for kind in kinds]
        channels = [_together(of) for of in by_kind]
    rows = [["channel", "modality", "lowest", "highest", "typical std", "flat", "clipped"]]
    for c in channels:
        amplitudes = (f"{value:.4g}" for value in (c.low, c.high, c.std))
        rows.append([c.name, c.modality, *amplitudes, f"{c.flat:.1%}", f"{c.clipped:.1%}"])
    yield from (f"  {line}" for line in columns(rows))


def _channels(channels: Sequence[ChannelQuality]) -> str:
    return f"{len(channels)} channel" + ("s" if len(channels) > 1 else "")


def _together(channels: Sequence[ChannelQuality]) -> ChannelQuality:
    flat, clipped = (float(np.mean([getattr(c, w) for c in channels])) for w in ("flat", "clipped"))
    low, high = min(c.low for c in channels), max(c.high for c in channels)
    std = float(np.median([c.std for c in channels]))
    name, modality = _channels(channels), channels[0].modality
    return ChannelQuality(name, modality, low, high, std, flat, clipped)


# ---- the command ----


def main_describe(args: list[str]) -> int:
    """Exit code 0: described, 2: there is no such set, or its data are wrong."""
    parser = argparse.ArgumentParser("citrus data describe", description=__doc__)
    what = "a set, a kind of source, '{kind: …}', FILE.yaml, or FILE.yaml:path.to.block"
    parser.add_argument("what", help=what)
    parser.add_argument("--json", action="store_true", help="for machines: everything, per channel")
    what = "the folder that holds the sets; $CITRUS_DATA without"
    parser.add_argument("--data", metavar="DIR", help=what)
    options = parser.parse_args(args)
    if options.data:
        os.environ["CITRUS_DATA"] = options.data
    try:
        source = source_of(options.what)
        source.check()
        windows, how = cache.load(source), split_of(options.what)
        quality = measure(windows, options.what, getattr(source, "normalize", None))
        probes = probe(windows, how)
    except SpecError as err:
        print(f"error: {err}", file=sys.stderr)
        return 2
    print(as_json(quality, probes) if options.json else render(quality, probes))
    return 0


def split_of(what: str) -> Split:
    """The split that stands beside a target in its file, else that of the defaults."""
    file, _, path = what.partition(":")
    if what.lstrip().startswith("{") or Path(file).suffix.lower() not in (".yaml", ".yml"):
        return Split()
    tree: Any = read_yaml(file).tree
    for part in path.split(".")[:-1]:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return validate(Split, tree.get("split") or {}) if isinstance(tree, dict) else Split()


def source_of(what: str) -> Source:
    """The source that a name, a kind, a block, a file or a block of a file stands for."""
    file, _, path = what.partition(":")
    if what.lstrip().startswith("{"):
        document, path = parse_yaml(what, "the block"), ""
        block = document.tree
    elif Path(file).suffix.lower() not in (".yaml", ".yml"):
        return originals.source_of(_known(what))
    else:
        document = read_yaml(file)
        block = _at(document.tree, path)
    try:
        return originals.source_of(block)
    except SpecError as err:
        inside = [
            # `source.seconds`, of the block at `path`, by its place in the file
            replace(p, path=(path + p.path.removeprefix("source")).removeprefix("."))
            for p in err.problems
        ]
        raise SpecError([document.place(problem) for problem in inside]) from None


def _known(name: str) -> str | dict[str, str]:
    """What a name stands for: a set, or a kind of source with its defaults. A set comes first."""
    if name in sets.names():
        return name
    kinds = originals.kinds()
    if name not in kinds:
        rule = unknown("set", name, {*sets.names(), *kinds}).message
        strange = "is neither a set that has a name nor a kind of source"
        raise refuse(rule.replace("is not there", strange, 1))
    needed = [key for key, field in kinds[name].model_fields.items() if field.is_required()]
    if needed:
        block = ", ".join([f"kind: {name}", *(f"{key}: …" for key in needed)])
        rule = f"kind {name} cannot do without {', '.join(needed)}"
        raise refuse(f"{rule}; describe '{{{block}}}'")
    return {"kind": name}


def _at(tree: Any, path: str) -> Any:
    """The block at `trial.finetune.target` or `compare.finetune.target[1]`; keys may hold dots."""
    found = dict(_blocks_of(tree))
    if path not in found:
        known = [name for name in found if name] or ["none"]
        rule = f"no source stands at `{path}` in this file; there are {', '.join(known)}"
        raise refuse(f"{rule}: write FILE.yaml:{known[0]}")
    return found[path]


def _blocks_of(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every block or name of a source in a file, by its path."""
    leaf = path.rpartition(".")[2].partition("[")[0]
    is_block = isinstance(tree, dict) and {"kind", "set"} & tree.keys()
    # inside a source `target` says what its labels are
    is_name = isinstance(tree, str) and tree not in get_args(TargetKind)
    if leaf in ("", "source", "target") and (is_name or is_block):
        yield path, tree
    items = tree.items() if isinstance(tree, dict) else ()
    for key, value in items:
        yield from _blocks_of(value, f"{path}.{key}" if path else str(key))
    for i, value in enumerate(tree if isinstance(tree, list) else ()):
        yield from _blocks_of(value, f"{path}[{i}]")
