"""What must not move unless a change says so: digests of shipped sweeps, first weights and losses.

`python -m tests.golden.numbers` writes them anew, after a change that is meant to move them.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from citrus_ray.context import SignalContext
from citrus_ray.data.source import looked_once
from citrus_ray.experiment.sweep import Sweep, load_sweep
from citrus_ray.experiment.trial import Trial
from citrus_ray.models.nets.classifier import Classifier
from citrus_ray.spec import digest_of, validate
from citrus_ray.training.loop import seeded

HERE = Path(__file__).parent
SWEEPS = HERE.parents[1] / "sweeps"
DATA = Path(os.environ.get("CITRUS_DATA") or HERE.parents[2] / "shared" / "data")

WINDOWS = SignalContext(3, 256, 100.0, 4, ("eeg", "ecg", "eeg"))
PAIRS = SignalContext(5, 24, 0.5, 2, ("fmri",) * 5, n_parts=2)
FAST = SignalContext(2, 256, 64.0, modalities=("ppg",) * 2)
SLOW = SignalContext(3, 128, 32.0, modalities=("motion",) * 3)
STREAMS = SignalContext(2, 256, 64.0, 3, ("ppg",) * 2, streams=(FAST, SLOW))
CONTEXTS = {"windows": WINDOWS, "pairs": PAIRS, "streams": STREAMS}
MODELS: dict[str, Any] = {
    "bank": "bank",
    "conv": "conv",
    "conv deep": {"kind": "conv", "dropout": 0.1, "depth": 2},
    "patch": "patch",
    "patch learned": {"kind": "patch", "modality": True, "positions": "learned"},
    "citrus": "citrus",
    "citrus without": {"kind": "citrus", "positions": "none", "modality": True},
    "sequence": "sequence",
    "sequence mean": {"kind": "sequence", "summary": "mean", "project": False, "dim": 48},
    "crossmodal": "crossmodal",
    "crossmodal mlp": {"kind": "crossmodal", "aggregator": "mlp", "encoder": {"kind": "patch"}},
}
TASKS: dict[str, Any] = {
    "masked": {"kind": "masked"},
    "masked visible": {"kind": "masked", "encode": "visible", "loss": "l1"},
    "masked across": {
        "kind": "masked",
        "mix": 1,
        "drop_modality": 0.5,
        "by_modality": True,
        "loss": "huber",
    },
    "spectral": {"kind": "spectral"},
    "spectral bands": {
        "kind": "spectral",
        "ratio": 0.3,
        "predict": "magnitude_phase",
        "hide": {"count": 2, "width": 0.2, "fill": "noise"},
    },
    "spectral summary": {
        "kind": "spectral",
        "whiten": "window",
        "neighbours": 2,
        "bottleneck": True,
    },
    "latent": {"kind": "latent"},
    "next thought": {"kind": "next_thought", "weights": {"next": 0.1, "masked": 0.9}},
    "crossmodal": {"kind": "crossmodal"},
    "crossmodal barlow": {
        "kind": "crossmodal",
        "mask": "random",
        "expander": 16,
        "loss": {"kind": "barlow"},
    },
}
POOLS = ("mean", "channels", "late")


def digests_of(sweep: Sweep) -> dict[str, Any]:
    """Digests of a sweep, its cells, its encoders, and over the members of search and round."""
    with looked_once():
        searched, first_round = (
            digest_of(
                [[trial.digest() for _, trial in cell.members({}, n)] for cell in sweep.cells]
            )
            for n in (None, 0)
        )
        return {
            "sweep": sweep.digest(),
            "cells": [cell.digest for cell in sweep.cells],
            "encoders": [cell.trial.encoder_digest() for cell in sweep.cells],
            "searched": searched,
            "first_round": first_round,
        }


def first_steps() -> Iterator[tuple[str, list[float]]]:
    """Of every network and task: mean size of its first weights, first loss, mean gradient."""
    for model, task, name in _combinations():
        target = {"finetune": {"target": {"kind": "synthetic"}}, "model": MODELS[model]}
        source = {"source": {"kind": "synthetic", "seed": 9}, "task": TASKS.get(task)}
        trial = validate(Trial, target | {"pretrain": source if source["task"] else None})
        ctx = CONTEXTS[name]
        if trial.model.check(ctx) or (task in TASKS and _misfit(trial, ctx)):
            continue
        yield f"{model}, {task}, {name}", _first_step(trial, ctx, task)


def _combinations() -> Iterator[tuple[str, str, str]]:
    for model in MODELS:
        for name in CONTEXTS:
            if name != "streams" or model.startswith("crossmodal"):
                yield from ((model, task, name) for task in (*TASKS, *POOLS))


def _misfit(trial: Trial, ctx: SignalContext) -> bool:
    return any(p.path == "pretrain.task" for p in trial.problems({"pretrain.source": ctx}))


def _first_step(trial: Trial, ctx: SignalContext, task: str) -> list[float]:
    shape = ctx.together if trial.model.multimodal else (ctx.n_chans, ctx.n_times)
    x = torch.randn(6, *shape, generator=torch.Generator().manual_seed(5))
    y = torch.tensor([0, 1, 0, 1, 1, 0])
    with seeded(3):
        encoder = trial.model.build(ctx)
        if trial.pretrain is not None and trial.pretrain.task is not None:
            module: torch.nn.Module = trial.pretrain.task.build(ctx, encoder)
        else:
            module = Classifier(encoder, ctx, task)
    size = _size(list(module.parameters()))
    with seeded(4):
        if isinstance(module, Classifier):
            loss = torch.nn.functional.cross_entropy(module(x), y)
        else:
            labels = [y] if getattr(module, "uses_labels", False) else []
            loss = module(x, torch.Generator().manual_seed(2), *labels)[0]
    loss.backward()  # type: ignore[no-untyped-call]
    return [
        size,
        float(loss.detach()),
        _size([p.grad for p in module.parameters() if p.grad is not None]),
    ]


def _size(tensors: list[Any]) -> float:
    return float(torch.cat([t.detach().flatten() for t in tensors]).abs().mean())


def main() -> None:
    os.environ["CITRUS_DATA"] = str(DATA)
    sweeps = {
        str(path.relative_to(SWEEPS)): digests_of(load_sweep(path))
        for path in sorted(SWEEPS.rglob("*.yaml"))
    }
    found = {"digests.json": sweeps, "first_steps.json": dict(first_steps())}
    for name, content in found.items():
        (HERE / name).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
