"""Views of windows, a small head each, and the mean of their votes.

A view is standardised on windows of training people, labelled or not, and weighed by its size, so
that thousands of numbers do not drown ten. Heads of several members are trained as one stack of
matrices; each member leaves a fold of the labelled windows out, and on these the weights of views
are chosen: no window chooses by a head that learnt from it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax
from torch import nn

from citrus_ray.context import TargetKind
from citrus_ray.data.windowing.splits import folds_inside
from citrus_ray.data.windows import Index, Targets
from citrus_ray.models.views import Trees, Views, ViewSpec
from citrus_ray.spec import locate
from citrus_ray.training.closed_form import (
    RIDGES,
    Floats,
    Labels,
    Probe,
    Ridge,
    Scaler,
    cross_entropies,
)
from citrus_ray.training.learner import Learner, Reader
from citrus_ray.training.loop import balanced, seeded
from citrus_ray.training.methods import Features, Forest, even_share, over, said, some_of
from citrus_ray.training.targets import Taught, taught

Votes = npt.NDArray[np.float64]  # (V, n, K): probabilities by each view

SCALED_BY = 2048  # windows of training people that a view is put on one scale by
CLIP = 6.0  # of a standardised number
FEW = 64  # numbers of a view that weigh in full
MOST = 512  # numbers of a view that its head reads; of more, principal axes
ROUNDS = 20  # of choosing a view, with replacement
NEVER = 1e-6  # chance of a class, which has a logarithm
RIDGE_MOST = 4096  # labelled windows that a ridge is solved on
USUAL = 0.1  # penalty of a ridge where nothing can choose it
SHARP = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)  # what a ridge's outputs, -1 to 1, are times


def views(learner: Learner, spec: Views) -> "Ensemble":
    """What the views' heads make of the labelled windows of `learner`."""
    learnt, y, folds = learner.labelled, learner.windows.labels, _folds(learner, spec)
    with seeded(learner.trial.seed):
        voters = [locate(view.voter).learnt(view, spec, learner, folds) for view in spec.of]
    ensemble = Ensemble(spec.names, voters, learner.windows.target)
    if spec.votes == "plain":
        return ensemble
    if learner.trial.finetune.validation == "full":
        val = learner.parts.val
        ensemble.chosen_on = ensemble.votes(val), y[val], spec.share_chosen(len(val))
    elif folds.max() > 0:
        share = spec.share_chosen(len(learnt))
        ensemble.chosen_on = ensemble.unseen(learnt, folds), y[learnt], share
    return ensemble


def _folds(learner: Learner, spec: Views) -> Labels:
    """Which member leaves out each labelled window; -1 where none does, as of a class that has one
    window, which nobody can do without."""
    learnt = learner.labelled
    y, group = learner.windows.strata[learnt], learner.windows.group[learnt]
    apart = spec.members > 1 and learner.trial.finetune.validation != "full"
    folds = folds_inside(y, group, spec.members) if apart else np.zeros_like(learnt)
    return folds if folds.max() > 0 else np.full(len(learnt), -1)


def _taught(spec: Views, folds: Labels) -> list[Index]:
    """The labelled windows that each member learns from, by their places."""
    n_members = int(folds.max()) + 1 if folds.max() > 0 else spec.members
    return [np.flatnonzero(folds != m) for m in range(n_members)]


class Voter(Protocol):
    """What learnt from one view of windows."""

    def __call__(self, index: Index) -> Floats:
        """(M, n, K): probabilities by each member, or values."""
        ...


# ---- heads on features ----


@dataclass(frozen=True)
class Standardised:
    """A view of windows: standardised, clipped, weighed by its size."""

    reader: Reader
    features: Features
    scaler: Scaler
    axes: Floats | None  # (F, F'), principal, of more numbers than a head reads
    factor: float

    @classmethod
    def of(cls, learner: Learner, features: Features) -> "Standardised":
        found = over(learner, features, some_of(learner, learner.parts.train, SCALED_BY))
        scaler, n = Scaler.of(found), found.shape[1]
        axes = None if n <= MOST else _principal(_clipped(scaler(found)), MOST)
        return cls(learner, features, scaler, axes, min(1.0, (FEW / n) ** 0.5))

    def __call__(self, index: Index) -> npt.NDArray[np.float32]:
        x = _clipped(self.scaler(over(self.reader, self.features, index)))
        x = x if self.axes is None else x @ self.axes
        return np.asarray(x * self.factor, dtype=np.float32)


def _clipped(x: Floats) -> Floats:
    return np.clip(x, -CLIP, CLIP)


def _principal(x: Floats, n: int) -> Floats:
    """(n, F) -> (F, up to n): the directions in which most of the windows' distances lie."""
    if len(x) < x.shape[1]:  # from the smaller of the two products
        values, vectors = np.linalg.eigh(x @ x.T)
        kept = values > 1e-8 * values[-1]
        axes = x.T @ (vectors[:, kept] / np.sqrt(values[kept]))
    else:
        axes = np.linalg.eigh(x.T @ x)[1]
    return np.asarray(axes[:, -n:])


@dataclass(frozen=True)
class Heads:
    """A small network on the features of a view for every member, trained as one stack."""

    described: Standardised
    stack: "Stack"
    taught: Taught

    @classmethod
    def learnt(cls, view: ViewSpec, spec: Views, learner: Learner, folds: Labels) -> "Heads":
        described = Standardised.of(learner, locate(view.features)(view, learner))
        learnt = learner.labelled
        x, own = torch.from_numpy(described(learnt)), _taught(spec, folds)
        stack = Stack(len(own), x.shape[1], spec.hidden, learner.windows.n_outputs, spec.dropout)
        kind = taught(learner.windows, learnt)
        _train(stack, x, learner, kind, own, spec)
        return cls(described, stack.eval(), kind)

    @torch.no_grad()
    def __call__(self, index: Index) -> Floats:
        x = torch.from_numpy(self.described(index))
        outputs = self.stack(x.expand(len(self.stack.bias), -1, -1))
        return np.asarray(self.taught.votes(outputs).double().numpy())


class Stack(nn.Module):
    """M heads, (M, B, F) -> (M, B, K): a linear layer that starts at zero, and a hidden one."""

    def __init__(self, n: int, n_in: int, n_hidden: int, n_out: int, dropout: float) -> None:
        super().__init__()
        self.n_out, self.sizes = n_out, (n, n_in, n_hidden, n_out)
        self.linear = nn.Parameter(torch.zeros(n, n_in, n_out))
        self.first = nn.Parameter(torch.randn(n, n_in, n_hidden) * n_in**-0.5)
        self.last = nn.Parameter(torch.randn(n, n_hidden, n_out) * n_hidden**-0.5)
        self.before = nn.Parameter(torch.zeros(n, 1, n_hidden))
        self.bias = nn.Parameter(torch.zeros(n, 1, n_out))
        self.dropout = nn.Dropout(dropout)

    def packed(self) -> dict[str, Any]:
        return {"sizes": self.sizes, "dropout": self.dropout.p, "state": self.state_dict()}

    @classmethod
    def unpacked(cls, sizes: tuple[int, ...], dropout: float, state: dict[str, Any]) -> Self:
        n, n_in, n_hidden, n_out = sizes
        stack = cls(n, n_in, n_hidden, n_out, dropout)
        stack.load_state_dict(state)
        return stack.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.dropout(nn.functional.gelu(torch.baddbmm(self.before, x, self.first)))
        return torch.baddbmm(self.bias, x, self.linear) + torch.bmm(hidden, self.last)


def _train(
    stack: Stack,
    x: torch.Tensor,
    learner: Learner,
    kind: Taught,
    parts: Sequence[Index],
    spec: Views,
) -> None:
    """Teach each member its own windows, every class as often in a batch."""
    windows, learnt, seed = learner.windows, learner.labelled, learner.trial.seed
    rng, n_steps = np.random.default_rng([18, seed]), spec.n_steps(len(x))
    n_batch = min(spec.n_batch(len(x)), *map(len, parts))
    strata = windows.strata[learnt]
    batches = [
        balanced(strata[own], n_batch, np.random.default_rng([17, seed, m]))
        for m, own in enumerate(parts)
    ]
    targets = kind.tensor(windows.labels[learnt])
    if windows.target == "classes":
        targets = nn.functional.one_hot(targets, stack.n_out).float()
    optimizer = torch.optim.AdamW(stack.parameters(), spec.lr, weight_decay=spec.decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, spec.lr, total_steps=n_steps + 1)
    spread = x.std()
    for _ in range(n_steps):
        index = np.stack([own[next(batch)] for own, batch in zip(parts, batches, strict=True)])
        inputs, wanted = x[index], targets[index]  # (M, B, F), (M, B, K)
        if spec.mixup:
            share = float(rng.beta(spec.mixup, spec.mixup))
            order = torch.from_numpy(rng.permutation(n_batch))
            inputs = share * inputs + (1 - share) * inputs[:, order]
            wanted = share * wanted + (1 - share) * wanted[:, order]
        if spec.noise:
            # one draw for all members, which learn from other windows
            inputs = inputs + spec.noise * spread * torch.randn(inputs.shape[1:])
        # the sum over members, which share nothing
        loss = len(parts) * kind.loss(stack(inputs).flatten(0, 1), wanted.flatten(0, 1))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


# ---- trees on features ----


@dataclass(frozen=True)
class Forests:
    """Extremely randomised trees on the features of a view, a forest for every member."""

    reader: Reader
    features: Features
    scaler: Scaler
    forests: Sequence[Forest]

    @classmethod
    def learnt(cls, view: Trees, spec: Views, learner: Learner, folds: Labels) -> "Forests":
        features = locate(view.features)(view, learner)
        found = over(learner, features, learner.labelled)
        scaler = Scaler.of(found)  # what is constant but for rounding tells nothing
        forests = []
        for m, own in enumerate(_taught(spec, folds)):
            seed = int(np.random.default_rng([19, learner.trial.seed, m]).integers(2**31))
            x, index = scaler(found[own]), learner.labelled[own]
            forests.append(Forest.of(x, index, learner, view.n, seed))
        return cls(learner, features, scaler, forests)

    def __call__(self, index: Index) -> Floats:
        x = self.scaler(over(self.reader, self.features, index))
        return np.stack([forest(x) for forest in self.forests])


# ---- ridges on features ----


@dataclass(frozen=True)
class Ridges:
    """A ridge regression on the features of a view for every member, and how sharp the
    probabilities are that its outputs stand for; of values there are none."""

    reader: Reader
    features: Features
    probes: Sequence[Probe]
    sharpness: float
    target: TargetKind = "classes"

    @classmethod
    def learnt(cls, view: ViewSpec, spec: Views, learner: Learner, folds: Labels) -> "Ridges":
        features, among = locate(view.features)(view, learner), even_share(learner, RIDGE_MOST)
        x = over(learner, features, among).astype(np.float64)
        windows, left_out = learner.windows, folds.max() > 0
        y, kind = windows.labels[among], windows.target
        of = partial(Ridge.of, n_outputs=windows.n_outputs, kind=kind)
        fold = folds[np.searchsorted(learner.labelled, among)]
        if not left_out:  # by members; penalty and sharpness are chosen by folds all the same
            fold = folds_inside(windows.strata[among], windows.group[among])
        if fold.max() <= 0:
            return cls(learner, features, [of(x, y).solved(USUAL)], SHARP[0], kind)
        places = [fold == m for m in range(int(fold.max()) + 1)]
        ridges = [of(x[~out], y[~out]) for out in places]
        penalty, sharpness = _sharpened(ridges, x, y, places, kind)
        if not left_out:
            ridges = [of(x, y)]
        return cls(learner, features, [ridge.solved(penalty) for ridge in ridges], sharpness, kind)

    def __call__(self, index: Index) -> Floats:
        x = over(self.reader, self.features, index)
        if self.target == "value":
            return np.stack([probe(x) for probe in self.probes])
        if self.target == "labels":  # -1 to 1 as a chance
            return np.stack([np.clip((probe(x) + 1) / 2, 0, 1) for probe in self.probes])
        return np.stack([softmax(self.sharpness * probe(x), axis=1) for probe in self.probes])


def _sharpened(
    ridges: Sequence[Ridge],
    x: Floats,
    y: Targets,
    places: Sequence[npt.NDArray[np.bool_]],
    target: TargetKind = "classes",
) -> tuple[float, float]:
    """The penalty and the sharpness with which each ridge gives the windows at its places, which
    it did not see, the smallest loss, every class counting the same."""
    best, least = (USUAL, SHARP[0]), np.inf
    for penalty in RIDGES:
        unseen = np.zeros((len(y), ridges[0].target.shape[1]))
        for ridge, out in zip(ridges, places, strict=True):
            unseen[out] = ridge.solved(penalty)(x[out])
        if target != "classes":
            aimed = y[:, None] if target == "value" else 2 * y - 1
            loss = float(np.mean(np.abs(unseen - aimed)))
            if loss < least:
                best, least = (penalty, SHARP[0]), loss
            continue
        for sharpness in SHARP:
            losses = cross_entropies(sharpness * unseen, y)
            loss = float(np.mean([losses[y == k].mean() for k in np.unique(y)]))
            if loss < least:
                best, least = (penalty, sharpness), loss
    return best


# ---- their votes ----


@dataclass
class Ensemble:
    """A weighted mean of the probabilities, or values, that views give."""

    names: Sequence[str]
    voters: Sequence[Voter]
    target: TargetKind = "classes"
    # votes of windows whose labels may choose, these labels, and the share that is chosen
    chosen_on: tuple[Votes, Targets, float] | None = None
    weighed: Floats | None = None  # (V,), of one that was kept, which chooses no more
    # votes on the last windows, which are asked for again without each view
    _last: tuple[bytes, Votes] | None = None

    def __call__(self, index: Index) -> Floats:
        """(n, K): log of probabilities, or values."""
        return self.without(None, index)

    def without(self, view: str | None, index: Index) -> Floats:
        """The same had there not been that view: weights too are those of the others alone."""
        left = [i for i, name in enumerate(self.names) if name != view]
        found = np.tensordot(self.weights(left), self.votes(index)[left], 1)
        return said(found, NEVER, self.target)

    def weights(self, among: Sequence[int]) -> Floats:
        """Of some of the views: what is chosen, and the rest spread evenly."""
        if self.weighed is not None:
            return self.weighed
        even = np.full(len(among), 1 / len(among))
        if self.chosen_on is None:
            return even
        votes, y, share = self.chosen_on
        by = {"value": greedy_value, "labels": greedy_labels}
        greedily = by.get(self.target, greedy)
        return share * greedily(votes[list(among)], y) + (1 - share) * even

    def votes(self, index: Index) -> Votes:
        """(V, n, K), means over members."""
        key = index.tobytes()
        if self._last is None or self._last[0] != key:
            self._last = key, np.stack([voter(index).mean(axis=0) for voter in self.voters])
        return self._last[1]

    def to_keep(self) -> "Ensemble":
        """The same, with the weights of all views in place of the votes that chose them."""
        weighed = self.weights(range(len(self.names)))
        return Ensemble(self.names, self.voters, self.target, weighed=weighed)

    def unseen(self, index: Index, folds: Labels) -> Votes:
        """(V, n, K), of each window by the member that did not learn from it."""
        return np.stack([voter(index)[folds, np.arange(len(index))] for voter in self.voters])


def greedy(votes: Votes, y: Labels) -> Floats:
    """(V,): how often each view is taken when, one after the other, that is taken which brings the
    mean vote's loss lowest, every class counting the same (Caruana et al. 2004)."""
    weight = 1 / np.bincount(y)[y]
    of_label = votes[:, np.arange(len(y)), y]  # (V, n)
    return _taken(of_label, lambda mean: -(np.log(mean + NEVER) * weight).sum(axis=1))


def greedy_value(votes: Votes, y: Floats) -> Floats:
    """The same of values, by the absolute error of their mean."""
    return _taken(votes[..., 0], lambda mean: np.abs(mean - y).mean(axis=1))


def greedy_labels(votes: Votes, y: Targets) -> Floats:
    """The same of labels, by the cross-entropy of each."""
    right = np.where(y > 0, votes, 1 - votes).reshape(len(votes), -1)  # (V, n * K)
    return _taken(right, lambda mean: -np.log(mean + NEVER).mean(axis=1))


def _taken(votes: Floats, losses_of: Callable[[Floats], Floats]) -> Floats:
    """(V, n) -> (V,): shares of the views, given what a mean over some of them costs."""
    taken, total = np.zeros(len(votes)), np.zeros(votes.shape[1])
    for n in range(1, ROUNDS + 1):
        best = int(losses_of((total + votes) / n).argmin())
        taken[best] += 1
        total = total + votes[best]
    return np.asarray(taken / ROUNDS)
