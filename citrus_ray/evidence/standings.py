"""Methods side by side, over all places where every one of them was scored: networks, what has no
network, chance. And whether a network beats the best method without one.

A method is all that is compared but the places (target, labels, split) where it is measured;
baselines that were scored beside refits are methods too. Networks are held, round by round and
place by place, against the one closed-form method with the best mean test score: that choice
favours the method, so that a network that wins has won.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any, Literal

from citrus_ray.evidence.design import Design, difference_bounds, score_bounds
from citrus_ray.evidence.facts import LABELS, SPLIT, TARGET, target_of
from citrus_ray.evidence.intervals import DECIMALS, Effect, score_effect
from citrus_ray.evidence.labels import labels_of_axes
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.rounds import (
    DRAWN,
    Finding,
    Value,
    Verdict,
    corrected,
    finding,
    measured,
    round_of,
)
from citrus_ray.experiment.labels import canonical, count, joined, part_of
from citrus_ray.experiment.trial import WITHOUT_NETWORK
from citrus_ray.records import Record

Kind = Literal["network", "both", "closed form", "baseline", "chance"]
CHANCE = ("majority", "median")  # what says the same of every window
RAW = "raw_"  # of a baseline: on windows that are not normalised
Key = tuple[str, str, int]  # target, place, round


@dataclass(frozen=True)
class Standing:
    """One method and its test scores by place and round."""

    label: str
    kind: Kind
    scores: dict[Key, float] = field(repr=False)
    # of a network: what methods without one scored on the very same windows
    beside: dict[str, dict[Key, float]] = field(default_factory=dict, repr=False)
    settings: str = ""  # in full
    baseline: str = ""  # its name, of one that was scored beside refits
    is_pretrained: bool = False
    arm: str = ""  # as the sweep names it, where it names arms

    @property
    def places(self) -> set[tuple[str, str]]:
        return {(target, place) for target, place, _ in self.scores}


@dataclass(frozen=True)
class Placed:
    """A method's mean test score over the shared places."""

    standing: Standing
    effect: Effect
    against: Finding | None = None  # a network's difference to the best closed-form method


@dataclass(frozen=True)
class Duel:
    """One method's scores minus another's, better above 0."""

    one: str
    other: str
    found: Finding


@dataclass(frozen=True)
class Standings:
    """All methods, best first, over the places that all of them share."""

    design: Design
    places: frozenset[tuple[str, str]]
    placed: tuple[Placed, ...]
    best_closed: Placed | None

    @property
    def n_targets(self) -> int:
        return len({target for target, _ in self.places})

    @property
    def networks(self) -> list[Placed]:
        """Best first."""
        return [one for one in self.placed if one.standing.kind == "network"]

    @cached_property
    def winning(self) -> list[Placed]:
        """Networks that are better than the best closed-form method."""
        return [one for one in self.networks if _verdict(one) == "supported"]

    @cached_property
    def duels(self) -> list[Duel]:
        """Each pair of compared methods, corrected over all pairs."""
        compared = [p.standing for p in self.placed if p.standing.kind in COMPARED]
        pairs = [(a, b) for i, a in enumerate(compared) for b in compared[i + 1 :]]
        found = [(a, b, difference(a.scores, b.scores, self)) for a, b in pairs]
        told = [(a, b, one) for a, b, one in found if one is not None]
        judged = corrected([one for _, _, one in told])
        return [Duel(a.label, b.label, one) for (a, b, _), one in zip(told, judged, strict=True)]


COMPARED = ("network", "both", "closed form")


def standings(cells: Sequence[Outcome]) -> Standings | None:
    """None where nothing is scored, or no place is shared by all that is compared."""
    compared = _compared([cell for cell in cells if cell.scored])
    if not compared:
        return None
    places = frozenset(set.intersection(*(one.places for one in compared)))
    found = [*compared, *(one for one in _baselines(cells) if places <= one.places)]
    design = cells[0].design
    placed = [Placed(one, effect) for one in found if (effect := _mean(one, places, design))]
    placed.sort(key=lambda one: -design.sign * one.effect.mean)
    if not places or not placed:
        return None
    best = next((one for one in placed if one.standing.kind == "closed form"), None)
    made = Standings(design, places, tuple(placed), best)
    return made if best is None else _against(made, best)


def _compared(cells: Sequence[Outcome]) -> list[Standing]:
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for cell in cells:
        groups[canonical([cell.arm, _rest(cell)])].append(cell)
    labels = labels_of_axes([part_of(_rest(of[0]), False) for of in groups.values()])
    return [
        Standing(
            _label(of[0], rest),
            _kind(of),
            _scores((cell, row, row.metrics[cell.design.test_metric]) for cell, row in _rows(of)),
            _beside(of),
            of[0].settings,
            is_pretrained=not of[0].is_scratch,
            arm=str(of[0].axes.get("arm", "")),
        )
        for of, rest in zip(groups.values(), labels, strict=True)
    ]


def _rows(cells: Iterable[Outcome]) -> Iterable[tuple[Outcome, Record]]:
    return ((cell, row) for cell in cells for row in cell.scored)


def _rest(cell: Outcome) -> dict[str, Any]:
    """What is compared apart from where it is measured."""
    return {path: value for path, value in cell.axes.items() if not _is_place(path)}


def _is_place(path: str) -> bool:
    return any(path == of or path.startswith(f"{of}.") for of in (TARGET, LABELS, SPLIT))


def _label(cell: Outcome, rest: str) -> str:
    named = part_of(cell.axes, True) or not cell.is_scratch
    if not named and not rest:
        return str(cell.scored[0].config.get("model.kind", "the only arm"))
    return joined(cell.arm_label if named else "", rest)


def _kind(cells: Sequence[Outcome]) -> Kind:
    """`views` may hold both."""
    kinds = {row.config.get("model.kind") for _, row in _rows(cells)}
    if kinds <= WITHOUT_NETWORK:
        return "closed form"
    return "both" if "views" in kinds else "network"


def _baselines(cells: Sequence[Outcome]) -> list[Standing]:
    """Each baseline, by the mean of what it scored beside all refits at a place."""
    return [
        Standing(f"{name} (baseline)", _kind_of_baseline(name), scores, baseline=name)
        for name, scores in _beside(cells).items()
    ]


def _kind_of_baseline(name: str) -> Kind:
    if name in CHANCE:
        return "chance"
    return "closed form" if name.removeprefix(RAW) in WITHOUT_NETWORK else "baseline"


def _beside(cells: Sequence[Outcome]) -> dict[str, dict[Key, float]]:
    found: dict[str, list[tuple[Outcome, Record, float]]] = defaultdict(list)
    for cell, row in _rows(cells):
        for name, metrics in row.baselines.items():
            if cell.design.test_metric in metrics:
                found[name].append((cell, row, metrics[cell.design.test_metric]))
    return {name: _scores(of) for name, of in found.items()}


def _scores(found: Iterable[tuple[Outcome, Record, float]]) -> dict[Key, float]:
    """Means of what is equal in place and round."""
    values: dict[Key, list[float]] = defaultdict(list)
    places = dict[str, dict[str, Any]]()
    for cell, row, value in found:
        where = places.setdefault(
            cell.digest, {p: v for p, v in cell.axes.items() if _is_place(p) and p != TARGET}
        )
        fixed = {p: v for p, v in row.repeat.items() if p not in DRAWN and p != TARGET}
        values[target_of(row), canonical(where | fixed), round_of(row)].append(value)
    return {key: fmean(of) for key, of in values.items()}


def _mean(one: Standing, places: frozenset[tuple[str, str]], design: Design) -> Effect | None:
    here = [Value(*key, value) for key, value in one.scores.items() if key[:2] in places]
    found = measured(here)
    effect = found.these.effect() if found else None
    return score_effect(effect, score_bounds(design.test_metric)) if effect else None


def _against(made: Standings, best: Placed) -> Standings:
    """Networks against the best closed-form method: on the network's own windows where it was
    scored beside them."""
    name = best.standing.baseline
    found = {
        id(one): difference(
            one.standing.scores, one.standing.beside.get(name, best.standing.scores), made
        )
        for one in made.networks
    }
    told = {key: one for key, one in found.items() if one is not None}
    judged = dict(zip(told, corrected(list(told.values())), strict=True))
    placed = [Placed(one.standing, one.effect, judged.get(id(one))) for one in made.placed]
    return Standings(made.design, made.places, tuple(placed), best)


def difference(one: dict[Key, float], other: dict[Key, float], made: Standings) -> Finding | None:
    """Of two methods, at the shared places where both were scored, by round."""
    design = made.design
    values = [
        Value(*key, round(design.sign * (one[key] - other[key]), DECIMALS))
        for key in sorted(one.keys() & other.keys())
        if key[:2] in made.places
    ]
    rounds, asked = measured(values), design.verdicts
    if rounds is None:
        return None
    bounds = difference_bounds(design.test_metric)
    return finding(rounds, "these targets", asked.alpha, asked.within, bounds)


def _verdict(one: Placed) -> Verdict:
    return one.against.verdict if one.against else "undecided"


# ---- in words, and for summary.json ----


def told(found: Standings | None) -> str:
    """Whether a network beats the best method without one, in a sentence."""
    if found is None:
        return "It is not known whether a network beats closed-form methods: nothing is scored yet."
    if not found.networks:
        return "No network is compared here."
    best = found.best_closed
    if best is None:
        return "It is not known whether a network beats closed-form methods: none is scored here."
    judged = [one for one in found.networks if one.against]
    if not judged:
        return (
            "It is not known whether a network beats closed-form methods: "
            "none shares a whole round with them."
        )
    first = found.winning[0] if found.winning else judged[0]
    assert first.against is not None
    n, many = len(judged), len(found.winning)
    name = best.standing.label
    if many:
        of = f" ({many} of {n} networks)" if n > 1 else ""
        start = f"A network beats {name}, the best closed-form method{of}"
    elif any(_verdict(one) == "undecided" for one in judged):
        start = f"It is open whether a network beats {name}, the best closed-form method"
    else:
        start = f"No network beats {name}, the best closed-form method"
    effect = first.against.effect
    ends = f"[{effect.low:+.3f}, {effect.high:+.3f}]" if effect.is_bounded else "no interval"
    return (
        f"{start}: {first.standing.label} differs by {effect.mean:+.3f} {ends}, "
        f"{first.against.verdict}, for {first.against.speaks_of}: {first.against.counts} "
        f"(mean of {count(len(found.places), 'place')})."
    )


def tree(found: Standings | None) -> dict[str, Any] | None:
    """For `summary.json`."""
    if found is None:
        return None
    return {
        "says": told(found),
        "metric": found.design.test_metric,
        "n_places": len(found.places),
        "best_closed_form": found.best_closed and found.best_closed.standing.label,
        "methods": [
            {"label": one.standing.label, "kind": one.standing.kind}
            | one.effect.tree()
            | {"against_closed_form": one.against.tree() if one.against else None}
            for one in found.placed
        ],
    }
