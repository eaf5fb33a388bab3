"""The training step on a GPU: windows per second and utilisation against its bf16 matmul rate. Says
so without one."""

import time
from collections.abc import Callable
from typing import Any

import torch

from citrus_ray.training.loop import seeded
from tests.bench.step import Case, flops_of
from tests.bench.timing import matmul

BATCH = 256


def run(full: bool = False) -> dict[str, Any]:
    """Base sizes, 30 s windows with `full`, else 2 s. Members stacked on a GPU are in
    `population`."""
    if not torch.cuda.is_available():
        return {"device": "no CUDA here, so nothing is measured"}
    cases = [
        Case(model, "base", 5, 30.0 if full else 2.0, 0.75) for model in ("conv", "patch", "citrus")
    ]
    return {
        "device": torch.cuda.get_device_name(),
        "cases": [measured(case, "cuda", BATCH) for case in cases],
    }


def measured(case: Case, device: str, batch: int, times: int = 20) -> dict[str, Any]:
    product = matmul(torch.bfloat16, 8192 if device == "cuda" else 512, device)
    n = 8192 if device == "cuda" else 512
    peak = 2 * n**3 / _seconds(product, device, times)
    found: dict[str, Any] = {
        **vars(case),
        "batch": batch,
        "bf16_matmul_tflops": round(peak / 1e12, 2),
    }
    for name, bf16, compiled in (
        ("float32", False, False),
        ("bf16", True, False),
        ("bf16_compiled", True, True),
    ):
        step = _step(case, device, batch, bf16, compiled)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        step()
        first = time.perf_counter() - started
        seconds = _seconds(step, device, times)
        found[name] = {"windows_per_s": round(batch / seconds), "first_step_s": round(first, 2)}
        if not compiled:
            found[name]["utilisation"] = round(flops_of(step) / seconds / peak, 4)
        if device == "cuda":
            found[name]["peak_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return found


def _step(case: Case, device: str, batch: int, bf16: bool, compiled: bool) -> Callable[[], Any]:
    with seeded(0):
        task = case.task.build(case.ctx, case.spec.build(case.ctx)).to(device).train()
    masks = torch.Generator(device).manual_seed(0)
    x = torch.randn(batch, case.n_chans, case.ctx.n_times, device=device)
    forward = torch.compile(task) if compiled else task
    optimizer = torch.optim.AdamW(task.parameters(), fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            loss = forward(x, masks)[0]
        loss.backward()
        optimizer.step()

    return step


def _seconds(call: Callable[[], Any], device: str, times: int) -> float:
    """Of one call, once it is warm."""
    call()
    _wait(device)
    started = time.perf_counter()
    for _ in range(times):
        call()
    _wait(device)
    return (time.perf_counter() - started) / times


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
