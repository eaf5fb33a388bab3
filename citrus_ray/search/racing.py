"""Racing over the members of a trial: one that is clearly worse than the best so far, on the same
members, stops early.

As irace does it: a paired one-sided t-test after each member from the `after`-th on. The tests
are not corrected for being several: a trial as good as the best is dropped more often than
`alpha` says. A dropped trial never wins.
"""

import math
from collections.abc import Sequence

import numpy as np


def order(n_members: int, seed: int) -> list[int]:
    """The same for every trial of a sweep, and mixed: the first few should not all be of one
    target."""
    return [int(i) for i in np.random.default_rng([8, seed]).permutation(n_members)]


def p_worse(mine: Sequence[float], best: Sequence[float]) -> float:
    """How likely scores this much below those of the best are, were the two equally good."""
    from scipy.special import stdtr

    below = np.subtract(best, mine)
    n, mean, spread = len(below), float(np.mean(below)), float(np.std(below, ddof=1))
    if spread < 1e-12:  # the same difference everywhere
        return 0.0 if mean > 1e-12 else 1.0
    return float(1 - stdtr(n - 1, mean / (spread / math.sqrt(n))))
