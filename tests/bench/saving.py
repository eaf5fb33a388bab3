"""How long the state that an interrupted pre-training goes on from makes its steps wait.

A training whose state is about 100 MB takes small steps and offers its state after each, as a
pre-training does after an epoch; saving is allowed every third of a second. Beside it the same
where each write is waited for.
"""

import itertools
import tempfile
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from citrus_ray.experiment.optim import Optim
from citrus_ray.store import resume
from citrus_ray.store.resume import State
from citrus_ray.training.loop import Training

WIDTH, LAYERS, EVERY_S = 1024, 8, 0.3  # 8.4 million weights, with AdamW's moments 100 MB


def run(full: bool = False) -> dict[str, Any]:
    """Seconds of 20 s of steps, 60 with `full`, per way of saving."""
    torch.set_num_threads(1)
    resume.EVERY_S, resume.SHARE = EVERY_S, float("inf")
    seconds = 60.0 if full else 20.0
    return {name: _steps(seconds, name) for name in ("nothing", "waited for", "beside")}


def _steps(seconds: float, how: str) -> dict[str, Any]:
    module = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)))
    x, n_steps = torch.randn(64, WIDTH), 1_000_000
    batches = itertools.repeat(np.arange(64))
    training = Training(
        module, lambda i: module(x[i]).square().mean(), batches, Optim(), n_steps, n_steps
    )
    training.advance()
    with tempfile.TemporaryDirectory() as folder:
        state, waits, laps = State(folder, "d"), list[float](), list[float]()
        started, cpu = time.perf_counter(), time.process_time()
        while time.perf_counter() - started < seconds:
            lap = time.perf_counter()
            training.advance()
            offered = time.perf_counter()
            if how != "nothing":
                copies = list[None]()

                def state_of() -> dict[str, Any]:
                    copies.append(None)  # noqa: B023  (called now)
                    return {"module": module.state_dict(), **training.state_dict()}

                state.offer(state_of)
                if how == "waited for":
                    state.wait()
                waits += [time.perf_counter() - offered] * len(copies)
            laps.append(time.perf_counter() - lap)
        state.wait()
        size = sum(file.size for file in state.storage.list())
    return {
        "state_mb": round(size / 1e6),
        "steps": len(laps),
        "saved": len(waits),
        "wait_s": {"median": _at(waits, 0.5), "longest": _at(waits, 1.0)},
        "lap_s": {"median": _at(laps, 0.5), "longest": _at(laps, 1.0)},
        "cpu_s_per_step": round((time.process_time() - cpu) / len(laps), 4),
    }


def _at(values: list[float], share: float) -> float | None:
    return round(float(np.quantile(values, share)), 4) if values else None
