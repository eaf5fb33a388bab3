"""Linear maps of features: multinomial logistic regression, which is the linear probe of classes
and what most baselines decide with, and ridge regression, for thousands of features and for values,
with all penalties at the cost of one.

Scores come from the caller's validation data, or from a cross-validation inside the labelled
windows; test data is never seen here. No random number is drawn.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from citrus_ray.context import TargetKind
from citrus_ray.data.windows import Targets
from citrus_ray.metrics import score, sign_of

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Vector = np.ndarray[tuple[int], np.dtype[np.float64]]

# Weights of the squared norm beside the mean loss: scikit-learn's C is 1 / (n * penalty). Strongest
# first, so that
# every fit starts from its smoother neighbour.
PENALTIES = (1.0, 0.1, 0.01, 1e-3, 1e-4)
# of L-BFGS for each penalty; 5 labels per class are separable, and without end without it
MAX_STEPS = 300
MOST = 2048  # labelled windows by which a penalty is chosen: more choose the same, and cost more
# Of ridge regression, in units of the mean squared length of a window's features; strongest first.
RIDGES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 1e-4)
RANK = 1e-10  # of the largest eigenvalue: less is rounding
CONSTANT = 1e-6  # a feature that varies by less of its size is rounding


@dataclass(frozen=True)
class Scaler:
    """To zero mean and unit variance, as they are in training data. A constant feature becomes
    0."""

    mean: Floats  # (F,)
    scale: Floats  # (F,)

    @classmethod
    def of(cls, features: npt.NDArray[np.floating]) -> "Scaler":
        wide = features.astype(np.float64)
        mean, std = wide.mean(axis=0), wide.std(axis=0)
        return cls(mean, np.where(std > CONSTANT * np.maximum(np.abs(mean), 1), std, np.inf))

    def __call__(self, features: npt.NDArray[np.floating]) -> Floats:
        return np.asarray((features - self.mean) / self.scale)


@dataclass(frozen=True)
class Probe:
    """A fitted regression: features (n, F) -> logits (n, K), or values (n, 1)."""

    scaler: Scaler
    weights: Floats  # (F, K)
    bias: Floats  # (K,)
    penalty: float

    def __call__(self, features: npt.NDArray[np.floating]) -> Floats:
        return np.asarray(self.scaler(features) @ self.weights + self.bias)

    def plain(self) -> tuple[Floats, Floats]:
        """Weights (F, K) and bias (K,) of the same map on features that were not scaled."""
        weights = self.weights / self.scaler.scale[:, None]
        return weights, self.bias - self.scaler.mean @ weights


def fit(
    train: tuple[npt.NDArray[np.floating], Labels],
    val: tuple[npt.NDArray[np.floating], Labels],
    n_classes: int,
    metric: str = "val/balanced_accuracy",
) -> Probe:
    """The regression of the penalty that does best on `val`; of equally good ones, the
    strongest."""
    return best_on(val, regularisation_path(*train, n_classes), metric)


def best_on(
    val: tuple[npt.NDArray[np.floating], Targets],
    path: "list[Probe]",
    metric: str,
    target: TargetKind = "classes",
) -> Probe:
    """The first of those that score best."""
    values = [score(val[1], probe(val[0]), "val", target)[metric] for probe in path]
    return path[int(np.argmax(sign_of(metric) * np.array(values)))]


def fit_inside(
    features: npt.NDArray[np.floating], y: Labels, fold: Labels, n_classes: int
) -> Probe:
    """The regression on all windows, of the penalty whose fits to the other folds give each fold's
    labels the smallest loss; the strongest where there is one fold. Of many windows `MOST` choose
    it.

    The loss, every class counting the same, and not the score: of a few windows that takes few
    values, and chance picks among penalties (measured: analysis/LOG.md).
    """
    some = evenly(y, MOST)
    best = penalty_inside(features[some], y[some], fold[some], n_classes)
    return next(p for p in _path(features, y, n_classes) if p.penalty == best)


def penalty_inside(
    features: npt.NDArray[np.floating], y: Labels, fold: Labels, n_classes: int
) -> float:
    """The penalty before that with which the loss rises for the first time: weaker ones, which
    cost most, are not tried."""
    folds = [fold == number for number in np.unique(fold)]
    best, least = PENALTIES[0], np.inf
    if len(folds) < 2:
        return best
    paths = [_path(features[~out], y[~out], n_classes) for out in folds]
    for probes in zip(*paths, strict=True):
        loss = np.zeros(len(y))  # of each window, by a regression that did not see it
        for out, probe in zip(folds, probes, strict=True):
            loss[out] = cross_entropies(probe(features[out]), y[out])
        value = float(np.mean([loss[y == k].mean() for k in np.unique(y)]))
        if value > least:
            break
        if value < least:
            best, least = probes[0].penalty, value
    return best


def evenly(y: Targets, most: int) -> Labels:
    """Places of `most` windows, of every class the same share and at even steps, or of values from
    least to greatest; all where there are no more."""
    if len(y) <= most:
        return np.arange(len(y))
    if y.ndim == 2:
        return np.arange(most) * len(y) // most
    in_order = np.argsort(y, kind="stable")
    return np.sort(in_order[np.arange(most) * len(y) // most])


def cross_entropies(logits: Floats, y: Labels) -> Floats:
    """(n, K) -> (n,): minus the log of the probability of each window's class."""
    low = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(low).sum(axis=1)) - low[np.arange(len(y)), y])


def regularisation_path(
    features: npt.NDArray[np.floating], y: Labels, n_classes: int
) -> list[Probe]:
    """A probe for each of `PENALTIES`."""
    return list(_path(features, y, n_classes))


def _path(features: npt.NDArray[np.floating], y: Labels, n_classes: int) -> Iterator[Probe]:
    """Those probes, each fitted when it is asked for."""
    scaler = Scaler.of(features)
    x = scaler(features)
    # The best weights lie in the span of the windows: with fewer windows than features, look for
    # them there.
    basis = np.linalg.qr(x.T)[0] if x.shape[1] > len(x) else None  # (F, n)
    x = x if basis is None else x @ basis
    start = np.zeros((x.shape[1] + 1, n_classes))
    for penalty in PENALTIES:
        start = solve(x, y, penalty, start)
        weights = start[:-1] if basis is None else basis @ start[:-1]
        yield Probe(scaler, weights, start[-1], penalty)


def solve(x: Floats, y: Labels, penalty: float, start: Floats) -> Floats:
    """(F + 1, K): the weights, and the bias in the last row, that are best for mean loss + penalty
    / 2 * norm²."""
    from scipy.optimize import minimize

    target = np.eye(start.shape[1])[y]

    def loss(flat: Vector) -> tuple[float, Vector]:
        value, slope = _loss(flat.reshape(start.shape), x, target, penalty)
        return value, slope.ravel()

    found = minimize(
        loss,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_STEPS, "ftol": 1e-10},
    )
    return np.asarray(found.x).reshape(start.shape)


def _loss(w: Floats, x: Floats, target: Floats, penalty: float) -> tuple[float, Floats]:
    """Penalised mean cross-entropy and its gradient. The bias is not penalised."""
    logits = x @ w[:-1] + w[-1]  # (n, F) -> (n, K)
    logits -= logits.max(axis=1, keepdims=True)
    mass = np.exp(logits)
    total = mass.sum(axis=1, keepdims=True)
    entropy = float((np.log(total[:, 0]) - (logits * target).sum(axis=1)).mean())
    error = (mass / total - target) / len(x)
    slope = np.concatenate([x.T @ error + penalty * w[:-1], error.sum(axis=0, keepdims=True)])
    return entropy + penalty / 2 * float((w[:-1] ** 2).sum()), slope


# ---- ridge regression ----


@dataclass(frozen=True)
class Ridge:
    """Least squares from features to +1 of the class and -1 of others, every class counting the
    same, or to the value, for all penalties at once: one decomposition serves them all."""

    scaler: Scaler
    x: Floats  # (n, F), scaled, centred and weighted by `root`, as the rest is
    target: Floats  # (n, K)
    root: Floats  # (n,): the root of what each window counts, mean square 1
    basis: Floats  # (n, r): orthonormal columns that span `x`
    values: Floats  # (r,): eigenvalues of x xᵀ along them
    centre: tuple[Floats, Floats]  # (F,), (K,): weighted means of features and targets

    @classmethod
    def of(
        cls,
        features: npt.NDArray[np.floating],
        y: Targets,
        n_outputs: int,
        kind: TargetKind = "classes",
    ) -> "Ridge":
        scaler = Scaler.of(features)
        target, weights = wanted(y, n_outputs, kind)
        x = scaler(features)
        centre = np.average(x, axis=0, weights=weights), np.average(target, 0, weights=weights)
        root = np.sqrt(weights)
        x, target = ((a - m) * root[:, None] for a, m in zip((x, target), centre, strict=True))
        wide = x.shape[1] > len(x)
        values, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
        there = values > RANK * max(float(values[-1]), RANK)
        values, vectors = values[there], vectors[:, there]
        basis = vectors if wide else x @ vectors / np.sqrt(values)
        return cls(scaler, x, target, root, basis, values, centre)

    def solved(self, penalty: float) -> Probe:
        scaled = self.basis.T @ self.target / (self.values + self._strength(penalty))[:, None]
        weights = self.x.T @ (self.basis @ scaled)  # (F, K)
        return Probe(self.scaler, weights, self.centre[1] - self.centre[0] @ weights, penalty)

    def loss_left_out(self, penalty: float, fold: Labels) -> float:
        """Mean squared error of windows, each by a fit to the other folds. It follows from the one
        fit to all: a fold's errors are (1 - H)⁻¹ of what it left, H being the part of that fold in
        what turns targets into fitted ones, weights and scale as they are for all."""
        share = self.values / (self.values + self._strength(penalty))
        error = self.target - (self.basis * share) @ (self.basis.T @ self.target)
        total = 0.0
        for number in np.unique(fold):
            out = fold == number
            own, root = self.basis[out], self.root[out]
            hat = (own * share) @ own.T + np.outer(root, root) / len(fold)
            total += float((np.linalg.solve(np.eye(len(root)) - hat, error[out]) ** 2).sum())
        return total / len(fold)

    def _strength(self, penalty: float) -> float:
        return penalty * float((self.x**2).sum()) / len(self.x)


def wanted(y: Targets, n_outputs: int, kind: TargetKind) -> tuple[Floats, Floats]:
    """(n, K) that ridge regression is to reach, and (n,) what each window counts."""
    if kind == "value":
        return y[:, None].astype(np.float64), np.ones(len(y))
    if kind == "labels":
        return 2.0 * y - 1, np.ones(len(y))
    counts = np.bincount(y, minlength=n_outputs)
    weights = (len(y) / (np.count_nonzero(counts) * np.maximum(counts, 1)))[y]
    return 2 * np.eye(n_outputs)[y] - 1, weights


def ridge_inside(
    features: npt.NDArray[np.floating],
    y: Targets,
    fold: Labels,
    n_outputs: int,
    kind: TargetKind = "classes",
) -> Probe:
    """As `fit_inside`, by ridge regression."""
    ridge = Ridge.of(features, y, n_outputs, kind)
    chosen_by, some = ridge, evenly(y, MOST)
    if len(some) < len(y):  # errors of a fold cost the cube of its windows
        chosen_by, fold = Ridge.of(features[some], y[some], n_outputs, kind), fold[some]
    several = len(np.unique(fold)) > 1
    losses = [chosen_by.loss_left_out(penalty, fold) if several else 0.0 for penalty in RIDGES]
    return ridge.solved(RIDGES[int(np.argmin(losses))])


def ridge_path(
    features: npt.NDArray[np.floating],
    y: Targets,
    n_outputs: int,
    kind: TargetKind = "classes",
) -> list[Probe]:
    """A probe for each of `RIDGES`."""
    ridge = Ridge.of(features, y, n_outputs, kind)
    return [ridge.solved(penalty) for penalty in RIDGES]
