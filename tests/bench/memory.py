"""What preparing a set costs in memory, and an extra worker when all of them read the same prepared
windows.

Preparing is measured in a process of its own, on recordings that are together much larger than one
of them.

Each worker is a process that loads the set and reads every window. Shared pages (the memory-mapped
array, libraries) are there once however many read them; what a worker adds is its private memory.
"""

import multiprocessing
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from citrus_ray.data.sources.files import Files
from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.windowing import cache

SOURCE = Synthetic(
    n_subjects=100, windows_per_subject=200, n_chans=8, seconds=2.56
)  # 164 MB of float32
WORKERS = 4
RECORDINGS, SHAPE, SFREQ = 50, (8, 250_000), 250.0  # 8 MB each, 400 MB together


def run(full: bool = False) -> dict[str, Any]:
    """Private memory per worker with the array memory-mapped, and with a copy of its own. It has
    one size."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CITRUS_CACHE"] = folder
        started = time.perf_counter()
        n_bytes = cache.load(SOURCE).x.nbytes
        first = time.perf_counter() - started
        started = time.perf_counter()
        cache.load(SOURCE)
        second = time.perf_counter() - started
        mapped, copied = _private_mb(copy=False), _private_mb(copy=True)
        preparing = _preparing(Path(folder) / "recordings")
    return preparing | {
        "windows_mb": round(n_bytes / 1e6, 1),
        "prepare_s": round(first, 3),
        "load_again_s": round(second, 4),
        "workers": WORKERS,
        "private_mb_per_worker_mapped": mapped,
        "private_mb_per_worker_copied": copied,
        "saved_mb_per_extra_worker": round(copied - mapped, 1),
    }


def _preparing(folder: Path) -> dict[str, float]:
    """Peak anonymous memory while a set is prepared: above what the process held before."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(RECORDINGS):
        np.savez(
            folder / f"{i:02d}.npz", x=rng.standard_normal(SHAPE, dtype=np.float32), sfreq=SFREQ
        )
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_prepare, args=(str(folder), answers))
    process.start()
    n_bytes, peak_mb = answers.get()
    process.join()
    return {
        "recording_mb": round(4 * SHAPE[0] * SHAPE[1] / 1e6, 1),
        "set_mb": round(n_bytes / 1e6, 1),
        "peak_anonymous_mb_preparing": round(peak_mb, 1),
        "peak_over_set": round(1e6 * peak_mb / n_bytes, 3),
    }


def _prepare(folder: str, answers: Any) -> None:
    source = Files(root=folder, pattern="*.npz", seconds=4.0, sfreq=SFREQ)
    before, seen, done = anonymous_mb(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            seen.append(anonymous_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    n_bytes = cache.load(source).x.nbytes
    done.set()
    watcher.join()
    answers.put((n_bytes, max(seen) - before))


def anonymous_mb() -> float:
    """Memory that no file stands behind: what a machine must really have."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024 / 1e6


def _private_mb(copy: bool) -> float:
    """Mean over workers that all hold the set at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(WORKERS), context.Queue()
    workers = [
        context.Process(target=_worker, args=(copy, barrier, answers)) for _ in range(WORKERS)
    ]
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
