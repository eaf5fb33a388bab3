"""What an extra worker costs in memory when all of them read the same prepared windows.

Each worker is a process that loads the set and reads every window. Shared pages (the memory-mapped array, libraries)
are there once however many read them; what a worker adds is its private memory.
"""

import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from citrus_ray.data import cache
from citrus_ray.data.synthetic import Synthetic

SOURCE = Synthetic(n_subjects=100, windows_per_subject=200, n_chans=8, seconds=2.56)  # 164 MB of float32
WORKERS = 4


def run() -> dict[str, Any]:
    """Private memory per worker with the array memory-mapped, and with a copy of its own."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CITRUS_CACHE"] = folder
        started = time.perf_counter()
        n_bytes = cache.load(SOURCE).x.nbytes
        first = time.perf_counter() - started
        started = time.perf_counter()
        cache.load(SOURCE)
        second = time.perf_counter() - started
        mapped, copied = _private_mb(copy=False), _private_mb(copy=True)
    return {
        "windows_mb": round(n_bytes / 1e6, 1),
        "prepare_s": round(first, 3),
        "load_again_s": round(second, 4),
        "workers": WORKERS,
        "private_mb_per_worker_mapped": mapped,
        "private_mb_per_worker_copied": copied,
        "saved_mb_per_extra_worker": round(copied - mapped, 1),
    }


def _private_mb(copy: bool) -> float:
    """Mean over workers that all hold the set at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(WORKERS), context.Queue()
    workers = [context.Process(target=_worker, args=(copy, barrier, answers)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    found = [answers.get() for _ in workers]
    for worker in workers:
        worker.join()
    return round(float(sum(found)) / len(found), 1)


def _worker(copy: bool, barrier: Any, answers: Any) -> None:
    x = cache.load(SOURCE).x
    x = x.copy() if copy else x
    for start in range(0, len(x), 256):
        x[start : start + 256].sum()
    barrier.wait()  # all of them have read everything
    answers.put(private_mb())
    barrier.wait()


def private_mb() -> float:
    """Memory that only this process holds, from the kernel's own account."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024
