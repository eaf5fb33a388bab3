"""`kind: next_thought`: losses on logits, masked volumes with a weight, and no label but time's
own."""

import pytest
import torch
from torch.nn import functional as F

from citrus_ray.context import SignalContext
from citrus_ray.experiment.trial import Pretrain, Trial
from citrus_ray.models.specs import Sequence
from citrus_ray.spec import SpecError, validate
from citrus_ray.tasks.losses.next_thought import NextThoughtTask
from citrus_ray.tasks.specs import NextThought
from citrus_ray.training.loop import seeded

CTX = SignalContext(n_chans=4, n_times=10, sfreq=0.5, modalities=("fmri",) * 4, n_parts=2)
X = torch.randn(12, 4, 10, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 2
SERIES = {"kind": "synthetic_fmri", "n_subjects": 4, "labelled": False}
SHOWN = {"kind": "synthetic_fmri", "n_subjects": 4, "seed": 1}


def built(head: str = "joint", **weights: float) -> NextThoughtTask:
    with seeded(0):
        spec = validate(NextThought, {"head": head} | ({"weights": weights} if weights else {}))
        task = spec.build(CTX, Sequence(dim=16, heads=2, dropout=0.0).build(CTX))
    assert isinstance(task, NextThoughtTask)
    return task


def masks() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_loss_is_the_cross_entropy_of_logits():
    """A softmax in the model would put a floor of 0.313 under it."""
    task = built()
    assert task.head is not None
    loss, metrics = task(X, masks(), Y)
    torch.testing.assert_close(loss, F.cross_entropy(task.head(task.encoder.summary(X)[:, 0]), Y))
    last = task.head[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([-20.0, 20.0]))
    assert float(task(X, masks(), torch.ones_like(Y))[0].detach()) < 1e-6
    assert float(task(X, masks(), Y)[1]["next_accuracy"]) == 0.5
    assert metrics.keys() == {"next_loss", "next_accuracy"}


@pytest.mark.parametrize(("head", "sign"), [("siamese", 1.0), ("bilinear", 1.0), ("joint", None)])
def test_a_head_that_compares_does_not_know_which_came_first(head, sign):
    task = built(head).eval()
    other = torch.cat([X[..., 5:], X[..., :5]], dim=-1)
    one, two = (task._read(x).detach() for x in (X, other))
    assert torch.allclose(one, two, atol=1e-6) == (sign is not None)
    a, b = (of.detach() for of in task.encoder.halves(X))
    want = {"siamese": (a - b).abs(), "bilinear": a * b}.get(head)
    assert want is None or torch.allclose(one, want, atol=1e-6)


def test_weights_are_of_the_two_losses():
    one, other = (built(next=1.0, masked=m)(X, masks(), Y) for m in (1.0, 3.0))
    hidden = float(one[1]["masked_mse"])
    assert hidden > 0
    assert float(other[0].detach() - one[0].detach()) == pytest.approx(2 * hidden, rel=1e-4)
    half = built(next=0.5)(X, masks(), Y)
    assert float(half[0].detach()) == pytest.approx(0.5 * float(half[1]["next_loss"]))
    alone = built(next=0.0, masked=1.0)
    assert alone.head is None
    assert alone(X, masks(), Y)[1].keys() == {"masked_mse"}


def test_hidden_volumes_are_hidden_in_every_voxel_and_are_what_is_scored():
    task = built(next=0.0, masked=1.0)
    seen: list[torch.Tensor] = []
    encode = task.encoder.forward
    task.encoder.forward = lambda x, hidden=None: seen.append(hidden) or encode(x, hidden)  # type: ignore
    task(X, masks(), Y)
    hidden = seen[0]
    assert hidden.shape == (12, 4, 10)
    assert (hidden.any(dim=1) == hidden.all(dim=1)).all()
    assert (hidden[:, 0].sum(dim=1) == 2).all()  # 0.15 of 10


@pytest.mark.parametrize("head", ["joint", "siamese"])
@pytest.mark.parametrize(
    "weights", [{}, {"next": 1.0, "masked": 1.0}, {"next": 0.0, "masked": 1.0}]
)
def test_every_parameter_that_asks_for_a_gradient_has_one(weights, head):
    """Workers that share gradients wait for all of them."""
    task = built(head, **weights)
    task(X, masks(), Y)[0].backward()
    asking = {name: p for name, p in task.named_parameters() if p.requires_grad}
    assert [name for name, p in asking.items() if p.grad is None] == []
    assert ("encoder.transformer.mask_token" in asking) == bool(weights)


def test_no_answer_and_no_weight_are_refused():
    with pytest.raises(ValueError, match="whether B follows A"):
        built()(X, masks())
    with pytest.raises(SpecError, match="give one of them a weight"):
        validate(NextThought, {"weights": {"next": 0.0}})


def test_windows_that_are_no_pairs_are_refused():
    complaint = NextThought().check(SignalContext(4, 10, 0.5))
    assert complaint is not None
    assert "kind: pairs" in complaint


def test_pre_training_never_learns_from_classes():
    source = {"kind": "pairs", "of": SHOWN, "ask": "same_class"}
    with pytest.raises(SpecError, match="would learn from labels"):
        validate(Pretrain, {"source": source, "task": {"kind": "next_thought"}})


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ({"pretrain.task": {"kind": "masked", "mix": 1}}, "one token for all channels"),
        (
            {"pretrain.source.of.n_voxels": 8},
            "8 channels and pairs, but the target has 40 channels and pairs",
        ),
    ],
)
def test_what_cannot_be_carried_over_is_said_before_anything_starts(edits, said):
    from citrus_ray.experiment.dry_run import _data_problems, _Known

    pairs = {"kind": "pairs", "of": SERIES}
    trial = validate(
        Trial,
        {
            "model": "sequence",
            "pretrain": {"source": pairs, "task": {"kind": "next_thought"}},
            "finetune": {"target": {"kind": "pairs", "of": SHOWN, "ask": "same_class"}},
        },
    )
    assert not _data_problems(trial, _Known())
    assert any(said in problem.message for problem in _data_problems(trial.at(edits), _Known()))
