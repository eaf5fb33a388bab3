"""What each view of a window is made of: functions that take a view's spec and a learner, and give
features of windows."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.fft
import torch

from citrus_ray.data.windowing.view import filled
from citrus_ray.data.windows import Signal
from citrus_ray.experiment.trial import EVAL_BATCH
from citrus_ray.models import views
from citrus_ray.training.closed_form import Floats
from citrus_ray.training.covariance import TangentFeatures
from citrus_ray.training.learner import Learner
from citrus_ray.training.loading import load_encoder
from citrus_ray.training.loop import seeded
from citrus_ray.training.methods import (
    Features,
    even_share,
    of_recorded,
    pieces,
    recorded,
    rng_of,
    some_of,
)
from citrus_ray.training.minirocket import MiniRocketFeatures
from citrus_ray.training.portable import Blueprint, Network
from citrus_ray.training.scalars import scalars

FAINT = 1e-4  # beside a power near 1: its log is finite
LOWEST = 2.0  # waves in a window, of the lowest band
HIGHEST = 0.4  # waves per sample, of the highest
FIT_MOST = 2048  # labelled windows that a view is fitted to


def bands(spec: views.Bands, learner: Learner) -> Features:
    """Mean and spread over frames of the log power of band passes."""
    return of_recorded(learner, partial(band_passes, n_bands=spec.n, n_frames=spec.frames))


def covariance(spec: views.Covariance, learner: Learner) -> Features:
    """Covariances in the tangent space at the mean of labelled windows."""
    return of_recorded(learner, TangentFeatures.of(_known(learner), spec.delays))


def scalars_of(spec: views.Scalars, learner: Learner) -> Features:
    """25 scalars a channel."""
    return of_recorded(learner, scalars)


def time(spec: views.TimeSteps, learner: Learner) -> Features:
    """Means of even steps of time."""
    return of_recorded(learner, partial(in_steps, n_steps=spec.steps))


def kernels(spec: views.Kernels, learner: Learner) -> Features:
    """MiniRocket's kernels, with biases from labelled windows."""
    found = MiniRocketFeatures.of(_known(learner), spec.n, rng_of(learner, 16))
    return of_recorded(learner, found)


def encoded(spec: views.Encoded, learner: Learner) -> Features:
    """A frozen encoder's tokens, as the view's head pools them."""
    blueprint = Blueprint(spec.model, learner.context, spec.pool, spec.head)
    with seeded(learner.trial.seed):
        classifier = blueprint.classifier()
    if learner.pretrained is not None and spec.pretrained:
        load_encoder(classifier, classifier.encoder, learner.pretrained)
    classifier.eval()
    if classifier.parts is not None:
        first = filled(learner.signal(some_of(learner, learner.labelled)))
        classifier.parts.fit([torch.from_numpy(first)])
    return Tokens(Network(blueprint, classifier))


@dataclass(frozen=True)
class Tokens:
    """Features of windows (B, C, T) as an encoder that learns no more gives them to a head."""

    network: Network

    @torch.no_grad()
    def __call__(self, x: Signal) -> Signal:
        features = self.network.classifier.features
        found = [features(torch.from_numpy(part)) for part in pieces(x, EVAL_BATCH)]
        return np.asarray(torch.cat(found).numpy())


def _known(learner: Learner) -> Signal:
    return recorded(learner, some_of(learner, even_share(learner, FIT_MOST)))


def band_passes(x: Signal, n_bands: int, n_frames: int) -> Floats:
    """(B, C, T) -> (B, C * n_bands * 2): bells in log frequency, a frame's power its mean square.

    A bell is as wide as the distance to the next, and no narrower than a window can tell apart.
    """
    n_times = x.shape[-1]
    wide = x - x.mean(axis=-1, keepdims=True)
    spectrum = scipy.fft.rfft(wide.astype(np.float32), axis=-1)
    waves = np.arange(spectrum.shape[-1]) / n_times  # per sample
    centres = np.geomspace(min(LOWEST / n_times, HIGHEST / 2), HIGHEST, n_bands)
    ratio = centres[1] / centres[0] if n_bands > 1 else 2.0
    widths = np.maximum(centres * (ratio - 1) / 2, 0.5 / n_times)
    edges = np.linspace(0, n_times, n_frames + 1).round().astype(int)
    lengths = np.maximum(np.diff(edges), 1)
    found = []
    for centre, width in zip(centres, widths, strict=True):
        bell = np.exp(-(((waves - centre) / width) ** 2) / 2).astype(np.float32)
        passed = scipy.fft.irfft(spectrum * bell, n_times, axis=-1)
        power = np.add.reduceat(passed**2, np.minimum(edges[:-1], n_times - 1), axis=-1) / lengths
        logs = np.log(power + FAINT)
        found += [logs.mean(axis=-1), logs.std(axis=-1)]
    return np.concatenate(found, axis=1).astype(np.float64)


def in_steps(x: Signal, n_steps: int) -> Floats:
    """(B, C, T) -> (B, C * steps); a window of fewer samples is its samples."""
    n_times = x.shape[-1]
    edges = np.linspace(0, n_times, min(n_steps, n_times) + 1).round().astype(int)
    means = np.add.reduceat(x.astype(np.float64), edges[:-1], axis=-1) / np.diff(edges)
    return np.asarray(means.reshape(len(x), -1))
