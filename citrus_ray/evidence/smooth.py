"""A smooth function of several settings from noisy values at points, with what is not known of it.
Numbers in, numbers out.

What was measured at point t in block b is f(t) + g_b(t) + e_t + e_bt: a smooth f that all blocks
share, a smooth deviation of each block, noise of the point in all of them alike (its encoder), and
noise of one value. So values of a block are dependent, and so are those of a point. Means of blocks
are taken out. f is a Gaussian process: for each setting a parabola, nearly free, and a smooth rest,
and a part in which all settings meet. Lengths and sizes are averaged over a grid by how well they
explain the values, so what is not known of them is in the interval.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from citrus_ray.evidence.intervals import Floats

LENGTHS = (0.15, 0.3, 0.6, 1.2)  # of what is smooth, in shares of a setting's range
MEETING = (0.0, 0.4)  # the share in which all settings meet
PARABOLA = 3.0  # its variance in that of the smooth rest: a small one would flatten what is there
# variance of f, in that of a value's noise and its point's; less would say more than is known
SIZES = 10.0 ** np.arange(0.0, 3.1, 0.5)
OWN = np.asarray([0.0, 0.03, 0.1, 0.3, 1.0])  # of a block's deviation, in that of f
OF_POINT = np.asarray([0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0])  # in that of a value's noise
LEAST_WEIGHT = 1e-4  # of lengths and sizes that still count
DRAWS = 1000


@dataclass(frozen=True)
class Estimate:
    """A function at some points, less its mean over the points that were tried."""

    mean: Floats
    covariance: Floats

    @cached_property
    def sd(self) -> Floats:
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))

    @cached_property
    def best(self) -> int:
        return int(self.mean.argmax())

    def worse(self, alpha: float) -> npt.NDArray[np.bool_]:
        """Where it is lower than at its highest point; of all differences between two points, one
        is told by chance in a share `alpha` of curves."""
        variance, both = np.diag(self.covariance), np.triu_indices(len(self.mean), 1)
        squares = variance[:, None] + variance[None] - 2 * self.covariance
        apart = np.sqrt(np.maximum(squares, 1e-12 * max(float(variance.max()), 1e-12)))
        values, vectors = np.linalg.eigh(self.covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        drawn = np.random.default_rng(0).standard_normal((DRAWS, len(root))) @ root.T
        most = [np.abs((one[:, None] - one)[both] / apart[both]).max() for one in drawn]
        found = (self.mean.max() - self.mean) / apart[self.best] > np.quantile(most, 1 - alpha)
        found[self.best] = False
        return np.asarray(found)


@dataclass(frozen=True)
class _Shape:
    """One choice of lengths, and how well each choice of sizes explains the values."""

    length: float
    meeting: float
    turned: Floats  # (points, points - 1): into what varies apart
    sums: Floats
    sizes: Floats
    spread: Floats  # (choice, points - 1)
    noise: Floats  # variance of one value
    log_likelihood: Floats


@dataclass(frozen=True)
class Smooth:
    """The function behind `values`, (points, blocks), at `settings`, (points, settings), numbers
    between 0 and 1 or, where not `ordered`, names as numbers."""

    settings: Floats
    ordered: tuple[bool, ...]
    values: Floats

    def over(self, axes: Sequence[int], at: Floats) -> Estimate:
        """The function of some settings, (place, setting), the mean over all others as tried."""
        every = np.concatenate([at, self.settings[:, list(axes)]])
        n = len(self.settings)
        centre = np.concatenate([np.eye(len(at)), np.full((len(at), n), -1 / n)], axis=1)
        mean, squares = np.zeros(len(at)), np.zeros((len(at), len(at)))
        for shape, weights in self._weighed:
            towards = centre @ self._kernel(shape, axes, every, self.settings[:, list(axes)], True)
            among = centre @ self._kernel(shape, axes, every, every, False) @ centre.T
            towards = towards @ shape.turned
            part = shape.sizes[:, None] / shape.spread  # (choice, points - 1)
            here = np.sqrt(self._n_blocks) * towards @ (part * shape.sums).T  # (place, choice)
            mean += here @ weights
            known = self._n_blocks * (weights * shape.noise * shape.sizes) @ part
            unknown = (weights * shape.noise * shape.sizes).sum() * among
            squares += unknown - (towards * known) @ towards.T + (here * weights) @ here.T
        return Estimate(mean, squares - np.outer(mean, mean))

    @property
    def _n_blocks(self) -> int:
        return int(self.values.shape[1])

    @cached_property
    def _weighed(self) -> list[tuple[_Shape, Floats]]:
        """Shapes with the weight of each choice of sizes; 1 in all."""
        shapes = list(self._shapes())
        best = max(float(shape.log_likelihood.max()) for shape in shapes)
        weights = [np.exp(shape.log_likelihood - best) for shape in shapes]
        kept = [np.where(of > LEAST_WEIGHT, of, 0.0) for of in weights]
        total = sum(float(of.sum()) for of in kept)
        return [(shape, of / total) for shape, of in zip(shapes, kept, strict=True) if of.any()]

    def _shapes(self) -> Iterable[_Shape]:
        n, n_blocks = self.values.shape
        several = n_blocks > 1  # of one block, its own deviation cannot be told from f
        sizes, own, point = (
            part.ravel()
            for part in np.meshgrid(
                SIZES, OWN if several else OWN[:1], OF_POINT if several else OF_POINT[:1]
            )
        )
        sizes = sizes * (1 + point)
        without_mean, over_blocks = _contrasts(n), _contrasts(n_blocks)
        varied = without_mean.T @ self.values
        sums, between = varied.sum(axis=1) / np.sqrt(n_blocks), varied @ over_blocks
        meetings = MEETING if len(self.ordered) > 1 else MEETING[:1]
        for length, meeting in itertools.product(LENGTHS, meetings):
            inside = without_mean.T @ self._tried(length, meeting) @ without_mean
            scale, turn = np.linalg.eigh(inside)
            scale = np.maximum(scale, 0.0)
            turned_sums, turned_between = turn.T @ sums, ((turn.T @ between) ** 2).sum(axis=1)
            spread = (sizes * (n_blocks + own))[:, None] * scale + (n_blocks * point + 1)[:, None]
            apart = (sizes * own)[:, None] * scale + 1
            squares = (turned_sums**2 / spread).sum(axis=1) + (turned_between / apart).sum(axis=1)
            squares = np.maximum(squares, 1e-12)  # equal values have no noise
            freedom = (n - 1) * n_blocks
            likelihood = np.log(spread).sum(axis=1) + freedom * np.log(squares)
            likelihood += (n_blocks - 1) * np.log(apart).sum(axis=1)
            turned, noise = without_mean @ turn, squares / (freedom - 2)
            yield _Shape(
                length, meeting, turned, turned_sums, sizes, spread, noise, -likelihood / 2
            )

    def _tried(self, length: float, meeting: float) -> Floats:
        """How alike the function is at each two points."""
        n = len(self.ordered)
        alike = [self._alike(j, length, c, c) for j, c in enumerate(self.settings.T)]
        parabolas = [_parabola(c, c) for j, c in enumerate(self.settings.T) if self.ordered[j]]
        smooth = (1 - meeting) / n * np.sum(alike, axis=0) + meeting * np.prod(alike, axis=0)
        return np.asarray(smooth + PARABOLA * np.sum(parabolas, axis=0))

    def _kernel(
        self, shape: _Shape, axes: Sequence[int], one: Floats, other: Floats, to_tried: bool
    ) -> Floats:
        """How alike the function of some settings is at two places, or at a place and a point;
        what does not vary with them falls out with the mean."""
        pairs = list(zip(axes, one.T, other.T, strict=True))
        alike = [self._alike(j, shape.length, a, b) for j, a, b in pairs]
        parabolas = [_parabola(a, b) for j, a, b in pairs if self.ordered[j]]
        rest = np.ones((len(self.settings), len(self.settings)))
        for j, column in enumerate(self.settings.T):
            if j not in axes:
                rest = rest * self._alike(j, shape.length, column, column)
        others = rest.mean(axis=0) if to_tried else rest.mean()
        smooth = (1 - shape.meeting) / len(self.ordered) * np.sum(alike, axis=0)
        smooth = smooth + shape.meeting * np.prod(alike, axis=0) * others
        return np.asarray(smooth + PARABOLA * np.sum(parabolas, axis=0))

    def _alike(self, setting: int, length: float, one: Floats, other: Floats) -> Floats:
        apart = one[:, None] - other[None]
        if not self.ordered[setting]:
            return np.asarray(apart == 0, dtype=np.float64)
        return np.asarray(np.exp(-0.5 * (apart / length) ** 2))


def _parabola(one: Floats, other: Floats) -> Floats:
    """Of a straight line and a square, which is 0 in the mean."""
    a, b = 2 * one - 1, 2 * other - 1
    straight = np.outer(a, b)
    return np.asarray(straight + np.outer(1.5 * a**2 - 0.5, 1.5 * b**2 - 0.5))


def _contrasts(n: int) -> Floats:
    """Columns at right angles to each other and to the mean."""
    whole = np.concatenate([np.ones((n, 1)), np.eye(n)[:, : n - 1]], axis=1)
    return np.asarray(np.linalg.qr(whole)[0][:, 1:])
