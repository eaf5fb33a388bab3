"""How a network is fine-tuned: where it starts, what holds it there, and what it is shown."""

import copy
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from citrus_ray.data.windowing import cache
from citrus_ray.experiment.trial import End, Finetune, Trial
from citrus_ray.spec import SpecError
from citrus_ray.store.checkpoint import Weights
from citrus_ray.training.finetuning import Member, Plateau
from citrus_ray.training.loop import balanced, seeded
from tests.small import FULL, MODEL, PRETRAINED, SCRATCH, SOURCE

ADDED: dict[str, Any] = {  # what came later, at values that change numbers
    "head_init": "solved",
    "encoder_rate": 0.1,
    "anchor": 30.0,
    "smoothing": 0.2,
    "epochs": 40,
    "sampling": "shuffled",
    "augment": ["noise"],
    "end": {"tolerance": 0.9, "patience": 1},
}


def encoder_weights() -> Weights:
    with seeded(9):
        return dict(MODEL.build(cache.load(SOURCE).context).state_dict())


def state(member: Member) -> Weights:
    return copy.deepcopy(member.classifier.state_dict())


def finished(trial: Trial) -> Member:
    member = Member(trial, encoder_weights())
    member.finish()
    return member


def tuned(trial: Trial = PRETRAINED, **edits: Any) -> Trial:
    return trial.at({f"finetune.{name.replace('__', '.')}": v for name, v in edits.items()})


def same_state(one: Weights, other: Weights) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_keys_that_came_later_leave_digests_at_their_defaults_and_move_them_else():
    fields = Finetune.model_fields
    as_always = tuned(average=False, **{name: fields[name].default for name in ADDED})
    assert as_always.digest() == PRETRAINED.digest()
    assert {*ADDED, "average"} & set(PRETRAINED.finetune.identity()) == {"sampling"}
    others = [tuned(**{name: value}) for name, value in ADDED.items()]
    others.append(tuned(validation="full", average=True))
    assert len({trial.digest() for trial in [*others, PRETRAINED]}) == len(others) + 1


@pytest.mark.parametrize("name", ADDED)
def test_each_changes_training_and_gives_the_same_numbers_every_time(name):
    trial = tuned(**{name: ADDED[name]})
    one, again = finished(trial), finished(trial)
    assert same_state(one._best_state, again._best_state)
    assert one.best == again.best
    assert not same_state(one._best_state, finished(PRETRAINED)._best_state)


def test_steps_grow_with_labels_to_so_many_passes_and_never_shrink():
    spec = tuned(epochs=3, steps=20, optim__batch_size=8).finetune
    assert [spec.n_steps(n) for n in (4, 53, 54, 57, 800)] == [20, 21, 21, 24, 300]
    assert tuned(steps=20).finetune.n_steps(10_000) == 20


def test_steps_grow_to_a_bound():
    spec = tuned(steps=20, epochs=3, most_steps=100, optim__batch_size=8).finetune
    assert [spec.n_steps(n) for n in (4, 57, 800, 10_000)] == [20, 24, 100, 100]
    with pytest.raises(ValueError, match="give `epochs`"):
        tuned(steps=20, most_steps=100)
    with pytest.raises(ValueError, match="must not be below steps=20"):
        tuned(steps=20, epochs=12, most_steps=10)
    few, many = (
        tuned(epochs=10, steps=20, labels=labels)
        for labels in ({"per_class": 3}, {"fraction": 1.0})
    )
    lengths = []
    for trial in (few, many):
        member = Member(trial, encoder_weights())
        n_batch = min(trial.finetune.optim.batch_size, len(member.labelled))
        lengths.append(max(20, 10 * -(-len(member.labelled) // n_batch)))
        asked = 0
        batches = member.batches()

        def counted(batches=batches):
            nonlocal asked
            for batch in batches:
                asked += 1
                yield batch

        member.batches = counted  # type: ignore[method-assign]
        member.finish()
        assert asked == lengths[-1]
    assert lengths[0] == 20 < lengths[1]


# ---- steps that end early ----


def test_training_ends_after_rounds_that_take_little_off_the_lowest_loss():
    plateau = Plateau(End(tolerance=0.1, patience=2), nothing=2.0)
    fell = [plateau.falls(loss) for loss in (1.5, 1.2, 1.1, 0.95, 0.9)]
    assert fell == [True, True, False, False, False]  # 0.2 and more counts
    assert plateau.n_since == 3
    assert plateau.falls(0.5)
    assert not plateau.is_over


def test_a_training_that_learns_no_more_ends_and_keeps_the_mean_of_the_rounds_since_it_did():
    all_done = tuned(rounds=8, steps=16, validation="none")
    member, losses, states = Member(all_done, encoder_weights()), list[float](), list[Weights]()
    while (metrics := member.advance()) is not None:
        losses.append(metrics["train/loss"])
        states.append(state(member))
    assert member.network()["steps"] == 16
    ended = Member(tuned(all_done, end={"tolerance": 0.9, "patience": 2}), encoder_weights())
    rounds = [metrics["train/loss"] for metrics in iter(ended.advance, None)]
    assert rounds == losses[:3]  # the first learns, two take off less than is asked
    assert ended.best["round"] == 3
    assert ended.network()["steps"] == 6
    for name, kept in ended._best_state.items():
        of_rounds = torch.stack([one[name] for one in states[:3]])
        torch.testing.assert_close(kept, of_rounds.mean(dim=0))
        assert not torch.allclose(kept, states[2][name])


def test_an_end_that_comes_after_the_last_round_is_refused():
    with pytest.raises(SpecError, match=r"finetune.end: end.patience=3: .*give more rounds"):
        tuned(end={"patience": 3})


# ---- a head that is solved first ----


@pytest.mark.parametrize("validation", ["labels", "full", "none"])
@pytest.mark.parametrize("mode", ["full", "frozen"])
def test_a_head_that_is_solved_decides_as_the_probe_before_the_first_step(validation, mode):
    trial = tuned(validation=validation)
    probe = finished(tuned(trial, mode="probe"))
    member = Member(tuned(trial, mode=mode, head_init="solved"), encoder_weights())
    test = member.parts.test
    np.testing.assert_allclose(member.predict(test), probe.predict(test), rtol=1e-4, atol=1e-5)
    assert member.predict(test).std() > 0.01


def test_a_head_of_many_parts_is_solved_as_its_probe_is():
    trial = tuned(head={"moments": True, "power": True, "standardise": True})
    probe = finished(tuned(trial, mode="probe"))
    member = Member(tuned(trial, head_init="solved"), encoder_weights())
    test = member.parts.test
    np.testing.assert_allclose(member.predict(test), probe.predict(test), rtol=1e-3, atol=1e-4)


def test_the_start_counts_as_a_round_where_rounds_are_chosen():
    harmful = tuned(FULL, head_init="solved", optim__lr=0.5)
    member = Member(harmful, encoder_weights())
    start, rounds = state(member), list(iter(member.advance, None))
    probe = finished(tuned(FULL, mode="probe"))
    assert [metrics["round"] for metrics in rounds] == [1, 2, 3, 4]
    value = "val/balanced_accuracy"
    assert max(metrics[value] for metrics in rounds) < probe.best[value]
    assert member.best == {"round": 0} | {k: v for k, v in probe.best.items() if k != "round"}
    assert same_state(member._best_state, start)
    assert not same_state(member.classifier.state_dict(), start)
    assert member.score_test() == probe.score_test()


def test_a_start_that_is_not_beaten_uses_up_patience():
    harmful = tuned(FULL, head_init="solved", optim__lr=0.5, patience=2)
    assert len(list(iter(Member(harmful, encoder_weights()).advance, None))) == 2


def test_a_later_round_that_is_better_replaces_the_start():
    source = SOURCE.model_copy(update={"rhythm_gain": 3.0}).tree()
    trial = tuned(FULL, target=source, labels={"fraction": 1.0}, head_init="solved", steps=60)
    member = finished(tuned(trial, optim={"lr": 1e-2, "batch_size": 16}))
    assert member.best["round"] > 0
    assert member.best["val/balanced_accuracy"] > 0.8


@pytest.mark.parametrize("validation", ["labels", "none"])
def test_the_start_is_not_in_the_mean_that_is_kept_where_nothing_is_chosen(validation):
    member = Member(tuned(validation=validation, head_init="solved", rounds=1), encoder_weights())
    start = state(member)
    member.advance()
    assert member.best["round"] == 1
    assert not same_state(member._best_state, start)


def test_late_fusion_has_no_head_to_solve():
    with pytest.raises(SpecError, match=r"finetune.head_init: head_init=solved: .* late fusion"):
        tuned(pool="late", head_init="solved")


# ---- rates and the anchor ----


ONE_STEP: dict[str, Any] = {"steps": 1, "rounds": 1, "optim__weight_decay": 0.0}


def moved(trial: Trial) -> dict[str, float]:
    """How far the farthest weight of encoder and head went from the start."""
    member = Member(trial, encoder_weights())
    before = state(member)
    member.finish()
    far: dict[str, float] = {"encoder": 0.0, "head": 0.0}
    for name, now in member.classifier.state_dict().items():
        part = name.split(".")[0]
        far[part] = max(far[part], float((now - before[name]).abs().max()))
    return far


def test_the_encoder_learns_at_its_share_of_the_rate_and_layers_decay_from_there():
    whole, slow = moved(tuned(**ONE_STEP)), moved(tuned(encoder_rate=0.1, **ONE_STEP))
    assert slow["head"] == whole["head"]
    assert slow["encoder"] == pytest.approx(0.1 * whole["encoder"], rel=1e-3)
    both = Member(tuned(encoder_rate=0.1, layer_decay=0.5), None).parameter_groups()
    n_depths = len(both) - 1
    assert [group.factor for group in both] == [
        1.0,
        *(0.1 * 0.5 ** (n_depths - i) for i in range(n_depths)),
    ]


def test_no_anchor_is_no_change_bit_for_bit():
    assert same_state(finished(tuned(anchor=0.0))._best_state, finished(PRETRAINED)._best_state)


@pytest.mark.parametrize("trial", [PRETRAINED, SCRATCH], ids=["pretrained", "scratch"])
def test_a_large_anchor_keeps_the_encoder_where_it_starts_and_leaves_the_head(trial):
    far = moved(tuned(trial, anchor=1e9))
    assert far["encoder"] == 0
    assert far["head"] == pytest.approx(moved(tuned(trial))["head"], rel=0.5)
    distances = [moved(tuned(trial, anchor=a))["encoder"] for a in (0.0, 300.0, 3000.0)]
    assert distances[0] > 1.2 * distances[1] > 1.2 * distances[2] > 0


def test_an_anchor_takes_back_its_share_of_each_step():
    rate = tuned(**ONE_STEP).finetune.optim.rate(0, 1)
    plain, pulled = moved(tuned(**ONE_STEP)), moved(tuned(anchor=0.25 / rate, **ONE_STEP))
    assert pulled["encoder"] == pytest.approx(0.75 * plain["encoder"], rel=1e-3)


# ---- labels ----


def test_smoothing_spreads_a_share_of_each_label_over_all_classes():
    member = Member(tuned(smoothing=0.3, labels={"fraction": 1.0}), encoder_weights())
    index = np.arange(20)
    loss = float(member._loss()(index).detach())
    y = member.examples.y[:20]
    logits = member._logits(member.examples.x[:20]).detach()
    logs = logits.log_softmax(dim=1)
    by_hand = -(0.7 * logs[range(20), y] + 0.3 * logs.mean(dim=1)).mean()
    assert loss == pytest.approx(float(by_hand), rel=1e-5)
    theirs = torch.nn.CrossEntropyLoss(label_smoothing=0.3)(logits, y)
    assert loss == pytest.approx(float(theirs), rel=1e-5)


def test_every_class_is_in_a_balanced_batch_as_often_and_every_window_of_it_in_turn():
    labels = np.repeat([0, 1, 3], [40, 9, 2])
    batches = balanced(labels, 16, np.random.default_rng(0))
    drawn = [next(batches) for _ in range(27)]
    for batch in drawn:
        counts = Counter(labels[batch].tolist())
        assert sorted(counts.values()) == [5, 5, 6]
        assert np.array_equal(batch, np.sort(batch))
    times = np.bincount(np.concatenate(drawn), minlength=len(labels))
    per_class = [times[labels == k].sum() for k in (0, 1, 3)]
    assert per_class == [144, 144, 144]
    assert all(np.ptp(times[labels == k]) <= 1 for k in (0, 1, 3))


def test_a_balanced_batch_is_no_larger_than_what_is_labelled():
    assert len(next(balanced(np.array([0, 0, 1]), 16, np.random.default_rng(0)))) == 3


def test_classes_are_not_balanced_twice():
    with pytest.raises(SpecError, match=r"finetune.sampling: .* drop class_weights"):
        tuned(sampling="balanced", class_weights="balanced")


# ---- what is kept ----


def test_an_average_is_kept_beside_a_labelled_validation_part_if_asked_for():
    member = finished(tuned(FULL, average=True, rounds=6))
    by_hand, ends = Member(tuned(FULL, rounds=6), encoder_weights()), []
    while by_hand.advance():
        ends.append(state(by_hand))
    for name, kept in member._best_state.items():
        mean = torch.stack([end[name] for end in ends[-2:]]).mean(dim=0)
        assert torch.allclose(kept, mean, atol=1e-6)
    assert member.best["round"] == 6


def test_an_average_is_asked_for_where_a_round_would_be_chosen():
    with pytest.raises(SpecError, match=r"finetune.average: .*validation=labels always keeps"):
        tuned(average=True)
    with pytest.raises(SpecError, match=r"finetune.patience: .*average keeps none"):
        tuned(FULL, average=True, patience=2)


# ---- augmentations ----


def seen_by(trial: Trial) -> list[torch.Tensor]:
    """What the network is shown in training."""
    member, seen = Member(trial, None), list[torch.Tensor]()
    member.classifier.register_forward_pre_hook(
        lambda module, args: seen.append(args[0].clone()) if module.training else None
    )
    member.finish()
    return seen


def test_batches_are_augmented_anew_in_the_order_of_the_list_and_nothing_else_is():
    blocks = [{"kind": "scale", "spread": 0.5}, {"kind": "shift", "most": 0.2}]
    plain, changed = seen_by(SCRATCH), seen_by(tuned(SCRATCH, augment=blocks))
    rng = np.random.default_rng([15, SCRATCH.seed])
    gain, shift = tuned(SCRATCH, augment=blocks).finetune.augment
    for before, after in zip(plain, changed, strict=True):
        assert torch.equal(shift(gain(before, rng), rng), after)
    test = Member(SCRATCH, None).parts.test
    one, other = (Member(t, None).predict(test) for t in (SCRATCH, tuned(SCRATCH, augment=blocks)))
    assert np.array_equal(one, other)


def test_windows_are_augmented_before_they_are_mixed():
    both = seen_by(tuned(SCRATCH, augment=["scale"], mixup=0.4))
    plain, rng = seen_by(SCRATCH), np.random.default_rng([15, SCRATCH.seed])
    (gain,) = tuned(SCRATCH, augment=["scale"]).finetune.augment
    mixing = np.random.default_rng([7, SCRATCH.seed])
    for before, after in zip(plain, both, strict=True):
        x = gain(before, rng)
        share, order = mixing.beta(0.4, 0.4), mixing.permutation(len(x))
        assert torch.allclose(share * x + (1 - share) * x[order], after, atol=1e-6)


def test_streams_of_sensors_are_augmented_each_at_its_own_length():
    target = {"kind": "synthetic_sensors", "n_subjects": 8, "windows_per_subject": 8}
    trial = tuned(SCRATCH, target=target, augment=[{"kind": "surrogate", "chance": 1.0}])
    member = Member(trial.at({"model": "crossmodal"}), None)
    x = member.examples.x
    out = member._augmented(x, np.random.default_rng(0))
    assert len({array.shape[-1] for array in member.view.arrays}) > 1
    assert torch.equal(x.isnan(), out.isnan())
    first = 0
    for n_chans, n_times in (array.shape[1:] for array in member.view.arrays):
        one, other = (
            torch.fft.rfft(a[:, first : first + n_chans, :n_times]).abs() for a in (x, out)
        )
        assert torch.allclose(one, other, atol=1e-3)
        first += n_chans
    assert not torch.allclose(x.nan_to_num(), out.nan_to_num(), atol=1e-2)
