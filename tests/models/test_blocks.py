"""The transformer: against PyTorch's own, its positions, its modalities, its presets."""

import typing

import pytest
import torch
from torch import nn

from citrus_ray.context import MODALITIES, MODALITY_SLOTS, SignalContext, modality_slot
from citrus_ray.models import AnyEncoder
from citrus_ray.models.nets.blocks import Block, apply_rope, rope_turns
from citrus_ray.models.nets.dropout import dropped
from citrus_ray.models.specs import ENCODERS, Citrus, EncoderSpec, Patch
from citrus_ray.spec import Spec, SpecError, validate
from citrus_ray.training.loop import seeded
from tests.small import registered

CTX = SignalContext(n_chans=2, n_times=160, sfreq=100.0, modalities=("eeg", "ecg"))


class Holder(Spec):
    model: AnyEncoder


def model_of(value: object) -> EncoderSpec:
    return validate(Holder, {"model": value}).model


def signals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def copied_to_pytorch(blocks: list[Block]) -> nn.TransformerEncoder:
    """PyTorch's pre-norm encoder with the weights of ours."""
    dim, hidden = blocks[0].out.in_features, len(blocks[0].mlp[0].weight)  # type: ignore[arg-type]
    layer = nn.TransformerEncoderLayer(
        dim, blocks[0].heads, hidden, 0.0, "gelu", batch_first=True, norm_first=True
    )
    theirs = nn.TransformerEncoder(layer, len(blocks), enable_nested_tensor=False)
    for block, other in zip(blocks, theirs.layers, strict=True):
        pairs = {
            "self_attn.in_proj_weight": block.qkv.weight,
            "self_attn.in_proj_bias": block.qkv.bias,
            "self_attn.out_proj": block.out,
            "linear1": block.mlp[0],
            "linear2": block.mlp[3],
            "norm1": block.norm1,
            "norm2": block.norm2,
        }
        state: dict[str, typing.Any] = {}
        for name, source in pairs.items():
            parts = source.state_dict() if isinstance(source, nn.Module) else {"": source}
            state |= {f"{name}.{key}".rstrip("."): value for key, value in parts.items()}
        other.load_state_dict(state)
    return theirs.eval()


def test_blocks_without_positions_are_pytorchs_transformer_encoder():
    with seeded(0):
        blocks = [Block(24, 4, 48, dropout=0.1).eval() for _ in range(3)]
    x = signals(5, 11, 24)
    ours = x
    for block in blocks:
        ours = block(ours)
    torch.testing.assert_close(ours, copied_to_pytorch(blocks)(x), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(ours, x, atol=0.1)


def test_rotary_products_hang_on_distance_alone():
    q, k = signals(1, 1, 1, 8), signals(1, 1, 1, 8, seed=1)
    turns = rope_turns(torch.arange(30), 8)[:, 0]

    def product(i: int, j: int) -> torch.Tensor:
        return (apply_rope(q, turns[i]) * apply_rope(k, turns[j])).sum()

    torch.testing.assert_close(product(3, 7), product(20, 24), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(product(3, 7), product(3, 9), atol=1e-3)


@pytest.mark.parametrize(
    "places", [torch.arange(5), torch.tensor([[4, 0, 7, 2, 1], [3, 8, 5, 9, 6]])]
)
def test_stored_weights_have_the_two_features_of_a_pair_half_a_head_apart(places):
    """However they lie while they are apply_rope: an encoder that was stored before must mean
    what it meant."""
    block, x = Block(24, 3, 8, dropout=0.0).eval(), signals(2, 5, 24)
    q, k, v = block.qkv(x).view(2, 5, 3, 3, 8).permute(2, 0, 3, 1, 4)  # 3 x (R, H, N, D/H)
    speeds = 10_000 ** (-torch.arange(4) / 4)
    angles = (places.expand(2, 5)[..., None] * speeds)[:, None]

    def as_published(one: torch.Tensor) -> torch.Tensor:
        a, b = one[..., :4], one[..., 4:]
        return torch.cat(
            [a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], dim=-1
        )

    weights = (as_published(q) @ as_published(k).transpose(2, 3) / 8**0.5).softmax(dim=-1)
    expected = block.out((weights @ v).transpose(1, 2).reshape(2, 5, 24))
    torch.testing.assert_close(
        block._attend(x, rope_turns(places, 8), None), expected, rtol=1e-4, atol=1e-5
    )
    assert not torch.allclose(block._attend(x, None, None), expected, atol=1e-2)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(p):
    with seeded(0):
        one, other = (dropped(torch.ones(100, 1001), p, (100, 1001)) for _ in range(2))
    assert set(one.flatten().tolist()) == {0.0, torch.tensor(1 / (1 - p)).item()}
    assert float((one == 0).float().mean()) == pytest.approx(p, abs=0.01)
    assert float(((one == 0) & (other == 0)).float().mean()) == pytest.approx(p * p, abs=0.01)
    with seeded(0):
        assert torch.equal(one, dropped(torch.ones(100, 1001), p, (100, 1001)))


def test_a_dropped_value_is_dropped_for_all_that_look_at_it_and_in_the_backward_pass():
    x = signals(3, 2, 5, 4).requires_grad_()
    with seeded(0):
        out = dropped(x, 0.5, (3, 2, 5, 1))
    out.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    gone = (out == 0).all(dim=-1)
    assert torch.equal(gone, (out == 0).any(dim=-1))
    assert 0 < int(gone.sum()) < gone.numel()
    assert torch.equal(x.grad, torch.where(gone, 0.0, 2.0)[..., None].expand_as(x))


def test_dropout_is_of_training_alone():
    encoder = Patch(dropout=0.5).build(CTX)
    x = signals(2, 2, 160)
    assert torch.equal(encoder.eval()(x), encoder(x))
    assert not torch.allclose(encoder.train()(x), encoder(x))


@pytest.mark.parametrize("kind", [Patch, Citrus])
@pytest.mark.parametrize("positions", ["rotary", "learned", "none"])
def test_positions_tell_the_order_of_patches_and_their_lack_does_not(kind, positions):
    with seeded(0):
        spec = kind(positions=positions, layers=1)
        spec = (
            spec.at({"conv.kernel": 3, "conv.strides": [16], "conv.depth": 1, "steps": 1})
            if kind is Citrus
            else spec
        )
        encoder = spec.build(CTX).eval()
    x = signals(1, 1, 10, spec.patch)
    order = torch.tensor([3, 0, 9, 1, 8, 2, 7, 4, 6, 5])
    if kind is Citrus:
        pytest.skip(
            "its convolutions see neighbours, whatever the positions"
        ) if positions == "none" else None
    one = encoder(x.flatten(2))
    other = encoder(x[:, :, order].flatten(2))
    same = torch.allclose(one[:, :, order], other, atol=1e-5)
    assert same == (positions == "none")


def test_learned_positions_end_where_their_table_ends():
    spec = Patch(positions="learned", max_tokens=9)
    assert "max_tokens=9: a window has 10 tokens" in str(spec.check(CTX))
    assert Patch(positions="learned", max_tokens=10).check(CTX) is None


@pytest.mark.parametrize("kind", [Patch, Citrus])
def test_a_modality_that_was_trained_moves_its_own_channels_alone(kind):
    with seeded(0):
        encoder = kind(modality=True).build(CTX).eval()
    x = signals(3, 2, 160)
    before = encoder(x)
    with torch.no_grad():
        encoder.transformer.kinds.weight[modality_slot("ecg")] += signals(encoder.dim)
    after = encoder(x)
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1], atol=1e-3)


def test_an_encoder_with_modalities_fits_signals_of_others():
    """Stored weights go into a model for another target: no shape hangs on the modalities at
    hand."""
    one = Patch(modality=True).build(CTX)
    other = Patch(modality=True).build(SignalContext(5, 160, 50.0, modalities=("motion",) * 5))
    other.load_state_dict(one.state_dict())
    with pytest.raises(ValueError, match=r"2 channels came in.*built for 5"):
        other(signals(1, 2, 160))


def test_there_is_room_for_modalities_to_come():
    assert len(set(MODALITIES)) == len(MODALITIES) < MODALITY_SLOTS
    assert modality_slot("nobody knows") == modality_slot("unknown") == 0


@pytest.mark.parametrize("kind", registered(ENCODERS), ids=lambda kind: kind.__name__)
def test_a_word_is_the_small_preset_and_base_is_larger(kind):
    word = kind.model_fields["kind"].default
    small, named, base = (
        model_of(v)
        for v in (word, {"kind": word, "preset": "small"}, {"kind": word, "preset": "base"})
    )
    assert small == named == kind()
    sizes = [sum(p.numel() for p in spec.build(CTX).parameters()) for spec in (small, base)]
    assert sizes[1] > 5 * sizes[0]
    assert model_of(base.tree()) == base  # written out, it needs no preset


def test_keys_go_over_those_of_a_preset_block_by_block():
    spec = model_of(
        {"kind": "citrus", "preset": "base", "layers": 3, "conv": {"kind": "conv", "dim": 48}}
    )
    assert isinstance(spec, Citrus)
    assert (spec.layers, spec.dim, spec.conv.dim, spec.conv.depth) == (3, 128, 48, 2)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ({"kind": "patch", "preset": "huge"}, "preset='huge': must be one of small, base"),
        ({"kind": "patch", "dim": 30, "heads": 4}, "heads=4: must divide dim=30"),
        (
            {"kind": "patch", "dim": 12, "heads": 4},
            "dim / heads = 3: must be even for rotary positions",
        ),
        (
            "patchy",
            "kind=\"patchy\": must be one of 'adapted', 'bank', 'braindecode', 'citrus', 'conv'",
        ),
    ],
)
def test_a_model_that_means_nothing_is_refused_with_the_way_out(value, rule):
    with pytest.raises(SpecError) as caught:
        model_of(value)
    assert rule in str(caught.value)


@pytest.mark.parametrize("kind", registered(ENCODERS), ids=lambda kind: kind.__name__)
def test_depths_hold_every_parameter_once(kind):
    encoder = kind().build(CTX)
    found = [p for depth in encoder.depths() for p in depth.parameters()]
    assert len(found) == len({id(p) for p in found})
    assert {id(p) for p in found} == {id(p) for p in encoder.parameters()}
    assert len(encoder.depths()) > 1
