"""Search spaces: what is sampled along each dotted path, and which sampler can search it."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from citrus_ray.spec import Problem, Spec

Sampler = Literal["tpe", "gp", "cmaes", "qmc", "random", "grid"]
LEARNING = ("tpe", "gp", "cmaes")  # from results; the points of the others are known beforehand
COMMON = ("tpe", "gp")  # of these, where rows share axes, from the results of all rows


class SearchAxis(Spec):
    """Values to search along one dotted path: one of uniform, loguniform, int, choice."""

    uniform: tuple[float, float] | None = None
    """[low, high] of real values, all equally likely."""
    loguniform: tuple[float, float] | None = None
    """[low, high] of positive values whose logarithms are equally likely."""
    int_: Annotated[tuple[int, int] | None, Field(alias="int")] = None
    """[low, high] of whole values, both included."""
    choice: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None
    """Values without an order: numbers, words, bands or whole blocks."""
    step: Annotated[float, Field(gt=0)] | None = None
    """Distance of neighbouring values of uniform or int."""

    @model_validator(mode="after")
    def _makes_sense(self) -> "SearchAxis":
        kinds = ("uniform", "loguniform", "int_", "choice")
        given = [name for name in kinds if getattr(self, name) is not None]
        if len(given) != 1:
            rule = "an axis gives exactly one of uniform, loguniform, int, choice"
            raise ValueError(f"{rule}, but got {given or 'none'}")
        low, high = self.bounds
        if not low <= high:
            raise ValueError(f"low <= high must hold, but got {[low, high]}")
        if self.loguniform and low <= 0:
            raise ValueError(f"loguniform needs low > 0, but got {[low, high]}")
        if self.step is not None and not (self.uniform or self.int_):
            raise ValueError("step goes with uniform or int only")
        if self.step is not None and self.int_ and self.step % 1:
            rule = f"step={self.step:g} must be whole for an int axis"
            raise ValueError(f"{rule}; use uniform for steps between")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """(low, high); (0, 0) of a choice."""
        return self.uniform or self.loguniform or self.int_ or (0, 0)

    def ends(self) -> list[Any]:
        """The lowest and the highest value, or every choice."""
        return list(self.choice or dict.fromkeys(self.bounds))

    def n_values(self) -> float:
        """How many different values there are; infinite for a continuous axis."""
        low, high = self.bounds
        if self.choice is not None:
            return len(self.choice)
        if self.int_ is not None:
            return int((high - low) // int(self.step or 1)) + 1
        if self.uniform is not None and self.step is not None:
            return math.floor((high - low) / self.step + 1e-9) + 1
        return math.inf if low < high else 1

    def value(self, i: int) -> Any:
        """The i-th value of a finite axis, rounded as Optuna rounds it, so that both name the same
        trial."""
        if self.choice is not None:
            return self.choice[i]
        if self.int_ is not None:
            return self.int_[0] + i * int(self.step or 1)
        low, high = self.bounds
        return min(i * (self.step or 0.0) + low, high)

    def place(self, value: Any) -> float | None:
        """The share of the axis that lies below a value, 0 to 1; None where it has no such
        value. Of a choice, its number."""
        if self.choice is not None:
            named = [json.dumps(one, sort_keys=True) for one in self.choice]
            wanted = json.dumps(value, sort_keys=True)
            return float(named.index(wanted)) if wanted in named else None
        low, high = self.bounds
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if not low <= value <= high:
            return None
        if low == high:
            return 0.0
        if self.loguniform:
            return math.log(value / low) / math.log(high / low)
        return float(value - low) / (high - low)

    def nearest(self, value: Any) -> Any:
        """The axis's own value at the place of this one, which it must have."""
        place, n = self.place(value), self.n_values()
        assert place is not None
        if self.choice is not None:
            return self.choice[int(place)]
        if n == math.inf:
            return float(value)
        steps = round((value - self.bounds[0]) / (self.step or 1))
        return self.value(min(steps, int(n) - 1))

    def quantile(self, u: float) -> Any:
        """The value that a share `u` of the axis lies below, 0 <= u < 1. Rounded, so that every
        machine's logarithms name the same trial."""
        n = self.n_values()
        if n < math.inf:
            return self.value(min(int(u * n), int(n) - 1))
        low, high = self.bounds
        at = low + u * (high - low)
        if self.loguniform:
            at = math.exp(math.log(low) + u * math.log(high / low))
        return min(max(float(f"{at:.12g}"), low), high)

    def choices_by_name(self) -> dict[str, Any]:
        """Choices by the name that Optuna, TensorBoard and records know them by: bands and blocks
        as JSON."""
        names = (one if isinstance(one, str) else json.dumps(one) for one in self.choice or ())
        return dict(zip(names, self.choice or (), strict=True))


SearchSpace = Mapping[str, SearchAxis]  # by dotted path


def n_points(space: SearchSpace) -> float:
    """How many different points there are; infinite where an axis is continuous."""
    return math.prod(axis.n_values() for axis in space.values())


def misfits(sampler: Sampler, space: SearchSpace, n_trials: int) -> Iterator[Problem]:
    """Why this space cannot be searched by this sampler."""
    if sampler == "grid":
        yield from _no_grid(space, n_trials)
    if sampler == "cmaes":
        yield from _no_cmaes(space)


def _no_grid(space: SearchSpace, n_trials: int) -> Iterator[Problem]:
    for path, axis in space.items():
        if axis.n_values() == math.inf:
            rule = "is continuous, and a grid needs values that can be counted"
            way_out = "give `choice`, a `step`, or take sampler: qmc"
            yield Problem(f"search.{path}", f"{rule}; {way_out}")
    n = n_points(space)
    if n_trials < n < math.inf:
        rule = f"trials={n_trials}: a cell's grid has {n:.0f} points, and a grid is tried whole"
        yield Problem("budget.trials", f"{rule}; give {n:.0f}, wider steps, or take sampler: qmc")


def _no_cmaes(space: SearchSpace) -> Iterator[Problem]:
    moving = {path: axis for path, axis in space.items() if axis.n_values() > 1}
    choices = [path for path, axis in moving.items() if axis.choice is not None]
    for path in choices:
        rule = "is a choice, but cmaes needs numbers"
        yield Problem(f"search.{path}", f"{rule}; give a range, or take sampler: qmc")
    if space and not choices and len(moving) < 2:
        what = ", ".join(moving) or "a single point"
        rule = f"cmaes needs at least two axes, but a cell searches {what} alone"
        yield Problem("sampler", f"{rule}; take sampler: qmc")
