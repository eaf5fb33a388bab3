"""The convolutional encoder over its settings."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.encoder import patches
from citrus_ray.models.specs import Conv

CTX = SignalContext(n_chans=1, n_times=64, sfreq=1.0)


@given(
    strides=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    kernel=st.sampled_from([3, 5, 7]),
    n_tokens=st.integers(2, 5),
    rest=st.integers(0, 3),
)
def test_every_stride_and_kernel_give_a_token_per_patch(strides, kernel, n_tokens, rest):
    spec = Conv(dim=4, strides=tuple(strides), kernel=kernel)
    n_times = n_tokens * spec.patch + min(rest, spec.patch - 1)
    assert spec.build(CTX)(torch.zeros(1, 2, n_times)).shape == (1, 2, n_tokens, 4)


def test_an_even_kernel_is_refused_with_the_next_odd_one():
    with pytest.raises(ValueError, match=r"kernel=6.*7 is"):
        Conv(kernel=6)


def test_patches_cut_a_signal_in_order():
    x = torch.arange(11.0).reshape(1, 1, 11)
    assert patches(x, 4).tolist() == [[[[0, 1, 2, 3], [4, 5, 6, 7]]]]
