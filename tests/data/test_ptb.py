"""`kind: ptb`: the label is in the header, the group is the patient's folder."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from citrus_ray.data.sources.ptb import Ptb
from citrus_ray.spec import SpecError
from tests.data.originals import LEADS, ptb, ptb_record

DATA = Path(
    os.environ.get("CITRUS_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data"
)
REAL = DATA / "wfdb_sample"
real = pytest.mark.skipif(
    not (REAL / "s0010_re.dat").exists(), reason=f"no original record in {REAL}"
)


def complaint(spec: Ptb) -> str:
    with pytest.raises(SpecError) as caught:
        spec.check()
    return str(caught.value)


def test_fifteen_leads_from_two_files_come_in_millivolts(tmp_path):
    windows = ptb(tmp_path, normalize="none").prepare()
    assert windows.x.shape == (12, 15, 125)
    assert windows.ch_names == LEADS
    assert set(windows.modalities) == {"ecg"}
    assert np.abs(windows.x.mean(axis=(0, 2)) - np.arange(15)).max() < 0.05


def test_a_patients_records_are_one_group_and_the_reason_for_admission_is_the_class(tmp_path):
    windows = ptb(tmp_path).prepare()
    assert windows.groups == ("patient001", "patient104")
    assert windows.class_counts() == {"Healthy control": 4, "Myocardial infarction": 8}
    assert any("left out: 1 of 4 records" in caveat for caveat in windows.caveats)


def test_classes_are_chosen_by_name_and_a_typo_is_noticed(tmp_path):
    spec = ptb(tmp_path, classes=None)
    ptb_record(tmp_path, "patient002", "s0015lre", "Myocarditis")
    assert spec.prepare().classes == ("Healthy control", "Myocardial infarction", "Myocarditis")
    assert (
        spec.at({"classes": ["Myocarditis", "Healthy control"]}).prepare().classes[0]
        == "Myocarditis"
    )
    assert "did you mean `Myocarditis`?" in complaint(
        spec.at({"classes": ["Myocarditis ", "Healthy control"]})
    )


def test_leads_can_be_named(tmp_path):
    windows = ptb(tmp_path, channels=("v2", "ii"), normalize="none").prepare()
    assert windows.ch_names == ("v2", "ii")
    assert windows.x.mean(axis=(0, 2)).round().tolist() == [7, 1]
    assert "did you mean `v2`?" in complaint(ptb(tmp_path, channels=("V2",)))


def test_a_missing_truncated_or_mislabelled_record_is_named_with_the_way_out(tmp_path):
    spec = ptb(tmp_path)
    path = tmp_path / "patient104" / "s0306lre.hea"
    text, data = path.read_text(), path.with_suffix(".dat").read_bytes()
    path.with_suffix(".xyz").unlink()
    assert f"{path}: its data file s0306lre.xyz is missing" in complaint(spec)
    spec.at({"channels": ["i", "v6"]}).check()
    path.with_suffix(".dat").write_bytes(data[:-24])
    assert "s0306lre.dat is truncated: 2000 samples promised, 1999 there" in complaint(spec)
    path.write_text(text.replace("# Reason for admission: Healthy control\n", ""))
    assert f"{path}: states 0 lines `# Reason for admission: …`" in complaint(spec)
    path.write_text(text.replace("s0306lre", "s0307lre"))
    assert "is the header of record s0307lre, not of s0306lre" in complaint(spec)
    path.write_text(text.replace("s0306lre 15", "s0306lre fifteen"))
    assert f"{path}: cannot be read as hea" in complaint(spec)


def test_a_folder_without_patients_says_what_it_holds(tmp_path):
    (tmp_path / "s0010_re.hea").write_text("")
    assert "holds no patients' records (patient*/*.hea), but s0010_re.hea" in complaint(
        Ptb(root=str(tmp_path))
    )


@real
def test_the_original_record_gives_its_twelve_leads(tmp_path):
    import wfdb

    folder = tmp_path / "patient001"
    folder.mkdir()
    for suffix in (".dat", ".hea"):
        shutil.copy(REAL / f"s0010_re{suffix}", folder)
    spec = Ptb(root=str(tmp_path), sfreq=1000.0, seconds=2.0, classes=None, normalize="none")
    assert "its data file s0010_re.xyz is missing" in complaint(spec)
    windows = spec.at({"channels": list(LEADS[:12])}).prepare()
    assert windows.x.shape == (19, 12, 2000)
    assert windows.classes == ("Myocardial infarction",)
    signal = wfdb.rdrecord(str(folder / "s0010_re"), channels=list(range(12))).p_signal
    assert np.allclose(windows.x[3], signal[6000:8000].T, atol=1e-5)
