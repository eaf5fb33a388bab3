"""How often verdicts are false and how soon they come, in simulated sweeps.

Every sweep is a set of records that the code which judges real ones judges: five targets, two arms,
rounds up to 60, no true mean effect unless it says so. A verdict is looked at after every round, as
`decide` does. The rows are those by which earlier verdicts failed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import nct
from scipy.stats import t as students_t

from citrus_ray.evidence.design import Design
from citrus_ray.evidence.outcomes import Outcome, nothing_of
from citrus_ray.evidence.stamps import Stamps
from citrus_ray.evidence.verdicts import judge
from citrus_ray.experiment.hypotheses import Hypothesis, SpeaksOf, Verdicts
from citrus_ray.records import Record
from citrus_ray.spec import validate

METRIC = "test/balanced_accuracy"
N_TARGETS, MOST, NOISE = 5, 60, 0.04
ARMS = ("none", *(f"arm {i}" for i in range(5)))
# what may be drawn beside the noise of each refit, in points of 100
Draw = Callable[[np.random.Generator, int], np.ndarray[Any, Any]]  # (targets, rounds)


@dataclass(frozen=True)
class Row:
    """One way in which a sweep can be misled."""

    name: str
    draw: Draw
    speaks_of: SpeaksOf = "these targets"
    n_claims: int = 1
    effect: float = 0.0
    sd: float = NOISE


def nothing(rng: np.random.Generator, n: int) -> Any:
    return np.zeros((N_TARGETS, n))


def shared_seeds(rng: np.random.Generator, n: int) -> Any:
    """Labels, first weights and order that all places of a round share."""
    return np.broadcast_to(rng.normal(0, 0.03, n), (N_TARGETS, n))


def targets(sd: float) -> Draw:
    return lambda rng, n: np.broadcast_to(rng.normal(0, sd, (N_TARGETS, 1)), (N_TARGETS, n))


def encoders(sd: float) -> Draw:
    """An encoder for each round and arm, whose luck all places share."""
    return lambda rng, n: np.broadcast_to(rng.normal(0, sd, n), (N_TARGETS, n))


FALSE = (
    Row("noise", nothing),
    Row("noise, of the next target", nothing, "the next target"),
    Row("seeds shared by places, sd 3", shared_seeds),
    Row("seeds shared by places, sd 3, of the next target", shared_seeds, "the next target"),
    Row("target effects, sd 1, of the next target", targets(0.01), "the next target"),
    Row("target effects, sd 3, of the next target", targets(0.03), "the next target"),
    Row("target effects, sd 6, of the next target", targets(0.06), "the next target"),
    Row("encoder draws, sd 1", encoders(0.01)),
    Row("encoder draws, sd 2", encoders(0.02)),
    Row("encoder draws, sd 2, of the next target", encoders(0.02), "the next target"),
    Row("five claims", nothing, n_claims=5),
    Row("five claims, encoder draws, sd 2", encoders(0.02), n_claims=5),
)


def claims_of(n: int, speaks_of: SpeaksOf) -> tuple[Hypothesis, ...]:
    """Against no pre-training. So narrow a margin that nothing is equivalent to it: a verdict of a
    sign is what may be false."""
    return tuple(
        validate(
            Hypothesis,
            {
                "says": f"{arm} helps",
                "better": {"arm": arm},
                "worse": {"arm": "none"},
                "within": 1e-9,
                "speaks_of": speaks_of,
            },
        )
        for arm in ARMS[1 : n + 1]
    )


def sweep(differences: Sequence[np.ndarray[Any, Any]]) -> list[Outcome]:
    """An outcome for no pre-training and for each arm, by the differences of its rounds."""
    design = Design("simulated", "simulated")
    zero = np.zeros_like(differences[0])
    return [
        cell(design, arm, 0.6 + values)
        for arm, values in zip(ARMS, [zero, *differences], strict=False)
    ]


def cell(design: Design, arm: str, scores: np.ndarray[Any, Any]) -> Outcome:
    rows = tuple(
        record(arm, f"target {t}", r, float(score)) for (t, r), score in np.ndenumerate(scores)
    )
    return replace(nothing_of(arm, {"arm": arm}, design), final=rows, rows=rows)


def record(arm: str, target: str, number: int, score: float) -> Record:
    return Record(
        digest="",
        trial="",
        cell=arm,
        phase="final",
        status="ok",
        axes={"arm": arm},
        params={},
        repeat={"seed": 1000 + number, "finetune.target": target},
        config={},
        metrics={METRIC: score},
        seed=1000 + number,
        data_digest=target,
        encoder=None,
    )


def judged(row: Row, rng: np.random.Generator, n: int = MOST) -> list[Any]:
    """A sweep of this row, after each of its rounds."""
    drawn = [
        row.effect + row.draw(rng, n) + rng.normal(0, row.sd, (N_TARGETS, n))
        for _ in range(row.n_claims)
    ]
    claims = claims_of(row.n_claims, row.speaks_of)
    stamps: Stamps = {claim.identity_of_claim(Verdicts().of(METRIC)): False for claim in claims}
    design = replace(Design("simulated", "simulated"), stamps=stamps)
    return judge(claims, sweep(drawn), design)


def false_share(row: Row, n_sweeps: int) -> float:
    """Of sweeps in which any claim is ever decided. What is known only tightens, so the last look
    says what any look would have said."""
    wrong = 0
    for seed in range(n_sweeps):
        found = judged(row, np.random.default_rng([15, seed]))
        wrong += any(one.verdict in ("supported", "contradicted") for one in found)
    return wrong / n_sweeps


def late_claims(n_sweeps: int) -> float:
    """Share of sweeps whose claim, written for the arm that did best, is not marked as late."""
    unmarked = 0
    for seed in range(n_sweeps):
        rng = np.random.default_rng([16, seed])
        cells = sweep([rng.normal(0, NOISE, (N_TARGETS, 12)) for _ in range(5)])
        best = max(claims_of(5, "these targets"), key=lambda c: _mean(cells, c))
        stamps: Stamps = {
            c.identity_of_claim(Verdicts().of(METRIC)): False
            for c in claims_of(5, "the next target")
        }
        (found,) = judge([best], cells, replace(Design("s", "s"), stamps=stamps))
        unmarked += not found.is_late
    return unmarked / n_sweeps


def _mean(cells: Sequence[Outcome], claim: Hypothesis) -> float:
    arm = claim.better["arm"]
    return float(
        np.mean([r.metrics[METRIC] for c in cells if c.axes["arm"] == arm for r in c.rows])
    )


def power(effect: float, n_sweeps: int) -> dict[str, float]:
    """A true effect, its round means of sd 3 points: verdicts, rounds, and the rounds that a fixed
    design of equal power needs."""
    sd = 0.03 * np.sqrt(N_TARGETS)
    row = Row("effect", nothing, effect=effect, sd=sd)
    found = [judged(row, np.random.default_rng([17, s]))[0] for s in range(n_sweeps)]
    decided = [one.found.decided_after for one in found if one.verdict == "supported"]
    share = len(decided) / n_sweeps
    rounds = (sum(decided) + MOST * (n_sweeps - len(decided))) / n_sweeps
    fixed = fixed_rounds(effect / 0.03, min(share, 0.999))
    return {
        "decided": round(share, 3),
        "wrong": round(sum(one.verdict == "contradicted" for one in found) / n_sweeps, 3),
        "mean_rounds": round(rounds, 1),
        "fixed_rounds": fixed,
        "ratio": round(rounds / fixed, 2),
    }


def fixed_rounds(effect: float, share: float) -> int:
    """The rounds of a single t test of this power; `effect` is in standard deviations."""
    for n in range(3, 1000):
        bar = students_t.ppf(0.975, n - 1)
        if 1 - nct.cdf(bar, n - 1, effect * np.sqrt(n)) >= share:
            return n
    return 1000


def run(full: bool = False) -> dict[str, Any]:
    """Shares of false verdicts, at most 0.06 wanted, and power beside fixed designs, at most 0.75
    of their rounds wanted. With `full`, 2,000 sweeps a row."""
    n = 2000 if full else 400
    return {
        "sweeps": n,
        "false": {row.name: round(false_share(row, n), 4) for row in FALSE},
        "late claims without a mark": late_claims(100),
        "power": {f"effect {e:g}": power(e, n) for e in (0.015, 0.02, 0.03, 0.045)},
    }
