"""MiniRocket (Dempster, Schmidt and Webb 2021): shares of positive values of fixed kernels, whose
biases alone are taken from data.

A kernel has 9 taps, six of weight -1 and three of 2, so that their sum is zero: there are 84. Each
is laid out at dilations that grow exponentially up to the window, over a random choice of channels
whose outputs are added, and is asked how often its output exceeds a bias: a quantile of its output
on one training window. Every second kernel reads beyond the window, as zeros.
"""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from citrus_ray.data.windows import Index, Signal

N_TAPS = 9
HIGH = tuple(combinations(range(N_TAPS), 3))  # taps of weight 2, by kernel
N_SHAPES = len(HIGH)  # 84
MOST_DILATIONS = 32  # of a kernel, as published
MOST_CHANNELS = 9  # of a kernel, as published
GOLDEN = (math.sqrt(5) + 1) / 2
CHUNK = 1 << 15  # numbers worked on at once: more would leave the cache of a core


@dataclass(frozen=True)
class Kernel:
    """One shape at one dilation, with all of its biases."""

    shape: int
    dilation: int
    padded: bool  # whether it reads zeros beyond the window
    channels: tuple[int, ...]
    biases: Signal  # (b,)


@dataclass(frozen=True)
class MiniRocketFeatures:
    """Kernels with biases: windows (n, C, T) -> shares (n, F) in [0, 1]."""

    kernels: tuple[Kernel, ...]

    @classmethod
    def of(cls, x: Signal, n_kernels: int, rng: np.random.Generator) -> "MiniRocketFeatures":
        """About `n_kernels` features, a multiple of 84, with biases from windows of `x`."""
        x = _long_enough(x)
        laid_out = dilations(x.shape[2], n_kernels // N_SHAPES)
        n = N_SHAPES * sum(laid_out.values())
        quantiles = np.arange(1, n + 1) * GOLDEN % 1  # spread evenly, whatever their number
        kernels, start = [], 0
        for d, (dilation, n_biases) in enumerate(laid_out.items()):
            for shape in range(N_SHAPES):
                channels = _drawn(x.shape[1], rng)
                window = x[rng.integers(len(x)), list(channels)]
                own = quantiles[start : start + n_biases]
                biases = np.quantile(output(window.sum(axis=0), shape, dilation), own)
                # as published: dilations and shapes take turns
                padded = (d + shape) % 2 == 0
                kernels.append(Kernel(shape, dilation, padded, channels, biases.astype(np.float32)))
                start += n_biases
        return cls(tuple(kernels))

    def packed(self) -> dict[str, Any]:
        """A few arrays in place of thousands of kernels."""
        facts = [
            (k.shape, k.dilation, k.padded, len(k.channels), len(k.biases)) for k in self.kernels
        ]
        return {
            "facts": np.array(facts, np.int64),
            "channels": np.concatenate([np.array(k.channels, np.int64) for k in self.kernels]),
            "biases": np.concatenate([k.biases for k in self.kernels]),
        }

    @classmethod
    def unpacked(cls, facts: Index, channels: Index, biases: Signal) -> Self:
        of_kernel = np.split(channels, np.cumsum(facts[:, 3])[:-1])
        kernels = zip(facts, of_kernel, np.split(biases, np.cumsum(facts[:, 4])[:-1]), strict=True)
        return cls(
            tuple(
                Kernel(int(shape), int(dilation), bool(padded), tuple(of.tolist()), own)
                for (shape, dilation, padded, *_), of, own in kernels
            )
        )

    def __call__(self, x: Signal) -> Signal:
        x = _long_enough(x)
        rows = max(1, CHUNK // x.shape[2])
        return np.concatenate([self._shares(x[i : i + rows]) for i in range(0, len(x), rows)])

    def _shares(self, x: Signal) -> Signal:
        found, before = [], None
        for kernel in self.kernels:
            if before != (key := (kernel.dilation, kernel.channels)):
                before = key
                taps = shifted(x[:, list(kernel.channels)].sum(axis=1), kernel.dilation)
                total = sum(taps[1:], start=taps[0])
            out = _combined(taps, total, kernel.shape)
            if not kernel.padded:
                out = valid(out, kernel.dilation)
            found += [_share_above(out, bias) for bias in kernel.biases]
        return np.stack(found, axis=1).astype(np.float32)


def dilations(n_times: int, n_per_shape: int) -> dict[int, int]:
    """How many features a shape has at each dilation: `n_per_shape` in all, from 1 to what just
    fits into the window."""
    n_places = min(n_per_shape, MOST_DILATIONS)
    longest = math.log2((n_times - 1) / (N_TAPS - 1))
    steps = np.logspace(0, longest, n_places, base=2).astype(np.int64)
    values, counts = np.unique(steps, return_counts=True)
    counts = (counts * (n_per_shape / n_places)).astype(np.int64)
    for i in range(n_per_shape - int(counts.sum())):
        counts[i % len(counts)] += 1
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def output(x: Signal, shape: int, dilation: int) -> Signal:
    """(…, T) -> (…, T): the kernel's output, zeros lying beyond the window."""
    taps = shifted(x, dilation)
    return _combined(taps, sum(taps[1:], start=taps[0]), shape)


def valid(out: Signal, dilation: int) -> Signal:
    """What was computed without a sample from beyond the window."""
    edge = (N_TAPS // 2) * dilation
    return out[..., edge : out.shape[-1] - edge]


def shifted(x: Signal, dilation: int) -> list[Signal]:
    """(…, T) at each tap, (…, T) each."""
    edge, n_times = (N_TAPS // 2) * dilation, x.shape[-1]
    wide = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(edge, edge)])
    return [wide[..., tap * dilation : tap * dilation + n_times] for tap in range(N_TAPS)]


def _combined(taps: list[Signal], total: Signal, shape: int) -> Signal:
    """Twice the high taps less the others."""
    one, two, three = HIGH[shape]
    out = taps[one] + taps[two]
    out += taps[three]
    out *= 3
    out -= total
    return out


def _share_above(out: Signal, bias: np.float32) -> npt.NDArray[np.float64]:
    """(B, T) -> (B,): the proportion of positive values of the output less the bias. Bits are
    counted, which takes half as long as to add them."""
    bits = np.packbits(out > bias, axis=-1)
    return np.asarray(np.bitwise_count(bits).sum(axis=-1) / out.shape[-1])


def _drawn(n_chans: int, rng: np.random.Generator) -> tuple[int, ...]:
    """Channels of a kernel: as many as 2 to a uniform power, so that few are as likely as many."""
    most = min(n_chans, MOST_CHANNELS)
    n = int(2 ** rng.uniform(0, math.log2(most + 1)))
    return tuple(np.sort(rng.choice(n_chans, n, replace=False)).tolist())


def _long_enough(x: Signal) -> Signal:
    """A window that is shorter than a kernel gets zeros at its end."""
    short = N_TAPS - x.shape[2]
    return np.pad(x, [(0, 0), (0, 0), (0, short)]) if short > 0 else x
