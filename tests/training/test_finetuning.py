"""One fine-tune: what it sees, what it keeps, and what it must not know."""

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from citrus_ray.data.windowing import cache
from citrus_ray.data.windows import Windows
from citrus_ray.experiment.trial import Trial
from citrus_ray.metrics import balanced_accuracy
from citrus_ray.models.specs import ENCODERS
from citrus_ray.spec import SpecError
from citrus_ray.store.checkpoint import CheckpointError, Weights
from citrus_ray.training import pretraining as pretrain
from citrus_ray.training.closed_form import PENALTIES
from citrus_ray.training.finetuning import Member
from citrus_ray.training.loop import seeded
from citrus_ray.training.targets import TaughtClasses
from tests.small import FULL, MODEL, PRETRAINED, SCRATCH, SOURCE, registered, sweep_of


def encoder_weights(seed: int = 9) -> Weights:
    with seeded(seed):
        return dict(MODEL.build(cache.load(SOURCE).context).state_dict())


def finished(trial: Trial, weights: Weights | None = None) -> Member:
    member = Member(trial, weights)
    member.finish()
    return member


def same_state(one: Any, other: Any) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_pretrained_and_scratch_see_the_same_labels():
    for seed in (0, 1):
        scratch = Member(SCRATCH.at({"seed": seed}), None)
        pretrained = Member(PRETRAINED.at({"seed": seed}), encoder_weights())
        assert np.array_equal(scratch.labelled, pretrained.labelled)
        assert np.array_equal(scratch.parts.val, pretrained.parts.val)
        assert np.array_equal(scratch.parts.test, pretrained.parts.test)
    assert len(scratch.labelled) + len(scratch.parts.val) == 2 * 4


def test_labels_come_from_the_training_part_alone():
    member = Member(SCRATCH, None)
    assert set(member.labelled.tolist()) <= set(member.parts.train.tolist())
    assert not set(member.parts.train.tolist()) & {
        *member.parts.val.tolist(),
        *member.parts.test.tolist(),
    }


def test_a_pretrained_encoder_is_where_training_starts():
    weights = encoder_weights()
    member = Member(PRETRAINED, weights)
    assert same_state(weights, member.classifier.encoder.state_dict())
    assert not same_state(weights, Member(SCRATCH, None).classifier.encoder.state_dict())


def test_seeds_start_from_other_weights():
    one, again, other = (
        Member(SCRATCH.at({"seed": seed}), None).classifier.state_dict() for seed in (0, 0, 1)
    )
    assert same_state(one, again)
    assert not same_state(one, other)


def test_both_arms_start_from_the_same_head():
    heads = [Member(SCRATCH, w).classifier.head.state_dict() for w in (None, encoder_weights())]
    assert same_state(*heads)


def test_weights_of_another_model_are_refused():
    with pytest.raises(CheckpointError, match="encoder weights do not fit"):
        Member(SCRATCH.at({"model.dim": 16}), encoder_weights())


def test_a_trial_gives_the_same_numbers_every_time():
    assert finished(SCRATCH).best == finished(SCRATCH).best
    noisy = SCRATCH.at({"model.dropout": 0.3})
    one = finished(noisy)
    torch.rand(3)
    assert one.best == finished(noisy).best
    assert (
        finished(SCRATCH.at({"seed": 1})).best["train/loss"] != finished(SCRATCH).best["train/loss"]
    )


def test_rounds_end_and_the_best_of_them_is_kept():
    member = Member(FULL, None)
    rounds = list(iter(member.advance, None))
    assert [metrics["round"] for metrics in rounds] == [1, 2, 3, 4]
    assert member.advance() is None
    values = [metrics["val/balanced_accuracy"] for metrics in rounds]
    assert member.best == rounds[int(np.argmax(values))]
    assert not any(name.startswith("test/") for metrics in rounds for name in metrics)


def test_the_objective_decides_which_round_is_kept(monkeypatch):
    curves = {"val/accuracy": [0.1, 0.9, 0.2, 0.3], "val/balanced_accuracy": [0.5, 0.4, 0.6, 0.6]}
    for metric, kept in (("val/accuracy", 2), ("val/balanced_accuracy", 3)):
        member = Member(FULL, None, metric)
        numbers = iter(range(4))
        monkeypatch.setattr(member, "score_val", lambda numbers=numbers: at(curves, next(numbers)))
        states = []
        while member.advance():
            states.append({k: v.clone() for k, v in member.classifier.state_dict().items()})
        assert member.best["round"] == kept
        assert same_state(member._best_state, states[kept - 1])
        assert not same_state(member._best_state, states[-1])


def at(curves: dict[str, list[float]], i: int) -> dict[str, float]:
    return {name: values[i] for name, values in curves.items()}


def test_test_data_is_scored_with_the_kept_round():
    member = finished(SCRATCH)
    kept = {k: v.clone() for k, v in member._best_state.items()}
    found = member.score_test()
    assert found.keys() >= {
        "test/accuracy",
        "test/balanced_accuracy",
        "test/macro_f1",
        "test/kappa",
    }
    assert same_state(member.classifier.state_dict(), kept)
    with torch.no_grad():
        logits = member.classifier.eval()(
            torch.from_numpy(np.array(member.windows.x[member.parts.test]))
        )
    right = logits.argmax(dim=1).numpy() == member.windows.labels[member.parts.test]
    assert found["test/accuracy"] == pytest.approx(right.mean())


def test_test_labels_change_no_validation_number_and_no_kept_round(monkeypatch):
    before = finished(SCRATCH)
    windows = cache.load(SOURCE)
    y = windows.labels.copy()
    rng = np.random.default_rng(0)
    for g in np.unique(windows.group[before.parts.test]):
        members = np.flatnonzero(windows.group == g)
        y[members] = rng.permutation(y[members])
    changed: Windows = dataclasses.replace(windows, y=y)
    monkeypatch.setattr(cache, "load", lambda *_: changed)
    after = finished(SCRATCH)
    assert after.best == before.best
    assert same_state(after._best_state, before._best_state)
    assert not np.array_equal(after.windows.labels, before.windows.labels)
    assert after.score_test() != before.score_test()


def test_test_signals_change_no_validation_number_and_no_kept_round(monkeypatch):
    """Nothing is fitted to them: no scale, no whitening."""
    before = finished(SCRATCH)
    windows = cache.load(SOURCE)
    x = np.array(windows.x)
    x[before.parts.test] = 50 * x[before.parts.test][::-1] + 7
    monkeypatch.setattr(cache, "load", lambda *_: dataclasses.replace(windows, x=x))
    after = finished(SCRATCH)
    assert after.best == before.best
    assert same_state(after._best_state, before._best_state)


def test_validation_labels_do_change_validation_numbers(monkeypatch):
    """The test above can fail: the same change in another part is seen."""
    before = finished(SCRATCH)
    windows = cache.load(SOURCE)
    y = windows.labels.copy()
    y[before.parts.val] = 1 - y[before.parts.val]
    monkeypatch.setattr(cache, "load", lambda *_: dataclasses.replace(windows, y=y))
    assert finished(SCRATCH).best != before.best


def test_a_frozen_encoder_does_not_move_and_its_head_does():
    weights = encoder_weights()
    member = Member(PRETRAINED.at({"finetune.mode": "frozen"}), weights)
    head = {k: v.clone() for k, v in member.classifier.head.state_dict().items()}
    member.finish()
    assert same_state(weights, member.classifier.encoder.state_dict())
    assert not same_state(head, member.classifier.head.state_dict())


def test_the_stored_encoder_is_not_changed_by_fine_tuning():
    weights = encoder_weights()
    before = {k: v.clone() for k, v in weights.items()}
    finished(PRETRAINED, weights)
    assert same_state(before, weights)


def test_a_signal_with_a_rhythm_per_class_is_learnt():
    source = SOURCE.model_copy(update={"rhythm_gain": 3.0})
    trial = SCRATCH.at(
        {
            "finetune.target": source.tree(),
            "finetune.labels": {"fraction": 1.0},
            "finetune.steps": 60,
            "finetune.optim": {"lr": 1e-2, "batch_size": 16},
        }
    )
    assert finished(trial).best["val/balanced_accuracy"] > 0.8


# ---- labels are counted where they are spent ----


NONE = SCRATCH.at({"finetune.validation": "none"})
SPENT = [SCRATCH, NONE, SCRATCH.at({"finetune.mode": "probe"}), NONE.at({"finetune.mode": "probe"})]


@pytest.mark.parametrize("trial", SPENT, ids=["labels", "none", "labels probe", "none probe"])
def test_of_windows_that_are_not_labelled_nothing_is_seen_but_the_test_score(monkeypatch, trial):
    before, windows = finished(trial), cache.load(SOURCE)
    unseen = np.setdiff1d(np.arange(len(windows)), [*before.labelled, *before.parts.val])
    x, y = np.array(windows.x), windows.labels.copy()
    x[unseen] = 50 * x[unseen][::-1] + 7
    monkeypatch.setattr(cache, "load", lambda *_: dataclasses.replace(windows, x=x))
    after = Member(trial, None)
    y[unseen] = 1 - y[unseen]
    after.windows = dataclasses.replace(after.windows, y=y)
    after.finish()
    assert after.best == before.best
    assert same_state(after._best_state, before._best_state)
    assert after.score_test() != before.score_test()


@pytest.mark.parametrize("mode", ["full", "frozen", "probe"])
def test_what_scores_a_trial_changes_no_weight_of_it(monkeypatch, mode):
    trial = SCRATCH.at({"finetune.mode": mode, "finetune.labels": {"fraction": 1.0}})
    before, windows = finished(trial), cache.load(SOURCE)
    x, y, val = np.array(windows.x), windows.labels.copy(), before.parts.val
    assert len(val) == 16  # of 48 labelled windows: 2 of 6 people
    x[val] = 50 * x[val][::-1] + 7
    monkeypatch.setattr(cache, "load", lambda *_: dataclasses.replace(windows, x=x))
    after = Member(trial, None)
    y[val] = 1 - y[val]
    after.windows = dataclasses.replace(after.windows, y=y)
    after.finish()
    assert same_state(after._best_state, before._best_state)
    assert after.best["train/loss"] == before.best["train/loss"]
    assert not np.array_equal(after.predict(val), before.predict(val))


@pytest.mark.parametrize(("n_rounds", "n_last"), [(1, 1), (3, 1), (4, 2), (6, 2), (8, 3)])
def test_no_round_is_chosen_and_the_last_third_of_them_is_averaged(n_rounds, n_last):
    member, ends = Member(SCRATCH.at({"finetune.rounds": n_rounds}), None), []
    for _ in range(n_rounds - 1):
        assert member.advance()
        ends.append({k: v.clone() for k, v in member.classifier.state_dict().items()})
    alone = Member(SCRATCH.at({"finetune.rounds": n_rounds}), None)
    losses = list(alone._alone())
    ends.append(alone.classifier.state_dict())
    last = member.advance()
    assert member.advance() is None
    for name, kept in member._best_state.items():
        mean = torch.stack([end[name] for end in ends[-n_last:]]).mean(dim=0)
        assert torch.allclose(kept, mean, atol=1e-6)
    assert same_state(member.classifier.state_dict(), member._best_state)
    assert last == member.best == {"round": n_rounds, "train/loss": losses[-1]} | member.score_val()


def test_metrics_and_test_scores_are_those_of_the_mean_of_the_weights():
    member, by_hand = finished(SCRATCH), Member(SCRATCH, None)
    states = []
    while by_hand.advance():
        states.append(copy.deepcopy(by_hand.classifier.state_dict()))
    assert not same_state(states[-1], states[-2])
    assert same_state(member._best_state, states[-1])
    assert member.score_test() == by_hand.score_test()
    logits = member.predict(member.parts.val)
    y = member.windows.labels[member.parts.val]
    assert member.best["val/balanced_accuracy"] == balanced_accuracy(y, logits.argmax(axis=1))


def test_a_mean_of_weights_leaves_a_frozen_encoder_as_it_is():
    weights = encoder_weights()
    member = finished(PRETRAINED.at({"finetune.mode": "frozen", "finetune.rounds": 8}), weights)
    assert same_state(weights, member.classifier.encoder.state_dict())


def test_a_refit_learns_from_all_labels_and_has_no_validation_score():
    chosen, refit = finished(SCRATCH), finished(NONE)
    known = np.union1d(chosen.labelled, chosen.parts.val)
    assert np.array_equal(refit.labelled, known)
    assert refit.n_labelled() == {"learnt": 8, "chosen_by": 0}
    assert chosen.n_labelled() == {"learnt": 6, "chosen_by": 2}
    assert refit.best.keys() == {"round", "train/loss"}
    assert refit.score_test().keys() == chosen.score_test().keys()


def test_a_probe_of_one_label_a_class_is_solved_too():
    trial = NONE.at({"finetune.mode": "probe", "finetune.labels": {"per_class": 1}})
    assert np.isfinite(finished(trial).best["train/loss"])


def test_stopping_early_needs_a_round_to_be_best():
    for validation in ("labels", "none"):
        with pytest.raises(SpecError, match=r"patience: patience=2: .* `validation: full`"):
            SCRATCH.at({"finetune.patience": 2, "finetune.validation": validation})


def test_one_label_a_class_cannot_be_learnt_from_and_chosen_by():
    edit = {"finetune.labels": {"per_class": 1}}
    with pytest.raises(SpecError, match=r"finetune.labels: labels.per_class=1: .* `none` where"):
        SCRATCH.at(edit)
    assert FULL.at(edit)
    assert NONE.at(edit)


# ---- ways to fine-tune ----


def moved(member: Member, weights: Weights) -> list[str]:
    now = member.classifier.encoder.state_dict()
    return [name for name in weights if not torch.equal(weights[name], now[name])]


def test_the_head_learns_alone_first_and_then_everything_does():
    weights = encoder_weights()
    member = Member(PRETRAINED.at({"finetune.head_first": 0.5}), weights)  # 8 steps in 4 rounds
    head = {k: v.clone() for k, v in member.classifier.head.state_dict().items()}
    states = []
    while member.advance():
        states.append(moved(member, weights))
    assert states[:2] == [[], []]
    assert states[2]
    assert len(states[3]) == len(weights)
    assert not same_state(head, member.classifier.head.state_dict())


def test_layers_near_the_signal_learn_slower_where_rates_decay():
    far = {}
    for decay in (1.0, 0.1):
        weights = encoder_weights()
        member = finished(
            PRETRAINED.at({"finetune.layer_decay": decay, "finetune.optim.weight_decay": 0.0}),
            weights,
        )
        now = dict(member.classifier.encoder.named_parameters())
        far[decay] = {name: float((now[name] - weights[name]).detach().abs().max()) for name in now}
    first, last = "stages.0.0.weight", "norm.weight"
    assert far[0.1][first] < 0.05 * far[1.0][first]
    assert 0.05 * far[1.0][last] < far[0.1][last] < 0.3 * far[1.0][last]


def test_a_frozen_encoder_gives_the_same_as_training_the_head_on_its_tokens():
    weights = encoder_weights()
    trial = PRETRAINED.at({"finetune.mode": "frozen", "model.dropout": 0.3})
    member = finished(trial, weights)
    logits = member.predict(member.parts.val)
    with torch.no_grad():
        whole = member.classifier.eval()(torch.from_numpy(member.signal(member.parts.val))).numpy()
    np.testing.assert_allclose(logits, whole, atol=1e-5)


def test_balanced_weights_count_every_class_the_same():
    y = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 3])
    weights = TaughtClasses().weights(y, 4)
    share = torch.zeros(4).scatter_add(0, y, weights[y])
    assert share[[0, 1, 3]].tolist() == pytest.approx([9 / 4] * 3)
    assert weights[2] == 0


def test_the_loss_counts_classes_as_the_spec_says():
    """One labelled window of the rare class: balanced, getting it wrong costs as much as all the
    others together."""
    losses = {}
    for how in ("none", "balanced"):
        member = Member(
            SCRATCH.at(
                {
                    "finetune.class_weights": how,
                    "finetune.sampling": "shuffled",
                    "finetune.labels": {"fraction": 1.0},
                }
            ),
            None,
        )
        y = member.windows.labels[member.labelled]
        member.labelled = np.concatenate([member.labelled[y == 0], member.labelled[y == 1][:1]])
        torch.nn.init.zeros_(member.classifier.head.linear.weight)
        member.classifier.head.linear.bias = torch.nn.Parameter(
            torch.tensor([2.0, -2.0])
        )  # all are called common
        losses[how] = float(member._loss()(np.arange(len(member.labelled))).detach())
    right, wrong = np.log1p(np.exp(-4)), np.log1p(np.exp(4))
    n = len(Member(SCRATCH.at({"finetune.labels": {"fraction": 1.0}}), None).labelled) // 2
    assert losses["balanced"] == pytest.approx((right + wrong) / 2, rel=1e-4)
    assert losses["none"] == pytest.approx((n * right + wrong) / (n + 1), rel=1e-4)


def test_mixup_changes_training_and_is_off_by_default():
    plain, mixed, again = (finished(SCRATCH.at({"finetune.mixup": a})) for a in (0.0, 0.4, 0.4))
    assert plain.best == finished(SCRATCH).best
    assert mixed.best == again.best
    assert mixed.best["train/loss"] != plain.best["train/loss"]


def test_training_stops_when_validation_has_not_moved(monkeypatch):
    member = Member(FULL.at({"finetune.patience": 2}), None)
    values = iter([0.5, 0.6, 0.6, 0.4])
    monkeypatch.setattr(member, "score_val", lambda: {"val/balanced_accuracy": next(values)})
    rounds = list(iter(member.advance, None))
    assert len(rounds) == 4
    assert member.best["round"] == 2
    member = Member(FULL.at({"finetune.patience": 1}), None)
    values = iter([0.5, 0.4, 0.9, 0.9])
    monkeypatch.setattr(member, "score_val", lambda: {"val/balanced_accuracy": next(values)})
    assert len(list(iter(member.advance, None))) == 2


def test_what_was_not_loaded_is_listed_with_its_reason():
    member = Member(PRETRAINED, encoder_weights())
    assert set(member.not_loaded) == {"head.linear.weight", "head.linear.bias"}
    assert all("new" in reason for reason in member.not_loaded.values())
    assert Member(SCRATCH, None).not_loaded == {}


def test_an_encoder_with_nothing_to_learn_has_no_rates():
    for key, value in (
        ("head_first", 0.5),
        ("layer_decay", 0.8),
        ("encoder_rate", 0.1),
        ("anchor", 1.0),
    ):
        with pytest.raises(SpecError, match=f"mode=frozen: .*{key}.* of an encoder that learns"):
            SCRATCH.at({"finetune.mode": "frozen", f"finetune.{key}": value})


ALONE = [
    kind for kind in registered(ENCODERS) if not kind.mixes_channels
]  # others have no patches to hide


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALONE, ids=lambda kind: kind.__name__)
def test_every_model_learns_a_rhythm_and_fine_tunes_what_it_pretrained(kind):
    word = kind.model_fields["kind"].default
    trial = PRETRAINED.at(
        {
            "model": {"kind": word},
            "finetune.target": SOURCE.model_copy(update={"rhythm_gain": 3.0}).tree(),
            "finetune.labels": {"fraction": 1.0},
            "finetune.optim": {"lr": 5e-3, "batch_size": 32},
            "finetune.steps": 60,
        }
    )
    pretraining = trial.pretraining
    assert pretraining is not None
    member = finished(trial, pretrain.run(pretraining, trial.model).weights)
    assert member.best["val/balanced_accuracy"] > 0.8


# ---- a probe that is solved ----


PROBE = PRETRAINED.at({"finetune.mode": "probe"})


def test_a_probe_decides_as_scikit_learn_does_on_the_same_features():
    member = finished(PROBE, encoder_weights())
    normed = member._normed(member.labelled)
    scaler = StandardScaler().fit(normed)
    y = member.windows.labels[member.labelled]
    logits = member.predict(member.parts.val)
    fits = [
        LogisticRegression(C=2 / (len(y) * p), max_iter=5000, tol=1e-8).fit(
            scaler.transform(normed), y
        )
        for p in PENALTIES
    ]
    theirs = [fit.predict(scaler.transform(member._normed(member.parts.val))) for fit in fits]
    assert any(np.array_equal(logits.argmax(axis=1), decided) for decided in theirs)
    y_val = member.windows.labels[member.parts.val]
    best = max(balanced_accuracy(y_val, decided) for decided in theirs)
    assert member.best["val/balanced_accuracy"] == pytest.approx(best)


def test_a_probe_leaves_the_encoder_and_draws_nothing_by_lot():
    weights = encoder_weights()
    member = finished(PROBE, weights)
    assert same_state(weights, member.classifier.encoder.state_dict())
    assert member.advance() is None
    again = finished(PROBE, weights)
    assert same_state(member.classifier.state_dict(), again.classifier.state_dict())
    assert member.score_test() == again.score_test()


def test_a_probe_is_the_same_trial_whatever_the_optimiser():
    assert PROBE.digest() == PROBE.at({"finetune.optim.lr": 0.3, "finetune.steps": 77}).digest()
    assert PROBE.digest() != PRETRAINED.at({"finetune.mode": "frozen"}).digest()


@pytest.mark.parametrize(
    "edit",
    [
        {"finetune.mixup": 0.2},
        {"finetune.patience": 2, "finetune.validation": "full"},
        {"finetune.head_first": 0.5},
    ],
)
def test_a_probe_refuses_what_is_of_steps(edit):
    with pytest.raises(SpecError, match=r"mode=probe: .* a probe is solved"):
        PROBE.at(edit)


def test_an_optimiser_is_not_searched_where_a_probe_is_solved():
    sweep = sweep_of(
        compare={"finetune.mode": ["full", "probe"], "pretrain.task": [{"kind": "masked"}]}
    )
    full, solved = sweep.cells
    assert set(full.search) - set(solved.search) == {"finetune.optim.lr"}


def test_augmentations_leave_padding_as_it_is():
    """Shifted as a whole, zeros of `align` would come into the signal."""
    edits = {
        "finetune.align": {"kind": "pad", "n_times": 131},
        "finetune.augment": [{"kind": "shift", "most": 0.5}, {"kind": "noise"}],
    }
    member = Member(SCRATCH.at(edits), None)
    before, after = member.windows.padding
    assert before + after > 20
    x = member.examples.x
    changed = member._augmented(x, np.random.default_rng(0))
    recorded = slice(before, x.shape[-1] - after)
    assert torch.equal(changed[..., :before], x[..., :before])
    assert torch.equal(changed[..., x.shape[-1] - after :], x[..., x.shape[-1] - after :])
    assert not torch.equal(changed[..., recorded], x[..., recorded])
