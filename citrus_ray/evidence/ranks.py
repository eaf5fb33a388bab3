"""Mean ranks of all methods over targets, and which of them the evidence cannot tell apart
(Demšar, JMLR 2006)."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from citrus_ray.evidence.facts import target_of
from citrus_ray.evidence.intervals import Floats, midranks
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.records import Record

FEWEST = 3  # targets; with two, a rank is a coin's toss


@dataclass(frozen=True)
class Ranking:
    """Best method first."""

    methods: tuple[str, ...]
    ranks: tuple[float, ...]  # means over targets, 1 is best
    scores: Floats  # (target, method)
    targets: tuple[str, ...]
    p: float | None  # Friedman's; None for two methods
    critical: float  # mean ranks closer than this cannot be told apart at 0.05 (Nemenyi)

    @property
    def cliques(self) -> list[tuple[int, int]]:
        """First and last of each longest run of methods within the critical difference."""
        ends = [
            max(j for j in range(i, len(self.ranks)) if self._near(i, j))
            for i in range(len(self.ranks))
        ]
        return [(i, j) for i, j in enumerate(ends) if j > i and (i == 0 or ends[i - 1] < j)]

    def _near(self, i: int, j: int) -> bool:
        return self.ranks[j] - self.ranks[i] < self.critical


def ranking(cells: Sequence[Outcome]) -> Ranking | None:
    """Pre-trainings, training from scratch and dumb baselines, on the targets where all of them
    were scored."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        for target, rows in _by_target(cell).items():
            metric = cell.design.test_metric
            found[cell.arm_label][target].append(fmean(row.metrics[metric] for row in rows))
            for name, value in _baselines(rows, metric):
                found[f"baseline: {name}"][target].append(value)
    methods = [method for method in found if not method.startswith("baseline: ")]
    targets = (
        sorted(set.intersection(*(set(found[method]) for method in methods))) if methods else []
    )
    methods += [
        method for method in found if method not in methods and set(targets) <= set(found[method])
    ]
    if len(targets) < FEWEST or len(methods) < 2:
        return None
    table = np.asarray([[fmean(found[method][target]) for method in methods] for target in targets])
    return ranked(methods, targets, table, best_is_high=cells[0].design.mode == "max")


def _by_target(cell: Outcome) -> dict[str, list[Record]]:
    rows: dict[str, list[Record]] = defaultdict(list)
    for row in cell.scored:
        rows[target_of(row)].append(row)
    return rows


def _baselines(rows: Sequence[Record], metric: str) -> list[tuple[str, float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for name, metrics in row.baselines.items():
            if metric in metrics:
                found[name].append(metrics[metric])
    return [(name, fmean(values)) for name, values in found.items()]


def ranked(
    methods: Sequence[str], targets: Sequence[str], scores: Floats, best_is_high: bool = True
) -> Ranking:
    """Ties share the mean of their ranks."""
    from scipy.stats import friedmanchisquare

    n, k = scores.shape
    means = np.stack([midranks(-row if best_is_high else row) for row in scores]).mean(axis=0)
    order = np.argsort(means, kind="stable")
    p = float(friedmanchisquare(*scores.T).pvalue) if k > 2 and np.ptp(means) > 0 else None
    return Ranking(
        methods=tuple(methods[i] for i in order),
        ranks=tuple(means[order].tolist()),
        scores=scores[:, order],
        targets=tuple(targets),
        p=p,
        critical=critical_difference(k, n),
    )


def critical_difference(n_methods: int, n_targets: int, alpha: float = 0.05) -> float:
    """Nemenyi's, from the studentised range."""
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - alpha, n_methods, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(n_methods * (n_methods + 1) / (6 * n_targets)))
