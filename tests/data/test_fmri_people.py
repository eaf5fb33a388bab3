"""`kind: fmri` of several people: their runs, their masks, and voxels that differ."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.signal import detrend
from scipy.stats import zscore as scipy_zscore

from citrus_ray.data.sources.fmri import Fmri
from citrus_ray.data.sources.pairs import Pairs
from citrus_ray.data.windows import Windows
from citrus_ray.spec import SpecError
from tests.data.layouts import SPACE, bids, mask, volumes, write_nifti

PEOPLE = ("sub-01", "sub-02", "sub-03")
RUNS = [f"{who}/func/{who}_run-{run}" for who, run in itertools.product(PEOPLE, (1, 2))]
OWN_MASK = "{subject}/mask.nii"


def people(root: Path, **edits: Any) -> Fmri:
    return bids(root, RUNS, **({"group_by": "subject"} | edits))


def masks(root: Path, sizes: tuple[int, ...], value: int = 1) -> None:
    """A mask for each person, of so many voxels."""
    for who, n in zip(PEOPLE, sizes, strict=True):
        inside = np.zeros(SPACE, np.int16)
        inside.flat[:n] = value
        write_nifti(root / who / "mask.nii", inside)


def series(person: int, run: int, n: int) -> np.ndarray:
    """(n, 12): what the first n voxels of the file hold."""
    return volumes(12, seed=2 * person + run).reshape(-1, 12)[:n].astype(np.float64)


def of_person(windows: Windows, person: int) -> np.ndarray:
    """(C, T of both runs), of windows of one volume that cover everything."""
    return windows.x[windows.group == person, :, 0].T


def test_people_are_groups_and_windows_know_their_run_and_time(tmp_path):
    windows = people(tmp_path, labels=None).prepare()
    assert windows.groups == PEOPLE
    assert windows.origins is not None
    assert np.array_equal(windows.origins.subject, np.repeat(range(3), 24))
    assert np.array_equal(windows.origins.run, np.repeat(range(6), 12))
    assert np.array_equal(windows.origins.first, np.tile(range(12), 6))
    assert windows.caveats == ()


def test_runs_are_groups_unless_people_are(tmp_path):
    windows = people(tmp_path, group_by="run").prepare()
    assert windows.groups == tuple(Path(run).name for run in RUNS)
    assert windows.origins is not None
    assert len(np.unique(windows.origins.subject)) == 3


def test_a_scan_is_all_runs_of_a_person(tmp_path):
    masks(tmp_path, (6, 6, 6))
    spec = people(tmp_path, mask=OWN_MASK, labels=None, normalize_by="scan")
    found = of_person(spec.prepare(), 1)
    whole = np.concatenate([series(1, 0, 6), series(1, 1, 6)], axis=1)
    assert np.abs(found - scipy_zscore(detrend(whole, axis=1), axis=1)).max() < 1e-4
    by_run = of_person(spec.at({"normalize_by": "run"}).prepare(), 1)
    parts = [scipy_zscore(detrend(series(1, run, 6), axis=1), axis=1) for run in (0, 1)]
    assert np.abs(by_run - np.concatenate(parts, axis=1)).max() < 1e-4


def test_people_with_fewer_voxels_are_padded_with_zeros(tmp_path):
    masks(tmp_path, (6, 4, 5))
    windows = people(
        tmp_path, mask=OWN_MASK, labels=None, voxels="pad", normalize_by="none"
    ).prepare()
    assert windows.ch_names == tuple(f"v{i}" for i in range(6))
    for person, n in enumerate((6, 4, 5)):
        expected = np.concatenate([series(person, 0, n), series(person, 1, n)], axis=1)
        assert np.array_equal(of_person(windows, person)[:n], expected)
        assert not of_person(windows, person)[n:].any()
    assert any("4 to 6 voxels, padded" in caveat for caveat in windows.caveats)


def test_people_may_have_columns_of_their_own(tmp_path):
    """What a linear input layer then learns is a projection for each."""
    masks(tmp_path, (3, 2, 4))
    windows = people(
        tmp_path, mask=OWN_MASK, labels=None, voxels="own", normalize_by="none"
    ).prepare()
    assert len(windows.ch_names) == 9
    assert windows.ch_names[3].startswith("sub-02:")
    used = [np.flatnonzero(of_person(windows, person).any(axis=1)).tolist() for person in range(3)]
    assert used == [[0, 1, 2], [3, 4], [5, 6, 7, 8]]
    assert any("knows nothing of people" in caveat for caveat in windows.caveats)


def test_regions_make_people_alike(tmp_path):
    masks(tmp_path, (6, 4, 5), value=7)
    windows = people(
        tmp_path, mask=OWN_MASK, labels=None, regions=True, normalize_by="none"
    ).prepare()
    assert windows.ch_names == ("region7",)
    assert of_person(windows, 1)[0, :12] == pytest.approx(series(1, 0, 4).mean(axis=0), rel=1e-6)


def test_other_voxels_are_refused_with_every_way_out(tmp_path):
    masks(tmp_path, (6, 4, 6))
    with pytest.raises(
        SpecError,
        match=r"has 4 channels, but .* has 6; mask regions that all have, or set `voxels: pad`",
    ):
        people(tmp_path, mask=OWN_MASK).check()


def test_a_person_that_cannot_be_found_is_refused(tmp_path):
    with pytest.raises(SpecError, match="finds no person in"):
        people(tmp_path, subjects="(person[0-9]+)").check()
    write_nifti(tmp_path / "other_bold.nii.gz", volumes(12))
    (tmp_path / "other_events.tsv").write_text("onset\tduration\ttrial_type\n4.0\t8.0\tface\n")
    with pytest.raises(SpecError, match="finds no person in other_bold"):
        people(tmp_path, group_by="run").check()


def test_a_mask_that_changes_changes_the_digest(tmp_path):
    masks(tmp_path, (6, 6, 6))
    spec = people(tmp_path, mask=OWN_MASK)
    before = spec.digest()
    write_nifti(tmp_path / "sub-03" / "mask.nii", mask())
    assert spec.digest() != before


def test_images_become_pairs_that_hold_their_volumes(tmp_path):
    """From NIfTI as written here to [A | B], voxel for voxel."""
    masks(tmp_path, (5, 5, 5))
    of = people(tmp_path, mask=OWN_MASK, labels=None, volumes=3, stride=1, normalize_by="none")
    windows = Pairs(of=of, negatives="same_run").prepare()
    assert windows.origins is not None
    assert windows.x.shape[1:] == (5, 6)
    for i in range(0, len(windows), 5):
        (run, _), first = windows.origins.run[i], windows.origins.first[i]
        expected = [series(run // 2, run % 2, 5)[:, start : start + 3] for start in first]
        assert np.array_equal(windows.x[i], np.concatenate(expected, axis=1))
        assert (windows.labels[i] == 1) == (first[1] - first[0] == 3)
