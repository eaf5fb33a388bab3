"""What is searched along one dotted path, and designs whose points are known before anything is tried: grid and QMC."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from citrus_ray.spec import Problem, Spec

Sampler = Literal["tpe", "gp", "cmaes", "qmc", "random", "grid"]
DESIGNS = ("grid", "qmc")
MAX_GRID = 100_000  # points of a finite space that are ever listed
SOBOL_BLOCK = 64  # a power of two keeps each block balanced


class Axis(Spec):
    """What is sampled along one dotted path. Exactly one of uniform, loguniform, int, choice."""

    uniform: tuple[float, float] | None = None
    loguniform: tuple[float, float] | None = None
    int_: Annotated[tuple[int, int] | None, Field(alias="int")] = None
    choice: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None
    step: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> "Axis":
        given = [
            name
            for name in ("uniform", "loguniform", "int_", "choice")
            if getattr(self, name) is not None
        ]
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
            raise ValueError(
                f"step={self.step:g} must be whole for an int axis; use uniform for steps between"
            )
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        return self.uniform or self.loguniform or self.int_ or (0, 0)

    def corners(self) -> list[Any]:
        if self.choice is not None:
            return list(self.choice)
        low, high = self.bounds
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

    def point(self, i: int) -> Any:
        """The i-th value of a finite axis, rounded as Optuna rounds it, so that both name the same trial."""
        if self.choice is not None:
            return self.choice[i]
        if self.int_ is not None:
            return self.int_[0] + i * int(self.step or 1)
        low, high = self.bounds
        return min(i * (self.step or 0.0) + low, high)

    def share(self, u: float) -> Any:
        """The value at the share `u` of the axis, 0 <= u < 1."""
        n = self.n_points()
        if n < math.inf:
            return self.point(min(int(u * n), int(n) - 1))
        low, high = self.bounds
        if self.loguniform:
            return min(max(math.exp(math.log(low) + u * math.log(high / low)), low), high)
        return low + u * (high - low)

    def names(self) -> dict[str, Any]:
        """Choices by the name that Optuna, TensorBoard and records know them by: bands and blocks as JSON."""
        return {
            value if isinstance(value, str) else json.dumps(value): value
            for value in self.choice or ()
        }


Axes = Mapping[str, Axis]


def n_points(axes: Axes) -> float:
    return math.prod(axis.n_points() for axis in axes.values())


def grid(axes: Axes) -> Iterator[dict[str, Any]]:
    """Every point of a finite space, the last axis fastest; nothing of a continuous or huge one."""
    if n_points(axes) > MAX_GRID:
        return
    values = [[axis.point(i) for i in range(int(axis.n_points()))] for axis in axes.values()]
    yield from (dict(zip(axes, point, strict=True)) for point in itertools.product(*values))


def sobol(axes: Axes, seed: int) -> Iterator[dict[str, Any]]:
    """Points that fill the space evenly from the first on, choices included; each once, and all of a finite space.

    Optuna's own draws choices at random, and starts over when a sweep goes on.
    """
    from scipy.stats.qmc import Sobol

    engine = Sobol(len(axes), rng=seed)
    seen: set[str] = set()
    while len(seen) < n_points(axes):
        n_before = len(seen)
        for row in engine.random(SOBOL_BLOCK):
            point = {
                path: axis.share(float(u))
                for (path, axis), u in zip(axes.items(), row, strict=True)
            }
            name = json.dumps(point, sort_keys=True)
            if name not in seen:
                seen.add(name)
                yield point
        if len(seen) == n_before:  # almost all are taken
            yield from (
                point for point in grid(axes) if json.dumps(point, sort_keys=True) not in seen
            )
            return


def design(sampler: Sampler, axes: Axes, seed: int) -> Iterator[dict[str, Any]]:
    """The points of a design; for a sampler that learns, an even spread of what it leaves out of a finite space."""
    if sampler == "grid" or not axes:
        return grid(axes)
    return sobol(axes, seed) if sampler == "qmc" or n_points(axes) < math.inf else iter(())


def misfits(sampler: Sampler, axes: Axes, n_trials: int) -> Iterator[Problem]:
    """Why this space cannot be searched by this sampler."""
    if sampler == "grid":
        yield from _no_grid(axes, n_trials)
    if sampler == "cmaes":
        yield from _no_cmaes(axes)


def _no_grid(axes: Axes, n_trials: int) -> Iterator[Problem]:
    for path, axis in axes.items():
        if axis.n_points() == math.inf:
            rule = "is continuous, and a grid needs values that can be counted"
            yield Problem(
                f"search.{path}", f"{rule}; give `choice`, a `step`, or take sampler: qmc"
            )
    n = n_points(axes)
    if n_trials < n < math.inf:
        rule = f"trials={n_trials}: a cell's grid has {n:.0f} points, and a grid is tried whole"
        yield Problem("budget.trials", f"{rule}; give {n:.0f}, wider steps, or take sampler: qmc")


def _no_cmaes(axes: Axes) -> Iterator[Problem]:
    moving = {path: axis for path, axis in axes.items() if axis.n_points() > 1}
    choices = [path for path, axis in moving.items() if axis.choice is not None]
    for path in choices:
        yield Problem(
            f"search.{path}",
            "is a choice, but cmaes needs numbers; give a range, or take sampler: tpe",
        )
    if axes and not choices and len(moving) < 2:
        rule = f"cmaes needs at least two axes, but a cell searches {', '.join(moving) or 'a single point'} alone"
        yield Problem(
            "sampler",
            f"{rule}, and would get random search beside cells that do not; take sampler: tpe",
        )
