"""TensorBoard event files of trials and pre-trainings: curves and hyper-parameters.

Ray's own writer drops tuples, constants and what ended as NaN; this one writes every value, lists
as text.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Scalar = bool | int | float | str


def write_run(
    folder: Path,
    hparams: dict[str, Any],
    curves: Sequence[dict[str, float]],
    result: dict[str, float],
) -> None:
    """One run: `curves` step by step, and `result` as the metrics of its hyper-parameters."""
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams as hparams_summary

    with SummaryWriter(str(folder)) as writer:
        for step, metrics in enumerate(curves, start=1):
            for name, value in metrics.items():
                writer.add_scalar(name, value, step)
        result = {f"result/{name}": value for name, value in result.items()}
        settings = {name: plain(value) for name, value in hparams.items()}
        # the public add_hparams would start a run inside the run
        for summary in hparams_summary(settings, result):  # type: ignore[no-untyped-call]
            writer._get_file_writer().add_summary(summary)
        for name, value in result.items():
            writer.add_scalar(name, value, len(curves))


def plain(value: Any) -> Scalar:
    """A band such as [0.5, 4] as `0.5-4`, a block as JSON, the rest as it is."""
    if isinstance(value, bool | int | float | str):
        return value
    pair = isinstance(value, list | tuple) and len(value) == 2
    if pair and all(isinstance(v, int | float) for v in value):
        return f"{value[0]:g}-{value[1]:g}"
    return "none" if value is None else json.dumps(value)


def slug(text: str) -> str:
    """A folder name that a person can read."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "_", text).strip("_")[:80] or "all"
