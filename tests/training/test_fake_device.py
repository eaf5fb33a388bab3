"""Whatever trains, scores or predicts runs on a device that is not there, gives the numbers that it
gives on a CPU, and lets no step wait for a value: seen without a GPU, before a user has one."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from citrus_ray.context import SignalContext
from citrus_ray.data.windowing import cache
from citrus_ray.experiment.trial import Trial
from citrus_ray.models.nets.encoder import Encoder, patches
from citrus_ray.spec import validate
from citrus_ray.store.resume import State
from citrus_ray.testing.device import DEVICE, FakeDevice
from citrus_ray.training import pretraining
from citrus_ray.training.loop import Training
from citrus_ray.training.members import Population
from citrus_ray.training.parts import Worker
from citrus_ray.training.pretraining import Pretrained
from citrus_ray.training.vmapped import VmappedMembers
from tests.small import SCRATCH
from tests.store.test_resume import save_every_epoch

THERE = str(DEVICE)
METRIC = "val/balanced_accuracy"
STEPS = 2  # of a fine-tune: one in each round


@pytest.fixture
def device() -> Iterator[FakeDevice]:
    with FakeDevice() as found:
        yield found


@pytest.fixture
def waits(device, monkeypatch) -> list[list[str]]:
    """Of every step that is taken, where the host waited for a value."""
    found: list[list[str]] = []

    def watched(real: Any) -> Any:
        def step(*args):
            with device.reading() as here:
                loss = real(*args)
            found.append(here)
            return loss

        return step

    for kind in (Training, VmappedMembers):
        monkeypatch.setattr(kind, "_step", watched(kind._step))
    return found


# ---- pre-training ----

FEW = {"n_subjects": 2, "windows_per_subject": 8, "seed": 9}
SOURCES: dict[str, Any] = {
    "windows": {
        "kind": "synthetic",
        "n_chans": 2,
        "sfreq": 50.0,
        "seconds": 1.28,
        "rhythms": [5, 12],
        **FEW,
    },
    "streams": {"kind": "synthetic_sensors", "rates": [64.0, 32.0], "seconds": 1.0, **FEW},
    "pairs": {
        "kind": "pairs",
        "of": {
            "kind": "synthetic_fmri",
            "n_subjects": 2,
            "n_runs": 1,
            "n_blocks": 4,
            "n_voxels": 6,
        },
    },
}
CALM = {"dim": 8, "layers": 1, "heads": 2, "dropout": 0.0}
CONV = {"kind": "conv", "dim": 8, "strides": [2, 2]}
MODELS: dict[str, Any] = {
    "bank": {"kind": "bank", "dim": 8, "patch": 8, "bands": 4, "taps": 16},
    "conv": CONV,
    "patch": {"kind": "patch", "patch": 8, "modality": True, **CALM},
    "spectrum": {
        "kind": "patch",
        "patch": 8,
        "stem": "both",
        "spectrum_window": 16,
        "positions": "learned",
        **CALM,
    },
    "citrus": {"kind": "citrus", "conv": CONV, **CALM},
    "sequence": {"kind": "sequence", **CALM},
    "volumes": {"kind": "sequence", "summary": "mean", "project": False, **CALM},
    "sensors": {"kind": "crossmodal", "encoder": CONV, "heads": 2},
    "mlp": {"kind": "crossmodal", "encoder": CONV, "aggregator": "mlp"},
}
TASKS: dict[str, Any] = {
    "masked": {"kind": "masked"},
    "visible": {"kind": "masked", "encode": "visible", "loss": "l1"},
    "across": {"kind": "masked", "mix": 1, "neighbours": 2, "loss": "huber"},
    "spectral": {"kind": "spectral"},
    "bands": {
        "kind": "spectral",
        "ratio": 0.3,
        "predict": "magnitude_phase",
        "hide": {"count": 2, "width": 0.2, "fill": "noise"},
    },
    "swap": {
        "kind": "spectral",
        "ratio": 0.0,
        "hide": {"count": 1, "width": 0.2, "fill": "swap"},
        "predict": "real_imag",
    },
    "whitened": {"kind": "spectral", "transform": "stft", "whiten": "smooth", "bottleneck": True},
    "latent": {"kind": "latent"},
    "seen": {"kind": "latent", "encode": "visible"},
    "next": {"kind": "next_thought", "weights": {"next": 0.1, "masked": 0.9}},
    "views": {"kind": "crossmodal"},
    "barlow": {"kind": "crossmodal", "mask": "random", "loss": {"kind": "barlow"}},
    "infonce": {"kind": "crossmodal", "mask": "temporal", "loss": {"kind": "infonce"}},
}
# what of a batch is absent, and whether two views of it differ, is asked of the batch itself
ALLOWED = {"reconstruction.py (_signal)", "masking.py (two_views)"}


def pretrained(model: Any, task: Any, **edits: Any) -> Trial:
    """A trial that pre-trains for a few steps, on signals that its model and task are for."""
    kind = model["kind"]
    source = SOURCES[{"crossmodal": "streams", "sequence": "pairs"}.get(kind, "windows")]
    spec = {"source": source, "task": task, "epochs": 1, "optim": {"batch_size": 8}} | edits
    target = {"target": {"kind": "synthetic"}}
    return validate(Trial, {"model": model, "pretrain": spec, "finetune": target})


def run(trial: Trial, where: str, **more: Any) -> Pretrained:
    assert trial.pretraining is not None
    return pretraining.run(trial.pretraining, trial.model, Worker(device=where), **more)


def goes_with(model: str, task: str) -> bool:
    kind, asked = MODELS[model]["kind"], TASKS[task]["kind"]
    if kind == "sequence" or asked == "next_thought":
        return (kind, asked) == ("sequence", "next_thought")
    return task != "across" if kind == "crossmodal" else asked != "crossmodal"


def by_default(model: str, task: str) -> bool:
    """Each model and each task once or twice."""
    if MODELS[model]["kind"] == "crossmodal":
        return (model, task) in {("sensors", "latent"), ("sensors", "views"), ("mlp", "barlow")}
    return model == "conv" or task in ("masked", "next")


COMBINATIONS = [
    pytest.param(model, task, marks=() if by_default(model, task) else pytest.mark.slow)
    for model in MODELS
    for task in TASKS
    if goes_with(model, task)
]


@pytest.mark.parametrize(("model", "task"), COMBINATIONS)
def test_a_pretraining_on_a_device_gives_the_losses_and_references_of_a_cpu(
    device, waits, model, task
):
    trial = pretrained(MODELS[model], TASKS[task])
    here = run(trial, "cpu")
    assert waits
    assert not any(waits)
    waits.clear()
    there = run(trial, THERE)
    assert {w.device.type for w in there.weights.values()} == {"cuda"}
    (last,), (known,) = there.history, here.history
    assert last["train/loss"] == pytest.approx(known["train/loss"], rel=1e-4)
    # Adam's first step has the sign of a gradient, be that rounding
    assert last == pytest.approx(known, rel=2e-2, abs=2e-3)
    assert there.references == pytest.approx(here.references, rel=1e-3, abs=1e-4)
    assert waits
    places = {re.sub(r":\d+", "", where) for step in waits for where in step}
    assert places <= ALLOWED
    assert not places or MODELS[model]["kind"] == "crossmodal"


def test_parts_of_a_batch_on_a_device_let_no_step_wait(device, waits):
    trial = pretrained(CONV, TASKS["bands"], accumulate=3)
    here, there = (run(trial, where).history[-1] for where in ("cpu", THERE))
    assert there["train/loss"] == pytest.approx(here["train/loss"], rel=1e-4)
    assert waits
    assert not any(waits)


def test_validation_waits_no_longer_for_more_batches(device):
    """Once for each number that it gives."""
    looks = []
    for size in (8, 2):
        trial = pretrained(CONV, TASKS["masked"], optim={"batch_size": size})
        run(trial, THERE)
        looks.append([where for where in device.reads if "_means" in where])
        device.reads.clear()
    few, many = looks
    assert len(few) == len(many) > 0


def test_a_pretraining_on_a_device_goes_on_where_it_was_interrupted(device, monkeypatch, tmp_path):
    save_every_epoch(monkeypatch)
    trial = pretrained(CONV, TASKS["masked"], epochs=2)

    def crash(metrics: dict[str, float]) -> None:
        if metrics["epoch"] > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(trial, THERE, report=crash, state=State(str(tmp_path), "d"))
    again = run(trial, THERE, state=State(str(tmp_path), "d"))
    assert [row["epoch"] for row in again.resumed] == [1]
    assert again.history == run(trial, THERE).history


# ---- fine-tuning ----

SENSORS = {
    "n_subjects": 8,
    "absent": 0.2,
    **{k: v for k, v in SOURCES["streams"].items() if k != "n_subjects"},
}
PARTS = {"moments": True, "bins": 2, "power": True, "covariance": True, "delays": [1, 2]}
FINETUNES: dict[str, dict[str, Any]] = {
    "full": {},
    "full, best round": {"validation": "full"},
    "frozen": {"mode": "frozen"},
    "probe": {"mode": "probe"},
    "solved": {"head_init": "solved", "encoder_rate": 0.1},
    "augment": {"augment": ["shift", "scale", "noise", "drop_channels", "surrogate"]},
    "mixup": {"mixup": 0.2, "optim.clip": 0.2},
    "anchor": {"anchor": 100.0, "smoothing": 0.1},
    "head first": {"head_first": 0.5, "layer_decay": 0.5},
    "class weights": {"class_weights": "balanced", "sampling": "shuffled"},
    "late": {"pool": "late"},
    "parts": {"head": PARTS},
    "parts solved": {"head": PARTS, "pool": "channels", "head_init": "solved"},
    "parts frozen": {"head": {"power": True, "standardise": True}, "mode": "frozen"},
    "erase": {"subjects": "erase"},
    "recentre": {"subjects": "recentre", "mode": "frozen"},
    "drop_modality": {"target": SENSORS, "drop_modality": 0.3},
}


def finetuned(trials: list[Trial], where: str, weights: Any = None) -> Population:
    """Trained to the end and scored; whoever fails fails the test."""
    found = Population(trials, [weights] * len(trials), METRIC, where)
    assert found.status == "ok", [state.reason for state in found.states]
    while found.advance() is not None:
        pass
    found.score_test()
    assert found.status == "ok", [state.reason for state in found.states]
    return found


def of_finetune(**edits: Any) -> Trial:
    model = {"model": MODELS["sensors"]} if "drop_modality" in edits else {}
    small = {"steps": STEPS, "rounds": 2} | edits
    return SCRATCH.at(model | {f"finetune.{key}": value for key, value in small.items()})


def assert_alike(one: Population, other: Population) -> None:
    for a, b in zip(one.states, other.states, strict=True):
        assert a.member is not None
        assert b.member is not None
        assert a.metrics.keys() == b.metrics.keys()
        assert [row["train/loss"] for row in a.history] == pytest.approx(
            [row["train/loss"] for row in b.history], rel=1e-3
        )
        some = a.member.parts.train[:8]
        assert a.member.predict(some) == pytest.approx(b.member.predict(some), rel=1e-2, abs=1e-3)


RARER = ("full, best round", "class weights", "late", "parts solved")


def named(names: Iterable[str], rarer: Iterable[str]) -> list[Any]:
    return [pytest.param(n, marks=pytest.mark.slow if n in rarer else ()) for n in names]


@pytest.mark.parametrize("name", named(FINETUNES, RARER))
def test_a_finetune_on_a_device_gives_the_numbers_of_a_cpu(device, waits, name):
    trial = of_finetune(**FINETUNES[name])
    here = finetuned([trial], "cpu")
    assert device.reads == []
    waits.clear()
    assert_alike(finetuned([trial], THERE), here)
    assert len(waits) == (0 if name == "probe" else STEPS)
    assert not any(waits)


@pytest.mark.parametrize("name", named(["anchor", "parts", "solved", "erase"], ["solved", "erase"]))
def test_stacked_members_on_a_device_give_the_numbers_of_a_cpu(device, waits, name):
    trials = [of_finetune(**FINETUNES[name]).at({"seed": i}) for i in range(2)]
    here = finetuned(trials, "cpu")
    assert device.reads == []
    waits.clear()
    there = finetuned(trials, THERE)
    assert [len(group.members) for group in there.vmap_groups] == [2]
    assert_alike(there, here)
    assert len(waits) == STEPS
    assert not any(waits)


@pytest.mark.parametrize("model", named(MODELS, {*MODELS} - {"bank", "citrus", "sensors"}))
def test_every_model_is_finetuned_on_a_device_from_weights_made_there(device, waits, model):
    target = (
        SENSORS if MODELS[model]["kind"] == "crossmodal" else SOURCES["windows"] | {"n_subjects": 8}
    )
    trial = of_finetune(target=target).at({"model": MODELS[model]})
    weights = trial.model.build(cache.load(trial.finetune.target).context)
    found = finetuned([trial], THERE, weights.to(THERE).state_dict())
    assert len(waits) == STEPS
    assert not any(waits)
    assert found.states[0].metrics["identity/start"] is not None


@pytest.mark.parametrize("n", [1, 2], ids=["alone", "stacked"])
def test_the_host_waits_by_rounds_and_not_by_steps(device, n):
    looks = []
    for steps in (STEPS, 3 * STEPS):
        device.reads.clear()
        finetuned([of_finetune(steps=steps).at({"seed": i}) for i in range(n)], THERE)
        looks.append(sorted(device.reads))
    assert looks[0] == looks[1] != []


# ---- what a user might leave in a network ----


class Planted(Encoder):
    """An encoder with a fault."""

    def __init__(self, ctx: SignalContext, fault: str = "none", dim: int = 8, patch: int = 8):
        super().__init__()
        self.dim, self.patch, self.fault = dim, patch, fault
        self.embed = torch.nn.Linear(patch, dim)
        self.mask_token = torch.nn.Parameter(torch.zeros(dim))
        self.left = torch.ones(patch)  # no buffer: it does not go with the module

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        cut: torch.Tensor = patches(x, self.patch)
        if hidden is not None:
            cut = cut.masked_fill(hidden[..., None], 0.0)
        tokens: torch.Tensor = self.embed(self._spoilt(cut))
        if hidden is None:
            return tokens
        return torch.where(hidden[..., None], self.mask_token, tokens)

    def _spoilt(self, cut: torch.Tensor) -> torch.Tensor:
        if self.fault == "left on the CPU":
            return cut * self.left
        if self.fault == "made on the CPU":
            return cut + torch.arange(self.patch)
        if self.fault == "numpy":
            return torch.from_numpy(np.tanh(cut.numpy()))
        if self.fault == "item":
            return cut / max(cut.abs().max().item(), 1.0)
        if self.fault == "if":
            return cut if (cut.abs() > 0).any() else cut + 1
        if self.fault == "for CPUs alone":
            return cut * torch.histogram(cut.detach(), 2).hist.mean() ** 0
        return cut

    def depths(self) -> list[torch.nn.Module]:
        return [torch.nn.ModuleList([self.embed]), torch.nn.ParameterList([self.mask_token])]


FAULTS = {
    "left on the CPU": (RuntimeError, "at least two devices, cuda:0 and cpu"),
    "made on the CPU": (RuntimeError, "at least two devices, cuda:0 and cpu"),
    "numpy": (TypeError, "can't convert cuda:0 device type tensor to numpy"),
    "for CPUs alone": (NotImplementedError, "Could not run 'aten::histogram"),
}


def planted(fault: str) -> Any:
    cls = f"{__name__}:Planted"
    return {"kind": "custom", "cls": cls, "kwargs": {"fault": fault}}


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of vmap
@pytest.mark.parametrize("fault", FAULTS)
def test_a_network_that_would_fail_on_a_gpu_fails_here(device, fault):
    error, says = FAULTS[fault]
    finetuned([of_finetune().at({"model": planted(fault)})], "cpu")
    with pytest.raises(error, match=says):
        run(pretrained(planted(fault), TASKS["masked"]), THERE)
    for n in (1, 2):
        trials = [of_finetune().at({"model": planted(fault), "seed": i}) for i in range(n)]
        found = Population(trials, [None] * n, METRIC, THERE)
        found.advance()
        assert {state.status for state in found.states} == {"failed"}
        assert says in (found.states[0].reason or "")


@pytest.mark.parametrize("fault", ["item", "if"])
def test_a_look_at_a_value_in_every_step_is_seen(device, waits, fault):
    run(pretrained(planted(fault), TASKS["masked"]), THERE)
    assert all(f"{__name__.split('.')[-1]}.py" in where for step in waits for where in step)
    assert all(waits)
    waits.clear()
    finetuned([of_finetune().at({"model": planted(fault)})], THERE)
    assert len(waits) == STEPS
    assert all("(_spoilt)" in step[0] for step in waits)


def test_a_network_without_a_fault_is_not_complained_of(device, waits):
    run(pretrained(planted("none"), TASKS["masked"]), THERE)
    finetuned([of_finetune().at({"model": planted("none")})], THERE)
    assert not any(waits)


def test_draws_for_a_device_come_from_a_generator_that_is_there(device):
    there, here = (torch.Generator(of).manual_seed(0) for of in (THERE, "cpu"))
    assert torch.equal(
        torch.rand(3, generator=there, device=THERE).cpu(), torch.rand(3, generator=here)
    )
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator"):
        torch.rand(3, generator=here, device=THERE)
