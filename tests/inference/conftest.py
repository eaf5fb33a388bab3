"""Models that were kept without a sweep, and recordings to ask them about."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.tools.export import write_recordings
from citrus_ray.experiment.trial import Trial
from citrus_ray.inference.model import KeptModel, load_model
from citrus_ray.store import kept as kept_models
from citrus_ray.training.keeping import kept
from citrus_ray.training.learner import Learner
from citrus_ray.training.members import learner_of
from tests.small import SCRATCH

RATE = 50.0
VALUE: dict[str, Any] = {  # a number for each class, as a table would have it
    "finetune__target__labels": "values.csv",
    "finetune__target__target": "value",
    "finetune__labels": {"count": 16},
}
Keep = Callable[..., tuple[KeptModel, Learner]]


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight recordings of 8 windows of 1.28 s, two channels, and their labels."""
    root = tmp_path_factory.mktemp("study")
    source = Synthetic(
        n_subjects=8,
        windows_per_subject=8,
        n_chans=2,
        sfreq=RATE,
        seconds=1.28,
        rhythms=(5.0, 12.0),
        normalize="none",
    )
    write_recordings(source, root, "edf")
    (root / "values.csv").write_text((root / "labels.csv").read_text().replace(" Hz,", ","))
    return root


def target_of(study: Path, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "files",
        "root": str(study),
        "pattern": "recordings/*.edf",
        "labels": "labels.csv",
        "seconds": 1.28,
        "sfreq": RATE,
        "normalize": "window",
        "modality": "eeg",
    } | changes


def keep_in(folder: Path, trial: Trial) -> tuple[KeptModel, Learner]:
    """A trial's model, kept and read back, and what learnt it."""
    learner = learner_of(trial, None)
    learner.finish()
    learner.score_test()
    kept_models.write(folder, *kept(learner))
    return load_model(folder), learner


@pytest.fixture
def keep(tmp_path: Path, study: Path) -> Keep:
    def call(target: dict[str, Any] | None = None, **edits: Any) -> tuple[KeptModel, Learner]:
        paths = {path.replace("__", "."): value for path, value in edits.items()}
        trial = SCRATCH.at({"finetune.target": target or target_of(study)} | paths)
        return keep_in(tmp_path / "model", trial)

    return call


@pytest.fixture(scope="session")
def model(study: Path, tmp_path_factory: pytest.TempPathFactory) -> KeptModel:
    """A convolution on z-scored windows."""
    trial = SCRATCH.at({"finetune.target": target_of(study)})
    return keep_in(tmp_path_factory.mktemp("kept") / "model", trial)[0]


@pytest.fixture
def signal() -> np.ndarray:
    """A recording (2, T) of 5 windows and a half."""
    return np.random.default_rng(1).normal(size=(2, 352)).astype(np.float32)
