"""`citrus COMMAND …`: every command under one name; each parses its own arguments."""

import sys
from collections.abc import Sequence
from typing import NamedTuple

from citrus_ray.cli.boundary import bounded
from citrus_ray.cli.main import SAFE
from citrus_ray.spec import locate


class Command(NamedTuple):
    """One command: where its function and its parser are, which are imported when it is called,
    and what it does."""

    main: str
    parser: str
    about: str
    nothing: str = "nothing was changed"  # said where it is refused
    safe: str = "nothing was changed, run the same command again"  # where it ends in the middle


ABOUT = "Distributed hyper-parameter sweeps for bio-signal transfer learning."
CLI, DATA = "citrus_ray.cli", "citrus_ray.data"
GROUPS = {
    "sweeps": {
        "init": Command(f"{CLI}.init:main", f"{CLI}.init:command_parser", "write a first sweep"),
        "run": Command(
            f"{CLI}.main:main",
            f"{CLI}.main:parser",
            "plan or run a sweep",
            nothing="nothing was started",
            safe=SAFE,
        ),
        "status": Command(
            f"{CLI}.main:status", f"{CLI}.main:status_parser", "what is recorded so far"
        ),
        "top": Command(f"{CLI}.main:top", f"{CLI}.main:top_parser", "the best trials so far"),
        "cluster": Command(
            f"{CLI}.cluster_files:main", f"{CLI}.cluster_files:parser", "files for Ray clusters"
        ),
    },
    "results": {
        "report": Command(
            f"{CLI}.reports:report", f"{CLI}.reports:report_parser", "a page with what was found"
        ),
        "compare": Command(
            f"{CLI}.reports:comparison", f"{CLI}.reports:compare_parser", "two sweeps side by side"
        ),
        "gains": Command(
            f"{CLI}.reports:transfer_gain", f"{CLI}.reports:gains_parser", "transfer gains, a table"
        ),
        "records": Command(
            f"{CLI}.record_files:main", f"{CLI}.record_files:parser", "check or compact records"
        ),
    },
    "models": {
        "predict": Command(
            f"{CLI}.predict:main", f"{CLI}.predict:parser", "ask a kept model about recordings"
        ),
        "export": Command(
            f"{CLI}.export:main", f"{CLI}.export:parser", "a kept model as TorchScript or ONNX"
        ),
        "store": Command(
            "citrus_ray.store.__main__:main",
            "citrus_ray.store.__main__:command_parser",
            "list, check and prune encoders",
        ),
    },
    "recordings": {
        "data": Command(
            f"{DATA}.__main__:main",
            f"{DATA}.__main__:command_parser",
            "list, describe, fetch and seal sets of recordings",
            safe="what came is kept, and the same command goes on from there",
        ),
        "convert": Command(
            f"{DATA}.tools.convert:main",
            f"{DATA}.tools.convert:command_parser",
            "recordings of any format as npz",
            safe="what is written is whole, and the same command goes on from there",
        ),
    },
    "help": {
        "schema": Command(
            f"{CLI}.schema:main", f"{CLI}.schema:parser", "keys of a sweep, for editors and readers"
        ),
        "completion": Command(
            f"{CLI}.completion:main", f"{CLI}.completion:parser", "for bash, zsh and fish"
        ),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of one call."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0
    if words[0] in ("-V", "--version"):
        from citrus_ray import __version__

        print(f"citrus_ray {__version__}")
        return 0
    command = COMMANDS.get(words[0])
    if command is None:
        known = ", ".join(COMMANDS)
        print(f"citrus {words[0]}: no such command; there are {known}", file=sys.stderr)
        return 2
    bounds = bounded(f"citrus {words[0]}", command.nothing, command.safe)
    prog = f"citrus {words[0]}"
    return bounds(lambda argv: int(locate(command.main)(argv, prog=prog)))(words[1:])


def _help() -> str:
    lines = ["usage: citrus COMMAND …", "", ABOUT]
    for title, group in GROUPS.items():
        rows = [f"  {name:10} {command.about}" for name, command in group.items()]
        lines += ["", f"{title}:", *rows]
    more = "citrus COMMAND --help says more of one; citrus --version says which this is."
    return "\n".join([*lines, "", more])


if __name__ == "__main__":
    sys.exit(main())
