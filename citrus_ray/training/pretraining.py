"""One pre-training run, from spec to encoder weights. Ray Train calls `run` in every worker; nothing here knows Ray."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from citrus_ray import records
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.splits import split
from citrus_ray.data.windowing.view import View
from citrus_ray.data.windows import Index, Windows
from citrus_ray.experiment.trial import HoldOut, Pretrain, Trial
from citrus_ray.models import AnyEncoder
from citrus_ray.spec import refuse
from citrus_ray.store import Where, checkpoint, default_store, open_files
from citrus_ray.store.leases import Leases
from citrus_ray.store.resume import State, made_by
from citrus_ray.tasks.losses.task import Task
from citrus_ray.training.loop import Training, seeded, shuffled

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
    seconds: float  # of all attempts together
    resumed: list[dict[str, Any]] = field(
        default_factory=list
    )  # after which epochs it went on, by which commit


def run(
    spec: Pretrain,
    model: AnyEncoder,
    place: Place = Place(),
    report: Report = lambda metrics: None,
    state: State | None = None,
) -> Pretrained:
    """Train `model` on `spec.task`; `report` gets the metrics of every epoch. Goes on from `state`, and keeps it."""
    started = time.perf_counter()
    windows = cache.load(spec.source)
    train_index, val_index = held_out(windows, spec)
    assert spec.task is not None, "a run from scratch has nothing to pre-train"
    view = View.of(windows, train_index, model.multimodal)
    with seeded(spec.seed):
        encoder = model.build(windows.context)
        task = spec.task.build(windows.context, encoder).to(place.device)
    wrapped = place.wrap(task)
    # each worker hides other patches: the same masks on every rank would waste half of them
    seed = spec.seed * 1009 + place.rank
    masks = torch.Generator(place.device).manual_seed(seed)

    def loss_of(index: Index) -> torch.Tensor:
        x, *y = batch(task, windows, view, train_index[index], place.device)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=spec.precision == "bfloat16"):
            return wrapped(x, masks, *y)[0]  # type: ignore[no-any-return]

    batches = shuffled(
        len(train_index),
        spec.optim.batch_size,
        np.random.default_rng([4, spec.seed]),
        (place.rank, place.world),
    )
    n_steps = spec.epochs * max(1, len(train_index) // spec.optim.batch_size)
    training = Training(wrapped, loss_of, batches, spec.optim, n_steps, spec.epochs, seed)
    done = _resumed(task, training, masks, place, state)
    started -= done.seconds
    while not training.over:
        loss = training.advance()
        metrics = {
            "epoch": float(training.round),
            "train/loss": loss,
            **_validated(task, windows, val_index, view, spec, place),
        }
        done.history.append(metrics)
        report(metrics)
        complaint = (
            task.complaint(metrics) if 2 * training.round >= spec.epochs else None
        )  # some begin narrow
        if complaint:
            raise refuse(f"epoch {training.round} of {spec.epochs}: {complaint}", "pretrain.task")
        all_masks = _gathered(masks.get_state())
        if state is not None and place.rank == 0:
            so_far = {
                "history": done.history,
                "seconds": time.perf_counter() - started,
                "resumed": done.resumed,
            }
            state.offer(lambda: _saved(task, training, all_masks, place) | so_far)  # noqa: B023  (called at once)
    return Pretrained(
        encoder.state_dict(), done.history, time.perf_counter() - started, done.resumed
    )


def _saved(
    task: nn.Module, training: Training, masks: list[torch.Tensor], place: Place
) -> dict[str, Any]:
    mine = {"task": task.state_dict(), "training": training.state_dict(), "masks": masks}
    return mine | {"made_by": made_by(task, place.device)}


def _resumed(
    task: nn.Module, training: Training, masks: torch.Generator, place: Place, state: State | None
) -> Pretrained:
    """Bring everything to where the saved state is; how far that is."""
    read = (
        state.read(made_by(task, place.device)) if state is not None and place.rank == 0 else None
    )
    saved = _gathered(read)[0]  # rank 0's: what it reads, all go on from
    if saved is None:
        return Pretrained({}, [], 0.0)
    task.load_state_dict(saved["task"])
    training.load_state_dict(saved["training"])
    if place.rank < len(
        saved["masks"]
    ):  # a worker more than last time keeps the masks of its own seed
        masks.set_state(saved["masks"][place.rank])
    resumed = [*saved["resumed"], {"epoch": training.round, "commit": records.commit()}]
    return Pretrained({}, saved["history"], saved["seconds"], resumed)


def _gathered(value: Any) -> list[Any]:
    """Everyone's value, by rank."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    found = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, value)
    return found


def held_out(windows: Windows, spec: Pretrain) -> tuple[Index, Index]:
    """Train and validation windows with disjoint groups, none a test group; a single group validates on itself."""
    allowed = ~np.isin(windows.group, _test_groups(windows, spec.hold_out))
    groups = np.unique(windows.group[allowed])
    n_val = min(max(1, round(spec.val * len(groups))), len(groups) - 1)
    val = np.isin(
        windows.group, np.random.default_rng([5, spec.seed]).choice(groups, n_val, replace=False)
    )
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


def batch(
    task: Task, windows: Windows, view: View, index: Index, device: str
) -> list[torch.Tensor]:
    """Signals (B, C, T), and labels (B,) for a task that uses them."""
    x = torch.from_numpy(view(index)).to(device)
    return [x, torch.from_numpy(windows.labels[index]).to(device)] if task.uses_labels else [x]


@torch.no_grad()
def _validated(
    task: Task, windows: Windows, index: Index, view: View, spec: Pretrain, place: Place
) -> dict[str, float]:
    """`val/loss` and the task's own metrics. The same masks every epoch, so that epochs can be compared."""
    task.eval()
    masks = torch.Generator(place.device).manual_seed(0)
    size = spec.optim.batch_size
    sums: dict[str, float] = defaultdict(float)
    for start in range(0, len(index), size):
        x, *y = batch(task, windows, view, index[start : start + size], place.device)
        loss, metrics = task(x, masks, *y)
        for name, value in {"loss": loss, **metrics}.items():
            sums[f"val/{name}"] += float(value) * len(x)
    return {name: value / len(index) for name, value in sums.items()}


def ensure_encoder(trial: Trial, store: Where | None = None) -> checkpoint.Weights | None:
    """The trial's pre-trained encoder, computed in this process if no one has yet; None from scratch."""
    digest, store = trial.encoder_digest(), store or default_store()
    if digest is None:
        return None
    claim = Leases(open_files(store)).take_unless(digest, lambda: checkpoint.exists(store, digest))
    if claim is not None:
        with claim:
            _compute(trial, digest, store)
    return checkpoint.load(store, digest)


def _compute(trial: Trial, digest: str, store: Where) -> None:
    """Unless who held the claim before has just finished it."""
    if checkpoint.exists(store, digest):
        return
    assert trial.pretraining is not None
    state = State(store, digest)
    keep(trial, digest, store, run(trial.pretraining, trial.model, state=state), 1, state)


def keep(
    trial: Trial, digest: str, store: Where, done: Pretrained, workers: int, state: State
) -> None:
    """Store a finished run; only then is there nothing to go on from."""
    checkpoint.save(store, digest, done.weights, lineage(trial, done, workers))
    state.clear()


def lineage(trial: Trial, done: Pretrained, workers: int) -> dict[str, Any]:
    """What the stored encoder is and where it came from."""
    assert trial.pretraining is not None
    return {
        "pretrain": trial.pretraining.tree(),
        "model": trial.model.tree(),
        "data_digest": trial.pretraining.source.digest(),
        "history": done.history,
        "seconds": round(done.seconds, 3),
        "resumed": done.resumed,
        "workers": workers,
        "versions": records.versions(),
        "commit": records.commit(),
        "finished": records.now(),
    }
