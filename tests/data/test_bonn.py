"""`kind: bonn`: text files of one segment each."""

from pathlib import Path

import numpy as np
import pytest
from scipy.signal import resample_poly

from citrus_ray.data.sources.bonn import SETS, Bonn
from citrus_ray.spec import SpecError
from tests.data.originals import bonn, bonn_segment


def complaint(spec: Bonn) -> str:
    with pytest.raises(SpecError) as caught:
        spec.check()
    return str(caught.value)


def numbers(path: Path) -> np.ndarray:
    return np.array(path.read_text().split(), dtype=np.float32)


def test_a_segment_gives_the_23_windows_of_178_samples_of_the_benchmark(tmp_path):
    windows = bonn(tmp_path, normalize="none").prepare()
    assert windows.x.shape == (2 * 5 * 23, 1, 178)
    mine = windows.x[windows.group == windows.groups.index("O002"), 0]
    assert np.array_equal(mine, numbers(tmp_path / "O" / "O002.txt")[:4094].reshape(23, 178))
    assert windows.sfreq == 173.61


def test_classes_are_the_five_sets_or_seizure_against_the_rest(tmp_path):
    five, two = bonn(tmp_path).prepare(), bonn(tmp_path, task="seizure").prepare()
    assert five.classes == tuple(SETS.values())
    assert set(five.class_counts().values()) == {46}
    assert two.class_counts() == {"other": 184, "seizure": 46}
    assert {two.groups[g] for g in two.group[two.labels == 1]} == {"S001", "S002"}


def test_a_segment_is_a_group_and_missing_subjects_are_said(tmp_path):
    windows = bonn(tmp_path).prepare()
    assert len(windows.groups) == 10
    assert any("no subjects are published" in caveat for caveat in windows.caveats)
    assert any(
        "fewer than the 100 published segments: 2 of Z, 2 of O" in caveat
        for caveat in windows.caveats
    )


def test_the_folders_may_be_nested_or_flat(tmp_path):
    digest = bonn(tmp_path / "a").prepare().x.sum()
    for path in sorted((tmp_path / "a").glob("*/*")):
        path.rename(tmp_path / "a" / path.name)
    assert Bonn(root=str(tmp_path / "a")).prepare().x.sum() == digest


def test_another_rate_is_reached_by_resampling_the_whole_segment(tmp_path):
    windows = bonn(tmp_path, sfreq=173.61 / 2, seconds=2.0, normalize="none").prepare()
    whole = resample_poly(numbers(tmp_path / "Z" / "Z001.txt"), 1, 2, padtype="edge")
    mine = windows.x[windows.group == windows.groups.index("Z001"), 0]
    assert mine.shape == (11, 174)
    assert np.allclose(mine.reshape(-1), whole[: 11 * 174], atol=1e-3)


def test_a_truncated_corrupt_or_misnamed_segment_is_named_with_the_way_out(tmp_path):
    spec, path = bonn(tmp_path), tmp_path / "F" / "F001.txt"
    text = path.read_text()
    path.write_text("".join(text.splitlines(keepends=True)[:2000]))
    assert (
        f"{path}: holds 2000 samples, but a segment has 4097; copy or download it again"
        in complaint(spec)
    )
    path.write_text(text.replace("\n", "\n1e,\n", 1))
    assert f"{path}: holds b'1e,' on line 2, which is no number" in complaint(spec)
    path.write_bytes((tmp_path / "S" / "S002.txt").read_bytes())
    assert "holds the same samples as" in complaint(spec)
    assert "one has the wrong name" in complaint(spec)


def test_a_missing_set_says_what_to_unpack(tmp_path):
    spec = bonn(tmp_path)
    for path in (tmp_path / "N").iterdir():
        path.unlink()
    assert "has no segments of set N (N001.txt, …); unpack N.zip there" in complaint(spec)
    assert "holds no segments" in complaint(Bonn(root=str(tmp_path / "N")))


def test_other_text_beside_the_segments_is_ignored(tmp_path):
    spec = bonn(tmp_path)
    digest = spec.digest()
    (tmp_path / "readme.txt").write_text("read me")
    assert spec.digest() == digest
    bonn_segment(tmp_path / "Z" / "Z003.txt", seed=9)
    assert spec.digest() != digest
