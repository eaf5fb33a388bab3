"""Numbers in, numbers out: what is known of a mean after each round, Holm's correction, ranks.

The interval of a mean is that of the anytime t-test: its e-value is a likelihood ratio of the t
statistic, with a normal prior of variance `PRIOR` on the mean in standard deviations. It may be
looked at after every round and the rounds go on until it is decided: over all looks together, one
in `1 / alpha` such intervals ever leaves the truth out (Lai 1976; Wang and Ramdas 2024). Rounds are
independent and near normal, as means over places are; below four there is no interval.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ALPHA = 0.05
INTERVAL = "anytime t over rounds, 95 %"  # the one estimator, by its name on every surface
PRIOR = 1.0
# a target's mean is itself measured: its noise counts so many times more than in a single look, or
# looks at few rounds would be wrong of the next target in 10 % of sweeps (`tests.bench verdicts`)
LOOKS = 4.0
EVERYWHERE = (-math.inf, math.inf)
DECIMALS = 9  # scores are ratios of counts: differences equal in truth must not be told by rounding


@dataclass(frozen=True)
class Effect:
    """A mean and its interval; infinite where there is none: few values, or equal ones."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def is_bounded(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)

    def tree(self) -> dict[str, float | int | None]:
        """For JSON, which has no infinity."""
        low, high = (self.low, self.high) if self.is_bounded else (None, None)
        return {"mean": self.mean, "low": low, "high": high, "n": self.n}


def log_e(values: Floats, null: float) -> Floats:
    """Log of the e-value against a mean of `null` after each of the last axis's values."""
    n = np.arange(1, values.shape[-1] + 1)
    centred = values - values.mean(axis=-1, keepdims=True)
    means = np.cumsum(centred, axis=-1) / n
    squares = np.cumsum(centred**2, axis=-1) - n * means**2
    sds = np.sqrt(np.maximum(squares, 0) / np.maximum(n - 1, 1))
    return _log_e(n, means + values.mean(axis=-1, keepdims=True), sds, null)


def _log_e(n: npt.NDArray[np.int64], means: Floats, sds: Floats, null: float) -> Floats:
    """0 where nothing can be said."""
    nu = np.maximum(n - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        t2 = n * ((means - null) / sds) ** 2
        found = n / 2 * (np.log1p(t2 / nu) - np.log1p(t2 / (nu * (1 + n * PRIOR))))
    return np.where(sds > 0, found - np.log1p(n * PRIOR) / 2, 0.0)


class OverRounds:
    """A mean over rounds, as it is known after each of them: p values and ends that only tighten.

    Everything is about exactly what was measured: these targets, these places.
    """

    def __init__(self, values: Sequence[float] | Floats) -> None:
        x = np.round(np.asarray(values, dtype=np.float64), DECIMALS)
        self.values, self.n = x, np.arange(1, len(x) + 1)
        self.means: Floats = np.cumsum(x) / self.n
        squares = np.cumsum((x - x.mean()) ** 2) - self.n * (self.means - x.mean()) ** 2
        self.sds: Floats = np.sqrt(np.maximum(squares, 0) / np.maximum(self.n - 1, 1))
        self.sds[self.sds <= 10**-DECIMALS] = 0.0

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @cached_property
    def sd(self) -> float:
        return float(self.sds[-1])

    def p_beyond(self, null: float, side: int) -> Floats:
        """After each round, how likely it was to ever get this far to one side of `null`."""
        far = side * (self.means - null) > 0
        against = _log_e(self.n, self.means, self.sds, null)
        p = np.where(far, np.exp(-np.maximum(against, 0.0)), 1.0)
        return np.asarray(np.minimum.accumulate(p), dtype=np.float64)

    def ends(self, alpha: float = ALPHA) -> tuple[Floats, Floats]:
        """After each round, what no interval so far has left out."""
        return _running(self.means, self._halves(alpha))

    def _halves(self, alpha: float) -> Floats:
        known = self.sds > 0
        return np.where(known, half_widths(self.n, alpha) * np.where(known, self.sds, 1), np.inf)

    def effect(self, alpha: float = ALPHA, bounds: tuple[float, float] = EVERYWHERE) -> Effect:
        low, high = (float(end[-1]) for end in self.ends(alpha))
        if not (math.isfinite(low) and math.isfinite(high)):
            return Effect(self.mean, *EVERYWHERE, len(self.n))
        # an early interval may have left out what is the mean now: it is wide enough to hold both
        low, high = min(low, self.mean), max(high, self.mean)
        return Effect(self.mean, max(bounds[0], low), min(bounds[1], high), len(self.n))


class OverTargets(OverRounds):
    """The mean over targets like those measured, (rounds, targets): Student's t over the targets'
    means, whose own noise is counted in, and never surer than of these targets alone."""

    def __init__(self, table: Floats) -> None:
        super().__init__(table.mean(axis=1))
        self.n_targets = table.shape[1]
        self.means_of_targets = np.cumsum(table, axis=0) / self.n[:, None]
        centred = table - table.mean(axis=0)
        squares = np.cumsum(centred**2, axis=0)
        squares -= self.n[:, None] * (self.means_of_targets - table.mean(axis=0)) ** 2
        of_means = squares / np.maximum(self.n - 1, 1)[:, None] / self.n[:, None]
        self.noise = np.where(self.n > 1, np.maximum(of_means, 0).mean(axis=1), np.inf)
        self.between = self.means_of_targets.var(axis=1, ddof=1)
        self.errors = np.sqrt((self.between + LOOKS * self.noise) / self.n_targets)

    @property
    def noise_share(self) -> float:
        """How much of the spread between targets is noise within them; below 0.1 more rounds buy
        nothing."""
        between = float(self.between[-1])
        return min(1.0, float(self.noise[-1]) / between) if between > 0 else 1.0

    def p_beyond(self, null: float, side: int) -> Floats:
        from scipy.special import stdtr

        with np.errstate(divide="ignore", invalid="ignore"):
            t = side * (self.means - null) / self.errors
        of_targets = np.where(np.isfinite(t), 2 * stdtr(self.n_targets - 1, -np.abs(t)), 1.0)
        p: Floats = np.maximum(of_targets, super().p_beyond(null, side))
        return np.asarray(np.minimum.accumulate(np.where(t > 0, p, 1.0)), dtype=np.float64)

    def _halves(self, alpha: float) -> Floats:
        of_targets = students(self.n_targets - 1, 1 - alpha) * self.errors
        return np.asarray(np.maximum(of_targets, super()._halves(alpha)), dtype=np.float64)


def half_widths(n: npt.NDArray[np.int64], alpha: float) -> Floats:
    """Of the interval after `n` rounds, in standard deviations; infinite while nothing can be
    said."""
    grown = 1 + n * PRIOR
    k = (np.sqrt(grown) / alpha) ** (2 / n)
    with np.errstate(invalid="ignore", divide="ignore"):
        half = np.sqrt((n - 1) * (k - 1) / (1 - k / grown) / n)
    return np.where(k < grown, half, np.inf)


def _running(means: Floats, halves: Floats) -> tuple[Floats, Floats]:
    """The intersection of all intervals so far; where that is empty, which is rare, the last one
    that was not."""
    low = np.maximum.accumulate(means - halves)
    high = np.minimum.accumulate(means + halves)
    empty = np.flatnonzero(low > high)
    if len(empty):
        low[empty[0] :], high[empty[0] :] = low[empty[0] - 1], high[empty[0] - 1]
    return low, high


def students(df: float, level: float = 1 - ALPHA) -> float:
    """The t value that `level` of the distribution lies within."""
    from scipy.special import stdtrit  # 0.2 s of processor time, which a plan need not wait for

    return float(stdtrit(df, (1 + level) / 2))


def score_effect(found: Effect | None, bounds: tuple[float, float] = (0.0, 1.0)) -> Effect | None:
    """The interval of a mean score on the log-odds scale: it cannot leave `bounds`, and leans away
    from them."""
    low, high = bounds
    if found is None or not found.is_bounded or not low < found.mean < high:
        return found
    if math.isinf(high) or math.isinf(low):
        return Effect(found.mean, max(low, found.low), min(high, found.high), found.n)
    share = (found.mean - low) / (high - low)
    middle, slope = math.log(share / (1 - share)), (high - low) * share * (1 - share)
    ends = [middle + (end - found.mean) / slope for end in (found.low, found.high)]
    inside = [low + (high - low) * _logistic(end) for end in ends]
    return Effect(found.mean, inside[0], inside[1], found.n)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def widened(n: int) -> float:
    """The tail that makes a percentile bootstrap of `n` rounds as wide as Student's t (Hesterberg
    2015, section 5)."""
    from scipy.special import ndtr

    return float(ndtr(-math.sqrt(n / (n - 1)) * students(n - 1)))


def midranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place], dtype=np.float64)


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given: rejecting those up to 0.05 leaves one false alarm
    in 20 families."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted
