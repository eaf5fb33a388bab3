"""What every encoder promises."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.encoder import Encoder
from citrus_ray.models.specs import KINDS, EncoderSpec
from citrus_ray.spec import validate
from citrus_ray.tasks.specs import KINDS as TASKS
from citrus_ray.testing.device import DEVICE, FakeDevice
from citrus_ray.training.loop import seeded

CTX = SignalContext(n_chans=3, n_times=256, sfreq=100.0, n_outputs=4, modalities=("eeg",) * 3)


def signals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def hidden_at(encoder: Encoder, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Random masks, (B, C, N), at least one token hidden and one visible in every row."""
    shape = (*x.shape[:2], encoder.n_tokens(x.shape[2]))
    hidden = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    hidden[..., 0], hidden[..., 1] = True, False
    return hidden


def shown_at(encoder: Encoder, x: torch.Tensor, count: int) -> torch.Tensor:
    """Random places, (B, C, count), in order."""
    if encoder.mixes_channels:
        pytest.skip(
            "a token of all channels is hidden in all of them, and tasks that read visible "
            "ones refuse it"
        )
    shape = (*x.shape[:2], encoder.n_tokens(x.shape[2]))
    order = torch.rand(shape, generator=torch.Generator().manual_seed(0)).argsort(dim=-1)
    return order[..., :count].sort(dim=-1).values


class EncoderContract:
    """Shapes, gradients, determinism, hidden samples that stay hidden, tokens that know their
    places."""

    block: Any  # as `model:` in a sweep

    @pytest.fixture
    def spec(self) -> EncoderSpec:
        found: EncoderSpec = KINDS(self.block)
        return found

    def build(self, spec: EncoderSpec, seed: int = 0, n_chans: int = 2) -> Encoder:
        """An encoder that mixes channels is built for their number; any other takes any."""
        with seeded(seed):
            return spec.build(replace(CTX, n_chans=n_chans, modalities=("eeg",) * n_chans)).eval()

    def test_a_spec_survives_its_tree_and_names_itself(self, spec: EncoderSpec) -> None:
        assert validate(type(spec), spec.tree()) == spec
        assert spec.tree()["kind"] == spec.kind

    @pytest.mark.parametrize("n_chans", [1, 3, 7])
    @pytest.mark.parametrize(("n_patches", "rest"), [(2, 0), (2, 1), (5, 3), (16, 0)])
    def test_any_channels_and_any_length_become_whole_patches_of_tokens(
        self, spec: EncoderSpec, n_chans: int, n_patches: int, rest: int
    ) -> None:
        encoder = self.build(spec, n_chans=n_chans)
        tokens = encoder(signals(2, n_chans, n_patches * encoder.patch + rest))
        n_rows = (
            1 if encoder.mixes_channels else n_chans
        )  # one row of tokens for all channels, or one for each
        n_patches += rest if encoder.patch == 1 else 0
        rest = 0 if encoder.patch == 1 else rest
        assert tokens.shape == (2, n_rows, n_patches, encoder.dim)
        assert encoder.n_tokens(n_patches * encoder.patch + rest) == n_patches
        assert tokens.dtype == torch.float32
        assert tokens.isfinite().all()

    def test_a_spec_and_its_encoder_agree_on_whether_channels_are_mixed(
        self, spec: EncoderSpec
    ) -> None:
        """And a channel reaches the tokens of others exactly where they are."""
        encoder = self.build(spec)
        assert encoder.mixes_channels == spec.mixes_channels
        x = signals(2, 2, 6 * encoder.patch)
        other = x.clone()
        other[:, 1] += signals(6 * encoder.patch, seed=1)
        assert torch.equal(encoder(x)[:, 0], encoder(other)[:, 0]) != encoder.mixes_channels

    def test_a_summary_is_a_vector_for_each_row_of_tokens(self, spec: EncoderSpec) -> None:
        encoder = self.build(spec)
        x = signals(3, 2, 6 * encoder.patch)
        summary = encoder.summary(x)
        assert summary.shape == (3, encoder(x).shape[1], encoder.dim)
        assert not torch.allclose(summary, encoder.summary(signals(*x.shape, seed=1)))

    def test_a_remainder_shorter_than_a_patch_is_left_out(self, spec: EncoderSpec) -> None:
        encoder = self.build(spec)
        if encoder.patch == 1:
            pytest.skip("a patch of one sample leaves no remainder")
        x = signals(1, 2, 6 * encoder.patch + 1)
        changed = x.clone()
        changed[..., -1] += 100
        assert torch.equal(encoder(x), encoder(changed))

    def test_samples_of_hidden_patches_never_reach_the_output(self, spec: EncoderSpec) -> None:
        encoder = self.build(spec)
        x = signals(3, 2, 9 * encoder.patch)
        hidden = hidden_at(encoder, x)
        noise = 100 * signals(*x.shape, seed=1) * hidden.repeat_interleave(encoder.patch, dim=-1)
        before = encoder(x, hidden)
        assert torch.equal(before, encoder(x + noise, hidden))
        assert not torch.allclose(encoder(x), encoder(x + noise)), (
            "without a mask the same samples must matter"
        )

    def test_visible_tokens_know_no_sample_of_another_patch(self, spec: EncoderSpec) -> None:
        encoder = self.build(spec)
        x = signals(3, 2, 9 * encoder.patch + 1)
        shown = shown_at(encoder, x, 4)
        hidden = torch.ones(3, 2, 9, dtype=torch.bool).scatter(-1, shown, False)
        behind = torch.nn.functional.pad(
            hidden.repeat_interleave(encoder.patch, dim=-1), (0, 1), value=True
        )
        tokens = encoder.visible(x, shown)
        assert tokens.shape == (3, 2, 4, encoder.dim)
        assert torch.equal(
            tokens, encoder.visible(x + 100 * signals(*x.shape, seed=1) * behind, shown)
        )
        assert not torch.allclose(
            tokens, encoder.visible(x + signals(*x.shape, seed=1) * ~behind, shown)
        )

    def test_where_all_is_visible_tokens_are_the_same(self, spec: EncoderSpec) -> None:
        encoder = self.build(spec)
        x = signals(3, 2, 9 * encoder.patch)
        torch.testing.assert_close(
            encoder.visible(x, shown_at(encoder, x, 9)), encoder(x), rtol=1e-4, atol=1e-5
        )

    def test_visible_tokens_know_where_they_stand(self, spec: EncoderSpec) -> None:
        encoder = self.build(spec)
        cut = signals(1, 1, 9, encoder.patch)
        cut[:, :, 8] = cut[:, :, 3]
        x = cut.flatten(2)
        shown_at(encoder, x, 2)
        near, far = (encoder.visible(x, torch.tensor([[[2, other]]])) for other in (3, 8))
        assert not torch.allclose(near[..., 1, :], far[..., 1, :], atol=1e-6)

    def test_gradients_stop_at_hidden_samples(self, spec: EncoderSpec) -> None:
        encoder = self.build(spec)
        x = signals(2, 2, 9 * encoder.patch).requires_grad_()
        hidden = hidden_at(encoder, x)
        (encoder(x, hidden) * signals(encoder.dim, seed=2)).sum().backward()  # type: ignore[no-untyped-call]
        behind = hidden.repeat_interleave(encoder.patch, dim=-1)
        assert x.grad is not None
        assert not x.grad[behind].any()
        assert x.grad[~behind].any()

    def test_samples_of_visible_patches_do_reach_the_output(self, spec: EncoderSpec) -> None:
        encoder = self.build(spec)
        x = signals(2, 2, 9 * encoder.patch)
        hidden = hidden_at(encoder, x)
        seen = (~hidden).repeat_interleave(encoder.patch, dim=-1)
        assert not torch.allclose(
            encoder(x, hidden), encoder(x + seen * signals(*x.shape, seed=1), hidden)
        )

    def test_gradients_reach_every_parameter(self, spec: EncoderSpec) -> None:
        encoder = self.build(spec)
        x = signals(4, 2, 8 * encoder.patch)
        (encoder(x, hidden_at(encoder, x)) * signals(encoder.dim, seed=2)).sum().backward()  # type: ignore[no-untyped-call]
        dead = [
            name
            for name, p in encoder.named_parameters()
            if p.grad is None or not p.grad.abs().sum() > 0
        ]
        assert not dead

    @pytest.mark.parametrize("task", ["masked", "spectral"])
    def test_what_is_hidden_can_be_predicted_from_its_tokens(
        self, spec: EncoderSpec, task: str
    ) -> None:
        """Of each channel, whether tokens are of one or of all of them together."""
        if spec.multimodal:
            pytest.skip("each sensor's encoder learns from itself")
        ctx = replace(CTX, n_chans=2, modalities=("eeg",) * 2)
        asked = TASKS({"kind": task})
        assert asked.misfit(spec, ctx) is None
        encoder = self.build(spec)
        with seeded(0):
            learnt = asked.build(ctx, encoder)
        x = signals(3, 2, min(12, ctx.n_times // encoder.patch) * encoder.patch)
        loss = learnt(x, torch.Generator().manual_seed(0))[0]
        assert loss.isfinite()
        loss.backward()
        dead = [name for name, p in encoder.named_parameters() if p.grad is None]
        assert not dead

    def test_a_window_alone_is_encoded_as_it_is_among_others(self, spec: EncoderSpec) -> None:
        encoder = self.build(spec)
        x = signals(5, 2, 8 * encoder.patch)
        hidden = hidden_at(encoder, x)
        for mask in (None, hidden):
            together = encoder(x, mask)
            for i in range(len(x)):
                alone = encoder(x[i : i + 1], None if mask is None else mask[i : i + 1])
                torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)

    def test_training_keeps_no_statistics_of_its_batches(self, spec: EncoderSpec) -> None:
        encoder = self.build(spec).train()
        norms = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
        assert not [
            m
            for m in encoder.modules()
            if isinstance(m, norms) and getattr(m, "track_running_stats", False)
        ]
        before = {name: value.clone() for name, value in encoder.state_dict().items()}
        encoder(signals(4, 2, 8 * encoder.patch) * 50)
        assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())

    def test_a_state_dict_moves_an_encoder_completely(self, spec: EncoderSpec) -> None:
        one, other = self.build(spec, seed=0), self.build(spec, seed=1)
        x = signals(2, 2, 8 * one.patch)
        assert not torch.allclose(one(x), other(x))
        other.load_state_dict(one.state_dict())
        assert torch.equal(one(x), other(x))

    def test_it_goes_to_the_device_that_its_signals_are_on(self, spec: EncoderSpec) -> None:
        """Without one: `FakeDevice` says what a GPU would."""
        encoder = self.build(spec)
        x = signals(3, 2, 8 * encoder.patch)
        hidden, weights = hidden_at(encoder, x), signals(encoder.dim, seed=2)
        with torch.no_grad():
            here = [encoder(x, hidden), encoder.summary(x), encoder.rows(x), *encoder.tokens(x)]
        with FakeDevice():
            x, hidden, weights = (of.to(DEVICE) for of in (x, hidden, weights))
            encoder.to(DEVICE)
            there = [encoder(x, hidden), encoder.summary(x), encoder.rows(x), *encoder.tokens(x)]
            (there[0] * weights).sum().backward()  # type: ignore[no-untyped-call]
            found = [of.detach().cpu() for of in there]
        for one, other in zip(found, here, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)

    def test_a_seed_decides_the_first_weights(self, spec: EncoderSpec) -> None:
        one, again, other = (
            self.build(spec, seed=3),
            self.build(spec, seed=3),
            self.build(spec, seed=4),
        )
        same = [
            torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True)
        ]
        assert all(same)
        assert not all(
            torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)
        )

    def test_a_window_of_fewer_than_two_patches_is_refused(self, spec: EncoderSpec) -> None:
        patch = self.build(spec).patch
        enough = SignalContext(n_chans=1, n_times=2 * patch, sfreq=100.0)
        short = SignalContext(n_chans=1, n_times=2 * patch - 1, sfreq=100.0)
        assert spec.check(enough) is None
        complaint = spec.check(short)
        assert complaint is not None
        assert str(2 * patch - 1) in complaint
