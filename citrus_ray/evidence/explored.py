"""How the gain hangs on what was searched: importances, partial dependence, two settings at once.
Validation data only.

A trial's gain is its validation score minus that of the from-scratch trial that validation chose
in the same regime. It explains the search; it is no result, since these scores chose the
winners.
"""

import itertools
import json
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from citrus_ray.evidence.gains import Gain
from citrus_ray.evidence.intervals import Floats
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.pooled import regime_axes
from citrus_ray.experiment.labels import axis_names, canonical, value_label

if TYPE_CHECKING:
    import optuna

FEWEST = 12  # trials of one pre-training; of fewer, a forest explains noise
MOST = 1000  # trials that a forest sees, evenly chosen: more change nothing that can be seen
GRID = 12  # points of a partial dependence
BINS = 6  # of a setting with many values, in a surface
TREES = 64
DEPTH = (
    8  # of the trees of the analysis of variance, whose time grows with the square of their leaves
)
# where a band lies, by its middle or by its ends
BANDS = ("pretrain.task.hide.center", "pretrain.task.hide.band", "pretrain.task.band")
WIDE = 10.0  # a positive setting that spans this factor was searched on a log scale


@dataclass(frozen=True)
class Explored:
    """The searched trials of one pre-training, over all regimes."""

    arm: str
    paths: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]  # a value per path
    gains: Floats

    @property
    def names(self) -> dict[str, str]:
        return axis_names(self.paths)


@dataclass(frozen=True)
class Dependence:
    """The gain over one setting: what a forest makes of it, and the plain means of the trials
    behind it."""

    arm: str
    name: str
    path: str
    importance: float | None  # share of the gain's variance; None where all gains are equal
    is_log: bool
    labels: tuple[str, ...]  # of a setting without an order; empty for numbers
    points: tuple[float, ...]
    gains: tuple[float, ...]  # partial dependence at the points
    seen: tuple[tuple[float, float, int], ...]  # point, mean gain of the trials there, how many

    @property
    def swing(self) -> float:
        return max(self.gains) - min(self.gains)


@dataclass(frozen=True)
class Surface:
    """Mean gain over two settings, NaN where no trial was."""

    arm: str
    names: tuple[str, str]
    labels: tuple[tuple[str, ...], tuple[str, ...]]
    gains: Floats  # (first, second)
    counts: npt.NDArray[np.int64]


def explored(cells: Sequence[Outcome], gains: Sequence[Gain]) -> list[Explored]:
    """Trials that ran to their end, with the axes that were compared beside the searched ones."""
    against = {gain.cell.digest: gain.against for gain in gains}
    found: dict[str, list[tuple[dict[str, Any], float]]] = defaultdict(list)
    for cell in cells:
        twin = against.get(cell.digest)
        if twin is None or twin.best is None or twin.best.value is None:
            continue
        for trial in cell.searched:
            if trial.status == "ok" and trial.value is not None:
                settings = trial.params | compared_settings(cell)
                gain = cell.design.sign * (trial.value - twin.best.value)
                found[cell.arm_label].append((settings, gain))
    return [item for arm, trials in found.items() if (item := _explored(arm, trials)) is not None]


def compared_settings(cell: Outcome) -> dict[str, Any]:
    target = {path: value for path, value in cell.axes.items() if path == "finetune.target"}
    return {
        path: axes_value(path, value)
        for path, value in {**regime_axes(cell.axes), **target}.items()
    }


def axes_value(path: str, value: Any) -> Any:
    return value if isinstance(value, int | float | str) else value_label(path, value)


def _explored(arm: str, trials: Sequence[tuple[dict[str, Any], float]]) -> Explored | None:
    # a forest draws by place: neither the order of cells nor that of trials may decide
    trials = sorted(trials, key=lambda trial: (canonical(trial[0]), trial[1]))
    shared = [path for path in trials[0][0] if all(path in settings for settings, _ in trials)]
    varied = [
        path
        for path in shared
        if len({canonical({"": settings[path]}) for settings, _ in trials}) > 1
    ]
    if len(trials) < FEWEST or not varied:
        return None
    every = -(-len(trials) // MOST)
    kept = trials[::every]
    rows = tuple({path: settings[path] for path in varied} for settings, _ in kept)
    return Explored(arm, tuple(varied), rows, np.asarray([gain for _, gain in kept]))


# ---- what matters ----


def importances(found: Explored) -> dict[str, float]:
    """Functional ANOVA through Optuna: the share of the gain's variance that each setting
    explains by itself."""
    import optuna

    if np.ptp(found.gains) == 0:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {path: _distribution([row[path] for row in found.rows]) for path in found.paths}
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            optuna.trial.create_trial(
                params=_named(row, space), distributions=space, value=float(gain)
            )
            for row, gain in zip(found.rows, found.gains, strict=True)
        ]
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(
        n_trees=TREES // 2, max_depth=DEPTH, seed=0
    )
    return dict(
        optuna.importance.get_param_importances(
            study, evaluator=evaluator, params=list(found.paths)
        )
    )


def _distribution(values: Sequence[Any]) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if not is_number(values):
        return CategoricalDistribution(sorted({_name(value) for value in values}))
    low, high = float(min(values)), float(max(values))
    return FloatDistribution(low, high, log=is_log(values))


def _named(row: dict[str, Any], space: dict[str, Any]) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution

    return {
        path: _name(value) if isinstance(space[path], CategoricalDistribution) else float(value)
        for path, value in row.items()
    }


def _name(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def is_number(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def is_log(values: Sequence[Any]) -> bool:
    return is_number(values) and min(values) > 0 and max(values) / min(values) >= WIDE


def dependences(found: Explored) -> list[Dependence]:
    """Most important setting first."""
    from sklearn.ensemble import RandomForestRegressor

    weights = importances(found)
    columns = {path: _Column.of(path, [row[path] for row in found.rows]) for path in found.paths}
    table = np.concatenate([column.coded for column in columns.values()], axis=1)
    forest = RandomForestRegressor(TREES, min_samples_leaf=3, random_state=0, n_jobs=1).fit(
        table, found.gains
    )
    made, start = [], 0
    for path, column in columns.items():
        place = slice(start, start := start + column.coded.shape[1])
        made.append(_dependence(found, path, column, weights.get(path), forest, table, place))
    return sorted(made, key=lambda item: -(item.importance or 0.0))


@dataclass(frozen=True)
class _Column:
    """One setting as numbers for a forest: a number as it is or its logarithm, anything else one
    column per value."""

    coded: Floats  # (trial, width)
    grid: Floats  # (point, width)
    points: tuple[float, ...]
    labels: tuple[str, ...]
    places: npt.NDArray[np.int64]  # each trial's nearest point
    is_log: bool

    @classmethod
    def of(cls, path: str, values: Sequence[Any]) -> "_Column":
        if not is_number(values):
            names = sorted({_name(value) for value in values}, key=natural)
            places = np.asarray([names.index(_name(value)) for value in values])
            shown = {_name(value): value_label(path, value) for value in values}
            identity, points = np.eye(len(names)), tuple(map(float, range(len(names))))
            return cls(
                identity[places],
                identity,
                points,
                tuple(shown[name] for name in names),
                places,
                False,
            )
        log = is_log(values)
        x = (
            np.log(np.asarray(values, dtype=np.float64))
            if log
            else np.asarray(values, dtype=np.float64)
        )
        different = np.unique(x)
        grid = different if len(different) <= GRID else np.linspace(x.min(), x.max(), GRID)
        places = np.abs(x[:, None] - grid[None]).argmin(axis=1)
        shown_at = tuple((np.exp(grid) if log else grid).tolist())
        return cls(x[:, None], grid[:, None], shown_at, (), places, log)


def _dependence(
    found: Explored,
    path: str,
    column: _Column,
    importance: float | None,
    forest: Any,
    table: Floats,
    place: slice,
) -> Dependence:
    curve = []
    for point in column.grid:
        moved = table.copy()
        moved[:, place] = point
        curve.append(float(forest.predict(moved).mean()))
    seen = [
        (column.points[k], found.gains[column.places == k])
        for k in np.unique(column.places).tolist()
    ]
    means = tuple((at, float(gains.mean()), len(gains)) for at, gains in seen)
    name = found.names[path]
    labels, points = column.labels, column.points
    return Dependence(
        found.arm, name, path, importance, column.is_log, labels, points, tuple(curve), means
    )


# ---- two at once ----


def surface(found: Explored, order: Sequence[Dependence]) -> Surface | None:
    """Mask ratio by place of the band where both were searched, else the two settings of
    pre-training that matter most."""
    mine = [item.path for item in order if item.path.startswith("pretrain.")]
    band = next((path for path in BANDS if path in mine), None)
    pair = ["pretrain.task.ratio", band] if band and "pretrain.task.ratio" in mine else mine[:2]
    if len(pair) < 2:
        return None
    (first, one), (second, other) = (
        _bins(path, [row[path] for row in found.rows]) for path in pair
    )
    shape = (len(first), len(second))
    counts, sums = np.zeros(shape, dtype=np.int64), np.zeros(shape)
    np.add.at(counts, (one, other), 1)
    np.add.at(sums, (one, other), found.gains)
    with np.errstate(invalid="ignore"):
        means = np.where(counts > 0, sums / counts, np.nan)
    return Surface(
        found.arm, (found.names[pair[0]], found.names[pair[1]]), (first, second), means, counts
    )


def _bins(path: str, values: Sequence[Any]) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Labels, and each trial's place among them."""
    if not is_number(values) or len(set(values)) <= GRID:
        different = sorted({_name(v): v for v in values}.items(), key=lambda item: _order(item[1]))
        names = [name for name, _ in different]
        return tuple(value_label(path, v) for _, v in different), np.asarray(
            [names.index(_name(v)) for v in values]
        )
    x = np.asarray(values, dtype=np.float64)
    edges = np.unique(np.quantile(x, np.linspace(0, 1, BINS + 1)))
    places = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
    return tuple(f"{low:.3g} to {high:.3g}" for low, high in itertools.pairwise(edges)), places


def natural(name: str) -> tuple[float, str]:
    """`3 per class` before `20 per class`."""
    found = re.search(r"\d+(\.\d+)?", name)
    return (float(found[0]) if found else math.inf, name)


def _order(value: Any) -> tuple[int, float, str]:
    """Numbers by size, lists of numbers by their first, the rest by name."""
    first = value[0] if isinstance(value, list) and value else value
    return (0, float(first), _name(value)) if is_number([first]) else (1, *natural(_name(value)))
