"""`citrus records`: the files that a sweep's results rest on, checked or put together."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from citrus_ray import records


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0: done, 1: something is damaged, 2: there are no records there."""
    cli = argparse.ArgumentParser(prog="citrus records", description=__doc__)
    actions = cli.add_subparsers(required=True, dest="action")
    about = {
        "verify": "whether every file can be read, and parts are as they were made; exit 1 if not",
        "compact": "put single trials into one part; results stay the same, byte for byte",
    }
    for name, text in about.items():
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("results", type=Path, metavar="DIR", help="a sweep's results folder")
    args = cli.parse_args(argv)
    folder = args.results / "records"
    if not folder.is_dir():
        rule = "holds no records/; give the results folder of a sweep"
        print(f"{args.results}: {rule}", file=sys.stderr)
        return 2
    return _compact(folder) if args.action == "compact" else _verify(folder)


def _compact(folder: Path) -> int:
    n_before = len(records.files(folder))
    part = records.compact(folder, at_least=2)
    said = f"{n_before} files are {len(records.files(folder))} now" if part else "nothing to do"
    print(f"{folder}: {said}")
    return 0


def _verify(folder: Path) -> int:
    from citrus_ray.evidence.reading import collect  # pydantic takes a moment to load

    found = collect([folder])
    for bad in found.unreadable:
        print(f"{folder / bad.file}: {bad.reason}", file=sys.stderr)
    n_files, n_bad = len(records.files(folder)), len(found.unreadable)
    print(f"{folder}: {found.n_read} records in {n_files} files, {n_bad} of them damaged")
    return int(bool(n_bad))
