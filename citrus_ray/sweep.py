"""A sweep is a trial and three kinds of axes: compared, repeated and searched. Pure values; nothing here runs."""

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from citrus_ray.metrics import HARD, RANKED
from citrus_ray.records import Phase
from citrus_ray.spec import Aside, Document, Problem, Spec, SpecError, digest_of, put, read_yaml, validate
from citrus_ray.trial import Trial

MAX_CORNERS = 64  # per cell; beyond it, corners are taken one axis at a time
FRESH_SEED = 1000  # winners are refitted on seeds from here up, which no search may use


class Axis(Spec):
    """What Optuna samples along one dotted path. Exactly one of uniform, loguniform, int, choice."""

    uniform: tuple[float, float] | None = None
    loguniform: tuple[float, float] | None = None
    int_: Annotated[tuple[int, int] | None, Field(alias="int")] = None
    choice: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None
    step: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> "Axis":
        given = [name for name in ("uniform", "loguniform", "int_", "choice") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"an axis gives exactly one of uniform, loguniform, int, choice, but got {given or 'none'}"
            )
        bounds = self.uniform or self.loguniform or self.int_
        if bounds and not bounds[0] <= bounds[1]:
            raise ValueError(f"low <= high must hold, but got {list(bounds)}")
        if self.loguniform and self.loguniform[0] <= 0:
            raise ValueError(f"loguniform needs low > 0, but got {list(self.loguniform)}")
        if self.step is not None and not (self.uniform or self.int_):
            raise ValueError("step goes with uniform or int only")
        if self.step is not None and self.int_ and self.step % 1:
            raise ValueError(f"step={self.step:g} must be whole for an int axis; use uniform for steps between")
        return self

    def corners(self) -> list[Any]:
        if self.choice is not None:
            return list(self.choice)
        low, high = self.uniform or self.loguniform or self.int_ or (0, 0)
        return [low] if low == high else [low, high]

    def n_points(self) -> float:
        """How many different values there are; infinite for a continuous axis."""
        if self.choice is not None:
            return len(self.choice)
        if self.int_ is not None:
            return (self.int_[1] - self.int_[0]) // int(self.step or 1) + 1
        if self.uniform is not None and self.step is not None:
            return math.floor((self.uniform[1] - self.uniform[0]) / self.step + 1e-9) + 1
        return math.inf if len(self.corners()) > 1 else 1

    def names(self) -> dict[str, Any]:
        """Choices by the name that Optuna, TensorBoard and records know them by: bands and blocks as JSON."""
        return {value if isinstance(value, str) else json.dumps(value): value for value in self.choice or ()}


class Objective(Spec):
    metric: str = "val/balanced_accuracy"
    mode: Literal["max", "min"] = "max"

    @model_validator(mode="after")
    def _from_validation(self) -> "Objective":
        if not self.metric.startswith("val/"):
            raise ValueError(f"metric={self.metric!r}: selection sees validation data only; use val/…")
        if self.mode == "min":
            raise ValueError("mode='min': every metric here is better when higher; use max")
        if self.metric.removeprefix("val/") not in {**HARD, **RANKED}:
            known = ", ".join(f"val/{name}" for name in {**HARD, **RANKED})
            raise ValueError(f"metric={self.metric!r}: must be one of {known}")
        return self


class Budget(Spec):
    """Per compared cell; every cell gets the same."""

    trials: Annotated[int, Field(ge=1)]


class Asha(Spec):
    """Stop trials whose objective falls behind at rungs of validation rounds."""

    grace: Annotated[int, Field(ge=1)] = 2
    reduction: Annotated[int, Field(ge=2)] = 3


class Final(Spec):
    """How winners are scored: refitted on `seeds` fresh seeds, once each on test data."""

    seeds: Annotated[int, Field(ge=2)] = 5
    pretrain: bool = False  # pre-train anew for every fresh seed too


class Sweep(Spec):
    """`python sweeps/run.py` runs one of these."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    trial: Trial
    objective: Objective = Objective()
    compare: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = {}
    repeat: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = {}
    search: dict[str, Axis] = {}
    budget: Budget
    final: Final = Final()
    sampler: Literal["tpe", "random"] = "tpe"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    asha: Asha | None = None
    concurrency: Annotated[Annotated[int, Field(ge=1)] | None, Aside()] = None  # default: one trial per CPU

    @cached_property
    def cells(self) -> tuple["Cell", ...]:
        """Every combination of the compared values, validated at the corners of the searched axes."""
        return _Cells(self).build()


@dataclass(frozen=True)
class Cell:
    """One row of the comparison: a study of its own."""

    index: int
    axes: dict[str, Any]
    trial: Trial
    search: dict[str, Axis]  # the axes that exist in this arm
    repeat: tuple[dict[str, Any], ...]
    sweep: Sweep = field(repr=False, compare=False)  # it holds its cells: comparing it would never end

    @cached_property
    def digest(self) -> str:
        """Names the study: records of a sweep with another budget belong to it, of another search space do not."""
        space = {path: axis.tree() for path, axis in self.search.items()}
        asha = self.sweep.asha and self.sweep.asha.tree()
        members = [trial.digest() for _, trial in self.members({}, "search")]  # named sets are resolved in them
        return digest_of([members, space, self.sweep.objective.tree(), asha])

    @property
    def label(self) -> str:
        return ", ".join(f"{path}={short(value)}" for path, value in self.axes.items()) or "all"

    @property
    def n_trials(self) -> int:
        """The budget, or fewer where the searched space has fewer points."""
        n_points = math.prod(axis.n_points() for axis in self.search.values())
        return int(min(self.sweep.budget.trials, n_points))

    def members(self, params: dict[str, Any], phase: Phase) -> list[tuple[dict[str, Any], Trial]]:
        """What one trial runs: (repeated values, member) pairs."""
        repeats = self.repeat if phase == "search" else self._fresh()
        return [(repeat, _at(self.trial, params | repeat)) for repeat in repeats]

    def _fresh(self) -> list[dict[str, Any]]:
        """The repeated values with fresh seeds in place of the searched ones."""
        others = [{k: v for k, v in r.items() if k not in ("seed", "pretrain.seed")} for r in self.repeat]
        unique = [dict(items) for items in dict.fromkeys(_frozen(other) for other in others)]
        fresh_pretrain = self.sweep.final.pretrain and self.trial.pretraining is not None
        seeds = [FRESH_SEED + i for i in range(self.sweep.final.seeds)]
        return [
            {k: json.loads(v) for k, v in other.items()}
            | {"seed": s}
            | ({"pretrain.seed": s} if fresh_pretrain else {})
            for other in unique
            for s in seeds
        ]

    def scratch_twin(self) -> "Cell | None":
        """The from-scratch cell that is equal in every other axis; None for a scratch cell itself."""
        if self.trial.pretraining is None:
            return None

        def others(cell: Cell) -> dict[str, Any]:
            return {path: value for path, value in cell.axes.items() if path.split(".")[0] != "pretrain"}

        twins = (c for c in self.sweep.cells if c.trial.pretraining is None and others(c) == others(self))
        return next(twins, None)


def _frozen(repeat: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((path, json.dumps(value, sort_keys=True)) for path, value in repeat.items())


def trial_digest(members: list[tuple[dict[str, Any], Trial]], phase: Phase) -> str:
    return digest_of([phase, *(member.digest() for _, member in members)])


def short(value: Any) -> str:
    """A compared or searched value in a table: `masked`, `5 per class`, `scratch` for null."""
    if value is None:
        return "scratch"
    if isinstance(value, dict):
        rest = ",".join(f"{k}={short(v)}" for k, v in value.items() if k != "kind" and v is not None)
        return ":".join(part for part in (value.get("kind"), rest) if part)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _at(trial: Trial, edits: dict[str, Any]) -> Trial:
    """Whole blocks before what lies inside them, so that an axis may reach into a compared block."""
    return trial.at(dict(sorted(edits.items(), key=lambda item: item[0].count(".")))) if edits else trial


class _Cells:
    """Builds the cells of a sweep and collects everything that is wrong with any of them."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.problems: dict[tuple[str, str], Problem] = {}
        self.reached: set[str] = set()

    def build(self) -> tuple[Cell, ...]:
        self._check_fresh_seeds()
        self._check_folds()
        self._check_doubles()
        cells = [cell for axes in _products(self.sweep.compare) if (cell := self._cell(axes))]
        numbered = tuple(Cell(i, c.axes, c.trial, c.search, c.repeat, c.sweep) for i, c in enumerate(cells))
        if cells:
            self._check_reached()
        if self.problems:
            raise SpecError(list(self.problems.values()))
        return numbered

    def _cell(self, axes: dict[str, Any]) -> Cell | None:
        trial = self._try(self.sweep.trial, axes, "compare")
        if trial is None:
            return None
        search = {path: axis for path, axis in self.sweep.search.items() if has_path(trial, path)}
        repeat = tuple(_products({p: v for p, v in self.sweep.repeat.items() if has_path(trial, p)}))
        self.reached |= set(search) | {path for r in repeat for path in r}
        for values in repeat:
            self._try(trial, values, "repeat")
        for corner in _corners(search):
            self._try(trial, corner, "search")
        return Cell(0, axes, trial, search, repeat, self.sweep)

    def _try(self, trial: Trial, edits: dict[str, Any], section: str) -> Trial | None:
        try:
            return _at(trial, edits)
        except SpecError as err:
            for problem in err.problems:
                axis = next(
                    (
                        path
                        for path in edits
                        if problem.path == path or problem.path.startswith((f"{path}.", f"{path}["))
                    ),
                    "",
                )
                where = f"{section}.{axis}" if axis else section
                message = problem.message if not axis else f"{short(edits[axis])}: {problem.message}"
                self.problems.setdefault((where, message), Problem(where, message))
            return None

    def _check_reached(self) -> None:
        """An axis that no arm has is a typo, not a condition."""
        for section in ("search", "repeat"):
            for path in getattr(self.sweep, section):
                if path not in self.reached:
                    message = "no compared arm has this path; see the README for the trial's keys"
                    self.problems[path, message] = Problem(f"{section}.{path}", message)

    def _check_doubles(self) -> None:
        """The same value twice would be computed and averaged as if it were two."""
        for section in ("compare", "repeat"):
            for path, values in getattr(self.sweep, section).items():
                if len({json.dumps(value, sort_keys=True) for value in values}) < len(values):
                    message = f"{json.dumps(values)}: each value must stand once; drop the double"
                    self.problems[path, message] = Problem(f"{section}.{path}", message)

    def _check_folds(self) -> None:
        """Averaging the search over folds would validate on what another fold tests."""
        path = "finetune.split.fold"
        if path in self.sweep.repeat:
            message = "a fold's validation data is another fold's test data; put it under `compare`, a study per fold"
            self.problems[path, message] = Problem(f"repeat.{path}", message)

    def _check_fresh_seeds(self) -> None:
        seeds = [s for s in self.sweep.repeat.get("seed", ()) if isinstance(s, int) and s >= FRESH_SEED]
        if seeds:
            message = (
                f"seeds from {FRESH_SEED} up are kept for the winners' test scores, but got {seeds}; use lower ones"
            )
            self.problems["repeat.seed", message] = Problem("repeat.seed", message)


def _products(axes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _corners(search: dict[str, Axis]) -> Iterator[dict[str, Any]]:
    """Every combination of ends where they are few, else one axis at a time from the first ends."""
    ends = {path: axis.corners() for path, axis in search.items()}
    if math.prod(len(values) for values in ends.values()) <= MAX_CORNERS:
        yield from _products(ends)
        return
    base = {path: values[0] for path, values in ends.items()}
    for path, values in ends.items():
        yield from (base | {path: value} for value in values)


def has_path(trial: Trial, path: str) -> bool:
    """Whether this arm has the field. Everything inside `pretrain` is absent from scratch."""
    node: Any = trial
    if path.startswith("pretrain.") and trial.pretraining is None:
        return False
    for part in path.split("."):
        if not isinstance(node, Spec) or part not in type(node).model_fields:
            return False
        node = getattr(node, part)
    return True


def load_sweep(spec: str | Path, edits: dict[str, Any] | None = None) -> Sweep:
    """Read and check a sweep's YAML file. Every problem at once, with file and line."""
    return parse_sweep(read_yaml(spec), edits)


def parse_sweep(document: Document, edits: dict[str, Any] | None = None) -> Sweep:
    tree = json.loads(json.dumps(document.tree))
    try:
        for path, value in (edits or {}).items():
            put(tree, path, value)
        sweep = validate(Sweep, tree)
        _ = sweep.cells
    except SpecError as err:
        raise SpecError([document.place(problem) for problem in err.problems]) from None
    return sweep
