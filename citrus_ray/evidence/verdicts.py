"""Claims against the rounds of winners: effect, interval, verdict.

A place is a combination of everything that the claim does not speak of: target, labels, what
else is repeated. Within a place and a round the two sides are paired by all that both repeat; the
mean over places is the round's one number (`citrus_ray.evidence.rounds`).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from citrus_ray.evidence.design import Design
from citrus_ray.evidence.facts import target_of
from citrus_ray.evidence.intervals import DECIMALS
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.rounds import (
    DRAWN,
    Finding,
    Measured,
    Value,
    Verdict,
    corrected,
    finding,
    in_words,
    measured,
    round_of,
    somewhere,
)
from citrus_ray.evidence.stamps import AFTER
from citrus_ray.experiment.hypotheses import Hypothesis, Verdicts, side
from citrus_ray.experiment.labels import (
    Axes,
    canonical,
    exact_label,
    part_of,
    settings_label,
    unique,
)
from citrus_ray.records import Record

WHAT = {
    "score": "difference",
    "gain": "difference of gains",
    "rounds": "validation rounds saved",
    "seconds": "seconds saved",
    "missing": "difference with modalities missing",
}


@dataclass(frozen=True)
class Score:
    """What was measured in one refit, where and in which round."""

    target: str
    repeat: dict[str, Any]  # without what a round draws
    round: int
    value: float


@dataclass(frozen=True)
class Judged:
    """A claim and what the rounds say of it."""

    claim: Hypothesis
    found: Finding | None  # None where nothing can be said
    measured: Measured | None
    places: list[str]
    of_places: list[Finding | None]
    cells: tuple[Outcome, ...] = field(repr=False)  # of both sides, and of whatever they need
    is_late: bool = False

    @property
    def verdict(self) -> Verdict:
        return self.found.verdict if self.found else "undecided"

    @property
    def why(self) -> str | None:
        """What an undecided claim would take."""
        if self.verdict != "undecided":
            return None
        if self.found is None:
            one = self.measured is not None and len(self.measured.targets) == 1
            return "one target says nothing of the next" if one else "no round yet"
        return f"it would take {self.found.takes}"

    def tree(self) -> dict[str, Any]:
        """For `summary.json`."""
        found, rounds = self.found, self.measured
        tree = found.tree() if found else dict.fromkeys(("mean", "low", "high"))
        effects = [one.effect for one in self.of_places if one]
        return {
            "says": self.claim.says,
            "measure": self.claim.measure,
            "level": self.claim.level,
            "holds": self.claim.holds,
            "effect": tree.pop("mean"),
            **tree,
            "n": found.effect.n if found else 0,
            "speaks_of": self.claim.speaks_of,
            "within": found.within if found else None,
            "rounds": len(rounds.numbers) if rounds else 0,
            "targets": len(rounds.targets) if rounds else 0,
            "places": [
                {"place": place, "effect": None, "low": None, "high": None, "n": 0}
                if one is None
                else {"place": place, "effect": (ends := one.effect.tree()).pop("mean")} | ends
                for place, one in zip(self.places, self.of_places, strict=True)
            ],
            "places_up": sum(effect.mean > 0 for effect in effects),
            "verdict": self.verdict,
            "why": self.why,
            "after_the_records": self.is_late,
        }


def judge(claims: Sequence[Hypothesis], cells: Sequence[Outcome], design: Design) -> list[Judged]:
    """Every claim, corrected over all that were ever asked, those that were dropped included.
    `design` says what a verdict may cost and when the claims were first asked."""
    asked, stamps = design.verdicts, design.stamps or {}
    names = [claim.identity_of_claim(asked) for claim in claims]
    has_records = any(cell.rows or cell.final for cell in cells)
    found = [_judge(claim, cells, asked) for claim in claims]
    n_dropped = len(stamps.keys() - set(names))
    told = iter(corrected([one.found for one in found if one.found], n_dropped))
    return [
        replace(
            one,
            found=next(told) if one.found else None,
            is_late=stamps.get(name, has_records),
        )
        for one, name in zip(found, names, strict=True)
    ]


def _judge(claim: Hypothesis, cells: Sequence[Outcome], asked: Verdicts) -> Judged:
    settings, values, about = _places(claim, cells)
    within, alpha = claim.margin(asked), asked.alpha
    n_tries = max(1, len(values)) if claim.holds == "somewhere" else 1
    labels = unique(settings, [lambda s: settings_label(s) or "all", exact_label])
    alone = [measured(v) for v in values]
    of_places = [
        None if one is None else finding(one, alpha=alpha, within=within, n_tries=n_tries)
        for one in alone
    ]
    together = measured([value for v in values for value in v])
    if claim.holds == "somewhere":
        told = [one for one in of_places if one]
        found = somewhere(told) if told else None
    else:
        found = None if together is None else finding(together, claim.speaks_of, alpha, within)
    return Judged(claim, found, together, labels, of_places, tuple(about))


# ---- pairs within places ----


def _places(
    claim: Hypothesis, cells: Sequence[Outcome]
) -> tuple[list[dict[str, Any]], list[list[Value]], list[Outcome]]:
    """Settings of each place, better minus worse there by round, and the cells that it takes."""
    about = [cell for cell in cells if claim.is_about(cell.axes)]
    settings: dict[str, dict[str, Any]] = {}
    values: dict[str, list[Value]] = defaultdict(list)
    needed: dict[str, Outcome] = {}
    for one in (cell for cell in about if side(claim.better, cell.axes)):
        for other in (cell for cell in about if side(claim.worse, cell.axes)):
            rest = claim.others(one.axes)
            if not _agree(rest, claim.others(other.axes)):
                continue
            twins = [t for c in (one, other) if (t := _twin(claim, c, cells)) is not None]
            needed |= {cell.digest: cell for cell in (one, other, *twins)}
            for score in differences(_measured(claim, one, cells), _measured(claim, other, cells)):
                place = rest | score.repeat
                key = canonical(place)
                settings[key] = place
                values[key].append(Value(score.target, key, score.round, score.value))
    return list(settings.values()), [values[key] for key in settings], list(needed.values())


def _agree(one: Axes, other: Axes) -> bool:
    """Whether two cells are equal in every axis that both have; one from scratch has none of
    `pretrain`."""
    return all(canonical(one[path]) == canonical(other[path]) for path in one.keys() & other.keys())


def differences(one: Sequence[Score], other: Sequence[Score]) -> list[Score]:
    """`one` minus `other`, paired by round and by all that both repeat; what a side repeats beyond
    that is averaged."""
    everywhere = [set(score.repeat) for score in [*one, *other]]
    shared = sorted(set.intersection(*everywhere)) if everywhere else []
    means: list[dict[tuple[int, str], float]] = []
    known: dict[tuple[int, str], Score] = {}
    for found in (one, other):
        groups: dict[tuple[int, str], list[float]] = defaultdict(list)
        for score in found:
            kept = {path: score.repeat[path] for path in shared}
            key = score.round, canonical(kept)
            known.setdefault(key, replace(score, repeat=kept))
            groups[key].append(score.value)
        means.append({key: fmean(values) for key, values in groups.items()})
    both = sorted(means[0].keys() & means[1].keys())
    return [
        replace(known[key], value=round(means[0][key] - means[1][key], DECIMALS)) for key in both
    ]


def _measured(claim: Hypothesis, cell: Outcome, cells: Sequence[Outcome]) -> list[Score]:
    """Test scores, gains over scratch, or minus the cost of getting to a level: more is better
    in all of them."""
    metric, sign = cell.design.test_metric, cell.design.sign
    if claim.level is not None:
        ok = [row for row in cell.final if row.status == "ok" and row.curve]
        level = sign * claim.level
        curves = [[(sign * value, seconds) for value, seconds in row.curve] for row in ok]
        costs = (cost_to(curve, claim.measure, level) for curve in curves)
        return [_score(row, -cost) for row, cost in zip(ok, costs, strict=True)]
    if claim.measure == "missing":
        return _scores(cell.final, metric.replace("test/", "missing/", 1), sign)
    own = _scores(cell.final, metric, sign)
    if claim.measure == "score":
        return own
    twin = _twin(claim, cell, cells)
    return differences(own, _scores(twin.final, metric, sign)) if twin else []


def _twin(claim: Hypothesis, cell: Outcome, cells: Sequence[Outcome]) -> Outcome | None:
    """The cell from scratch that a gain is over; none where no gain is claimed."""
    if claim.measure != "gain" or cell.is_scratch:
        return None
    return next((c for c in cells if c.is_scratch and _are_twins(c, cell)), None)


def _are_twins(one: Outcome, other: Outcome) -> bool:
    return canonical(part_of(one.axes, False)) == canonical(part_of(other.axes, False))


def _scores(rows: Sequence[Record], metric: str, sign: int) -> list[Score]:
    ok = (row for row in rows if row.status == "ok" and metric in row.metrics)
    return [_score(row, sign * row.metrics[metric]) for row in ok]


def _score(row: Record, value: float) -> Score:
    fixed = {path: v for path, v in row.repeat.items() if path not in DRAWN}
    return Score(target_of(row), fixed, round_of(row), value)


def cost_to(curve: Sequence[Sequence[float]], measure: str, level: float) -> float:
    """Validation rounds or seconds until the objective reached `level`. One that never did is given
    one round more than it had: less than the truth, so a difference that rests on it is too small
    rather than too large."""
    costs = [
        number if measure == "rounds" else seconds
        for number, (_, seconds) in enumerate(curve, start=1)
    ]
    costs.append(costs[-1] * (1 + 1 / len(curve)))
    at = next((i for i, (value, _) in enumerate(curve) if value >= level), len(curve))
    return float(costs[at])


# ---- in words ----


def lines(judged: Sequence[dict[str, Any]]) -> list[str]:
    """Claim, verdict, effect, interval and for whom, as the last screen shows them."""
    return [line for claim in judged for line in (f"claim: {_says(claim)}", f"  {told(claim)}")]


def _says(claim: dict[str, Any]) -> str:
    return f"{claim['says']} ({AFTER})" if claim["after_the_records"] else str(claim["says"])


def told(claim: dict[str, Any]) -> str:
    """The verdict on one claim of a summary, in a line."""
    verdict = f"{claim['verdict']} ({claim['why']})" if claim["why"] else claim["verdict"]
    if claim["effect"] is None:
        return str(verdict)
    if claim["decided_after"]:
        small = f", though smaller than {claim['within']:g}," if claim["small"] else ""
        verdict += f"{small} after {claim['decided_after']} rounds"
    places = len(claim["places"])
    of = "best place" if claim["holds"] == "somewhere" else f"mean of {places} places"
    where = f"{of}; up in {claim['places_up']} of {places}" if places > 1 else "one place"
    return f"{verdict}: {WHAT[claim['measure']]} {in_words(claim['effect'], claim)} ({where})"
