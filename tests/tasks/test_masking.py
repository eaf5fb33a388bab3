"""Masks: exact counts, whole runs, and a loss over hidden samples alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.encoder import Encoder, hide_samples
from citrus_ray.models.specs import Conv
from citrus_ray.tasks.losses.masked import MaskedTask
from citrus_ray.tasks.losses.masking import n_hidden, places, span_mask
from citrus_ray.tasks.specs import Masked

ratios = st.floats(0.01, 0.99)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(n_tokens=st.integers(2, 40), ratio=ratios, span=st.integers(1, 8), seed=st.integers(0, 100))
def test_every_row_hides_the_exact_count_and_leaves_one_to_see(n_tokens, ratio, span, seed):
    hidden = span_mask((3, 2, n_tokens), ratio, span, generator(seed))
    assert hidden.shape == (3, 2, n_tokens)
    assert hidden.dtype == torch.bool
    counts = set(hidden.sum(dim=-1).flatten().tolist())
    assert counts == {n_hidden(n_tokens, ratio)}
    assert 1 <= min(counts) <= max(counts) <= n_tokens - 1


@given(n_tokens=st.integers(2, 40), ratio=ratios)
def test_the_count_is_the_ratio_as_near_as_it_can_be(n_tokens, ratio):
    count = n_hidden(n_tokens, ratio)
    assert abs(count - ratio * n_tokens) <= 0.5 or count in (1, n_tokens - 1)


@given(
    n_tokens=st.integers(4, 40),
    span=st.integers(2, 6),
    ratio=st.floats(0.2, 0.8),
    seed=st.integers(0, 100),
)
def test_hidden_tokens_come_in_whole_runs(n_tokens, span, ratio, seed):
    """All runs start on one grid per row; all blocks of it are hidden or seen as a whole, but
    for one that is cut."""
    for row in (
        span_mask((4, 1, n_tokens), ratio, span, generator(seed)).reshape(4, n_tokens).numpy()
    ):
        cut = min(_n_cut_blocks(row, span, offset) for offset in range(span))
        assert cut <= 1


def _n_cut_blocks(row: np.ndarray, span: int, offset: int) -> int:
    block = (np.arange(len(row)) + offset) // span
    return sum(len(set(row[block == b].tolist())) > 1 for b in np.unique(block))


def test_runs_are_longer_than_chance_would_make_them():
    single, long = (
        span_mask((200, 1, 40), 0.5, span, generator()).reshape(200, 40) for span in (1, 5)
    )
    edges = [int((row[:, 1:] != row[:, :-1]).sum()) for row in (single, long)]
    assert edges[1] < edges[0] / 2


def test_runs_may_start_at_any_token():
    """Rows of one whole run: on a fixed grid they would all start at a multiple of the span."""
    rows = span_mask((300, 1, 20), 0.2, 4, generator()).reshape(300, 20).numpy()
    starts = {int(row.argmax()) % 4 for row in rows if row[row.argmax() : row.argmax() + 4].all()}
    assert starts == {0, 1, 2, 3}


def test_rows_differ_and_a_generator_decides_them():
    one, again, other = (span_mask((8, 2, 20), 0.5, 2, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert len({tuple(row) for row in one.reshape(16, 20).tolist()}) > 1


def test_every_token_is_hidden_about_as_often():
    share = span_mask((4000, 1, 12), 0.5, 3, generator()).float().mean(dim=(0, 1))
    assert (share - 0.5).abs().max() < 0.05


@given(n_tokens=st.integers(2, 40), ratio=ratios, seed=st.integers(0, 100))
def test_places_are_where_the_mask_says_in_order(n_tokens, ratio, seed):
    hidden = span_mask((3, 2, n_tokens), ratio, 2, generator(seed))
    shown, gone = places(hidden, n_tokens - n_hidden(n_tokens, ratio))
    assert torch.equal(torch.zeros_like(hidden).scatter(-1, gone, True), hidden)
    assert torch.equal(torch.ones_like(hidden).scatter(-1, shown, False), hidden)
    assert all((p.diff(dim=-1) > 0).all() for p in (shown, gone))


def test_hiding_zeroes_hidden_patches_and_the_remainder():
    x = torch.ones(1, 1, 7)
    hidden = torch.tensor([[[True, False, True]]])
    assert hide_samples(x, hidden, 2).tolist() == [[[0, 0, 1, 1, 0, 0, 0]]]


class Silent(Encoder):
    """Sees nothing, so the decoder predicts a constant and the loss depends on its target alone."""

    dim, patch = 3, 4

    def depths(self):
        return []

    def forward(self, x, hidden=None):
        return torch.zeros(*x.shape[:2], self.n_tokens(x.shape[2]), self.dim)


def test_the_loss_counts_hidden_samples_only():
    spec = Masked(ratio=0.5, span=1)
    task = spec.single(SignalContext(2, 32, 1.0), Silent())
    assert isinstance(task, MaskedTask)
    for p in task.decoder.parameters():
        torch.nn.init.zeros_(p)
    x = torch.randn(3, 2, 32, generator=generator(5))
    hidden = span_mask((3, 2, 8), 0.5, 1, generator(9)).repeat_interleave(4, dim=-1)
    loss, _ = task(x, generator(9))
    assert float(loss.detach()) == pytest.approx(float((x[hidden] ** 2).mean()), rel=1e-6)
    seen_changed, hidden_changed = (x + 7 * mask for mask in (~hidden, hidden))
    assert torch.equal(task(seen_changed, generator(9))[0], loss)
    assert not torch.equal(task(hidden_changed, generator(9))[0], loss)


def test_the_encoder_is_not_shown_what_it_must_predict():
    """With hidden samples at another value the prediction error moves exactly as a constant
    prediction's would."""
    spec = Masked(ratio=0.5, span=2)
    ctx = SignalContext(1, 64, 1.0)
    encoder = Conv(dim=8, strides=(2, 2)).build(ctx)
    seen = []
    encoder.register_forward_hook(lambda module, args, out: seen.append(out.detach()))
    task = spec.build(ctx, encoder).eval()
    x = torch.randn(2, 1, 64, generator=generator(5))
    hidden = span_mask((2, 1, 16), 0.5, 2, generator(3)).repeat_interleave(4, dim=-1)
    task(x, generator(3))
    task(x + 9 * hidden, generator(3))
    assert torch.equal(*seen)
