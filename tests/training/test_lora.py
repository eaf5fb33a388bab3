"""Low-rank changes: few numbers, none of them lost, and at full rank what fine-tuning all gives."""

from typing import Any

import pytest
import torch

from citrus_ray.context import SignalContext
from citrus_ray.experiment.trial import Trial
from citrus_ray.spec import SpecError
from citrus_ray.training.finetuning import Member
from tests.small import FULL, SCRATCH

CTX = SignalContext(2, 64, 50.0, 2, ("eeg",) * 2)
PLAIN = {"finetune.optim.weight_decay": 0.0, "finetune.optim.lr": 1e-3, "finetune.steps": 12}


def lora(trial: Trial = SCRATCH, **block: Any) -> Trial:
    return trial.at({**PLAIN, "finetune.mode": "lora", "finetune.lora": block})


def finished(trial: Trial) -> tuple[Member, dict[str, torch.Tensor]]:
    """The member and its first weights."""
    member = Member(trial, None)
    first = {name: value.clone() for name, value in member.classifier.state_dict().items()}
    member.finish()
    return member, first


@pytest.mark.parametrize("trial", [SCRATCH, FULL], ids=["averaged", "best round"])
def test_at_full_rank_it_is_full_fine_tuning(trial):
    full, first = finished(trial.at(PLAIN))
    low, again = finished(lora(trial, rank=1000, targets=["*"]))
    assert all(torch.equal(first[name], again[name]) for name in first)
    ours, theirs = low.classifier.state_dict(), full.classifier.state_dict()
    for name in first:
        moved = (theirs[name] - first[name]).norm()
        assert (ours[name] - theirs[name]).norm() <= 0.01 * moved + 1e-6, name
    moved_at_all = [name for name in first if not torch.equal(theirs[name], first[name])]
    assert len(moved_at_all) > 10
    index = full.parts.test
    torch.testing.assert_close(
        torch.tensor(low.predict(index)), torch.tensor(full.predict(index)), rtol=1e-3, atol=1e-3
    )


def test_below_it_the_change_has_its_rank_and_the_rest_stands_still():
    member, first = finished(lora(rank=2))
    now = member.classifier.state_dict()
    n_changed = 0
    for name, value in first.items():
        change = (now[name] - value).flatten(1) if value.ndim > 1 else now[name] - value
        if not name.startswith("encoder.") or not change.any():
            continue
        n_changed += 1
        assert value.ndim > 1
        # the mean over rounds is of changes of this rank, and of twice that at most
        assert int(torch.linalg.matrix_rank(change, rtol=1e-4)) <= 4
    assert n_changed > 4
    said = member.network()
    n_head = sum(p.numel() for p in member.classifier.head.parameters())
    assert n_head < said["trained"] < said["parameters"]


def test_what_is_predicted_is_what_was_trained():
    """The change is in the classifier's own weights, so that nothing is needed beside them."""
    member, _ = finished(lora(FULL, rank=2))
    assert member.low_rank is not None
    x = torch.from_numpy(member.signal(member.parts.test))
    member.classifier.load_state_dict(member.classifier.state_dict())
    member.classifier.eval()
    with torch.no_grad():
        torch.testing.assert_close(
            member.low_rank(member.classifier, x), member.classifier(x), rtol=1e-4, atol=1e-5
        )


def test_targets_are_chosen_by_pattern_and_wrong_ones_refused_with_names():
    some = Member(lora(rank=2, targets=["*.weight"]), None)
    one = Member(lora(rank=2, targets=[next(iter(some.low_rank.named))[8:]]), None)  # type: ignore[union-attr]
    assert one.network()["trained"] < some.network()["trained"]
    (said,) = lora(targets=["nose*"]).problems({"finetune.target": CTX})
    assert said.path == "finetune.lora.targets"
    assert "targets=nose*: no tensor of the encoder is called so; there are " in said.message


def test_the_head_can_learn_first():
    trial = lora(rank=2).at({"finetune.head_first": 0.9, "finetune.rounds": 1})
    member, first = finished(trial)
    now = member.classifier.state_dict()
    assert not torch.equal(now["head.linear.weight"], first["head.linear.weight"])
    late = [(now[n] - first[n]).norm() for n in first if n.startswith("encoder.")]
    always, begun = finished(trial.at({"finetune.head_first": 0.0}))
    now = always.classifier.state_dict()
    soon = [(now[n] - begun[n]).norm() for n in first if n.startswith("encoder.")]
    assert sum(late) < 0.5 * sum(soon)


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ({"finetune.lora": {"rank": 4}}, "is of mode=lora, and mode=full"),
        ({"finetune.mode": "lora", "finetune.anchor": 1.0}, "mode=lora: layer_decay and anchor"),
        ({"finetune.mode": "lora", "finetune.lora.rank": 0}, "rank=0"),
        ({"finetune.mode": "lora", "finetune.subjects": "recentre"}, "what mode=lora trains"),
    ],
)
def test_what_means_nothing_with_it_is_refused(edits, said):
    with pytest.raises(SpecError, match=said):
        SCRATCH.at(edits)


def test_the_rank_is_in_the_digest_where_it_counts():
    assert lora(rank=2).digest() != lora(rank=4).digest()
    assert SCRATCH.at({"finetune.lora": {"rank": 8}}).digest() == SCRATCH.digest()
