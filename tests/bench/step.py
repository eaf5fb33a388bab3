"""Windows per second of a pre-training step: ours, plain PyTorch and the machine's matmul rate, in
turn in one run.

Forward, backward and optimiser, the batch read from a memory-mapped array, on one thread. FLOPs are
those of the products and convolutions that an arm computes; utilisation is their rate over that of
a large matmul.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from citrus_ray.context import SignalContext
from citrus_ray.data.windowing.normalize import Scale
from citrus_ray.data.windowing.view import View
from citrus_ray.data.windows import Windows
from citrus_ray.experiment.optim import Optim
from citrus_ray.models import AnyEncoder
from citrus_ray.models.specs import EncoderSpec
from citrus_ray.spec import Spec, validate
from citrus_ray.tasks.specs import Masked
from citrus_ray.training.loop import Training, seeded, shuffled
from citrus_ray.training.pretraining import batch
from tests.bench.plain import PlainMasked, for_ever
from tests.bench.timing import alternate, gflops, matmul, median, ratio, spread

SFREQ = 100.0
N_WINDOWS = 256
TOKENS = 3000  # about as many in a batch, so that a step takes about as long at every shape


class Holder(Spec):
    model: AnyEncoder


@dataclass(frozen=True)
class Case:
    """One point of the grid."""

    model: str
    preset: str
    n_chans: int
    seconds: float
    ratio: float

    @property
    def spec(self) -> EncoderSpec:
        return validate(Holder, {"model": {"kind": self.model, "preset": self.preset}}).model

    @property
    def task(self) -> Masked:
        """Convolutions see the whole window anyway: they gain nothing from reading visible patches
        alone."""
        return Masked(ratio=self.ratio, encode="all" if self.model == "conv" else "visible")

    @property
    def ctx(self) -> SignalContext:
        return SignalContext(
            self.n_chans, int(self.seconds * SFREQ), SFREQ, modalities=("eeg",) * self.n_chans
        )

    @property
    def batch_size(self) -> int:
        n_tokens = self.ctx.n_times // getattr(self.spec, "patch", 1)
        return int(np.clip(TOKENS // (n_tokens * self.n_chans), 1, 64))


GRID = [
    Case(m, "base", c, s, 0.5)
    for m in ("conv", "patch", "citrus")
    for s in (2.0, 30.0)
    for c in (1, 5, 16)
]
ACCEPTED = [
    Case(model, preset, 5, seconds, ratio)
    for model in ("patch", "citrus")
    for preset in ("small", "base")
    for seconds in (2.0, 30.0)
    for ratio in (0.5, 0.75)
]
FEW = [
    Case(m, p, 5, 2.0, r)
    for m in ("patch", "citrus")
    for p in ("small", "base")
    for r in (0.5, 0.75)
]
SHORT = [Case(m, "small", 5, s, 0.5) for m in ("conv", "patch", "citrus") for s in (2.0, 30.0)]


def run(full: bool = False) -> dict[str, Any]:
    """The grid and the accepted cases with `full`; else the cases of two seconds, and a window of
    30."""
    torch.set_num_threads(1)
    cases = list(dict.fromkeys([*GRID, *ACCEPTED] if full else [*FEW, *SHORT]))
    found = []
    for case in cases:
        found.append(measured(case, rounds=5))
        print(f"{len(found)} of {len(cases)}: {found[-1]}", file=sys.stderr, flush=True)
    return {"threads": 1, "cases": found}


def measured(case: Case, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        windows = memory_mapped(Path(folder), case.ctx)
        arms: dict[str, Callable[[], Any]] = {
            "plain": plain(case, windows),
            "ours": ours(case, windows),
        }
        arms["bfloat16"] = ours(case, windows, "bfloat16")
        flops = {name: flops_of(step) for name, step in arms.items()}
        seconds = alternate(arms | {"matmul": matmul()}, rounds)
    peak = gflops(seconds["matmul"])
    return {
        **vars(case),
        "batch_size": case.batch_size,
        "windows_per_s": {name: round(case.batch_size / median(seconds[name]), 1) for name in arms},
        "ours_over_plain": ratio(seconds["plain"], seconds["ours"]),
        "quartiles": spread(seconds["plain"], seconds["ours"]),
        "bfloat16_over_plain": ratio(seconds["plain"], seconds["bfloat16"]),
        "gflop_per_step": {name: round(flops[name] / 1e9, 3) for name in arms},
        "matmul_gflops": peak,
        "utilisation": {
            name: round(flops[name] / median(seconds[name]) / 1e9 / peak, 3) for name in arms
        },
    }


def memory_mapped(folder: Path, ctx: SignalContext) -> Windows:
    """Noise, written and opened as the cache does."""
    shape = (N_WINDOWS, ctx.n_chans, ctx.n_times)
    np.save(folder / "x.npy", np.random.default_rng(0).standard_normal(shape, dtype=np.float32))
    names = tuple(str(c) for c in range(ctx.n_chans))
    x = np.load(folder / "x.npy", mmap_mode="r")
    return Windows(x, np.zeros(N_WINDOWS, np.int64), ctx.sfreq, names, ctx.modalities, ("one",))


def ours(case: Case, windows: Windows, precision: str = "float32") -> Callable[[], Any]:
    """One step of the training loop as `citrus_ray.training.pretraining` runs it."""
    view, optim = View.of(windows, np.arange(N_WINDOWS), False), Optim(batch_size=case.batch_size)
    with seeded(0):
        task = case.task.build(case.ctx, case.spec.build(case.ctx))
    masks = torch.Generator().manual_seed(0)
    batches = shuffled(N_WINDOWS, case.batch_size, np.random.default_rng(0))

    def loss_of(index: Any) -> torch.Tensor:
        read = batch(task, windows, view, index, "cpu")
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            return task(*read, masks)[0]  # type: ignore[no-any-return]

    training = Training(task, loss_of, batches, optim, 10_000, 1)
    task.train()
    return lambda: training._step(5_000, False)


def plain(case: Case, windows: Windows) -> Callable[[], Any]:
    scale = Scale.of(windows.x, np.arange(N_WINDOWS))
    with seeded(0):
        model = PlainMasked(case.spec, case.ctx, case.ratio).train()
    return plain_step(model, for_ever(windows.x, scale, case.batch_size))


def plain_step(model: PlainMasked, batches: Iterator[torch.Tensor]) -> Callable[[], Any]:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> float:
        optimizer.zero_grad()
        loss = model(next(batches))
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def flops_of(step: Callable[[], Any]) -> float:
    """Forward and backward. Attention is counted as its two products: the fused kernel is not in
    the counter's list."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        step()
    return float(counter.get_total_flops())
