"""Scores from labels and logits: numpy in, float out. A score that is not defined for these labels
is left out."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating]


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


# ---- all of them ----


def score(y: Labels, logits: Scores, split: str) -> dict[str, float]:
    """Every metric that is defined for `y`, as `split/metric`."""
    if not np.isfinite(logits).all():
        n_bad = int((~np.isfinite(logits)).any(axis=1).sum())
        raise ValueError(
            f"{split}: logits must be finite, but those of {n_bad} of {len(y)} windows are not"
        )
    predicted = logits.argmax(axis=1).astype(np.int64)
    found = {name: metric(y, predicted) for name, metric in HARD.items()}
    found |= {name: metric(y, logits) for name, metric in RANKED.items()}
    return {f"{split}/{name}": value for name, value in found.items() if value is not None}


# ---- over members ----


def mean_metrics(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means of the metrics that all rows have."""
    shared = [name for name in rows[0] if all(name in row for row in rows)] if rows else []
    return {name: float(np.mean([row[name] for row in rows])) for name in shared}
