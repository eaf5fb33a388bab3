"""Baselines of a trial: what its number is worth beside a constant guess, amplitude, level, band
power, an untrained encoder, the nearest training window, and what a user would try first (tangent
space of covariances, MiniRocket, a bag of features with trees); of pairs, also how A and B compare,
at their seam and as a whole, and what their runs say.

Each is given what the trial's own fine-tune is given, by asking it: the same aligned windows, the
same labelled training windows, the same validation and test parts. Where windows are normalised one
by one, their amplitude is hidden from the network, and so from these: `amplitude` and `level` are
then at chance by construction, and `band_power` sees how power is spread over frequencies, not how
much there is. What normalising took away, a user would have: all that read amplitude are then
scored a second time, as `raw_amplitude` and so on, on the same windows without it.

Zeros with which `align` pads are left out; between windows, which all have the same, they make no
distance.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from citrus_ray import records
from citrus_ray.data.windowing.view import filled
from citrus_ray.data.windows import Index, Signal
from citrus_ray.experiment.trial import EVAL_BATCH, Trial
from citrus_ray.models.specs import Bag, BandPower, MiniRocket, Tangent
from citrus_ray.spec import SpecError, code_of, digest_of, entry_points, locate
from citrus_ray.store import open_storage
from citrus_ray.store.leases import Leases
from citrus_ray.tasks.losses.next_thought import at_the_seam, how_alike
from citrus_ray.training.closed_form import Floats
from citrus_ray.training.finetuning import Member
from citrus_ray.training.learner import Learner, score_on_test
from citrus_ray.training.methods import (
    Predict,
    blocks,
    even_share,
    log_of,
    of_index,
    of_recorded,
    over,
    parts,
    pieces,
    regression,
    ridge,
    solve,
)

MOST_WINDOWS = 2048  # labelled ones, as of methods without a network
WIDE = 512  # features, beyond which logistic regression is slow
Scores = dict[str, dict[str, float]]  # metrics by baseline


def baselines(
    trial: Trial, metric: str = "val/balanced_accuracy", kept: Path | None = None
) -> Scores:
    """`test/…` metrics by baseline, and `val/…` where the trial has them. For final members only:
    this scores test data.

    `metric` chooses the penalty of the regressions beside a fully labelled validation part. What
    another model on the same windows and labels would be given as well is looked up in the folder
    `kept`, or put there.
    """
    found = _same_for_all_models(trial, metric) if kept is None else _once(trial, metric, kept)
    if trial.model.is_solved or "random_encoder" not in BASELINES:
        return found
    # nothing is trained here: no head needs a start
    untrained = trial.model_copy(update={"model": trial.model.untrained()})
    member = Member(untrained.at({"finetune.head_init": "random"}), None, metric)
    return found | {"random_encoder": _score(member, random_encoder(member))}


def _same_for_all_models(trial: Trial, metric: str) -> Scores:
    member = Given(trial, metric)
    built = BASELINES | (OF_PAIRS if member.windows.are_pairs else {}) | _of_others()
    built.pop("random_encoder", None)  # of the model alone
    if member.windows.target == "labels":
        built = {**built, "majority": prior, "nearest": nearest_labels}
    if member.windows.target == "value":
        built = dict(OF_VALUES.get(name, (name, build)) for name, build in built.items())
    found = {name: _score(member, build(member)) for name, build in built.items()}
    if getattr(trial.finetune.target, "normalize", "none") == "none":
        return found
    raw = not_normalised(member)
    again = {f"raw_{name}": BASELINES[name] for name in OF_AMPLITUDE}
    return found | {name: _score(raw, build(raw)) if raw else {} for name, build in again.items()}


def _of_others() -> dict[str, Callable[[Learner], Predict]]:
    """Baselines of installed packages, entry points of the group citrus_ray.baselines; none that
    is called as one of ours."""
    named = entry_points("baselines").items()
    return {name: locate(path) for name, path in named if name not in BASELINES | OF_PAIRS}


def _once(trial: Trial, metric: str, kept: Path) -> Scores:
    """The same, computed by one of the workers that ask for it at once."""
    digest = _digest(trial, metric)
    path = kept / digest / "scores.json"
    lease = Leases(open_storage(str(kept))).take_unless(digest, lambda: _read(path) is not None)
    if lease is not None:
        with lease:
            if (found := _read(path)) is None:  # who held it before may have just finished
                found = _same_for_all_models(trial, metric)
                records.write_text(path, json.dumps(found, sort_keys=False, allow_nan=False))
            return found
    return _read(path) or _same_for_all_models(trial, metric)


def _read(path: Path) -> Scores | None:
    """None where there is nothing yet, or what there is was damaged."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _digest(trial: Trial, metric: str) -> str:
    """A name for all that these baselines depend on: data, labels, parts, what is asked, and the
    code that answers."""
    finetune = trial.finetune.identity()
    given = {name: finetune[name] for name in ("target", "align", "labels", "split")}
    given |= {"validation": trial.finetune.validation, "seed": trial.seed, "metric": metric}
    found = entry_points("baselines").items()
    given |= {"streams": trial.model.multimodal, "asked": [*BASELINES, *OF_PAIRS, *OF_AMPLITUDE]}
    others = {n: [path, code_of(path.partition(":")[0])] for n, path in found} if found else {}
    given |= {"others": others} if others else {}
    return digest_of(given | {"versions": records.versions(), "commit": records.commit()})


class Given(Learner):
    """What a trial is given, windows, parts and labels, without anything that learns from them."""

    def predict(self, index: Index) -> npt.NDArray[np.floating]:
        raise TypeError("nothing learns here, a baseline predicts")

    def score_test(self) -> dict[str, float]:
        raise TypeError("nothing learns here, a baseline is scored")

    def fitted(self) -> Predict:
        raise TypeError("nothing learns here, a baseline is fitted")


def not_normalised(member: Learner) -> Learner | None:
    """The same people, windows, labels and parts without normalisation; None where the source
    gives other windows then, or none."""
    try:
        raw = Given(member.trial.at({"finetune.target.normalize": "none"}), member.metric)
    except SpecError:  # as of recordings in different units
        return None
    ours, theirs = member.windows, raw.windows
    same = ours.groups == theirs.groups and ours.classes == theirs.classes
    pairs = ((ours.group, theirs.group), (ours.labels, theirs.labels))
    return raw if same and all(np.array_equal(one, other) for one, other in pairs) else None


def _score(member: Learner, predict: Predict) -> dict[str, float]:
    """Everything about the baseline is decided by now."""
    val = member.parts.val
    by_val = member.scores(val, predict(val), "val") if len(val) else {}
    return by_val | score_on_test(member, predict)


# ---- the baselines: what they learn from the labelled windows of a member ----


def majority(member: Learner) -> Predict:
    """The class that most labelled windows have, whatever the window."""
    y, n_classes = member.windows.labels[member.labelled], len(member.windows.classes)
    prior = np.log(np.bincount(y, minlength=n_classes) + 1.0)
    return lambda index: np.tile(prior, (len(index), 1))


def median(member: Learner) -> Predict:
    """The median of the labelled values, whatever the window: of all constants that with the
    smallest absolute error."""
    middle = float(np.median(member.windows.labels[member.labelled]))
    return lambda index: np.full((len(index), 1), middle)


def prior(member: Learner) -> Predict:
    """How many labelled windows have each label, whatever the window."""
    share = member.windows.labels[member.labelled].mean(axis=0)
    return lambda index: np.tile(share, (len(index), 1))


def nearest_labels(member: Learner) -> Predict:
    """Of each label, how much farther the nearest window without it is than that with it."""
    return partial(_nearest, member, _with_and_without)


def amplitude(member: Learner) -> Predict:
    """Log power of each channel: twice the log of its standard deviation."""
    return regression(member, log_of(member, channel_power))


def level(member: Learner) -> Predict:
    """The mean of each channel. On fMRI it is nearly all there is: 0.58 of haxby, where the next
    best reaches 0.30."""
    mean = of_recorded(member, lambda x: np.asarray(x.mean(axis=-1, dtype=np.float64)))
    return regression(member, mean)


def random_encoder(member: Learner) -> Predict:
    """The trial's own model, never trained and pooled as its head pools: what its shape alone
    gives. Many features are read by ridge regression, which takes a second and not a minute."""
    assert isinstance(member, Member)
    if member.trial.finetune.subjects == "recentre":  # by whose a window is
        return of_index(member, member.features)
    untrained = member.classifier.eval()

    @torch.no_grad()
    def pooled(x: Signal) -> Floats:
        found = [untrained.features(torch.from_numpy(part)) for part in pieces(x, EVAL_BATCH)]
        return torch.cat(found).double().numpy()

    learnt = even_share(member, MOST_WINDOWS)
    width = untrained.head.linear.in_features
    return (ridge if width > WIDE else regression)(member, pooled, learnt)


def nearest(member: Learner) -> Predict:
    """The class, or the value, of the labelled window that is nearest, sample by sample. Logits
    are minus the distances."""
    return partial(_nearest, member, _values if member.windows.target == "value" else _distances)


BASELINES: dict[str, Callable[[Learner], Predict]] = {
    "majority": majority,
    "amplitude": amplitude,
    "level": level,
    "band_power": partial(solve, spec=BandPower()),
    "random_encoder": random_encoder,
    "nearest": nearest,
    "tangent": partial(solve, spec=Tangent()),
    "minirocket": partial(solve, spec=MiniRocket()),
    "bag": partial(solve, spec=Bag()),
}
# what says the same of every window, of values
OF_VALUES: dict[str, tuple[str, Callable[[Learner], Predict]]] = {"majority": ("median", median)}

# scored without normalisation too
OF_AMPLITUDE = ("amplitude", "level", "band_power", "tangent", "minirocket", "bag")


def channel_power(x: Signal) -> Floats:
    """(B, C, T) -> (B, C)."""
    return np.asarray(x.var(axis=-1, dtype=np.float64))


# ---- of pairs ----


def halves(member: Learner) -> Predict:
    """The mean of each channel over A and over B, side by side. Linear, so it cannot compare the
    two."""
    return regression(member, lambda x: np.concatenate(_means(x), axis=1))


def distance(member: Learner) -> Predict:
    """How far the means of A and B are from each other, and how alike: two numbers, no network."""
    return regression(member, distance_of_means)


def seam(member: Learner) -> Predict:
    """How far A's last volume and B's first are from each other, and how alike: two numbers. Where
    there is no gap they tell whether B follows A: 0.90 of haxby's pairs."""
    return regression(member, seam_of)


def bilinear(member: Learner) -> Predict:
    """A's mean in each channel times B's: linear in A and in B, so it compares them channel by
    channel, whatever either shows alone. A product of every channel of A with every one of B has
    more weights than any set has pairs: on haxby it is at chance, this at 0.62."""
    means = [np.concatenate(_means(x)) for x in blocks(member, member.labelled)]
    return regression(member, partial(products, middle=np.concatenate(means).mean(axis=0)))


def difference(member: Learner) -> Predict:
    """How far they are in each channel."""
    return regression(member, apart)


def same_run(member: Learner) -> Predict:
    """Whether A and B are of one run, which no network is told: what a perfect knowledge of runs
    would give."""
    return of_index(member, lambda index: _of_one_run(member, index).astype(np.float64)[:, None])


def run_identity(member: Learner) -> Predict:
    """A probe that learnt to tell from A and B whether they are of one run, asked for the label:
    what a network that sees nothing but the run would give."""
    same = _of_one_run(member, np.arange(len(member.windows))).astype(np.int64)
    if len(np.unique(same[member.labelled])) < 2:
        return majority(member)
    probe = member.regression(partial(over, member, apart), same, 2)
    return of_index(member, lambda index: probe(over(member, apart, index)) @ [[-1.0], [1.0]])


def distance_of_means(x: Signal) -> Floats:
    """(B, C, 2T) -> (B, 2): root mean square of the difference, and correlation over channels."""
    found = how_alike(*(torch.from_numpy(mean) for mean in _means(x)))
    return np.asarray(found.numpy())


def seam_of(x: Signal) -> Floats:
    """(B, C, 2T) -> (B, 2): the same of A's last and B's first volume."""
    return np.asarray(at_the_seam(torch.from_numpy(x)).numpy())


def apart(x: Signal) -> Floats:
    """(B, C, 2T) -> (B, C)."""
    a, b = _means(x)
    return np.abs(a - b)


def products(x: Signal, middle: Floats) -> Floats:
    """(B, C, 2T) -> (B, C): of what A and B are beside `middle`, (C,)."""
    a, b = _means(x)
    return (a - middle) * (b - middle)


def _means(x: Signal) -> tuple[Floats, Floats]:
    half = x.shape[-1] // 2
    a, b = (part.mean(axis=-1, dtype=np.float64) for part in (x[..., :half], x[..., half:]))
    return a, b


def _of_one_run(member: Learner, index: Index) -> npt.NDArray[np.bool_]:
    assert member.windows.origins is not None
    run = member.windows.origins.run[index]  # (n, 2)
    return np.asarray(run[:, 0] == run[:, 1])


OF_PAIRS: dict[str, Callable[[Learner], Predict]] = {
    "halves": halves,
    "distance": distance,
    "difference": difference,
    "seam": seam,
    "bilinear": bilinear,
    "same_run": same_run,
    "run_identity": run_identity,
}

# ---- the nearest window ----


def _nearest(member: Learner, of: Callable[[Learner, Signal], Floats], index: Index) -> Floats:
    return np.concatenate([of(member, x) for x in blocks(member, index)])


def _values(member: Learner, x: Signal) -> Floats:
    """(B, 1): the value of the nearest labelled window."""
    near, value = np.full(len(x), np.inf), np.zeros(len(x))
    for part in parts(member, member.labelled):
        squares = squared_distances(x, filled(member.signal(part)))  # (B, n)
        first = squares.argmin(axis=1)
        least = squares[np.arange(len(x)), first]
        value = np.where(least < near, member.windows.labels[part][first], value)
        near = np.minimum(near, least)
    return value[:, None]


def _with_and_without(member: Learner, x: Signal) -> Floats:
    """(B, K)."""
    n = len(member.windows.classes)
    near = np.full((2, len(x), n), np.inf)  # lacking, having
    for part in parts(member, member.labelled):
        y, squares = member.windows.labels[part], squared_distances(x, filled(member.signal(part)))
        for k, has in ((k, has) for k in range(n) for has in (0, 1)):
            of = squares[:, y[:, k] == has]
            if of.shape[1]:
                near[has, :, k] = np.minimum(near[has, :, k], of.min(axis=1))
    far = np.isinf(near)
    roots = np.sqrt(np.where(far, 4 * near[~far].max() + 1, near))
    return np.asarray(roots[0] - roots[1])


def _distances(member: Learner, x: Signal) -> Floats:
    """(B, K): minus the distance to the nearest labelled window of each class."""
    near = np.full((len(x), len(member.windows.classes)), np.inf)
    for part in parts(member, member.labelled):
        y, squares = member.windows.labels[part], squared_distances(x, filled(member.signal(part)))
        for k in np.unique(y):
            near[:, k] = np.minimum(near[:, k], squares[:, y == k].min(axis=1))
    far = np.isinf(near)  # a class without a labelled window
    return -np.sqrt(np.where(far, 4 * near[~far].max() + 1, near))


def squared_distances(one: Signal, other: Signal) -> Floats:
    """(n, C, T), (m, C, T) -> (n, m). In float64: windows far from zero would cancel in single
    precision."""
    a, b = (part.reshape(len(part), -1).astype(np.float64) for part in (one, other))
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.maximum(squares, 0))
