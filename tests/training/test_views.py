"""Views of windows: what each is made of, what its head learns from, and how votes are averaged."""

import numpy as np
import pytest
from pydantic import ValidationError

from citrus_ray.data.windowing.splits import folds_inside
from citrus_ray.experiment.trial import Trial
from citrus_ray.models.specs import Conv
from citrus_ray.models.views import VIEWS, Bands, Encoded, Views
from citrus_ray.training import views as voting
from citrus_ray.training.closed_form import Ridge
from citrus_ray.training.features import band_passes, in_steps
from citrus_ray.training.learner import Learner
from citrus_ray.training.members import learner_of
from citrus_ray.training.methods import Solved
from citrus_ray.training.pretraining import ensure_encoder
from tests.small import FULL, PRETRAINED, SCRATCH

KNOWN = {"finetune.labels": {"per_class": 12}}
QUICK = {"kind": "views", "steps": 40, "members": 3, "votes": "half"}
SMALL: dict[str, dict[str, object]] = {
    "kernels": {"n": 84},
    "rocket": {"n": 84},
    "trees": {"n": 8},
    "encoder": {"head": {"moments": True, "bins": 2}},
}


def trial_of(*of: object, base: Trial = SCRATCH, **sizes: object) -> Trial:
    return base.at(KNOWN).at({"model": QUICK | {"of": list(of)} | sizes})


def views_of(*of: object) -> Views:
    return Views.model_validate({"of": of})


def solved(trial: Trial) -> Solved:
    found = learner_of(trial, ensure_encoder(trial))
    assert isinstance(found, Solved)
    found.finish()
    return found


def ensemble_of(learner: Solved) -> voting.Ensemble:
    assert isinstance(learner._predict, voting.Ensemble)
    return learner._predict


# not those that a signal of random phase is drawn by lot for: its samples, an untrained encoder
@pytest.mark.parametrize("kind", sorted(VIEWS.keys() - {"time", "encoder"}))
def test_every_view_alone_tells_the_classes(kind):
    learner = solved(trial_of({"kind": kind, **SMALL.get(kind, {})}, steps=80))
    assert learner.score_test()["test/balanced_accuracy"] > 0.7


def test_a_view_is_named_by_a_word_and_an_encoder_by_its_kind():
    spec = views_of("bands", {"kind": "conv", "dim": 8})
    assert spec.of == (Bands(), Encoded(model=Conv(dim=8)))
    assert spec.names == ["bands", "conv"]
    twice = views_of("conv", {"kind": "encoder", "model": "conv", "pretrained": False})
    assert twice.names == ["conv", "untrained conv"]
    assert views_of({"kind": "bands", "n": 4}, "bands").names == ["bands 1", "bands 2"]


def test_one_encoder_at_most_is_pretrained_and_no_view_stands_twice():
    with pytest.raises(ValidationError, match="one encoder at most"):
        views_of("conv", "bank")
    with pytest.raises(ValidationError, match="name each view once"):
        views_of("bands", "bands")
    with pytest.raises(ValidationError, match="names no view"):
        views_of()


def test_the_pretrained_encoder_is_that_of_the_model_alone_and_makes_another_view():
    alone = PRETRAINED.at(KNOWN)
    trial = alone.at({"model": QUICK | {"of": ["bands", alone.model.tree()]}})
    assert trial.encoder_digest() == alone.encoder_digest()
    scratch = trial.at({"pretrain.task": None})
    assert scratch.encoder_digest() is None
    pair = [ensemble_of(solved(t)) for t in (trial, scratch)]
    index = np.arange(8)
    trained, drawn = (ensemble.votes(index) for ensemble in pair)
    assert np.array_equal(trained[0], drawn[0])
    assert not np.allclose(trained[1], drawn[1])


def test_an_encoder_that_nothing_pretrains_is_refused_where_a_task_is_given():
    with pytest.raises(ValueError, match="has no encoder"):
        PRETRAINED.at({"model": {"kind": "views", "of": ["bands"]}})


# ---- what a head learns from ----


def test_each_member_leaves_a_fold_out_and_views_are_weighed_by_these_votes():
    learner = solved(trial_of("bands", "time", "scalars", votes="chosen"))
    ensemble, learnt = ensemble_of(learner), learner.labelled
    y, group = learner.windows.labels[learnt], learner.windows.group[learnt]
    folds = folds_inside(y, group, 3)
    assert set(folds) == {0, 1, 2}
    assert ensemble.chosen_on is not None
    votes, labels, share = ensemble.chosen_on
    assert share == 1.0
    assert np.array_equal(labels, y)
    by_member = np.stack([voter(learnt) for voter in ensemble.voters])  # (V, M, n, K)
    expected = by_member[:, folds, np.arange(len(y))]
    assert np.array_equal(votes, expected)
    assert ensemble.weights(range(3)) == pytest.approx(voting.greedy(expected, y))


def test_no_member_is_taught_what_it_leaves_out(monkeypatch):
    taught: list[list[np.ndarray]] = []
    train = voting._train

    def spy(stack, x, learner, kind, own, spec):
        taught.append([np.asarray(index) for index in own])
        train(stack, x, learner, kind, own, spec)

    monkeypatch.setattr(voting, "_train", spy)
    learner = solved(trial_of("bands", "time"))
    folds = folds_inside(
        learner.windows.labels[learner.labelled], learner.windows.group[learner.labelled], 3
    )
    assert len(taught) == 2
    for own in taught:
        assert [set(folds[index]) for index in own] == [{1, 2}, {0, 2}, {0, 1}]
    taught.clear()
    solved(trial_of("bands", "time", members=1))
    assert all(len(own) == 1 and len(own[0]) == len(learner.labelled) for own in taught)


def test_beside_a_validation_part_members_learn_from_all_and_it_weighs_views():
    learner = solved(trial_of("bands", "time", base=FULL))
    ensemble, val = ensemble_of(learner), learner.parts.val
    assert ensemble.chosen_on is not None
    assert np.array_equal(ensemble.chosen_on[1], learner.windows.labels[val])
    assert ensemble_of(solved(trial_of("bands", "time", votes="plain"))).chosen_on is None


def test_of_one_window_a_class_no_member_leaves_any_out():
    one = {"finetune.labels": {"per_class": 1}, "finetune.validation": "none"}
    learner = solved(trial_of("bands", "trees").at(one))
    assert (voting._folds(learner, views_of("bands")) == -1).all()
    assert ensemble_of(learner).chosen_on is None
    assert np.isfinite(learner.predict(learner.parts.test)).all()


def test_no_test_window_is_looked_at_before_it_is_predicted(monkeypatch):
    seen: set[int] = set()
    signal = Learner.signal

    def spy(self, index):
        seen.update(np.asarray(index).tolist())
        return signal(self, index)

    monkeypatch.setattr(Learner, "signal", spy)
    of = [{"kind": kind, **SMALL.get(kind, {})} for kind in VIEWS]
    learner = solved(trial_of(*of, steps=4))
    assert seen
    assert not seen & set(learner.parts.test.tolist())


def test_a_view_is_on_one_scale_and_weighs_by_its_size():
    learner = solved(trial_of("covariance", "kernels", "time"))
    for voter, n in zip(ensemble_of(learner).voters, (78, 840, 128), strict=True):
        assert isinstance(voter, voting.Heads)
        x = voter.described(learner.parts.train)
        assert len(voter.described.scaler.mean) == n
        assert np.square(x).sum(axis=1).mean() == pytest.approx(64, rel=0.15)
    few = voting._principal(np.random.default_rng(0).normal(size=(30, 700)), 512)
    assert few.shape == (700, 30)
    assert few.T @ few == pytest.approx(np.eye(few.shape[1]), abs=1e-6)


# ---- how much each adds ----


def test_the_score_without_each_view_is_that_of_the_others():
    learner = solved(trial_of("bands", "time", "scalars"))
    tested = learner.score_test()
    without = {name: value for name, value in tested.items() if name.startswith("without:")}
    assert list(without) == [f"without:{v}/balanced_accuracy" for v in ("bands", "time", "scalars")]
    ensemble, test = ensemble_of(learner), learner.parts.test
    others = voting.Ensemble(ensemble.names[1:], ensemble.voters[1:])
    assert ensemble.chosen_on is not None
    votes, y, share = ensemble.chosen_on
    others.chosen_on = votes[1:], y, share
    assert np.array_equal(ensemble.without("bands", test), others(test))
    assert not any(n.startswith("without:") for n in solved(trial_of("bands")).score_test())


def test_the_greedy_choice_takes_the_view_that_is_right_and_leaves_the_one_that_is_wrong():
    y = np.array([0, 1, 0, 1])
    right = np.where(np.eye(2)[y] == 1, 0.8, 0.2)
    votes = np.stack([right, 1 - right, np.full((4, 2), 0.5)])
    assert voting.greedy(votes, y).tolist() == [1.0, 0.0, 0.0]


def test_more_labels_choose_a_larger_share_of_the_weights():
    assert [Views().share_chosen(n) for n in (0, 500, 4500)] == [0.0, 0.5, 0.9]
    fixed = {w: Views.model_validate({"votes": w}) for w in ("plain", "half", "chosen")}
    assert [spec.share_chosen(4500) for spec in fixed.values()] == [0.0, 0.5, 1.0]
    learner = solved(trial_of("bands", "time", votes="follow"))
    chosen_on, n = ensemble_of(learner).chosen_on, len(learner.labelled)
    assert chosen_on is not None
    assert chosen_on[2] == n / (n + 500)


@pytest.mark.parametrize(
    ("spread", "sharpness"), [(0.05, voting.SHARP[-1]), (1e3, voting.SHARP[0])]
)
def test_a_ridge_is_as_sharp_as_windows_that_it_did_not_see_let_it(spread, sharpness):
    rng, y = np.random.default_rng(0), np.arange(60) % 2
    x = y[:, None] + spread * rng.normal(size=(60, 3))
    places = [np.arange(60) < 30, np.arange(60) >= 30]
    ridges = [Ridge.of(x[~out], y[~out], 2) for out in places]
    assert voting._sharpened(ridges, x, y, places)[1] == sharpness


def test_more_labels_take_more_steps_unless_the_spec_says():
    spec = Views()
    assert [spec.n_steps(n) for n in (10, 250, 1000, 10_000)] == [200, 200, 400, 400]
    assert [spec.n_batch(n) for n in (10, 250, 1000, 10_000)] == [32, 32, 64, 64]
    assert Views(steps=7, batch_size=5).n_steps(9999) == 7


# ---- features ----


def test_a_wave_is_in_its_band_and_its_bursts_are_spread():
    t = np.arange(256)
    steady = np.sin(2 * np.pi * 0.05 * t)
    burst = np.where(t < 64, steady, 0.01 * steady)
    means, spreads = (
        band_passes(np.stack([steady, burst])[:, None], 16, 8).reshape(2, 16, 2).transpose(2, 0, 1)
    )
    centres = np.geomspace(2 / 256, 0.4, 16)
    assert abs(np.log(centres[means[0].argmax()] / 0.05)) < np.log(centres[1] / centres[0])
    best = means[0].argmax()
    assert spreads[1, best] > 5 * spreads[0, best]


def test_steps_are_means_in_order():
    x = np.arange(12, dtype=np.float32).reshape(1, 1, 12)
    assert in_steps(x, 3).tolist() == [[1.5, 5.5, 9.5]]
    assert in_steps(x, 64).tolist() == [list(range(12))]
