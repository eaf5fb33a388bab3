"""Two workers that share gradients against two that do not: what sharing costs, on the same two
cores at once.

Each is a process with one thread and the training step of `step`; both kinds run in turn, and only
what two processes do at the same time is compared, so a busy machine slows both.
"""

import multiprocessing
import os
import socket
import time
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from citrus_ray.training.loop import seeded
from tests.bench.step import Case

STEPS, BATCH, WORKERS = 8, 16, 2
KINDS: dict[str, dict[str, Any] | None] = {
    "alone": None,
    "as_torch_has_it": {},
    "static_bucket_view": {"static_graph": True, "gradient_as_bucket_view": True},
    "unused_parameters": {"find_unused_parameters": True},
}


def run(full: bool = False) -> dict[str, Any]:
    """Efficiency: windows per second of two workers that share gradients, over those of two that do
    not."""
    cases = [Case("patch", "base", 5, 2.0, 0.5), Case("conv", "small", 5, 2.0, 0.5)]
    return {
        f"{case.model} {case.preset}": _efficiency(case, rounds=9 if full else 5) for case in cases
    }


def _efficiency(case: Case, rounds: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    answers, port = context.Queue(), _free_port()
    workers = [
        context.Process(target=_worker, args=(case, rank, port, rounds, answers))
        for rank in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    both = [answers.get(timeout=300) for _ in workers]
    for worker in workers:
        worker.join()
    slowest = {kind: np.max([found[kind] for found in both], axis=0) for kind in KINDS}  # (rounds,)
    shares = {
        kind: slowest["alone"] / seconds for kind, seconds in slowest.items() if kind != "alone"
    }
    return {kind: round(float(np.median(share)), 3) for kind, share in shares.items()}


def _worker(case: Case, rank: int, port: int, rounds: int, answers: Any) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.init_process_group("gloo", rank=rank, world_size=WORKERS)
    steps = {kind: _step(case, options) for kind, options in KINDS.items()}
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(rounds + 1):
        for kind, step in steps.items():
            distributed.barrier()
            started = time.perf_counter()
            for _ in range(STEPS):
                step()
            seconds[kind].append(time.perf_counter() - started)
    answers.put({kind: found[1:] for kind, found in seconds.items()})
    distributed.destroy_process_group()


def _step(case: Case, options: dict[str, Any] | None) -> Any:
    with seeded(0):
        task = case.task.build(case.ctx, case.spec.build(case.ctx)).train()
    module: torch.nn.Module = task if options is None else DistributedDataParallel(task, **options)
    x, masks = torch.randn(BATCH, case.n_chans, case.ctx.n_times), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(task.parameters(), fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        module(x, masks)[0].backward()
        optimizer.step()

    return step


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
