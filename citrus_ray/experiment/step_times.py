"""Seconds that a step of a model takes on one thread of this machine, measured once and kept for a
day in the cache.

Torch takes longer to load than all else of a plan: one that was made before does without.
"""

import contextlib
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from citrus_ray import records
from citrus_ray.context import SignalContext
from citrus_ray.data.root import cache_root
from citrus_ray.experiment.trial import Pretrain
from citrus_ray.models import AnyEncoder
from citrus_ray.models.head import Head
from citrus_ray.models.specs import Pooling
from citrus_ray.spec import digest_of

PLAIN = Head()
STEPS_TIMED = 3
# a machine that was busy when it was asked should not be thought slow for good
KEPT_S = 24 * 3600.0
ROUGH = 2e-7  # seconds for a sample of a channel


class StepTimes:
    """Seconds of steps on `n` windows, zeros of the right shape where they have to be measured.

    `oldest` is when the first of the measurements was made that it gave. One that does not measure
    has a rough guess for what nobody measured: good to tell long from short, and no more.
    """

    def __init__(self, measures: bool = True) -> None:
        self.oldest, self.measures = time.time(), measures
        self._known: dict[str, float] = {}

    def pretraining(self, model: AnyEncoder, spec: Pretrain, ctx: SignalContext, n: int) -> float:
        """A step of pre-training, without the optimiser's part."""
        assert spec.task is not None
        what = {"task": spec.task.identity(), "precision": spec.precision}
        run = partial(_pretraining, model, spec, ctx, n)
        return self._seconds("pretraining", model, ctx, n, what, run)

    def finetune(
        self, model: AnyEncoder, pool: Pooling, ctx: SignalContext, n: int, head: Head = PLAIN
    ) -> float:
        """A step of fine-tuning, without the optimiser's part."""
        near = int(2.0 ** round(math.log2(n)))  # arms differ in a few windows: one time for them
        run = partial(_finetune, model, pool, ctx, near, head)
        return n / near * self._seconds("finetune", model, ctx, near, _read(pool, head), run)

    def look(
        self, model: AnyEncoder, pool: Pooling, ctx: SignalContext, n: int, head: Head = PLAIN
    ) -> float:
        """A look at validation windows."""
        run = partial(_look, model, pool, ctx, n, head)
        return self._seconds("look", model, ctx, n, _read(pool, head), run)

    def _seconds(
        self,
        kind: str,
        model: AnyEncoder,
        ctx: SignalContext,
        n: int,
        what: dict[str, Any],
        measure: Callable[[], float],
    ) -> float:
        by = {"host": records.host(), "versions": records.versions(), "commit": records.commit()}
        asked = {"kind": kind, "model": model.identity(), "ctx": asdict(ctx), "n": n} | what | by
        digest = digest_of(asked)
        if digest in self._known:  # many cells ask for the same
            return self._known[digest]
        path = cache_root() / "timings" / f"{digest}.json"
        with contextlib.suppress(OSError, ValueError, KeyError):
            kept = json.loads(path.read_text())
            if 0 <= time.time() - kept["at"] < KEPT_S:
                self.oldest = min(self.oldest, kept["at"])
                self._known[digest] = float(kept["seconds"])
                return self._known[digest]
        if not self.measures:
            n_chans, n_times = _shape(model, ctx)
            return ROUGH * n * n_chans * n_times
        self._known[digest] = seconds = measure()
        # a cache that cannot be written costs the next plan a second, and is no error
        with contextlib.suppress(OSError):
            kept = {"seconds": seconds, "at": time.time(), "asked": asked}
            records.write_text(path, json.dumps(kept))
        return seconds


def _pretraining(model: AnyEncoder, spec: Pretrain, ctx: SignalContext, n: int) -> float:
    import torch

    assert spec.task is not None
    task = spec.task.build(ctx, model.build(ctx))
    masks = torch.Generator().manual_seed(0)
    x = torch.zeros(n, *_shape(model, ctx))
    y = [torch.zeros(n, dtype=torch.long)] if task.uses_labels else []

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=spec.precision == "bfloat16"):
            loss = task(x, masks, *y)[0]
        loss.backward()

    return _median(step)


def _read(pool: Pooling, head: Head) -> dict[str, Any]:
    """By which the timings of heads are told apart."""
    return {"pool": pool} if head == PLAIN else {"pool": pool, "head": head.identity()}


def _finetune(model: AnyEncoder, pool: Pooling, ctx: SignalContext, n: int, head: Head) -> float:
    classify = _classifying(model, pool, ctx, n, head)
    return _median(lambda: classify().sum().backward())


def _look(model: AnyEncoder, pool: Pooling, ctx: SignalContext, n: int, head: Head) -> float:
    import torch

    with torch.no_grad():
        return _median(_classifying(model, pool, ctx, n, head))


def _classifying(
    model: AnyEncoder, pool: Pooling, ctx: SignalContext, n: int, head: Head
) -> Callable[[], Any]:
    import torch

    from citrus_ray.models.nets.classifier import Classifier

    classify = Classifier(model.build(ctx), ctx, pool, head)
    return partial(classify, torch.zeros(n, *_shape(model, ctx)))


def _shape(model: AnyEncoder, ctx: SignalContext) -> tuple[int, int]:
    return ctx.together if model.multimodal else (ctx.n_chans, ctx.n_times)


def _median(run: Callable[[], object]) -> float:
    import torch

    torch.set_num_threads(1)
    times = []
    for _ in range(STEPS_TIMED):
        started = time.process_time()  # on one thread, whatever else the machine does
        run()
        times.append(time.process_time() - started)
    return statistics.median(times)
