"""Results packed into one file say elsewhere what they say here."""

import io
import tarfile
from pathlib import Path

import pytest

from citrus_ray.cli.citrus import main as citrus
from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.report.files import write_report
from citrus_ray.store import checkpoint, encoders_of, entries, open_storage
from tests.report.whole import whole

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = sorted((ROOT / "analysis" / "published").glob("*.tar.gz"))


@pytest.fixture(autouse=True)
def _store_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CITRUS_STORE", raising=False)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole(tmp_path_factory.mktemp("home"))


@pytest.fixture
def packed(results: Path, tmp_path: Path) -> Path:
    file = tmp_path / "made-up.tar.gz"
    assert citrus(["records", "pack", str(results), "--out", str(file), "--predictions"]) == 0
    return file


def test_the_page_of_packed_results_is_that_of_the_results(results, packed, tmp_path):
    folder = tmp_path / results.parent.name / results.name
    assert citrus(["records", "unpack", str(packed), "--out", str(folder)]) == 0
    here, there = (write_report([f], publish=False).read_text() for f in (results, folder))
    assert "a linear predictor" in there  # which only the encoders' store knows
    assert here == there


def test_the_same_results_give_the_same_bytes_wherever_they_lie(packed, tmp_path):
    folder, again = tmp_path / "other", tmp_path / "again.tar.gz"
    assert citrus(["records", "unpack", str(packed), "--out", str(folder)]) == 0
    assert citrus(["records", "pack", str(folder), "--out", str(again), "--predictions"]) == 0
    assert again.read_bytes() == packed.read_bytes()


def test_predictions_stay_out_unless_they_are_asked_for(results, tmp_path):
    small = tmp_path / "small.tar.gz"
    assert citrus(["records", "pack", str(results), "--out", str(small)]) == 0
    with tarfile.open(small) as tarred:
        tops = {name.partition("/")[0] for name in tarred.getnames()}
    assert tops == {"spec.yaml", "records", "encoders"}


def test_what_is_there_is_never_written_over(results, packed, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CITRUS_RESULTS", str(tmp_path / "results"))
    assert citrus(["records", "unpack", str(packed)]) == 0
    assert citrus(["records", "unpack", str(packed)]) == 2
    assert "made-up: is there already; give another folder with --out" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b no archive", None])
def test_a_file_that_is_none_of_ours_is_refused(content, tmp_path, capsys):
    file, out = tmp_path / "x.tar.gz", tmp_path / "out"
    if content is not None:
        file.write_bytes(content)
    assert citrus(["records", "unpack", str(file), "--out", str(out)]) == 2
    assert "is no file that `citrus records pack` wrote" in capsys.readouterr().err
    assert not out.exists()


def test_an_archive_that_would_leave_its_folder_is_refused(tmp_path, capsys):
    file, out = tmp_path / "x.tar.gz", tmp_path / "in" / "out"
    with tarfile.open(file, "w:gz") as tarred:
        member = tarfile.TarInfo("../escaped")
        member.size = 1
        tarred.addfile(member, io.BytesIO(b"x"))
    assert citrus(["records", "unpack", str(file), "--out", str(out)]) == 2
    assert "would be written outside its folder" in capsys.readouterr().err
    assert not any((tmp_path / "in").iterdir())


def test_damaged_records_are_not_published(tmp_path, capsys):
    folder = whole(tmp_path / "home")
    record = next((folder / "records").iterdir())
    record.write_text(record.read_text()[:-20])
    assert citrus(["records", "pack", str(folder)]) == 1
    assert record.name in capsys.readouterr().err
    assert not (tmp_path / "home" / "made-up.tar.gz").exists()


def test_encoders_are_looked_up_in_the_store_where_results_came_from_a_sweep(results):
    assert encoders_of(results)[0] == str(results.parent / "store")


def test_what_was_unpacked_goes_on_with_encoders_of_both_kinds(packed, tmp_path):
    folder = tmp_path / "there" / "made-up"
    assert citrus(["records", "unpack", str(packed), "--out", str(folder)]) == 0
    came = next((folder / "encoders").iterdir()).name
    entries.write(open_storage(folder.parent / "store"), "made-here", b"", {"seconds": 2.0})
    for digest in (came, "made-here"):
        assert checkpoint.meta_or_none(encoders_of(folder), digest) is not None


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.name)
def test_published_records_are_whole(file, tmp_path):
    assert citrus(["records", "unpack", str(file), "--out", str(tmp_path / "results")]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.name)
def test_the_log_and_readme_say_what_published_records_say(file, tmp_path):
    name = file.name.removesuffix(".tar.gz")
    assert citrus(["records", "unpack", str(file), "--out", str(tmp_path / name)]) == 0
    log, readme = (path.read_text() for path in (ROOT / "analysis/LOG.md", ROOT / "README.md"))
    said = [
        f"({claim['low']:+.3f} to {claim['high']:+.3f})"
        for claim in (judged.tree() for judged in read_evidence([tmp_path / name]).claims)
        if claim["verdict"] == "supported"
    ]
    if not said:
        pytest.skip("nothing is decided in these records yet")
    assert [text for text in said if text not in log] == []
    assert any(text in readme for text in said)
