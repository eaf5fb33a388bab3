"""`neighbours`: channels that lie side by side hide the same patches."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from citrus_ray.context import SignalContext
from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.windowing import cache
from citrus_ray.models.electrodes import distances, place_of
from citrus_ray.models.specs import Conv, Crossmodal
from citrus_ray.tasks.losses.masking import n_hidden, neighbourhoods
from citrus_ray.tasks.losses.reconstruction import ReconstructionTask
from citrus_ray.tasks.specs import Masked

HEAD = ("O1", "Fp1", "C4", "O2", "C3", "Fp2")  # its neighbours are not in this order


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def in_order(n_chans: int) -> torch.Tensor:
    return torch.tensor(distances((), n_chans))


def hidden_of(
    names: tuple[str, ...], n: int, neighbours: int, ratio: float = 0.5, span: int = 2
) -> torch.Tensor:
    ctx = SignalContext(len(names), 80, 100.0, modalities=("eeg",) * len(names), names=names)
    task = Masked(neighbours=neighbours, ratio=ratio, span=span).build(
        ctx, Conv(dim=8, strides=(2, 2)).build(ctx)
    )
    assert isinstance(task, ReconstructionTask)
    return task.hidden((n, len(names), 20), generator())


# ---- groups ----


@given(n_chans=st.integers(1, 20), size=st.integers(2, 6), seed=st.integers(0, 50))
def test_neighbours_in_order_are_as_many_as_asked_but_at_the_rim(n_chans, size, seed):
    groups = neighbourhoods(in_order(n_chans), size, 5, generator(seed))
    assert groups.shape == (5, n_chans)
    for row in groups.numpy():
        runs = np.split(row, np.flatnonzero(np.diff(row)) + 1)
        assert len(runs) == len(set(row.tolist())), "a group lies in one piece"
        counts = [int((row == g).sum()) for g in range(-(-(n_chans - 1) // size) + 1)]
        assert sum(counts) == n_chans
        inner = [c for c in counts[1:] if c]
        assert all(c == size for c in inner[:-1])
        assert max(counts) <= size


def test_every_two_that_lie_side_by_side_are_together_in_some_windows_and_not_in_others():
    groups = neighbourhoods(in_order(8), 2, 300, generator())
    together = (groups[:, 1:] == groups[:, :-1]).float().mean(dim=0)
    assert 0.15 < together.min() < together.max() < 0.85


# ---- masks ----


@given(ratio=st.floats(0.01, 0.99), neighbours=st.integers(1, 6), span=st.integers(1, 5))
def test_every_row_still_hides_the_exact_count(ratio, neighbours, span):
    hidden = hidden_of(HEAD, 3, neighbours, ratio=ratio, span=span)
    assert hidden.shape == (3, 6, 20)
    assert hidden.dtype == torch.bool
    assert set(hidden.sum(dim=-1).flatten().tolist()) == {n_hidden(20, ratio)}


def alike(hidden: torch.Tensor) -> np.ndarray:
    """(C, C): in which share of windows two channels hide the same."""
    return (hidden[:, :, None] == hidden[:, None]).all(dim=-1).float().mean(dim=0).numpy()


def test_electrodes_hide_with_those_beside_them_and_other_channels_in_their_order():
    share = alike(hidden_of(HEAD, 200, 2))
    partners = {HEAD[i]: HEAD[int(np.argmax(share[i] - np.eye(6)[i]))] for i in range(6)}
    assert partners["O1"] == "O2"
    assert partners["Fp2"] == "Fp1"
    other = alike(hidden_of(tuple("abcdef"), 200, 2))
    assert np.diag(other, 1).min() > 0.15
    assert np.diag(other, 2).max() < 0.02
    assert alike(hidden_of(HEAD, 200, 1))[np.triu_indices(6, 1)].max() < 0.02
    assert alike(hidden_of(HEAD, 20, 6))[0].mean() > 0.5


def test_channels_that_lie_on_no_head_are_farther_from_it_than_its_ends_are_apart():
    found = np.array(distances(("Fp1", "ECG", "Oz", "x"), 4))
    assert found[0, 2] <= 2 < found[0, 1] < found[0, 3]
    assert (found == found.T).all()


def test_names_that_are_not_of_these_channels_are_no_help():
    ctx = SignalContext(4, 64, 50.0, modalities=("eeg", "eeg", "ecg", "ecg"), names=HEAD[:4])
    model = Crossmodal(encoder=Conv(dim=8, strides=(2, 2)))
    task = Masked(neighbours=2).build(ctx, model.build(ctx))
    assert task(torch.randn(3, 4, 64, generator=generator()), generator())[0].isfinite()


def test_windows_bring_the_names_of_their_channels():
    assert cache.load(Synthetic(n_subjects=2, n_chans=2)).context.names == ("syn0", "syn1")


def test_more_neighbours_than_channels_are_refused():
    ctx = SignalContext(2, 64, 50.0, modalities=("eeg",) * 2)
    assert "lower it to that or less" in str(Masked(neighbours=3).check(ctx))
    assert Masked(neighbours=2).check(ctx) is None


# ---- electrodes ----


@pytest.mark.parametrize("name", ["FP1", "EEG Fp1", "Fp1.", "Fp1-A2", "fp1", "EEG FP1-REF"])
def test_a_name_is_known_as_recordings_write_it(name):
    assert place_of(name) == place_of("Fp1")


@pytest.mark.parametrize(
    "name", ["I", "II", "V1", "x", "EMG1", "syn0", "A1", "nd", "", "C0", "F12"]
)
def test_what_is_no_place_on_the_grid_has_none(name):
    assert place_of(name) is None


def test_left_is_left_and_old_names_are_the_new_ones():
    places = {n: place_of(n) or (math.nan,) * 3 for n in ("Cz", "T7", "T3", "P8", "T6", "Nz", "C3")}
    assert places["T3"] == places["T7"]
    assert places["T6"] == places["P8"]
    assert places["Cz"] == pytest.approx((0, 0, 1))
    assert places["Nz"] == pytest.approx((0, 1, 0), abs=1e-12)
    assert places["T7"][0] < places["C3"][0] < 0 < places["P8"][0]


@pytest.mark.slow
def test_places_are_about_those_that_mne_measured():
    import mne

    names_of_it = {"colin27_1005", "standard_1005"}  # from mne 1.13 on, and before
    (montage, *_) = sorted(names_of_it & set(mne.channels.get_builtin_montages()))
    measured = mne.channels.make_standard_montage(montage).get_positions()["ch_pos"]
    names = [name for name in measured if place_of(name)]
    assert set(measured) - set(names) == {"A1", "A2", "M1", "M2"}
    ours, theirs = np.array([place_of(n) for n in names]), np.array([measured[n] for n in names])
    one, other = (
        np.linalg.norm(z[:, None] - z[None], axis=-1)[np.triu_indices(len(names), 1)]
        for z in (ours, theirs)
    )
    assert np.corrcoef(one, other)[0, 1] > 0.97
