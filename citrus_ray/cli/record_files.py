"""`citrus records`: the files that a sweep's results rest on, checked, put together or packed into
one to give away."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from citrus_ray import records
from citrus_ray.cli.boundary import bounded
from citrus_ray.cli.packed import SUFFIX, pack, unpack

SAFE = "no record is lost: a part is whole before a file of it goes; run the same command again"


def parser(prog: str) -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(prog=prog, description=__doc__)
    actions = cli.add_subparsers(required=True, dest="action")
    about = {
        "verify": "whether every line is as it was written and no member missing; exit 1 if not",
        "compact": "put single trials into one part; results stay the same, byte for byte",
        "pack": "one file, to publish, from which all results but predictions can be made again",
    }
    for name, text in about.items():
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("results", type=Path, metavar="DIR", help="a sweep's results folder")
    whole = "with what was said of every test window, which takes more room than all else"
    action.add_argument("--predictions", action="store_true", help=whole)
    action.add_argument("--out", type=Path, metavar="FILE", help=f"default: DIR{SUFFIX}")
    text = "a results folder from such a file: report, compare and gains take it as any other"
    action = actions.add_parser("unpack", help=text, description=text)
    action.add_argument("file", type=Path, metavar="FILE")
    action.add_argument("--out", type=Path, metavar="DIR", help="default: results/NAME of the file")
    return cli


@bounded("citrus records", nothing="nothing was changed", safe=SAFE)
def main(argv: Sequence[str] | None = None, prog: str = "citrus records") -> int:
    """Exit code 0: done, 1: something is damaged, 2: there are no records there."""
    args = parser(prog).parse_args(argv)
    if args.action == "unpack":
        folder = unpack(args.file, args.out)
        return _verify(folder / "records") if folder else 2
    folder = args.results / "records"
    if not folder.is_dir():
        rule = "holds no records/; give the results folder of a sweep"
        print(f"{args.results}: {rule}", file=sys.stderr)
        return 2
    if args.action == "pack":
        return _verify(folder) or pack(args.results, args.out, args.predictions)
    return _compact(folder) if args.action == "compact" else _verify(folder)


def _compact(folder: Path) -> int:
    n_before = len(records.files(folder))
    part = records.compact(folder, at_least=2)
    said = f"{n_before} files are {len(records.files(folder))} now" if part else "nothing to do"
    print(f"{folder}: {said}")
    return 0


def _has_no_seal(path: Path) -> bool:
    with suppress(OSError, records.DamagedError):
        return records.SEAL not in records.content_of(path)
    return False


def _verify(folder: Path) -> int:
    from citrus_ray.evidence.reading import collect  # pydantic takes a moment to load

    found = collect([folder])
    for bad in found.unreadable:
        print(f"{folder / bad.file}: {bad.reason}", file=sys.stderr)
    n_files, n_bad = len(records.files(folder)), len(found.unreadable)
    print(f"{folder}: {found.n_read} records in {n_files} files, {n_bad} of them damaged")
    if n_bad:
        print("the next run of the sweep sets them aside and computes their trials again")
    if n := sum(map(_has_no_seal, folder.glob("*.jsonl"))):
        print(f"{n} files are from before lines had a seal: of these an edited number is not seen")
    return int(bool(n_bad))
