"""Each dumb baseline wins where it must, is at chance where it must be, and sees what the trial's
fine-tune sees."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import signal
from sklearn.neighbors import KNeighborsClassifier

from citrus_ray import records
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.normalize import zscore
from citrus_ray.data.windowing.splits import Labels
from citrus_ray.data.windows import Origins, Windows
from citrus_ray.experiment.trial import Trial
from citrus_ray.spec import refuse
from citrus_ray.training import baselines as module
from citrus_ray.training import closed_form as probe
from citrus_ray.training import learner, methods
from citrus_ray.training.baselines import (
    BASELINES,
    OF_AMPLITUDE,
    baselines,
    channel_power,
    products,
    seam_of,
    squared_distances,
)
from citrus_ray.training.finetuning import Member
from citrus_ray.training.methods import powers_in_bands
from tests import small

pytestmark = pytest.mark.usefixtures("small_portfolio")

# of windows as they are: of others some baselines are scored twice, see below
SCRATCH, PRETRAINED = (
    trial.at({"finetune.target.normalize": "none"}) for trial in (small.SCRATCH, small.PRETRAINED)
)
ALL = SCRATCH.at({"finetune.labels": {"fraction": 1.0}})
N_GROUPS, PER_GROUP, N_CHANS, N_TIMES = 12, 20, 2, 64
SHAPE = (N_GROUPS * PER_GROUP, N_CHANS, N_TIMES)
CHANCE = pytest.approx(0.5, abs=0.15)  # 60 test windows: two standard errors are 0.13


def windows_with(x: np.ndarray, y: np.ndarray, n_classes: int = 2) -> Windows:
    return Windows(
        x=x.astype(np.float32),
        y=y.astype(np.int64),
        group=np.repeat(np.arange(N_GROUPS), PER_GROUP),
        sfreq=64.0,
        ch_names=("a", "b"),
        modalities=("eeg", "eeg"),
        groups=tuple(f"g{i}" for i in range(N_GROUPS)),
        classes=tuple(f"class{k}" for k in range(n_classes)),
    )


def labels(rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([rng.permutation(PER_GROUP) % 2 for _ in range(N_GROUPS)])


def loud(rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
    """White noise, twice as strong in one class."""
    return np.asarray(rng.normal(size=SHAPE) * (1 + y)[:, None, None])


def lifted(rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
    """Noise around another level in one class."""
    return np.asarray(rng.normal(size=SHAPE) + y[:, None, None])


def rhythmic(rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
    """An oscillation of random phase, of 5 or 14 Hz."""
    hz, phase = np.where(y == 0, 5, 14)[:, None, None], rng.uniform(0, 6.28, (len(y), N_CHANS, 1))
    return np.sin(2 * np.pi * hz * np.arange(N_TIMES) / 64 + phase) + 0.3 * rng.normal(size=SHAPE)


def shaped(rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
    """One waveform, backwards in one class: equal spectra."""
    wave = rng.normal(size=(N_CHANS, N_TIMES))
    return np.asarray(
        np.where(y[:, None, None] == 0, wave, wave[:, ::-1]) + 0.5 * rng.normal(size=SHAPE)
    )


def noise(rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
    return rng.normal(size=SHAPE)


def given(monkeypatch: pytest.MonkeyPatch, windows: Windows) -> None:
    """Every trial's target is now `windows`."""
    monkeypatch.setattr(cache, "load", lambda *_: windows)


def scored(monkeypatch: pytest.MonkeyPatch, make, normalised: bool) -> dict[str, float]:
    rng = np.random.default_rng(0)
    y = labels(rng)
    x = make(rng, y)
    given(monkeypatch, windows_with(zscore(x) if normalised else x, y))
    return {name: found["test/balanced_accuracy"] for name, found in baselines(ALL).items()}


# ---- where each wins and where it is at chance ----


def test_amplitude_and_band_power_see_a_louder_class(monkeypatch):
    found = scored(monkeypatch, loud, normalised=False)
    assert found["majority"] == 0.5
    assert found["amplitude"] > 0.95
    assert found["band_power"] > 0.95


def test_level_sees_a_class_of_another_mean_that_power_does_not(monkeypatch):
    found = scored(monkeypatch, lifted, normalised=False)
    assert found["level"] > 0.95
    assert found["amplitude"] == CHANCE
    assert found["band_power"] == CHANCE


def test_the_unit_of_the_signal_does_not_matter(monkeypatch):
    rng = np.random.default_rng(0)
    y = labels(rng)
    x = lifted(rng, y) + 0.3 * loud(rng, y)
    found = []
    for volts in (1.0, 1e-6):
        given(monkeypatch, windows_with(volts * x, y))
        found.append(
            {
                name: of["test/accuracy"]
                for name, of in baselines(ALL).items()
                if name != "random_encoder"
            }
        )
    assert found[0] == pytest.approx(found[1], abs=0.02)


@pytest.mark.parametrize("make", [loud, lifted])
def test_normalised_windows_hide_amplitude_and_level_from_every_baseline(monkeypatch, make):
    found = scored(monkeypatch, make, normalised=True)
    assert found["amplitude"] == found["level"] == 0.5  # exactly: rounding is no feature
    assert all(value == CHANCE for value in found.values())


def test_band_power_and_an_untrained_encoder_see_a_rhythm_that_amplitude_does_not(monkeypatch):
    found = scored(monkeypatch, rhythmic, normalised=True)
    assert found["majority"] == found["amplitude"] == found["level"] == 0.5
    assert found["band_power"] > 0.95
    assert found["random_encoder"] > 0.8


def test_the_nearest_window_and_kernels_see_a_shape_of_equal_spectrum(monkeypatch):
    found = scored(monkeypatch, shaped, normalised=True)
    assert found["majority"] == found["amplitude"] == found["level"] == 0.5
    assert found["band_power"] == CHANCE
    assert found["nearest"] == 1.0
    assert found["minirocket"] > 0.9


def test_noise_leaves_every_baseline_at_chance(monkeypatch):
    found = scored(monkeypatch, noise, normalised=False)
    assert found.keys() == BASELINES.keys()
    assert all(value == CHANCE for value in found.values())


def test_the_majority_is_that_of_the_labelled_windows(monkeypatch):
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.permutation(np.arange(PER_GROUP) < 5) for _ in range(N_GROUPS)])
    given(monkeypatch, windows_with(noise(rng, y), y))
    member = Member(SCRATCH.at({"finetune.labels": {"count": 10}}), None)
    counts = np.bincount(member.windows.labels[member.labelled])
    assert np.exp(BASELINES["majority"](member)(np.arange(3))) == pytest.approx(
        np.tile(counts + 1, (3, 1))
    )
    found = baselines(ALL)["majority"]
    assert found["test/accuracy"] == found["val/accuracy"] == 0.75
    assert found["test/balanced_accuracy"] == found["test/auroc"] == 0.5


# ---- what they see ----


def numbers(trial: Trial, split: str) -> dict[str, dict[str, float]]:
    found = baselines(trial)
    return {
        name: {k: v for k, v in of.items() if k.startswith(f"{split}/")}
        for name, of in found.items()
    }


@pytest.fixture
def rhythm(monkeypatch):
    """A rhythm that is hard enough for scores below 1."""
    rng = np.random.default_rng(1)
    y = labels(rng)
    windows = windows_with(rhythmic(rng, y) + 1.5 * rng.normal(size=SHAPE), y)
    given(monkeypatch, windows)
    return windows


def drowned(windows: Windows, index: np.ndarray, gain: float = 100) -> Windows:
    """Loud noise in place of the signals at `index`."""
    junk = windows.x.copy()
    junk[index] = gain * np.random.default_rng(2).normal(size=junk[index].shape)
    return replace(windows, x=junk)


@pytest.mark.parametrize(
    "regime", [Labels(per_class=4), Labels(count=13), Labels(fraction=0.5)], ids=str
)
def test_baselines_learn_from_the_labels_of_the_fine_tune_and_no_other(monkeypatch, rhythm, regime):
    trial = SCRATCH.at({"finetune.labels": regime.tree()})
    member, before = Member(trial, None), baselines(trial)
    hidden = np.setdiff1d(member.parts.train, member.labelled)
    assert len(hidden) > 0
    given(monkeypatch, drowned(rhythm, hidden, 1e12))
    assert baselines(trial) == before
    given(monkeypatch, drowned(rhythm, member.labelled))
    after = baselines(trial)
    assert all(
        after[name] != before[name]
        for name in BASELINES.keys() - {"majority", "amplitude", "level"}
    )


def test_test_labels_and_test_signals_change_no_validation_number(monkeypatch, rhythm):
    before, test = baselines(ALL), Member(ALL, None).parts.test
    val = numbers(ALL, "val")
    given(monkeypatch, drowned(rhythm, test))
    assert numbers(ALL, "val") == val
    wrong = rhythm.labels.copy()
    for g in np.unique(
        rhythm.group[test]
    ):  # within groups: the split looks at which classes a group has
        members = np.flatnonzero(rhythm.group == g)
        wrong[members] = np.random.default_rng(3).permutation(wrong[members])
    given(monkeypatch, replace(rhythm, y=wrong))
    assert numbers(ALL, "val") == val
    after = baselines(ALL)
    assert after["band_power"]["test/accuracy"] != before["band_power"]["test/accuracy"]


def test_validation_windows_choose_and_do_not_train(monkeypatch, rhythm):
    full = ALL.at({"finetune.validation": "full"})
    before = numbers(full, "test")
    given(monkeypatch, drowned(rhythm, Member(full, None).parts.val))
    after = numbers(full, "test")
    assert after["majority"] == before["majority"]
    assert after["nearest"] == before["nearest"]
    given(monkeypatch, rhythm)
    chosen = [probe.fit(*case).penalty for case in penalties(Member(full, None))]
    assert len(set(chosen)) > 1  # the grid is used


def test_what_scores_a_trial_neither_trains_nor_chooses_its_baselines(monkeypatch, rhythm):
    before, val = numbers(ALL, "test"), numbers(ALL, "val")
    given(monkeypatch, drowned(rhythm, Member(ALL, None).parts.val))
    assert numbers(ALL, "test") == before
    assert numbers(ALL, "val")["nearest"] != val["nearest"]


def test_where_nothing_is_chosen_baselines_have_no_validation_score():
    found = baselines(SCRATCH.at({"finetune.validation": "none"}))
    assert found.keys() == BASELINES.keys()
    assert all({name.split("/")[0] for name in of} == {"test"} for of in found.values())


def penalties(member: Member):
    """The same training features, and validation labels right and turned round."""
    sets = [
        (powers_in_bands(member.windows.x[i]), member.windows.labels[i])
        for i in (member.labelled, member.parts.val)
    ]
    return [(sets[0], sets[1], 2), (sets[0], (sets[1][0], 1 - sets[1][1]), 2)]


def test_penalties_are_chosen_by_the_metric_of_the_search_or_inside_the_labels(monkeypatch, rhythm):
    asked = []

    def spied(name: str) -> Callable[..., Any]:
        def spy(*args: Any) -> Any:
            asked.append((name, *args[3:]) if name == "fit" else (name,))
            return getattr(probe, name)(*args)

        return spy

    for name in ("fit", "fit_inside"):
        monkeypatch.setattr(learner, name, spied(name))
    ways = {"full": ("fit", "val/macro_f1"), "labels": ("fit_inside",), "none": ("fit_inside",)}
    for validation, way in ways.items():
        asked.clear()
        baselines(ALL.at({"finetune.validation": validation}), "val/macro_f1")
        assert asked == [way] * 5


def test_pre_training_changes_no_baseline():
    assert baselines(PRETRAINED) == baselines(SCRATCH)


def test_baselines_are_plain_numbers_and_the_same_every_time():
    found = baselines(SCRATCH)
    assert (
        pickle.loads(pickle.dumps(found))
        == json.loads(json.dumps(found))
        == found
        == baselines(SCRATCH)
    )
    assert all(type(value) is float for of in found.values() for value in of.values())
    assert all({name.split("/")[0] for name in of} == {"val", "test"} for of in found.values())
    assert baselines(SCRATCH.at({"seed": 1})) != found


@pytest.mark.usefixtures("small_portfolio")
def test_what_all_models_share_is_computed_once_and_again_where_it_was_damaged(
    tmp_path, monkeypatch
):
    asked: list[str] = []
    whole = module._same_for_all_models

    def spy(trial: Trial, metric: str) -> module.Scores:
        asked.append(trial.model.kind)
        return whole(trial, metric)

    monkeypatch.setattr(module, "_same_for_all_models", spy)
    plain = baselines(SCRATCH)
    asked.clear()
    assert baselines(SCRATCH, kept=tmp_path) == plain
    other = baselines(SCRATCH.at({"model": {"kind": "bank", "dim": 8}}), kept=tmp_path)
    assert asked == ["conv"]
    assert {n for n in plain if other[n] != plain[n]} <= {"random_encoder"}
    (kept,) = tmp_path.glob("*/scores.json")
    kept.write_text(kept.read_text()[:40])
    assert baselines(SCRATCH, kept=tmp_path) == plain
    assert asked == ["conv", "conv"]
    edits: dict[str, Any] = {
        "seed": 1,
        "finetune.labels": {"per_class": 5},
        "finetune.split.round": 0,
        "finetune.align": {"kind": "pad", "n_times": 131},
        "finetune.validation": "none",
        "finetune.target.seed": 99,
    }
    digests = [
        module._digest(SCRATCH.at({k: v}), "val/balanced_accuracy") for k, v in edits.items()
    ]
    assert len({*digests, kept.parent.name}) == len(edits) + 1
    # by other code they are computed anew
    monkeypatch.setattr(records, "commit", lambda: "another")
    assert module._digest(SCRATCH, "val/balanced_accuracy") != kept.parent.name


def test_test_data_are_scored_once_per_baseline(monkeypatch):
    seen = []

    def spy(y, logits, split, *rest):
        seen.append(split)
        return {f"{split}/accuracy": 1.0}

    monkeypatch.setattr(learner, "score", spy)
    baselines(SCRATCH)
    assert seen == ["val", "test"] * len(BASELINES)


# ---- their arithmetic ----


def test_the_nearest_window_is_that_of_scikit_learn(rhythm):
    member = Member(ALL, None)
    flat = member.signal(np.arange(len(rhythm))).reshape(len(rhythm), -1)
    reference = KNeighborsClassifier(1).fit(flat[member.labelled], rhythm.labels[member.labelled])
    logits = BASELINES["nearest"](member)(member.parts.test)
    assert np.array_equal(logits.argmax(axis=1), reference.predict(flat[member.parts.test]))
    distance, _ = reference.kneighbors(flat[member.parts.test])
    assert -logits.max(axis=1) == pytest.approx(distance[:, 0], rel=1e-5)


def test_distances_survive_an_offset():
    x = np.random.default_rng(0).normal(size=(5, 2, 9)).astype(np.float32)
    far = (x + 1000).astype(np.float32)
    straight = ((far[:, None].astype(np.float64) - far[None]) ** 2).sum(axis=(2, 3))
    assert squared_distances(far, far) == pytest.approx(straight, abs=1e-5)


def test_band_powers_are_those_of_a_periodogram():
    x = np.random.default_rng(0).normal(size=(3, 2, 256)).astype(np.float32)
    hz, power = signal.periodogram(
        x.astype(np.float64), fs=128, detrend="constant", scaling="spectrum"
    )
    power[..., -1] *= 2  # one-sided: scipy doubles all but the last
    inside = [(hz > low) & (hz <= high) for low, high in pairwise((0, 4, 8, 13, 30, 64))]
    ratio = powers_in_bands(x) / np.concatenate(
        [power[..., band].mean(axis=-1) for band in inside], axis=1
    )
    assert ratio == pytest.approx(np.full_like(ratio, 256**2 / 2), rel=1e-6)
    assert powers_in_bands(x + 7) == pytest.approx(powers_in_bands(x), rel=1e-3)


@pytest.mark.parametrize(("n_times", "n_bands"), [(1, 0), (2, 1), (4, 1), (8, 2), (64, 5), (65, 5)])
def test_a_band_without_a_frequency_is_left_out(n_times, n_bands):
    x = np.random.default_rng(0).normal(size=(3, 2, n_times)).astype(np.float32)
    assert powers_in_bands(x).shape == (3, 2 * n_bands)
    assert channel_power(x).shape == (3, 2)


def test_the_untrained_encoder_keeps_channels_apart_where_the_network_does(monkeypatch):
    """Which channel carries the rhythm is the class: pooled over channels, there is nothing to
    see."""
    rng = np.random.default_rng(0)
    y = labels(rng)
    x = 0.3 * rng.normal(size=SHAPE)
    x[np.arange(len(y)), y] += np.sin(0.5 * np.arange(N_TIMES) + rng.uniform(0, 6.28, (len(y), 1)))
    given(monkeypatch, windows_with(zscore(x.astype(np.float32)), y))
    found = [baselines(ALL.at({"finetune.pool": pool})) for pool in ("mean", "channels")]
    together, apart = (of["random_encoder"]["test/balanced_accuracy"] for of in found)
    assert together == CHANCE
    assert apart > 0.8


def test_silence_gives_numbers(monkeypatch, rhythm):
    x = rhythm.x.copy()
    x[::3] = 0
    x[:, 1] = 5.0
    given(monkeypatch, replace(rhythm, x=x))
    assert all(np.isfinite(list(of.values())).all() for of in baselines(ALL).values())


def test_one_window_at_a_time_gives_the_same_numbers(monkeypatch, rhythm):
    before = baselines(ALL)
    monkeypatch.setattr(methods, "BLOCK", 3 * N_CHANS * N_TIMES)
    after = baselines(ALL)
    for name, of in before.items():
        assert after[name] == pytest.approx(of, abs=0.02)
    assert after["nearest"]["test/accuracy"] == before["nearest"]["test/accuracy"]


# ---- without normalisation ----

AGAIN = {f"raw_{name}": name for name in OF_AMPLITUDE}


def given_both(monkeypatch: pytest.MonkeyPatch, as_asked: Windows, raw: Windows) -> None:
    def load(source: Any, *_: Any) -> Windows:
        return raw if source.normalize == "none" else as_asked

    monkeypatch.setattr(cache, "load", load)


def loud_windows() -> tuple[Windows, Windows]:
    """A class that is louder: windows of one spread, and as they were."""
    rng = np.random.default_rng(0)
    y = labels(rng)
    x = loud(rng, y)
    return windows_with(zscore(x), y), windows_with(x, y)


def test_what_normalising_took_away_is_scored_on_the_same_windows_without_it(monkeypatch):
    given_both(monkeypatch, *loud_windows())
    found = baselines(ALL.at({"finetune.target.normalize": "window"}))
    assert found.keys() == BASELINES.keys() | AGAIN.keys()
    assert found["amplitude"]["test/accuracy"] == CHANCE
    assert found["raw_amplitude"]["test/accuracy"] > 0.95
    plain = baselines(ALL)
    assert plain.keys() == BASELINES.keys(), "nothing was taken away from these"
    assert all(found[again] == plain[name] for again, name in AGAIN.items())


def test_a_source_gives_the_same_windows_with_normalisation_and_without():
    seen = baselines(small.SCRATCH)
    assert {again: seen[again] for again in AGAIN} == {
        again: baselines(SCRATCH)[name] for again, name in AGAIN.items()
    }


def fewer_windows(raw: Windows) -> Windows:
    return raw.take(np.arange(len(raw) - 1))


def other_labels(raw: Windows) -> Windows:
    return replace(raw, y=1 - raw.labels)


def other_people(raw: Windows) -> Windows:
    return replace(raw, group=raw.group[::-1].copy())


@pytest.mark.parametrize("other", [fewer_windows, other_labels, other_people])
def test_windows_that_do_not_line_up_without_normalisation_are_not_scored(monkeypatch, other):
    as_asked, raw = loud_windows()
    given_both(monkeypatch, as_asked, other(raw))
    found = baselines(ALL.at({"finetune.target.normalize": "window"}))
    assert [found[name] for name in AGAIN] == [{}] * len(AGAIN)
    assert all(found[name] for name in BASELINES)


def test_a_set_that_has_no_windows_without_normalisation_has_the_other_baselines(monkeypatch):
    as_asked, _ = loud_windows()

    def load(source: Any, *_: Any) -> Windows:
        if source.normalize == "none":
            raise refuse("recordings in uV and mV; set `normalize: window`")
        return as_asked

    monkeypatch.setattr(cache, "load", load)
    found = baselines(ALL.at({"finetune.target.normalize": "window"}))
    assert [found[name] for name in AGAIN] == [{}] * len(AGAIN)


# ---- of pairs ----

N_VOLUMES = 16  # in A, and in B


def pairs_of(x: np.ndarray, y: np.ndarray) -> Windows:
    """Pairs (n, C, 2T), both from the one run of their group."""
    run = np.repeat(np.arange(N_GROUPS), PER_GROUP)
    both = np.stack([run, run], axis=1)
    return replace(windows_with(x, y), origins=Origins(both, both, np.zeros_like(both)))


def scored_pairs(monkeypatch: pytest.MonkeyPatch, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    given(monkeypatch, pairs_of(x, y))
    return {name: found["test/balanced_accuracy"] for name, found in baselines(ALL).items()}


def test_the_seam_alone_sees_that_one_volume_went_over_into_the_next(monkeypatch):
    rng = np.random.default_rng(0)
    y = labels(rng)
    x = rng.normal(size=(len(y), N_CHANS, 2 * N_VOLUMES))
    x[y == 1, :, N_VOLUMES] = x[y == 1, :, N_VOLUMES - 1] + 0.1 * rng.normal(
        size=((y == 1).sum(), N_CHANS)
    )
    found = scored_pairs(monkeypatch, x, y)
    assert found.pop("seam") > 0.9
    assert all(value == CHANCE for value in found.values()), found


def test_the_bilinear_read_out_sees_the_channel_in_which_a_and_b_have_one_sign(monkeypatch):
    rng = np.random.default_rng(0)
    y = labels(rng)
    a, b = rng.choice([-1, 1], size=(2, len(y), N_CHANS))
    b[:, 1] = np.where(y == 1, a[:, 1], -a[:, 1])
    means = np.repeat(np.stack([a, b], axis=2), N_VOLUMES, axis=2)
    found = scored_pairs(monkeypatch, 3.0 + means + 2 * rng.normal(size=means.shape), y)
    assert found["bilinear"] > 0.9
    assert found["halves"] == CHANCE  # what each shows alone
    assert found["seam"] == CHANCE  # one volume of each


def test_the_seam_is_the_distance_and_correlation_of_the_two_volumes_that_meet():
    x = np.random.default_rng(0).normal(size=(5, 7, 8)).astype(np.float32)
    expected = [
        [np.sqrt(((p - q) ** 2).mean()), np.corrcoef(p, q)[0, 1]]
        for p, q in zip(x[..., 3], x[..., 4], strict=True)
    ]
    assert seam_of(x) == pytest.approx(np.array(expected), rel=1e-4)


def test_products_are_linear_in_a_and_in_b():
    rng = np.random.default_rng(0)
    a, other, b = rng.normal(size=(3, 5, 7, 4)).astype(np.float32)
    none = np.zeros(7)
    whole, one, two = (
        products(np.concatenate([z, b], axis=2), none) for z in (a + other, a, other)
    )
    assert whole == pytest.approx(one + two, rel=1e-3, abs=1e-6)


def test_an_untrained_encoder_of_many_features_is_read_by_a_ridge(monkeypatch):
    asked: list[Member] = []

    def spy(member: Member, *_: Any) -> methods.Predict:
        asked.append(member)
        return module.majority(member)

    monkeypatch.setattr(module, "ridge", spy)
    wide = {"finetune.pool": "channels", "finetune.head": {"bins": 4, "moments": True}}
    for model, edits in (("conv", {}), ("conv", wide), ({"kind": "conv", "dim": 96}, wide)):
        member = Member(SCRATCH.at({"model": model, **edits}), None)
        module.random_encoder(member)
    assert len(asked) == 1
    assert asked[0].trial.model.width == 96
