"""Numbers in, numbers out: intervals, an exact signed-rank test, Holm's correction. Knows nothing of records."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

EXACT_UP_TO = 500  # pairs; the table of all sign patterns grows with n^2, 0.1 s here
TAIL = 0.025  # on either side of a 95 % interval
FEWEST, MOST = 6, 500  # values that are bootstrapped; with more, both intervals are the same
RESAMPLES = 1999
BEYOND = 1e3  # errors from the mean: past any end that 1999 resamples of 6 values or more can reach
EVERYWHERE = (-math.inf, math.inf)
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


def effect(values: Sequence[float], bounds: tuple[float, float] = EVERYWHERE) -> Effect | None:
    """Bootstrap-t interval of a mean of independent values, cut to what is possible; Student's t of fewer than 6.

    A percentile bootstrap of a dozen values covers too seldom; resampled t values repair it, and follow skew, which
    Student's t does not. Of five values or fewer there are too few different resamples.
    """
    n = len(values)
    if n == 0:
        return None
    x = np.asarray(values, dtype=np.float64)
    mean = float(x.mean())
    if n == 1:
        return Effect(mean, -math.inf, math.inf, 1)
    error = float(x.std(ddof=1)) / math.sqrt(n)
    below, above = (
        _resampled_t(x) if FEWEST <= n <= MOST and error > 10**-DECIMALS else _student(n - 1)
    )
    return Effect(
        mean, max(bounds[0], mean - above * error), min(bounds[1], mean - below * error), n
    )


def _student(df: float) -> tuple[float, float]:
    from scipy.special import stdtrit

    t = float(stdtrit(df, 1 - TAIL))
    return -t, t


def _resampled_t(x: Floats) -> tuple[float, float]:
    """The ends between which 95 % of (resampled mean - mean) / resampled error lie."""
    n, share = len(x), _resamples(len(x)) / len(x)
    centred = x - x.mean()
    means = share @ centred
    spread = np.sqrt(np.maximum(share @ centred**2 - means**2, 0) * n / (n - 1))
    flat = (
        spread <= 1e-9 * np.abs(centred).max()
    )  # one value drawn n times has no error: beyond either end
    if (
        flat.mean() > TAIL / 5
    ):  # nearly all values are equal: the ends would be set by resamples without an error
        return _student(n - 1)
    errors = np.where(flat, 1.0, spread) / math.sqrt(n)
    t = np.sort(np.where(flat, np.sign(means) * BEYOND, means / errors))
    at = round((RESAMPLES + 1) * TAIL)
    return float(t[at - 1]), float(t[-at])


@cache
def _resamples(n: int) -> Floats:
    """(RESAMPLES, n): how often each resample draws each value. The same for equal n, so that a page stays as it is."""
    rng = np.random.default_rng([11, n])
    return rng.multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(np.float64)


def score_effect(
    values: Sequence[float], bounds: tuple[float, float] = (0.0, 1.0)
) -> Effect | None:
    """The interval of a mean score, made on the log-odds scale: it cannot leave `bounds`, and leans away from them."""
    found = effect(values)
    low, high = bounds
    if found is None or not found.is_bounded or not low < found.mean < high:
        return found
    share = (found.mean - low) / (high - low)
    middle, slope = math.log(share / (1 - share)), (high - low) * share * (1 - share)
    ends = [middle + (end - found.mean) / slope for end in (found.low, found.high)]
    inside = [low + (high - low) * _logistic(end) for end in ends]
    return Effect(found.mean, inside[0], inside[1], found.n)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def stratified(samples: Sequence[Sequence[float]]) -> Effect | None:
    """The mean of the samples' means with each sample held fixed: Welch's t, degrees of freedom by Satterthwaite."""
    if not samples:
        return None
    mean, k = float(np.mean([np.mean(sample) for sample in samples])), len(samples)
    n = sum(map(len, samples))
    if min(map(len, samples)) < 2:
        return Effect(mean, -math.inf, math.inf, n)
    parts = [float(np.var(sample, ddof=1)) / len(sample) / k**2 for sample in samples]
    if sum(parts) == 0:
        return Effect(mean, mean, mean, n)
    df = sum(parts) ** 2 / sum(v**2 / (len(s) - 1) for v, s in zip(parts, samples, strict=True))
    half = _student(df)[1] * math.sqrt(sum(parts))
    return Effect(mean, mean - half, mean + half, n)


def widened(n: int) -> float:
    """The tail that makes a percentile bootstrap of `n` units as wide as Student's t (Hesterberg 2015, section 5)."""
    from scipy.special import ndtr

    return float(ndtr(-math.sqrt(n / (n - 1)) * _student(n - 1)[1]))


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
