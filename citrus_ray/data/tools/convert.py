"""`citrus convert IN… --out DIR`: recordings of any format as npz, laid out as in docs/formats.md.

Samples, names, kinds, units and rates are kept as they were read, and so are the start, annotations
and columns of text. Channels of several rates become streams. A file appears whole or not at all.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from citrus_ray.data.faults import broken
from citrus_ray.data.formats.arrays import MARKS
from citrus_ray.data.formats.known import ending_of, format_of
from citrus_ray.data.formats.nifti import SUFFIXES, is_nifti, read_image, read_mask, read_series
from citrus_ray.data.formats.recordings import (
    Header,
    read_annotations,
    read_column,
    read_header,
    read_samples,
    read_start,
)
from citrus_ray.data.formats.signals import PLAIN, Channel, FileLayout
from citrus_ray.data.root import mapped
from citrus_ray.data.tools.export import beside
from citrus_ray.spec import Problem, SpecError, refuse, validate

TEXTS = (".csv", ".tsv", ".txt")
KEYS = ("x", "rate", "names", "time", "unit", "transposed")


def main(argv: Sequence[str], prog: str = "citrus convert") -> int:
    """Exit code 0: all done, 1: some could not be read, 2: asked what makes no sense."""
    options = command_parser(prog).parse_args(argv)
    try:
        layout = _layout(options)
        todo = targets(options.recordings, options.out, options.force, layout)
    except SpecError as err:
        print(f"error: {err}", file=sys.stderr)
        return 2
    failed = 0
    for path, target in todo.items():
        try:
            if is_nifti(path):
                facts = facts_of_image(path, options.mask, options.regions)
            else:
                facts = facts_of(path, layout, options.channels)
            write(target, facts)
        except SpecError as err:
            failed += 1
            print(f"error: {err}", file=sys.stderr)
        else:
            print(f"{path} -> {target}: {_said(facts)}")
    done = len(todo) - failed
    print(f"{done} of {len(todo)} recordings are in {options.out / 'recordings'}")
    if done:
        block = f'kind: files, root: {options.out}, pattern: "recordings/**/*.npz"'
        print(f"read them as {{{block}, seconds: …, sfreq: …}}")
    return 1 if failed else 0


def command_parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog, description=__doc__)
    what = "recordings, and folders in which they are looked for"
    parser.add_argument("recordings", nargs="+", type=Path, metavar="IN", help=what)
    what = "where recordings/*.npz are written"
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=what)
    what = "these channels only, parted by commas"
    parser.add_argument("--channels", type=_names, metavar="NAMES", help=what)
    what = "write what is there already anew"
    parser.add_argument("--force", action="store_true", help=what)
    said = parser.add_argument_group("what tables and arrays do not say, as `layout` in a spec")
    said.add_argument("--x", metavar="NAME", help="arrays: the variable of samples, EEG.data")
    said.add_argument("--rate", type=float, metavar="HZ", help="rate of rows or samples")
    said.add_argument("--names", type=_names, metavar="NAMES", help="columns or rows without names")
    said.add_argument("--time", metavar="COLUMN", help="tables: the column of times")
    said.add_argument("--unit", choices=["s", "ms", "us", "ns"], help="of the times")
    said.add_argument("--transposed", action="store_true", help="arrays are (T, C)")
    image = parser.add_argument_group("NIfTI")
    image.add_argument("--mask", type=Path, metavar="FILE", help="voxels that are channels")
    what = "the mask numbers regions, whose means are channels"
    image.add_argument("--regions", action="store_true", help=what)
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _layout(options: argparse.Namespace) -> FileLayout:
    given = {key: getattr(options, key) for key in KEYS if getattr(options, key)}
    return validate(FileLayout, given)


def targets(
    inputs: Iterable[Path], out: Path, force: bool, layout: FileLayout = PLAIN
) -> dict[Path, Path]:
    """Where each recording is written: under its path in the folder that was given."""
    found, problems = dict[Path, Path](), list[Problem]()
    for given in inputs:
        is_recording = given.is_file() or bool(ending_of(given))
        if not given.exists():
            problems.append(Problem("", "is not there; correct the path", str(given)))
        for path in [given] if is_recording else sorted(recordings_in(given, layout)):
            name = path.relative_to(given.parent if is_recording else given)
            end = ending_of(path) or next((e for e in SUFFIXES if name.name.endswith(e)), "")
            bare = str(name)[: len(str(name)) - len(end)] if end else str(name)
            found[path] = out / "recordings" / f"{bare}.npz"
    if not found and not problems:
        raise refuse(f"no recording was found in {', '.join(map(str, inputs))}; name the files")
    seen = dict[Path, Path]()
    for path, target in found.items():
        first = seen.setdefault(target, path)
        if first != path:
            rule = f"would be written to {target}, as {first} would; convert one of them elsewhere"
            problems.append(Problem("", rule, str(path)))
        elif target.exists() and not force:
            rule = "is there already; --force writes it anew"
            problems.append(Problem("", rule, str(target)))
    if problems:
        raise SpecError(problems)
    return found


def recordings_in(folder: Path, layout: FileLayout) -> Iterable[Path]:
    """Recordings in a folder and those in it; what belongs to another is none by itself, and of
    tables of text those alone that read as recordings: others are labels or notes."""
    paths = [p for p in folder.rglob("*") if ending_of(p) or is_nifti(p)]
    folders = {p for p in paths if p.is_dir()}
    beside = {part for p in paths if ending_of(p) for part in _parts(p)}
    for path in paths:
        if path in beside or folders & {*path.parents}:
            continue
        if path.suffix.lower() in TEXTS:
            try:
                read_header(path, layout)
            except SpecError as err:
                print(f"left out: {err}", file=sys.stderr)
                continue
        yield path


def _parts(path: Path) -> list[Path]:
    parts = format_of(path).parts
    return parts(path) if parts and not path.is_dir() else []


# ---- one recording ----


def facts_of(path: Path, layout: FileLayout, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Everything that is known of a recording, by the keys of the layout."""
    header = read_header(path, layout)
    picks = [c for c in header.channels if names is None or c.name in names]
    odd = [name for name in names or () if name not in {c.name for c in picks}]
    if odd:
        known = ", ".join(c.name for c in header.channels)
        raise broken(path, f"has no {', '.join(odd)}; there are {known}", "--channels")
    faults = dict.fromkeys(c.fault for c in picks if c.fault)
    picks = [c for c in picks if not c.fault]
    if faults and (names or not picks):
        raise SpecError([Problem("", fault, str(path)) for fault in faults])
    for fault in faults:
        print(f"left out: channels of {path}: {fault}", file=sys.stderr)
    start, facts = read_start(header), dict[str, Any]()
    if start is not None:
        facts["start"] = np.float64(start)
    if format_of(path).marks is not None:
        facts |= _marks(read_annotations(path))
    rates = dict.fromkeys((c.stream, c.sfreq) for c in picks)
    if len(rates) == 1 and not picks[0].stream:
        return facts | _block(header, picks, "") | _columns(header, picks)
    streams = [stream or f"{rate:g}Hz" for stream, rate in rates]
    facts["streams"] = np.array(streams)
    for name, (stream, rate) in zip(streams, rates, strict=True):
        own = [c for c in picks if (c.stream, c.sfreq) == (stream, rate)]
        facts |= _block(header, own, f"_{name}")
    return facts


def _block(header: Header, picks: Sequence[Channel], end: str) -> dict[str, Any]:
    """Channels of one rate: `x` (C, T) and what is said of it."""
    rows = read_samples(header, picks)
    n_times = min(map(len, rows))
    on_disk = isinstance(rows[0], np.memmap)
    shape = (len(rows), n_times)
    x = mapped(shape, np.dtype(np.float32)) if on_disk else np.empty(shape, np.float32)
    for into, row in zip(x, rows, strict=True):
        into[:] = row[:n_times]
    of: dict[str, Any] = {"x": x, "sfreq": np.float64(picks[0].sfreq)}
    of |= {"ch_names": np.array([c.name for c in picks]), "unit": np.array([c.unit for c in picks])}
    of |= {"modality": np.array([c.modality for c in picks])}
    return {f"{key}{end}": value for key, value in of.items()}


def _columns(header: Header, picks: Sequence[Channel]) -> dict[str, Any]:
    """Columns of text, which may be labels, one value a sample."""
    found = dict[str, Any]()
    for name in format_of(header.path).texts(header.path, header.layout):
        values = read_column(header, name)
        if len(values.texts) == picks[0].n_times:
            found[name] = values.texts
    return found


def _marks(rows: Sequence[tuple[float, float, str]]) -> dict[str, Any]:
    if not rows:
        return {}
    onset, duration, text = zip(*rows, strict=True)
    return dict(zip(MARKS, (np.array(onset), np.array(duration), np.array(text)), strict=True))


def facts_of_image(path: Path, mask: Path | None, regions: bool) -> dict[str, Any]:
    """Voxels of a mask, or means of its regions, of a NIfTI series."""
    image = read_image(path)
    if mask is None:
        rule = f"is an image of {image.space} voxels"
        raise broken(path, f"{rule}; say with --mask FILE which of them are channels")
    if image.tr is None:
        raise broken(path, "does not say how far apart its volumes are; correct its header")
    inside = read_mask(mask, regions)
    inside.check(image)
    x, names = read_series(path, inside), inside.names()
    kinds = np.array(["fmri"] * len(names))
    return {"x": x, "sfreq": 1 / image.tr, "ch_names": np.array(names), "modality": kinds}


def write(target: Path, facts: dict[str, Any]) -> None:
    with beside(target) as partial:
        np.savez(partial / target.name, allow_pickle=False, **facts)


def _said(facts: dict[str, Any]) -> str:
    ends = [f"_{name}" for name in facts["streams"].tolist()] if "streams" in facts else [""]
    parts = [(facts[f"x{end}"].shape, float(facts[f"sfreq{end}"])) for end in ends]
    said = [f"{c} channels at {rate:g} Hz, {t / rate:.1f} s" for (c, t), rate in parts]
    n_marks = len(facts[MARKS[0]]) if MARKS[0] in facts else 0
    return "; ".join(said) + (f"; {n_marks} annotations" if n_marks else "")
