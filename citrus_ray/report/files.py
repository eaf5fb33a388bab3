"""Files of one report: the page, its tables as CSV and Parquet, its figures as SVG, PDF and PNG."""

import csv
import io
import math
import pickle
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.evidence.gains import Gain, gain_caveats
from citrus_ray.evidence.intervals import INTERVAL
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.predicted import PredictedCell, predicted
from citrus_ray.evidence.reading import no_collector, plain, table
from citrus_ray.evidence.rounds import round_of
from citrus_ray.records import Phase, Record, write_text
from citrus_ray.report.figures import ink
from citrus_ray.report.findings import Findings
from citrus_ray.report.page import page
from citrus_ray.store.predictions import TestOutputs, probabilities_of

PHASES: tuple[Phase, ...] = ("search", "final")


@no_collector()
def write_report(folders: Sequence[Path], publish: bool = True) -> Path:
    """The page of one or several results folders, written into the first of them, with its tables.

    `publish` also writes the tables as Parquet and the figures as SVG, PDF and PNG.
    """
    findings, home = Findings(folders, read_evidence(folders)), folders[0].resolve()
    with figure_files(home / "figures", findings) if publish else nullcontext():
        tables = {"members": table(findings.found.rows), "cells": cell_rows(findings)}
        for name, (columns, rows) in tables.items():
            write_text(home / f"{name}.csv", csv_text(columns, rows))
            if publish:
                write_parquet(home / f"{name}.parquet", columns, rows)
        if publish:
            write_predictions(home / "predictions.parquet", predicted(findings.cells, folders))
        claims = [claim_row(claim.tree()) for claim in findings.evidence.claims]
        if claims:
            write_text(home / "tables" / "claims.csv", csv_text(list(claims[0]), claims))
        for item in findings.all:
            first = item.tables[0]
            named = [dict(zip(first.head, map(str, row), strict=True)) for row in first.rows]
            write_text(home / "tables" / f"{item.name}.csv", csv_text(first.head, named))
        write_text(home / "report.html", page(findings))
    return folders[0] / "report.html"


@contextmanager
def figure_files(folder: Path, findings: Findings) -> Iterator[None]:
    """Writes the figures in a process of its own while the block runs: fonts and pixels take a
    third of a report."""
    pictures = [item.picture for item in findings.all]
    drawn = [ink.Drawn(picture.name, picture.figure, picture.svg) for picture in pictures]
    code = f"from citrus_ray.report.figures.ink import write_drawn; write_drawn({str(folder)!r})"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        pickle.dump(drawn, process.stdin)
        process.stdin.close()
        yield
    if process.returncode:
        raise RuntimeError(f"{folder}: the figures could not be written, see above")


def csv_text(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def write_parquet(path: Path, columns: list[str], rows: list[dict[str, Any]]) -> None:
    """A column holds numbers where all of its values are numbers, else text."""
    found = {name: pyarrow.array(_column([row.get(name) for row in rows])) for name in columns}
    pyarrow.parquet.write_table(pyarrow.table(found), path)


def write_predictions(path: Path, found: Sequence[PredictedCell]) -> None:
    """A row for each test window of each refit; whole or not at all."""
    if not found:
        path.unlink(missing_ok=True)
        return
    partial = path.with_name(f".{path.name}")
    try:
        schema = _predicted_schema()
        with pyarrow.parquet.ParquetWriter(partial, schema, compression="zstd") as writer:
            for part in predicted_tables(found):
                writer.write_table(part)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def predicted_tables(found: Sequence[PredictedCell]) -> Iterator[pyarrow.Table]:
    """Rows for the test windows of a refit at a time."""
    schema = _predicted_schema()
    for one in found:
        for row, part in zip(one.rows, one.parts, strict=True):
            yield pyarrow.table(_predicted_columns(one, row, part), schema=schema)


def _predicted_schema() -> pyarrow.Schema:
    text, floats = pyarrow.string(), pyarrow.list_(pyarrow.float32())
    kinds = {"cell": text, "label": text, "target": text, "trial": text, "member": text}
    kinds |= {"round": pyarrow.int32(), "window": pyarrow.int32(), "subject": text}
    kinds |= {"start_s": pyarrow.float64(), "stop_s": pyarrow.float64(), "true": text}
    kinds |= {"predicted": text, "probabilities": floats, "classes": pyarrow.list_(text)}
    kinds |= {"true_value": pyarrow.float64(), "predicted_value": pyarrow.float64()}
    return pyarrow.schema(list(kinds.items()))


def _predicted_columns(one: PredictedCell, row: Record, part: TestOutputs) -> dict[str, Any]:
    n = len(part.window)
    start = [None] * n if part.start_s is None else part.start_s
    stop = [None] * n if part.start_s is None else part.start_s + part.seconds
    same: dict[str, Any] = {
        "cell": row.cell,
        "label": one.cell.label,
        "target": one.target,
        "trial": row.trial,
    }
    same |= {"member": row.digest, "round": round_of(row), "classes": list(part.classes)}
    return {name: [value] * n for name, value in same.items()} | {
        "window": part.window,
        "subject": list(part.group),
        "start_s": start,
        "stop_s": stop,
        **(_of_classes(part) if part.are_classes else _of_values(part)),
    }


def _of_classes(part: TestOutputs) -> dict[str, Any]:
    p, nothing = probabilities_of(part.outputs).astype(np.float32), [None] * len(part.window)
    return {
        "true": [part.classes[k] for k in part.y],
        "predicted": [part.classes[k] for k in p.argmax(axis=1)],
        "probabilities": list(p),
        "true_value": nothing,
        "predicted_value": nothing,
    }


def _of_values(part: TestOutputs) -> dict[str, Any]:
    nothing = [None] * len(part.window)
    of_classes = dict.fromkeys(("true", "predicted", "probabilities"), nothing)
    values = {"true_value": part.y, "predicted_value": part.outputs[:, 0].astype(np.float64)}
    return of_classes | values


def _column(values: list[Any]) -> list[Any]:
    known = [value for value in values if value is not None]
    if all(isinstance(value, int) and not isinstance(value, bool) for value in known):
        return values
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return [None if value is None else float(value) for value in values]
    return [None if value is None else str(value) for value in values]


def cell_rows(findings: Findings) -> tuple[list[str], list[dict[str, Any]]]:
    by_cell = findings.evidence.gain_of
    rows = [_cell_row(cell) | gain_row(by_cell.get(cell.digest)) for cell in findings.cells]
    return list(dict.fromkeys(name for row in rows for name in row)), rows


def _cell_row(cell: Outcome) -> dict[str, Any]:
    best, test = cell.best, cell.test
    return {
        "digest": cell.digest,
        "sweep": cell.design.name,
        **{f"axes.{path}": plain(value) for path, value in cell.axes.items()},
        "metric": cell.design.test_metric,
        "interval": INTERVAL,
        "test_mean": test and test.mean,
        "test_low": test and _finite(test.low),
        "test_high": test and _finite(test.high),
        "test_n": test and test.n,
        "test_counts": "round" if test else None,
        "n_test_parts": cell.n_test_parts,
        "val": best and best.value,
        "validation": cell.validation,
        **{
            f"labels.{phase}.{use}": n
            for phase in PHASES
            for use, n in cell.n_labelled(phase).items()
        },
        "n_trials": len(cell.searched),
        "n_failed": cell.n_searched("failed"),
        "n_pruned": cell.n_searched("pruned"),
        **{f"best.{path}": plain(value) for path, value in (best.params if best else {}).items()},
        **{f"baseline.{name}": score for name, score in cell.baselines.items()},
        **{
            f"worth.{view}{part}": _finite(value)
            for view, found in cell.worth.items()
            for part, value in (("", found.mean), ("_low", found.low), ("_high", found.high))
        },
        "caveats": " | ".join(cell.caveats()),
    }


def claim_row(claim: dict[str, Any]) -> dict[str, Any]:
    return {"interval": INTERVAL} | {k: v for k, v in claim.items() if k != "places"}


def gain_row(gain: Gain | None) -> dict[str, Any]:
    if gain is None:
        return {}
    up, down, tied = gain.signs
    found, of_next = gain.effect, gain.next
    return {
        "gain_mean": found.mean,
        "gain_low": _finite(found.low),
        "gain_high": _finite(found.high),
        "gain_n": found.n,
        "gain_counts": "round",
        "speaks_of": gain.found.speaks_of,
        "n_pairs": len(gain.pairs),
        "gain_against": gain.against.digest,
        "gain_up": up,
        "gain_down": down,
        "gain_tied": tied,
        "p": gain.found.p,
        "holm_p": gain.found.p_holm,
        "n_comparisons": gain.found.n_family,
        "verdict": gain.verdict,
        "takes": gain.found.takes if gain.verdict == "undecided" else None,
        "next_low": of_next and _finite(of_next.effect.low),
        "next_high": of_next and _finite(of_next.effect.high),
        "next_targets": of_next and of_next.effect.n,
        "next_verdict": of_next and of_next.verdict,
        "gain_caveats": " | ".join(gain_caveats(gain)),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
