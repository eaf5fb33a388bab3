"""`kind: fmri`: volumes through a mask, runs as groups."""

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.signal import detrend
from scipy.stats import zscore as scipy_zscore

from citrus_ray.data.sources.fmri import Fmri
from citrus_ray.data.windowing.normalize import straightened
from citrus_ray.data.windowing.splits import Split, split
from citrus_ray.spec import SpecError, validate
from tests.data.layouts import (
    INSIDE,
    SPACE,
    attributes,
    bids,
    haxby,
    mask,
    noise,
    volumes,
    write_nifti,
)

DATA = Path(
    os.environ.get("CITRUS_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data"
)
CATEGORIES = ("bottle", "cat", "chair", "face", "house", "scissors", "scrambledpix", "shoe")


def inside(n: int, seed: int = 0) -> np.ndarray:
    """(8, T): the voxels of the mask, in the order of the array."""
    return volumes(n, seed)[INSIDE].reshape(8, n).astype(np.float32)


def clean(x: np.ndarray) -> np.ndarray:
    return np.asarray(scipy_zscore(detrend(x, axis=1), axis=1))


# ---- signals ----


def test_a_voxel_of_the_mask_is_a_channel_and_a_volume_a_sample(tmp_path):
    windows = attributes(tmp_path, normalize_by="none").prepare()
    assert windows.x.shape == (48, 8, 1)
    assert np.array_equal(windows.x[:, :, 0].T, inside(48))
    assert windows.sfreq == 0.5
    assert windows.ch_names[:3] == ("v1_0_0", "v1_0_1", "v1_1_0")
    assert set(windows.modalities) == {"fmri"}


def test_each_run_is_cleaned_as_scipy_does_it(tmp_path):
    windows = attributes(tmp_path).prepare()
    x = inside(48)
    expected = np.concatenate([clean(x[:, first : first + 16]) for first in (0, 16, 32)], axis=1)
    assert np.abs(windows.x[:, :, 0].T - expected).max() < 1e-4


def test_the_whole_file_can_be_cleaned_at_once_and_the_line_left_in(tmp_path):
    x = inside(48)
    whole = attributes(tmp_path, normalize_by="scan").prepare()
    assert np.abs(whole.x[:, :, 0].T - clean(x)).max() < 1e-4
    kept = attributes(tmp_path, detrend=False).prepare()
    expected = np.concatenate([scipy_zscore(x[:, i : i + 16], axis=1) for i in (0, 16, 32)], axis=1)
    assert np.abs(kept.x[:, :, 0].T - expected).max() < 1e-4


def test_a_line_and_nothing_else_is_taken_out():
    x = (noise(3, 50) + np.arange(50)).astype(np.float32)
    assert np.abs(straightened(x) - detrend(x, axis=1)).max() < 1e-4
    assert np.abs(straightened(np.ones((2, 1), np.float32))).max() == 0


def test_regions_are_means_over_the_voxels_that_bear_their_number(tmp_path):
    spec = attributes(tmp_path, normalize_by="none", regions=True)
    number = mask(7)
    number[1] *= 2
    write_nifti(tmp_path / "mask.nii.gz", number)
    windows = spec.prepare()
    assert windows.ch_names == ("region7", "region14")
    x = volumes(48).astype(np.float32)
    assert np.allclose(windows.x[:, 0, 0], x[number == 7].mean(axis=0))
    assert np.allclose(windows.x[:, 1, 0], x[number == 14].mean(axis=0))


def test_scale_factors_and_byte_order_of_an_image_are_heeded(tmp_path):
    import nibabel

    spec = attributes(tmp_path, normalize_by="none")
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    image = nibabel.Nifti1Image(volumes(48) * 0.25 - 3, np.eye(4), header)
    image.header.set_zooms((3.0, 3.0, 3.0, 2.0))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, tmp_path / "bold.nii.gz")
    assert np.abs(spec.prepare().x[:, :, 0].T - (inside(48) * 0.25 - 3)).max() < 0.02


# ---- time ----


@pytest.mark.parametrize(("tr", "unit"), [(2.0, "sec"), (2000.0, "msec"), (2e6, "usec")])
def test_the_header_says_the_time_between_volumes(tmp_path, tr, unit):
    spec = attributes(tmp_path)
    write_nifti(tmp_path / "bold.nii.gz", volumes(48), tr, unit)
    assert spec.prepare().sfreq == pytest.approx(0.5)
    assert spec.at({"tr": 4.0}).prepare().sfreq == 0.25


def test_windows_of_several_volumes_stay_inside_what_was_shown(tmp_path):
    spec = attributes(tmp_path, volumes=3, normalize_by="none")
    windows, x = spec.prepare(), inside(48)
    assert windows.x.shape == (12, 8, 3)  # 4 stretches of 4 volumes in 3 runs
    assert np.array_equal(windows.x[1], x[:, 4:7])
    assert [windows.classes[k] for k in windows.labels[:4]] == ["rest", "face", "house", "rest"]
    overlapping = spec.at({"stride": 1}).prepare()
    assert len(overlapping) == 24
    assert any("overlapping" in caveat for caveat in overlapping.caveats)


def test_labels_can_be_moved_by_the_delay_of_the_blood(tmp_path):
    plain = bids(tmp_path, normalize_by="none").prepare()
    late = bids(tmp_path, normalize_by="none", delay_s=4.0).prepare()
    x = inside(12)
    face = [
        windows.x[(windows.labels == 0) & (windows.group == 0), :, 0].T for windows in (plain, late)
    ]
    assert np.array_equal(face[0], x[:, 2:6])
    assert np.array_equal(face[1], x[:, 4:8])
    assert (late.labels == 1).sum() == 2 * 3  # the run ends before the last of them


# ---- labels and groups ----


def test_labels_may_say_where_runs_are_and_nothing_else(tmp_path):
    windows = attributes(tmp_path, labelled=False, volumes=8, stride=4).prepare()
    assert windows.y is None
    assert windows.classes == ()
    assert windows.groups == ("run0", "run1", "run2")
    # across what was shown, never across runs
    assert np.bincount(windows.group).tolist() == [3, 3, 3]
    with pytest.raises(SpecError, match="classes has no effect"):
        attributes(tmp_path).at({"labelled": False, "classes": ["face"]})


def test_runs_are_groups_and_no_split_cuts_one(tmp_path):
    windows = attributes(tmp_path, n_runs=6).prepare()
    assert windows.groups == tuple(f"run{i}" for i in range(6))
    assert np.bincount(windows.group).tolist() == [16] * 6
    parts = split(windows, Split(), seed=0)
    groups = [set(windows.group[part].tolist()) for part in (parts.train, parts.val, parts.test)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 6
    assert windows.caveats == ("groups are runs, so one person may be on both sides of a split",)


def test_wanted_classes_are_kept_in_their_order_and_rest_is_used_to_normalise_all_the_same(
    tmp_path,
):
    every, some = (
        attributes(tmp_path).prepare(),
        attributes(tmp_path, classes=("house", "face")).prepare(),
    )
    assert some.classes == ("house", "face")
    assert some.class_counts() == {"house": 12, "face": 12}
    rest = every.labels == every.classes.index("rest")
    assert np.array_equal(some.x, every.x[~rest])


def test_the_line_that_names_the_columns_of_haxbys_labels_is_no_volume(tmp_path):
    windows = haxby(tmp_path / "one").prepare()
    other = attributes(tmp_path / "other").prepare()
    assert np.array_equal(windows.x, other.x)
    assert np.array_equal(windows.labels, other.labels)


def test_bids_events_lie_beside_each_image(tmp_path):
    windows = bids(tmp_path, normalize_by="none").prepare()
    assert windows.groups == ("sub-01_run-1", "sub-02_run-1")
    assert windows.class_counts() == {"face": 8, "house": 8}
    assert np.array_equal(
        windows.x[windows.group == 1][:, :, 0].T, inside(12, seed=1)[:, [2, 3, 4, 5, 7, 8, 9, 10]]
    )


PARTS = [(2, 6, "face"), (7, 11, "house")]  # volumes of the table below, which has seconds


def _npz(root: Path, **edits: Any) -> Fmri:
    rows = ["file,start_s,stop_s,label,group"]
    for seed in range(2):
        np.savez(root / f"r{seed}.npz", x=inside(12, seed), sfreq=0.5, modality=["fmri"] * 8)
        rows += [f"r{seed},4,12,face,p{seed}", f"r{seed},14,22,house,p{seed}"]
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return Fmri(**({"root": str(root), "pattern": "*.npz", "labels": "labels.csv"} | edits))


def test_npz_recordings_and_their_table_give_what_images_give(tmp_path):
    (tmp_path / "a").mkdir()
    npz, nifti = _npz(tmp_path / "a").prepare(), bids(tmp_path).prepare()
    assert np.array_equal(npz.x, nifti.x)
    assert npz.labels.tolist() == nifti.labels.tolist()
    assert npz.groups == ("p0", "p1")  # the table says what a group is
    assert npz.caveats == ()


def test_a_table_may_count_volumes_or_label_whole_recordings(tmp_path):
    spec = _npz(tmp_path)
    expected = spec.prepare()
    rows = [f"r{i},{first},{last},{label},p{i}" for i in range(2) for first, last, label in PARTS]
    text = "\n".join(["file,start_sample,stop_sample,label,group", *rows])
    (tmp_path / "labels.csv").write_text(text)
    windows = spec.prepare()
    assert np.array_equal(windows.x, expected.x)
    assert windows.labels.tolist() == expected.labels.tolist()
    (tmp_path / "labels.csv").write_text("file,label,group\nr0,face,p0\nr1,house,p1\n")
    assert spec.prepare().class_counts() == {"face": 12, "house": 12}


def test_without_labels_every_volume_is_there_to_pretrain_on(tmp_path):
    windows = bids(tmp_path, labels=None, volumes=4).prepare()
    assert windows.x.shape == (6, 8, 4)
    assert windows.y is None


# ---- bad input ----


def _cut_off(root: Path) -> dict[str, Any]:
    path = root / "bold.nii.gz"
    path.write_bytes(path.read_bytes()[:-400])
    return {}


def _not_an_image(root: Path) -> dict[str, Any]:
    (root / "bold.nii.gz").write_bytes(gzip.compress(b"<html>moved</html>" * 50))
    return {}


def _one_volume(root: Path) -> dict[str, Any]:
    write_nifti(root / "bold.nii.gz", mask())
    return {}


def _no_tr(root: Path) -> dict[str, Any]:
    write_nifti(root / "bold.nii.gz", volumes(48), 0.0)
    return {}


def _no_unit(root: Path) -> dict[str, Any]:
    write_nifti(root / "bold.nii.gz", volumes(48), 2.0, "unknown")
    return {}


def _other_space(root: Path) -> dict[str, Any]:
    write_nifti(root / "mask.nii.gz", np.ones((5, 3, 2), np.int16))
    return {}


def _empty_mask(root: Path) -> dict[str, Any]:
    write_nifti(root / "mask.nii.gz", np.zeros(SPACE, np.int16))
    return {}


def _holes(root: Path) -> dict[str, Any]:
    x = volumes(48).astype(np.float32)
    x[1, 0, 0, 5] = np.nan
    write_nifti(root / "bold.nii.gz", x)
    return {}


def _fractions(root: Path) -> dict[str, Any]:
    write_nifti(root / "mask.nii.gz", (mask() * 0.5).astype(np.float32))
    return {"regions": True}


def _attributes(old: str, new: str, count: int = 1) -> Any:
    def spoil(root: Path) -> dict[str, Any]:
        path = root / "attributes.txt"
        path.write_text(path.read_text().replace(old, new, count))
        return {}

    return spoil


def _spec(**edits: Any) -> Any:
    return lambda root: edits


def _labels_that_are_an_image(root: Path) -> dict[str, Any]:
    (root / "attributes.txt").write_bytes((root / "bold.nii.gz").read_bytes())
    return {}


def _two_images(root: Path) -> dict[str, Any]:
    write_nifti(root / "other.nii.gz", volumes(48))
    return {"pattern": "*.nii.gz"}


BAD = {
    "cut off": (_cut_off, "bold.nii.gz: cannot be read: ", "copy or download it again"),
    "not an image": (
        _not_an_image,
        "bold.nii.gz: cannot be read as NIfTI: ",
        "copy or download it again",
    ),
    "one volume": (
        _one_volume,
        "bold.nii.gz: pattern: must hold volumes (X, Y, Z, time)",
        "narrow `pattern`",
    ),
    "no TR": (
        _no_tr,
        "bold.nii.gz: tr: its header does not say the time between volumes",
        "give it in `tr:`",
    ),
    "no unit of time": (_no_unit, "bold.nii.gz: tr: its header does not say", "give it in `tr:`"),
    "mask of another space": (
        _other_space,
        "mask.nii.gz: mask: is (5, 3, 2) voxels, but bold.nii.gz",
        "resample it",
    ),
    "empty mask": (_empty_mask, "mask.nii.gz: mask: has no voxel inside", "give another mask"),
    "holes": (_holes, "bold.nii.gz: mask: 1 voxels of the mask have no value", "tighten the mask"),
    "fractions for regions": (
        _fractions,
        "mask.nii.gz: mask: must number the regions",
        "drop `regions`",
    ),
    "no mask": (
        _spec(mask=None),
        "bold.nii.gz: mask: is an image: say with `mask:`",
        "which of its voxels",
    ),
    "no such mask": (_spec(mask="m.nii"), "m.nii: mask: there is no such file", "relative to root"),
    "the series as mask": (
        _spec(mask="bold.nii.gz", pattern="*.nii.gz"),
        "must be one volume, but is",
        "give a mask",
    ),
    "no such labels": (
        _spec(labels="a.txt"),
        "a.txt: labels: there is no such file",
        "relative to root",
    ),
    "no such class": (
        _spec(classes=("faces",)),
        "classes: `faces` is not there",
        "did you mean `face`?",
    ),
    "long windows": (
        _spec(volumes=5),
        "volumes=5: no window is left of face, house, rest",
        "take fewer volumes",
    ),
    "no match": (
        _spec(pattern="*.nii"),
        "pattern=*.nii matches no file under",
        "which holds attributes.txt",
    ),
    "no folder": (
        _spec(root="/nowhere"),
        "root=/nowhere: there is no folder /nowhere",
        "correct the path",
    ),
    "too few lines": (
        _attributes("rest 0\n", ""),
        "attributes.txt: labels: has 47 lines, but bold.nii.gz 48 volumes",
        "one line for each",
    ),
    "one word": (
        _attributes("face 0", "face"),
        "txt:5: labels: must be `label run`, but is 'face'",
        "correct it",
    ),
    "a run in pieces": (
        _attributes("face 1", "face 0"),
        "txt:21: labels: run 0 comes back",
        "must follow one another",
    ),
    "an image for labels": (
        _labels_that_are_an_image,
        "attributes.txt: labels: is no text",
        "copy or download it again",
    ),
    "attributes of two images": (
        _two_images,
        "labels=attributes.txt is of one image, but pattern=*.nii.gz",
        "narrow",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_error_that_names_the_place_and_the_way_out(tmp_path, case):
    spoil, rule, way_out = BAD[case]
    spec = attributes(tmp_path)
    spec = spec.at(spoil(tmp_path))
    with pytest.raises(SpecError) as caught:
        spec.prepare()
    assert len(caught.value.problems) == 1, str(caught.value)
    assert rule in str(caught.value)
    assert way_out in str(caught.value)


BAD_EVENTS = {
    "no column": (
        "trial_type",
        "type",
        "events.tsv:1: labels: has no column trial_type",
        "separated by tabs",
    ),
    "no number": (
        "\n4.0\t",
        "\nn/a\t",
        "events.tsv:2: labels: onset=n/a duration=8.0 trial_type=face",
        "correct or",
    ),
    "no duration": (
        "\t8.0\tface",
        "\t0\tface",
        "duration=0 trial_type=face: must be seconds from 0",
        "correct or",
    ),
    "one field more": (
        "\t8.0\tface",
        "\t8.0\tface\tleft",
        "events.tsv:2: labels: has 4 fields, but the first line names 3",
        "put double quotes around",
    ),
    "beyond the end": (
        "14.0",
        "34.0",
        "events.tsv:3: labels: stop_s=42 is outside sub-01_run-1",
        "24 s long",
    ),
}


@pytest.mark.parametrize("case", BAD_EVENTS)
def test_bad_events_are_one_clear_error(tmp_path, case):
    old, new, rule, way_out = BAD_EVENTS[case]
    spec = bids(tmp_path)
    path = tmp_path / "sub-01" / "func" / "sub-01_run-1_events.tsv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SpecError) as caught:
        spec.check()
    assert len(caught.value.problems) == 1, str(caught.value)
    assert "sub-01_run-1_events.tsv" in str(caught.value)
    assert rule in str(caught.value)
    assert way_out in str(caught.value)


def test_images_of_different_tr_and_missing_events_are_refused(tmp_path):
    spec = bids(tmp_path)
    write_nifti(tmp_path / "sub-02" / "func" / "sub-02_run-1_bold.nii.gz", volumes(12), 2.5)
    with pytest.raises(
        SpecError, match=r"sub-02_run-1_bold.*tr: has a volume every 2\.5 s, but .* every 2 s"
    ):
        spec.check()
    (tmp_path / "sub-02" / "func" / "sub-02_run-1_events.tsv").unlink()
    with pytest.raises(
        SpecError, match=r"sub-02_run-1_events\.tsv: labels: there is no such file beside"
    ):
        spec.check()


def test_a_table_that_does_not_fit_is_refused(tmp_path):
    spec = _npz(tmp_path)
    path = tmp_path / "labels.csv"
    path.write_text(path.read_text() + "r9,0,4,face,p9\nr1,20,40,face,p1\n")
    with pytest.raises(SpecError) as caught:
        spec.check()
    said = str(caught.value)
    assert "labels.csv:6: labels: file=r9 fits no file" in said
    assert "labels.csv:7: labels: stop_s=40 is outside r1" in said


def test_npz_recordings_have_nothing_to_mask(tmp_path):
    spec = _npz(tmp_path, mask="mask.nii")
    write_nifti(tmp_path / "mask.nii", mask())
    with pytest.raises(SpecError, match=r"r0\.npz: mask: is no image, .* drop `mask:`"):
        spec.check()


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"classes": ["a"]}, "classes has no effect without labels"),
        ({"delay_s": 4.0}, "delay_s has no effect without labels"),
        ({"labels": "a.json"}, "labels=a.json: must be a .csv table"),
        ({"regions": True}, "regions has no effect without a mask"),
        ({"volumes": 0}, "volumes=0: must be greater than or equal to 1"),
    ],
)
def test_a_spec_that_would_mean_nothing_is_refused(edits, message):
    with pytest.raises(SpecError) as caught:
        validate(Fmri, {"root": "/r"} | edits)
    assert message in str(caught.value)


def test_the_digest_follows_every_file_that_is_read(tmp_path):
    spec = attributes(tmp_path)
    seen = {spec.digest()}
    write_nifti(tmp_path / "mask.nii.gz", mask(2))
    seen.add(spec.digest())
    (tmp_path / "attributes.txt").write_text(
        (tmp_path / "attributes.txt").read_text().replace("house", "place")
    )
    seen.add(spec.digest())
    write_nifti(tmp_path / "bold.nii.gz", volumes(48, seed=1))
    seen.add(spec.digest())
    assert len(seen) == 4
    assert "root" not in spec.identity()


def test_importing_the_sources_does_not_import_nibabel():
    code = "import sys, citrus_ray.data; print('nibabel' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ---- real recordings ----


def test_the_real_slice_reads_the_same_as_image_and_as_npz_and_its_categories_can_be_told_apart():
    root = DATA / "haxby"
    if not root.is_dir():
        pytest.skip(f"haxby is not under {DATA}; set CITRUS_DATA to the folder that holds it")
    image: dict[str, Any] = {
        "pattern": "bold.nii.gz",
        "mask": "mask.nii.gz",
        "labels": "attributes_literal.txt",
    }
    windows = Fmri(root=str(root), classes=CATEGORIES, **image).prepare()
    assert windows.x.shape == (864, 530, 1)
    assert windows.sfreq == pytest.approx(0.4)
    assert set(windows.class_counts().values()) == {108}
    assert len(windows.groups) == 12
    copy = Fmri(
        root=str(root), classes=CATEGORIES, pattern="recordings/*.npz", labels="labels.csv"
    ).prepare()
    assert np.array_equal(windows.x, copy.x)
    assert np.array_equal(windows.labels, copy.labels)
    from sklearn.linear_model import RidgeClassifier

    held_out = windows.group < 3
    model = RidgeClassifier(1000.0).fit(windows.x[~held_out, :, 0], windows.labels[~held_out])
    # chance is 0.125
    assert model.score(windows.x[held_out, :, 0], windows.labels[held_out]) > 0.45
