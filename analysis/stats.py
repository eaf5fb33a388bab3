"""Numbers in, numbers out: an interval, an exact signed-rank test, Holm's correction. Knows nothing of records."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

EXACT_UP_TO = 500  # pairs; the table of all sign patterns grows with n^2, 0.1 s here
DECIMALS = 9  # scores are ratios of counts: differences equal in truth must not be ranked by their rounding errors


@dataclass(frozen=True)
class Effect:
    """A mean and its 95 % interval, infinite where one value allows none."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def is_bounded(self) -> bool:
        """Whether there is an interval at all: equal values show no spread to make one from."""
        return math.isfinite(self.low) and self.high - self.low > 10**-DECIMALS


def effect(values: Sequence[float], level: float = 0.95) -> Effect | None:
    """Student-t interval: with a handful of seeds a bootstrap percentile interval would be too narrow."""
    from scipy.special import stdtrit

    n = len(values)
    if n == 0:
        return None
    mean = float(np.mean(values))
    if n == 1:
        return Effect(mean, -math.inf, math.inf, 1)
    spread = float(np.std(values, ddof=1))
    half = float(stdtrit(n - 1, (1 + level) / 2)) * spread / math.sqrt(n)
    return Effect(mean, mean - half, mean + half, n)


@dataclass(frozen=True)
class SignedRank:
    """Wilcoxon's test of paired differences, two-sided."""

    p: float
    floor: float  # the smallest p that this many pairs can give, reached when all differences have one sign
    n: int  # differences that are not 0
    exact: bool


def signed_rank(differences: Sequence[float]) -> SignedRank:
    """Exact, with tied ranks averaged; zeros take ranks and then drop out (Pratt), so they cannot help either side."""
    d = np.round(np.asarray(differences, dtype=np.float64), DECIMALS)
    ranks = midranks(np.abs(d))[d != 0]
    n = len(ranks)
    if n == 0:
        return SignedRank(1.0, 1.0, 0, True)
    up = float(ranks[d[d != 0] > 0].sum())
    exact = n <= EXACT_UP_TO
    p = _exact_p(ranks, up) if exact else _normal_p(ranks, up)
    return SignedRank(min(1.0, p), p_floor(n), n, exact)


def p_floor(n: int) -> float:
    """One of 2^n sign patterns on either side."""
    return min(1.0, 2.0 * 0.5**n)


def midranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[place], dtype=np.float64)


def _exact_p(ranks: Floats, up: float) -> float:
    """From the distribution of the rank sum over all sign patterns, built one rank at a time."""
    doubled = np.rint(2 * ranks).astype(np.int64)  # halves of tied ranks become whole
    chance = np.zeros(int(doubled.sum()) + 1)
    chance[0] = 1.0
    for r in doubled.tolist():
        shifted = np.zeros_like(chance)
        shifted[r:] = chance[: len(chance) - r]
        chance = (chance + shifted) / 2
    at = round(2 * up)
    return 2 * float(min(chance[: at + 1].sum(), chance[at:].sum()))


def _normal_p(ranks: Floats, up: float) -> float:
    from scipy.special import ndtr

    z = (up - ranks.sum() / 2) / math.sqrt(float(np.sum(ranks**2)) / 4)
    return 2 * float(ndtr(-abs(z)))


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given. Rejecting those up to 0.05 leaves one false alarm in 20 families."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted
