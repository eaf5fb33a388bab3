"""What files say of their own bytes, and seals of folders whose files say nothing: compared, and
what differs is named."""

import gzip
import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from citrus_ray.cli.citrus import main as citrus
from citrus_ray.data.formats.digests import content_of
from citrus_ray.data.formats.nifti import Mask, read_series
from citrus_ray.data.formats.recordings import read_header, read_samples
from citrus_ray.data.formats.seals import FILE, read_seal
from citrus_ray.data.sources.files import Files
from citrus_ray.data.tools.export import write_npz, write_wfdb
from citrus_ray.spec import SpecError, validate
from tests.data.test_formats_fuzz import noise

FREQ = 50.0


def files(root: Path, pattern: str) -> Files:
    spec = {"kind": "files", "root": str(root), "pattern": pattern}
    return validate(Files, spec | {"seconds": 1.0, "sfreq": FREQ, "normalize": "none"})


def samples(path: Path) -> np.ndarray:
    header = read_header(path)
    return np.stack(read_samples(header, header.channels))


# ---- checksums of formats ----


def flip(path: Path, at: int, bits: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= bits
    path.write_bytes(content)


def wfdb(folder: Path) -> Path:
    write_wfdb(folder / "a", noise(), FREQ, ["a", "b"])
    return folder / "a.hea"


def test_wfdb_samples_add_up_to_the_sum_in_their_header(tmp_path):
    header = wfdb(tmp_path)
    samples(header)
    flip(tmp_path / "a.dat", 101)
    with pytest.raises(SpecError, match=r"a.hea: a: samples do not add up to the checksum"):
        samples(header)


def test_a_sum_of_0_says_nothing_as_of_who_did_not_count(tmp_path):
    header = wfdb(tmp_path)
    lines = [line.split() for line in header.read_text().splitlines()]
    text = "\n".join(" ".join([*of[:6], "0", *of[7:]]) if i else " ".join(of)
                     for i, of in enumerate(lines))  # fmt: skip
    header.write_text(text + "\n")
    flip(tmp_path / "a.dat", 101)
    samples(header)


def test_a_header_under_another_name_than_its_records_is_refused(tmp_path):
    wfdb(tmp_path).rename(tmp_path / "other.hea")
    with pytest.raises(SpecError, match="is the header of record a, not of other"):
        read_header(tmp_path / "other.hea")


def test_an_array_that_its_own_header_makes_shorter_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=noise(), sfreq=FREQ)
    content = path.read_bytes()
    at = content.index(b"(2, 300)")
    path.write_bytes(content[:at] + b"(2, 100)" + content[at + 8 :])
    with pytest.raises(SpecError, match=r"a.npz: cannot be read"):
        samples(path)
    with zipfile.ZipFile(path, "w") as archive:  # with a sum that fits
        inside = content[content.index(b"\x93NUMPY") :][:2528].replace(b"(2, 300)", b"(2, 100)")
        archive.writestr("x.npy", inside)
        archive.writestr("sfreq.npy", _npy(np.array(FREQ)))
    with pytest.raises(SpecError, match="`x` holds more than its header says"):
        samples(path)


def _npy(x: np.ndarray) -> bytes:
    import io

    out = io.BytesIO()
    np.save(out, x)
    return out.getvalue()


@pytest.mark.parametrize("scale", [0.0, np.nan])
def test_a_scale_that_leaves_nothing_of_samples_is_refused(tmp_path, scale):
    np.savez(tmp_path / "a.npz", x=noise(), sfreq=FREQ, scale=scale)
    with pytest.raises(SpecError, match="`scale` is 0 or no number"):
        samples(tmp_path / "a.npz")


def test_what_gzip_packed_is_read_to_its_checksum(tmp_path):
    import nibabel

    x = np.random.default_rng(0).normal(size=(2, 2, 2, 40)).astype("f4")
    path = tmp_path / "a.nii.gz"
    nibabel.Nifti1Image(x, np.eye(4)).to_filename(path)
    mask = Mask(path, np.ones((2, 2, 2), np.int64), False)
    assert read_series(path, mask).shape == (8, 40)
    content = gzip.decompress(path.read_bytes())
    packed = bytearray(gzip.compress(content))
    packed[-8:-4] = struct.pack("<I", 1)  # the sum, not the samples
    path.write_bytes(packed)
    with pytest.raises(SpecError, match=r"a.nii.gz: cannot be read: CRC check failed"):
        read_series(path, mask)


# ---- seals ----


def folder_of(root: Path) -> Path:
    for name in "ab":
        write_npz(root / f"{name}.npz", noise() + ord(name), FREQ, ["x", "y"], ["eeg", "eeg"])
    return root


def test_a_sealed_folder_is_compared_and_each_difference_named(tmp_path, capsys):
    folder = folder_of(tmp_path)
    (folder / "notes.txt").write_text("mine")
    assert citrus(["data", "seal", str(folder)]) == 0
    assert f"3 files, 0.0 MB sealed in {FILE}" in capsys.readouterr().out
    assert citrus(["data", "seal", str(folder)]) == 0
    assert "3 files are sealed, all of them as they were" in capsys.readouterr().out
    flip(folder / "a.npz", 200)
    (folder / "notes.txt").write_text("mine, and longer")
    (folder / "b.npz").unlink()
    (folder / "new.npz").write_bytes(b"new")
    assert citrus(["data", "seal", str(folder)]) == 1
    said = capsys.readouterr().err
    assert "a.npz: is not what was sealed" in said
    assert "b.npz: is gone" in said
    assert "new.npz: came after" in said
    assert "notes.txt: has 16 bytes and was sealed with 4" in said
    assert citrus(["data", "seal", str(folder), "--again"]) == 0
    assert citrus(["data", "seal", str(folder)]) == 0
    assert citrus(["data", "seal", str(folder / "nowhere")]) == 2


def test_a_preparation_names_everything_that_is_not_what_was_sealed(tmp_path):
    folder = folder_of(tmp_path)
    assert citrus(["data", "seal", str(folder)]) == 0
    digest = files(folder, "*.npz").digest()
    for name in "ab":
        flip(folder / f"{name}.npz", 200)
    with pytest.raises(SpecError) as caught:
        files(folder, "*.npz").digest()
    assert [Path(p.file or "").name for p in caught.value.problems] == ["a.npz", "b.npz"]
    for name in "ab":
        flip(folder / f"{name}.npz", 200)
    assert files(folder, "*.npz").digest() == digest
    (folder / "b.npz").unlink()
    with pytest.raises(SpecError, match=r"b.npz: was sealed and is gone"):
        files(folder, "*.npz").digest()


def test_a_bit_that_a_disk_lost_is_found_though_the_time_of_change_is_the_old_one(tmp_path):
    folder, path = folder_of(tmp_path), tmp_path / "a.csv"
    path.write_text("t,a\n" + "".join(f"{i / FREQ},{i}\n" for i in range(100)))
    (tmp_path / FILE).unlink(missing_ok=True)
    assert citrus(["data", "seal", str(folder)]) == 0
    source, stat = files(folder, "a.csv"), path.stat()
    source.digest()  # which remembers that of the file
    path.write_text(path.read_text().replace(",42\n", ",43\n"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(SpecError, match=r"a.csv: is not what was sealed"):
        source.prepare()


def test_a_seal_that_is_damaged_itself_is_named(tmp_path):
    folder = folder_of(tmp_path)
    assert citrus(["data", "seal", str(folder)]) == 0
    tree = json.loads((folder / FILE).read_text())
    tree["files"]["a.npz"][0] += 1
    (folder / FILE).write_text(json.dumps(tree))
    with pytest.raises(SpecError, match="its own seal does not fit"):
        content_of([folder / "a.npz"], folder)
    assert citrus(["data", "seal", str(folder)]) == 2


def test_a_folder_without_a_seal_is_read_as_before(tmp_path):
    folder = folder_of(tmp_path)
    assert read_seal(folder) is None
    assert len(files(folder, "*.npz").prepare()) == 12
