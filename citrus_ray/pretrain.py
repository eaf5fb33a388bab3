"""One pre-training run, from spec to encoder weights. Ray Train calls `run` in every worker; nothing here knows Ray."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from citrus_ray import checkpoint, records
from citrus_ray.data import cache
from citrus_ray.data.normalize import Scale
from citrus_ray.data.splits import split
from citrus_ray.data.windows import Index, Windows
from citrus_ray.models import AnyEncoder
from citrus_ray.spec import refuse
from citrus_ray.train import seeded, shuffled, train
from citrus_ray.trial import HoldOut, Pretrain, Trial

Report = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class Place:
    """Where a run happens: which of how many workers it is, and how it wraps a module to share gradients."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module


@dataclass(frozen=True)
class Pretrained:
    """Encoder weights and how the run went."""

    weights: checkpoint.Weights
    history: list[dict[str, float]]


def run(spec: Pretrain, model: AnyEncoder, place: Place = Place(), report: Report = lambda metrics: None) -> Pretrained:
    """Train `model` on `spec.task`; `report` gets the metrics of every epoch."""
    windows = cache.load(spec.source)
    train_index, val_index = held_out(windows, spec)
    assert spec.task is not None, "a run from scratch has nothing to pre-train"
    scale = Scale.of(windows.x, train_index)
    with seeded(spec.seed):
        encoder = model.build(windows.context)
        task = spec.task.build(windows.context, encoder).to(place.device)
    wrapped = place.wrap(task)
    # each worker hides other patches: the same masks on every rank would waste half of them
    seed = spec.seed * 1009 + place.rank
    masks = torch.Generator(place.device).manual_seed(seed)

    def loss_of(index: Index) -> torch.Tensor:
        x = torch.from_numpy(scale(windows.x[train_index[index]])).to(place.device)
        return wrapped(x, masks)[0]  # type: ignore[no-any-return]

    batches = shuffled(
        len(train_index),
        spec.optim.batch_size,
        np.random.default_rng([4, spec.seed]),
        (place.rank, place.world),
    )
    n_steps = spec.epochs * max(1, len(train_index) // spec.optim.batch_size)
    history = []
    for epoch, loss in enumerate(train(wrapped, loss_of, batches, spec.optim, n_steps, spec.epochs, seed), start=1):
        metrics = {
            "epoch": float(epoch),
            "train/loss": loss,
            "val/loss": _val_loss(task, windows, val_index, scale, spec, place),
        }
        history.append(metrics)
        report(metrics)
    return Pretrained(encoder.state_dict(), history)


def held_out(windows: Windows, spec: Pretrain) -> tuple[Index, Index]:
    """Train and validation windows with disjoint groups, none a test group; a single group validates on itself."""
    allowed = ~np.isin(windows.group, _test_groups(windows, spec.hold_out))
    groups = np.unique(windows.group[allowed])
    n_val = min(max(1, round(spec.val * len(groups))), len(groups) - 1)
    val = np.isin(windows.group, np.random.default_rng([5, spec.seed]).choice(groups, n_val, replace=False))
    train = np.flatnonzero(allowed & ~val)
    return train, np.flatnonzero(val) if n_val else train


def _test_groups(windows: Windows, hold_out: HoldOut | None) -> list[int]:
    """The test groups of the target as this source numbers them: matched by name."""
    if hold_out is None:
        return []
    target = cache.load(hold_out.target)
    test = split(target, hold_out.split, seed=0).test  # the test part hangs on split.seed alone
    names = {target.groups[g] for g in np.unique(target.group[test])}
    found = [g for g, name in enumerate(windows.groups) if name in names]
    if not found:
        raise refuse(
            f"pre-training reads the target's recordings, but none of its groups ({', '.join(windows.groups[:3])}, …) "
            f"is one of the target's test groups ({', '.join(sorted(names)[:3])}, …), so they cannot be left out; "
            "give both the same groups",
            "pretrain.source",
        )
    return found


@torch.no_grad()
def _val_loss(task: nn.Module, windows: Windows, index: Index, scale: Scale, spec: Pretrain, place: Place) -> float:
    """The same masks every epoch, so that epochs can be compared."""
    task.eval()
    masks = torch.Generator(place.device).manual_seed(0)
    size = spec.optim.batch_size
    losses = []
    for start in range(0, len(index), size):
        x = torch.from_numpy(scale(windows.x[index[start : start + size]])).to(place.device)
        losses.append(float(task(x, masks)[0]) * len(x))
    return sum(losses) / len(index)


def default_store() -> Path:
    return Path(os.environ.get("CITRUS_STORE", "results/store"))


def ensure_encoder(trial: Trial, store: Path | None = None) -> checkpoint.Weights | None:
    """The trial's pre-trained encoder, computed in this process if no one has yet; None from scratch."""
    digest, spec, store = trial.encoder_digest(), trial.pretraining, store or default_store()
    if digest is None or spec is None:
        return None
    if not checkpoint.exists(store, digest):
        started = time.perf_counter()
        done = run(spec, trial.model)
        checkpoint.save(store, digest, done.weights, lineage(trial, done, time.perf_counter() - started, 1))
    return checkpoint.load(store, digest)


def lineage(trial: Trial, done: Pretrained, seconds: float, workers: int) -> dict[str, Any]:
    """What the stored encoder is and where it came from."""
    assert trial.pretraining is not None
    return {
        "pretrain": trial.pretraining.tree(),
        "model": trial.model.tree(),
        "data_digest": trial.pretraining.source.digest(),
        "history": done.history,
        "seconds": round(seconds, 3),
        "workers": workers,
        "versions": records.versions(),
        "commit": records.commit(),
    }
