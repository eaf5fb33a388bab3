"""Cluster files that come with the package: `citrus cluster show onprem > mine.yaml`, replace what
stands in `<ANGLES>`, `ray up mine.yaml`, `citrus run SPEC --cluster mine.yaml`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from citrus_ray.experiment.sweep_files import question_of, shipped


def main(argv: Sequence[str], prog: str = "citrus cluster") -> int:
    """Exit code 0: shown, or nothing is wrong with it; 2: there is no such file, or it is wrong."""
    args = parser(prog).parse_args(argv)
    if args.action == "check":
        from citrus_ray.launch.cluster_file import check  # Ray takes a moment to load

        print(f"{args.file}: nothing is wrong with it; it is for {check(args.file)}")
        return 0
    files = known()
    if args.action == "list":
        width = max(map(len, files), default=0)
        about = {name: question_of(file.read_text("utf-8")) for name, file in files.items()}
        print("\n".join(f"{name:{width}}  {said}" for name, said in about.items()))
        return 0
    if args.name not in files:
        there = ", ".join(files) or "none"
        print(f"{args.name}: no such cluster file; there are {there}", file=sys.stderr)
        return 2
    print(files[args.name].read_text("utf-8"), end="")
    return 0


def parser(prog: str) -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(prog=prog, description=__doc__)
    actions = cli.add_subparsers(required=True, dest="action", metavar="ACTION")
    actions.add_parser("list", help="a line for each", description="A line for each.")
    text = "print one, to be filled in"
    show = actions.add_parser("show", help=text, description=text)
    show.add_argument("name", metavar="NAME", help=", ".join(known()))
    text = "what is wrong with a file for `ray up` or KubeRay, each with its line; starts nothing"
    check = actions.add_parser("check", help=text, description=text)
    check.add_argument("file", type=Path, metavar="FILE", help="as those that `show` prints")
    return cli


def known() -> dict[str, Path]:
    folder = shipped("cluster")
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))} if folder else {}
