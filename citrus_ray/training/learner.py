"""What a fine-tune is given, whatever learns from it: windows, who trains and tests, the labels
that it may see, and how it is scored."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from citrus_ray.context import SignalContext
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.splits import folds_inside, in_units, spend, split
from citrus_ray.data.windowing.view import View, fewer
from citrus_ray.data.windows import Index, Signal, Targets, Windows
from citrus_ray.experiment.trial import Trial
from citrus_ray.metrics import score, sign_of
from citrus_ray.spec import digest_of
from citrus_ray.store.checkpoint import Weights
from citrus_ray.store.predictions import TestOutputs
from citrus_ray.training.closed_form import (
    Probe,
    best_on,
    fit,
    fit_inside,
    ridge_inside,
    ridge_path,
)


class Reader:
    """Windows as a model sees them: those that one learns from, or those that a kept one is
    given."""

    windows: Windows
    view: View

    def signal(self, index: Index) -> Signal:
        """The windows at `index` as the network sees them, (n, C, T)."""
        return self.view(index)

    @property
    def context(self) -> SignalContext:
        """The facts of the windows that the model was built for."""
        return self.windows.context


class Learner(Reader, ABC):
    """A trial's share of windows and labels. Who inherits it learns from them round by round;
    `best` holds the metrics of what is kept."""

    _rounds: Iterator[dict[str, float]]
    pretrained: Weights | None = None  # of an encoder, for methods that read one
    on_test: npt.NDArray[np.floating] | None = None  # outputs (n, K), once they were scored

    def __init__(self, trial: Trial, metric: str) -> None:
        self.trial, self.metric = trial, metric
        spec = trial.finetune
        self.windows = in_units(cache.load(spec.target, spec.align), spec.split)
        self.parts, self.labelled = spend(  # labelled: those that are learnt from
            self.windows,
            split(self.windows, spec.split, trial.seed),
            spec.labels,
            spec.validation,
            trial.seed,
        )
        self.view = View.of(self.windows, self.labelled, trial.model.multimodal)
        self.best: dict[str, float] = {}

    @abstractmethod
    def predict(self, index: Index) -> npt.NDArray[np.floating]:
        """Logits (n, K), or values (n, 1), of the windows at `index`."""

    @abstractmethod
    def score_test(self) -> dict[str, float]:
        """The score on test data of what is kept. Called once per reported number, after selection
        is over."""

    def identity(self) -> dict[str, float]:
        """How much of an embedding is the subject, where there is an embedding."""
        return {}

    @cached_property
    def tested(self) -> dict[str, Any]:
        """Who is tested, by the names of a record: their digest and how many they are."""
        names = self.parts.who_is_tested(self.windows)
        return {"tested": digest_of(names), "n_tested": len(names)}

    def advance(self) -> dict[str, float] | None:
        """One round of training and a look at validation data; None when all rounds are done."""
        return next(self._rounds, None)

    def finish(self) -> None:
        """All rounds that are left."""
        for _ in self._rounds:
            pass

    def n_labelled(self) -> dict[str, int]:
        """How many windows show this trial their label, and what for."""
        return {"learnt": len(self.labelled), "chosen_by": len(self.parts.val)}

    def network(self) -> dict[str, Any]:
        """What there is of a network, by the names of a record."""
        return {}

    def score_val(self) -> dict[str, float]:
        """Scores by what the trial is chosen by, none where it is chosen by nothing."""
        val = self.parts.val
        return self.scores(val, self.predict(val), "val") if len(val) else {}

    def scores(
        self, index: Index, predicted: npt.NDArray[np.floating], split: str
    ) -> dict[str, float]:
        """Metrics of what was predicted of the windows at `index`."""
        windows = self.windows
        return score(windows.labels[index], predicted, split, windows.target, windows.classes)

    def scores_missing(self, predict: Callable[..., npt.NDArray[np.floating]]) -> dict[str, float]:
        """The metric on test data had some modalities not been recorded, by which, and the mean
        over all choices, by what `predict` says of windows without those that are `missing`."""
        name, found = self.metric.removeprefix("val/"), dict[str, float]()
        for missing in fewer(self.view.names):
            scores = score_on_test(self, partial(predict, missing=missing))
            found["+".join(missing)] = scores[f"test/{name}"]
        mean = {f"missing/{name}": float(np.mean(list(found.values())))} if found else {}
        return mean | {f"missing:{missing}/{name}": value for missing, value in found.items()}

    def is_better(self, one: dict[str, float], other: dict[str, float]) -> bool:
        """Whether metrics beat others, by what the trial is chosen by."""
        sign = sign_of(self.metric)
        return sign * one[self.metric] > sign * other[self.metric]

    def regression(
        self,
        features: Callable[[Index], npt.NDArray[np.floating]],
        y: Targets,
        n_outputs: int,
        among: Index | None = None,
        by_ridge: bool = False,
    ) -> Probe:
        """A regression from features to `y`, which holds all windows, on what this trial is given,
        or some of it (`among`): its penalty is chosen by a validation part where all of that is
        labelled, else inside the windows that are learnt from. Logistic of classes, unless ridge
        regression is asked for; values have no other."""
        learnt, val = self.labelled if among is None else among, self.parts.val
        x, kind = features(learnt), self.windows.target
        by_ridge = by_ridge or kind != "classes"
        if self.trial.finetune.validation == "full":
            chosen_by = features(val), y[val]
            if not by_ridge:
                return fit((x, y[learnt]), chosen_by, n_outputs, self.metric)
            return best_on(chosen_by, ridge_path(x, y[learnt], n_outputs, kind), self.metric, kind)
        strata = y if kind == "classes" else self.windows.strata
        fold = folds_inside(strata[learnt], self.windows.group[learnt])
        if not by_ridge:
            return fit_inside(x, y[learnt], fold, n_outputs)
        return ridge_inside(x, y[learnt], fold, n_outputs, kind)

    def outputs_on_test(self, index: Index) -> npt.NDArray[np.floating]:
        """What `predict` says of test windows, remembered to be kept."""
        self.on_test = self.predict(index)
        return self.on_test

    def test_outputs(self) -> TestOutputs:
        """What was scored on test data, window by window."""
        assert self.on_test is not None, "nothing was scored"
        target, test, windows = self.trial.finetune.target, self.parts.test, self.windows
        whole = cache.load(target)  # times are of windows as they were cut
        origins, rate = whole.origins, min(part.sfreq for part in whole.context.parts)
        known = origins is not None and not whole.are_pairs
        return TestOutputs(
            self.trial.digest(),
            windows.classes or (windows.target,),
            test,
            tuple(windows.groups[g] for g in windows.group[test]),
            origins.first[test] / rate if origins is not None and known else None,
            whole.context.seconds,
            windows.labels[test],
            self.on_test.astype(np.float32),
        )

    @abstractmethod
    def fitted(self) -> Any:
        """What predicts, as a part that can be kept: a function from places of windows to outputs
        (n, K). After selection is over."""


def score_on_test(
    learner: Learner, predict: Callable[[Index], npt.NDArray[np.floating]]
) -> dict[str, float]:
    """Scores on test data, for networks and baselines alike, of which `predict` is decided by now.
    The one function that reads test labels."""
    test = learner.parts.test
    return learner.scores(test, predict(test), "test")
