"""Scores from labels and what was predicted, for each kind of target: numpy in, float out. A score
that is not defined for these labels is left out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from citrus_ray.context import TargetKind

Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating]
Mode = Literal["max", "min"]


def confusion(y: Labels, predicted: Labels, n_classes: int) -> npt.NDArray[np.int64]:
    """(K, K) counts, true class in the row, predicted class in the column."""
    counts = np.bincount(y * n_classes + predicted, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes)


# ---- from predicted classes ----


def accuracy(y: Labels, predicted: Labels) -> float:
    return float(np.mean(y == predicted))


def balanced_accuracy(y: Labels, predicted: Labels) -> float:
    """Mean recall over the classes that occur in `y`."""
    recalls = [np.mean(predicted[y == k] == k) for k in np.unique(y)]
    return float(np.mean(recalls))


def macro_f1(y: Labels, predicted: Labels) -> float:
    """Mean F1 over the classes that occur in `y` or are predicted."""
    scores = []
    for k in np.union1d(y, predicted):
        hit = np.sum((y == k) & (predicted == k))
        scores.append(2 * hit / (np.sum(y == k) + np.sum(predicted == k)))
    return float(np.mean(scores))


def kappa(y: Labels, predicted: Labels) -> float | None:
    """Cohen's: agreement beyond chance. None where chance alone agrees always: one class, and it is
    predicted."""
    counts = confusion(y, predicted, int(max(y.max(), predicted.max())) + 1) / len(y)
    by_chance = float(counts.sum(axis=0) @ counts.sum(axis=1))
    return None if by_chance >= 1 else float((np.trace(counts) - by_chance) / (1 - by_chance))


HARD: dict[str, Callable[[Labels, Labels], float | None]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "kappa": kappa,
}

# ---- from how logits rank the windows ----


def auroc(y: Labels, logits: Scores) -> float | None:
    """Mean one-vs-rest area under the ROC curve over the classes in `y`; None where there is only
    one."""
    return _one_vs_rest(y, logits, area_under_roc)


def auprc(y: Labels, logits: Scores) -> float | None:
    """Mean one-vs-rest average precision over the classes in `y`; None where there is only one.
    Chance is 1 / K where classes are balanced."""
    return _one_vs_rest(y, logits, average_precision)


RANKED: dict[str, Callable[[Labels, Scores], float | None]] = {"auroc": auroc, "auprc": auprc}


def _one_vs_rest(
    y: Labels, logits: Scores, area: Callable[[npt.NDArray[np.bool_], Scores], float]
) -> float | None:
    present = np.unique(y)
    if len(present) < 2:
        return None
    ranking = log_odds(logits)
    return float(np.mean([area(y == k, ranking[:, k]) for k in present]))


def log_odds(logits: Scores) -> Scores:
    """(n, K): log p / (1 - p) of each class. A logit alone says nothing: adding a constant to a row
    changes no probability. The probability ranks the same, but is 1.0 for every logit that leads by
    more than 37."""
    x = logits.astype(np.float64)
    columns = [x[:, k] - _log_sum_exp(np.delete(x, k, axis=1)) for k in range(x.shape[1])]
    return np.stack(columns, axis=1)


def _log_sum_exp(x: Scores) -> Scores:
    """Over columns, in an order that does not depend on theirs: rounding must not part equal
    rows."""
    ordered = np.sort(x, axis=1)
    top = ordered[:, -1:]
    return np.asarray(top[:, 0] + np.log(np.exp(ordered - top).sum(axis=1)))


def area_under_roc(positive: npt.NDArray[np.bool_], ranking: Scores) -> float:
    """How often a positive is ranked above a negative; a tie counts half."""
    _, place, counts = np.unique(ranking, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2  # from 1
    n = int(positive.sum())
    above = mean_rank[place][positive].sum() - n * (n + 1) / 2
    return float(above / (n * (len(positive) - n)))


def average_precision(positive: npt.NDArray[np.bool_], ranking: Scores) -> float:
    """Precision at every threshold, weighted by the recall it adds. Tied windows pass a threshold
    together."""
    _, place = np.unique(-ranking, return_inverse=True)
    hits, passed = np.bincount(place, weights=positive), np.bincount(place)
    precision = np.cumsum(hits) / np.cumsum(passed)
    return float((precision * hits).sum() / positive.sum())


# ---- of a value, from predicted ones ----


def mae(y: Scores, predicted: Scores) -> float:
    """Mean absolute error, in the unit of the value."""
    return float(np.mean(np.abs(y - predicted)))


def r2(y: Scores, predicted: Scores) -> float | None:
    """Share of the variance of `y` that is explained: 0 of its mean, below 0 of what is worse than
    that. None where `y` does not vary."""
    spread = float(np.sum((y - y.mean()) ** 2))
    return None if spread == 0 else float(1 - np.sum((y - predicted) ** 2) / spread)


def pearson_r(y: Scores, predicted: Scores) -> float | None:
    """Correlation; 0 where all windows are given one value. None where `y` does not vary."""
    a, b = y - y.mean(), predicted - predicted.mean()
    if not np.any(a):
        return None
    length = float(np.sqrt((a**2).sum() * (b**2).sum()))
    # what rounding leaves of a constant correlates with anything
    flat = np.abs(b).max() <= 1e-9 * max(1.0, float(np.abs(predicted).max()))
    return 0.0 if flat else float((a * b).sum() / length)


VALUED: dict[str, Callable[[Scores, Scores], float | None]] = {
    "mae": mae,
    "r2": r2,
    "pearson_r": pearson_r,
}

# ---- all of them ----


@dataclass(frozen=True)
class Metric:
    """What a score by this name is of, and how it is read."""

    of: tuple[TargetKind, ...]
    bounds: tuple[float, float] = (0.0, 1.0)
    mode: Mode = "max"

    @property
    def is_share(self) -> bool:
        """Whether it lies between 0 and 1, and differences are read as points of 100."""
        return self.bounds == (0.0, 1.0)


METRICS: dict[str, Metric] = {
    **dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1"), Metric(("classes",))),
    "kappa": Metric(("classes",), (-1.0, 1.0)),
    **dict.fromkeys(RANKED, Metric(("classes", "labels"))),
    "mae": Metric(("value",), (0.0, math.inf), "min"),
    "r2": Metric(("value",), (-math.inf, 1.0)),
    "pearson_r": Metric(("value",), (-1.0, 1.0)),
}
# what each kind of target is chosen by where nothing else is said
MAIN: dict[TargetKind, str] = {"classes": "balanced_accuracy", "value": "mae", "labels": "auroc"}


def metric_of(name: str) -> Metric:
    """The metric behind `test/balanced_accuracy`, or `balanced_accuracy` alone; of an unknown one
    nothing is known but that more of it is better."""
    return METRICS.get(name.split("/")[-1], Metric((), (-math.inf, math.inf)))


def sign_of(name: str) -> int:
    """1 where more of it is better, -1 where less is: times this, every score is better when
    higher."""
    return 1 if metric_of(name).mode == "max" else -1


def score(
    y: npt.NDArray[Any],
    predicted: Scores,
    split: str,
    target: TargetKind = "classes",
    names: Sequence[str] = (),
) -> dict[str, float]:
    """Every metric that is defined for `y`, as `split/metric`. Predicted are logits (n, K) of
    classes or labels, or values (n, 1); labels have one each by `names`, `split/auroc:NAME`."""
    if not np.isfinite(predicted).all():
        what, n_bad = ("values" if target == "value" else "logits"), ~np.isfinite(predicted)
        raise ValueError(
            f"{split}: {what} must be finite, but those of {int(n_bad.any(axis=1).sum())} of "
            f"{len(y)} windows are not"
        )
    if target == "labels":
        found = _of_labels(y, predicted, names)
    else:
        found = (_of_value if target == "value" else _of_classes)(y, predicted)
    return {f"{split}/{name}": value for name, value in found.items() if value is not None}


def _of_classes(y: Labels, logits: Scores) -> dict[str, float | None]:
    predicted = logits.argmax(axis=1).astype(np.int64)
    found = {name: metric(y, predicted) for name, metric in HARD.items()}
    return found | {name: metric(y, logits) for name, metric in RANKED.items()}


def _of_labels(y: Labels, logits: Scores, names: Sequence[str]) -> dict[str, float | None]:
    """Areas of each label that some windows have and others lack, and the mean over these."""
    found: dict[str, float | None] = {}
    for metric, area in (("auroc", area_under_roc), ("auprc", average_precision)):
        known = [k for k in range(y.shape[1]) if 0 < y[:, k].sum() < len(y)]
        areas = {k: area(y[:, k] > 0, logits[:, k]) for k in known}
        found[metric] = float(np.mean(list(areas.values()))) if areas else None
        found |= {f"{metric}:{names[k]}": value for k, value in areas.items() if names}
    return found


def _of_value(y: Scores, predicted: Scores) -> dict[str, float | None]:
    values = predicted[:, 0].astype(np.float64)
    return {name: metric(y, values) for name, metric in VALUED.items()}


# ---- over members ----


def mean_metrics(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means of the metrics that all rows have."""
    shared = [name for name in rows[0] if all(name in row for row in rows)] if rows else []
    return {name: float(np.mean([row[name] for row in rows])) for name in shared}
