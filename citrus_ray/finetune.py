"""One fine-tune as a thing that can be advanced round by round, so that many can run in step."""

import copy
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch

from citrus_ray.checkpoint import CheckpointError, Weights
from citrus_ray.data import cache
from citrus_ray.data.normalize import Scale
from citrus_ray.data.splits import label_subset, split
from citrus_ray.data.windows import Index, Signal
from citrus_ray.metrics import score
from citrus_ray.models.encoder import Encoder
from citrus_ray.tasks.supervised import Classifier
from citrus_ray.train import seeded, shuffled, train
from citrus_ray.trial import Trial

EVAL_BATCH = 256


class Member:
    """A trial's fine-tune. `best` holds the validation metrics of the best round so far, which is the one kept."""

    def __init__(self, trial: Trial, weights: Weights | None, metric: str = "val/balanced_accuracy") -> None:
        self.trial, self.metric = trial, metric
        self.windows = cache.load(trial.finetune.target, trial.finetune.align)
        self.parts = split(self.windows, trial.finetune.split, trial.seed)
        self.labelled = label_subset(self.windows, self.parts.train, trial.finetune.labels, trial.seed)
        self.scale = Scale.of(self.windows.x, self.labelled)
        with seeded(trial.seed):
            encoder = trial.model.build(self.windows.context)
            if weights is not None:
                load_all(encoder, weights)
            self.classifier = Classifier(encoder, self.windows.context, trial.finetune.pool)
        if trial.finetune.mode == "frozen":
            encoder.requires_grad_(False)
        self.best: dict[str, float] = {}
        self._best_state = self.classifier.state_dict()
        self._rounds = self._train()

    def advance(self) -> dict[str, float] | None:
        """One round of training and a look at validation data; None when all rounds are done."""
        return next(self._rounds, None)

    def finish(self) -> None:
        """All rounds that are left."""
        for _ in self._rounds:
            pass

    def _train(self) -> Iterator[dict[str, float]]:
        spec = self.trial.finetune
        x, y = torch.from_numpy(self.signal(self.labelled)), torch.from_numpy(self.windows.labels[self.labelled])

        def loss_of(index: Index) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(self.classifier(x[index]), y[index])

        batches = shuffled(len(y), spec.optim.batch_size, np.random.default_rng([6, self.trial.seed]))
        losses = train(self.classifier, loss_of, batches, spec.optim, spec.steps, spec.rounds, self.trial.seed)
        for number, loss in enumerate(losses, start=1):
            metrics = {"round": float(number), "train/loss": loss} | self.score_val()
            if not self.best or metrics[self.metric] > self.best[self.metric]:
                self.best = metrics
                self._best_state = copy.deepcopy(self.classifier.state_dict())
            yield metrics

    def score_test(self) -> dict[str, float]:
        """The kept round's score on test data. Called once per reported number, after selection is over."""
        self.classifier.load_state_dict(self._best_state)
        return score_on_test(self, self.predict)

    def score_val(self) -> dict[str, float]:
        return score(self.windows.labels[self.parts.val], self.predict(self.parts.val), "val")

    @torch.no_grad()
    def predict(self, index: Index) -> npt.NDArray[np.floating]:
        """Logits (n, K) of the windows at `index`."""
        self.classifier.eval()
        parts = [index[i : i + EVAL_BATCH] for i in range(0, len(index), EVAL_BATCH)]
        return torch.cat([self.classifier(torch.from_numpy(self.signal(part))) for part in parts]).numpy()

    def signal(self, index: Index) -> Signal:
        """The windows at `index` as the network sees them, (n, C, T)."""
        return self.scale(self.windows.x[index])


def score_on_test(member: Member, predict: Callable[[Index], npt.NDArray[np.floating]]) -> dict[str, float]:
    """The one function that reads test labels, for networks and baselines alike. `predict` is decided by now."""
    test = member.parts.test
    return score(member.windows.labels[test], predict(test), "test")


def load_all(encoder: Encoder, weights: Weights) -> None:
    """Every parameter or none: a partly loaded encoder gives a wrong answer, not a warning."""
    own = encoder.state_dict()
    missing, extra = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    shape = [name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape]
    if missing or extra or shape:
        raise CheckpointError(
            f"encoder weights do not fit: missing {missing}, unexpected {extra}, other shape {sorted(shape)}"
        )
    encoder.load_state_dict(weights)
