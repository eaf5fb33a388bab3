"""Pre-training runs: held-out groups, single computation, test groups never seen."""

from typing import Any

import numpy as np
import pytest
import torch

from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.sources.synthetic_sensors import SyntheticSensors
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.splits import Split, split
from citrus_ray.data.windowing.view import View
from citrus_ray.experiment.optim import Optim
from citrus_ray.experiment.trial import Finetune, Pretrain, Trial
from citrus_ray.models import AnyEncoder
from citrus_ray.models.specs import Citrus, Conv, Crossmodal, Patch
from citrus_ray.spec import SpecError
from citrus_ray.store import checkpoint
from citrus_ray.store.leases import Lease, Leases
from citrus_ray.tasks import AnyTask
from citrus_ray.tasks.losses.masked import MaskedTask
from citrus_ray.tasks.losses.task import References, Task
from citrus_ray.tasks.specs import CrossmodalViews, Latent, Masked, Spectral
from citrus_ray.training import pretraining as pretrain
from tests.small import SCRATCH

TARGET = Synthetic(seed=5, n_subjects=8, windows_per_subject=8)
OTHER = Synthetic(seed=6, n_subjects=8, windows_per_subject=8)


def trial(source: Synthetic) -> Trial:
    spec = Pretrain(source=source, task=Masked(), epochs=1)
    return Trial(model=Conv(dim=8), pretrain=spec, finetune=Finetune(target=TARGET))


def test_pretraining_on_the_target_never_sees_its_test_groups() -> None:
    spec = trial(TARGET).pretraining
    assert spec is not None
    windows = cache.load(TARGET)
    test = split(windows, Split(), seed=3).test
    train, val = pretrain.held_out(windows, spec)
    seen = set(windows.group[np.concatenate([train, val])].tolist())
    assert seen.isdisjoint(windows.group[test].tolist())
    assert len(seen) == 6


def test_pretraining_on_other_recordings_holds_nothing_out() -> None:
    spec = trial(OTHER).pretraining
    assert spec is not None
    assert spec.hold_out is None
    train, val = pretrain.held_out(cache.load(OTHER), spec)
    assert len(train) + len(val) == 64


def test_what_is_held_out_is_part_of_the_encoders_name() -> None:
    one = trial(TARGET)
    two = one.at({"finetune.split.seed": 1})
    assert one.encoder_digest() != two.encoder_digest()
    elsewhere = trial(OTHER)
    assert elsewhere.encoder_digest() == elsewhere.at({"finetune.split.seed": 1}).encoder_digest()


def test_validation_groups_are_not_trained_on() -> None:
    spec = trial(OTHER).pretraining
    assert spec is not None
    windows = cache.load(OTHER)
    train, val = pretrain.held_out(windows, spec)
    assert set(windows.group[train].tolist()).isdisjoint(windows.group[val].tolist())


def test_an_encoder_is_computed_once(tmp_path, monkeypatch) -> None:
    first = pretrain.ensure_encoder(trial(OTHER), tmp_path)
    monkeypatch.setattr(pretrain, "run", lambda *_, **__: pytest.fail("computed twice"))
    again = pretrain.ensure_encoder(trial(OTHER), tmp_path)
    assert first is not None
    assert again is not None
    assert all(bool((first[name] == again[name]).all()) for name in first)


def test_an_encoder_that_another_finished_just_before_the_claim_is_not_computed_again(
    tmp_path, monkeypatch
) -> None:
    real = Leases.take

    def late(self: Leases, digest: str) -> Lease | None:
        checkpoint.save(tmp_path, digest, {}, {})
        return real(self, digest)

    monkeypatch.setattr(Leases, "take", late)
    monkeypatch.setattr(pretrain, "run", lambda *_, **__: pytest.fail("computed twice"))
    assert pretrain.ensure_encoder(trial(OTHER), tmp_path) == {}


def own_loss(task: Task, *_: Any) -> References:
    """A reference that is the task itself, as it stands before its first step."""
    return lambda *batch: {"constant": task(*batch)[0]}


def test_references_are_asked_the_windows_masks_and_units_of_the_validation_loss(
    monkeypatch,
) -> None:
    spec = trial(OTHER).at({"pretrain.optim.lr": 1e-12, "pretrain.optim.batch_size": 5}).pretraining
    assert spec is not None
    monkeypatch.setattr(MaskedTask, "references", own_loss)
    done = pretrain.run(spec, Conv(dim=8))
    assert done.references["constant"] == pytest.approx(done.history[-1]["val/loss"], rel=1e-5)


def test_references_are_kept_with_the_encoder_and_change_nothing_of_it(
    tmp_path, monkeypatch
) -> None:
    spec = trial(OTHER)
    weights = pretrain.ensure_encoder(spec, tmp_path)
    meta = checkpoint.read_meta(tmp_path, spec.encoder_digest() or "")
    assert meta["references"].keys() == {"constant", "linear"}
    assert meta["references"]["constant"] == pytest.approx(1, abs=0.1)  # windows have unit variance
    assert spec.pretraining is not None
    monkeypatch.setattr(MaskedTask, "references", lambda *_: None)
    without = pretrain.run(spec.pretraining, spec.model)
    assert without.references == {}
    assert without.history == meta["history"]
    assert weights is not None
    assert all(torch.equal(weights[name], without.weights[name]) for name in weights)


def test_of_a_large_set_references_learn_from_some_windows_whatever_their_order() -> None:
    windows = cache.load(OTHER)
    view, train = View.of(windows, np.arange(64), False), np.arange(100_000)
    some = pretrain.fitted_on(train, view, seed=0)
    assert len(some) == pretrain.NUMBERS // windows.x[0].size
    assert len(set(some.tolist())) == len(some)
    assert 0.45 < (some % 2).mean() < 0.55  # every second pair is one that follows
    assert np.array_equal(pretrain.fitted_on(np.arange(64), view, 0), np.arange(64))


@pytest.mark.slow
def test_a_long_enough_run_lowers_the_loss_of_unseen_people() -> None:
    clear = Synthetic(seed=6, n_subjects=8, windows_per_subject=16, rhythm_gain=3.0)
    spec = Pretrain(source=clear, task=Masked(), epochs=15, optim=Optim(lr=5e-3, batch_size=16))
    history = pretrain.run(spec, Conv(dim=16)).history
    assert history[-1]["val/loss"] < 0.9 * history[0]["val/loss"]


def test_a_pretraining_whose_embeddings_collapse_ends_with_what_to_do() -> None:
    people = {
        "kind": "synthetic_sensors",
        "n_subjects": 6,
        "windows_per_subject": 8,
        "seconds": 0.5,
    }
    task = {"kind": "crossmodal", "narrowest": 0.99}  # next to no embedding is as wide
    model = {"kind": "crossmodal", "encoder": {"kind": "conv", "dim": 8, "strides": [2, 2]}}
    learning = {"source": people, "task": task, "epochs": 4, "optim": {"batch_size": 16}}
    spec = SCRATCH.at(
        {"model": model, "pretrain": learning, "finetune.target": people | {"seed": 1}}
    )
    with pytest.raises(SpecError, match=r"epoch 2 of 4: embeddings have collapsed.*lower the rate"):
        pretrain.ensure_encoder(spec)
    wide = spec.at({"pretrain.task.narrowest": 0.0}).pretraining
    assert wide is not None
    history = pretrain.run(wide, spec.model).history
    assert all(0 < row["val/embedding_std"] <= 1 for row in history)


SENSORS = SyntheticSensors(n_subjects=6, windows_per_subject=8)
BRIEF: list[tuple[Any, AnyEncoder, AnyTask]] = [
    (OTHER, Conv(dim=8), Masked()),
    (OTHER, Conv(dim=8), Latent()),
    (OTHER, Patch(dim=16, layers=1), Masked(encode="visible")),
    (OTHER, Citrus(conv=Conv(dim=8), dim=16, layers=1), Spectral()),
    (SENSORS, Crossmodal(encoder=Conv(dim=8, strides=(4, 4))), CrossmodalViews(expander=16)),
]


@pytest.mark.parametrize(
    ("source", "model", "task"), BRIEF, ids=["conv", "latent", "patch", "citrus", "crossmodal"]
)
def test_products_in_bfloat16_change_little_and_leave_float32_behind(source, model, task) -> None:
    spec = Pretrain(source=source, task=task, epochs=2)
    full, half = (
        pretrain.run(spec.model_copy(update={"precision": p}), model)
        for p in ("float32", "bfloat16")
    )
    assert {weight.dtype for weight in half.weights.values()} == {torch.float32}
    one, other = (run.history[-1]["val/loss"] for run in (full, half))
    assert one != other  # it is another computation, and another encoder in the store
    assert other == pytest.approx(one, rel=0.05)


def test_the_precision_of_its_products_is_part_of_an_encoders_name() -> None:
    one = trial(OTHER)
    assert one.encoder_digest() != one.at({"pretrain.precision": "bfloat16"}).encoder_digest()


def test_a_loss_of_covariances_is_never_computed_in_bfloat16() -> None:
    windows = cache.load(SENSORS)
    encoder = Crossmodal(encoder=Conv(dim=8, strides=(4, 4))).build(windows.context)
    task = CrossmodalViews().build(windows.context, encoder).eval()
    x = torch.from_numpy(View.of(windows, np.arange(8), True)(np.arange(8)))
    seen = []
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(2):
            loss, terms = task(x, torch.Generator().manual_seed(0))
            seen.append((loss.dtype, terms["covariance"].dtype))
    assert seen == [(torch.float32, torch.float32)] * 2
