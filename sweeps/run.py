#!/usr/bin/env python
"""Run a sweep: `python sweeps/run.py quickstart`. Running the same command again computes only what is missing."""

import argparse
import errno
import os
import sys
from pathlib import Path

SWEEPS = Path(__file__).resolve().parent
EXIT_CODES = (
    "exit codes: 0 done, 1 too much of the sweep failed, 2 the spec or the data is wrong, 130 interrupted, "
    "141 no one reads what it prints"
)


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    if args.data:
        os.environ["CITRUS_DATA"] = str(args.data.resolve())
    from citrus_ray.cli.sweep import SweepCommand  # after parsing: `--help` waits for nothing
    from citrus_ray.spec import SpecError

    try:
        return SweepCommand.from_args(find(args.spec), args).run()
    except SpecError as err:
        print(err, file=sys.stderr)
        print(
            f"{len(err.problems)} problem{'s' * (len(err.problems) > 1)}; nothing was started",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or Python complains when it flushes at its end
        return 141
    except OSError as err:
        if err.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f"{err.filename}: " if err.filename else ""
        print(
            f"{where}no space left on device; make room and run the same command to go on",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print(
            "interrupted; what was finished is recorded, run the same command to go on",
            file=sys.stderr,
        )
        return 130


def parser() -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(prog="sweeps/run.py", description=__doc__, epilog=EXIT_CODES)
    cli.add_argument(
        "spec", metavar="SPEC", help="a sweep's YAML file, or the name of one in sweeps/"
    )
    where = cli.add_mutually_exclusive_group()
    where.add_argument(
        "--address",
        metavar="A",
        help="run on the Ray cluster at A (`auto`: the one on this machine)",
    )
    where.add_argument(
        "--cluster",
        type=Path,
        metavar="FILE",
        help="run on the cluster that `ray up FILE` started; the same command again looks in, and fetches the results",
    )
    cli.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything, print the plan and its cost, start nothing",
    )
    cli.add_argument(
        "--status", action="store_true", help="print what is recorded so far, start nothing"
    )
    cli.add_argument(
        "--top",
        type=_count,
        metavar="N",
        help="print the N best recorded trials of each cell, start nothing",
    )
    cli.add_argument(
        "--fresh",
        action="store_true",
        help="start over: earlier results are moved aside, never deleted",
    )
    cli.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        dest="edits",
        help="change one key of the spec, e.g. budget.trials=8",
    )
    cli.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where results go (default: <name of the sweep> in $CITRUS_RESULTS, else in results/)",
    )
    cli.add_argument(
        "--reuse",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="take over the trials of another sweep's results that this one has in common with it",
    )
    cli.add_argument(
        "--data", type=Path, metavar="DIR", help="the folder of data sets (default: $CITRUS_DATA)"
    )
    cli.add_argument("--verbose", action="store_true", help="show what Ray has to say")
    return cli


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number of at least 1")
    return int(text)


def find(spec: str) -> Path:
    """A path, or a bare name looked up in sweeps/."""
    for path in (Path(spec), SWEEPS / spec, SWEEPS / f"{spec}.yaml"):
        if path.is_file():
            return path
    from citrus_ray.spec import Problem, SpecError

    known = ", ".join(
        sorted(str(p.relative_to(SWEEPS).with_suffix("")) for p in SWEEPS.rglob("*.yaml"))
    )
    raise SpecError([Problem("", f"no such sweep; give a YAML file, or one of: {known}", spec)])


if __name__ == "__main__":
    sys.exit(main())
