"""What was asked: a sweep in hand, or what a results folder says of itself in spec.yaml,
plan.json and summary.json."""

import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from citrus_ray.evidence.stamps import Stamps, read_stamps
from citrus_ray.experiment.designs import Point
from citrus_ray.experiment.hypotheses import WITHIN, Hypothesis, Verdicts
from citrus_ray.experiment.labels import Axes, canonical
from citrus_ray.experiment.sweep_files import question_of
from citrus_ray.metrics import metric_of, sign_of
from citrus_ray.spec import Spec, SpecError, read_yaml, validate

if TYPE_CHECKING:
    from citrus_ray.experiment.sweep import Sweep


@dataclass(frozen=True)
class Design:
    """One results folder's question and design."""

    folder: str  # as a reader would type it, from the repository root
    name: str
    question: str | None = None
    text: str = ""  # spec.yaml as run, empty where it is missing
    metric: str = "val/balanced_accuracy"
    mode: str = "max"
    each: str | None = None  # a repeated setting with an objective at each of its values
    budget: int | None = None  # trials per cell, at most
    n_trials: dict[str, int] = field(
        default_factory=dict
    )  # by canonical axes: fewer in small spaces
    points: tuple[Point, ...] | None = None  # of the whole sweep; None where they are not known
    patience: int | None = None
    verdicts: Verdicts = field(default_factory=lambda: Verdicts(within=WITHIN))
    stamps: Stamps | None = None  # on claims; None where nobody wrote down when they came
    cells: tuple[Axes, ...] = ()  # what will be compared, in order
    claims: tuple[Hypothesis, ...] = ()
    caveats: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by canonical axes
    signals: tuple[str, ...] = ()  # what was done to those of each source, in words
    known: frozenset[str] | None = None  # digests of its cells; None where the folder does not say
    spec_digest: str | None = None
    cost: dict[str, Any] = field(default_factory=dict)  # as the sweep itself added it up
    log_axes: frozenset[str] | None = None  # searched on a logarithmic scale; None: not known
    problem: str | None = None

    def has(self, cell: str) -> bool:
        """Whether records of this cell are of this spec, not of an older one of its name."""
        return self.known is None or cell in self.known

    def trials_of(self, axes: Axes) -> int | None:
        """As many trials as the budget has for that cell."""
        return self.n_trials.get(canonical(axes), self.budget)

    @property
    def test_metric(self) -> str:
        return "test/" + self.metric.removeprefix("val/")

    @property
    def sign(self) -> int:
        """1 where more of its metric is better, -1 where less is: every difference is times this,
        so that positive is better."""
        return sign_of(self.metric)

    @cached_property
    def order(self) -> dict[str, int]:
        """The place of each planned cell, by canonical axes."""
        return {canonical(axes): place for place, axes in enumerate(self.cells)}


def score_bounds(metric: str) -> tuple[float, float]:
    """Where a score of this metric can lie."""
    return metric_of(metric).bounds


def difference_bounds(metric: str) -> tuple[float, float]:
    low, high = score_bounds(metric)
    return low - high, high - low


def design_of(sweep: "Sweep", folder: Path) -> Design:
    """The design of a sweep that is in hand, but for its points; `folder` is the one with its
    results."""
    return Design(
        folder=_shown(folder),
        name=sweep.name,
        metric=sweep.objective.metric,
        mode=sweep.objective.mode,
        each=sweep.objective.each,
        budget=sweep.budget.trials,
        n_trials={canonical(cell.axes): cell.n_trials for cell in sweep.cells},
        patience=sweep.budget.patience,
        verdicts=sweep.judged_by,
        stamps=read_stamps(folder),
        cells=tuple(cell.axes for cell in sweep.cells),
        claims=sweep.claims,
        known=frozenset(cell.digest for cell in sweep.cells),
    )


def read_plan(folder: Path) -> dict[str, Any]:
    """`plan.json` of a results folder, empty where there is none."""
    return _read_json(folder / "plan.json")


def planned_points(folder: Path) -> tuple[Point, ...] | None:
    """The points of the search that its folder names; None where it names none."""
    points = read_plan(folder).get("points")
    return tuple(points) if points else None


def read_design(folder: Path) -> Design:
    """The design that a folder states. Never raises: records without a readable spec are still
    worth a page."""
    plan = read_plan(folder)
    planned = [cell for cell in _blocks(plan.get("cells")) if isinstance(cell.get("digest"), str)]
    found = _of_the_run(folder, plan, planned)
    if (folder / "plan.json").exists() and not planned:
        rule = "is damaged, so records of an older spec may be among those that are shown"
        found["problem"] = f"plan.json {rule}; run the sweep's command again to write it anew"
    try:
        document = read_yaml(folder / "spec.yaml")
    except SpecError as err:
        reason = "; ".join(problem.message for problem in err.problems)
        return Design(**found | {"problem": f"spec.yaml {reason}"})
    asked = {"question": question_of(document.text), "text": document.text}
    asked |= _of_the_spec(document.tree, folder.name)
    cells = tuple(cell["axes"] for cell in planned) or tuple(_products(_compared(document.tree)))
    return Design(**found | asked | {"cells": cells})


def _of_the_run(
    folder: Path, plan: dict[str, Any], planned: list[dict[str, Any]]
) -> dict[str, Any]:
    """What the sweep itself wrote down of its cells, its search and its cost."""
    summary = _read_json(folder / "summary.json")
    told = _blocks(summary.get("cells"))
    signals = (dict(cell.get("signals") or {}).items() for cell in told)
    said = (f"{path} {what}" for one in signals for path, what in one)
    return {
        "folder": _shown(folder),
        "name": folder.name,
        "known": frozenset(cell["digest"] for cell in planned) if planned else None,
        "n_trials": {canonical(c["axes"]): c["n_trials"] for c in planned if "n_trials" in c},
        "points": planned_points(folder),
        "stamps": read_stamps(folder),
        "cost": summary.get("cost") or {},
        "spec_digest": plan.get("spec_digest", summary.get("spec_digest")),
        "caveats": {canonical(cell["axes"]): tuple(cell.get("caveats") or ()) for cell in told},
        "signals": tuple(dict.fromkeys(said)),
    }


def _of_the_spec(tree: dict[str, Any], name: str) -> dict[str, Any]:
    """What a specification asks, as far as it can be read."""
    objective, budget = (_block(tree.get(block)) for block in ("objective", "budget"))
    metric = str(objective.get("metric", Design.metric))
    verdicts = _valid(Verdicts, tree.get("verdicts") or {}) or Verdicts()
    claims = (_valid(Hypothesis, one) for one in _blocks(tree.get("claims")))
    return {
        "name": str(tree.get("name", name)),
        "metric": metric,
        "mode": metric_of(metric).mode,
        "each": objective.get("each"),
        "budget": budget.get("trials"),
        "patience": budget.get("patience"),
        "verdicts": verdicts.of(metric),
        "claims": tuple(claim for claim in claims if claim is not None),
        "log_axes": _logarithmic(tree),
    }


def _logarithmic(tree: dict[str, Any]) -> frozenset[str] | None:
    search = _block(tree.get("search"))
    logs = frozenset(path for path, of in search.items() if "loguniform" in _block(of))
    return logs if "search" in tree else None


S = TypeVar("S", bound=Spec)


def _valid(kind: type[S], tree: Any) -> S | None:
    """A part of a spec that may be of another version."""
    try:
        return validate(kind, tree)
    except SpecError:
        return None


def _shown(folder: Path) -> str:
    return "/".join(folder.absolute().parts[-2:])


def _compared(tree: dict[str, Any]) -> dict[str, list[Any]]:
    compare, arms = _block(tree.get("compare")), _block(tree.get("arms"))
    compare = {path: values for path, values in compare.items() if isinstance(values, list)}
    return {**compare, "arm": compare.get("arm", list(arms))} if arms else compare


def _products(compare: dict[str, list[Any]]) -> Iterable[Axes]:
    return (
        dict(zip(compare, values, strict=True)) for values in itertools.product(*compare.values())
    )


def _block(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _blocks(value: Any) -> list[dict[str, Any]]:
    """The blocks of a list of them, those of cells with the axes of one."""
    of = value if isinstance(value, list) else []
    return [one for one in of if isinstance(one, dict) and isinstance(one.get("axes", {}), dict)]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return _block(found)
