"""Pre-trainings beside predictors without a network: what their losses were worth, from what is
stored with their encoders."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from citrus_ray.records import Record
from citrus_ray.store import Places, checkpoint

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
    """How the losses of one encoder went, and what predictors without a network lose on the same
    windows."""

    encoder: str
    history: tuple[dict[str, float], ...]  # by epoch
    references: dict[str, float]  # by name
    seconds: float  # of all its workers

    @property
    def loss(self) -> float:
        """The last validation loss."""
        return self.history[-1]["val/loss"]

    @property
    def unbeaten(self) -> set[str]:
        return {name for name, loss in self.references.items() if self.loss >= loss}


def pretrainings(rows: Iterable[Record], store: Places) -> list[Pretraining]:
    """Of the encoders that these rows rest on, as far as the store says; those from before there
    were references have none."""
    encoders = sorted({row.encoder for row in rows if row.encoder})
    metas = {e: meta for e in encoders if (meta := checkpoint.meta_or_none(store, e))}
    return [
        Pretraining(
            encoder,
            tuple(meta["history"]),
            meta.get("references") or {},
            meta.get("seconds", 0.0) * meta.get("workers", 1),
        )
        for encoder, meta in metas.items()
        if meta.get("history")
    ]


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
