"""Files for others to cite and compute with: tables as Parquet, figures as SVG, PDF and PNG."""

import pickle
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from citrus_ray.report.figures import ink, plots, plots_of_search
from citrus_ray.report.pictures import by_regime

if TYPE_CHECKING:
    from citrus_ray.report.findings import Findings

Table = tuple[list[str], list[dict[str, Any]]]  # columns, rows
ROOT = Path(__file__).resolve().parents[2]
MAX_ROWS = 60  # cells in one drawing
MAX_PANELS = 24
WAY_OUT = "pip install -e '.[analysis]' brings it"


@contextmanager
def figure_files(folder: Path, findings: "Findings") -> Iterator[None]:
    """Writes `folder`/figures in a process of its own while the block runs: fonts and pixels take a third of a report.

    Without matplotlib nothing is written, with a word on the terminal; the page says so too.
    """
    if not ink.is_there():
        print(f"matplotlib is not installed: no figures are written; {WAY_OUT}", file=sys.stderr)
        yield
        return
    drawn = [ink.Drawn(picture.name, picture.figure, picture.svg) for picture in pictures(findings)]
    command = [
        sys.executable,
        "-c",
        f"from citrus_ray.report.figures.ink import write_drawn; write_drawn({str(folder / 'figures')!r})",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin is not None
        pickle.dump(drawn, process.stdin)
        process.stdin.close()
        yield
    if process.returncode:
        raise RuntimeError(f"{folder / 'figures'}: the figures could not be written, see above")


def write_parquet(path: Path, columns: list[str], rows: list[dict[str, Any]]) -> bool:
    """A column holds numbers where all of its values are numbers, else text. Whether it was written."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        print(f"pyarrow is not installed: {path.name} is not written; {WAY_OUT}", file=sys.stderr)
        return False
    found = {name: pyarrow.array(_column([row.get(name) for row in rows])) for name in columns}
    pyarrow.parquet.write_table(pyarrow.table(found), path)
    return True


def _column(values: list[Any]) -> list[Any]:
    known = [value for value in values if value is not None]
    if all(isinstance(value, int) and not isinstance(value, bool) for value in known):
        return values
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return [None if value is None else float(value) for value in values]
    return [None if value is None else str(value) for value in values]


def pictures(findings: "Findings") -> Iterable[ink.Picture]:
    """The pictures of the page, and those that it draws in its own way, for paper."""
    gains, cells = (
        by_regime(findings.gains)[:MAX_ROWS],
        [cell for cell in findings.cells if cell.test][:MAX_ROWS],
    )
    if gains:
        yield ink.Picture("gain", lambda: plots.gain_forest(gains))
    if cells:
        yield ink.Picture("scores", lambda: plots.score_forest(cells))
    searched = [cell for cell in findings.cells if cell.searched][:MAX_PANELS]
    if searched:
        yield ink.Picture("search", lambda: plots_of_search.histories(searched))
    yield from (item.picture for item in findings.exhibits)
