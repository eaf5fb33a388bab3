"""The objective over the numbers that were searched, with what is not known of it. Validation data
only.

Trials of all cells of one arm are pooled at the points that every one of them ran to its end, each
cell's mean taken out. Blocks, within which trials count as dependent, are targets where there are
three, else draws of people and labels (`citrus_ray.evidence.smooth`).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from citrus_ray.evidence.design import Design
from citrus_ray.evidence.explored import FEWEST, is_log, is_number
from citrus_ray.evidence.facts import TARGET, target_of
from citrus_ray.evidence.intervals import ALPHA, Floats
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.smooth import Estimate, Smooth
from citrus_ray.experiment.labels import axis_names, canonical, count
from citrus_ray.records import Record

MOST = 200  # points, evenly chosen: more change little, and take their cube
VALUES = 5  # of a number that is drawn as a curve; of fewer, each is a choice
TARGETS = 3  # of which the next one can be told
GRID, FIELD = 41, 15  # places of a curve, and along each side of a surface
Z = 1.96
# drawn over both, the first pair that was searched
PAIRS = (
    ("pretrain.task.hide.center", "pretrain.task.hide.width"),
    ("pretrain.task.ratio", "pretrain.task.hide.center"),
)
Blocks = Literal["targets", "draws"]


@dataclass(frozen=True)
class Axis:
    """One number that was searched, and its place on a scale from 0 to 1."""

    path: str
    name: str
    low: float
    high: float
    is_log: bool

    def scaled(self, values: Any) -> Floats:
        ends = np.asarray([self.low, self.high], dtype=np.float64)
        x = np.asarray(values, dtype=np.float64)
        x, ends = (np.log(x), np.log(ends)) if self.is_log else (x, ends)
        return np.asarray((x - ends[0]) / (ends[1] - ends[0]))

    def places(self, n: int) -> Floats:
        space = np.geomspace if self.is_log else np.linspace
        return np.asarray(space(self.low, self.high, n), dtype=np.float64)


@dataclass(frozen=True)
class Response:
    """Scores of one arm's trials over the numbers that were searched, better when higher."""

    arm: str
    design: Design
    axes: tuple[Axis, ...]
    rows: tuple[dict[str, Any], ...]  # settings of each point
    values: Floats  # (points, blocks), less the mean of each cell
    blocks: Blocks
    n_cells: int
    n_left_out: int  # points that not every cell ran to its end, or that were too many

    @property
    def n_blocks(self) -> int:
        return int(self.values.shape[1])

    @cached_property
    def means(self) -> Floats:
        """Of each point."""
        return np.asarray(self.values.mean(axis=1))

    @cached_property
    def curves(self) -> list["OverOne"]:
        """What moves it most first."""
        found = [OverOne.of(self, axis) for axis in self.axes]
        return sorted(found, key=lambda one: (not one.worse.any(), -float(np.ptp(one.curve.mean))))

    @cached_property
    def surface(self) -> "OverTwo | None":
        by_path = {axis.path: axis for axis in self.axes}
        for one, other in PAIRS:
            if one in by_path and other in by_path:
                return OverTwo.of(self, by_path[one], by_path[other])
        return None

    @cached_property
    def columns(self) -> list[str]:
        """Every setting that was varied, those that are no number too."""
        return [path for path in self.rows[0] if _n_different(self.rows, path) > 1]

    @cached_property
    def smooth(self) -> Smooth:
        by_path = {axis.path: axis for axis in self.axes}
        columns = []
        for path in self.columns:
            given = [row[path] for row in self.rows]
            names = {canonical(value): i for i, value in enumerate(given)}
            as_names = np.asarray([names[canonical(value)] for value in given], dtype=np.float64)
            columns.append(by_path[path].scaled(given) if path in by_path else as_names)
        ordered = tuple(path in by_path for path in self.columns)
        return Smooth(np.stack(columns, axis=1), ordered, self.values)

    def says_whom(self) -> str:
        """What the interval holds, in words."""
        points, cells = count(len(self.rows), "point"), count(self.n_cells, "cell")
        start = f"{points} in {cells}"
        if self.n_blocks == 1:
            return f"{start}, one draw of people and labels: what another would give is not in it"
        if self.blocks == "targets":
            return f"{start}; trials of one target count as dependent ({self.n_blocks} targets)"
        return (
            f"{start}; trials of one draw of people and labels count as dependent ({self.n_blocks})"
        )


@dataclass(frozen=True)
class OverOne:
    """The score over one number."""

    axis: Axis
    at: Floats
    tried: Floats
    means: Floats  # of the points that were tried
    curve: Estimate
    worse: npt.NDArray[np.bool_]  # than at the best place

    @classmethod
    def of(cls, response: Response, axis: Axis) -> "OverOne":
        at = axis.places(GRID)
        place = response.columns.index(axis.path)
        curve = response.smooth.over([place], axis.scaled(at)[:, None])
        worse = curve.worse(ALPHA / len(response.axes))
        tried = np.asarray([row[axis.path] for row in response.rows], dtype=np.float64)
        return cls(axis, at, tried, response.means, curve, worse)

    @property
    def good(self) -> list[tuple[float, float]]:
        """Ends of each stretch that is not told apart from the best place."""
        found: list[tuple[float, float]] = []
        inside = np.concatenate([[False], ~self.worse, [False]]).astype(np.int8)
        steps = np.diff(inside)
        for first, last in zip(np.flatnonzero(steps > 0), np.flatnonzero(steps < 0), strict=True):
            found.append((float(self.at[first]), float(self.at[last - 1])))
        return found

    @property
    def says(self) -> str:
        """How sure it is, in words."""
        name, best = self.axis.name, f"{self.at[self.curve.best]:.3g}"
        if not self.worse.any():
            return (
                f"over {name} nothing is told apart ({self.axis.low:.3g} to {self.axis.high:.3g})"
            )
        ends = " and ".join(f"between {low:.3g} and {high:.3g}" for low, high in self.good)
        return f"{name} is best near {best}: {ends} nothing is told apart, elsewhere it is worse"


@dataclass(frozen=True)
class OverTwo:
    """The score over two numbers at once; fields are (first, second)."""

    axes: tuple[Axis, Axis]
    at: tuple[Floats, Floats]
    tried: tuple[Floats, Floats]
    means: Floats
    mean: Floats
    sd: Floats
    worse: npt.NDArray[np.bool_]
    best: tuple[float, float]

    @classmethod
    def of(cls, response: Response, one: Axis, other: Axis) -> "OverTwo":
        at = one.places(FIELD), other.places(FIELD)
        places = [response.columns.index(axis.path) for axis in (one, other)]
        field = np.meshgrid(one.scaled(at[0]), other.scaled(at[1]), indexing="ij")
        curve = response.smooth.over(places, np.stack([part.ravel() for part in field], axis=1))
        tried = [
            np.asarray([row[axis.path] for row in response.rows], dtype=np.float64)
            for axis in (one, other)
        ]
        shape = (FIELD, FIELD)
        i, j = np.unravel_index(curve.best, shape)
        return cls(
            (one, other),
            at,
            (tried[0], tried[1]),
            response.means,
            curve.mean.reshape(shape),
            curve.sd.reshape(shape),
            curve.worse(ALPHA).reshape(shape),
            (float(at[0][i]), float(at[1][j])),
        )

    @property
    def says(self) -> str:
        one, other = (axis.name for axis in self.axes)
        if not self.worse.any():
            return f"Over {one} and {other} together nothing is told apart."
        share = f"{100 * self.worse.mean():.0f} %"
        return (
            f"It is best near {one} {self.best[0]:.3g} with {other} {self.best[1]:.3g}; "
            f"{share} of the field is worse than that, the rest is not told apart from it."
        )


def responses(cells: Sequence[Outcome]) -> list[Response]:
    """Arms whose search tried at least twelve points, with a number among their settings."""
    arms: dict[tuple[int, str], list[Outcome]] = defaultdict(list)
    for cell in cells:
        if any(trial.is_full for trial in cell.searched):
            arms[cell.folders[0], cell.arm_label].append(cell)
    return [one for of in arms.values() if (one := _response(of)) is not None]


def _response(cells: Sequence[Outcome]) -> Response | None:
    # neither the order of cells nor that of trials may decide
    cells = sorted(cells, key=lambda cell: cell.digest)
    every = [set(trial.params) for cell in cells for trial in cell.searched]
    paths = sorted(set.intersection(*every))
    tried = [_tried(cell, paths) for cell in cells]
    shared = set.intersection(*(set(points) for points in tried))
    n_tried = len(set().union(*tried))
    kept = sorted(shared)[:: -(-len(shared) // MOST) or 1]
    if len(kept) < FEWEST:
        return None
    rows = tuple({p: tried[0][point][0].params[p] for p in paths} for point in kept)
    axes = _axes(rows, cells[0].design)
    if not axes:
        return None
    n_targets = len({target_of(row) for of in tried for row in of[kept[0]]})
    blocks: Blocks = "targets" if n_targets >= TARGETS else "draws"
    values = _values(tried, kept, cells[0].design, blocks)
    if values is None:
        return None
    left_out = n_tried - len(kept)
    arm, design = cells[0].arm_label, cells[0].design
    return Response(arm, design, axes, rows, values, blocks, len(cells), left_out)


def _tried(cell: Outcome, paths: Sequence[str]) -> dict[str, list[Record]]:
    """Rows of each trial that ran to its end, by its point on the axes that all cells search."""
    full = {
        trial.digest: canonical({path: trial.params[path] for path in paths})
        for trial in cell.searched
        if trial.is_full
    }
    found: dict[str, list[Record]] = defaultdict(list)
    for row in cell.rows:
        if row.phase == "search" and row.trial in full and cell.design.metric in row.metrics:
            found[full[row.trial]].append(row)
    return dict(found)


def _n_different(rows: Sequence[dict[str, Any]], path: str) -> int:
    return len({canonical(row.get(path)) for row in rows})


def _axes(rows: Sequence[dict[str, Any]], design: Design) -> tuple[Axis, ...]:
    varied = [path for path in rows[0] if _n_different(rows, path) > 1]
    names, found = axis_names(varied), []
    for path in varied:
        values = [row[path] for row in rows]
        if is_number(values) and _n_different(rows, path) >= VALUES:
            ends = float(min(values)), float(max(values))
            log = is_log(values) if design.log_axes is None else path in design.log_axes
            found.append(Axis(path, names[path], *ends, log))
    return tuple(found)


def _values(
    tried: Sequence[dict[str, list[Record]]], kept: Sequence[str], design: Design, blocks: Blocks
) -> Floats | None:
    """(points, blocks): means over cells and members, each cell's own taken out; None where no draw
    has all points."""
    sums: dict[str, list[Floats]] = defaultdict(list)
    for of in tried:
        series: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for point in kept:
            for row in of[point]:
                drawn = canonical({p: v for p, v in row.repeat.items() if p != TARGET})
                value = design.sign * row.metrics[design.metric]
                series[target_of(row), drawn][point].append(value)
        for (target, drawn), values in series.items():
            if len(values) == len(kept):
                column = np.asarray([np.mean(values[point]) for point in kept])
                sums[target if blocks == "targets" else drawn].append(column - column.mean())
    if not sums:
        return None
    return np.stack([np.mean(sums[block], axis=0) for block in sorted(sums)], axis=1)
