"""Stacked members get the numbers that they get alone, up to rounding. On a CPU here; the same code
runs on a GPU."""

import pytest
import torch

from citrus_ray.experiment.trial import Trial
from citrus_ray.models.specs import ENCODERS
from citrus_ray.training import vmapped as stacked
from citrus_ray.training.members import Population
from citrus_ray.training.vmapped import VmappedMembers, vmap_groups
from tests.small import SCRATCH, registered

METRIC = "val/balanced_accuracy"
RATES = (1e-3, 3e-3, 1e-2)
TOLERANCE = 1e-3  # of logits after 8 steps; weights without a gradient wander by rounding alone


def members(trial: Trial = SCRATCH, n: int = 3) -> list[Trial]:
    """Of other seeds, so other labels and first weights, and other learning rates."""
    return [trial.at({"seed": i, "finetune.optim.lr": RATES[i % 3]}) for i in range(n)]


def finished(trials: list[Trial], is_stacked: bool) -> Population:
    found = Population(trials, [None] * len(trials), METRIC, stacked=is_stacked)
    while found.advance() is not None:
        pass
    return found


def assert_alike(one: Population, other: Population) -> None:
    for a, b in zip(one.states, other.states, strict=True):
        assert (a.status, a.reason) == (b.status, b.reason) == ("ok", None)
        assert [row["train/loss"] for row in a.history] == pytest.approx(
            [r["train/loss"] for r in b.history], rel=1e-4
        )
        assert a.metrics.get(METRIC) == b.metrics.get(METRIC)
        assert a.member is not None
        assert b.member is not None
        some = a.member.parts.train[:40]
        assert a.member.predict(some) == pytest.approx(
            b.member.predict(some), rel=TOLERANCE, abs=TOLERANCE
        )


@pytest.mark.slow
@pytest.mark.parametrize("kind", registered(ENCODERS), ids=lambda kind: kind.__name__)
def test_members_get_the_numbers_that_they_get_alone(kind):
    calm = {"dropout": 0.0} if "dropout" in kind.model_fields else {}
    trials = members(SCRATCH.at({"model": {"kind": kind.model_fields["kind"].default, **calm}}))
    together = finished(trials, True)
    assert len(together.vmap_groups) == 1
    assert_alike(together, finished(trials, False))


@pytest.mark.parametrize(
    "edits",
    [
        {"finetune.layer_decay": 0.5},
        {
            "finetune.class_weights": "balanced",
            "finetune.sampling": "shuffled",
            "finetune.labels": {"fraction": 0.6},
        },
        {"finetune.optim.weight_decay": 0.3, "finetune.optim.clip": 0.2},
        {"finetune.head_init": "solved", "finetune.encoder_rate": 0.1},
        {"finetune.smoothing": 0.2, "finetune.sampling": "shuffled", "finetune.anchor": 100.0},
        {"finetune.validation": "none", "finetune.rounds": 8},
        {"finetune.epochs": 4, "finetune.labels": {"fraction": 0.6}},
        {"finetune.validation": "full"},
        {"finetune.patience": 1, "finetune.rounds": 8, "finetune.validation": "full"},
        {"finetune.end": {"tolerance": 0.1, "patience": 1}, "finetune.rounds": 8},
    ],
    ids=lambda edits: "+".join(edits),
)
def test_what_the_spec_says_of_training_holds_for_stacked_members_too(edits):
    trials = members(SCRATCH.at(edits), 4)
    together, apart = finished(trials, True), finished(trials, False)
    assert_alike(together, apart)
    if {"finetune.patience", "finetune.end"} & set(edits):
        assert len({len(state.history) for state in together.states}) > 1, (
            "members stop each at its own time"
        )
        assert together.vmap_groups[0].going == set()


@pytest.mark.slow
def test_members_that_draw_by_lot_or_differ_in_shape_are_trained_alone():
    for edit in (
        {"model.dropout": 0.3},
        {"finetune.mixup": 0.2},
        {"finetune.head_first": 0.5},
        {"finetune.augment": ["noise"]},
    ):
        assert finished(members(SCRATCH.at(edit)), True).vmap_groups == []
    assert finished(members(SCRATCH.at({"finetune.mode": "probe"})), True).vmap_groups == []
    wide = members(SCRATCH.at({"model.dim": 16}))
    both = finished([*members(), *wide], True)
    assert [len(stack.members) for stack in both.vmap_groups] == [3, 3]
    assert_alike(both, finished([*members(), *wide], False))


def test_a_member_that_leaves_the_numbers_fails_alone():
    trials = [*members(), SCRATCH.at({"seed": 3, "finetune.optim.lr": 1e30})]
    together = finished(trials, True)
    assert [state.status for state in together.states] == ["ok", "ok", "ok", "failed"]
    assert (together.states[3].reason or "").startswith("NonFiniteLossError")
    together.states = together.states[:3]
    assert_alike(together, finished(trials[:3], False))


@pytest.mark.slow
def test_what_memory_does_not_hold_is_trained_in_smaller_chunks(monkeypatch):
    real, seen = VmappedMembers._slopes, []

    def small_memory(self, chunk, batches):
        seen.append(len(chunk))
        if len(chunk) > 2:
            raise torch.OutOfMemoryError("too many")
        return real(self, chunk, batches)

    monkeypatch.setattr(VmappedMembers, "_slopes", small_memory)
    together = finished(members(n=5), True)
    assert seen[:4] == [5, 3, 2, 2]
    assert_alike(together, finished(members(n=5), False))


def test_a_member_alone_that_memory_does_not_hold_fails_with_the_reason(monkeypatch):
    def no_memory(self, chunk, batches):
        raise torch.OutOfMemoryError("none left")

    monkeypatch.setattr(VmappedMembers, "_slopes", no_memory)
    together = finished(members(), True)
    assert {state.status for state in together.states} == {"failed"}
    assert all("none left" in (state.reason or "") for state in together.states)


def test_seconds_of_a_stack_are_shared_out():
    together = finished(members(), True)
    shares = [state.seconds for state in together.states]
    assert min(shares) > 0.2 * max(shares)
    assert all(state.curve[-1][1] <= state.seconds + 1e-3 for state in together.states)


def test_on_a_cpu_nothing_is_stacked_by_itself():
    trials = members()
    assert Population(trials, [None] * 3, METRIC).vmap_groups == []
    assert (
        vmap_groups(
            state.member for state in Population(trials[:1], [None], METRIC).states if state.member
        )
        == []
    )
    assert torch.optim.AdamW([torch.zeros(1)]).defaults["betas"] == stacked.BETAS
