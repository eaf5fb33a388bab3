"""`kind: sleep_edf`: nights as EDF with their hypnograms as EDF+ annotations."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.signal import resample_poly

from citrus_ray.data.sources.sleep_edf import SleepEdf, read_stages
from citrus_ray.spec import SpecError
from tests.data.originals import RATES, hypnogram, psg, sleep_edf, stairs

CLASSES = ("W", "N1", "N2", "N3", "REM")


def complaint(spec: SleepEdf) -> str:
    with pytest.raises(SpecError) as caught:
        spec.check()
    return str(caught.value)


def one_night(root: Path, night: Any = None, **edits: Any) -> SleepEdf:
    psg(root / "SC4001E0-PSG.edf")
    hypnogram(root / "SC4001EC-Hypnogram.edf", **({"night": night} if night else {}))
    fields: dict[str, Any] = {"root": str(root), "wake_minutes": 1.0, "normalize": "none"}
    return SleepEdf(**(fields | edits))


def test_epochs_carry_their_stage_and_movement_and_far_wake_are_dropped(tmp_path):
    windows = one_night(tmp_path).prepare()
    assert windows.x.shape == (15, 5, 3000)
    place = windows.x[:, 0].mean(axis=-1).round().astype(int).tolist()
    assert place == [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 18, 19]
    stages = [windows.classes[y] for y in windows.labels]
    assert stages == [
        "W",
        "W",
        "N1",
        "N1",
        "N2",
        "N2",
        "N2",
        "N3",
        "N3",
        "N3",
        "REM",
        "REM",
        "REM",
        "W",
        "W",
    ]
    assert windows.classes == CLASSES


def test_all_wake_is_kept_when_asked_but_not_what_was_not_scored(tmp_path):
    place = (
        one_night(tmp_path, wake_minutes=None)
        .prepare()
        .x[:, 0]
        .mean(axis=-1)
        .round()
        .astype(int)
        .tolist()
    )
    assert place == [k for k in range(24) if k != 14]


def test_short_windows_are_cut_within_epochs(tmp_path):
    windows = one_night(tmp_path, seconds=7.0).prepare()
    assert windows.x.shape == (15 * 4, 5, 700)
    assert np.ptp(windows.x[:, 0].mean(axis=-1).round().reshape(15, 4), axis=1).max() == 0
    assert one_night(tmp_path, seconds=2.0).prepare().x.shape == (15 * 15, 5, 200)
    with pytest.raises(ValidationError):
        SleepEdf(seconds=60.0)


def test_slow_channels_are_resampled_and_the_caveats_say_what_that_means(tmp_path):
    windows = one_night(tmp_path).prepare()
    assert windows.ch_names == (
        "EEG Fpz-Cz",
        "EEG Pz-Oz",
        "EOG horizontal",
        "EMG submental",
        "Resp oro-nasal",
    )
    assert windows.modalities == ("eeg", "eeg", "eog", "emg", "resp")
    slow = stairs(24, 30, list(RATES).index("EMG submental"))
    expected = resample_poly(slow, 100, 1, padtype="edge").reshape(24, 3000)
    assert np.abs(windows.x[2, 3] - expected[6]).max() < 0.01
    said = "EMG submental, Resp oro-nasal: recorded at 1 Hz, resampled to 100 Hz: "
    said += "nothing above 0.5 Hz is in there"
    assert said in windows.caveats
    assert any("EMG submental is the envelope" in caveat for caveat in windows.caveats)
    fast = one_night(tmp_path, channels=("EEG Pz-Oz",)).prepare()
    assert fast.ch_names == ("EEG Pz-Oz",)
    assert not any("resampled" in caveat or "envelope" in caveat for caveat in fast.caveats)


def test_both_nights_of_a_subject_are_one_group_and_subjects_can_be_named(tmp_path):
    spec = sleep_edf(tmp_path)
    windows = spec.prepare()
    assert windows.groups == ("SC400", "SC401")
    assert np.bincount(windows.group).tolist() == [30, 15]
    assert spec.at({"subjects": ["SC401"]}).prepare().groups == ("SC401",)
    assert "did you mean `SC401`?" in complaint(spec.at({"subjects": ["SC41"]}))


def test_annotations_are_what_mne_reads_stage_by_stage(tmp_path):
    path = tmp_path / "SC4001EC-Hypnogram.edf"
    hypnogram(path, [("W", 2), ("3", 1), ("4", 2), ("R", 1), ("Movement time", 1), ("?", 5)])
    assert read_stages(path) == [(0, 60, "W"), (60, 90, "N3"), (90, 150, "N3"), (150, 180, "REM")]


def test_a_night_that_ends_before_its_wake_keeps_what_is_recorded(tmp_path):
    night = (("W", 2), ("2", 4), ("1", 1), ("3", 1), ("R", 1), ("W", 100))
    windows = one_night(tmp_path, night, wake_minutes=30.0).prepare()
    assert len(windows) == 24
    assert windows.class_counts() == {"W": 17, "N1": 1, "N2": 4, "N3": 1, "REM": 1}


@pytest.mark.parametrize(
    ("night", "rule"),
    [
        ((("W", 2), ("5", 3)), "scores `Sleep stage 5`"),
        ((("W", 20),), "holds no stage of sleep"),
        ((("W", 2), ("2", 40)), "scores sleep until 1260 s, but SC4001E0-PSG.edf ends at 720 s"),
    ],
)
def test_a_hypnogram_that_does_not_fit_is_named_with_the_way_out(tmp_path, night, rule):
    said = complaint(one_night(tmp_path, night))
    assert said.startswith(str(tmp_path / "SC4001EC-Hypnogram.edf"))
    assert rule in said
    assert "copy or download it again" in said or "leave the subject out" in said


def test_a_hypnogram_of_another_night_or_other_epochs_is_refused(tmp_path):
    spec, path = one_night(tmp_path), tmp_path / "SC4001EC-Hypnogram.edf"
    hypnogram(path, date=datetime.date(1989, 4, 25))
    assert "starts at 25.04.89 16.13.00, but SC4001E0-PSG.edf at 24.04.89 16.13.00" in complaint(
        spec
    )
    hypnogram(path, (("W", 1), ("2", 1)), epoch_s=20.0)
    assert "scores 20 s as Sleep stage W at 0 s; epochs are 30 s" in complaint(spec)


def test_truncated_corrupt_and_missing_files_are_named(tmp_path):
    spec = one_night(tmp_path)
    night, scored = tmp_path / "SC4001E0-PSG.edf", tmp_path / "SC4001EC-Hypnogram.edf"
    data, marks = night.read_bytes(), scored.read_bytes()
    night.write_bytes(data[:-5000])
    assert f"{night}: is truncated: its header promises 24 data records" in complaint(spec)
    night.write_bytes(b"no EDF at all" * 100)
    assert f"{night}: is not EDF or BDF" in complaint(spec)
    night.write_bytes(data)
    scored.write_bytes(marks[:-40])
    assert f"{scored}: is truncated" in complaint(spec)
    scored.write_bytes(marks[:512] + b"\xff" * (len(marks) - 512))
    said = complaint(spec)
    assert str(scored) in said
    assert "copy or download it again" in said
    scored.unlink()
    assert "SC4001E0-PSG.edf: each needs exactly one hypnogram, SC4001…-Hypnogram.edf" in complaint(
        spec
    )
    night.unlink()
    assert "holds no cassette recordings" in complaint(spec)


def test_two_hypnograms_for_one_night_are_refused_and_a_channel_that_is_not_there_too(tmp_path):
    spec = one_night(tmp_path, channels=("EEG Cz",))
    assert "`EEG Cz` is not there" in complaint(spec)
    hypnogram(tmp_path / "SC4001EH-Hypnogram.edf")
    assert "exactly one hypnogram" in complaint(spec)
