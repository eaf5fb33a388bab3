"""Seconds that a step of a model takes on one thread of this machine, measured once and kept for a day in the cache.

Torch takes longer to load than all else of a plan: one that was made before does without.
"""

import contextlib
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from citrus_ray import records
from citrus_ray.context import SignalContext
from citrus_ray.data.root import cache_root
from citrus_ray.experiment.trial import Pretrain
from citrus_ray.models import AnyEncoder
from citrus_ray.models.specs import Pooling
from citrus_ray.spec import digest_of

STEPS_TIMED = 3
KEPT_S = (
    24 * 3600.0
)  # a machine that was busy when it was asked should not be thought slow for good


class StepTimes:
    """Measures what is not known yet, on zeros of the right shape. `oldest` is when the first of what it gave was."""

    def __init__(self) -> None:
        self.oldest = time.time()
        self._known: dict[str, float] = {}

    def pretraining(self, model: AnyEncoder, spec: Pretrain, ctx: SignalContext, n: int) -> float:
        """A step on `n` windows, without the optimiser's part."""
        assert spec.task is not None
        what = {"task": spec.task.identity(), "precision": spec.precision}
        return self._of(
            "pretraining", model, ctx, n, what, lambda: _pretraining(model, spec, ctx, n)
        )

    def finetune(self, model: AnyEncoder, pool: Pooling, ctx: SignalContext, n: int) -> float:
        return self._of(
            "finetune", model, ctx, n, {"pool": pool}, lambda: _finetune(model, pool, ctx, n)
        )

    def look(self, model: AnyEncoder, pool: Pooling, ctx: SignalContext, n: int) -> float:
        """At `n` windows of validation data."""
        return self._of("look", model, ctx, n, {"pool": pool}, lambda: _look(model, pool, ctx, n))

    def _of(
        self,
        kind: str,
        model: AnyEncoder,
        ctx: SignalContext,
        n: int,
        what: dict[str, Any],
        take: Callable[[], float],
    ) -> float:
        by = {"host": records.host(), "versions": records.versions(), "commit": records.commit()}
        asked = {"kind": kind, "model": model.identity(), "ctx": asdict(ctx), "n": n} | what | by
        digest = digest_of(asked)
        if digest not in self._known:  # many cells ask for the same
            path = cache_root() / "timings" / f"{digest}.json"
            seconds = self._kept(path)
            self._known[digest] = _measured(path, asked, take) if seconds is None else seconds
        return self._known[digest]

    def _kept(self, path: Path) -> float | None:
        with contextlib.suppress(OSError, ValueError, KeyError):
            known = json.loads(path.read_text())
            if 0 <= time.time() - known["at"] < KEPT_S:
                self.oldest = min(self.oldest, known["at"])
                return float(known["seconds"])
        return None


def _measured(path: Path, asked: dict[str, Any], take: Callable[[], float]) -> float:
    """It is kept where it can be: a cache that cannot be written costs the next plan a second, and is no error."""
    seconds = take()
    with contextlib.suppress(OSError):
        records.write_text(
            path, json.dumps({"seconds": seconds, "at": time.time(), "asked": asked})
        )
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


def _finetune(model: AnyEncoder, pool: Pooling, ctx: SignalContext, n: int) -> float:
    classify = _classifying(model, pool, ctx, n)
    return _median(lambda: classify().sum().backward())


def _look(model: AnyEncoder, pool: Pooling, ctx: SignalContext, n: int) -> float:
    import torch

    with torch.no_grad():
        return _median(_classifying(model, pool, ctx, n))


def _classifying(model: AnyEncoder, pool: Pooling, ctx: SignalContext, n: int) -> Callable[[], Any]:
    import torch

    from citrus_ray.models.nets.classifier import Classifier

    return partial(Classifier(model.build(ctx), ctx, pool), torch.zeros(n, *_shape(model, ctx)))


def _shape(model: AnyEncoder, ctx: SignalContext) -> tuple[int, int]:
    return ctx.together if model.multimodal else (ctx.n_chans, ctx.n_times)


def _median(run: Callable[[], object]) -> float:
    import torch

    torch.set_num_threads(1)
    times = []
    for _ in range(STEPS_TIMED):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times)
