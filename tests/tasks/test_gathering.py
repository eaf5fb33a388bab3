"""Workers that share a batch have the loss and the gradient of one that has it alone."""

from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from citrus_ray.context import SignalContext
from citrus_ray.models.specs import Conv, Crossmodal
from citrus_ray.spec import validate
from citrus_ray.tasks.losses import crossmodal
from citrus_ray.tasks.losses.crossmodal import CrossmodalTask
from citrus_ray.tasks.losses.gathering import gathered, in_common
from citrus_ray.tasks.losses.masking import two_views
from citrus_ray.tasks.specs import CrossmodalViews
from citrus_ray.training.loop import seeded

CTX = SignalContext(3, 48, 50.0, modalities=("ecg", "eeg", "emg"))
LOSSES = ("vicreg", "barlow", "infonce")
N = 7  # one worker gets four windows, the other three


def task_of(loss: str) -> CrossmodalTask:
    spec = validate(CrossmodalViews, {"kind": "crossmodal", "loss": {"kind": loss}, "expander": 8})
    with seeded(0):
        task = spec.build(CTX, Crossmodal(encoder=Conv(dim=8, strides=(2, 2))).build(CTX))
    assert isinstance(task, CrossmodalTask)
    return task


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def first_and_rest(cells: torch.Tensor, *_: Any) -> torch.Tensor:
    """Views without a lot: which worker draws which is not the question here."""
    first = torch.arange(cells.shape[1]) == 0
    return torch.stack([cells & first, cells & ~first])


def step(task: CrossmodalTask, module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The loss, and gradients in the task's parameters."""
    task.zero_grad()
    loss = module(x, generator(0))[0]
    loss.backward()
    return loss.detach()  # type: ignore[no-any-return]


def compare(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    patch.object(crossmodal, "two_views", first_and_rest).start()  # this process ends with it
    x = torch.randn(N, 3, 48, generator=generator(1))
    alone = {}
    for loss in LOSSES:
        task = task_of(loss)
        value = step(task, task, x)
        alone[loss] = value, {name: p.grad for name, p in task.named_parameters()}
    distributed.init_process_group("gloo", f"file://{folder}/meet", world_size=2, rank=rank)
    for loss, (value, grads) in alone.items():
        task = task_of(loss)
        close = partial(torch.testing.assert_close, rtol=1e-3, atol=1e-5)
        wrapped = DistributedDataParallel(task)
        close(step(task, wrapped, x[rank::2]), value)
        for name, p in task.named_parameters():
            close(p.grad, grads[name])
        # in validation each worker has all windows to itself
        close(task.eval()(x, generator(0))[0], value)
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_workers_have_the_loss_and_gradient_of_one_with_the_whole_batch(tmp_path: Path) -> None:
    spawn(compare, (str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]


def draw(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", f"file://{folder}/meet", world_size=2, rank=rank)
    drawn = torch.rand(4, generator=in_common(generator(rank)))
    found = gathered(drawn[None])
    assert torch.equal(found[0], found[1])
    task, x = task_of("infonce"), torch.randn(3, 3, 48)
    task.disjoint, lots = True, list[torch.Tensor]()

    def spy(*args: Any) -> torch.Tensor:
        seen = two_views(*args)
        lots.append(seen[:, 0].float())
        return seen

    patch.object(crossmodal, "two_views", spy).start()
    for _ in range(8):
        task(x, generator(rank))
    shown = gathered(torch.stack(lots)[None])
    assert torch.equal(shown[0], shown[1])
    distributed.destroy_process_group()


@pytest.mark.slow
def test_workers_split_disjoint_views_alike_whatever_their_own_lot(tmp_path: Path) -> None:
    spawn(draw, (str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]


def test_alone_nothing_is_gathered_and_the_lot_is_its_own() -> None:
    z, own = torch.randn(3, 2), generator(0)
    assert gathered(z) is z
    assert in_common(own) is own
