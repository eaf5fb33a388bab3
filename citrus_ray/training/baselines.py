"""Dumb baselines of a trial: what its number is worth beside a constant guess, amplitude, level,
band power, an untrained encoder and the nearest training window; of pairs, also how A and B
compare, at their seam and as a whole, and what their runs say.

Each is given what the trial's own fine-tune is given, by asking it: the same aligned windows, the
same labelled training windows, the same validation and test parts. Where windows are normalised one
by one, their amplitude is hidden from the network, and so from these: `amplitude` and `level` are
then at chance by construction, and `band_power` sees how power is spread over frequencies, not how
much there is. What normalising took away, a user would have: these three are then scored a second
time, as `raw_amplitude` and so on, on the same windows without it.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from citrus_ray.data.windowing.view import filled
from citrus_ray.data.windows import Index, Signal
from citrus_ray.experiment.trial import EVAL_BATCH, Trial
from citrus_ray.metrics import score
from citrus_ray.spec import SpecError
from citrus_ray.tasks.losses.next_thought import at_the_seam, how_alike
from citrus_ray.training.closed_form import Floats
from citrus_ray.training.finetuning import Member, score_on_test

Predict = Callable[[Index], Floats]  # windows -> logits (n, K)
Features = Callable[[Signal], Floats]  # (B, C, T) -> (B, F)

# numbers in a block of windows: 32 MB, whatever their length and however many there are
BLOCK = 1 << 22
# delta, theta, alpha, beta and gamma of EEG at 128 Hz, as shares of the Nyquist rate: 4, 8, 13, 30
# of 64 Hz
BAND_EDGES = (0.0, 4 / 64, 8 / 64, 13 / 64, 30 / 64, 1.0)
# of the median power in training windows: silence has a logarithm, but is no outlier without end
FLOOR = 1e-6


def baselines(trial: Trial, metric: str = "val/balanced_accuracy") -> dict[str, dict[str, float]]:
    """`test/…` metrics by baseline, and `val/…` where the trial has them. For final members only:
    this scores test data.

    `metric` chooses the penalty of the regressions beside a fully labelled validation part.
    """
    # nothing is trained here: no head needs a start
    member = Member(trial.at({"finetune.head_init": "random"}), None, metric)
    built = BASELINES | (OF_PAIRS if member.windows.are_pairs else {})
    found = {name: _score(member, build(member)) for name, build in built.items()}
    if getattr(trial.finetune.target, "normalize", "none") == "none":
        return found
    raw = not_normalised(member)
    again = {f"raw_{name}": BASELINES[name] for name in OF_AMPLITUDE}
    return found | {name: _score(raw, build(raw)) if raw else {} for name, build in again.items()}


def not_normalised(member: Member) -> Member | None:
    """The same people, windows, labels and parts without normalisation; None where the source
    gives other windows then, or none."""
    try:
        raw = Member(member.trial.at({"finetune.target.normalize": "none"}), None, member.metric)
    except SpecError:  # as of recordings in different units
        return None
    ours, theirs = member.windows, raw.windows
    same = ours.groups == theirs.groups and ours.classes == theirs.classes
    pairs = ((ours.group, theirs.group), (ours.labels, theirs.labels))
    return raw if same and all(np.array_equal(one, other) for one, other in pairs) else None


def _score(member: Member, predict: Predict) -> dict[str, float]:
    """Everything about the baseline is decided by now."""
    val = member.parts.val
    by_val = score(member.windows.labels[val], predict(val), "val") if len(val) else {}
    return by_val | score_on_test(member, predict)


# ---- the baselines: what they learn from the labelled windows of a member ----


def majority(member: Member) -> Predict:
    """The class that most labelled windows have, whatever the window."""
    y, n_classes = member.windows.labels[member.labelled], len(member.windows.classes)
    prior = np.log(np.bincount(y, minlength=n_classes) + 1.0)
    return lambda index: np.tile(prior, (len(index), 1))


def amplitude(member: Member) -> Predict:
    """Log power of each channel: twice the log of its standard deviation."""
    return _regression(member, _log_of(member, channel_power))


def level(member: Member) -> Predict:
    """The mean of each channel. On fMRI it is nearly all there is: 0.58 of haxby, where the next
    best reaches 0.30."""
    return _regression(member, lambda x: np.asarray(x.mean(axis=-1, dtype=np.float64)))


def band_power(member: Member) -> Predict:
    """Log power of each channel in five bands of the Nyquist rate."""
    return _regression(member, _log_of(member, powers_in_bands))


def random_encoder(member: Member) -> Predict:
    """The trial's own model, never trained and pooled as its head pools: what its shape alone
    gives."""
    untrained = member.classifier.eval()

    @torch.no_grad()
    def pooled(x: Signal) -> Floats:
        parts = [untrained.features(torch.from_numpy(part)) for part in _pieces(x, EVAL_BATCH)]
        return torch.cat(parts).double().numpy()

    return _regression(member, pooled)


def nearest(member: Member) -> Predict:
    """The class of the labelled window that is nearest, sample by sample. Logits are minus the
    distances."""
    return partial(_nearest, member)


BASELINES: dict[str, Callable[[Member], Predict]] = {
    "majority": majority,
    "amplitude": amplitude,
    "level": level,
    "band_power": band_power,
    "random_encoder": random_encoder,
    "nearest": nearest,
}

# scored without normalisation too
OF_AMPLITUDE = ("amplitude", "level", "band_power")

# ---- of pairs ----


def halves(member: Member) -> Predict:
    """The mean of each channel over A and over B, side by side. Linear, so it cannot compare the
    two."""
    return _regression(member, lambda x: np.concatenate(_means(x), axis=1))


def distance(member: Member) -> Predict:
    """How far the means of A and B are from each other, and how alike: two numbers, no network."""
    return _regression(member, distance_of_means)


def seam(member: Member) -> Predict:
    """How far A's last volume and B's first are from each other, and how alike: two numbers. Where
    there is no gap they tell whether B follows A: 0.90 of haxby's pairs."""
    return _regression(member, seam_of)


def bilinear(member: Member) -> Predict:
    """A's mean in each channel times B's: linear in A and in B, so it compares them channel by
    channel, whatever either shows alone. A product of every channel of A with every one of B has
    more weights than any set has pairs: on haxby it is at chance, this at 0.62."""
    means = [np.concatenate(_means(x)) for x in _blocks(member, member.labelled)]
    return _regression(member, partial(products, middle=np.concatenate(means).mean(axis=0)))


def difference(member: Member) -> Predict:
    """How far they are in each channel."""
    return _regression(member, apart)


def same_run(member: Member) -> Predict:
    """Whether A and B are of one run, which no network is told: what a perfect knowledge of runs
    would give."""
    return _of_index(member, lambda index: _of_one_run(member, index).astype(np.float64)[:, None])


def run_identity(member: Member) -> Predict:
    """A probe that learnt to tell from A and B whether they are of one run, asked for the label:
    what a network that sees nothing but the run would give."""
    same = _of_one_run(member, np.arange(len(member.windows))).astype(np.int64)
    if len(np.unique(same[member.labelled])) < 2:
        return majority(member)
    probe = member.regression(partial(_over, member, apart), same, 2)
    return _of_index(member, lambda index: probe(_over(member, apart, index)) @ [[-1.0], [1.0]])


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


def _of_one_run(member: Member, index: Index) -> npt.NDArray[np.bool_]:
    assert member.windows.origins is not None
    run = member.windows.origins.run[index]  # (n, 2)
    return np.asarray(run[:, 0] == run[:, 1])


OF_PAIRS: dict[str, Callable[[Member], Predict]] = {
    "halves": halves,
    "distance": distance,
    "difference": difference,
    "seam": seam,
    "bilinear": bilinear,
    "same_run": same_run,
    "run_identity": run_identity,
}

# ---- regression on features ----


def _regression(member: Member, features: Features) -> Predict:
    """Fitted on the labelled windows, its penalty chosen by what chooses for the trial."""
    return _of_index(member, partial(_over, member, features))


def _over(member: Member, features: Features, index: Index) -> Floats:
    return np.concatenate([features(x) for x in _blocks(member, index)])


def _of_index(member: Member, of: Predict) -> Predict:
    """The same, on features that are not of the signal alone."""
    probe = member.regression(of, member.windows.labels, len(member.windows.classes))
    return lambda index: probe(of(index))


def _log_of(member: Member, powers: Features) -> Features:
    """Log of powers, floored where there is silence."""
    seen = np.concatenate([powers(x) for x in _blocks(member, member.labelled)])
    seen[seen == 0] = np.nan
    silent = np.isnan(seen).all(axis=0)
    floor = np.where(silent, 1.0, FLOOR * np.nanmedian(np.where(silent, 1.0, seen), axis=0))
    return lambda x: np.log(np.maximum(powers(x), floor))


def channel_power(x: Signal) -> Floats:
    """(B, C, T) -> (B, C)."""
    return np.asarray(x.var(axis=-1, dtype=np.float64))


def powers_in_bands(x: Signal) -> Floats:
    """(B, C, T) -> (B, C * up to 5): mean squared spectrum in each band. A band that holds no
    frequency of so short a window is left out, and so is the mean of the window."""
    spectrum = np.abs(np.fft.rfft(x.astype(np.float64), axis=-1)[..., 1:]) ** 2
    share = np.fft.rfftfreq(x.shape[-1], 0.5)[1:]  # of the Nyquist rate
    band = np.searchsorted(BAND_EDGES[1:-1], share)
    found = [spectrum[..., band == b].mean(axis=-1) for b in np.unique(band)]
    return np.concatenate(found, axis=1) if found else np.zeros((len(x), 0))


# ---- the nearest window ----


def _nearest(member: Member, index: Index) -> Floats:
    return np.concatenate([_distances(member, x) for x in _blocks(member, index)])


def _distances(member: Member, x: Signal) -> Floats:
    """(B, K): minus the distance to the nearest labelled window of each class."""
    near = np.full((len(x), len(member.windows.classes)), np.inf)
    for part in _parts(member, member.labelled):
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


# ---- in blocks ----


def _parts(member: Member, index: Index) -> Iterator[Index]:
    rows = max(1, BLOCK // int(np.prod(member.windows.x.shape[1:])))
    # no more rows than this: the distances between two blocks are bounded too
    return _pieces(index, min(rows, 2048))


def _blocks(member: Member, index: Index) -> Iterator[Signal]:
    """The windows at `index`, read from the memory map a block at a time."""
    return (filled(member.signal(part)) for part in _parts(member, index))


def _pieces(items: npt.NDArray[Any], size: int) -> Iterator[npt.NDArray[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))
