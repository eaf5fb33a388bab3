"""Rows grouped into what was compared: a cell, its searched trials, and its winner's refit on fresh seeds."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from citrus_ray.evidence.design import Axes, Notes, Plan, axes_key, score_bounds
from citrus_ray.evidence.facts import people_of, target_of
from citrus_ray.evidence.intervals import Effect, score_effect
from citrus_ray.evidence.reading import Collection
from citrus_ray.evidence.units import Units, Value, units
from citrus_ray.records import Record, Status

ONE_ENCODER = "fresh seeds reach the fine-tune only: one pre-trained encoder serves all of them"


@dataclass(frozen=True)
class Searched:
    """One searched trial: the mean over its members."""

    digest: str
    params: dict[str, Any]
    status: Status
    value: float | None
    finished: str


@dataclass(frozen=True)
class Cell:
    """One row of the comparison."""

    digest: str
    axes: Axes
    plan: Plan
    folders: tuple[int, ...]
    searched: tuple[Searched, ...]  # in the order in which they ended
    final: tuple[Record, ...]  # the winner's refit, failed members included
    n_finals: int  # winners that were refitted; more than one where a budget grew
    rows: tuple[Record, ...] = field(repr=False)
    baselines: dict[str, float] = field(
        default_factory=dict
    )  # its own, or those of its from-scratch partner

    @cached_property
    def scored(self) -> list[Record]:
        return [
            row for row in self.final if row.status == "ok" and self.plan.test_metric in row.metrics
        ]

    @cached_property
    def units(self) -> Units:
        """What the interval of the test score counts."""
        metric = self.plan.test_metric
        return units(
            [Value(target_of(row), people_of(row), row.metrics[metric]) for row in self.scored]
        )

    @cached_property
    def test(self) -> Effect | None:
        return score_effect(self.units.values, score_bounds(self.plan.test_metric))

    @cached_property
    def n_test_parts(self) -> int:
        """Different (target, test people) that the test score comes from."""
        return len({(target_of(row), people_of(row)) for row in self.scored})

    @cached_property
    def own_baselines(self) -> dict[str, float]:
        """Mean test score of each dumb baseline that was scored beside the refits, weighed as the score itself."""
        metric, found = self.plan.test_metric, defaultdict(list)
        for row in self.final:
            for name, metrics in row.baselines.items():
                if metric in metrics:
                    found[name].append(Value(target_of(row), people_of(row), metrics[metric]))
        return {name: statistics.fmean(units(values).values) for name, values in found.items()}

    @cached_property
    def missing(self) -> dict[str, float]:
        """Mean test score by the modalities that were left out, weighed as the score itself."""
        end, found = self.plan.test_metric.removeprefix("test"), defaultdict(list)
        for row in self.scored:
            for name, value in row.metrics.items():
                if name.startswith("missing:") and name.endswith(end):
                    choice = name.removeprefix("missing:").removesuffix(end)
                    found[choice].append(Value(target_of(row), people_of(row), value))
        return {choice: statistics.fmean(units(values).values) for choice, values in found.items()}

    @cached_property
    def is_scratch(self) -> bool:
        return all(row.encoder is None for row in self.rows)

    @cached_property
    def best(self) -> Searched | None:
        """The trial that validation chose, among those that ran to their end."""
        full = [
            trial for trial in self.searched if trial.status == "ok" and trial.value is not None
        ]
        sign = 1 if self.plan.mode == "max" else -1
        return max(full, key=lambda trial: sign * (trial.value or 0.0), default=None)

    @cached_property
    def notes(self) -> Notes:
        return self.plan.notes.get(axes_key(self.axes), Notes())

    def n_searched(self, status: Status) -> int:
        return sum(trial.status == status for trial in self.searched)

    def caveats(self) -> list[str]:
        """What stands between this cell's test score and a general claim."""
        return list(dict.fromkeys([*self.notes.caveats, *_caveats_of(self)]))


def _caveats_of(cell: Cell) -> Iterable[str]:
    """Read off the rows themselves, so that they appear where no summary was written."""
    if not cell.scored:
        return
    if not cell.is_scratch and len({row.encoder for row in cell.scored}) == 1:
        yield ONE_ENCODER
    if cell.units.level == "seed":
        yield "every seed is scored on the same test people: the interval speaks for new seeds, not for new people"
    elif cell.units.level == "target" and cell.n_test_parts == len(cell.units.values):
        yield "each target has one fixed set of test people: they vary between targets only"
    if cell.n_test_parts > 1 and any(row.config.get("finetune.split.folds") for row in cell.scored):
        yield "folds share most of their training people: they are less independent than the interval assumes"
    if any(row.config.get("finetune.target.kind") == "synthetic" for row in cell.scored):
        yield "the target is synthetic: it shows that the method works, and says nothing of real recordings"
    if len(cell.scored) < len(cell.final):
        yield f"{len(cell.final) - len(cell.scored)} of {len(cell.final)} refits failed and are not in the mean"
    if cell.n_finals > 1:
        yield f"test data was scored for {cell.n_finals} winners in turn; the newest is shown"


def cells_of(found: Collection, plans: Sequence[Plan]) -> list[Cell]:
    """Cells in the order of their plans; those that no plan names come last."""
    rows: dict[str, list[Record]] = defaultdict(list)
    for row in found.rows:
        rows[row.cell].append(row)
    cells = [_cell(mine, found.folders[digest], plans) for digest, mine in rows.items()]
    known = {_regime(cell): cell.own_baselines for cell in cells if cell.own_baselines}
    cells = [
        replace(cell, baselines=cell.own_baselines or known.get(_regime(cell), {}))
        for cell in cells
    ]
    return sorted(cells, key=_place)


def _regime(cell: Cell) -> tuple[str, str]:
    """Equal for cells that differ in pre-training alone."""
    return cell.plan.name, axes_key(
        {path: value for path, value in cell.axes.items() if not is_pretrain(path)}
    )


def _cell(rows: list[Record], folders: tuple[int, ...], plans: Sequence[Plan]) -> Cell:
    plan = plans[folders[0]]
    trials: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for row in rows:
        trials[row.phase, row.trial].append(row)
    finals = [members for (phase, _), members in trials.items() if phase == "final"]
    searched = [
        _searched(members, plan) for (phase, _), members in trials.items() if phase == "search"
    ]
    return Cell(
        digest=rows[0].cell,
        axes=rows[0].axes,
        plan=plan,
        folders=folders,
        searched=tuple(sorted(searched, key=lambda trial: (trial.finished, trial.digest))),
        final=tuple(max(finals, key=_last_finished, default=[])),
        n_finals=len(finals),
        rows=tuple(rows),
    )


def _searched(rows: list[Record], plan: Plan) -> Searched:
    statuses = {row.status for row in rows}
    status: Status = (
        "failed" if "failed" in statuses else "pruned" if "pruned" in statuses else "ok"
    )
    values = [row.metrics[plan.metric] for row in rows if plan.metric in row.metrics]
    complete = status != "failed" and len(values) == len(rows)
    value = statistics.fmean(values) if complete else None
    return Searched(rows[0].trial, rows[0].params, status, value, _last_finished(rows))


def _last_finished(rows: Iterable[Record]) -> str:
    return max(row.finished for row in rows)


def _place(cell: Cell) -> tuple[int, int, str]:
    order = cell.plan.order
    return cell.folders[0], order.get(axes_key(cell.axes), len(order)), cell.digest


# ---- names ----


def axes_label(axes: Axes) -> str:
    """`masked, labels 8 per class`: a block that names its kind speaks for itself."""
    names = axis_names(axes)
    named = {path: "" if is_kind(value) else f"{names[path]} " for path, value in axes.items()}
    return (
        ", ".join(f"{named[path]}{value_label(path, value)}" for path, value in axes.items())
        or "the only cell"
    )


def is_kind(value: Any) -> bool:
    return isinstance(value, dict) and "kind" in value


def axis_names(paths: Iterable[str]) -> dict[str, str]:
    """The last part of each path, or the whole path where two would read the same."""
    paths = list(paths)
    last = [path.rsplit(".", 1)[-1] for path in paths]
    return {
        path: end if last.count(end) == 1 else path for path, end in zip(paths, last, strict=True)
    }


def is_pretrain(path: str) -> bool:
    return path.split(".", 1)[0] == "pretrain"


def value_label(path: str, value: Any) -> str:
    """A compared or searched value in words."""
    if value is None:
        return "scratch" if is_pretrain(path) else "none"
    if isinstance(value, dict):
        return _block_label(path, {key: inner for key, inner in value.items() if inner is not None})
    if isinstance(value, list):
        return "[" + ", ".join(value_label(path, item) for item in value) + "]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _block_label(path: str, block: dict[str, Any]) -> str:
    if set(block) == {"per_class"}:
        return f"{block['per_class']} per class"
    if set(block) == {"fraction"}:
        return f"{100 * block['fraction']:.3g} %"
    rest = ", ".join(
        f"{key} {value_label(path, value)}" for key, value in block.items() if key != "kind"
    )
    kind = str(block.get("kind", ""))
    return f"{kind} ({rest})" if kind and rest else kind or rest
