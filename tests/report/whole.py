"""A made-up sweep with all that a page can show: claims, baselines, losses, curves, predictions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from citrus_ray import records
from citrus_ray.records import Record
from citrus_ray.spec import digest_of
from citrus_ray.store import entries, open_storage, predictions
from tests.evidence.synthetic import MASKED, MadeUp, change
from tests.evidence.test_predicted import part_of

SPECTRAL = {"kind": "spectral"}
LONG = "with few labels, masked pre-training on the same band is better than training from scratch"


def claim(says: str, better: Any, worse: Any) -> dict[str, Any]:
    return {"says": says, "better": {"pretrain.task": better}, "worse": {"pretrain.task": worse}}


CLAIMS = [
    claim(LONG, MASKED, None),
    claim("spectral helps", SPECTRAL, None),
    claim("masked is better", MASKED, SPECTRAL),
    claim("training from scratch is better than masked pre-training", None, MASKED),
    claim("training from scratch is better than spectral pre-training", None, SPECTRAL),
]
MADE = MadeUp(
    tasks=(None, MASKED, SPECTRAL),
    labels=({"per_class": 3}, {"per_class": 20}),
    targets=("emgdb", "bonn"),
    label_slope=0.05,
    n_trials=3,
    n_final_seeds=8,
    baselines=("majority", "minirocket", "bag"),
)


def whole(home: Path, made: MadeUp = MADE) -> Path:
    """The folder of results, beside its store."""
    folder = made.write(home / "made-up")
    spec = folder / "spec.yaml"
    spec.write_text(spec.read_text() + yaml.safe_dump({"claims": CLAIMS}))
    change(folder, lambda row: replace(row, curve=_curve(row)) if row.phase == "final" else row)
    for task in (MASKED, SPECTRAL):
        entries.write(open_storage(home / "store"), digest_of(task), b"", _meta())
    for rows in records.read_all(folder / "records"):
        if rows[0].phase == "final":
            parts = [part_of(row.digest, (0, row.seed % 2, 0, 1)) for row in rows]
            predictions.write(folder / predictions.FOLDER, rows[0].trial, parts)
    return folder


def _curve(row: Record) -> list[tuple[float, float]]:
    return [(0.5 + 0.02 * i + 0.001 * (row.seed % 5), 3.0 * i) for i in range(1, 6)]


def _meta() -> dict[str, Any]:
    losses = [1 / (1 + epoch) for epoch in range(1, 9)]
    history = [{"epoch": i, "train/loss": x, "val/loss": x + 0.05} for i, x in enumerate(losses, 1)]
    return {"history": history, "references": {"constant": 0.5, "linear": 0.3}, "seconds": 600.0}
