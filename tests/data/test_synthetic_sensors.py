"""Sensors that share a letter: what each alone can tell, what they tell together, and who lacks one."""

import numpy as np
import pytest

from citrus_ray.data.synthetic_sensors import SyntheticSensors
from citrus_ray.probe import fit

SPEC = SyntheticSensors(seed=3, n_subjects=24, windows_per_subject=20)


def powers(spec: SyntheticSensors) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Log power of every sensor around the frequency of each letter, (n, letters) each; class and person."""
    windows, speeds, found = spec.prepare(), np.geomspace(0.09, 0.36, spec.letters), []
    for stream in windows.streams:
        spectrum = np.abs(np.fft.rfft(stream.x[:, 0])) ** 2
        cycles = np.fft.rfftfreq(stream.x.shape[-1])
        bands = [spectrum[:, (cycles > 0.8 * hz) & (cycles < 1.25 * hz)].sum(axis=1) for hz in speeds]
        found.append(np.log(np.stack(bands, axis=1) + 1e-3))
    return found, windows.labels, windows.group


def score(features: np.ndarray, y: np.ndarray, group: np.ndarray) -> float:
    """Of a regression with all labels of half of the people, on others."""
    train, val, test = group < 12, (group >= 12) & (group < 16), group >= 16
    probe = fit((features[train], y[train]), (features[val], y[val]), int(y.max()) + 1)
    return float((probe(features[test]).argmax(axis=1) == y[test]).mean())


def test_sensors_tell_together_what_none_can_tell_alone():
    found, y, group = powers(SPEC)
    alone = [score(x, y, group) for x in found]
    assert max(alone) < 0.65  # two letters in four, and no sign of which: a half at best, a little more by luck
    assert score(np.concatenate(found, axis=1), y, group) > max(alone) + 0.1


def test_without_letters_of_their_own_one_sensor_is_enough():
    found, y, group = powers(SPEC.at({"own": 0.0, "rhythm": 0.5}))
    assert max(score(x, y, group) for x in found) > 0.9


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
    assert all(np.bincount(windows.labels[windows.group == g]).tolist() == [5] * 4 for g in range(24))


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
    (a, y, _), (b, z, _) = powers(one), powers(other)
    probe = fit((np.concatenate(a, 1), y), (np.concatenate(a, 1), y), 4)
    assert (probe(np.concatenate(b, 1)).argmax(axis=1) == z).mean() > 0.7
