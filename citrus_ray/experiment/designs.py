"""Designs: the points of a search, made once for all cells of a sweep, before anything is tried.

They are points of the joint space of everything that any cell searches. Each cell tries their
projections on the axes that it has, each once. So two cells try the same values of what they
share, whatever else either of them searches.
"""

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from citrus_ray.experiment.labels import canonical
from citrus_ray.experiment.search_space import Sampler, SearchSpace, n_points

Point = dict[str, Any]  # a value per dotted path

MAX_GRID = 100_000  # points of a finite space that are ever listed
BLOCK = 64  # a power of two keeps each block of Sobol points balanced


def project(point: Point, paths: Iterable[str]) -> Point:
    return {path: point[path] for path in paths}


class Common:
    """Points that all cells try, each new to one space at least and to every continuous one, until
    one more would leave a space with more than `n` different projections."""

    def __init__(self, spaces: Collection[SearchSpace], n: int) -> None:
        self.n, self.points, self.full = n, list[Point](), False
        by_paths = {tuple(sorted(space)): space for space in spaces}
        self.taken: dict[tuple[str, ...], set[str]] = {paths: set() for paths in by_paths}
        self.endless = {p for p, space in by_paths.items() if n_points(space) == math.inf}

    def add(self, point: Point) -> bool:
        """Whether it was taken: it is new, and there is room for it."""
        names = {paths: canonical(project(point, paths)) for paths in self.taken}
        new = {paths for paths, name in names.items() if name not in self.taken[paths]}
        # a continuous space that had it already would be searched at a point less than others
        if not new or not self.endless <= new:
            return False
        self.full = any(len(self.taken[paths]) == self.n for paths in new)
        if self.full:
            return False
        for paths in new:
            self.taken[paths].add(names[paths])
        self.points.append(point)
        self.full = any(len(self.taken[paths]) == self.n for paths in self.endless)
        return True


def common_points(
    sampler: Sampler,
    spaces: Collection[SearchSpace],
    n: int,
    seed: int,
    first: Iterable[Point] = (),
) -> tuple[Point, ...]:
    """As many points, those of a design after the `first`, as leave no space with more than `n`
    different projections.

    A larger `n` adds to them and moves none, so that a budget can grow.
    """
    common = Common(spaces, n)
    for point in itertools.chain(first, design(sampler, spaces, seed)):
        common.add(point)
        if common.full:
            break
    return tuple(common.points)


def completed(
    known: Sequence[Point], sampler: Sampler, spaces: Collection[SearchSpace], seed: int
) -> tuple[Point, ...]:
    """Points of which some values are known, with the others from the first points of a design.

    A value that its axis has not is filled in too.
    """
    joint = {path: axis for space in spaces for path, axis in space.items()}
    return tuple(
        full
        | {
            path: joint[path].nearest(value)
            for path, value in point.items()
            if path in joint and joint[path].place(value) is not None
        }
        for point, full in zip(known, design(sampler, spaces, seed), strict=False)
    )


def design(sampler: Sampler, spaces: Collection[SearchSpace], seed: int) -> Iterator[Point]:
    """Points of the joint space, each new to one space at least; all points of finite spaces.

    They hang on the spaces alone, not on the order of these or of their axes.
    """
    joint = {path: axis for space in spaces for path, axis in space.items()}
    joint = {path: joint[path] for path in sorted(joint)}
    by_paths = {tuple(sorted(space)): space for space in spaces}
    arms = [_Arm({path: joint[path] for path in paths}) for paths in sorted(by_paths)]
    if sampler != "grid" and joint:
        yield from _spread(sampler, joint, arms, seed)
    lowest = {path: axis.ends()[0] for path, axis in joint.items()}
    for arm in arms:  # of finite spaces, what is left
        for own in grid(arm.space):
            if arm.name(own) not in arm.taken:
                point = lowest | own
                for each in arms:
                    each.taken.add(each.name(point))
                yield point


class _Arm:
    """A space that some cells search, and which of its points were taken."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.taken: set[str] = set()

    def name(self, point: Point) -> str:
        return canonical(project(point, self.space))


def _spread(
    sampler: Sampler, joint: SearchSpace, arms: Sequence[_Arm], seed: int
) -> Iterator[Point]:
    """Points that fill the joint space, until a block of them brings nothing new.

    Of a block, what is new to most arms comes first: the few points of a small space are all
    tried before a budget is spent on what only a larger space has.
    """
    for block in _blocks(sampler, len(joint), seed):
        points = [
            {
                path: axis.quantile(float(u))
                for (path, axis), u in zip(joint.items(), row, strict=True)
            }
            for row in block
        ]
        left = [(point, [arm.name(point) for arm in arms]) for point in points]
        n_taken = 0
        while left:
            n_new = [
                sum(name not in arm.taken for arm, name in zip(arms, names, strict=True))
                for _, names in left
            ]
            if not max(n_new):
                break
            point, names = left.pop(n_new.index(max(n_new)))
            for arm, name in zip(arms, names, strict=True):
                arm.taken.add(name)
            n_taken += 1
            yield point
        if not n_taken:
            return


def _blocks(sampler: Sampler, n_axes: int, seed: int) -> Iterator[Any]:
    """Rows of numbers from 0 to 1, without end.

    Optuna's own Sobol points draw choices at random, and start over when a sweep goes on.
    """
    if sampler == "random":
        rng = np.random.default_rng([13, seed])
        while True:
            yield rng.random((BLOCK, n_axes))
    from scipy.stats.qmc import Sobol  # takes most of a second to load

    engine = Sobol(n_axes, rng=seed)
    while True:
        yield engine.random(BLOCK)


def grid(space: SearchSpace) -> Iterator[Point]:
    """Every point of a finite space, the last axis fastest; nothing of a continuous or huge one."""
    if n_points(space) > MAX_GRID:
        return
    values = [[axis.value(i) for i in range(int(axis.n_values()))] for axis in space.values()]
    yield from (dict(zip(space, point, strict=True)) for point in itertools.product(*values))
