"""Sweeps run from Python: the command's own work, with values in place of flags and a screen."""

from pathlib import Path
from typing import TYPE_CHECKING

from citrus_ray.cli.main import parser
from citrus_ray.cli.results import ResultsFolder, results_path
from citrus_ray.cli.sweep import INTERRUPTED, SweepCommand, warmed
from citrus_ray.data.source import looked_once
from citrus_ray.experiment.dry_run import check_data
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.report.files import write_report
from citrus_ray.report.results import Results
from citrus_ray.spec import parse_yaml

if TYPE_CHECKING:
    import argparse

HERE = "local"  # as Ray calls a cluster of this machine alone


def run(sweep: Sweep, address: str | None, progress: bool, out: str | Path | None) -> Results:
    """What `Sweep.run` promises."""
    path = results_path(Path(out) if out else None, sweep)
    document = parse_yaml(sweep.text, sweep.name)
    sweep = warmed(sweep, document, {}, path / "spec.yaml")
    results = ResultsFolder(sweep, sweep.text, path)
    command = SweepCommand(sweep, document, results, _flags(address, progress))
    with looked_once():
        check_data(sweep)
        ended, *_ = command.compute()
    write_report([path])
    if ended == INTERRUPTED:
        raise KeyboardInterrupt
    if ended:
        raise RuntimeError(f"{ended}; what was finished is recorded, run it again to go on")
    return Results(path)


def _flags(address: str | None, progress: bool) -> "argparse.Namespace":
    where = ["--no-ray"] if address is None else []
    where += ["--address", address] if address not in (None, HERE) else []
    return parser().parse_args(["-", *where, *([] if progress else ["--quiet"])])
