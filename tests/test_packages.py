"""A package of somebody else's, installed with pip: its model, method, task, source, augmentation,
baseline and head part stand beside ours by the names that it gives them."""

import importlib.metadata
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from citrus_ray import spec as specs
from citrus_ray.spec import SpecError, validate
from tests.small import SCRATCH

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "guests"
version = "1.0"
[tool.setuptools]
packages = ["guests"]
[project.entry-points."citrus_ray.models"]
guest = "guests.specs:Guest"
guest_means = "guests.specs:Means"
[project.entry-points."citrus_ray.tasks"]
guest_order = "guests.specs:Order"
[project.entry-points."citrus_ray.sources"]
guest_source = "guests.specs:Waves"
[project.entry-points."citrus_ray.augmentations"]
guest_flip = "guests.specs:Flip"
[project.entry-points."citrus_ray.baselines"]
guest_guess = "guests.methods:guess"
"""
SPECS = """
from typing import ClassVar, Literal
import numpy as np
from citrus_ray.data.source import Source
from citrus_ray.data.windows import Windows
from citrus_ray.experiment.augment import Augmentation
from citrus_ray.models.specs import ClosedForm, EncoderSpec, Size
from citrus_ray.spec import locate
from citrus_ray.tasks.specs import TaskSpec

class Guest(EncoderSpec):
    net: ClassVar[str] = "guests.nets:GuestNet"
    mixes_channels: ClassVar[bool] = True
    kind: Literal["guest"] = "guest"
    dim: Size = 8
    '''Width of a token.'''
    patch: Size = 4
    '''Samples of a token.'''

class Means(ClosedForm):
    method: ClassVar[str] = "guests.methods:by_means"
    kind: Literal["guest_means"] = "guest_means"

class Order(TaskSpec):
    kind: Literal["guest_order"] = "guest_order"
    def build(self, ctx, encoder):
        return locate("guests.nets:OrderTask")(ctx, encoder)

class Flip(Augmentation):
    kind: Literal["guest_flip"] = "guest_flip"
    def __call__(self, x, rng, blank=0.0):
        return -x if rng.random() < 0.5 else x

class Waves(Source):
    kind: Literal["guest_source"] = "guest_source"
    seed: int = 0
    '''Draws the people.'''
    def prepare(self):
        rng, n = np.random.default_rng(self.seed), 64
        y, group = np.arange(n) % 2, np.arange(n) // 8
        t = np.arange(64) / 50
        x = np.sin(2 * np.pi * np.where(y, 5, 12)[:, None, None] * t + rng.uniform(0, 6, (n, 2, 1)))
        x = (x + 0.3 * rng.standard_normal(x.shape)).astype(np.float32)
        names = tuple(f"w{self.seed}p{i}" for i in range(8))
        return Windows(x=x, y=y.astype(np.int64), group=group.astype(np.int64), sfreq=50.0,
            ch_names=("a", "b"), modalities=("eeg", "eeg"), groups=names, classes=("12", "5"),
            digest=self.digest())
"""
NETS = """
import torch
from torch import nn
from citrus_ray.models.nets.encoder import Encoder, hide_samples, patches
from citrus_ray.models.nets.parts import OfWindow
from citrus_ray.tasks.losses.task import Task

class GuestNet(Encoder):
    mixes_channels = True
    def __init__(self, ctx, *, dim, patch):
        super().__init__()
        self.dim, self.patch = dim, patch
        self.embed = nn.Linear(ctx.n_chans * patch, dim)
        self.deep = nn.Conv1d(dim, dim, 5, padding=2)
        self.norm = nn.LayerNorm(dim)
    def forward(self, x, hidden=None):
        if hidden is not None:
            x = hide_samples(x, hidden, self.patch)
        tokens = self.embed(patches(x, self.patch).transpose(1, 2).flatten(2))
        deep = self.deep(tokens.transpose(1, 2)).transpose(1, 2)
        return self.norm(tokens + nn.functional.gelu(deep))[:, None]
    def depths(self):
        return [self.embed, nn.ModuleList([self.deep, self.norm])]

class OrderTask(Task):
    def __init__(self, ctx, encoder):
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(encoder.dim, 1)
    def forward(self, x, generator):
        turned = torch.rand(len(x), 1, 1, generator=generator, device=generator.device) < 0.5
        logits = self.head(self.encoder.summary(torch.where(turned, x.flip(-1), x)).mean(1))
        loss = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], turned[:, 0, 0].float())
        return loss, {"asked": loss.detach()}

class Sums(OfWindow):
    def __init__(self, ctx):
        super().__init__(ctx)
        self.n_features = self.n_chans
    def of(self, x):
        return x.abs().mean(dim=(2, 3))
"""
METHODS = """
import numpy as np

def by_means(learner, spec):
    from citrus_ray.training.methods import regression
    return regression(learner, lambda x: np.abs(np.asarray(x)).mean(axis=-1))

def guess(member):
    n_classes = len(member.windows.classes)
    return lambda index: np.tile(np.arange(n_classes) * 1.0, (len(index), 1))
"""
SWEEP = """\
# Do guests keep up with us?
name: guests
trial:
  model: {kind: conv, dim: 8, strides: [2, 2]}
  pretrain: {source: {kind: guest_source, seed: 3}, task: null, epochs: 1}
  finetune:
    target: {kind: guest_source}
    labels: {per_class: 4}
    steps: 8
    rounds: 4
    augment: [guest_flip]
    head: {own: ["guests.nets:Sums"]}
compare:
  model: [{kind: conv, dim: 8, strides: [2, 2]}, guest, guest_means]
  pretrain.task: [null, {kind: guest_order}, {kind: masked}, {kind: spectral}]
budget: {trials: 1}
final: {rounds: 2}
"""
RUN = """
import json
from citrus_ray import load_sweep
from citrus_ray.training.baselines import baselines
sweep = load_sweep("guests.yaml")
found = {}
for cell in sweep.cells:
    (_, trial), *_ = cell.members({})
    found[cell.label] = [trial.digest(), trial.run()["val/balanced_accuracy"]]
scratch = sweep.cells[0].members({})[0][1]
print(json.dumps({"cells": found, "baselines": sorted(baselines(scratch))}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip put the package."""
    home = tmp_path_factory.mktemp("guests")
    inside = home / "project" / "guests"
    inside.mkdir(parents=True)
    (home / "project" / "pyproject.toml").write_text(PYPROJECT)
    texts = {"__init__": "", "specs": SPECS, "nets": NETS, "methods": METHODS}
    for name, text in texts.items():
        (inside / f"{name}.py").write_text(textwrap.dedent(text))
    flags = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(home / "site")]
    pip = [sys.executable, "-m", "pip", "install", "-q", *flags, str(home / "project")]
    subprocess.run(pip, check=True, capture_output=True)
    (home / "guests.yaml").write_text(SWEEP)
    return home


def run(home: Path, *words: str) -> str:
    path = os.pathsep.join([str(home / "site"), str(ROOT)])
    env = os.environ | {"PYTHONPATH": path, "CITRUS_CACHE": str(home / "cache")}
    env |= {"CITRUS_STORE": str(home / "store"), "OMP_NUM_THREADS": "1"}
    words = (sys.executable, *words)
    done = subprocess.run(words, cwd=home, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_an_installed_package_is_compared_with_ours_in_one_sweep(installed):
    found = json.loads(run(installed, "-c", RUN).splitlines()[-1])
    labels = list(found["cells"])
    assert len(labels) == 9  # two networks with four tasks each, and a method
    assert sum("guest_order" in label for label in labels) == 2
    assert sum("guest_means" in label for label in labels) == 1
    assert all(0 <= value <= 1 for _, value in found["cells"].values())
    assert len({digest for digest, _ in found["cells"].values()}) == 9
    assert "guest_guess" in found["baselines"]
    before = found["cells"]
    nets = installed / "site" / "guests" / "nets.py"
    nets.write_text(nets.read_text() + "\n# other code\n")
    digests = RUN.replace('trial.run()["val/balanced_accuracy"]', "0").replace(
        "sorted(baselines(scratch))", "0"
    )
    after = json.loads(run(installed, "-c", digests).splitlines()[-1])["cells"]
    for label, (digest, _) in before.items():
        assert (after[label][0] == digest) == ("guest_means" in label), label


@pytest.mark.slow
def test_a_sweep_with_an_installed_package_is_planned(installed):
    said = run(installed, str(ROOT / "sweeps" / "run.py"), "guests.yaml", "--dry-run")
    assert "9 cells" in said


def named(monkeypatch: pytest.MonkeyPatch, *entries: tuple[str, str, str]) -> None:
    """Entry points of packages that are not there: (room, name, path)."""
    from importlib.metadata import EntryPoint

    def of(group: str) -> list[EntryPoint]:
        return [EntryPoint(n, p, group) for room, n, p in entries if f"citrus_ray.{room}" == group]

    specs.entry_points.cache_clear()
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: of(group))


@pytest.fixture
def clean() -> Any:
    yield
    specs.entry_points.cache_clear()


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([("models", "theirs", "nowhere.at_all:X")], "nowhere.at_all cannot be imported"),
        ([("models", "theirs", "json:JSONDecoder")], "must name a class of specs"),
        ([("models", "theirs", "citrus_ray.models.specs:Conv")], "is not called so; its key must"),
        ([("models", "theirs", "a:X"), ("models", "theirs", "b:X")], "two packages name it"),
        ([("tasks", "theirs", "a:X"), ("models", "other", "b:X")], "'tangent', 'views', 'other'"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused_in_words(entries, said, monkeypatch, clean):
    named(monkeypatch, *entries)
    with pytest.raises(SpecError, match=said):
        validate(type(SCRATCH), SCRATCH.tree() | {"model": {"kind": "theirs"}})


def test_ours_are_found_without_a_look_at_packages(monkeypatch, clean):
    def never(group: str) -> Any:
        raise AssertionError(group)

    specs.entry_points.cache_clear()
    monkeypatch.setattr(importlib.metadata, "entry_points", never)
    assert validate(type(SCRATCH), SCRATCH.tree()) == SCRATCH
