"""`citrus data`: list the sets there are, describe one, fetch a public original, seal a folder."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from citrus_ray.data.originals import Original, originals
from citrus_ray.data.root import data_root
from citrus_ray.data.tools import catalogue, seal
from citrus_ray.data.tools.fetch import FetchLine, FetchOptions, Lock, fetch, lock_of
from citrus_ray.data.tools.unpack import FetchError
from citrus_ray.spec import SpecError, locate, refuse


def main(args: Sequence[str] | None = None, prog: str = "citrus data") -> int:
    """Exit code 0: done, 1: not to be fetched, 2: asked what makes no sense, 130: interrupted."""
    words = list(sys.argv[1:] if args is None else args)
    try:
        if words[:1] == ["describe"]:
            from citrus_ray.data.tools.describe import main_describe

            return int(main_describe(words[1:]))
        options = command_parser(prog).parse_args(words)
        if options.command == "seal":
            return seal.seal(options.folder, options.again)
        return _list(options) if options.command == "list" else _fetch(options)
    except SpecError as err:
        print(f"error: {err}", file=sys.stderr)
        return 2
    except (FetchError, OSError) as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        said = "stopped; what came is kept, and the same command goes on from there"
        print(f"\n{said}", file=sys.stderr)
        return 130


def command_parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog, description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    what = "download the public original of a set, or go on with it"
    get = commands.add_parser("fetch", help=what)
    get.add_argument("name", help="what `list` shows")
    what = "fetch from here; may be repeated"
    get.add_argument("--url", action="append", default=[], metavar="BASE", help=what)
    get.add_argument("--only", metavar="PATTERN", help="these files only, as in '*SC400*'")
    get.add_argument("--plain-http", action="store_true", help=argparse.SUPPRESS)  # for tests
    what = "every set that a sweep may name, and every original that can be fetched"
    show = commands.add_parser("list", help=what)
    show.add_argument("--json", action="store_true", help="for machines")
    commands.add_parser("describe", help="a quality report on a set", add_help=False)
    seal.add_to(commands)
    for command in (get, show):
        what = "sets lie in DIR/NAME; $CITRUS_DATA without"
        command.add_argument("--root", type=Path, metavar="DIR", help=what)
    return parser


def _list(options: argparse.Namespace) -> int:
    if options.root:  # named sets lie there as well
        os.environ["CITRUS_DATA"] = str(options.root)
    print(catalogue.as_json() if options.json else catalogue.render())
    return 0


def _terms(original: Original) -> str:
    return f"{original.licence or 'see page'}; {original.page or original.base_url}"


def _fetch(options: argparse.Namespace) -> int:
    known, root = originals(), options.root or data_root()
    original = next((o for o in known.values() if options.name in (o.name, o.kind)), None)
    if original is None:
        raise refuse(f"there is no set {options.name} to fetch; there are {', '.join(known)}")
    how = FetchOptions(tuple(options.url), options.only, FetchLine(), plain_http=options.plain_http)
    paths = fetch(original, root, how)
    size = sum(path.stat().st_size for path in paths)
    print(f"{original.name}: {len(paths)} files, {size / 1e6:.1f} MB in {root / original.name}")
    if (lock := lock_of(root, original)).is_file():
        n = len(Lock.read(lock).known)
        what = f"no SHA-256 is published of {n} of them: later downloads are compared with this one"
        print(f"{what} ({lock})")
    print(f"licence: {_terms(original)}\ncite: {original.citation}")
    print(f"read it as {original.block(str(root / original.name))}")
    return 0


if __name__ == "__main__":
    # the commands' one boundary stands above this room, and is looked up late
    raise SystemExit(locate("citrus_ray.cli.citrus:main")(["data", *sys.argv[1:]]))
