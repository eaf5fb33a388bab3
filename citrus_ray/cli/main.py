"""Run a sweep: `python sweeps/run.py quickstart`. Running the same command again computes only what
is missing."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from citrus_ray.cli.boundary import CODES, bounded

EXIT_CODES = (
    f"exit codes: 0 done, 1 too much of the sweep failed, 2 the spec or the data is wrong, {CODES}"
)
SAFE = "what was finished is recorded, run the same command to go on"


@bounded("citrus run", nothing="nothing was started", safe=SAFE)
def main(argv: Sequence[str] | None = None, sweeps: Path | None = None) -> int:
    """The exit code of one call; `sweeps` is the folder of the sweeps that have a name."""
    args = parser().parse_args(argv)
    if args.data:
        os.environ["CITRUS_DATA"] = str(args.data.resolve())
    from citrus_ray.cli.sweep import SweepCommand  # after parsing: `--help` waits for nothing

    return SweepCommand.from_args(find(args.spec, sweeps), args).run()


def parser() -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(prog="sweeps/run.py", description=__doc__, epilog=EXIT_CODES)
    flag = cli.add_argument
    flag("spec", metavar="SPEC", help="a sweep's YAML file, or the name of one in sweeps/")
    where = cli.add_mutually_exclusive_group()
    text = "run on the Ray cluster at A (`auto`: the one on this machine)"
    where.add_argument("--address", metavar="A", help=text)
    text = (
        "run on the cluster that `ray up FILE` started; the same command again looks in, "
        "and fetches the results"
    )
    where.add_argument("--cluster", type=Path, metavar="FILE", help=text)
    text = "check everything, print the plan and its cost, start nothing"
    flag("--dry-run", action="store_true", help=text)
    flag("--status", action="store_true", help="print what is recorded so far, start nothing")
    text = "print the N best recorded trials of each cell, start nothing"
    flag("--top", type=_count, metavar="N", help=text)
    text = "start over: earlier results are moved aside, never deleted"
    flag("--fresh", action="store_true", help=text)
    text = "change one key of the spec, e.g. budget.trials=8"
    flag("--set", action="append", default=[], metavar="PATH=VALUE", dest="edits", help=text)
    text = "where results go (default: <name of the sweep> in $CITRUS_RESULTS, else in results/)"
    flag("--out", type=Path, metavar="DIR", help=text)
    text = "take over the trials of another sweep's results that this one has in common with it"
    flag("--reuse", action="append", default=[], type=Path, metavar="DIR", help=text)
    flag("--data", type=Path, metavar="DIR", help="the folder of data sets (default: $CITRUS_DATA)")
    flag("--verbose", action="store_true", help="show what Ray has to say")
    return cli


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number of at least 1")
    return int(text)


def find(spec: str, sweeps: Path | None) -> Path:
    """The spec's file: a path, or a bare name looked up among the sweeps that have one."""
    named = [sweeps / spec, sweeps / f"{spec}.yaml"] if sweeps else []
    for path in (Path(spec), *named):
        if path.is_file():
            return path
    from citrus_ray.spec import refuse

    files = sweeps.rglob("*.yaml") if sweeps else ()
    known = sorted(str(file.relative_to(sweeps or "").with_suffix("")) for file in files)
    raise refuse(f"no such sweep; give a YAML file, or one of: {', '.join(known)}", spec)
