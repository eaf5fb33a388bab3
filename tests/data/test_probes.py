"""What little knows of a set: chance, one feature, the time, the person; and that people who test
are not looked at."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from citrus_ray.data.fingerprints import fingerprints_of
from citrus_ray.data.tools.describe import main_describe, render, split_of, told_by_little
from citrus_ray.data.tools.probes import features, probe
from citrus_ray.data.tools.quality import measure
from citrus_ray.data.windowing.splits import Split, split
from citrus_ray.data.windows import Origins, Windows
from tests.data.test_describe import N_GROUPS, PER_GROUP, healthy
from tests.small import SOURCE

Y = np.tile(np.arange(PER_GROUP) % 2, N_GROUPS)
RNG = np.random.default_rng(1)
NOISE = RNG.normal(size=(len(Y), 2, 64)).astype(np.float32)


def noisy(**edits: Any) -> Windows:
    return healthy(**({"x": NOISE} | edits))


def said(windows: Windows) -> str:
    return "\n".join(told_by_little(measure(windows, "set"), probe(windows, Split())))


def test_of_noise_nothing_is_said_and_chance_is_chance():
    found = probe(noisy(), Split())
    assert (found.chance, found.majority) == (0.5, 0.5)
    assert found.one_feature
    assert found.one_feature.score == pytest.approx(0.5, abs=0.15)
    assert found.recognised
    assert found.recognised.right < 0.4
    assert said(noisy()) == ""


def test_a_set_that_one_feature_solves_is_named_with_the_feature():
    x = NOISE.copy()
    x[Y == 1, 1] *= 3
    found = probe(noisy(x=x), Split()).one_feature
    assert found
    assert found.name in ("spread of b", "roughness of b")
    assert found.score > 0.95
    assert "solved by one feature: " in said(noisy(x=x))


def test_windows_that_say_who_they_are_of_are_warned_of():
    x = NOISE + 4 * np.arange(N_GROUPS, dtype=np.float32).repeat(PER_GROUP)[:, None, None]
    found = probe(noisy(x=x), Split()).recognised
    assert found
    assert (found.right, found.groups) == (1.0, 8)
    assert "with few people to learn from, a model may learn them" in said(noisy(x=x))
    trait = np.repeat(np.arange(N_GROUPS) % 2, PER_GROUP)
    assert "a model may learn people, not classes" in said(noisy(x=x, y=trait))


def test_a_class_that_follows_the_clock_is_warned_of():
    first = np.tile(np.arange(PER_GROUP) * 64, N_GROUPS)
    run = np.repeat(np.arange(N_GROUPS), PER_GROUP)
    origins = Origins(run, run, first)
    late = noisy(y=(first > 64 * PER_GROUP // 2).astype(np.int64), origins=origins)
    found = probe(late, Split()).time
    assert found
    assert found.score == 1
    assert "when a window was recorded tells its class (1.00, chance 0.50)" in said(late)
    anyhow = RNG.permuted(Y.reshape(N_GROUPS, -1), axis=1).ravel()
    assert "when a window" not in said(noisy(y=anyhow, origins=origins))


def test_people_who_test_are_named_and_not_looked_at():
    windows = noisy()
    test = split(windows, Split(), 0).test
    other = NOISE.copy()
    other[test] = 1e6 * RNG.normal(size=other[test].shape)
    one, two = probe(windows, Split()), probe(noisy(x=other), Split())
    assert replace(one, shared=()) == replace(two, shared=())
    assert one.parts[-1].name == "test"
    names = {windows.groups[g] for g in windows.group[test]}
    assert set(one.parts[-1].groups) == names
    assert f"held out    {', '.join(sorted(names))}: tested" in render(measure(windows, "s"), one)


def test_of_values_parts_and_who_tests_are_said_and_nothing_of_classes():
    values = noisy(y=RNG.normal(size=len(Y)), classes=(), target="value")
    found = probe(values, Split())
    assert [part.windows for part in found.parts] == [72, 24, 24]
    assert (found.chance, found.one_feature, found.recognised) == (None, None, None)
    assert "\ntest        2 groups, 24 windows\n" in render(measure(values, "s"), found)


def test_groups_that_share_a_recording_are_named():
    same = RNG.normal(size=(1, 4000))
    known = [fingerprints_of(RNG.normal(size=(1, 4000)), [32.0]) for _ in range(N_GROUPS - 2)]
    known += [fingerprints_of(same, [32.0]) for _ in range(2)]
    for number, of in enumerate(known):
        of["run"] = number
    run = np.repeat(np.arange(N_GROUPS), PER_GROUP)
    origins = Origins(run, run, np.tile(np.arange(PER_GROUP) * 64, N_GROUPS))
    found = noisy(origins=origins, fingerprints=np.concatenate(known))
    assert probe(found, Split()).shared == ("g8 and g9",)
    assert "1 pairs of groups share samples of their recordings: g8 and g9" in said(found)


def test_features_are_those_of_numpy_whatever_the_size_of_blocks(monkeypatch):
    names, index, x = features(noisy(), np.arange(50))
    assert names[:3] == ["mean of a", "mean of b", "spread of a"]
    assert x[:, 1] == pytest.approx(NOISE[:50, 1].mean(axis=-1), abs=1e-6)
    assert x[:, 2] == pytest.approx(np.log(NOISE[:50, 0].std(axis=-1)), abs=1e-5)
    monkeypatch.setattr("citrus_ray.data.tools.probes.BLOCK", 3 * 128)
    assert np.array_equal(features(noisy(), index)[2], x)


def test_the_split_is_that_which_stands_beside_the_target(tmp_path, capsys):
    path = tmp_path / "s.yaml"
    text = f"finetune:\n  target: {SOURCE.model_dump_json()}\n  split: {{test: 0.5, seed: 3}}\n"
    path.write_text(text)
    assert split_of(f"{path}:finetune.target") == Split(test=0.5, seed=3)
    assert split_of("bonn5") == split_of("{kind: synthetic}") == Split()
    assert main_describe([f"{path}:finetune.target"]) == 0
    assert "\ntest        4 groups, 32 windows: 5 Hz 16, 12 Hz 16\n" in capsys.readouterr().out
