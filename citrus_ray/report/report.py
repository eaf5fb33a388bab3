"""One self-contained page with what a sweep found: `python analysis/report.py results/lowdata [more results…]`.

Writes into the first folder: report.html, cells and members as CSV and Parquet, tables/ (a CSV behind each figure) and
figures/ (SVG, PDF, PNG). Works on a sweep that is still running.
"""

import argparse
import csv
import io
import math
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from citrus_ray.evidence import reading as collect
from citrus_ray.evidence.gains import Gain, gain_caveats
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.records import write_text
from citrus_ray.report import publications
from citrus_ray.report.exhibits import Exhibit
from citrus_ray.report.findings import Findings, read_findings
from citrus_ray.report.page import page


@collect.no_collector()
def write_report(folders: Sequence[Path], publish: bool = True) -> Path:
    """The page of one or several results folders, written into the first of them, with its tables.

    `publish` also writes the tables as Parquet and the figures as SVG, PDF and PNG.
    """
    findings, home = read_findings(folders), folders[0].resolve()
    with publications.figure_files(home, findings) if publish else nullcontext():
        tables = {"members": collect.table(findings.found.rows), "cells": _cell_rows(findings)}
        for name, (columns, rows) in tables.items():
            write_text(home / f"{name}.csv", csv_text(columns, rows))
            if publish:
                publications.write_parquet(home / f"{name}.parquet", columns, rows)
        for item in findings.exhibits:
            write_text(home / "tables" / f"{item.name}.csv", csv_text(item.head, _named(item)))
        write_text(home / "report.html", page(findings))
    return folders[0] / "report.html"


def _named(item: Exhibit) -> list[dict[str, Any]]:
    return [dict(zip(item.head, row, strict=True)) for row in item.rows]


def csv_text(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _cell_rows(findings: Findings) -> tuple[list[str], list[dict[str, Any]]]:
    by_cell = {gain.cell.digest: gain for gain in findings.gains}
    rows = [_cell_row(cell) | _gain_row(by_cell.get(cell.digest)) for cell in findings.cells]
    return list(dict.fromkeys(name for row in rows for name in row)), rows


def _cell_row(cell: Outcome) -> dict[str, Any]:
    best, test = cell.best, cell.test
    return {
        "digest": cell.digest,
        "sweep": cell.design.name,
        **{f"axes.{path}": collect.plain(value) for path, value in cell.axes.items()},
        "metric": cell.design.test_metric,
        "test_mean": test and test.mean,
        "test_low": test and _finite(test.low),
        "test_high": test and _finite(test.high),
        "test_n": test and test.n,
        "test_counts": cell.units.level if test else None,
        "n_test_parts": cell.n_test_parts,
        "val": best and best.value,
        "n_trials": len(cell.searched),
        "n_failed": cell.n_searched("failed"),
        "n_pruned": cell.n_searched("pruned"),
        **{
            f"best.{path}": collect.plain(value)
            for path, value in (best.params if best else {}).items()
        },
        **{f"baseline.{name}": score for name, score in cell.baselines.items()},
        "caveats": " | ".join(cell.caveats()),
    }


def _gain_row(gain: Gain | None) -> dict[str, Any]:
    if gain is None:
        return {}
    up, down, tied = gain.signs
    found, test = gain.effect, gain.test
    return {
        "gain_mean": found.mean,
        "gain_low": _finite(found.low),
        "gain_high": _finite(found.high),
        "gain_n": found.n,
        "gain_counts": gain.units.level,
        "n_pairs": len(gain.pairs),
        "gain_against": gain.against.digest,
        "gain_up": up,
        "gain_down": down,
        "gain_tied": tied,
        "wilcoxon_p": test.p,
        "p_floor": test.floor,
        "holm_p": gain.p_holm,
        "n_comparisons": gain.n_comparisons,
        "verdict": gain.verdict,
        "gain_caveats": " | ".join(gain_caveats(gain)),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def main(argv: Sequence[str] | None = None) -> int:
    cli = argparse.ArgumentParser(prog="analysis/report.py", description=__doc__)
    cli.add_argument(
        "folders", nargs="+", type=Path, metavar="RESULTS", help="a results folder of a sweep"
    )
    cli.add_argument(
        "--page-only",
        action="store_true",
        help="only the page and CSV: no Parquet, no figure files",
    )
    args = cli.parse_args(argv)
    folders: list[Path] = args.folders
    absent = [folder for folder in folders if not folder.is_dir()]
    if absent:
        print(
            f"{absent[0]}: no such folder; give one that sweeps/run.py wrote, such as results/quickstart",
            file=sys.stderr,
        )
        return 2
    print(write_report(folders, publish=not args.page_only))
    return 0
