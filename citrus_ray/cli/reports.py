"""Commands over results folders: the table of gains, two sweeps side by side."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from citrus_ray.cli.boundary import bounded
from citrus_ray.evidence.comparison import compare, side
from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.evidence.tables import gain_lines
from citrus_ray.records import write_text

SAFE = "records are as they were, run the same command again"


@bounded("citrus gains", nothing="nothing was written", safe=SAFE)
def transfer_gain(
    argv: Sequence[str] | None = None, prog: str = "analysis/transfer_gain.py"
) -> int:
    """How much does pre-training help? Winners' test scores with it minus without it, as a
    table."""
    args = gains_parser(prog).parse_args(argv)
    if not _are_there(args.folders):
        return 2
    print("\n".join(gain_lines(read_evidence([Path(given) for given in args.folders]).gains)))
    return 0


def gains_parser(prog: str) -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(prog=prog, description=transfer_gain.__doc__)
    cli.add_argument("folders", nargs="+", metavar="RESULTS", help="a results folder of a sweep")
    return cli


@bounded("citrus compare", nothing="nothing was written", safe=SAFE)
def comparison(argv: Sequence[str] | None = None, prog: str = "analysis/compare.py") -> int:
    """Two sweeps or two commits side by side, and what changed beyond noise.

    A and B are results folders; results/lowdata@4997ff3 takes only what that commit computed.
    """
    args = compare_parser(prog).parse_args(argv)
    if not _are_there([given.partition("@")[0] for given in (args.a, args.b)]):
        return 2
    from citrus_ray.report.comparison import lines, page

    a, b = side(args.a), side(args.b)
    rows = compare(a, b)
    print("\n".join(lines(a, b, rows)))
    if args.page:
        write_text(args.page, page(a, b, rows))
    return 0


def compare_parser(prog: str) -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(prog=prog, description=comparison.__doc__)
    cli.add_argument("a", metavar="A", help="a results folder, or folder@commit")
    cli.add_argument("b", metavar="B", help="the other one")
    cli.add_argument("--page", type=Path, metavar="FILE", help="write it as a page too")
    return cli


def _are_there(folders: Sequence[str]) -> bool:
    absent = [folder for folder in folders if not Path(folder).is_dir()]
    if absent:
        way = "give one that `citrus run` wrote, such as results/quickstart"
        print(f"{absent[0]}: no such folder; {way}", file=sys.stderr)
    return not absent


@bounded("citrus report", nothing="nothing was written", safe=SAFE)
def report(argv: Sequence[str] | None = None, prog: str = "analysis/report.py") -> int:
    """One self-contained page with what a sweep found, works on a sweep that is still running.

    Writes into the first folder: report.html, cells and members as CSV and Parquet, tables/ (a CSV
    behind each figure) and figures/ (SVG, PDF, PNG).
    """
    args = report_parser(prog).parse_args(argv)
    if not _are_there(args.folders):
        return 2
    from citrus_ray.report.files import write_report

    print(write_report([Path(given) for given in args.folders], publish=not args.page_only))
    return 0


def report_parser(prog: str) -> argparse.ArgumentParser:
    cli = gains_parser(prog)
    cli.description = report.__doc__
    text = "only the page and CSV: no Parquet, no figure files"
    cli.add_argument("--page-only", action="store_true", help=text)
    return cli
