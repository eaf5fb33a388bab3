"""`kind: synthetic_fmri`: what is in the series is what the spec put there."""

import numpy as np
import pytest
from scipy.stats import pearsonr

from citrus_ray.data.sources.synthetic_fmri import SyntheticFmri, haemodynamic
from citrus_ray.spec import SpecError, validate

SMALL = SyntheticFmri(
    n_subjects=3, n_runs=3, n_blocks=6, block=8, n_voxels=12, timbres=3, volumes=4
)
QUIET = SMALL.model_copy(update={"gain": 20.0, "offset": 0.0, "drift": 0.0})


def test_blood_answers_after_five_seconds_and_undershoots():
    kernel = haemodynamic(0.1)
    assert np.argmax(kernel) * 0.1 == pytest.approx(5.0, abs=0.3)
    assert kernel[np.arange(len(kernel)) * 0.1 > 12].min() < 0
    assert kernel.sum() == pytest.approx(1.0)


def test_windows_of_one_timbre_look_alike_across_runs_and_people():
    windows = QUIET.model_copy(update={"own": 0.0}).prepare()
    means = windows.x[..., -2:].mean(axis=2)
    patterns = np.array(
        [
            [means[(windows.labels == k) & (windows.group == g)].mean(axis=0) for k in range(3)]
            for g in range(3)
        ]
    )
    same = [pearsonr(patterns[0, k], patterns[1, k])[0] for k in range(3)]
    different = [pearsonr(patterns[0, k], patterns[1, (k + 1) % 3])[0] for k in range(3)]
    assert min(same) > 0.8 > max(different)


def test_people_of_another_seed_share_what_everyone_has():
    patterns = []
    for seed, own in ((0, 0.0), (1, 0.0), (2, 0.9)):
        windows = QUIET.model_copy(update={"seed": seed, "own": own}).prepare()
        patterns.append(windows.x[windows.labels == 0, :, -1].mean(axis=0))
    assert pearsonr(patterns[0], patterns[1])[0] > 0.8
    assert pearsonr(patterns[0], patterns[2])[0] < 0.8


@pytest.mark.parametrize(("normalize_by", "told"), [("run", False), ("scan", True), ("none", True)])
def test_runs_keep_a_level_of_their_own_unless_each_is_normalised(normalize_by, told):
    spec = SMALL.model_copy(
        update={
            "offset": 5.0,
            "normalize_by": normalize_by,
            "labelled": False,
            "n_subjects": 1,
            "volumes": 8,
        }
    )
    windows = spec.prepare()
    assert windows.origins is not None
    levels = [windows.x[windows.origins.run == run].mean(axis=(0, 2)) for run in range(3)]
    assert (np.std(levels, axis=0).mean() > 0.3) == told


def test_those_with_fewer_voxels_have_zeros_in_their_place():
    windows = SMALL.model_copy(update={"fewer_voxels": 6, "n_subjects": 12}).prepare()
    silent = [(windows.x[windows.group == g] == 0).all(axis=(0, 2)).sum() for g in range(12)]
    assert min(silent) < max(silent) <= 6
    assert set(silent) <= set(range(7))


def test_a_run_may_hold_one_timbre_only():
    windows = SMALL.model_copy(update={"design": "one_per_run"}).prepare()
    assert windows.origins is not None
    assert all(len(np.unique(windows.labels[windows.origins.run == run])) == 1 for run in range(9))
    assert windows.classes == ("timbre0", "timbre1", "timbre2")


def test_labels_name_the_condition_where_there_are_two():
    windows = SMALL.model_copy(update={"imagined": True}).prepare()
    assert windows.classes == tuple(
        f"timbre{k}/{how}" for k in range(3) for how in ("heard", "imagined")
    )


def test_groups_are_people_or_runs():
    assert SMALL.prepare().groups == ("sub-00", "sub-01", "sub-02")
    by_run = SMALL.model_copy(update={"group_by": "run"}).prepare()
    assert by_run.groups[:4] == ("sub-00_run-0", "sub-00_run-1", "sub-00_run-2", "sub-01_run-0")
    assert any("one person may be on both sides" in caveat for caveat in by_run.caveats)


def test_the_same_people_are_known_however_they_are_cut():
    assert (
        SMALL.recordings()
        == SMALL.at({"volumes": 2, "labelled": False, "normalize_by": "scan"}).recordings()
    )
    assert SMALL.recordings() != SMALL.at({"seed": 1}).recordings()


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ({"fewer_voxels": 40}, "fewer_voxels=40: must leave some"),
        ({"design": "one_per_run", "n_runs": 2}, "n_runs=2: one timbre per run needs at least"),
        ({"volumes": 13}, "volumes=13: must fit into block=12"),
    ],
)
def test_what_means_nothing_is_refused(edits, said):
    with pytest.raises(SpecError, match=said):
        validate(SyntheticFmri, {"kind": "synthetic_fmri"} | edits)
