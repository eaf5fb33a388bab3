"""Small values that tests share: the smallest signals, trials and sweeps that still mean
something."""

from typing import Any

import numpy as np

from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.windowing.splits import Labels
from citrus_ray.data.windows import Windows
from citrus_ray.experiment.optim import Optim
from citrus_ray.experiment.sweep import Cell, Sweep, parse_sweep
from citrus_ray.experiment.trial import Finetune, Pretrain, Trial
from citrus_ray.models.specs import Conv
from citrus_ray.records import Record
from citrus_ray.spec import Foreign, Kinds, digest_of, flatten, parse_yaml
from citrus_ray.tasks.specs import Masked

SOURCE = Synthetic(
    n_subjects=8, windows_per_subject=8, n_chans=2, sfreq=50.0, seconds=1.28, rhythms=(5.0, 12.0)
)
OTHERS = SOURCE.model_copy(update={"seed": 7})  # other people, to pre-train on
MODEL = Conv(dim=8, strides=(2, 2))
SCRATCH = Trial(
    model=MODEL,
    finetune=Finetune(
        target=SOURCE, labels=Labels(per_class=4), optim=Optim(batch_size=4), steps=8, rounds=4
    ),
)
FULL = SCRATCH.at({"finetune.validation": "full"})  # beside a fully labelled validation part
PRETRAIN = Pretrain(source=OTHERS, task=Masked(), epochs=1, optim=Optim(batch_size=16))
PRETRAINED = SCRATCH.at({"pretrain": PRETRAIN.tree()})

PEOPLE = (
    "{kind: synthetic, n_subjects: 8, windows_per_subject: 8, n_chans: 2, sfreq: 50, "
    "seconds: 1.28, "
)
PEOPLE += "rhythms: [5, 12]}"
STRANGERS = PEOPLE.replace("{", "{seed: 7, ")
SWEEP = """\
# a small sweep
name: small
trial:
  model: {kind: conv, dim: 8, strides: [2, 2]}
  pretrain:
    source: STRANGERS
    task: null
    epochs: 1
  finetune:
    target: PEOPLE
    labels: {per_class: 4}
    steps: 8
    rounds: 4
compare:
  pretrain.task: [null, {kind: masked}]
repeat:
  seed: [0, 1, 2]
search:
  pretrain.task.ratio: {choice: [0.4, 0.6]}
  finetune.optim.lr: {loguniform: [1e-3, 1e-2]}
budget: {trials: 4}
final: {rounds: 5}
""".replace("PEOPLE", PEOPLE).replace("STRANGERS", STRANGERS)


def sweep_of(text: str = SWEEP, **edits: Any) -> Sweep:
    """A sweep from YAML text; `edits` replaces its top-level blocks."""
    return parse_sweep(parse_yaml(text, "small.yaml"), edits)


def registered(kinds: Kinds) -> list[Any]:
    """The classes of a registry that can be built from their defaults."""
    found = [kind for kind in kinds.classes() if not issubclass(kind, Foreign)]
    return [kind for kind in found if _has_defaults(kind)]


def _has_defaults(kind: Any) -> bool:
    try:
        kind()
    except ValueError:
        return False
    return True


def windows_of(y: np.ndarray, group: np.ndarray, n_classes: int) -> Windows:
    """Windows of silence with these labels and groups."""
    return Windows(
        x=np.zeros((len(y), 1, 2), dtype=np.float32),
        y=y.astype(np.int64),
        group=group.astype(np.int64),
        sfreq=1.0,
        ch_names=("c0",),
        modalities=("eeg",),
        groups=tuple(f"g{i}" for i in range(int(group.max()) + 1)),
        classes=tuple(f"class{k}" for k in range(n_classes)),
    )


def record_of(
    cell: Cell, repeat: dict[str, Any], metrics: dict[str, float], **fields: Any
) -> Record:
    """A member's record as a worker would write it."""
    what = [cell.digest, repeat, fields.get("trial"), fields.get("params"), fields.get("phase")]
    common: dict[str, Any] = {
        "digest": digest_of(what),
        "trial": "t",
        "phase": "final",
        "status": "ok",
        "params": {},
        "encoder": None,
    }
    given = (
        common
        | {
            "config": flatten(cell.trial.tree()) | flatten(repeat),
            "seed": repeat.get("seed", 0),
            "data_digest": "d",
        }
        | fields
    )
    return Record(cell=cell.digest, axes=cell.axes, repeat=repeat, metrics=metrics, **given)
