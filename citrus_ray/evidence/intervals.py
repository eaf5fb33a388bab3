"""Numbers in, numbers out: one interval for everything, an exact signed-rank test, Holm's
correction.

The interval of a mean is Student's t over independent values (`citrus_ray.evidence.units` says
which values are).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEVEL = 0.95
ALPHA = 0.05
EXACT_UP_TO = 500  # pairs; the table of all sign patterns grows with n^2, 0.1 s here
EVERYWHERE = (-math.inf, math.inf)
DECIMALS = (
    9  # scores are ratios of counts: differences equal in truth must not be ranked by rounding
)


@dataclass(frozen=True)
class Effect:
    """A mean and its interval; infinite where there is no spread to make one from: one value, or
    equal ones."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def is_bounded(self) -> bool:
        return math.isfinite(self.low)

    def tree(self) -> dict[str, float | int | None]:
        """For JSON, which has no infinity."""
        low, high = (self.low, self.high) if self.is_bounded else (None, None)
        return {"mean": self.mean, "low": low, "high": high, "n": self.n}


def effect(
    values: Sequence[float], bounds: tuple[float, float] = EVERYWHERE, level: float = LEVEL
) -> Effect | None:
    """The mean of independent values with Student's t interval, cut to what is possible."""
    return stratified([values], level, bounds) if len(values) else None


def stratified(
    samples: Sequence[Sequence[float]],
    level: float = LEVEL,
    bounds: tuple[float, float] = EVERYWHERE,
) -> Effect | None:
    """The mean of the samples' means with each sample held fixed: Welch's t, Satterthwaite's
    degrees of freedom."""
    if not samples:
        return None
    mean, k = float(np.mean([np.mean(sample) for sample in samples])), len(samples)
    n = sum(map(len, samples))
    if min(map(len, samples)) < 2:
        return Effect(mean, *EVERYWHERE, n)
    parts = [float(np.var(sample, ddof=1)) / len(sample) / k**2 for sample in samples]
    error = math.sqrt(sum(parts))
    if error <= 10**-DECIMALS:
        return Effect(mean, *EVERYWHERE, n)
    df = sum(parts) ** 2 / sum(v**2 / (len(s) - 1) for v, s in zip(parts, samples, strict=True))
    half = students(df, level) * error
    return Effect(mean, max(bounds[0], mean - half), min(bounds[1], mean + half), n)


def students(df: float, level: float = LEVEL) -> float:
    """The t value that `level` of the distribution lies within."""
    from scipy.special import stdtrit  # 0.2 s of processor time, which a plan need not wait for

    return float(stdtrit(df, (1 + level) / 2))


def score_effect(
    values: Sequence[float], bounds: tuple[float, float] = (0.0, 1.0)
) -> Effect | None:
    """The interval of a mean score, made on the log-odds scale: it cannot leave `bounds`, and
    leans away from them."""
    found = effect(values)
    low, high = bounds
    if found is None or not found.is_bounded or not low < found.mean < high or math.isinf(high):
        return found
    share = (found.mean - low) / (high - low)
    middle, slope = math.log(share / (1 - share)), (high - low) * share * (1 - share)
    ends = [middle + (end - found.mean) / slope for end in (found.low, found.high)]
    inside = [low + (high - low) * _logistic(end) for end in ends]
    return Effect(found.mean, inside[0], inside[1], found.n)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def widened(n: int) -> float:
    """The tail that makes a percentile bootstrap of `n` units as wide as Student's t (Hesterberg
    2015, section 5)."""
    from scipy.special import ndtr

    return float(ndtr(-math.sqrt(n / (n - 1)) * students(n - 1)))


@dataclass(frozen=True)
class SignedRank:
    """Wilcoxon's test of paired differences, two-sided."""

    p: float
    floor: float  # the smallest p that so many pairs can give, when all differences have one sign
    n: int  # differences that are not 0
    exact: bool


def signed_rank(differences: Sequence[float]) -> SignedRank:
    """Exact, with tied ranks averaged; zeros take ranks and then drop out (Pratt), so they help
    neither side."""
    d = np.round(np.asarray(differences, dtype=np.float64), DECIMALS)
    ranks = midranks(np.abs(d))[d != 0]
    n = len(ranks)
    if n == 0:
        return SignedRank(1.0, 1.0, 0, True)
    up = float(ranks[d[d != 0] > 0].sum())
    exact = n <= EXACT_UP_TO
    p = _exact_p(ranks, up) if exact else _normal_p(ranks, up)
    return SignedRank(min(1.0, p), min(1.0, 2.0 * 0.5**n), n, exact)


def midranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place], dtype=np.float64)


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
    """Adjusted p values, in the order given: rejecting those up to 0.05 leaves one false alarm
    in 20 families."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted
