"""Who a window is of: how much of an embedding that is, and what is left when it is taken away."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import f_oneway

from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.subjects import by_subject, check_subjects
from citrus_ray.data.windows import Windows
from citrus_ray.experiment.dry_run import check_data
from citrus_ray.experiment.trial import Trial
from citrus_ray.models.nets.subjects import Erasure
from citrus_ray.spec import SpecError
from citrus_ray.training.baselines import random_encoder
from citrus_ray.training.finetuning import Member
from citrus_ray.training.identity import subject_share
from citrus_ray.training.members import Population
from citrus_ray.training.pretraining import ensure_encoder
from tests.small import PRETRAINED, SCRATCH, SOURCE, sweep_of, windows_of
from tests.training.test_vmapped import assert_alike, finished, members

PROBE = {"finetune.mode": "probe", "finetune.steps": 100, "finetune.rounds": 10}
PROBE |= {"finetune.optim": {"batch_size": 32}}
SUBJECT = np.repeat(np.arange(20), 30)
ERASE, RECENTRE = ({"finetune.subjects": how} for how in ("erase", "recentre"))
HOWS = ("keep", "erase", "recentre")
SCALED = {"finetune.head": {"standardise": True, "moments": True}}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def done(trial: Trial) -> Member:
    member = Member(trial, ensure_encoder(trial))
    member.finish()
    return member


# ---- how much of an embedding it is ----


def test_the_share_of_the_subject_is_that_of_an_analysis_of_variance() -> None:
    x = rng().normal(size=(600, 1)) + rng(1).normal(size=20)[SUBJECT, None]
    f = f_oneway(*(x[g == SUBJECT, 0] for g in range(20))).statistic
    assert subject_share(x, SUBJECT) == pytest.approx(19 * (f - 1) / (19 * (f - 1) + 600))


def test_it_is_what_subjects_were_drawn_with_and_nothing_where_they_were_not() -> None:
    planted = 0.75**0.5 * rng(1).normal(size=(2000, 8))
    who = np.repeat(np.arange(400), 5)
    assert subject_share(planted + 0.5 * rng(2).normal(size=(400, 8))[who], who) == pytest.approx(
        0.25, abs=0.02
    )
    by_chance = [subject_share(rng(i).normal(size=(40, 4)), np.arange(40) % 10) for i in range(50)]
    assert np.mean([value for value in by_chance if value is not None]) == pytest.approx(
        0, abs=0.02
    )


def test_nothing_is_said_where_nobody_can_be_told_apart() -> None:
    assert subject_share(rng().normal(size=(9, 2)), np.zeros(9, dtype=np.int64)) is None
    assert subject_share(rng().normal(size=(9, 2)), np.arange(9)) is None
    assert subject_share(np.ones((9, 2)), np.arange(9) % 3) is None


def test_as_many_windows_of_each_subject_and_nobody_of_one_window() -> None:
    group = np.repeat([0, 1, 2, 3], [1, 2, 50, 500])
    windows = windows_of(np.zeros(len(group)), group, 1)
    found = by_subject(windows, np.arange(len(group)), 90)
    assert np.bincount(group[found]).tolist() == [0, 2, 30, 30]
    assert len(by_subject(windows, np.arange(len(group)), 4)) == 4


def scored(trial: Trial) -> dict[str, float]:
    found = Population([trial], [ensure_encoder(trial)], "val/balanced_accuracy")
    while found.advance() is not None:
        pass
    before = found.states[0].metrics
    assert not [name for name in before if name.startswith("identity/")], "finals alone"
    found.score_test()
    assert found.states[0].reason is None
    return found.states[0].metrics


def test_finals_say_it_of_the_encoder_that_they_start_from_and_of_an_untrained_one() -> None:
    """Whatever the fine-tune then does to it."""
    scratch, trained = scored(SCRATCH), scored(PRETRAINED)
    assert scratch["identity/start"] == scratch["identity/untrained"]
    assert trained["identity/untrained"] == scratch["identity/untrained"]
    frozen = scored(PRETRAINED.at(PROBE))
    assert trained["identity/start"] == frozen["identity/start"] != trained["identity/untrained"]


def test_it_is_measured_on_training_subjects_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before, windows = Member(SCRATCH, None), SOURCE.prepare()
    noisy = windows.x.copy()
    noisy[before.parts.test] = 100
    given(monkeypatch, replace(windows, x=noisy))
    assert Member(SCRATCH, None).identity() == before.identity()


def test_a_method_without_a_network_has_none() -> None:
    found = scored(SCRATCH.at({"model": {"kind": "band_power"}}))
    assert not [name for name in found if name.startswith("identity/")]


# ---- erased ----


def planted(n: int = 600) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features (n, 16) of 20 subjects who differ along two directions, of two classes along
    another, on scales from 1 to 100."""
    basis = torch.linalg.qr(torch.from_numpy(rng().normal(size=(16, 16))))[0]
    y, subject = torch.arange(n) % 2, torch.from_numpy(SUBJECT[:n])
    of_subject = torch.from_numpy(rng(1).normal(size=(20, 2)))
    x = torch.from_numpy(rng(2).normal(size=(n, 16)))
    x += 4 * of_subject[subject] @ basis[:2] + 2 * (2.0 * y[:, None] - 1) * basis[2]
    return (x * torch.logspace(0, 2, 16)).float(), y, subject


def test_erasing_leaves_the_class_and_nothing_of_the_subject() -> None:
    x, y, subject = planted()
    assert (subject_share(x.numpy(), subject.numpy()) or 0) > 0.3
    erasure = Erasure(16)
    assert torch.equal(erasure(x), x), "nothing before it is fitted"
    erasure.fit(x, subject)
    rest = erasure(x)
    assert int(erasure.directions.any(dim=0).sum()) == 2
    scaled = rest / x.std(dim=0)
    assert abs(subject_share(scaled.numpy(), subject.numpy()) or 0) < 0.02
    gap = (scaled[y == 1].mean(dim=0) - scaled[y == 0].mean(dim=0)).norm()
    whole = (x / x.std(dim=0))[y == 1].mean(dim=0) - (x / x.std(dim=0))[y == 0].mean(dim=0)
    assert float(gap / whole.norm()) > 0.8


def test_what_means_of_few_windows_vary_by_anyway_is_not_taken_for_subjects() -> None:
    subject = np.repeat(np.arange(40), 30)
    x = rng().normal(size=(1200, 10))
    x[:, 0] += 2 * rng(1).normal(size=40)[subject]
    erasure = Erasure(10)
    erasure.fit(torch.from_numpy(x).float(), torch.from_numpy(subject))
    assert int(erasure.directions.any(dim=0).sum()) == 1
    assert float(erasure.directions[0].abs().max()) > 0.9


def test_features_of_small_numbers_count_as_much_as_those_of_large_ones() -> None:
    x = rng().normal(size=(600, 10)) + 4 * np.eye(10)[0] * rng(1).normal(size=20)[SUBJECT, None]
    x[:, 1] = 100 * (x[:, 1] + 0.5 * rng(2).normal(size=20)[SUBJECT])
    erasure = Erasure(10)
    erasure.fit(torch.from_numpy(x).float(), torch.from_numpy(SUBJECT))
    rest = erasure(torch.from_numpy(x).float())[:, :1]
    assert abs(subject_share(rest.numpy(), SUBJECT) or 0) < 0.1


def test_it_is_a_linear_map_that_changes_nothing_the_second_time() -> None:
    x, _, subject = planted()
    erasure = Erasure(16)
    erasure.fit(x, subject)
    once = erasure(x)
    assert torch.allclose(erasure(once), once, atol=1e-3)
    share = torch.tensor(0.3)
    mixed = share * x[:300] + (1 - share) * x[300:]
    assert torch.allclose(erasure(mixed), share * once[:300] + (1 - share) * once[300:], atol=1e-3)


def test_at_most_half_of_the_features_and_one_direction_less_than_subjects_go() -> None:
    x = torch.from_numpy(rng().normal(size=(600, 10)) + 9 * rng(1).normal(size=(20, 10))[SUBJECT])
    few, many = Erasure(10), Erasure(10)
    many.fit(x.float(), torch.from_numpy(SUBJECT))
    assert int(many.directions.any(dim=0).sum()) == 5
    few.fit(x.float()[:90], torch.from_numpy(SUBJECT[:90]))
    assert int(few.directions.any(dim=0).sum()) <= 2


@pytest.mark.parametrize("edits", [PROBE, SCALED, {}], ids=["probe", "scaled", "full"])
def test_what_is_erased_is_fitted_on_training_subjects_before_the_first_step(
    edits: dict[str, Any],
) -> None:
    trial = SCRATCH.at({**edits, **ERASE})
    member, plain = Member(trial, None), Member(trial.at({"finetune.subjects": "keep"}), None)
    known = by_subject(plain.windows, plain.parts.train, 2048)
    assert set(known) == set(plain.parts.train), "all of so few windows"
    want = Erasure(member.classifier.head.linear.in_features)
    want.fit(torch.from_numpy(plain.features(known)), torch.from_numpy(plain.windows.group[known]))
    assert member.classifier.erasure is not None
    assert want.directions.any()
    assert torch.allclose(member.classifier.erasure.directions, want.directions, atol=1e-4)
    before = member.classifier.erasure.directions.clone()
    member.finish()
    assert torch.equal(member.classifier.erasure.directions, before)


@pytest.mark.parametrize("edits", [PROBE, SCALED, {}], ids=["probe", "scaled", "full"])
def test_kept_weights_hold_what_is_erased(edits: dict[str, Any]) -> None:
    trial = SCRATCH.at({**edits, **ERASE})
    member, other = done(trial), Member(trial.at({"seed": 5}), None)
    x = member._tensor(member.parts.test)
    want = member.predict(member.parts.test)
    other.classifier.load_state_dict(member.classifier.state_dict())
    assert other.classifier.eval()(x).detach().numpy() == pytest.approx(want, abs=1e-4)


def test_stacked_members_that_erase_get_the_numbers_that_they_get_alone() -> None:
    trials = members(SCRATCH.at(ERASE))
    together = finished(trials, True)
    assert len(together.vmap_groups) == 1
    assert_alike(together, finished(trials, False))


# ---- re-centred ----


@pytest.mark.parametrize("edits", [{}, SCALED], ids=["plain", "scaled"])
def test_recentred_every_subject_has_the_mean_of_those_who_train(edits: dict[str, Any]) -> None:
    member = Member(SCRATCH.at({**PROBE, **edits, **RECENTRE}), None)
    plain = Member(SCRATCH.at({**PROBE, **edits}), None)
    group, train = member.windows.group, member.parts.train
    means = [
        plain.features(np.flatnonzero(group == g)).mean(axis=0) for g in np.unique(group[train])
    ]
    for g in np.unique(group):
        own = np.flatnonzero(group == g)
        assert member.features(own).mean(axis=0) == pytest.approx(np.mean(means, axis=0), abs=1e-4)
        within = plain.features(own) - plain.features(own).mean(axis=0)
        found = member.features(own) - member.features(own).mean(axis=0)
        assert found == pytest.approx(within, abs=1e-4)


def test_scale_of_parts_is_of_recentred_windows() -> None:
    member = Member(SCRATCH.at({**PROBE, **SCALED, **RECENTRE}), None)
    assert member._normed(member.labelled).mean(axis=0) == pytest.approx(0, abs=1e-4)


def given(monkeypatch: pytest.MonkeyPatch, windows: Windows) -> None:
    """Every trial's target is now `windows`."""
    monkeypatch.setattr(cache, "load", lambda *_: windows)


def test_the_untrained_encoder_beside_it_reads_what_its_head_would() -> None:
    logits = []
    for how in HOWS:
        member = Member(SCRATCH.at({**PROBE, "finetune.subjects": how}), None)
        logits.append(random_encoder(member)(member.parts.test))
        probe = member.regression(member.features, member.windows.labels, 2)
        want = probe(member.features(member.parts.test))
        assert logits[-1] == pytest.approx(want, abs=1e-4)
    assert not np.allclose(logits[0], logits[1])
    assert not np.allclose(logits[0], logits[2])


# ---- where it means nothing ----


def test_keeping_subjects_is_what_was_always_done() -> None:
    assert SCRATCH.at({"finetune.subjects": "keep"}).digest() == SCRATCH.digest()
    assert "subjects" not in SCRATCH.finetune.identity()
    probes = {SCRATCH.at({**PROBE, "finetune.subjects": how}).digest() for how in HOWS}
    assert len(probes) == 3
    method = SCRATCH.at({"model": {"kind": "tangent"}})
    assert method.at(ERASE).digest() == method.digest(), "it has no features to erase from"


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(
        SpecError, match=r"subjects=recentre: .* mode=full trains; give `mode: froz"
    ):
        SCRATCH.at(RECENTRE)
    with pytest.raises(SpecError, match=r"subjects=erase: late fusion .* give `pool: channels`"):
        SCRATCH.at({**ERASE, "finetune.pool": "late"})


def test_sets_without_subjects_are_refused() -> None:
    one, two = np.arange(40), np.repeat(np.arange(20), 2)
    y = np.arange(40) % 2
    parts = Member(SCRATCH, None).parts
    of_40 = replace(parts, train=np.arange(20))
    with pytest.raises(
        SpecError, match=r"subjects=erase: .* there are 0 of 20; give `subjects: ke"
    ):
        check_subjects(windows_of(y, one, 2), of_40, "erase")
    check_subjects(windows_of(y, two, 2), of_40, "erase")
    with pytest.raises(
        SpecError, match="subjects=recentre: every subject has windows of one class"
    ):
        check_subjects(windows_of(two % 2, two, 2), of_40, "recentre")


def test_a_plan_says_so_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = sweep_of(trial=SCRATCH.at(ERASE).tree(), search={}, compare={}, repeat={})
    check_data(sweep)
    windows = SOURCE.prepare()
    alone = replace(windows, group=np.arange(64), groups=tuple(f"g{i:02d}" for i in range(64)))
    given(monkeypatch, alone)
    with pytest.raises(SpecError, match=r"trial.finetune.subjects: subjects=erase"):
        check_data(sweep)
    with pytest.raises(SpecError, match="subjects=erase"):
        Member(SCRATCH.at(ERASE), None)
