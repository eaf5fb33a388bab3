"""Dumb baselines of a trial: what its number is worth beside a constant guess, amplitude, level, band power, an
untrained encoder and the nearest training window.

Each is given what the trial's own fine-tune is given, by asking it: the same aligned windows, the same labelled
training windows, the same validation and test parts. Where windows are normalised one by one, their amplitude is
hidden from the network, and so from these: `amplitude` and `level` are then at chance by construction, and
`band_power` sees how power is spread over frequencies, not how much there is.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from citrus_ray.data.windows import Index, Signal
from citrus_ray.finetune import EVAL_BATCH, Member, score_on_test
from citrus_ray.metrics import score
from citrus_ray.probe import Floats, fit
from citrus_ray.trial import Trial

Predict = Callable[[Index], Floats]  # windows -> logits (n, K)
Features = Callable[[Signal], Floats]  # (B, C, T) -> (B, F)

BLOCK = 1 << 22  # numbers in a block of windows: 32 MB, whatever their length and however many there are
# delta, theta, alpha, beta and gamma of EEG at 128 Hz, as shares of the Nyquist rate: 4, 8, 13, 30 of 64 Hz
BAND_EDGES = (0.0, 4 / 64, 8 / 64, 13 / 64, 30 / 64, 1.0)
FLOOR = 1e-6  # of the median power in training windows: silence has a logarithm, but is no outlier without end


def baselines(trial: Trial, metric: str = "val/balanced_accuracy") -> dict[str, dict[str, float]]:
    """`val/…` and `test/…` metrics by baseline. For final members only: this scores test data.

    `metric` chooses the penalty of the regressions, as it chooses the round of a fine-tune.
    """
    member = Member(trial, None, metric)
    return {name: _score(member, build(member)) for name, build in BASELINES.items()}


def _score(member: Member, predict: Predict) -> dict[str, float]:
    """Everything about the baseline is decided by now."""
    val = member.parts.val
    return score(member.windows.labels[val], predict(val), "val") | score_on_test(member, predict)


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
    """The mean of each channel. On fMRI it is nearly all there is: 0.58 of haxby, where the next best reaches 0.30."""
    return _regression(member, lambda x: np.asarray(x.mean(axis=-1, dtype=np.float64)))


def band_power(member: Member) -> Predict:
    """Log power of each channel in five bands of the Nyquist rate."""
    return _regression(member, _log_of(member, powers_in_bands))


def random_encoder(member: Member) -> Predict:
    """The trial's own model, never trained and pooled as its head pools: what its shape alone gives."""
    encoder, pool = member.classifier.encoder.eval(), member.trial.finetune.pool

    @torch.no_grad()
    def pooled(x: Signal) -> Floats:
        tokens = torch.cat([encoder(torch.from_numpy(part)).mean(dim=2) for part in _pieces(x, EVAL_BATCH)])
        kept = tokens.flatten(1) if pool == "channels" else tokens.mean(dim=1)  # (B, C, D) -> (B, C*D) or (B, D)
        return kept.double().numpy()

    return _regression(member, pooled)


def nearest(member: Member) -> Predict:
    """The class of the labelled window that is nearest, sample by sample. Logits are minus the distances."""
    return partial(_nearest, member)


BASELINES: dict[str, Callable[[Member], Predict]] = {
    "majority": majority,
    "amplitude": amplitude,
    "level": level,
    "band_power": band_power,
    "random_encoder": random_encoder,
    "nearest": nearest,
}

# ---- regression on features ----


def _regression(member: Member, features: Features) -> Predict:
    """Fitted on the labelled windows; validation windows choose the penalty."""

    def of(index: Index) -> Floats:
        return np.concatenate([features(x) for x in _blocks(member, index)])

    train, val = ((of(index), member.windows.labels[index]) for index in (member.labelled, member.parts.val))
    probe = fit(train, val, len(member.windows.classes), member.metric)
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
    """(B, C, T) -> (B, C * up to 5): mean squared spectrum in each band. A band that holds no frequency of so short
    a window is left out, and so is the mean of the window."""
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
        y, squares = member.windows.labels[part], squared_distances(x, member.signal(part))
        for k in np.unique(y):
            near[:, k] = np.minimum(near[:, k], squares[:, y == k].min(axis=1))
    far = np.isinf(near)  # a class without a labelled window
    return -np.sqrt(np.where(far, 4 * near[~far].max() + 1, near))


def squared_distances(one: Signal, other: Signal) -> Floats:
    """(n, C, T), (m, C, T) -> (n, m). In float64: windows far from zero would cancel in single precision."""
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
    return (member.signal(part) for part in _parts(member, index))


def _pieces(items: npt.NDArray[Any], size: int) -> Iterator[npt.NDArray[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))
