"""`kind: mitbih`: a window is one labelled beat."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from citrus_ray.data.sources.mitbih import MitBih
from citrus_ray.spec import SpecError
from tests.data.originals import mitbih, mitbih_record

DATA = Path(
    os.environ.get("CITRUS_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data"
)
REAL = DATA / "mitbih"
real = pytest.mark.skipif(not (REAL / "100.atr").exists(), reason=f"no original record in {REAL}")
BEATS = [
    (18, "+"),
    (60, "N"),
    (500, "N"),
    (700, "~"),
    (900, "V"),
    (1300, "A"),
    (1700, "/"),
    (2100, "F"),
    (3599, "N"),
]


def complaint(spec: MitBih) -> str:
    with pytest.raises(SpecError) as caught:
        spec.check()
    return str(caught.value)


def test_every_beat_stands_in_the_middle_of_its_window(tmp_path):
    mitbih_record(tmp_path, "100", BEATS)
    windows = MitBih(root=str(tmp_path), normalize="none").prepare()
    assert windows.x.shape == (5, 1, 180)
    assert windows.x[:, 0].argmax(axis=-1).tolist() == [90] * 5
    assert [windows.classes[y] for y in windows.labels] == [
        "other",
        "pvc",
        "other",
        "other",
        "other",
    ]
    assert windows.modalities == ("ecg",)


def test_marks_of_rhythm_and_noise_and_beats_too_near_an_end_give_no_window(tmp_path):
    mitbih_record(tmp_path, "100", BEATS)
    # the beat at 60 now fits, that at 3599 never
    assert len(MitBih(root=str(tmp_path), seconds=0.2).prepare()) == 6


def test_the_five_classes_of_aami_come_in_their_order(tmp_path):
    mitbih_record(tmp_path, "100", BEATS)
    windows = MitBih(root=str(tmp_path), task="aami").prepare()
    assert windows.classes == ("N", "S", "V", "F", "Q")
    assert windows.labels.tolist() == [0, 2, 1, 4, 3]


def test_a_class_without_a_beat_is_left_out_and_said(tmp_path):
    mitbih_record(tmp_path, "100", [(500, "N"), (900, "V")])
    windows = MitBih(root=str(tmp_path), task="aami").prepare()
    assert windows.classes == ("N", "V")
    assert "no window of class F" in windows.caveats


def test_a_record_is_a_group_but_the_two_of_one_person_are_one(tmp_path):
    windows = mitbih(tmp_path).prepare()
    assert windows.groups == ("100", "201+202")
    assert np.bincount(windows.group).tolist() == [5, 10]


def test_records_without_the_lead_are_left_out_and_named(tmp_path):
    mitbih_record(tmp_path, "100", BEATS)
    mitbih_record(tmp_path, "104", BEATS, leads=("V5", "V2"))
    windows = MitBih(root=str(tmp_path)).prepare()
    assert windows.groups == ("100",)
    assert "left out, for they have no MLII: records 104" in windows.caveats
    assert MitBih(root=str(tmp_path), channels=("V5",)).prepare().groups == ("100", "104")
    assert "no record has them; there are MLII, V2, V5" in complaint(
        MitBih(root=str(tmp_path), channels=("II",))
    )


def test_records_can_be_named_and_paced_ones_left_out(tmp_path):
    for name in ("100", "107"):
        mitbih_record(tmp_path, name, BEATS)
    assert MitBih(root=str(tmp_path)).prepare().groups == ("100", "107")
    assert MitBih(root=str(tmp_path), paced=False).prepare().groups == ("100",)
    assert MitBih(root=str(tmp_path), records=("107",)).prepare().groups == ("107",)
    assert "did you mean `107`?" in complaint(MitBih(root=str(tmp_path), records=("1071",)))
    with pytest.raises(ValidationError, match="are all paced"):
        MitBih(records=("107",), paced=False)


def test_truncated_foreign_and_corrupt_annotations_are_named_with_the_way_out(tmp_path):
    spec = mitbih(tmp_path)
    path = tmp_path / "201.atr"
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    assert f"{path}: is truncated: annotations end in two zero bytes" in complaint(spec)
    mitbih_record(tmp_path, "201", [(500, "N"), (9000, "N")])
    said = complaint(spec)
    assert f"{path}: labels sample 9000, but the recording has 3600: it belongs to another" in said
    assert said.count("\n") == 0
    mitbih_record(tmp_path, "201", [(500, "+")])
    assert "labels no beat; leave record 201 out with `records:`" in complaint(spec)
    path.write_bytes(np.random.default_rng(0).bytes(400) + b"\0\0")
    said = complaint(spec)
    assert str(path) in said
    assert "copy or download it again" in said
    path.unlink()
    assert "201 have no annotations; put their .atr files beside the headers" in complaint(spec)


def test_a_header_under_the_name_of_another_record_is_refused(tmp_path):
    spec = mitbih(tmp_path)
    header = (tmp_path / "100.hea").read_text()
    # its samples would be those of 100, under the beats of 201
    (tmp_path / "201.hea").write_text(header)
    assert f"{tmp_path / '201.hea'}: is the header of record 100, not of 201" in complaint(spec)


def test_truncated_signals_and_annotations_at_another_rate_are_refused(tmp_path):
    import wfdb

    spec = mitbih(tmp_path)
    wfdb.wrann("100", "atr", np.array([500]), ["N"], fs=250, write_dir=str(tmp_path))
    assert "100.atr: counts 250 samples per second, its recording 360" in complaint(spec)
    data = (tmp_path / "202.dat").read_bytes()
    (tmp_path / "202.dat").write_bytes(data[:3000])
    said = complaint(spec)
    assert "its data file 202.dat is truncated: 3600 samples promised, 1000 there" in said
    assert "100.atr" in said  # all that is wrong, at once


@real
def test_the_original_record_100_gives_the_beats_that_were_counted():
    import wfdb

    windows = MitBih(root=str(REAL), records=("100",), normalize="none").prepare()
    with (REAL / "labels.csv").open() as handle:
        rows = [row for row in csv.DictReader(handle) if row["file"] == "r100"]
    assert len(windows) == len(rows) == 2271
    assert windows.class_counts() == {"other": 2270, "pvc": 1}
    signal = wfdb.rdrecord(str(REAL / "100")).p_signal[:, 0]
    for k in (0, 1000, 2270):
        start = round(float(rows[k]["start_s"]) * 360)
        assert np.allclose(windows.x[k, 0], signal[start : start + 180], atol=1e-6)
