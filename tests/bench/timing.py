"""How benchmarks time: arms in turn within one process, medians, and ratios of neighbours."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

Arms = Mapping[str, Callable[[], Any]]


def alternate(
    arms: Arms, rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, list[float]]:
    """Seconds of every arm in every round, after one that does not count; every other round goes
    backwards.

    Processor seconds unless told otherwise: on one thread they are the wall time of a machine that
    nobody shares.
    """
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name in list(arms)[:: 1 if number % 2 else -1]:
            started = clock()
            arms[name]()
            if number:
                seconds[name].append(clock() - started)
    return seconds


def median(seconds: list[float]) -> float:
    return float(np.median(seconds))


def ratio(slow: list[float], fast: list[float]) -> float:
    """Median over rounds of how many times `fast` goes into `slow`."""
    return round(float(np.median(np.asarray(slow) / np.asarray(fast))), 2)


def spread(slow: list[float], fast: list[float]) -> list[float]:
    """The quartiles around that median."""
    low, high = np.quantile(np.asarray(slow) / np.asarray(fast), [0.25, 0.75])
    return [round(float(low), 2), round(float(high), 2)]


def matmul(
    dtype: torch.dtype = torch.float32, n: int = 1024, device: str = "cpu"
) -> Callable[[], torch.Tensor]:
    """One square product of `2 n³` FLOPs: what the machine can do at most, with as many threads as
    torch has."""
    a, b = (
        torch.randn(n, n, generator=torch.Generator().manual_seed(i)).to(device, dtype)
        for i in (0, 1)
    )
    return lambda: a @ b


def gflops(seconds: list[float], n: int = 1024) -> float:
    """Of `matmul`, from its median."""
    return round(2 * n**3 / median(seconds) / 1e9, 1)
