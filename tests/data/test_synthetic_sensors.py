"""Sensors that share a letter: what each alone can tell, what they tell together, and who lacks
one."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from citrus_ray.data.sources.synthetic_sensors import SyntheticSensors
from citrus_ray.training.closed_form import fit

Look = Callable[[np.ndarray], np.ndarray]

SPEC = SyntheticSensors(seed=3, n_subjects=24, windows_per_subject=20)


def edges(x: np.ndarray) -> np.ndarray:
    """(n, T) -> (n, 4): the largest jump of each kind, by its direction and by the side on which it
    dies away."""
    x = x - np.median(x, axis=1, keepdims=True)
    beside = sliding_window_view(x, 4, axis=1).mean(axis=2)
    jump, before, after = np.diff(x, axis=1)[:, 3:-3], beside[:, :-4], beside[:, 4:]
    kinds = [(1, after), (1, -before), (-1, -after), (-1, before)]
    return np.stack(
        [(np.maximum(sign * jump, 0) * np.maximum(level, 0)).max(axis=1) for sign, level in kinds],
        axis=1,
    )


def seen(spec: SyntheticSensors, look: Look) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """What `look` finds in every sensor, class and person."""
    windows = spec.prepare()
    return (
        [np.log(look(stream.x[:, 0]) + 1e-2) for stream in windows.streams],
        windows.labels,
        windows.group,
    )


def powers(x: np.ndarray) -> np.ndarray:
    """(n, T) -> (n, 16): power in bands."""
    spectrum = np.abs(np.fft.rfft(x)) ** 2
    return np.stack([band.sum(axis=1) for band in np.array_split(spectrum, 16, axis=1)], axis=1)


def score(features: np.ndarray, y: np.ndarray, group: np.ndarray) -> float:
    """Of a regression with all labels of half of the people, on others."""
    train, val, test = group < 12, (group >= 12) & (group < 16), group >= 16
    probe = fit((features[train], y[train]), (features[val], y[val]), int(y.max()) + 1)
    return float((probe(features[test]).argmax(axis=1) == y[test]).mean())


def test_sensors_tell_together_what_none_can_tell_alone():
    found, y, group = seen(SPEC, edges)
    alone = [score(x, y, group) for x in found]
    # two letters in four, and no sign of which: a half at best, a little more by luck
    assert max(alone) < 0.65
    assert score(np.concatenate(found, axis=1), y, group) > max(alone) + 0.1


def test_without_letters_of_their_own_one_sensor_is_enough_but_not_its_spectrum():
    plain = SPEC.at({"own": 0.0})
    found, y, group = seen(plain, edges)
    assert min(score(x, y, group) for x in found) > 0.9
    found, y, group = seen(plain, powers)
    assert score(np.concatenate(found, axis=1), y, group) < 0.4  # 0.25 is chance


def test_all_letters_have_one_magnitude_spectrum():
    windows = SyntheticSensors(
        own=0.0, rhythm=0.0, noise=0.0, n_subjects=1, windows_per_subject=400
    ).prepare()
    for stream in windows.streams:
        # of the mean, normalising leaves nothing
        spectra = np.abs(np.fft.rfft(stream.x[:, 0]))[:, 1:]
        of_each = np.stack([spectra[windows.labels == k].mean(axis=0) for k in range(4)])
        np.testing.assert_allclose(of_each / of_each.mean(axis=0), 1.0, atol=0.1)


def test_every_sensor_has_its_own_rate_and_length():
    windows = SPEC.prepare()
    assert [(s.sfreq, s.x.shape) for s in windows.streams] == [
        (64.0, (480, 1, 128)),
        (48.0, (480, 1, 96)),
        (32.0, (480, 1, 64)),
    ]
    assert len({s.modalities for s in windows.streams}) == 3


def test_classes_are_balanced_within_every_person():
    windows = SPEC.prepare()
    assert all(
        np.bincount(windows.labels[windows.group == g]).tolist() == [5] * 4 for g in range(24)
    )


def test_a_share_of_people_lacks_one_sensor_altogether():
    windows = SPEC.at({"absent": 0.5}).prepare()
    gone = np.stack([np.isnan(s.x).all(axis=(1, 2)) for s in windows.streams], axis=1)
    assert not (gone.sum(axis=1) > 1).any()
    lacks = gone.reshape(24, 20, 3)
    assert (lacks == lacks[:, :1]).all()
    assert float(gone.any(axis=1).mean()) == pytest.approx(0.5, abs=0.25)


def test_a_seed_makes_other_people_who_show_letters_in_the_same_way():
    one, other = SPEC, SPEC.at({"seed": 4})
    assert not np.array_equal(one.prepare().x, other.prepare().x)
    (a, y, _), (b, z, _) = seen(one, edges), seen(other, edges)
    probe = fit((np.concatenate(a, 1), y), (np.concatenate(a, 1), y), 4)
    assert (probe(np.concatenate(b, 1)).argmax(axis=1) == z).mean() > 0.7
