"""Pre-trainings beside predictors without a network: what their losses were worth, from what is
stored with their encoders."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from citrus_ray.records import Record
from citrus_ray.store import checkpoint

SAID = {
    "constant": "a constant",
    "linear": "a linear predictor",
    "spectrum": "the visible mean spectrum",
    "seam": "the seam of A and B",
    "visible": "the mean of visible tokens",
    "signal": "samples in place of tokens",
}


@dataclass(frozen=True)
class Pretraining:
    """The last validation loss of one encoder, and what predictors without a network lose on the
    same windows."""

    loss: float
    references: dict[str, float]  # by name

    @property
    def unbeaten(self) -> set[str]:
        return {name for name, loss in self.references.items() if self.loss >= loss}


def pretrainings(rows: Iterable[Record], store: Path | str) -> list[Pretraining]:
    """Of the encoders that these rows rest on, as far as the store says; those from before there
    were references have none."""
    encoders = sorted({row.encoder for row in rows if row.encoder})
    metas = [checkpoint.read_meta(store, e) for e in encoders if checkpoint.exists(store, e)]
    last = [(row["val/loss"], meta) for meta in metas for row in (meta.get("history") or [])[-1:]]
    return [Pretraining(loss, meta.get("references") or {}) for loss, meta in last]


def losses(found: Sequence[Pretraining]) -> dict[str, Any] | None:
    """Their means, for `summary.json`."""
    if not found:
        return None
    names = [name for name in SAID if all(name in one.references for one in found)]
    means = {name: fmean(one.references[name] for one in found) for name in names}
    return {
        "encoders": len(found),
        "val/loss": fmean(one.loss for one in found),
        "references": means,
    }


def caveat(found: Sequence[Pretraining]) -> Iterable[str]:
    """That some learnt no more than a predictor without a network knows."""
    bad = [one for one in found if one.unbeaten]
    if not bad:
        return
    who = "pre-training" if len(found) == 1 else f"{len(bad)} of {len(found)} pre-trainings"
    names = [name for name in SAID if any(name in one.unbeaten for one in bad)]
    beside = (
        f"{SAID[name]} {fmean(one.references[name] for one in bad if name in one.unbeaten):.4g}"
        for name in names
    )
    mean = "mean " if len(bad) > 1 else ""
    loss = f"{mean}validation loss {fmean(one.loss for one in bad):.4g}"
    yield f"{who} did not beat predictors without a network: {loss}, {', '.join(beside)}"
