"""Two masked views of the sensors' embeddings: which they are, what the losses ask of them, and
what collapse is."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from citrus_ray.context import SignalContext
from citrus_ray.experiment.optim import Optim
from citrus_ray.models.specs import Conv, Patch
from citrus_ray.models.specs import Crossmodal as Model
from citrus_ray.spec import SpecError, validate
from citrus_ray.tasks.losses.crossmodal import CrossmodalTask, relative_spread
from citrus_ray.tasks.losses.masking import two_views
from citrus_ray.tasks.losses.reconstruction import EachSensor
from citrus_ray.tasks.specs import Barlow, CrossmodalViews, InfoNce, Masked, Vicreg, agreement
from citrus_ray.training.loop import Training, seeded, shuffled

CTX = SignalContext(3, 48, 50.0, modalities=("ecg", "eeg", "emg"))
CONV = Conv(dim=8, strides=(2, 2))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def task_of(**edits: Any) -> CrossmodalTask:
    with seeded(0):
        task = CrossmodalViews(**edits).build(CTX, Model(encoder=CONV).build(CTX))
    assert isinstance(task, CrossmodalTask)
    return task


# ---- views ----


@given(st.integers(1, 6), st.floats(0.05, 0.95), st.integers(0, 10_000))
def test_every_view_sees_something_and_the_two_differ(n_cells, keep, seed):
    there = torch.rand(40, n_cells, generator=generator(seed)) < 0.7
    there[:, 0] = True
    one, other = two_views(there, keep, generator(seed))
    assert one.any(dim=1).all()
    assert other.any(dim=1).all()
    assert not (one & ~there).any()
    assert not (other & ~there).any()
    alike = (one == other).all(dim=1)
    assert torch.equal(alike, there.sum(dim=1) == 1)


@given(st.integers(2, 6), st.floats(0.05, 0.5), st.integers(0, 10_000))
def test_disjoint_views_share_no_cell_and_see_one_each(n_cells, keep, seed):
    there = torch.rand(40, n_cells, generator=generator(seed)) < 0.7
    there[:, :2], there[:20] = True, True
    one, other = two_views(there, keep, generator(seed), disjoint=True)
    assert not (one & other).any()
    assert one.any(dim=1).all()
    assert other.any(dim=1).all()
    assert not (one & ~there).any()


def test_a_split_that_differs_from_window_to_window_would_be_agreed_on_without_a_signal():
    one, other = two_views(torch.ones(50, 4, dtype=torch.bool), 0.5, generator(), disjoint=True)
    assert torch.equal(one, one[:1].expand_as(one))
    assert torch.equal(other, ~one)


def test_more_than_half_cannot_be_kept_twice_without_overlap():
    with pytest.raises(SpecError, match="half each at most"):
        validate(CrossmodalViews, {"disjoint": True, "keep": 0.6})


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.8])
def test_of_many_cells_a_view_sees_the_share_that_it_keeps(keep):
    seen = two_views(torch.ones(200, 400, dtype=torch.bool), keep, generator())
    assert float(seen.float().mean()) == pytest.approx(keep, abs=0.01)
    both = float((seen[0] & seen[1]).float().mean())
    assert both == pytest.approx(keep**2, abs=0.01), "the two are drawn by themselves"


def latent(n: int = 6, n_tokens: int = 5) -> torch.Tensor:
    return torch.rand(n, 3, n_tokens, 8, generator=generator(9)) + 1


def test_spatial_hides_whole_sensors():
    for seen, which in task_of(mask="spatial").views(
        latent(), torch.ones(6, 3, dtype=torch.bool), generator()
    ):
        assert torch.equal(seen.all(dim=2), which)
        assert torch.equal(seen.any(dim=2), which)
        torch.testing.assert_close(seen[which], latent().mean(dim=2)[which])


def test_random_hides_elements_and_temporal_steps():
    there = torch.ones(6, 3, dtype=torch.bool)
    for seen, _ in task_of(mask="random").views(latent(), there, generator()):
        torch.testing.assert_close(seen[seen != 0], latent().mean(dim=2)[seen != 0])
        assert 0.3 < float((seen != 0).float().mean()) < 0.7
    for seen, which in task_of(mask="temporal", keep=0.6).views(latent(), there, generator()):
        assert which.any(dim=1).all()
        assert (seen[which] > 1).all(), "a mean over seen steps, not over all"
        assert not torch.allclose(seen, latent().mean(dim=2))


def test_a_sensor_that_is_absent_is_in_no_view():
    present = torch.tensor([[True, True, False]] * 6)
    for mask in ("spatial", "random", "temporal"):
        for seen, which in task_of(mask=mask).views(
            latent() * present[..., None, None], present, generator()
        ):
            assert not which[:, 2].any()
            assert not seen[:, 2].any()


@pytest.mark.parametrize("mask", ["spatial", "random", "temporal"])
def test_windows_that_lack_sensors_are_learnt_from(mask):
    task, x = task_of(mask=mask), torch.randn(12, 3, 48, generator=generator())
    x[:4, 0], x[4:8, 1:] = float("nan"), float("nan")
    loss, metrics = task(x, generator())
    loss.backward()
    assert loss.isfinite()
    assert all(value.isfinite() for value in metrics.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.parameters())


def test_an_encoder_of_patches_has_no_parameter_that_waits_for_a_gradient():
    with seeded(0):
        task = CrossmodalViews().build(
            CTX, Model(encoder=Patch(dim=8, layers=1, patch=8)).build(CTX)
        )
    task(torch.randn(6, 3, 48), generator())[0].backward()
    assert not [name for name, p in task.named_parameters() if p.requires_grad and p.grad is None]


# ---- losses ----


def numpy_vicreg(a: np.ndarray, b: np.ndarray, weights: tuple[float, float, float]) -> float:
    """From the formulas of the paper, dimension by dimension."""
    n, dim = a.shape
    total = weights[0] * float(np.mean([(a[i] - b[i]) @ (a[i] - b[i]) / dim for i in range(n)]))
    for z in (a, b):
        total += (
            weights[1]
            * sum(max(0.0, 1 - np.sqrt(np.var(z[:, d]) + 1e-4)) for d in range(dim))
            / dim
            / 2
        )
        c = np.cov(z.T)
        total += (
            weights[2] * sum(c[i, j] ** 2 for i in range(dim) for j in range(dim) if i != j) / dim
        )
    return total / sum(weights)


@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (10.0, 10.0, 100.0), (1.0, 3.0, 0.0)])
def test_vicreg_is_what_the_formulas_say(weights):
    a, b = (0.7 * torch.randn(16, 6, generator=generator(seed)) for seed in (0, 1))
    spec = Vicreg(invariance=weights[0], variance=weights[1], covariance=weights[2])
    assert float(agreement(spec)(a, b)[0]) == pytest.approx(
        numpy_vicreg(a.numpy(), b.numpy(), weights), rel=1e-5
    )


def test_barlow_wants_the_identity_and_infonce_finds_the_other_view():
    z = torch.linalg.qr(torch.randn(64, 4, generator=generator()))[0]
    z = (z - z.mean(dim=0)) * 8
    assert float(agreement(Barlow())(z, 3 * z)[0]) < 0.02 < float(agreement(Barlow())(z, -z)[0])
    loss, terms = agreement(InfoNce(temperature=0.05))(z, z)
    assert float(terms["found"]) == 1
    assert float(loss) < float(agreement(InfoNce(temperature=0.05))(z, z.flip(0))[0])


def test_embeddings_that_are_all_the_same_cost_vicreg_its_whole_variance():
    same = torch.ones(16, 6)
    loss, terms = agreement(Vicreg(invariance=25, variance=25, covariance=0))(same, same)
    assert float(terms["invariance"]) == 0
    assert float(loss) == pytest.approx(0.5 * 0.99)


@pytest.mark.parametrize("term", ["invariance", "variance"])
def test_a_loss_that_one_embedding_for_all_would_please_is_refused(term):
    with pytest.raises(SpecError, match=f"{term}=0"):
        validate(Vicreg, {term: 0.0})


# ---- training ----


def shared_rhythm(n: int = 128) -> torch.Tensor:
    """The frequency is the same in all sensors of a window; phases and noise are not."""
    rng = np.random.default_rng(0)
    hz, phase = rng.uniform(2, 12, (n, 1, 1)), rng.uniform(0, 2 * np.pi, (n, 3, 1))
    x = np.sin(2 * np.pi * hz * np.arange(48) / 50 + phase) + 0.3 * rng.normal(size=(n, 3, 48))
    return torch.from_numpy(x.astype(np.float32))


def loss_of(task, masks, x, index):
    return task(x[index], masks)[0]


def spread_after(task: CrossmodalTask, optim: Optim) -> float:
    x, masks = shared_rhythm(), generator()
    for _ in Training(
        task,
        partial(loss_of, task, masks, x),
        shuffled(128, 32, np.random.default_rng(0)),
        optim,
        60,
        4,
    ).rounds():
        pass
    return float(task.eval()(x, generator())[1]["embedding_std"])


@pytest.mark.slow
def test_vicreg_keeps_embeddings_apart_and_without_its_variance_they_collapse():
    kept = spread_after(task_of(), Optim(lr=3e-3))
    collapsed = task_of(loss=Vicreg(invariance=25, variance=1e-6, covariance=0))
    gone = spread_after(collapsed, Optim(lr=3e-3))
    assert gone < 0.1 < 0.4 < kept
    assert collapsed.complaint({"val/embedding_std": gone * 0 + 0.001}) is not None
    assert collapsed.complaint({"val/embedding_std": kept}) is None


def test_spread_is_nothing_for_equal_and_one_for_centred_embeddings():
    z = torch.randn(400, 6, generator=generator())
    assert float(relative_spread(torch.ones(9, 6))) == 0
    assert float(relative_spread(z)) == pytest.approx(1, abs=0.02)
    assert float(relative_spread(7 * z)) == pytest.approx(float(relative_spread(z)))


# ---- each sensor for itself ----


def test_reconstruction_on_a_crossmodal_encoder_is_of_each_sensor_alone():
    with seeded(0):
        encoder = Model(encoder=CONV).build(CTX)
        task = Masked().build(CTX, encoder)
    assert isinstance(task, EachSensor)
    x = shared_rhythm(8)
    x[:3, 1] = float("nan")
    x[:, 2] = float("nan")
    loss, metrics = task(x, generator())
    loss.backward()
    assert loss.isfinite()
    assert set(metrics) == {"hidden_mse"}
    learns = {
        name
        for name, p in encoder.named_parameters()
        if p.grad is not None and bool(p.grad.abs().sum() > 0)
    }
    assert {name.split(".")[1] for name in learns} == {"ecg", "eeg"}
    assert not [name for name, p in task.named_parameters() if p.requires_grad and p.grad is None]
