"""Power of a sweep's claims before it is run: how often each is decided, after how many rounds.

The spread between rounds is that of earlier rounds of the same places where there are some, else
what the claim expects. Rounds are simulated through the code that judges real ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from citrus_ray.evidence.intervals import OverTargets, log_e, students
from citrus_ray.evidence.rounds import rounds_to
from citrus_ray.evidence.verdicts import Judged
from citrus_ray.experiment.hypotheses import Expected, Hypothesis
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.metrics import Metric, metric_of

DRAWS = 2000
ENOUGH = 0.8  # power below which a sweep cannot be said to decide what it asks
FEWEST = 4  # earlier rounds that tell a spread
GUESS = Expected(effect=0.03, sd=0.03)  # of scores, where a claim says nothing


@dataclass(frozen=True)
class Power:
    """How often a claim is decided within the rounds that the sweep may run."""

    decided: float  # where the difference is what is expected
    equal: float  # where there is none
    rounds: float  # until a verdict, or the last, on average, where it is as expected


def simulated(
    expected: Expected, n_rounds: int, alpha: float, within: float | None, seed: int = 0
) -> Power:
    """Rounds of this mean and spread, judged after each."""
    noise = expected.sd * np.random.default_rng([14, seed]).standard_normal((DRAWS, n_rounds))
    there = noise + expected.effect
    bar = -np.log(alpha)
    means = np.cumsum(there, axis=1) / np.arange(1, n_rounds + 1)
    told = (log_e(there, 0.0) >= bar) & (means > 0)
    hit = told.any(axis=1)
    first = np.where(hit, told.argmax(axis=1) + 1, n_rounds)
    equal = 0.0
    if within is not None:
        means = np.cumsum(noise, axis=1) / np.arange(1, n_rounds + 1)
        above = ((log_e(noise, -within) >= bar) & (means > -within)).any(axis=1)
        below = ((log_e(noise, within) >= bar) & (means < within)).any(axis=1)
        equal = float((above & below).mean())
    return Power(float(hit.mean()), equal, float(first.mean()))


def lines(sweep: Sweep, earlier: Sequence[Judged]) -> Iterator[str]:
    """What the plan says of each claim."""
    if not sweep.claims:
        return
    n = sweep.decide.rounds if sweep.decide else sweep.final.rounds
    alpha = sweep.verdicts.alpha / len(sweep.claims)
    error = f"error {sweep.verdicts.alpha:g} over all of them and every look"
    yield f"claims: {error}, {n} rounds at most"
    of = metric_of(sweep.objective.metric)
    for claim, judged in zip(sweep.claims, earlier, strict=True):
        yield f"  {claim.says}"
        yield f"    {_said(claim, judged, n, alpha, claim.margin(sweep.judged_by), of)}"


def _said(
    claim: Hypothesis, judged: Judged, n: int, alpha: float, within: float | None, of: Metric
) -> str:
    expected, source = _expected(claim, judged, of)
    if expected is None:
        return f"power unknown: {source}; give `expects: {{effect: , sd: }}`"
    if claim.speaks_of == "the next target":
        return f"{_of_next(claim, judged, expected, alpha)} ({source})"
    power = simulated(expected, n, alpha, within)
    said = (
        f"a true difference of {expected.effect:.3g} is found in {power.decided:.0%} of such "
        f"sweeps, after {power.rounds:.0f} rounds on average; "
    )
    said += f"none, within {within:.3g}, in {power.equal:.0%}; " if within else ""
    if power.decided < ENOUGH:
        takes = rounds_to(expected.effect, expected.sd, alpha, within)
        said += f"THIS SWEEP CANNOT DECIDE IT: it would take about {takes or 'over 1000'} rounds; "
    return f"{said}{source}"


def _expected(claim: Hypothesis, judged: Judged, of: Metric) -> tuple[Expected | None, str]:
    """Size and spread, and where they are from."""
    looks = judged.found.looks if judged.found else None
    guess = claim.expects
    if looks is not None and len(looks.n) >= FEWEST and looks.sd > 0:
        effect = guess.effect if guess else abs(looks.mean) or looks.sd
        said = f"spread of {len(looks.n)} earlier rounds of these places, {looks.sd:.3g}"
        return Expected(effect=float(effect), sd=looks.sd), said
    if guess is not None:
        return guess, f"guessed: a difference of {guess.effect:.3g}, a spread of {guess.sd:.3g}"
    if claim.measure in ("rounds", "seconds") or not of.is_share:
        return None, "no earlier rounds, and nothing expected"
    return GUESS, f"no earlier rounds: guessed a spread of {GUESS.sd:.3g} between rounds"


def _of_next(claim: Hypothesis, judged: Judged, expected: Expected, alpha: float) -> str:
    """Targets decide it, whatever the rounds."""
    looks = judged.found.looks if judged.found else None
    if not isinstance(looks, OverTargets):
        return "the next target: targets count, and their spread is not known before they are run"
    sd, j = float(np.sqrt(looks.between[-1])), looks.n_targets
    half = students(j - 1, 1 - alpha) * sd / np.sqrt(j)
    found = "can be" if half < expected.effect else "CANNOT BE"
    return (
        f"the next target: {j} targets that differ by {sd:.3g} tell differences beyond {half:.3g}; "
        f"one of {expected.effect:.3g} {found} decided with them"
    )
