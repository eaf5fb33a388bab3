"""Parts of a head against numpy: what of a window and of its tokens the linear layer reads."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from citrus_ray.context import SignalContext
from citrus_ray.models.head import Head
from citrus_ray.models.nets.classifier import Classifier
from citrus_ray.models.nets.encoder import Encoder
from citrus_ray.models.nets.heads import FeatureHead
from citrus_ray.models.nets.parts import ChannelCovariance, HeadParts, overlaps, spectral_bands
from citrus_ray.models.specs import ENCODERS, KINDS, Conv
from citrus_ray.training.loop import seeded
from tests.small import registered

CTX = SignalContext(n_chans=4, n_times=64, sfreq=50.0, n_outputs=3, modalities=("eeg",) * 4)
CONV = Conv(dim=8, strides=(2, 2))
EVERY = Head(moments=True, bins=4, power=True, covariance=True)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X = noise(20, 4, 64) * torch.linspace(0.3, 3, 20)[:, None, None]


def encoder_of(ctx: SignalContext = CTX) -> Encoder:
    with seeded(0):
        return CONV.build(ctx).eval()


def blocks(head: Head, x: torch.Tensor = X, ctx: SignalContext = CTX, pool: str = "mean"):
    """Features of each part, fitted on the same windows, as arrays."""
    encoder = encoder_of(ctx)
    parts = HeadParts(encoder, ctx, pool, head)
    parts.fit([x[:7], x[7:]])
    found = parts(encoder, x).detach().split(parts.sizes, dim=1)
    return [block.double().numpy() for block in found]


def test_without_parts_a_head_reads_what_it_always_read() -> None:
    for pool, want in (("mean", "summary"), ("channels", "rows")):
        rows = getattr(encoder_of(), want)(X).detach()
        plain = rows.mean(dim=1) if pool == "mean" else rows.flatten(1)
        (found, _) = blocks(Head(power=True), pool=pool)
        assert np.allclose(found, plain.numpy(), atol=1e-6)


def test_moments_are_mean_and_log_variance_of_tokens_before_the_last_norm() -> None:
    encoder = encoder_of()
    tokens, unnormed = (of.detach().double().numpy() for of in encoder.tokens(X))
    assert np.array_equal(tokens, encoder(X).detach().double().numpy())
    mean, variance = blocks(Head(moments=True))
    assert np.allclose(mean, tokens.mean(axis=2).mean(axis=1), atol=1e-5)
    want = np.log(unnormed.var(axis=2) + 1e-5).mean(axis=1)
    assert np.allclose(variance, want, atol=1e-4)


@pytest.mark.parametrize("kind", registered(ENCODERS), ids=lambda kind: kind.__name__)
def test_what_an_encoder_offers_without_its_norm_becomes_its_tokens_by_it(kind) -> None:
    """And holds how strong the signal was, where the encoder's tokens do not."""
    spec = kind()
    if spec.multimodal:
        pytest.skip("heads have no parts on it")
    ctx = replace(CTX, n_times=96)
    with seeded(0):
        encoder = spec.build(ctx).eval()
    tokens, unnormed = encoder.tokens(noise(2, 4, 96))
    assert torch.equal(tokens, encoder(noise(2, 4, 96)))
    norms = [m for m in encoder.modules() if isinstance(m, torch.nn.LayerNorm)]
    if norms and norms[-1].normalized_shape == (encoder.dim,):
        assert torch.allclose(norms[-1](unnormed), tokens, atol=1e-5)
        assert not torch.allclose(unnormed, tokens, atol=0.1)


def test_bins_are_means_over_stretches_of_time_in_order() -> None:
    tokens = encoder_of()(X).detach().double().numpy()  # (B, C, 16, D)
    (found,) = blocks(Head(bins=4), pool="channels")
    want = tokens.reshape(20, 4, 4, 4, 8).mean(axis=3)  # (B, C, bins, D)
    assert np.allclose(found, want.reshape(20, -1), atol=1e-5)


def test_a_token_that_lies_in_two_bins_counts_in_both_by_its_share() -> None:
    want = [[4, 2, 0], [0, 2, 4]]
    assert torch.allclose(overlaps(3, 4, (0, 12), 2), torch.tensor(want) / 6)
    assert torch.allclose(overlaps(3, 4, (2, 12), 1), torch.tensor([[2.0, 4, 4]]) / 10)


def test_padding_is_in_no_bin_no_moment_and_no_power() -> None:
    ctx = replace(CTX, padding=(16, 16))
    changed = X.clone()
    changed[..., :16] += 7
    changed[..., 48:] -= 5
    power, covariance = (2, 3)
    found, other = (blocks(EVERY, x, ctx) for x in (X, changed))
    assert np.allclose(found[power], other[power], atol=1e-5)
    assert np.allclose(found[covariance], other[covariance], atol=1e-5)
    (whole,) = blocks(Head(bins=2), X, ctx)
    tokens = encoder_of()(X).detach().double().numpy()[:, :, 4:12]
    assert np.allclose(
        whole, tokens.reshape(20, 4, 2, 4, 8).mean((1, 3)).reshape(20, -1), atol=1e-5
    )


def test_power_is_the_log_variance_and_log_means_of_the_spectrum() -> None:
    _, found = blocks(Head(power=True), pool="channels")
    x = X.double().numpy()
    x = x - x.mean(axis=-1, keepdims=True)
    taper = np.hanning(65)[:64]
    lines = np.abs(np.fft.rfft(x * taper)) ** 2 / (taper**2).sum()  # (B, C, 33)
    edges = np.unique(np.round(33 ** (np.arange(9) / 8)).astype(int))
    bands = [lines[..., a:b].mean(-1) for a, b in itertools.pairwise(edges)]
    want = np.log(np.stack([x.var(axis=-1), *bands], axis=-1) + 1e-5)
    assert np.allclose(found, want.reshape(20, -1), atol=1e-3)
    _, mean = blocks(Head(power=True))
    assert np.allclose(mean, want.mean(axis=1), atol=1e-3)


def test_bands_hold_every_line_of_the_spectrum_but_the_level_once() -> None:
    for n_times in (8, 62, 250, 1024):
        bands = spectral_bands(n_times)
        assert torch.equal((bands[1:] > 0).sum(dim=1), torch.ones(n_times // 2).long())
        assert not bands[0].any()
        assert torch.allclose(bands.sum(dim=0), torch.ones(bands.shape[1]))


def test_covariance_is_a_matrix_logarithm_seen_from_the_mean_of_labelled_windows() -> None:
    from scipy.linalg import inv, logm, sqrtm

    _, found = blocks(Head(covariance=True))
    shrunk = []
    for x in X.double().numpy():
        cov = np.cov(x, bias=True)
        shrunk.append(0.9 * cov + (0.1 * np.trace(cov) / 4 + 1e-5) * np.eye(4))
    white = inv(sqrtm(np.mean(shrunk, axis=0)))
    i, j = np.triu_indices(4)
    for features, cov in zip(found, shrunk, strict=True):
        want = logm(white @ cov @ white)[i, j] * np.where(i == j, 1, np.sqrt(2))
        assert features == pytest.approx(want, abs=1e-3)


def test_delayed_copies_stand_beside_the_channels_of_a_covariance() -> None:
    part = ChannelCovariance(CTX, (8, 1, 2, 4, 32))
    assert part.delays == (0, 1, 2, 4, 8)  # 20 rows of 4 channels, and none beyond a quarter
    rows = part.rows_of(X[:, :, None]).squeeze(2).numpy()
    x = X.numpy()
    assert np.array_equal(rows, np.concatenate([x[..., d : d + 56] for d in part.delays], axis=1))
    one = replace(CTX, n_chans=1, modalities=("eeg",))
    assert ChannelCovariance(one, (1, 2, 4, 8, 16)).n_features == 6 * 7 // 2
    assert ChannelCovariance(one).n_features == 1
    with pytest.raises(ValueError, match="give covariance: true"):
        Head(delays=(1,))


def test_a_delayed_copy_tells_rhythms_of_one_channel_apart() -> None:
    t, one = torch.arange(64), replace(CTX, n_chans=1, modalities=("eeg",))
    slow, fast = (torch.sin(2 * torch.pi * f * t + noise(30, 1, 1)) for f in (0.05, 0.2))
    x = torch.cat([slow, fast])
    _, alone = blocks(Head(covariance=True), x, one)
    _, delayed = blocks(Head(covariance=True, delays=(1, 2)), x, one)
    gaps = [
        abs(f[:30].mean(axis=0) - f[30:].mean(axis=0)) / f.std(axis=0) for f in (alone, delayed)
    ]
    assert gaps[0].max() < 0.5
    assert gaps[1].max() > 1.5


def test_of_many_channels_with_copies_the_principal_axes_are_read() -> None:
    many = replace(CTX, n_chans=40, modalities=("eeg",) * 40)
    x = noise(30, 40, 64) * torch.linspace(0.01, 3, 40)[:, None]
    part = ChannelCovariance(many, (1,))
    part.fit([x])
    assert part.axes is not None
    assert part.n_features == 32 * 33 // 2
    # the quietest channels are those that go
    assert part.axes[:4].square().sum() < 0.05 * part.axes.square().sum()
    assert part(x).isfinite().all()


def test_the_segments_of_a_channel_follow_each_other_in_time() -> None:
    """Of two channels in two segments each: C0#0, C0#1, C1#0, C1#1."""
    ctx = replace(CTX, n_segments=2)
    tokens = encoder_of()(X).detach().double().numpy()
    joined = tokens.reshape(20, 2, 2 * 16, 8)
    (found,) = blocks(Head(segments="joined"), X, ctx, "channels")
    assert np.allclose(found, joined.mean(axis=2).reshape(20, -1), atol=1e-5)
    found, variance = blocks(Head(segments="joined", bins=8, moments=True), X, ctx, "channels")
    assert np.allclose(
        found, joined.reshape(20, 2, 8, 4, 8).mean(axis=3).reshape(20, -1), atol=1e-5
    )
    assert variance.shape == (20, 2 * 8)


def test_fitted_features_are_standard_clipped_and_weighed_by_their_number() -> None:
    head = FeatureHead((8, 256, 4), 1, 3)
    features = noise(30, 268, seed=2) * 9 + 4
    features[:, 266] = 5.0  # one that does not vary
    head.fit(features)
    normed, wide, narrow = torch.split(head.norm(features), list(head.sizes), dim=1)
    assert torch.allclose(normed.mean(dim=1), torch.zeros(30), atol=1e-5)
    assert torch.allclose(wide.mean(dim=0), torch.zeros(256), atol=1e-5)
    assert torch.allclose(wide.std(dim=0, correction=0), torch.tensor(0.5))  # sqrt(64 / 256)
    assert torch.allclose(narrow[:, 0].std(correction=0), torch.tensor(1.0))
    other = features.clone()
    other[:, 266] += 3
    assert not head.norm(other)[:, 266].any()
    far = head.norm(features * 1e4)
    assert float(far[:, 8:264].abs().max()) == pytest.approx(3.0)
    assert float(far[:, 264:].abs().max()) == 6.0


def test_the_encoders_features_have_a_norm_of_their_own_or_the_scale_of_labelled_windows() -> None:
    for standardise in (False, True):
        head = Head(power=True, standardise=standardise)
        classifier = Classifier(encoder_of(), CTX, "mean", head)
        classifier.fit([X])
        seen = classifier.head.norm(classifier.features(X))[:, :8]
        over = seen.mean(dim=0 if standardise else 1)
        assert torch.allclose(over, torch.zeros_like(over), atol=1e-5)


@pytest.mark.parametrize(("how", "pool"), [("siamese", "mean"), ("bilinear", "channels")])
def test_a_head_of_pairs_compares_what_the_encoder_makes_of_each_alone(how, pool) -> None:
    ctx = replace(CTX, n_parts=2)
    classifier = Classifier(encoder_of(ctx), ctx, pool, Head(pairs=how))
    classifier.fit([X])
    a, b = (classifier.encoder.rows(half) for half in X.chunk(2, dim=2))
    rows = (a - b).abs() if how == "siamese" else a * b
    want = rows.mean(dim=1) if pool == "mean" else rows.flatten(1)
    found = classifier.features(X)
    assert torch.allclose(found, want, atol=1e-5)
    seen = classifier.head.norm(found)  # a norm over features would take how far they are apart
    assert torch.allclose(seen.mean(dim=0), torch.zeros(seen.shape[1]), atol=1e-4)
    assert "these are single windows" in (Head(pairs=how).misfit(CONV, CTX) or "")
    assert "fewer than a token" in (Head(pairs=how).misfit(CONV, replace(ctx, n_times=6)) or "")


def test_a_head_of_pairs_has_no_parts_over_time() -> None:
    with pytest.raises(ValueError, match="compares one summary of A with one of B"):
        Head(pairs="siamese", bins=2)


@pytest.mark.parametrize("standardise", [False, True])
def test_gradients_reach_the_encoder_through_its_parts_and_not_through_the_window(
    standardise,
) -> None:
    for head in (Head(moments=True), Head(bins=4), EVERY):
        head = head.model_copy(update={"standardise": standardise})
        classifier = Classifier(encoder_of(), CTX, "channels", head)
        classifier.fit([X])
        classifier.train()
        torch.nn.functional.cross_entropy(classifier(X), torch.arange(20) % 3).backward()  # type: ignore[no-untyped-call]
        dead = [
            n for n, p in classifier.named_parameters() if p.grad is None or not p.grad.abs().sum()
        ]
        assert not dead
    x = X.clone().requires_grad_()
    parts = HeadParts(encoder_of(), CTX, "mean", Head(power=True, covariance=True))
    learnt, *fixed = parts(encoder_of(), x).split(parts.sizes, dim=1)
    assert learnt.requires_grad
    torch.cat(fixed, dim=1).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is None or not x.grad.any()


@pytest.mark.parametrize(
    ("head", "model", "rule"),
    [
        (Head(bins=17), CONV, "bins=17: a window has 16 tokens; at most 16 does"),
        (Head(segments="joined"), KINDS("sequence"), "sequence reads all channels, segments too"),
        (Head(power=True), KINDS("crossmodal"), "crossmodal has sensors"),
    ],
)
def test_a_head_that_means_nothing_says_why(head, model, rule) -> None:
    assert rule in (head.misfit(model, CTX) or "")
    assert Head().misfit(model, CTX) is None


def test_segments_in_a_row_hold_more_bins() -> None:
    ctx = replace(CTX, n_segments=2)
    assert Head(bins=32, segments="joined").misfit(CONV, ctx) is None
    assert "16 tokens" in (Head(bins=32).misfit(CONV, ctx) or "")
