"""What a row says of its target, its kind of signal, its test people and its labels. Computes
nothing."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from citrus_ray.data.windowing.splits import Validation
from citrus_ray.records import Record

TARGET = "finetune.target"
LABELS = "finetune.labels"
SPLIT = "finetune.split"
# of sources and named sets that always hold one kind of signal, where neither the record nor the
# spec says
MODALITIES = {
    "synthetic": "synthetic",
    "sleep_edf": "eeg",
    "bonn": "eeg",
    "emgdb": "emg",
    "mitbih": "ecg",
    "ptb": "ecg",
    "uci_har": "motion",
    "uwave": "motion",
    "bidmc": "ppg",
    "fmri": "fmri",
    "eegmat": "eeg",
    "uci_eeg_alcohol": "eeg",
    "myo_emg": "emg",
    "har_watch": "motion",
    "har_phone": "motion",
}
UNKNOWN = "unknown"

LabelKind = Literal["per_class", "count", "fraction"]


@dataclass(frozen=True, order=True)
class LabelAmount:
    """How many labels a fine-tune had, in the unit of its spec: amounts of two units cannot be
    compared."""

    kind: LabelKind
    n: float


def target_of(row: Record) -> str:
    """As the sweep names it, else the folder that it lies in, else its kind, and seed if made."""
    given = row.axes.get(TARGET, row.repeat.get(TARGET))
    if isinstance(given, str):
        return given
    if isinstance(given, dict) and "set" in given:
        return str(given["set"])
    root = row.config.get(f"{TARGET}.root")
    kind = str(row.config.get(f"{TARGET}.kind", UNKNOWN))
    seed = row.config.get(f"{TARGET}.seed")
    if kind.startswith("synthetic") and seed is not None:  # other signals of another seed
        return f"{kind} {seed}"
    if kind == "joined":
        parts = [name.split(".") for name in row.config if name.startswith(f"{TARGET}.of.")]
        return "+".join(dict.fromkeys(words[TARGET.count(".") + 2] for words in parts)) or kind
    return str(root).rstrip("/").rsplit("/", 1)[-1] if root and kind == "files" else kind


def modality_of(row: Record) -> str:
    """What the windows said, else what the spec says: all that is known of failed members, and
    in older records."""
    if row.modalities:
        return " and ".join(row.modalities)
    said = row.config.get(f"{TARGET}.modality")
    if isinstance(said, list | dict):
        said = list(said.values()) if isinstance(said, dict) else said
        return " and ".join(sorted(set(map(str, said))))
    kind = str(row.config.get(f"{TARGET}.kind"))
    return str(said) if said else MODALITIES.get(kind, MODALITIES.get(target_of(row), UNKNOWN))


def test_part_of(row: Record) -> str:
    """Which groups were test data: what the run says, else the settings that they hang on."""
    if row.tested:
        return row.tested
    split = {path: value for path, value in row.config.items() if path.startswith(f"{SPLIT}.")}
    return json.dumps(split, sort_keys=True)


def validation_of(row: Record) -> Validation:
    """What a member is chosen by; before there was a choice, it was a fully labelled part."""
    said: Validation = row.config.get("finetune.validation", "full")
    return said


def labels_of(row: Record) -> LabelAmount | None:
    for kind in ("per_class", "count", "fraction"):
        n = row.config.get(f"{LABELS}.{kind}", _block(row).get(kind))
        if n is not None:
            return LabelAmount(kind, float(n))
    return None


def _block(row: Record) -> dict[str, Any]:
    """Labels that a record keeps as one block."""
    block = row.config.get(LABELS)
    return block if isinstance(block, dict) else {}
