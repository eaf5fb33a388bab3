"""TS2Vec and SimMTM: what is seen, what is told apart, and what chance would give."""

import math
from typing import Any

import pytest
import torch

from citrus_ray.models.specs import KINDS, Conv, Crossmodal
from citrus_ray.tasks.losses.contrast import SimMtmTask, Ts2VecTask
from citrus_ray.tasks.specs import SimMtm, Ts2Vec
from citrus_ray.testing.tasks import CTX, generator, rhythms
from citrus_ray.training.loop import seeded

ENCODER = Conv(dim=16, strides=(2, 2))


def task_of(spec: Ts2Vec | SimMtm) -> Any:
    with seeded(0):
        return spec.build(CTX, ENCODER.build(CTX)).eval()


@pytest.mark.parametrize("overlap", [0.1, 0.5, 0.9])
def test_both_contexts_hold_the_stretch_and_each_sees_its_own_side_alone(overlap):
    task: Ts2VecTask = task_of(Ts2Vec(overlap=overlap, ratio=0.0))
    (first, second), at = task._contexts(rhythms(200), generator())
    n = 24
    assert first.shape == second.shape == (200, 2, n)
    assert at.shape == (200, round(overlap * n))
    assert at.min() >= 0
    assert at.max() < n
    assert not first[:, 0].gather(1, at).any()
    assert not second[:, 0].gather(1, at).any()
    moments = torch.arange(n)
    assert first[:, 0][moments > at[:, -1:]].all()
    assert second[:, 0][moments < at[:, :1]].all()
    assert len(set(at[:, 0].tolist())) > 1
    assert (first != second).any()


def test_a_context_hides_moments_by_chance_and_sees_one_at_least():
    task: Ts2VecTask = task_of(Ts2Vec(overlap=0.5, ratio=0.9))
    (first, second), _ = task._contexts(rhythms(300), generator())
    assert (~first).any(dim=-1).all()
    assert (~second).any(dim=-1).all()
    assert 0.85 < first.float().mean() < 0.98


def test_of_moments_that_look_the_same_the_loss_is_that_of_chance():
    """At 4 moments of 3 windows: scales of 4, 2 and 1."""
    task: Ts2VecTask = task_of(Ts2Vec(weight=0.25))
    loss, terms = task._over_scales(torch.zeros(3, 4, 8), torch.zeros(3, 4, 8))
    windows, moments = math.log(2 * 3 - 1), (math.log(7) + math.log(3)) / 2
    assert float(terms["windows"]) == pytest.approx(windows)
    assert float(terms["moments"]) == pytest.approx(moments)
    assert float(loss) == pytest.approx(0.25 * windows + 0.75 * moments)


def test_moments_that_are_known_again_cost_next_to_nothing():
    task: Ts2VecTask = task_of(Ts2Vec(temperature=0.05))
    apart = torch.eye(8).view(2, 4, 8)
    assert float(task._contrast(apart, apart)) < 1e-6
    assert float(task._contrast(apart, apart.roll(1, dims=1))) > 10


def test_samples_that_are_seen_in_both_contexts_beat_chance():
    task, x = task_of(Ts2Vec(ratio=0.2)), rhythms(32)
    found = task.references(x, generator())(x, generator(1))
    assert found["signal"] < found["constant"]


def test_views_of_a_window_are_told_from_others_or_not():
    task: SimMtmTask = task_of(SimMtm(views=2))
    n = 3 * 5
    nothing = task._among_others(torch.zeros(1, n, n))
    assert float(task._apart(nothing, 5)) == pytest.approx(math.log(14 / 2))
    window = torch.arange(n) % 5
    perfect = torch.where(window == window[:, None], 50.0, 0.0)[None]
    assert float(task._apart(task._among_others(perfect), 5)) < 1e-6


def test_a_window_is_put_together_from_others_and_never_from_itself():
    task: SimMtmTask = task_of(SimMtm(views=1))
    tokens = torch.randn(4, 2, 24, 16, generator=generator())
    alike = task._among_others(torch.randn(2, 4, 4, generator=generator(1)))
    before = task._rebuilt(alike, tokens)
    own, view = tokens.clone(), tokens.clone()
    own[0] += 5
    view[2] += 5  # the masked view of the first window
    assert torch.equal(task._rebuilt(alike, own)[0], before[0])
    assert not torch.allclose(task._rebuilt(alike, view)[0], before[0])


def test_the_window_itself_is_whole_and_its_views_are_not():
    task: SimMtmTask = task_of(SimMtm(views=3, ratio=0.25))
    hidden = task._hidden(rhythms(5), generator())
    assert hidden.shape == (4 * 5, 2, 24)
    assert not hidden[:5].any()
    assert (hidden[5:].sum(dim=-1) == 6).all()


@pytest.mark.parametrize("cls", [None, "tests.models.mixing:MixNet"])
def test_windows_that_are_put_together_from_samples_beat_the_mean_patch(cls):
    encoder = KINDS({"kind": "custom", "cls": cls}) if cls else ENCODER
    task = SimMtm().build(CTX, encoder.build(CTX)).eval()
    x = rhythms(32)
    found = task.references(x, generator())
    assert found is not None
    losses = found(x, generator(1))
    assert losses["signal"] < losses["constant"]


@pytest.mark.parametrize("spec", [Ts2Vec(), SimMtm()])
def test_tokens_that_collapse_end_the_training(spec):
    task = task_of(spec)
    assert task.complaint({"val/token_std": 0.5}) is None
    assert "collapsed" in task.complaint({"val/token_std": 0.001})
    with torch.no_grad():
        for p in task.encoder.parameters():
            p.zero_()
    assert task(rhythms(8), generator())[1]["token_std"] < 0.01


@pytest.mark.parametrize("spec", [Ts2Vec(), SimMtm()])
def test_sensors_are_refused(spec):
    said = spec.misfit(Crossmodal(), CTX)
    assert said is not None
    assert "take `crossmodal`" in said
