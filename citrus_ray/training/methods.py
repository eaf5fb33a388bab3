"""Methods without a network, solved in closed form on what a trial is given: as arms of a sweep,
and as baselines beside every final."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from citrus_ray.context import TargetKind
from citrus_ray.data.windowing.view import filled
from citrus_ray.data.windows import Index, Signal
from citrus_ray.experiment.trial import Trial
from citrus_ray.models.specs import Bag, BandPower, ClosedForm, MiniRocket, OfSensors, Tangent
from citrus_ray.spec import locate
from citrus_ray.store.checkpoint import Weights
from citrus_ray.training.closed_form import Floats, Probe, Scaler
from citrus_ray.training.covariance import TangentFeatures
from citrus_ray.training.learner import Learner, Reader, score_on_test
from citrus_ray.training.minirocket import MiniRocketFeatures
from citrus_ray.training.scalars import scalars

Predict = Callable[[Index], npt.NDArray[np.floating]]  # windows -> logits (n, K), values (n, 1)
Features = Callable[[Signal], npt.NDArray[np.floating]]  # (B, C, T) -> (B, F)

# numbers in a block of windows: 32 MB, whatever their length and however many there are
BLOCK = 1 << 22
# delta, theta, alpha, beta and gamma of EEG at 128 Hz, as shares of the Nyquist rate: 4, 8, 13, 30
# of 64 Hz
BAND_EDGES = (0.0, 4 / 64, 8 / 64, 13 / 64, 30 / 64, 1.0)
# of the median power in training windows: silence has a logarithm, but is no outlier without end
FLOOR = 1e-6
FIT_MOST = 512  # windows that kernels, and the mean of covariances, are fitted to
NEVER = 1e-3  # chance of a class that no tree votes for, which has a logarithm


class Solved(Learner):
    """A trial whose model is a method: one round, in which it is solved."""

    def __init__(
        self,
        trial: Trial,
        metric: str = "val/balanced_accuracy",
        pretrained: Weights | None = None,
    ) -> None:
        super().__init__(trial, metric)
        self.pretrained = pretrained
        self._predict: Predict | None = None
        self._rounds = self._solve()

    def _solve(self) -> Iterator[dict[str, float]]:
        assert isinstance(self.trial.model, ClosedForm)
        self._predict = solve(self, self.trial.model)
        self.best = {"round": 1.0} | self.score_val()
        yield self.best

    def predict(self, index: Index) -> npt.NDArray[np.floating]:
        assert self._predict is not None, "nothing is solved before the first round"
        return self._predict(index)

    def score_test(self) -> dict[str, float]:
        whole = score_on_test(self, self.outputs_on_test)
        if isinstance(self._predict, Sensed):
            return whole | self.scores_missing(self._predict)
        return whole | self._without_each()

    def fitted(self) -> Predict:
        assert self._predict is not None, "nothing is solved before the first round"
        return self._predict

    def _without_each(self) -> dict[str, float]:
        """The metric on test data had there not been one of several views, by which."""
        if not isinstance(self._predict, OfViews) or len(self._predict.names) < 2:
            return {}
        name, found = self.metric.removeprefix("val/"), dict[str, float]()
        for view in self._predict.names:
            scores = score_on_test(self, partial(self._predict.without, view))
            found[f"without:{view}/{name}"] = scores[f"test/{name}"]
        return found


@runtime_checkable
class OfViews(Protocol):
    """A prediction that several views of a window make together."""

    names: Sequence[str]

    def without(self, view: str | None, index: Index) -> npt.NDArray[np.floating]:
        """Logits had there not been that view."""
        ...


def solve(learner: Learner, spec: ClosedForm) -> Predict:
    """What a method makes of the labelled windows of `learner`."""
    return locate(spec.method)(learner, spec)  # type: ignore[no-any-return]


def band_power(learner: Learner, spec: BandPower) -> Predict:
    """Log power of each channel in five bands of the Nyquist rate."""
    return regression(learner, log_of(learner, powers_in_bands))


def tangent(learner: Learner, spec: Tangent) -> Predict:
    """Logarithms of covariances of channels and delayed copies, and logistic regression."""
    learnt = even_share(learner, spec.most_windows)
    found = TangentFeatures.of(recorded(learner, some_of(learner, learnt)), spec.delays)
    return regression(learner, of_recorded(learner, found), learnt)


def minirocket(learner: Learner, spec: MiniRocket) -> Predict:
    """Shares of positive values of MiniRocket's kernels, and ridge regression."""
    learnt, rng = even_share(learner, spec.most_windows), rng_of(learner, 15)
    some = recorded(learner, some_of(learner, learnt))
    kernels = MiniRocketFeatures.of(some, spec.n_kernels, rng)
    return ridge(learner, of_recorded(learner, kernels), learnt)


def bag(learner: Learner, spec: Bag) -> Predict:
    """25 scalars a channel, and extremely randomised trees, every class counting the same."""
    learnt, features = even_share(learner, spec.most_windows), of_recorded(learner, scalars)
    described = FeaturesAt(learner, features)
    found = described(learnt)
    scaler = Scaler.of(found)  # what is constant but for rounding tells nothing
    forest = Forest.of(scaler(found), learnt, learner, spec.trees, learner.trial.seed)
    return Polled(described, scaler, forest, learner.windows.target)


def scalars_of_sensors(learner: Learner, spec: OfSensors) -> Predict:
    """25 scalars of each channel of every sensor, and logistic regression."""
    bare = ScalarsAt(learner, np.full(1, np.nan))
    seen = bare(learner.labelled)
    known = np.isfinite(seen)
    typical = np.where(known, seen, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    at = ScalarsAt(learner, typical)
    y, n_outputs = learner.windows.labels, learner.windows.n_outputs
    return Sensed(at, learner.regression(at, y, n_outputs))


@dataclass(frozen=True)
class ScalarsAt:
    """25 scalars a channel (n, F) of windows by their places, of all streams; those of a channel
    that is absent, or `missing`, are the typical ones."""

    reader: Reader
    typical: Floats  # (F,)

    def __call__(self, index: Index, missing: Sequence[str] = ()) -> Floats:
        return np.concatenate([self._of(part, missing) for part in parts(self.reader, index)])

    def _of(self, index: Index, missing: Sequence[str]) -> Floats:
        x = self.reader.view.without(self.reader.signal(index), missing)
        found, first = list[Floats](), 0
        for n_chans, n_times in (array.shape[1:] for array in self.reader.view.arrays):
            own = x[:, first : first + n_chans, :n_times]
            own = _without(self.reader.windows.padding, own)
            absent = np.isnan(own[..., 0])  # (B, C): a channel is, for all of a window
            described = scalars(np.nan_to_num(own)).reshape(len(x), -1, n_chans)
            found.append(np.where(absent[:, None], np.nan, described).reshape(len(x), -1))
            first += n_chans
        known = np.concatenate(found, axis=1)
        return np.where(np.isnan(known), self.typical, known)


@dataclass(frozen=True)
class Sensed:
    """Logits, or values, of windows by a regression on what sensors say that are there."""

    of: ScalarsAt
    probe: Probe

    def __call__(self, index: Index, missing: Sequence[str] = ()) -> Floats:
        return self.probe(self.of(index, missing))


def said(votes: Floats, never: float, target: TargetKind) -> Floats:
    """Votes (n, K) as what is predicted: log of probabilities, of which `never` is the least, or
    values as they are."""
    if target == "labels":
        return np.asarray(np.log(votes + never) - np.log(1 - votes + never))
    return np.asarray(votes if target == "value" else np.log(votes + never))


@dataclass(frozen=True)
class Forest:
    """Extremely randomised trees, every class counting the same: features (n, F) -> votes (n, K),
    those of a class that none has seen 0; or values (n, 1). The nodes of all trees stand one after
    the other."""

    roots: Index  # (t,), the node that each tree begins with
    feature: Index  # (N,), what a node asks for; -1 in a leaf
    threshold: Floats  # (N,): at most that goes on with `low`, more with `high`
    low: Index  # (N,)
    high: Index  # (N,)
    votes: Floats  # (N, K)

    @classmethod
    def of(cls, x: Floats, index: Index, learner: Learner, n_trees: int, seed: int) -> "Forest":
        from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor  # a second to load

        y, n_outputs = learner.windows.labels[index], learner.windows.n_outputs
        how = {"random_state": seed, "n_jobs": 1}
        if learner.windows.target == "classes":
            forest = ExtraTreesClassifier(n_trees, class_weight="balanced", **how).fit(x, y)
            seen = forest.classes_
        else:  # a third of the features at each split, as is usual of values
            forest = ExtraTreesRegressor(n_trees, max_features=1 / 3, min_samples_leaf=3, **how)
            seen = np.arange(n_outputs)
            forest.fit(x, y)
        trees = [one.tree_ for one in forest.estimators_]
        roots = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1]
        moved = list(zip(trees, roots, strict=True))
        votes = np.zeros((sum(tree.node_count for tree in trees), n_outputs))
        votes[:, seen] = np.concatenate([tree.value.reshape(len(tree.value), -1) for tree in trees])
        return cls(
            roots,
            np.maximum(np.concatenate([tree.feature for tree in trees]), -1),
            np.concatenate([tree.threshold for tree in trees]),
            np.concatenate([tree.children_left + root for tree, root in moved]),
            np.concatenate([tree.children_right + root for tree, root in moved]),
            votes,
        )

    def __call__(self, x: Floats) -> Floats:
        """Mean votes, added tree by tree as scikit-learn adds them."""
        return np.concatenate([self._mean(part) for part in pieces(x, 1024)])

    def _mean(self, x: Floats) -> Floats:
        narrow = x.astype(np.float32)  # as the thresholds were drawn on
        rows = np.arange(len(x))[:, None]
        node = np.tile(self.roots, (len(x), 1))  # (n, t)
        while (asks := self.feature[node] >= 0).any():
            below = narrow[rows, self.feature[node]] <= self.threshold[node]
            node = np.where(asks, np.where(below, self.low[node], self.high[node]), node)
        total = np.zeros((len(x), self.votes.shape[1]))
        for leaf in node.T:
            total += self.votes[leaf]
        return total / len(self.roots)


@dataclass(frozen=True)
class Polled:
    """Votes of a forest on features, as what is predicted."""

    described: "FeaturesAt"
    scaler: Scaler
    forest: Forest
    target: TargetKind = "classes"

    def __call__(self, index: Index) -> Floats:
        return said(self.forest(self.scaler(self.described(index))), NEVER, self.target)


# ---- regression on features ----


def regression(learner: Learner, features: Features, among: Index | None = None) -> Predict:
    """On the labelled windows, or some of them, its penalty chosen by what chooses the trial."""
    return of_index(learner, FeaturesAt(learner, features), among)


def ridge(learner: Learner, features: Features, among: Index) -> Predict:
    """Ridge regression on some of the labelled windows, its penalty chosen likewise: for thousands
    of features, as all penalties cost one decomposition."""
    return of_index(learner, FeaturesAt(learner, features), among, by_ridge=True)


def of_index(
    learner: Learner, of: Predict, among: Index | None = None, by_ridge: bool = False
) -> Predict:
    """The same, on features that are not of the signal alone."""
    y, n_outputs = learner.windows.labels, learner.windows.n_outputs
    return Probed(of, learner.regression(of, y, n_outputs, among, by_ridge))


@dataclass(frozen=True)
class Probed:
    """Logits, or values, of windows by a regression on what is known of them."""

    of: Predict
    probe: Probe

    def __call__(self, index: Index) -> Floats:
        return self.probe(self.of(index))


@dataclass(frozen=True)
class FeaturesAt:
    """Features (n, F) of windows by their places."""

    reader: Reader
    features: Features

    def __call__(self, index: Index) -> npt.NDArray[np.floating]:
        return over(self.reader, self.features, index)


# ---- features ----


def powers_in_bands(x: Signal) -> Floats:
    """(B, C, T) -> (B, C * up to 5): mean squared spectrum in each band. A band that holds no
    frequency of so short a window is left out, and so is the mean of the window."""
    spectrum = np.abs(np.fft.rfft(x.astype(np.float64), axis=-1)[..., 1:]) ** 2
    share = np.fft.rfftfreq(x.shape[-1], 0.5)[1:]  # of the Nyquist rate
    band = np.searchsorted(BAND_EDGES[1:-1], share)
    found = [spectrum[..., band == b].mean(axis=-1) for b in np.unique(band)]
    return np.concatenate(found, axis=1) if found else np.zeros((len(x), 0))


def log_of(learner: Learner, powers: Callable[[Signal], Floats]) -> Features:
    """Log of powers of what was recorded, floored where there is silence."""
    seen = over(learner, of_recorded(learner, powers), learner.labelled)
    seen[seen == 0] = np.nan
    silent = np.isnan(seen).all(axis=0)
    floor = np.where(silent, 1.0, FLOOR * np.nanmedian(np.where(silent, 1.0, seen), axis=0))
    return of_recorded(learner, LogPowers(powers, floor))


@dataclass(frozen=True)
class LogPowers:
    """Log of powers (B, F), none below its floor."""

    powers: Callable[[Signal], Floats]
    floor: Floats  # (F,)

    def __call__(self, x: Signal) -> Floats:
        return np.asarray(np.log(np.maximum(self.powers(x), self.floor)))


# ---- windows ----


def even_share(learner: Learner, most: int) -> Index:
    """At most `most` of the labelled windows, classes as even as they can be."""
    labelled, rng = learner.labelled, rng_of(learner, 14)
    if len(labelled) <= most:
        return labelled
    order = rng.permutation(labelled)
    y, turn = learner.windows.strata[order], np.empty(len(order), dtype=np.int64)
    for k in np.unique(y):
        turn[y == k] = np.arange((y == k).sum())
    return np.sort(order[np.argsort(turn, kind="stable")[:most]])


def some_of(learner: Learner, index: Index, most: int = FIT_MOST) -> Index:
    """At most so many of the windows, evenly spread."""
    places = np.linspace(0, len(index) - 1, min(most, len(index))).astype(int)
    return np.asarray(index[places])


def recorded(learner: Learner, index: Index) -> Signal:
    """What was recorded of windows (n, C, T), without padding."""
    return _without(learner.windows.padding, filled(learner.signal(index)))


def of_recorded(learner: Learner, features: Features) -> Features:
    """Of what was recorded, without the zeros that alignment put before and after it."""
    return Unpadded(features, learner.windows.padding)


@dataclass(frozen=True)
class Unpadded:
    """Features of windows (B, C, T) without samples at both ends that are no signal."""

    features: Features
    padding: tuple[int, int]

    def __call__(self, x: Signal) -> npt.NDArray[np.floating]:
        return self.features(_without(self.padding, x))


def _without(padding: tuple[int, int], x: Signal) -> Signal:
    before, after = padding
    return x[..., before : x.shape[-1] - after]


def rng_of(learner: Learner, what: int) -> np.random.Generator:
    return np.random.default_rng([what, learner.trial.seed])


def over(reader: Reader, features: Features, index: Index) -> npt.NDArray[np.floating]:
    return np.concatenate([features(x) for x in blocks(reader, index)])


def blocks(reader: Reader, index: Index) -> Iterator[Signal]:
    """The windows at `index`, read from the memory map a block at a time."""
    return (filled(reader.signal(part)) for part in parts(reader, index))


def parts(reader: Reader, index: Index) -> Iterator[Index]:
    rows = max(1, BLOCK // int(np.prod(reader.windows.x.shape[1:])))
    # no more rows than this: the distances between two blocks are bounded too
    return pieces(index, min(rows, 2048))


def pieces(items: npt.NDArray[Any], size: int) -> Iterator[npt.NDArray[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))
