"""`citrus COMMAND …`: every command under one name; each parses its own arguments."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from citrus_ray.cli.boundary import bounded
from citrus_ray.spec import locate


class Command(NamedTuple):
    """One command: where its function is, which is imported when it is called, and what it does."""

    path: str
    about: str
    nothing: str = "nothing was changed"  # said where it is refused
    safe: str = "nothing was changed, run the same command again"  # where it ends in the middle


COMMANDS = {
    "run": Command("citrus_ray.cli.citrus:run", "plan, run or look at a sweep"),
    "report": Command("citrus_ray.cli.reports:report", "a page with what a sweep found"),
    "compare": Command("citrus_ray.cli.reports:comparison", "two sweeps side by side"),
    "gains": Command("citrus_ray.cli.reports:transfer_gain", "the table of transfer gains"),
    "predict": Command("citrus_ray.cli.predict:main", "ask a kept model about recordings"),
    "export": Command("citrus_ray.cli.export:main", "a kept model as TorchScript or ONNX"),
    "init": Command("citrus_ray.cli.init:main", "a first sweep for a folder of recordings"),
    "data": Command(
        "citrus_ray.data.__main__:main",
        "list, describe, fetch and seal sets of recordings",
        safe="what came is kept, and the same command goes on from there",
    ),
    "convert": Command(
        "citrus_ray.data.tools.convert:main",
        "recordings of any format as npz",
        safe="what is written is whole, and the same command goes on from there",
    ),
    "records": Command("citrus_ray.cli.record_files:main", "check or compact a sweep's records"),
    "store": Command("citrus_ray.store.__main__:main", "list, check and prune encoders"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of one call."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0
    command = COMMANDS.get(words[0])
    if command is None:
        known = ", ".join(COMMANDS)
        print(f"citrus {words[0]}: no such command; there are {known}", file=sys.stderr)
        return 2
    bounds = bounded(f"citrus {words[0]}", command.nothing, command.safe)
    return bounds(lambda argv: int(locate(command.path)(argv)))(words[1:])


def run(argv: Sequence[str]) -> int:
    """A sweep by its file or, in a checkout, by the name of one in sweeps/."""
    from citrus_ray.cli.main import main as run_sweep

    sweeps = Path(__file__).resolve().parents[2] / "sweeps"
    return run_sweep(argv, sweeps=sweeps if sweeps.is_dir() else None)


def _help() -> str:
    rows = [f"  {name:10} {command.about}" for name, command in COMMANDS.items()]
    about = "Distributed hyper-parameter sweeps for bio-signal transfer learning."
    more = "citrus COMMAND --help says more of one."
    return "\n".join(["usage: citrus COMMAND …", "", about, "", *rows, "", more])


if __name__ == "__main__":
    sys.exit(main())
