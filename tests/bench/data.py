"""The data path: batches from cold and warm memory, what a step waits for them, and what preparing
recordings costs.

Cold is after the kernel was told to forget the file. Bytes are those that storage delivered.
Preparing reads, filters, resamples, cuts, scales and writes; beside it stands the library's own
reading of the same files, which does none of it.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from citrus_ray.data.sources.files import Files
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.normalize import Scale
from citrus_ray.data.windowing.view import View
from citrus_ray.data.windows import Windows
from citrus_ray.training import pretraining as pretrain
from citrus_ray.training.loop import seeded, shuffled
from tests.bench import step
from tests.bench.plain import for_ever
from tests.bench.timing import alternate, median, ratio

BATCH, N_CHANS, N_TIMES, SFREQ = 64, 5, 3000, 100.0
FILES, CHANS, MINUTES, RATE = 4, 8, 10, 250.0


def run(full: bool = False) -> dict[str, Any]:
    """2,000 windows of five channels and 30 s (120 MB) with `full`, else 500."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CITRUS_CACHE"] = f"{folder}/cache"
        batches = _batches(Path(folder), 2000 if full else 500)
        return {
            "batches": batches,
            "waiting": _waiting(),
            "preparing": _preparing(Path(folder), 5 if full else 3),
        }


def _batches(folder: Path, n: int) -> dict[str, Any]:
    path, x = (
        folder / "x.npy",
        np.random.default_rng(0).standard_normal((n, N_CHANS, N_TIMES), dtype=np.float32),
    )
    np.save(path, x)
    os.sync()  # pages that are not written yet cannot be forgotten
    order = np.random.default_rng(0).permutation(n)[: n // BATCH * BATCH].reshape(-1, BATCH)
    _forget(path)
    read = _delivered()
    cold = _pass_over(path, order)
    read = _delivered() - read
    warm = [_pass_over(path, order) for _ in range(3)]
    plain = [_plain_pass(path, len(order)) for _ in range(3)]
    return {
        "windows": n,
        "mb": round(x.nbytes / 1e6, 1),
        "cold_batches_per_s": round(len(order) / cold, 1),
        "warm_batches_per_s": round(len(order) / median(warm), 1),
        "dataloader_warm_batches_per_s": round(len(order) / median(plain), 1),
        "warm_over_dataloader": ratio(plain, warm),
        "cold_bytes_per_window_over_floor": round(read / (order.size * x[0].nbytes), 3),
    }


def _opened(path: Path) -> Windows:
    x = np.load(path, mmap_mode="r")
    names = tuple(str(c) for c in range(N_CHANS))
    return Windows(x, np.zeros(len(x), np.int64), SFREQ, names, ("eeg",) * N_CHANS, ("one",))


SCALE = Scale(np.zeros((N_CHANS, 1), np.float32), np.ones((N_CHANS, 1), np.float32))


def _pass_over(path: Path, order: Any) -> float:
    """Seconds for all batches, as pre-training makes them."""
    x = _opened(path).x
    view, started = View((x,), (SCALE,), ("eeg",) * N_CHANS, False), time.perf_counter()
    for index in order:
        view(np.sort(index))
    return time.perf_counter() - started


def _plain_pass(path: Path, n: int) -> float:
    batches, started = for_ever(_opened(path).x, SCALE, BATCH), time.perf_counter()
    for _ in range(n):
        next(batches)
    return time.perf_counter() - started


def _forget(path: Path) -> None:
    with path.open("rb") as handle:
        os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _delivered() -> int:
    """Bytes that storage brought for this process."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


# ---- does a step wait? ----


def _waiting() -> dict[str, float]:
    """Share of a step's processor time that goes into its batch, for the fastest models at both
    lengths."""
    found = {}
    for model, seconds in (("patch", 2.0), ("patch", 30.0), ("conv", 2.0), ("conv", 30.0)):
        case = step.Case(model, "small", 5, seconds, 0.75)
        with tempfile.TemporaryDirectory() as folder:
            windows = step.memory_mapped(Path(folder), case.ctx)
            task_step = step.ours(case, windows)
            view, index = (
                View.of(windows, np.arange(len(windows)), False),
                _indices(case.batch_size),
            )
            with seeded(0):
                task = case.task.build(case.ctx, case.spec.build(case.ctx))
            arms = {
                "step": task_step,
                "batch": lambda: pretrain.batch(task, windows, view, next(index), "cpu"),  # noqa: B023
            }
            spent = alternate(arms, 5)
        found[f"{model} {seconds:g} s"] = round(median(spent["batch"]) / median(spent["step"]), 4)
    return found


def _indices(batch_size: int) -> Iterator[Any]:
    return shuffled(step.N_WINDOWS, batch_size, np.random.default_rng(1))


# ---- preparing ----


def _preparing(folder: Path, rounds: int) -> dict[str, Any]:
    """MB of float32 signal per processor second."""
    found = {}
    for kind, write, read, pattern in (
        ("edf", _write_edf, _read_edf, "*.edf"),
        ("wfdb", _write_wfdb, _read_wfdb, "*.hea"),
    ):
        place = folder / kind
        place.mkdir()
        for i in range(FILES):
            write(place, f"r{i}", i)
        source = Files(root=str(place), pattern=pattern, seconds=4.0, sfreq=RATE)
        with _quiet():
            arms = {"library": _reading(read, place, pattern), "ours": _cold_prepare(source)}
            spent = alternate(arms, rounds)
        mb = FILES * CHANS * MINUTES * 60 * RATE * 4 / 1e6
        found[kind] = {f"{name}_mb_per_s": round(mb / median(s), 1) for name, s in spent.items()}
        found[kind]["ours_over_reading_alone"] = ratio(spent["ours"], spent["library"])
    return found


def _cold_prepare(source: Files) -> Callable[[], Any]:
    def prepare() -> None:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["CITRUS_CACHE"] = folder
            cache.load(source)

    return prepare


def _reading(read: Callable[[Path], Any], place: Path, pattern: str) -> Callable[[], Any]:
    return lambda: [read(path) for path in sorted(place.glob(pattern))]


def _signals(seed: int) -> Any:
    shape = (CHANS, int(MINUTES * 60 * RATE))
    return np.random.default_rng(seed).standard_normal(shape) * 50.0  # µV


def _write_edf(place: Path, name: str, seed: int) -> None:
    import edfio

    signals = [
        edfio.EdfSignal(x, RATE, label=f"EEG {c}", physical_dimension="uV")
        for c, x in enumerate(_signals(seed))
    ]
    edfio.Edf(signals).write(place / f"{name}.edf")


def _write_wfdb(place: Path, name: str, seed: int) -> None:
    import wfdb

    names, units = [f"EEG{c}" for c in range(CHANS)], ["uV"] * CHANS
    wfdb.wrsamp(
        name, RATE, units, names, _signals(seed).T, fmt=["16"] * CHANS, write_dir=str(place)
    )


def _read_edf(path: Path) -> Any:
    import mne

    return mne.io.read_raw_edf(path, preload=True, verbose="ERROR").get_data()


def _read_wfdb(path: Path) -> Any:
    import wfdb

    return wfdb.rdrecord(str(path.with_suffix(""))).p_signal


@contextmanager
def _quiet() -> Iterator[None]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
