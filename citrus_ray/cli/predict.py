"""`citrus predict MODEL RECORDINGS... --out CSV`: what a kept model says of recordings."""

import argparse
import csv
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from citrus_ray.cli.boundary import bounded

if TYPE_CHECKING:
    from citrus_ray.data.formats.signals import FileLayout
    from citrus_ray.data.sources.given import Allowed
    from citrus_ray.inference.model import KeptModel, Predicted

ABOUT = """\
Probabilities of each class, or a value, for every window of recordings, with the times of the
window, and for every recording: the mean over its windows.

MODEL is a folder below results/<name>/models/, which a sweep with `final: {keep: true}` writes.
Recordings are read, cut and scaled as those that it was trained on; what does not fit (channels,
rate, units, length) is refused by name, and nothing is written."""
NOTHING = "nothing was written"
EXIT_CODES = "exit codes: 0 done, 1 some recordings were left out (--skip), 2 nothing was written"


@bounded("citrus predict", nothing=NOTHING, safe=NOTHING)
def main(argv: Sequence[str] | None = None, prog: str = "citrus predict") -> int:
    """The exit code of one call."""
    args = parser(prog).parse_args(argv)
    try:
        return _predict(args)
    except OSError as err:
        print(f"{err.filename or args.out}: {err.strerror}; {NOTHING}", file=sys.stderr)
        return 2


def parser(prog: str = "citrus predict") -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(
        prog=prog,
        description=ABOUT,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flag = cli.add_argument
    flag("model", metavar="MODEL", type=Path, help="folder of the model, or its model.json")
    text = "recordings of any format that `kind: files` reads, or folders of them"
    flag("recordings", metavar="RECORDINGS", nargs="+", type=Path, help=text)
    text = "file for a row per window; a row per recording goes to CSV-recordings.csv beside it"
    flag("--out", required=True, type=Path, metavar="CSV", help=text)
    text = "what recordings call a channel of the model; may be given again"
    flag("--rename", action="append", default=[], metavar="MODEL=RECORDED", help=text)
    text = "bring recordings of any rate to that of the model, whatever training did"
    flag("--resample", action="store_true", help=text)
    text = "where amplitudes are in another unit: convert volts, or ignore it (default: refuse)"
    flag("--units", choices=("convert", "ignore"), help=text)
    text = "seconds from window to window (default: the length of a window)"
    flag("--stride", type=float, metavar="S", help=text)
    text = "cut the stretches of this table, as `kind: files` reads it, and give their labels back"
    flag("--where", type=Path, metavar="TABLE", help=text)
    flag("--skip", action="store_true", help="leave out recordings that do not fit, and say which")
    return cli


def _predict(args: argparse.Namespace) -> int:
    from citrus_ray.inference.model import load_model  # after parsing: `--help` waits for nothing

    model, allowed = load_model(args.model), _allowed(args)
    paths = recordings(args.recordings, model.expected.layout)
    if args.out.resolve() in {path.resolve() for path in paths.values()}:
        from citrus_ray.spec import refuse

        raise refuse(f"{args.out} is one of the recordings; give another file", "--out")
    wrong = 0
    if args.skip:
        paths, wrong = _that_fit(model, paths, allowed)
    found = model.predict(paths, allowed)
    _write(args.out, found, model)
    for said in found.notes:
        print(f"note: {said}", file=sys.stderr)
    n = len(found.recordings)
    print(f"{len(found.recording):,} windows of {n:,} recording{'s' * (n != 1)}: {args.out}")
    print(f"means over recordings: {of_recordings(args.out)}")
    return int(wrong > 0)


def _allowed(args: argparse.Namespace) -> "Allowed":
    from citrus_ray.data.sources.given import Allowed
    from citrus_ray.spec import refuse

    names = dict[str, str]()
    for text in args.rename:
        name, equals, recorded = text.partition("=")
        if not (name and equals and recorded):
            raise refuse(
                f"{text!r}: must read MODEL=RECORDED, for example Cz=EEG Cz-A1", "--rename"
            )
        names[name] = recorded
    if args.stride is not None and not 0 < args.stride < float("inf"):
        raise refuse(f"{args.stride:g}: must be seconds above 0", "--stride")
    return Allowed(names, args.resample, args.units or "same", args.stride, args.where)


def recordings(given: Iterable[Path], layout: "FileLayout") -> dict[str, Path]:
    """Recordings by their names: as they are given or, in a folder, relative to it."""
    from citrus_ray.data.formats.known import ending_of
    from citrus_ray.data.tools.convert import recordings_in
    from citrus_ray.spec import refuse

    found = dict[str, Path]()
    for path in given:
        if path.is_dir() and not ending_of(path):
            inside = [p for p in sorted(recordings_in(path, layout)) if ending_of(p)]
            if not inside:
                raise refuse(
                    f"{path} holds no recording; give files, or another folder", "RECORDINGS"
                )
            named = {p.relative_to(path).as_posix(): p for p in inside}
        elif path.exists():
            named = {str(path): path}
        else:
            raise refuse(f"there is no file {path}; correct the path", "RECORDINGS")
        for name, one in named.items():
            twice = name in found and found[name].resolve() != one.resolve()
            found[str(one) if twice else name] = one
    return found


def _that_fit(
    model: "KeptModel", paths: dict[str, Path], allowed: "Allowed"
) -> tuple[dict[str, Path], int]:
    """Recordings that fit, and how many do not, which are named with the reason."""
    from citrus_ray.data.sources.given import GivenRecordings
    from citrus_ray.spec import SpecError, refuse

    fit = dict[str, Path]()
    for name, path in paths.items():
        try:
            GivenRecordings.of({name: path}, model.expected, allowed).check()
        except SpecError as err:
            print(f"left out: {err}", file=sys.stderr)
        else:
            fit[name] = path
    if not fit:
        raise refuse("no recording fits the model; see above", "RECORDINGS")
    return fit, len(paths) - len(fit)


# ---- tables ----


def of_recordings(out: Path) -> Path:
    """Where the table of recordings goes."""
    return out.with_name(f"{out.stem}-recordings{out.suffix or '.csv'}")


def _write(out: Path, found: "Predicted", model: "KeptModel") -> None:
    from citrus_ray.records import write_text

    write_text(out, _csv(_window_rows(found, model)))
    write_text(of_recordings(out), _csv(_recording_rows(found, model)))


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    """Text that spreadsheets open; a mark at its start tells them where it is not plain ASCII."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\r\n").writerows(rows)
    text = file.getvalue()
    return text if text.isascii() else "\ufeff" + text


def _number(value: Any) -> str:
    """The shortest text that reads back as the same float32."""
    return f"{value!s}"


def _columns(model: "KeptModel") -> list[str]:
    """Of what was predicted: a class and probabilities, or a value."""
    if model.target == "value":
        return ["value"]
    return ["predicted", *(f"p({name})" for name in model.classes)]


def _said(model: "KeptModel", outputs: Any) -> list[str]:
    numbers = [_number(value) for value in outputs]
    return numbers if model.target == "value" else [model.classes[int(outputs.argmax())], *numbers]


def _window_rows(found: "Predicted", model: "KeptModel") -> Iterator[Sequence[Any]]:
    extra = ["label"] if found.labels else []
    yield ["recording", "start_s", "stop_s", *extra, *_columns(model)]
    for i, outputs in enumerate(found.outputs):
        times = f"{found.start_s[i]:.6g}", f"{found.stop_s[i]:.6g}"
        label = [found.labels[i]] if found.labels else []
        name = found.recordings[found.recording[i]]
        yield [name, *times, *label, *_said(model, outputs)]


def _recording_rows(found: "Predicted", model: "KeptModel") -> Iterator[Sequence[Any]]:
    yield ["recording", "windows", *_columns(model)]
    for i, name in enumerate(found.recordings):
        own = found.outputs[found.recording == i]
        nothing = [""] * len(_columns(model))
        yield [name, len(own), *(_said(model, own.mean(axis=0)) if len(own) else nothing)]
