"""Results of a sweep for Python: tables as pandas DataFrames, and the figures of its page."""

import io
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from citrus_ray.evidence.evidence import Evidence, read_evidence
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.predicted import predicted
from citrus_ray.evidence.reading import plain, table
from citrus_ray.evidence.rounds import round_of
from citrus_ray.evidence.trials import result_of
from citrus_ray.metrics import mean_metrics
from citrus_ray.records import Record
from citrus_ray.report.figures.ink import Picture
from citrus_ray.report.files import cell_rows, claim_row, gain_row, predicted_tables
from citrus_ray.report.findings import Findings
from citrus_ray.spec import refuse

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AS_TABLES = {"gains": "gain"}  # a figure by the name of what it shows here


class Results:
    """Results folder of a sweep, or several that are read as one; judged as its page judges it.

    Read when it is made: of a sweep that goes on, make another.
    """

    def __init__(self, folder: str | Path, *more: str | Path) -> None:
        self.folders = [Path(one) for one in (folder, *more)]
        absent = [one for one in self.folders if not (one / "records").is_dir()]
        if absent:
            rule = "holds no records/; give the results folder of a sweep, as results/quickstart"
            raise refuse(f"{absent[0]}: {rule}")
        self.evidence: Evidence = read_evidence(self.folders)

    def __repr__(self) -> str:
        where = ", ".join(map(str, self.folders))
        return f"<Results of {where}: {len(self.evidence.cells)} cells, {len(self.trials)} trials>"

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A row for each compared cell: its winner, test score and baselines, and its gain."""
        columns, rows = cell_rows(self._findings)
        labels = [cell.label for cell in self.evidence.cells]
        return pd.DataFrame(rows, columns=columns).assign(label=labels).pipe(_first, "label")

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row for each trial, of the search and of the rounds: `value` is what it is ranked by,
        metrics are means over its members. Of a failed trial `reason` says why."""
        by_trial = defaultdict[tuple[str, str], list[Record]](list)
        for row in self.evidence.found.rows:
            by_trial[row.cell, row.trial].append(row)
        return pd.DataFrame([self._trial(rows) for rows in by_trial.values()])

    def _trial(self, rows: Sequence[Record]) -> dict[str, Any]:
        first, cell = rows[0], self._cell_of[rows[0].cell]
        result = result_of(rows, cell.design.metric, cell.design.each)
        return {
            "label": cell.label,
            "cell": first.cell,
            "trial": first.trial,
            "phase": first.phase,
            "round": round_of(first) if first.phase == "final" else None,
            "status": result.status,
            "reason": result.reason,
            "value": result.value,
            "members": len(rows),
            "seconds": result.seconds,
            **{f"axes.{path}": plain(value) for path, value in first.axes.items()},
            **{f"params.{path}": plain(value) for path, value in first.params.items()},
            **({} if result.status == "failed" else mean_metrics([row.metrics for row in rows])),
        }

    @cached_property
    def members(self) -> pd.DataFrame:
        """A row for each member of each trial, as it was recorded."""
        columns, rows = table(self.evidence.found.rows)
        labels = [self._cell_of[row.cell].label for row in self.evidence.found.rows]
        return pd.DataFrame(rows, columns=columns).assign(label=labels).pipe(_first, "label")

    @cached_property
    def gains(self) -> pd.DataFrame:
        """A row for each pre-trained cell beside its from-scratch partner: gain, interval, p and
        verdict."""
        return pd.DataFrame(
            [
                {"label": gain.cell.label, "cell": gain.cell.digest, "against": gain.against.label}
                | {f"axes.{path}": plain(value) for path, value in gain.cell.axes.items()}
                | gain_row(gain)
                for gain in self.evidence.gains
            ]
        )

    @cached_property
    def claims(self) -> pd.DataFrame:
        """A row for each claim: verdict, effect, interval and for whom it speaks."""
        rows = [claim_row(claim.tree()) for claim in self.evidence.claims]
        return _first(pd.DataFrame(rows), "says") if rows else pd.DataFrame()

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """A row for each test window of each round: who, when, what is true and what was said."""
        found = predicted(self.evidence.cells, self.folders)
        parts = [part.to_pandas() for part in predicted_tables(found)]
        return _first(pd.concat(parts, ignore_index=True), "label") if parts else pd.DataFrame()

    @property
    def figures(self) -> list[str]:
        """Names of the figures that these results can fill."""
        return list(self._pictures)

    def figure(self, name: str = "gains") -> "Figure":
        """A figure of the page, by its name (`gains`, `scores`, …); notebooks show it."""
        picture = self._pictures.get(AS_TABLES.get(name, name))
        if picture is None:
            raise refuse(f"{name}: no such figure; there are {', '.join(self.figures) or 'none'}")
        figure = picture.figure
        # what a notebook asks for: it shows figures by itself only once pyplot is loaded
        vars(figure)["_repr_png_"] = partial(_png, figure)
        return figure

    @cached_property
    def _findings(self) -> Findings:
        return Findings(self.folders, self.evidence)

    @cached_property
    def _pictures(self) -> dict[str, Picture]:
        return {item.name: item.picture for item in self._findings.all}

    @cached_property
    def _cell_of(self) -> dict[str, Outcome]:
        return {cell.digest: cell for cell in self.evidence.cells}


def _first(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return frame[[column, *(name for name in frame.columns if name != column)]]


def _png(figure: "Figure") -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()
