"""Fine-tunes that are advanced round by round, so that many can run in step."""

import copy
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from citrus_ray.data.windowing.normalize import SAMPLE, some
from citrus_ray.data.windowing.subjects import by_subject, check_subjects
from citrus_ray.data.windows import Index
from citrus_ray.experiment.trial import EVAL_BATCH, End, Trial
from citrus_ray.models.nets.arrival import arrivals
from citrus_ray.models.nets.classifier import Classifier
from citrus_ray.models.nets.heads import FeatureHead
from citrus_ray.models.nets.low_rank import LowRank
from citrus_ray.store.checkpoint import Weights
from citrus_ray.training.identity import MOST, Centres, subject_share
from citrus_ray.training.learner import Learner, Reader, score_on_test
from citrus_ray.training.loading import load_encoder
from citrus_ray.training.loop import (
    LossOf,
    ParameterGroup,
    Training,
    balanced,
    edges,
    seeded,
    shuffled,
)
from citrus_ray.training.portable import Blueprint, Network
from citrus_ray.training.targets import Taught, TaughtClasses, taught

Losses = Generator[float, None, None]  # the mean loss of each round of training


@dataclass(frozen=True)
class Examples:
    """Labelled windows that a member learns from."""

    x: torch.Tensor  # (n, C, T), or the features (n, F) of a frozen encoder
    y: torch.Tensor  # (n,), or (n, K)
    weights: torch.Tensor  # (K,), of each class


@dataclass
class Plateau:
    """Whether the loss on labelled windows still falls, round by round."""

    end: End
    nothing: float  # loss of a head that says nothing
    lowest: float = float("inf")
    n_since: int = 0  # rounds since it fell

    def falls(self, loss: float) -> bool:
        """Take in the loss of a round."""
        fell = self.lowest - loss > self.end.tolerance * self.nothing
        self.lowest, self.n_since = min(self.lowest, loss), 0 if fell else self.n_since + 1
        return fell

    @property
    def is_over(self) -> bool:
        return self.n_since >= self.end.patience


class Member(Learner):
    """A trial's fine-tune. `best` holds the metrics of the weights that are kept: of the best round
    so far beside a fully labelled validation part; else of the round just done, and at the end
    those of the mean over the last rounds."""

    def __init__(
        self,
        trial: Trial,
        weights: Weights | None,
        metric: str = "val/balanced_accuracy",
        device: str = "cpu",
    ) -> None:
        super().__init__(trial, metric)
        self.device, spec = torch.device(device), trial.finetune
        self.blueprint = Blueprint(
            trial.model, self.context, spec.pool, spec.head, spec.subjects == "erase"
        )
        with seeded(trial.seed):
            self.classifier = self.blueprint.classifier()
        encoder, self._starts_from = self.classifier.encoder, weights
        self.not_loaded = (
            load_encoder(self.classifier, encoder, weights) if weights is not None else {}
        )
        self.classifier.to(self.device)
        self.frozen = spec.mode in ("frozen", "probe")
        self._centres: Centres | None = None
        if spec.subjects != "keep":
            check_subjects(self.windows, self.parts, spec.subjects)
        if spec.subjects == "recentre":
            self._centres = Centres(self.windows, self.parts.train, self._pooled)
        self._fit()
        self._seen: dict[bytes, torch.Tensor] = {}  # features of a frozen encoder, by windows
        self.losses: Losses | None = None  # who trains it, round by round; by default itself
        # before anyone takes up the weights to train them
        if spec.head_init == "solved" and spec.mode != "probe":
            self._solve_head()
        self._n_rounds = 0  # that were done
        self.low_rank: LowRank | None = None
        if spec.mode == "lora":
            lora, lot = spec.lora, torch.Generator().manual_seed(trial.seed)
            chosen = (lora.rank, lora.alpha, lora.targets, lot)
            self.low_rank = LowRank(self.classifier, encoder, *chosen)
        self._best_state = self.classifier.state_dict()
        self._rounds = self._solve() if trial.finetune.mode == "probe" else self._train()

    def _fit(self) -> None:
        """What the classifier takes from windows before anything is learnt."""
        classifier, learnt = self.classifier, some(self.labelled)
        if classifier.parts is None and classifier.erasure is None:
            return
        known = by_subject(self.windows, self.parts.train, SAMPLE)
        subject = torch.from_numpy(self.windows.group[known]).to(self.device)
        labelled = [self._tensor(part) for part in _pieces(learnt)]
        classifier.fit(labelled, (self._tensor(part) for part in _pieces(known)), subject)
        if self._centres is not None and isinstance(classifier.head, FeatureHead):
            classifier.head.fit(self._features(learnt))

    def _train(self) -> Iterator[dict[str, float]]:
        with closing(self.losses or self._alone()) as losses:
            spec = self.trial.finetune
            chosen = spec.validation == "full" and not spec.average
            yield from self._best_round(losses) if chosen else self._all_rounds(losses)

    def _best_round(self, losses: Losses) -> Iterator[dict[str, float]]:
        """Rounds until all are done, or patience is over; the best on validation data is kept. A
        head that was solved is a round before the first, which nobody waits for."""
        if self.trial.finetune.head_init == "solved":
            self.best = self._scored_at_start(0)
            self._best_state = copy.deepcopy(self.classifier.state_dict())
        plateau = self._plateau()
        for number, loss in enumerate(losses, start=1):
            self._n_rounds = number
            metrics = {"round": float(number), "train/loss": loss} | self.score_val()
            if not self.best or self.is_better(metrics, self.best):
                self.best = metrics
                self._best_state = copy.deepcopy(self.classifier.state_dict())
            yield metrics
            patience = self.trial.finetune.patience
            if patience and number - self.best["round"] >= patience:
                return
            if plateau is not None and not plateau.falls(loss) and plateau.is_over:
                return

    def _all_rounds(self, losses: Losses) -> Iterator[dict[str, float]]:
        """All rounds, or those until nothing more is learnt; the mean of the weights over the ends
        of the last third of them, or of those in which nothing was, is kept, and scored in place of
        the last."""
        n_rounds, plateau = self.trial.finetune.rounds, self._plateau()
        n_before, mean, n_in = n_rounds - -(-n_rounds // 3), dict[str, torch.Tensor](), 0
        for number, loss in enumerate(losses, start=1):
            self._n_rounds = number
            falls = plateau is None or plateau.falls(loss)
            n_in = 1 if falls and number <= n_before + 1 else n_in + 1
            _take_in(mean, self.classifier.state_dict(), n_in)
            is_last = number == n_rounds or (plateau is not None and plateau.is_over)
            if is_last:
                self.classifier.load_state_dict(mean)
                self._best_state = mean
            self.best = {"round": float(number), "train/loss": loss} | self.score_val()
            yield self.best
            if is_last:
                return

    def _plateau(self) -> Plateau | None:
        """What tells where training ends before all its steps are done, None where nothing does."""
        spec, known = self.trial.finetune, self.examples
        if spec.end is None:
            return None
        silent = torch.zeros(len(known.y), self.windows.n_outputs, device=self.device)
        nothing = self.taught.loss(silent, known.y, known.weights, spec.smoothing)
        return Plateau(spec.end, float(nothing))

    def _alone(self) -> Losses:
        """Training with nobody else; yields the mean loss of each round."""
        spec, module = self.trial.finetune, self.classifier.head if self.frozen else self.classifier
        rounds = Training(
            module,
            self._loss(),
            self.batches(),
            spec.optim,
            spec.n_steps(len(self.labelled)),
            spec.rounds,
            self.trial.seed,
            self.parameter_groups(),
        ).rounds()
        for loss in rounds:
            if self.low_rank is not None:  # what is scored and kept has it in its own weights
                self.low_rank.write()
            yield loss

    def batches(self) -> Iterator[Index]:
        """Places among the labelled windows, a batch at a time."""
        rng, spec = np.random.default_rng([6, self.trial.seed]), self.trial.finetune
        if spec.sampling == "balanced" and spec.uses("sampling"):
            return balanced(self.windows.labels[self.labelled], spec.optim.batch_size, rng)
        return shuffled(len(self.labelled), spec.optim.batch_size, rng)

    def _solve(self) -> Iterator[dict[str, float]]:
        """The one round of a probe: the penalty that does best on what it may be chosen by, and
        nothing drawn by lot."""
        self._solve_head()
        self.best = self._scored_at_start(1)
        self._best_state = copy.deepcopy(self.classifier.state_dict())
        yield self.best

    def _solve_head(self) -> None:
        """Put the regression from the encoder's features, as it is now, into the head."""
        probe = self.regression(self._normed, self.windows.labels, self.windows.n_outputs)
        weights, bias = self.taught.of_outputs(*probe.plain())
        linear = self.classifier.head.linear
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weights.T))
            linear.bias.copy_(torch.from_numpy(bias))

    def _scored_at_start(self, number: int) -> dict[str, float]:
        """The metrics of a head that was solved and has taken no step."""
        outputs = torch.from_numpy(self._outputs(self.labelled))
        even = torch.ones(self.windows.n_outputs)
        loss = self.taught.loss(outputs, self.examples.y.cpu(), even)
        return {"round": float(number), "train/loss": float(loss)} | self.score_val()

    def _normed(self, index: Index) -> npt.NDArray[np.floating]:
        """(n, F): what the head's linear layer sees of the encoder as it is."""
        features = self._inputs(index) if self.frozen else self._features(index)
        return np.asarray(self.classifier.head.norm(features).cpu().numpy())

    @cached_property
    def examples(self) -> "Examples":
        """The labelled windows, and what each class counts."""
        y = self.taught.tensor(self.windows.labels[self.labelled]).to(self.device)
        n = self.windows.n_outputs
        even = self.trial.finetune.class_weights == "none"
        weights = torch.ones(n, device=self.device) if even else self.taught.weights(y, n)
        return Examples(self._inputs(self.labelled), y, weights)

    @cached_property
    def taught(self) -> Taught:
        """How its kind of target is learnt."""
        return taught(self.windows, self.labelled)

    def _loss(self) -> LossOf:
        """The loss on the labelled windows, weighted, mixed and lacking as the spec says."""
        spec, seed = self.trial.finetune, self.trial.seed
        mixing, dropping = np.random.default_rng([7, seed]), np.random.default_rng([8, seed])
        augmenting = np.random.default_rng([15, seed])
        x, y = self.examples.x, self.examples.y
        loss = partial(self.taught.loss, weights=self.examples.weights, smoothing=spec.smoothing)

        def loss_of(index: Index) -> torch.Tensor:
            inputs = x[index]  # (B, C, T), or (B, F)
            if spec.augment:
                inputs = self._augmented(inputs, augmenting)
            if spec.mixup:
                share, order = mixing.beta(spec.mixup, spec.mixup), mixing.permutation(len(index))
                inputs, other = share * inputs + (1 - share) * inputs[order], index[order]
            if spec.drop_modality:
                # after mixing: the other window would put back what this one is to lack
                inputs = self._dropped(inputs, dropping)
            logits = self._logits(inputs)  # (B, K)
            if not spec.mixup:
                return loss(logits, y[index])
            return share * loss(logits, y[index]) + (1 - share) * loss(logits, y[other])

        return loss_of

    def _augmented(self, x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Windows (B, C, T) as the spec's augmentations change them, each stream by itself, and
        padding left as it is."""
        out, first = x.clone(), 0
        before, after = self.windows.padding
        for n_chans, n_times in (array.shape[1:] for array in self.view.arrays):
            of_stream = np.s_[:, first : first + n_chans, before : n_times - after]
            for augmentation in self.trial.finetune.augment:
                out[of_stream] = augmentation(out[of_stream], rng, self.view.blank)
            first += n_chans
        return out

    def _dropped(self, x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """The windows without modalities that are drawn anew every time."""
        gone = torch.from_numpy(self.view.drawn(len(x), self.trial.finetune.drop_modality, rng))
        return x.masked_fill(gone[..., None].to(x.device), self.view.blank)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The head at the full rate, the encoder slower from depth to depth, and later, as the spec
        says."""
        spec, head = self.trial.finetune, ParameterGroup(list(self.classifier.head.parameters()))
        if self.frozen:
            return [head]
        depths = self.classifier.encoder.depths()
        wait = round(spec.head_first * spec.n_steps(len(self.labelled)))
        if self.low_rank is not None:
            change = [p for p in self.low_rank.parameters() if p.numel()]
            return [head, ParameterGroup(change, spec.encoder_rate, wait)]
        encoder = [
            ParameterGroup(
                list(depth.parameters()),
                spec.encoder_rate * spec.layer_decay ** (len(depths) - i),
                wait,
                spec.anchor,
            )
            for i, depth in enumerate(depths)
        ]
        return [head, *encoder]

    def network(self) -> dict[str, Any]:
        spec = self.trial.finetune
        trained = {id(p): p.numel() for of in self.parameter_groups() for p in of.parameters}
        n_steps = spec.n_steps(len(self.labelled))
        return {
            "parameters": sum(p.numel() for p in self.classifier.parameters()),
            "trained": sum(trained.values()),
            "reads": self.trial.model.reads(self.context),
            "weights": arrivals(self.classifier.encoder),
            "steps": edges(n_steps, spec.rounds)[self._n_rounds],
        }

    def score_test(self) -> dict[str, float]:
        """The kept weights' score on test data. Called once per reported number, after selection is
        over."""
        self.classifier.load_state_dict(self._best_state)
        return score_on_test(self, self.outputs_on_test) | self.scores_missing(self.predict)

    def fitted(self) -> "Votes":
        """The kept weights, as they were scored on test data."""
        self.classifier.load_state_dict(self._best_state)
        middle = None if self._centres is None else self._centres.middle()
        network = Network(self.blueprint, self.classifier)
        return Votes(self, network, middle, self.taught)

    def predict(self, index: Index, missing: Sequence[str] = ()) -> npt.NDArray[np.floating]:
        """Logits (n, K), or values (n, 1), of the windows at `index`, as they are or without some
        modalities."""
        return self.taught.predicted(self._outputs(index, missing))

    @torch.no_grad()
    def _outputs(self, index: Index, missing: Sequence[str] = ()) -> npt.NDArray[np.floating]:
        """(n, K): what the network's head says."""
        self.classifier.eval()
        inputs = partial(self._lacking, missing=missing) if missing else self._inputs
        return torch.cat([self._logits(inputs(part)) for part in _pieces(index)]).cpu().numpy()

    def _lacking(self, index: Index, missing: Sequence[str]) -> torch.Tensor:
        return self._features(index, missing) if self.frozen else self._tensor(index, missing)

    def _logits(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.frozen:
            return self.classifier.head.classify(inputs)
        if self.low_rank is not None and self.classifier.training:
            return self.low_rank(self.classifier, inputs)
        return self.classifier(inputs)  # type: ignore[no-any-return]

    def _inputs(self, index: Index) -> torch.Tensor:
        """What is trained on: signals (n, C, T), or the features (n, F) of a frozen encoder,
        computed once."""
        if not self.frozen:
            return self._tensor(index)
        key = index.tobytes()
        if key not in self._seen:
            self._seen[key] = self._features(index)
        return self._seen[key]

    def _features(self, index: Index, missing: Sequence[str] = ()) -> torch.Tensor:
        """(n, F): what the encoder, as it is, gives the head."""
        self.classifier.eval()
        found = self._pooled(index, missing)
        if self._centres is None:
            return found
        return self._centres.taken_from(found, index, tuple(missing))

    @torch.no_grad()
    def _pooled(self, index: Index, missing: Sequence[str] = ()) -> torch.Tensor:
        parts = (self._tensor(part, missing) for part in _pieces(index))
        return torch.cat([self.classifier.features(x) for x in parts])

    def _tensor(self, index: Index, missing: Sequence[str] = ()) -> torch.Tensor:
        x = self.signal(index)
        return torch.from_numpy(self.view.without(x, missing) if missing else x).to(self.device)

    def features(self, index: Index) -> npt.NDArray[np.float64]:
        """(n, F): what the head is given, of the encoder as it is."""
        return np.asarray(self._features(index).double().cpu().numpy())

    def identity(self) -> dict[str, float]:
        """How much of the pooled features of training windows is the subject: of the encoder as
        the fine-tune starts with it, and of one of the same shape that was never trained."""
        known = by_subject(self.windows, self.parts.train, MOST)
        model, ctx = self.trial.model, self.windows.context
        with seeded(self.trial.seed):
            plain = Classifier(model.untrained().build(ctx), ctx, self.trial.finetune.pool)
        share = partial(self._subject_share, plain.to(self.device).eval(), known)
        start = untrained = share()
        if untrained is not None and (self._starts_from is not None or model.checkpoints()):
            encoder = model.build(ctx).to(self.device)
            if self._starts_from is not None:
                load_encoder(plain, encoder, self._starts_from)
            plain.encoder.load_state_dict(encoder.state_dict())
            start = share()
        found = {"identity/start": start, "identity/untrained": untrained}
        return {name: value for name, value in found.items() if value is not None}

    @torch.no_grad()
    def _subject_share(self, plain: Classifier, known: Index) -> float | None:
        if not len(known):
            return None
        found = torch.cat([plain.features(self._tensor(part)) for part in _pieces(known)])
        return subject_share(found.cpu().numpy(), self.windows.group[known])


@dataclass(frozen=True)
class Votes:
    """Logits (n, K), or values (n, 1), of windows by a network that learns no more."""

    reader: Reader
    network: Network
    # (F,): where features of training subjects lie, if each subject's mean is taken to it
    middle: torch.Tensor | None = None
    taught: Taught = field(default_factory=TaughtClasses)

    @torch.no_grad()
    def __call__(self, index: Index) -> npt.NDArray[np.floating]:
        classifier = self.network.classifier.eval()
        if self.middle is None:
            found = [classifier(self._tensor(part)) for part in _pieces(index)]
        else:
            centres = Centres(self.reader.windows, index[:0], self._pooled, self.middle)
            pooled = ((self._pooled(part), part) for part in _pieces(index))
            moved = (centres.taken_from(features, part, ()) for features, part in pooled)
            found = [classifier.head.classify(features) for features in moved]
        return self.taught.predicted(torch.cat(found).cpu().numpy())

    def _pooled(self, index: Index, missing: Sequence[str] = ()) -> torch.Tensor:
        features = self.network.classifier.features
        return torch.cat([features(self._tensor(part)) for part in _pieces(index)])

    def _tensor(self, index: Index) -> torch.Tensor:
        at = next(self.network.classifier.parameters()).device
        return torch.from_numpy(self.reader.signal(index)).to(at)


def _take_in(mean: Weights, state: Weights, n: int) -> None:
    """Make the mean of n - 1 states that of n; what did not change stays as it is, bit for bit."""
    for name, value in state.items():
        if n == 1 or not value.is_floating_point():
            mean[name] = value.clone()
        else:
            mean[name].lerp_(value, 1 / n)


def _pieces(index: Index) -> Iterator[Index]:
    return (index[i : i + EVAL_BATCH] for i in range(0, len(index), EVAL_BATCH))
