"""`kind: sequence`: [CLS] A [SEP] B, a token per volume."""

from dataclasses import replace

import pytest
import torch

from citrus_ray.context import SignalContext
from citrus_ray.models import AnyEncoder
from citrus_ray.models.nets.sequence import SequenceEncoder
from citrus_ray.models.specs import Sequence
from citrus_ray.spec import Spec, SpecError, validate
from citrus_ray.training.loop import seeded

WINDOW = SignalContext(n_chans=6, n_times=5, sfreq=0.5, modalities=("fmri",) * 6)
PAIR = replace(WINDOW, n_times=10, n_parts=2)


class Holder(Spec):
    model: AnyEncoder


def built(ctx: SignalContext, **edits: object) -> SequenceEncoder:
    with seeded(0):
        encoder = validate(Sequence, {"dim": 16, "heads": 2} | edits).build(ctx).eval()
    assert isinstance(encoder, SequenceEncoder)
    return encoder


def x_of(ctx: SignalContext, n: int = 3) -> torch.Tensor:
    return torch.randn(n, ctx.n_chans, ctx.n_times, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("ctx", "n_tokens"), [(WINDOW, 6), (PAIR, 12)])
def test_special_tokens_come_first_and_between(ctx, n_tokens):
    encoder, x = built(ctx), x_of(ctx)
    inside = encoder._tokens(x, None)
    assert inside.shape == (3, n_tokens, 16)
    volumes = [i for i in range(n_tokens) if i not in ((0, 6) if ctx is PAIR else (0,))]
    assert torch.equal(encoder(x)[:, 0], inside[:, volumes])
    assert torch.equal(encoder.summary(x), inside[:, :1])


def test_a_token_without_a_volume_is_what_it_was_given():
    """With positions and blocks out of the way, what goes in is [CLS] A [SEP] B plus the segment
    of each."""
    encoder, x = built(PAIR), x_of(PAIR)
    seen = []
    encoder.transformer.unnormed = lambda tokens, hidden, n_chans: seen.append(tokens) or tokens  # type: ignore
    encoder(x)
    assert encoder.embed is not None
    assert encoder.sep is not None
    assert encoder.segments is not None
    volumes = encoder.embed(x.transpose(1, 2))
    cls, sep = ((p + encoder.segments[0]).expand(3, 1, 16) for p in (encoder.cls, encoder.sep))
    expected = [
        cls,
        volumes[:, :5] + encoder.segments[0],
        sep,
        volumes[:, 5:] + encoder.segments[1],
    ]
    torch.testing.assert_close(seen[0], torch.cat(expected, dim=1))


def test_the_order_of_a_and_b_matters():
    encoder, x = built(PAIR), x_of(PAIR)
    assert not torch.allclose(
        encoder.summary(x), encoder.summary(torch.cat([x[..., 5:], x[..., :5]], dim=2))
    )


def test_every_voxel_reaches_every_token():
    encoder, x = built(PAIR), x_of(PAIR, 1).requires_grad_()
    for token in range(10):
        (slope,) = torch.autograd.grad(
            encoder(x)[0, 0, token].sum() + encoder(x)[0, 0, token, 0], x
        )
        assert (slope[0].abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("summary", ["cls", "mean"])
def test_halves_are_read_alone_as_the_window_that_the_weights_go_to_reads_them(summary):
    encoder, single = built(PAIR, summary=summary), built(WINDOW, summary=summary)
    single.load_state_dict(single.adopted(encoder.state_dict())[0])
    x = x_of(PAIR)
    for half, found in zip((x[..., :5], x[..., 5:]), encoder.halves(x), strict=True):
        torch.testing.assert_close(found, single.rows(half))


def test_the_mean_over_volumes_can_be_read_instead():
    encoder, x = built(PAIR, summary="mean"), x_of(PAIR)
    torch.testing.assert_close(encoder.summary(x), encoder(x).mean(dim=2))


def test_without_a_projection_the_voxels_are_the_token():
    encoder = built(PAIR, project=False)
    assert encoder.embed is None
    assert torch.equal(encoder._read(torch.ones(1, 2, 6))[..., :6], torch.ones(1, 2, 6))
    assert not encoder._read(torch.ones(1, 2, 6))[..., 6:].any()


def test_the_published_size_is_a_preset():
    """3 layers of 2 heads at width 420 and 4 times that inside: 2,122,260 parameters a layer, no
    input layer."""
    spec = validate(Holder, {"model": {"kind": "sequence", "preset": "published"}}).model
    assert isinstance(spec, Sequence)
    assert (spec.dim, spec.layers, spec.heads, spec.project) == (420, 3, 2, False)
    encoder = spec.build(replace(PAIR, n_chans=417))
    assert isinstance(encoder, SequenceEncoder)
    assert sum(p.numel() for p in encoder.transformer.blocks.parameters()) == 3 * 2_122_260


@pytest.mark.parametrize(
    ("edits", "ctx", "said"),
    [
        ({"max_tokens": 11}, PAIR, "max_tokens=11: a window has 12 tokens"),
        ({"project": False, "dim": 4}, PAIR, "dim=4 must be at least as many"),
        ({}, replace(WINDOW, n_times=1), "at least 2 patches"),
    ],
)
def test_signals_that_do_not_fit_are_refused(edits, ctx, said):
    complaint = validate(Sequence, {"heads": 2} | edits).check(ctx)
    assert complaint is not None
    assert said in complaint


def test_modalities_of_channels_that_share_a_token_are_refused():
    with pytest.raises(SpecError, match="a token holds all channels"):
        validate(Sequence, {"modality": True})
