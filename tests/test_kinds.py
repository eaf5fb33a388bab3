"""Kinds of models, tasks and sources: ours by name, others by import path, each looked up late."""

import subprocess
import sys
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from citrus_ray.context import SignalContext
from citrus_ray.data.kinds import KINDS as SOURCES
from citrus_ray.experiment.augment import KINDS as AUGMENTATIONS
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.experiment.trial import Trial
from citrus_ray.models.specs import KINDS as MODELS
from citrus_ray.spec import Spec, SpecError, descriptions, validate
from citrus_ray.tasks.specs import KINDS as TASKS
from tests.small import SCRATCH

NET = """
import torch
from torch import nn
from citrus_ray.models.nets.encoder import Encoder, hide_samples, patches

class Mine(Encoder):
    def __init__(self, ctx, *, dim=8, patch=4):
        super().__init__()
        self.dim, self.patch = dim, patch
        self.embed = nn.Linear(patch, dim)

    def forward(self, x, hidden=None):
        if hidden is not None:
            x = hide_samples(x, hidden, self.patch)
        return self.embed(patches(x, self.patch))

    def depths(self):
        return [self.embed]

class NoEncoder:
    pass
"""
SPEC = """
from typing import ClassVar, Literal
from citrus_ray.models.specs import EncoderSpec, Size

class Of(EncoderSpec):
    net: ClassVar[str] = "strange_net:Mine"
    kind: Literal["strange_spec:Of"] = "strange_spec:Of"
    dim: Size = 8
    patch: Size = 4
"""
CTX = SignalContext(n_chans=2, n_times=64, sfreq=50.0, modalities=("eeg",) * 2)


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path that holds a stranger's network."""
    (tmp_path / "strange_net.py").write_text(textwrap.dedent(NET))
    (tmp_path / "strange_spec.py").write_text(textwrap.dedent(SPEC))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("strange_net", "strange_spec"):
        sys.modules.pop(name, None)


def trial_with(model: object) -> Trial:
    return validate(Trial, SCRATCH.tree() | {"model": model})


def custom(**edits: object) -> dict[str, object]:
    return {"kind": "custom", "cls": "strange_net:Mine"} | edits


def test_a_network_from_outside_is_built_with_its_sizes_and_trained(outside):
    trial = trial_with(custom(kwargs={"dim": 6, "patch": 8}))
    encoder = trial.model.build(CTX)
    assert (encoder.dim, encoder.patch, trial.model.patch) == (6, 8, 8)
    assert validate(Trial, trial.tree()) == trial
    assert 0 < trial.run()["val/balanced_accuracy"] <= 1


def test_a_spec_from_outside_is_a_kind_by_its_path(outside):
    trial = trial_with({"kind": "strange_spec:Of", "dim": 6})
    assert trial.model.build(CTX).dim == 6
    assert validate(Trial, trial.tree()) == trial


def test_other_code_is_another_digest(outside):
    before = trial_with(custom()).digest()
    assert trial_with(custom(kwargs={"dim": 6})).digest() != before
    (outside / "strange_net.py").write_text(NET + "\n# changed\n")
    assert trial_with(custom()).digest() != before


@pytest.mark.parametrize(
    ("edits", "rule"),
    [
        ({"cls": "nowhere_at_all:Mine"}, "nowhere_at_all cannot be imported"),
        ({"cls": "strange_net:Mien"}, "strange_net has no Mien; did you mean Mine?"),
        ({"cls": "strange_net:NoEncoder"}, "must inherit citrus_ray.models.nets.encoder:Encoder"),
        ({"kwargs": {"wide": 3}}, "unexpected keyword argument 'wide'"),
    ],
)
def test_what_cannot_be_built_is_said_before_anything_starts(outside, edits, rule):
    (problem,) = trial_with(custom(**edits)).problems({"finetune.target": CTX})
    assert problem.path == "model"
    assert rule in problem.message


@pytest.mark.parametrize("cls", ["mine", "a b:Mine", "strange_net:"])
def test_a_class_is_named_by_module_and_class(cls):
    with pytest.raises(SpecError, match=r"model\.cls"):
        trial_with(custom(cls=cls))


def test_a_kind_that_is_no_spec_is_refused(outside):
    with pytest.raises(SpecError, match="must name a class of specs"):
        trial_with({"kind": "strange_net:Mine"})


def test_reading_a_model_from_outside_loads_neither_it_nor_torch(outside):
    code = (
        "import sys; from citrus_ray.spec import validate; from citrus_ray.models.specs "
        "import KINDS\n"
        "KINDS({'kind': 'custom', 'cls': 'strange_net:Mine'}).digest()\n"
        "assert not {'torch', 'strange_net'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": f"{outside}:."})


# ---- what keys mean ----


def specs_in(annotation: object) -> Iterator[type[Spec]]:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from specs_in(inner)


def all_specs() -> set[type[Spec]]:
    """Everything that a sweep may say."""
    found: set[type[Spec]] = set()
    left: list[type[Spec]] = [Sweep, *MODELS.classes(), *TASKS.classes(), *SOURCES.classes()]
    left += AUGMENTATIONS.classes()
    while left:
        spec = left.pop()
        if spec not in found:
            found.add(spec)
            left += [s for f in spec.model_fields.values() for s in specs_in(f.annotation)]
    return found


@pytest.mark.parametrize("spec", sorted(all_specs(), key=repr), ids=lambda spec: spec.__name__)
def test_every_key_says_what_it_means(spec):
    missing = set(spec.model_fields) - set(descriptions(spec))
    assert not missing, f"{spec.__module__}.{spec.__name__}: {sorted(missing)}"
