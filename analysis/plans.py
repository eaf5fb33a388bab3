"""What a results folder says it set out to do: its spec.yaml, and the notes of its summary.json where there is one."""

import itertools
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from citrus_ray.spec import SpecError, read_yaml

Axes = dict[str, Any]
EDITED = "written by sweeps/run.py"


@dataclass(frozen=True)
class Notes:
    """What only the sweep itself knows of a cell: its sources' caveats and its baselines' scores."""

    caveats: tuple[str, ...] = ()
    baselines: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """One results folder's question and design."""

    folder: str  # as a reader would type it, from the repository root
    name: str
    question: str | None
    text: str  # spec.yaml as run, empty where it is missing
    metric: str = "val/balanced_accuracy"
    mode: str = "max"
    budget: int | None = None  # trials per cell, at most
    cells: tuple[Axes, ...] = ()  # what will be compared, in order
    notes: dict[str, Notes] = field(default_factory=dict)  # by `axes_key`
    spec_digest: str | None = None
    problem: str | None = None

    @property
    def test_metric(self) -> str:
        return "test/" + self.metric.removeprefix("val/")

    @cached_property
    def order(self) -> dict[str, int]:
        """The place of each planned cell, by `axes_key`."""
        return {axes_key(axes): place for place, axes in enumerate(self.cells)}


def axes_key(axes: Axes) -> str:
    return json.dumps(axes, sort_keys=True)


def read_plan(folder: Path) -> Plan:
    """Never raises: records without a readable spec are still worth a page."""
    shown = "/".join(folder.absolute().parts[-2:])
    summary = _read_summary(folder / "summary.json")
    notes = {axes_key(cell["axes"]): _notes(cell) for cell in summary.get("cells", [])}
    try:
        document = read_yaml(folder / "spec.yaml")
    except SpecError as err:
        reason = "; ".join(problem.message for problem in err.problems)
        return Plan(shown, folder.name, None, "", notes=notes, problem=f"spec.yaml {reason}")
    objective, tree = document.tree.get("objective") or {}, document.tree
    return Plan(
        folder=shown,
        name=str(tree.get("name", folder.name)),
        question=_question(document.text),
        text=document.text,
        metric=objective.get("metric", Plan.metric),
        mode=objective.get("mode", Plan.mode),
        budget=(tree.get("budget") or {}).get("trials"),
        cells=_products(tree.get("compare") or {}),
        notes=notes,
        spec_digest=summary.get("spec_digest"),
    )


def _question(text: str) -> str | None:
    """The first comment line of a sweep's file."""
    first = text.splitlines()[0] if text else ""
    said = first.removeprefix("#").strip()
    return said if first.startswith("#") and said and not said.startswith(EDITED) else None


def _products(compare: dict[str, list[Any]]) -> tuple[Axes, ...]:
    return tuple(dict(zip(compare, values, strict=True)) for values in itertools.product(*compare.values()))


def _read_summary(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _notes(cell: dict[str, Any]) -> Notes:
    return Notes(tuple(cell.get("caveats") or ()), dict(cell.get("baselines") or {}))
