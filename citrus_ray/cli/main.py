"""Run a sweep: a file of yours, or by its name one that comes with the package, as `quickstart`.
Running the same command again computes only what is missing."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from citrus_ray.cli.boundary import CODES, bounded
from citrus_ray.experiment import sweep_files

EXIT_CODES = (
    "exit codes: 0 done, 1 too much of the sweep failed, 2 the spec or the data is wrong, "
    f"3 Ray did not start or was lost (run the same command), {CODES}"
)
SAFE = "what was finished is recorded, run the same command to go on"
SWEEP_PY = "sweeps/run.py"


@bounded("citrus run", nothing="nothing was started", safe=SAFE)
def main(
    argv: Sequence[str] | None = None, sweeps: Path | None = None, prog: str = SWEEP_PY
) -> int:
    """The exit code of one call; `sweeps` is the folder of the sweeps that have a name, by default
    of those that come with the package."""
    cli, sweeps = parser(prog), sweeps or sweep_files.shipped("sweeps")
    args = cli.parse_args(argv)
    if args.list:
        print("\n".join(catalogue(sweeps)))
        return 0
    if not args.spec:
        cli.error("the following arguments are required: SPEC")
    if (Path(args.spec) / "spec.yaml").is_file():  # a results folder
        args.spec, args.out = str(Path(args.spec) / "spec.yaml"), args.out or Path(args.spec)
    if args.data:
        os.environ["CITRUS_DATA"] = str(args.data.resolve())
    from citrus_ray.cli.sweep import SweepCommand  # after parsing: `--help` waits for nothing

    return SweepCommand.from_args(find(args.spec, sweeps), args).run()


def status(argv: Sequence[str], prog: str = "citrus status") -> int:
    """What is recorded of a sweep so far; nothing is started."""
    return main([*_asked(status_parser(prog).parse_args(argv)), "--status"])


def top(argv: Sequence[str], prog: str = "citrus top") -> int:
    """The best recorded trials of each cell with their parameters; nothing is started."""
    args = top_parser(prog).parse_args(argv)
    return main([*_asked(args), "--top", str(args.n)])


def status_parser(prog: str) -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(prog=prog, description=status.__doc__)
    cli.add_argument("spec", metavar="SPEC", help="what was run, or its results folder")
    cli.add_argument("--out", metavar="DIR", help="where its results are, if elsewhere")
    text = "as it was run with"
    cli.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help=text)
    return cli


def top_parser(prog: str) -> argparse.ArgumentParser:
    cli = status_parser(prog)
    cli.description = top.__doc__
    cli.add_argument("-n", type=_count, default=5, metavar="N", help="of each cell (default: 5)")
    return cli


def _asked(args: argparse.Namespace) -> list[str]:
    out = ["--out", args.out] if args.out else []
    return [args.spec, *out, *(word for edit in args.set for word in ("--set", edit))]


def parser(prog: str = SWEEP_PY) -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(prog=prog, description=__doc__, epilog=EXIT_CODES)
    flag = cli.add_argument
    text = "a sweep's YAML file, the name of one that comes with the package, or a results folder"
    flag("spec", metavar="SPEC", nargs="?", help=text)
    flag("--list", action="store_true", help="the sweeps that have a name, each with its question")
    where = cli.add_mutually_exclusive_group()
    text = "one trial after another in this process, without Ray: to debug, or for small sweeps"
    where.add_argument("--no-ray", action="store_true", help=text)
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
    text = "let anyone who reaches Ray's ports run code on this cluster, as $RAY_AUTH_MODE=disabled"
    flag("--without-token", action="store_true", help=text)
    flag("--verbose", action="store_true", help="show what Ray has to say")
    flag("--quiet", action="store_true", help="say nothing on the way")
    return cli


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number of at least 1")
    return int(text)


def find(spec: str, sweeps: Path | None) -> Path:
    """The spec's file: a path, or a bare name looked up among the sweeps that have one."""
    path = sweep_files.find(spec, sweeps)
    if path is not None:
        return path
    from citrus_ray.spec import refuse

    known = ", ".join(sweep_files.by_name(sweeps))
    raise refuse(f"no such sweep; give a YAML file, or one of: {known}", spec)


def catalogue(sweeps: Path | None) -> list[str]:
    """A line for each sweep that has a name: the question that it asks."""
    files = sweep_files.by_name(sweeps)
    width = max(map(len, files), default=0)
    questions = {n: sweep_files.question_of(f.read_text("utf-8")) for n, f in files.items()}
    return [f"{name:{width}}  {said}" for name, said in questions.items()]
