"""A batch in parts, on workers or one after another, is the batch: losses, gradients, draws."""

from typing import Any

import numpy as np
import pytest
import torch

from citrus_ray.context import SignalContext
from citrus_ray.experiment.optim import Optim
from citrus_ray.experiment.trial import Pretrain
from citrus_ray.models.specs import Conv, EncoderSpec, Patch
from citrus_ray.spec import SpecError
from citrus_ray.tasks.losses.task import Task
from citrus_ray.tasks.specs import KINDS
from citrus_ray.training import pretraining
from citrus_ray.training.loop import seeded
from citrus_ray.training.parts import BatchParts, Worker
from tests.small import MODEL, PRETRAIN, PRETRAINED

CTX = SignalContext(3, 96, 50.0, modalities=("eeg", "ecg", "eeg"))
N = 11  # which no number of parts here divides
CONV, PATCH = Conv(dim=8, strides=(2, 2)), Patch(dim=8, patch=8, layers=1, heads=2, dropout=0.0)
BANDS = {"count": 2, "width": 0.15, "fill": "noise"}
TASKS: dict[str, tuple[Any, EncoderSpec]] = {
    "masked": ({"kind": "masked"}, CONV),
    "visible": ({"kind": "masked", "encode": "visible", "loss": "l1"}, PATCH),
    "modalities": ({"kind": "masked", "mix": 1, "drop_modality": 0.5}, CONV),
    "neighbours": ({"kind": "masked", "mix": 1, "neighbours": 2}, CONV),
    "bands": ({"kind": "spectral", "ratio": 0.3, "hide": BANDS}, CONV),
    "one band": ({"kind": "spectral", "hide": {"band": [0.1, 0.4]}}, CONV),
}


def gradients(name: str, world: int, n_parts: int) -> tuple[float, dict[str, torch.Tensor], Any]:
    """Of one batch, as so many workers in so many parts have them, averaged; and where the
    generator stands then."""
    block, model = TASKS[name]
    with seeded(0):
        task: Task = KINDS(block).build(CTX, model.build(CTX))
    x = torch.randn(N, 3, 96, generator=torch.Generator().manual_seed(1))
    total, masks = 0.0, torch.Generator()

    def lost(x: torch.Tensor) -> torch.Tensor:
        return task(x, masks)[0]  # type: ignore[no-any-return]

    for rank in range(world):
        masks.manual_seed(2)
        parts = BatchParts(N, n_parts, Worker(rank, world), task, masks)
        index = np.arange(N)[rank::world]
        alone = (world, n_parts) == (1, 1)
        for loss in [lost(x)] if alone else parts.losses(task, lost, lambda i: [x[i]], index):
            (loss / world).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach()) / world
    grads = {n: p.grad for n, p in task.named_parameters() if p.grad is not None}
    return total, grads, masks.get_state()


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(("world", "n_parts"), [(1, 3), (2, 1), (3, 2)])
def test_losses_and_gradients_of_parts_add_up_to_those_of_the_batch(name, world, n_parts):
    loss, grads, state = gradients(name, 1, 1)
    other_loss, other_grads, other_state = gradients(name, world, n_parts)
    assert other_loss == pytest.approx(loss, rel=1e-5)
    assert other_grads.keys() == grads.keys()
    for n, grad in grads.items():
        torch.testing.assert_close(other_grads[n], grad, rtol=1e-3, atol=1e-6)
    assert torch.equal(state, other_state), "the next batch draws what it would have drawn"


def accumulated(n: int, **edits: Any) -> pretraining.Pretrained:
    spec = PRETRAIN.at({"accumulate": n, "epochs": 2, **edits})
    assert isinstance(spec, Pretrain)
    return pretraining.run(spec, MODEL)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_pretraining_in_parts_is_that_of_whole_batches(precision):
    whole, parts = (accumulated(n, precision=precision) for n in (1, 3))
    close = 1e-4 if precision == "float32" else 1e-2
    for one, other in zip(whole.history, parts.history, strict=True):
        assert other == pytest.approx(one, rel=close)


def test_a_part_holds_its_share_of_the_windows(monkeypatch):
    sizes, real = set(), pretraining.batch

    def watched(*args: Any, **kwargs: Any) -> Any:
        found = real(*args, **kwargs)
        sizes.add((torch.is_grad_enabled(), len(found[0])))
        return found

    monkeypatch.setattr(pretraining, "batch", watched)
    accumulated(4)
    assert {n for learns, n in sizes if learns and n < 16} == {4}


def test_parts_are_named_by_a_digest_only_where_there_are_some():
    assert PRETRAINED.at({"pretrain.accumulate": 1}).encoder_digest() == PRETRAINED.encoder_digest()
    assert PRETRAINED.at({"pretrain.accumulate": 2}).encoder_digest() != PRETRAINED.encoder_digest()
    for path in ("pretrain.optim.clip", "finetune.optim.clip"):
        assert PRETRAINED.at({path: None}).digest() == PRETRAINED.digest()
        assert PRETRAINED.at({path: 1.0}).digest() != PRETRAINED.digest()
    assert Optim().identity().keys() == {"lr", "weight_decay", "batch_size", "warmup"}


def test_as_many_workers_as_there_is_room_for_need_a_task_whose_numbers_do_not_hang_on_them():
    elastic = PRETRAINED.at({"pretrain.workers": {"max": 4}})
    assert not elastic.problems({})
    found = elastic.at({"pretrain.task": {"kind": "latent"}}).problems({})
    assert [(p.path, "give their number" in p.message) for p in found] == [
        ("pretrain.workers", True)
    ]
    with pytest.raises(SpecError, match=r"min=3: must not exceed max=2; lower it"):
        PRETRAINED.at({"pretrain.workers": {"min": 3, "max": 2}})


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        ({"pretrain.accumulate": 17}, "accumulate=17: times pretrain.workers must not exceed"),
        ({"pretrain.accumulate": 9, "pretrain.workers": 2}, "accumulate=9: times"),
        ({"pretrain.task": {"kind": "latent"}}, "of latent with conv, a window's loss hangs on"),
        ({"pretrain.task": {"kind": "spectral", "hide": {"fill": "swap"}}}, "of spectral with"),
        ({"pretrain.task": {"kind": "masked"}}, None),
    ],
)
def test_parts_that_would_not_add_up_are_refused(edits, says):
    trial = PRETRAINED.at({"pretrain.accumulate": 2} | edits)
    found = [p.message for p in trial.problems({}) if p.path == "pretrain.accumulate"]
    assert (says in found[0]) if says else not found
