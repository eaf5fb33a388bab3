"""What a results folder says it set out to do: its spec.yaml, plan.json and, once it ended, summary.json."""

import itertools
import json
import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from citrus_ray.metrics import HARD, RANKED
from citrus_ray.spec import SpecError, read_yaml

Axes = dict[str, Any]
EDITED = "written by sweeps/run.py"


@dataclass(frozen=True)
class Notes:
    """What only the sweep itself knows of a cell: its sources' caveats."""

    caveats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """One results folder's question and design."""

    folder: str  # as a reader would type it, from the repository root
    name: str
    question: str | None
    text: str  # spec.yaml as run, empty where it is missing
    metric: str = "val/balanced_accuracy"
    mode: str = "max"
    each: str | None = None  # a repeated setting with an objective at each of its values
    budget: int | None = None  # trials per cell, at most
    cells: tuple[Axes, ...] = ()  # what will be compared, in order
    notes: dict[str, Notes] = field(default_factory=dict)  # by `axes_key`
    known: frozenset[str] | None = None  # digests of its cells; None where the folder does not say
    spec_digest: str | None = None
    problem: str | None = None

    def has(self, cell: str) -> bool:
        """Whether records of this cell are of the spec that lies in the folder, not of an older one of its name."""
        return self.known is None or cell in self.known

    @property
    def test_metric(self) -> str:
        return "test/" + self.metric.removeprefix("val/")

    @cached_property
    def order(self) -> dict[str, int]:
        """The place of each planned cell, by `axes_key`."""
        return {axes_key(axes): place for place, axes in enumerate(self.cells)}


def score_bounds(metric: str) -> tuple[float, float]:
    """Where a score of this metric can lie."""
    name = metric.split("/")[-1]
    if name == "kappa":
        return -1.0, 1.0
    return (0.0, 1.0) if name in {*HARD, *RANKED} else (-math.inf, math.inf)


def difference_bounds(metric: str) -> tuple[float, float]:
    low, high = score_bounds(metric)
    return low - high, high - low


def axes_key(axes: Axes) -> str:
    return json.dumps(axes, sort_keys=True)


def read_plan(folder: Path) -> Plan:
    """Never raises: records without a readable spec are still worth a page."""
    shown = "/".join(folder.absolute().parts[-2:])
    summary, said = _read_json(folder / "summary.json"), _read_json(folder / "plan.json")
    known = frozenset(cell["digest"] for cell in said["cells"]) if said.get("cells") else None
    spec_digest = said.get("spec_digest", summary.get("spec_digest"))
    notes = {axes_key(cell["axes"]): _notes(cell) for cell in summary.get("cells", [])}
    try:
        document = read_yaml(folder / "spec.yaml")
    except SpecError as err:
        reason = "; ".join(problem.message for problem in err.problems)
        return Plan(
            shown, folder.name, None, "", notes=notes, known=known, problem=f"spec.yaml {reason}"
        )
    objective, tree = document.tree.get("objective") or {}, document.tree
    return Plan(
        folder=shown,
        name=str(tree.get("name", folder.name)),
        question=_question(document.text),
        text=document.text,
        metric=objective.get("metric", Plan.metric),
        mode=objective.get("mode", Plan.mode),
        each=objective.get("each"),
        budget=(tree.get("budget") or {}).get("trials"),
        cells=_products(tree.get("compare") or {}),
        notes=notes,
        known=known,
        spec_digest=spec_digest,
    )


def _question(text: str) -> str | None:
    """The first comment line of a sweep's file."""
    first = text.splitlines()[0] if text else ""
    said = first.removeprefix("#").strip()
    return said if first.startswith("#") and said and not said.startswith(EDITED) else None


def _products(compare: dict[str, list[Any]]) -> tuple[Axes, ...]:
    return tuple(
        dict(zip(compare, values, strict=True)) for values in itertools.product(*compare.values())
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _notes(cell: dict[str, Any]) -> Notes:
    return Notes(tuple(cell.get("caveats") or ()))
