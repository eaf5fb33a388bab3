"""Scores from labels and predictions: numpy in, float out."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating]


def confusion(y: Labels, predicted: Labels, n_classes: int) -> npt.NDArray[np.int64]:
    """(K, K) counts, true class in the row, predicted class in the column."""
    return np.bincount(y * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)


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


HARD: dict[str, Callable[[Labels, Labels], float]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
}


def score(y: Labels, logits: Scores, split: str) -> dict[str, float]:
    """Every metric as `split/metric`."""
    predicted = logits.argmax(axis=1).astype(np.int64)
    return {f"{split}/{name}": metric(y, predicted) for name, metric in HARD.items()}
