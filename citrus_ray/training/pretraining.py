"""Pre-training, from spec to encoder weights. Ray Train calls `run` in every worker; nothing here
knows Ray."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from citrus_ray import records
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.view import View
from citrus_ray.data.windows import Index, Windows
from citrus_ray.experiment.hold_out import left_out
from citrus_ray.experiment.trial import Pretrain, Trial
from citrus_ray.models import AnyEncoder
from citrus_ray.models.nets.arrival import arrivals
from citrus_ray.spec import refuse
from citrus_ray.store import Where, checkpoint, default_store, open_storage
from citrus_ray.store.leases import Leases
from citrus_ray.store.resume import State, made_by
from citrus_ray.tasks.losses.task import References, Task
from citrus_ray.training.loop import Training, seeded, shuffled
from citrus_ray.training.parts import ALONE, BatchParts, Take, Worker

Report = Callable[[dict[str, float]], None]

# numbers that predictors without a network learn from: seconds, whatever the set
NUMBERS, FEWEST = 1 << 20, 64


@dataclass(frozen=True)
class Pretrained:
    """Encoder weights and how the run went."""

    weights: checkpoint.Weights
    history: list[dict[str, float]]
    seconds: float  # of all attempts together
    # after which epochs it went on, by which commit
    resumed: list[dict[str, Any]] = field(default_factory=list)
    # validation losses of predictors without a network, by name; `Task.references` says which
    references: dict[str, float] = field(default_factory=dict)
    # what it began with from files, by encoder
    began_with: dict[str, dict[str, Any]] = field(default_factory=dict)


def run(
    spec: Pretrain,
    model: AnyEncoder,
    worker: Worker = ALONE,
    report: Report = lambda metrics: None,
    state: State | None = None,
) -> Pretrained:
    """Train `model` on `spec.task`; `report` gets the metrics of every epoch. Goes on from `state`,
    and keeps it."""
    started = time.perf_counter()
    windows, size = cache.load(spec.source), spec.optim.batch_size
    train_index, val_index = held_out(windows, spec)
    assert spec.task is not None, "a run from scratch has nothing to pre-train"
    view = View.of(windows, train_index, model.multimodal)
    with seeded(spec.seed):
        encoder = model.build(windows.context)
        task = spec.task.build(windows.context, encoder).to(worker.device)
    wrapped = worker.wrap(task)
    seed, in_parts = spec.seed * 1009 + worker.rank, spec.task.takes_parts(model)
    # what a batch hides is drawn once for all workers; where a loss is of the batch as a whole,
    # each draws for its own windows, and other masks than the rest
    lot = seed - worker.rank if in_parts else seed
    masks = torch.Generator(worker.device).manual_seed(lot)
    parts = BatchParts(min(size, len(train_index)), spec.accumulate, worker, task, masks)
    take = partial(batch, task, windows, view, device=worker.device)

    def lost(x: torch.Tensor, *y: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=spec.precision == "bfloat16"):
            return wrapped(x, masks, *y)[0]  # type: ignore[no-any-return]

    def loss_of(index: Index) -> torch.Tensor | Iterator[torch.Tensor]:
        if in_parts and (worker.world > 1 or spec.accumulate > 1):
            return parts.losses(wrapped, lost, take, train_index[index])
        return lost(*take(train_index[index]))

    order, shard = np.random.default_rng([4, spec.seed]), (worker.rank, worker.world)
    batches = shuffled(len(train_index), size, order, shard)
    n_steps = spec.epochs * max(1, len(train_index) // size)
    training = Training(wrapped, loss_of, batches, spec.optim, n_steps, spec.epochs, seed)
    done = _resumed(task, training, masks, worker, state, in_parts)
    started -= done.seconds
    val_batches = partial(_in_turn, take, val_index, size)
    references = dict[str, float]()
    if worker.rank == 0:  # before the first step: an error here costs no training
        some = take(fitted_on(train_index, view, spec.seed))
        references = _references(task, some, val_batches(), worker.device)
    try:
        while not training.over:
            loss = float(np.mean(_gathered(training.advance())))
            metrics = {"epoch": float(training.round), "train/loss": loss}
            metrics |= _validated(task, val_batches(), worker.device)
            done.history.append(metrics)
            report(metrics)
            # not in the first half: some begin narrow
            if 2 * training.round >= spec.epochs and (complaint := task.complaint(metrics)):
                raise refuse(
                    f"epoch {training.round} of {spec.epochs}: {complaint}", "pretrain.task"
                )
            all_masks = [masks.get_state()] if in_parts else _gathered(masks.get_state())
            if state is not None and worker.rank == 0:
                so_far = {"history": done.history, "seconds": time.perf_counter() - started}
                so_far |= {"masks": all_masks, "resumed": done.resumed}
                state.offer(lambda: _saved(task, training, worker) | so_far)  # noqa: B023  (called now)
    finally:
        if state is not None:
            state.wait()
    if worker.rank == 0 and task.target_moves:  # of the target that the last loss is of
        references = _references(task, some, val_batches(), worker.device)
    seconds = time.perf_counter() - started
    found = encoder.state_dict(), done.history, seconds, done.resumed, references
    return Pretrained(*found, arrivals(encoder))


def _saved(task: nn.Module, training: Training, worker: Worker) -> dict[str, Any]:
    made = made_by(task, worker.device)
    return {"task": task.state_dict(), "training": training.state_dict(), "made_by": made}


def _resumed(
    task: nn.Module,
    training: Training,
    masks: torch.Generator,
    worker: Worker,
    state: State | None,
    in_parts: bool,
) -> Pretrained:
    """How far the saved state is, with everything brought there. With `in_parts` all workers have
    the masks of one."""
    read = state.read(made_by(task, worker.device)) if state and worker.rank == 0 else None
    saved = _gathered(read)[0]  # rank 0's: what it reads, all go on from
    if saved is None:
        return Pretrained({}, [], 0.0)
    task.load_state_dict(saved["task"])
    training.load_state_dict(saved["training"])
    rank = 0 if in_parts else worker.rank
    # a worker more than last time keeps the masks of its own seed
    if rank < len(saved["masks"]):
        masks.set_state(saved["masks"][rank])
    went_on = {"epoch": training.round, "commit": records.commit(), "workers": worker.world}
    resumed = [*saved["resumed"], went_on]
    return Pretrained({}, saved["history"], saved["seconds"], resumed)


def _gathered(value: Any) -> list[Any]:
    """Everyone's value, by rank."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    found = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, value)
    return found


def held_out(windows: Windows, spec: Pretrain) -> tuple[Index, Index]:
    """Train and validation windows with disjoint groups, none with a recording of who is tested; a
    single group validates on itself."""
    out = left_out(windows, spec)
    if out and (complaint := out.nothing_left()):
        raise refuse(complaint, "pretrain.source")
    allowed = ~np.isin(windows.group, out.groups if out else [])
    groups = np.unique(windows.group[allowed])
    n_val = min(max(1, round(spec.val * len(groups))), len(groups) - 1)
    chosen = np.random.default_rng([5, spec.seed]).choice(groups, n_val, replace=False)
    val = np.isin(windows.group, chosen)
    train = np.flatnonzero(allowed & ~val)
    return train, np.flatnonzero(val) if n_val else train


def batch(
    task: Task, windows: Windows, view: View, index: Index, device: str
) -> list[torch.Tensor]:
    """Signals (B, C, T), and labels (B,) for a task that uses them."""
    x = torch.from_numpy(view(index)).to(device)
    return [x, torch.from_numpy(windows.labels[index]).to(device)] if task.uses_labels else [x]


def fitted_on(train: Index, view: View, seed: int) -> Index:
    """Training windows that predictors without a network learn from: any, up to a number of
    samples."""
    n = max(FEWEST, NUMBERS // sum(int(np.prod(x.shape[1:])) for x in view.arrays))
    if len(train) <= n:
        return train
    # by lot: every second pair is one that follows
    return np.sort(np.random.default_rng([10, seed]).choice(train, n, replace=False))


def _in_turn(take: Take, index: Index, size: int) -> Iterator[list[torch.Tensor]]:
    return (take(index[start : start + size]) for start in range(0, len(index), size))


@torch.no_grad()
def _references(
    task: Task, some: list[torch.Tensor], val: Iterator[list[torch.Tensor]], device: str
) -> dict[str, float]:
    """What predictors that learnt from `some` training windows lose on validation windows, with
    the masks of `val/loss`."""
    x, *y = some
    found = task.eval().references(x, torch.Generator(device).manual_seed(1), *y)
    return {} if found is None else _means(found, val, device)


@torch.no_grad()
def _validated(task: Task, val: Iterator[list[torch.Tensor]], device: str) -> dict[str, float]:
    """`val/loss` and the task's own metrics."""
    task.eval()

    def losses(*batch: Any) -> dict[str, torch.Tensor]:
        loss, metrics = task(*batch)
        return {"loss": loss, **metrics}

    return {f"val/{name}": value for name, value in _means(losses, val, device).items()}


def _means(
    losses: References, batches: Iterator[list[torch.Tensor]], device: str
) -> dict[str, float]:
    """Means over windows. The same masks every time, so that epochs can be compared, and with what
    knows no epoch."""
    masks, sizes = torch.Generator(device).manual_seed(0), list[int]()
    found: dict[str, list[torch.Tensor]] = defaultdict(list)
    for x, *y in batches:
        sizes.append(len(x))
        for name, value in losses(x, masks, *y).items():
            found[name].append(value)
    # looked at in the end: a look at every batch would make a GPU wait
    by_name = {name: torch.stack(values).tolist() for name, values in found.items()}
    return {
        name: sum(value * n for value, n in zip(values, sizes, strict=True)) / sum(sizes)
        for name, values in by_name.items()
    }


def ensure_encoder(
    trial: Trial, store: Where | None = None, device: str = "cpu"
) -> checkpoint.Weights | None:
    """The trial's pre-trained encoder, computed in this process if no one has yet; None from
    scratch."""
    digest, store = trial.encoder_digest(), store or default_store()
    if digest is None:
        return None
    done = partial(checkpoint.is_whole, store, digest)
    lease = Leases(open_storage(store)).take_unless(digest, done)
    if lease is not None:
        with lease:
            if not done():  # who held it before may have just finished
                assert trial.pretraining is not None
                assert trial.model.backbone is not None
                state = State(store, digest)
                worker = Worker(device=device)
                found = run(trial.pretraining, trial.model.backbone, worker, state=state)
                keep(trial, digest, store, found, worker, state)
    return checkpoint.load(store, digest)


def keep(
    trial: Trial, digest: str, store: Where, done: Pretrained, worker: Worker, state: State
) -> None:
    """Store a finished run; only then is there nothing to go on from."""
    checkpoint.save(store, digest, done.weights, lineage(trial, done, worker))
    state.clear()


def lineage(trial: Trial, done: Pretrained, worker: Worker) -> dict[str, Any]:
    """What the stored encoder is and where it came from."""
    assert trial.pretraining is not None
    assert trial.model.backbone is not None
    return {
        "pretrain": trial.pretraining.tree(),
        "model": trial.model.backbone.tree(),
        "data_digest": trial.pretraining.source.digest(),
        "history": done.history,
        "references": done.references,
        "began_with": done.began_with,
        "seconds": round(done.seconds, 3),
        "resumed": done.resumed,
        "workers": worker.world,
        "device": torch.device(worker.device).type,
        "versions": records.versions(),
        "commit": records.commit(),
        "finished": records.now(),
    }
