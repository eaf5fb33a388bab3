"""Fine-tunes whose heads have parts: frozen, solved, stacked, and what they keep."""

import numpy as np
import pytest
import torch

from citrus_ray.experiment.trial import Trial
from citrus_ray.spec import SpecError, validate
from citrus_ray.training.finetuning import Member
from tests.small import SCRATCH, sweep_of
from tests.training.test_vmapped import assert_alike, finished, members

BINS = "finetune.head.bins"
EVERY = {"moments": True, "bins": 4, "power": True, "covariance": True, "segments": "joined"}
PARTS = [{"moments": True}, {"bins": 4}, {"power": True}, {"covariance": True}, EVERY]
PARTS += [{**EVERY, "standardise": True}]


def done(trial: Trial) -> Member:
    member = Member(trial, None)
    member.finish()
    return member


def named(head) -> str:
    return "+".join(head)


def test_a_head_without_parts_keeps_the_digests_of_trials() -> None:
    assert SCRATCH.at({"finetune.head": {}}).digest() == SCRATCH.digest()
    assert "head" not in SCRATCH.finetune.identity()
    assert SCRATCH.at({"finetune.head": {"bins": 2}}).digest() != SCRATCH.digest()


@pytest.mark.parametrize("head", PARTS, ids=named)
@pytest.mark.parametrize("mode", ["frozen", "probe"])
def test_frozen_and_solved_heads_read_every_part_and_leave_the_encoder_alone(mode, head) -> None:
    steps = {"finetune.steps": 40, "finetune.optim.lr": 0.02} if mode == "frozen" else {}
    trial = SCRATCH.at({"finetune.mode": mode, "finetune.head": head, **steps})
    member = done(trial)
    first = Member(trial, None).classifier.encoder.state_dict()
    after = member.classifier.encoder.state_dict()
    assert all(torch.equal(first[name], after[name]) for name in first)
    x = member._tensor(member.parts.test)
    assert member.classifier(x).detach().numpy() == pytest.approx(
        member.predict(member.parts.test), abs=1e-4
    )
    assert member.best["train/loss"] < np.log(2)


@pytest.mark.parametrize("head", [EVERY, {**EVERY, "standardise": True}], ids=named)
def test_stacked_members_with_parts_get_the_numbers_that_they_get_alone(head) -> None:
    trials = members(SCRATCH.at({"finetune.head": head}))
    together = finished(trials, True)
    assert len(together.vmap_groups) == 1
    assert_alike(together, finished(trials, False))


def test_the_scale_of_parts_is_of_labelled_windows_and_is_kept_with_the_weights() -> None:
    trial = SCRATCH.at({"finetune.head": {**EVERY, "standardise": True}})
    member = Member(trial, None)
    member.classifier.eval()
    with torch.no_grad():
        features = member.classifier.features(member._tensor(member.labelled))
    head = member.classifier.head
    torch.testing.assert_close(head.centre, features.mean(dim=0))
    before = {name: value.clone() for name, value in member.classifier.named_buffers()}
    member.finish()
    member.classifier.load_state_dict(member._best_state)
    assert all(torch.equal(before[n], b) for n, b in member.classifier.named_buffers())


def test_late_fusion_has_no_parts() -> None:
    with pytest.raises(SpecError, match=r"late fusion is a vote.*drop `head`"):
        SCRATCH.at({"finetune.pool": "late", "finetune.head": {"power": True}})


def test_a_trial_says_where_its_head_means_nothing() -> None:
    trial = SCRATCH.at({"finetune.head": {"bins": 40}})
    ctx = Member(SCRATCH, None).windows.context
    (problem,) = trial.problems({"finetune.target": ctx})
    assert problem.path == "finetune.head"
    assert "bins=40: a window has 16 tokens" in problem.message
    assert validate(Trial, trial.tree()) == trial


def test_a_sweep_compares_heads_and_searches_their_parts() -> None:
    compare = {"finetune.head": [{}, {"moments": True}, {"power": True}]}
    sweep = sweep_of(compare=compare, search={BINS: {"choice": [1, 4]}})
    labels = [cell.label for cell in sweep.cells]
    assert labels == ["head default", "head moments True", "head power True"]
    searched = [trial.finetune.head for _, trial in sweep.cells[1].members({BINS: 4}, None)]
    assert {(head.moments, head.bins) for head in searched} == {(True, 4)}
