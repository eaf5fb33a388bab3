"""Attention with rows side by side: its gradients against autograd's, and blocks against
themselves as they are without it."""

import pytest
import torch

from citrus_ray.context import SignalContext
from citrus_ray.models.nets import attention, blocks
from citrus_ray.models.nets.attention import cross_attention, place_turns, self_attention, turned
from citrus_ray.models.specs import EncoderSpec, Patch
from citrus_ray.spec import validate
from citrus_ray.tasks.losses import reconstruction
from citrus_ray.tasks.specs import Masked
from citrus_ray.training.loop import seeded

MANY = SignalContext(n_chans=4, n_times=160, sfreq=100.0, modalities=("eeg",) * 4)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("places", [None, torch.arange(3), torch.tensor([[0, 5, 2], [4, 1, 7]])])
@pytest.mark.parametrize("drops", [False, True])
def test_gradients_of_attention_that_are_written_out_are_those_of_differences(places, drops):
    x, weight, bias = numbers(3, 2, 8), numbers(24, 8, seed=1), numbers(24, seed=2)
    turns = None if places is None else place_turns(places, 4)
    keep = numbers(2, 1, 3, 2, seed=3).detach() if drops else None
    assert torch.autograd.gradcheck(
        lambda x, w, b: self_attention(x, w, b, 2, turns, keep), (x, weight, bias)
    )


def test_gradients_of_questions_and_turns_are_those_of_differences():
    q, k, v = numbers(2, 4, 3, 5), numbers(2, 4, 2, 5, seed=1), numbers(2, 4, 2, 5, seed=2)
    assert torch.autograd.gradcheck(cross_attention, (q, k, v))
    turns = place_turns(torch.tensor([[0, 5, 2]] * 4 + [[1, 6, 3]]), 4)
    assert torch.autograd.gradcheck(lambda x: turned(x, turns), (q,))


@pytest.mark.parametrize("n_keys", [2, 3])
def test_it_is_attention_as_pytorch_has_it(n_keys):
    q, k, v = numbers(2, 4, 3, 5), numbers(2, 4, n_keys, 5, seed=1), numbers(2, 4, n_keys, 5)
    queries, keys, values = (of.permute(3, 0, 2, 1) for of in (q, k, v))
    theirs = torch.nn.functional.scaled_dot_product_attention(queries, keys, values)
    torch.testing.assert_close(cross_attention(q, k, v).permute(3, 0, 2, 1), theirs)


@pytest.mark.parametrize(
    "spec", [Patch(dropout=0.2), Patch(positions="learned"), Patch(dim=32, heads=2, dropout=0.0)]
)
@pytest.mark.parametrize("encode", ["all", "visible"])
def test_a_step_side_by_side_is_the_step_one_by_one(spec, encode, monkeypatch):
    found = []
    for on in (True, False):
        if not on:
            for module in (blocks, reconstruction):
                monkeypatch.setattr(module, "side_by_side", lambda *_: False)
        found.append(_first_step(spec, encode))
    (ours, gradients), (loss, expected) = found
    torch.testing.assert_close(ours, loss, rtol=1e-5, atol=0)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-6, msg=name)


def _first_step(spec: EncoderSpec, encode: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    x = torch.randn(20, 4, 160, generator=torch.Generator().manual_seed(1))
    with seeded(0):
        task = validate(Masked, {"encode": encode}).build(MANY, spec.build(MANY)).train()
    with seeded(5):  # the same draws of what is dropped
        loss = task(x, torch.Generator().manual_seed(2))[0]
    loss.backward()
    named = task.named_parameters()
    return loss.detach(), {name: p.grad for name, p in named if p.grad is not None}


def test_it_is_for_few_tokens_of_many_rows_in_single_precision():
    assert attention.side_by_side(torch.zeros(1), 6, 6, 250)
    assert not attention.side_by_side(torch.zeros(1), 64, 64, 250)
    assert not attention.side_by_side(torch.zeros(1), 6, 6, 8)
    assert not attention.side_by_side(torch.zeros(1, dtype=torch.bfloat16), 6, 6, 250)
    with torch.autocast("cpu", torch.bfloat16):
        assert not attention.side_by_side(torch.zeros(1), 6, 6, 250)
