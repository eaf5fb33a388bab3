"""Designs, whose points are known before anything is tried: grid and Sobol points."""

import itertools
import json
import math
from collections.abc import Iterator
from typing import Any

from citrus_ray.experiment.search_space import Sampler, SearchSpace, n_points

DESIGNS = ("grid", "qmc")
MAX_GRID = 100_000  # points of a finite space that are ever listed
SOBOL_BLOCK = 64  # a power of two keeps each block balanced


def grid(space: SearchSpace) -> Iterator[dict[str, Any]]:
    """Every point of a finite space, the last axis fastest; nothing of a continuous or huge one."""
    if n_points(space) > MAX_GRID:
        return
    values = [[axis.value(i) for i in range(int(axis.n_values()))] for axis in space.values()]
    yield from (dict(zip(space, point, strict=True)) for point in itertools.product(*values))


def sobol(space: SearchSpace, seed: int) -> Iterator[dict[str, Any]]:
    """Points that fill the space evenly from the first on, choices included; each once, and all of
    a finite space.

    Optuna's own draws choices at random, and starts over when a sweep goes on.
    """
    from scipy.stats.qmc import Sobol

    engine = Sobol(len(space), rng=seed)
    seen: set[str] = set()
    while len(seen) < n_points(space):
        n_before = len(seen)
        for row in engine.random(SOBOL_BLOCK):
            pairs = zip(space.items(), row, strict=True)
            point = {path: axis.quantile(float(u)) for (path, axis), u in pairs}
            name = json.dumps(point, sort_keys=True)
            if name not in seen:
                seen.add(name)
                yield point
        if len(seen) == n_before:  # almost all are taken
            left = (p for p in grid(space) if json.dumps(p, sort_keys=True) not in seen)
            yield from left
            return


def design(sampler: Sampler, space: SearchSpace, seed: int) -> Iterator[dict[str, Any]]:
    """The points of a design; for a sampler that learns, an even spread of what it leaves out of a
    finite space."""
    if sampler == "grid" or not space:
        return grid(space)
    return sobol(space, seed) if sampler == "qmc" or n_points(space) < math.inf else iter(())
