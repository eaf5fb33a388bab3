"""Kept models of a sweep: where each is, and which are not there."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from citrus_ray.evidence.evidence import Evidence
from citrus_ray.evidence.rounds import DRAWN, round_of
from citrus_ray.experiment.labels import canonical, count, settings_label
from citrus_ray.experiment.sweep import Cell, Sweep
from citrus_ray.experiment.trial import Trial
from citrus_ray.records import Record
from citrus_ray.store import kept

FOLDER = "models"
MOST = 60  # letters of a cell's label in the name of its folder


def model_folder(out: Path, cell: Cell, number: int, repeat: dict[str, Any]) -> Path:
    """Where the model of one member of a winner's round is: a label for people, and the beginning
    of the cell's digest, which no other has."""
    fixed = {path: value for path, value in repeat.items() if path not in DRAWN}
    fixed = json.loads(canonical(fixed))  # in one order, whether a spec says it or a record
    of_member = f"-{kept.slug(settings_label(fixed), MOST)}" if fixed else ""
    name = f"{kept.slug(cell.label, MOST)}-{cell.digest[:6]}"
    return out / FOLDER / name / f"round-{number}{of_member}"


def _is_settled(folder: Path, digest: str) -> bool:
    """Whether the model of a member is there, or it is known why it cannot be."""
    return kept.held(folder) == digest or kept.why_not(folder, digest) is not None


def all_kept(
    cell: Cell,
    folder: Path,
    number: int,
    rows: Iterable[Record],
    members: Sequence[tuple[dict[str, Any], Trial]],
) -> bool:
    """Whether nothing of a recorded round is to be kept that is not there. `folder` is that of
    records, `members` are repeated values and trials."""
    if not cell.sweep.final.keep:
        return True
    well = {row.digest for row in rows if row.status == "ok"}
    return all(
        _is_settled(model_folder(folder.parent, cell, number, repeat), trial.digest())
        for repeat, trial in members
        if trial.digest() in well
    )


@dataclass(frozen=True)
class KeptModels:
    """What there is of the models of winners' rounds that are recorded."""

    there: tuple[Path, ...]
    missing: tuple[Record, ...]  # to be computed again
    refused: tuple[str, ...]  # why others cannot be kept, each reason once


def kept_models(sweep: Sweep, evidence: Evidence, out: Path) -> KeptModels | None:
    """None of a sweep that keeps no models."""
    if not sweep.final.keep:
        return None
    there, missing, refused = list[Path](), list[Record](), dict[str, None]()
    cells = {cell.digest: cell for cell in sweep.cells}
    for outcome in evidence.cells:
        for row in (row for row in outcome.final if row.status == "ok"):
            folder = model_folder(out, cells[outcome.digest], round_of(row), row.repeat)
            reason = kept.why_not(folder, row.digest)
            if kept.held(folder) == row.digest:
                there.append(folder)
            elif reason is None:
                missing.append(row)
            else:
                refused[f"{outcome.label}: {reason}"] = None
    return KeptModels(tuple(there), tuple(missing), tuple(refused))


def said_of(models: KeptModels) -> str:
    """What is to be computed again so that it can be kept; empty where nothing is."""
    if not models.missing:
        return ""
    n, n_cells = len(models.missing), len({row.cell for row in models.missing})
    seconds = sum(row.seconds for row in models.missing)
    what = f"{count(n, 'refit')} of {count(n_cells, 'cell')}"
    done = "recorded without the models that `final.keep` asks for"
    return f"{what} {'is' if n == 1 else 'are'} {done}, to be computed again: about {seconds:.0f} s"
