"""On how many targets the best pre-trained network beats the best method without one, with few
labels. For each target both are chosen by their mean test scores on the targets whose recordings
lie in other folders: nobody who is tested there chooses what is held there.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from citrus_ray.evidence.facts import LABELS, TARGET, target_of
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.rounds import Finding, Verdict, corrected
from citrus_ray.evidence.standings import Standing, Standings, difference
from citrus_ray.experiment.labels import canonical

FEW = 5  # labels of a class
REST: dict[Verdict, str] = {
    "contradicted": "it is worse on",
    "equivalent": "no different on",
    "undecided": "open on",
}


@dataclass(frozen=True)
class Bout:
    """One target: the network and the method that other targets chose, and their difference."""

    target: str
    network: str
    method: str
    found: Finding


@dataclass(frozen=True)
class Contest:
    """All targets, with one amount of labels."""

    labels: str
    bouts: tuple[Bout, ...]

    def targets(self, verdict: Verdict) -> list[str]:
        return [one.target for one in self.bouts if one.found.verdict == verdict]

    @property
    def told(self) -> str:
        n, won = len(self.bouts), len(self.targets("supported"))
        parts = [f"With {self.labels}, the best pre-trained network beats the best closed-form "]
        parts += [f"method on {won} of {n} targets"]
        for verdict, says in REST.items():
            if found := self.targets(verdict):
                parts.append(f"; {says} {', '.join(found)}")
        return "".join(parts) + "."

    @property
    def how(self) -> str:
        """Which they are, in words."""
        network, method = (
            ", ".join(name for name, _ in Counter(names).most_common(3))
            for names in ([b.network for b in self.bouts], [b.method for b in self.bouts])
        )
        return (
            "Both are chosen for each target by their scores on other people's: "
            f"{network} against {method}."
        )

    def tree(self) -> dict[str, Any]:
        """For `summary.json`."""
        return {
            "says": f"{self.told} {self.how}",
            "labels": self.labels,
            "won": len(self.targets("supported")),
            "targets": [
                {"target": b.target, "network": b.network, "closed_form": b.method} | b.found.tree()
                for b in self.bouts
            ],
        }


def contest(found: Standings | None, cells: Sequence[Outcome]) -> Contest | None:
    """None where fewer than two targets share networks that are pre-trained and methods without
    one."""
    place = _few(cells)
    if found is None:
        return None
    standings = [one.standing for one in found.placed]
    shared = {(t, p) for t, p in found.places if place is None or f'"{LABELS}": {place[0]}' in p}
    networks = [s for s in standings if s.kind == "network" and s.is_pretrained]
    methods = [s for s in standings if s.kind == "closed form"]
    targets = sorted({target for target, _ in shared})
    if len(targets) < 2 or not networks or not methods:
        return None
    means = {id(s): _means(s, shared) for s in (*networks, *methods)}
    sign, told = found.design.sign, list[tuple[str, Standing, Standing, Finding]]()
    folders = _folders(cells)
    for target in targets:
        others = [t for t in targets if folders.get(t, t) != folders.get(target, target)]
        if not others:
            continue
        network, method = (
            max(of, key=lambda s: sign * fmean(means[id(s)][t] for t in others))
            for of in (networks, methods)
        )
        one, other = network.scores, network.beside.get(method.baseline, method.scores)
        here = {key: value for key, value in one.items() if key[0] == target and key[:2] in shared}
        if (judged := difference(here, other, found)) is not None:
            told.append((target, network, method, judged))
    bouts = [
        Bout(target, network.arm or network.label, method.label, judged)
        for (target, network, method, _), judged in zip(
            told, corrected([one for *_, one in told]), strict=True
        )
    ]
    return Contest(place[1] if place else "all labels", tuple(bouts)) if bouts else None


def _folders(cells: Sequence[Outcome]) -> dict[str, str]:
    """What each target's recordings lie in, where they do: sets cut from one folder are of the same
    people."""
    rows = [row for cell in cells for row in cell.rows if row.config.get(f"{TARGET}.root")]
    return {target_of(row): str(row.config[f"{TARGET}.root"]) for row in rows}


def _few(cells: Sequence[Outcome]) -> tuple[str, str] | None:
    """The compared amount of labels that is nearest to five of a class, as places write it and in
    words; None where there is one amount for all."""
    amounts = {
        canonical(cell.axes[LABELS]): cell.axes[LABELS] for cell in cells if LABELS in cell.axes
    }
    few = {
        text: float(of["per_class"])
        for text, of in amounts.items()
        if isinstance(of, dict) and "per_class" in of
    }
    if not few:
        return None
    text = min(few, key=lambda one: (abs(few[one] - FEW), few[one]))
    return text, f"{few[text]:g} labels a class"


def _means(one: Standing, shared: set[tuple[str, str]]) -> dict[str, float]:
    values: dict[str, list[float]] = defaultdict(list)
    for (target, place, _), value in one.scores.items():
        if (target, place) in shared:
            values[target].append(value)
    return {target: fmean(of) for target, of in values.items()}
