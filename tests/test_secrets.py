"""What is a secret is shown nowhere, and the umask says who reads what we write."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from citrus_ray import records
from citrus_ray.data.root import cache_root
from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.windowing import cache
from citrus_ray.spec import SpecError, refuse, without_secrets
from citrus_ray.store import open_storage

URIS = {
    "s3://AKIA12:ab/cd+e@bucket/x?region=eu": "s3://***@bucket/x?region=eu",
    "https://me:p@ss@host/x and more": "https://***@host/x and more",
    "https://me@host/x": "https://***@host/x",
    "abfs://box@acct.dfs/x?sig=a%2F&se=3": "abfs://***@acct.dfs/x?sig=***&se=3",
    "https://h/x?X-Amz-Signature=ab&X-Amz-Credential=zz&a=1": (
        "https://h/x?X-Amz-Signature=***&X-Amz-Credential=***&a=1"
    ),
    "s3://b/x?session_token=abc#there": "s3://b/x?session_token=***#there",
    "https://h/x?key=AIza9&q=1": "https://h/x?key=***&q=1",
    "RAY_AUTH_TOKEN=abcdef aws_secret_access_key=qq": (
        "RAY_AUTH_TOKEN=*** aws_secret_access_key=***"
    ),
}
HARMLESS = (
    "https://host:8080/a@b.png",
    "s3://bucket/store?region=eu-west-1",
    "n_tokens=5, token_size=4, sig_name=ECG",
    "see https://h/a, and mail b@c: trial d=5",
)


@pytest.mark.parametrize("text", URIS)
def test_names_passwords_and_keys_are_cut_from_a_text(text: str) -> None:
    assert without_secrets(text) == URIS[text]
    assert without_secrets(URIS[text]) == URIS[text]


@pytest.mark.parametrize("text", HARMLESS)
def test_a_text_without_secrets_stays(text: str) -> None:
    assert without_secrets(text) == text


def test_a_long_text_is_looked_through_in_time() -> None:
    for piece in ("https://", "://:", "?a", "a_token", "a.-", "aws_"):
        without_secrets(piece * (40_000 // len(piece)))


def test_every_error_of_ours_is_without_them() -> None:
    said = str(refuse("store s3://me:word@bucket/x?token=abc: cannot be opened", "$CITRUS_STORE"))
    assert said == "$CITRUS_STORE: store s3://***@bucket/x?token=***: cannot be opened"


def test_a_store_is_named_without_its_password() -> None:
    with pytest.raises(SpecError) as caught:
        open_storage("nothing://me:word@bucket/store")
    assert "word" not in str(caught.value)
    assert open_storage("s3://me:word@bucket/x?region=eu-west-1").name == (
        "s3://***@bucket/x?region=eu-west-1"
    )


# ---- who may read ----


@pytest.fixture(params=[0o022, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder: Path) -> set[tuple[bool, int]]:
    """Kinds of what is in a folder and itself, with their modes."""
    found = [folder, *folder.rglob("*")]
    return {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in found}


def test_the_umask_says_who_reads_records_windows_and_encoders(
    tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shared := tmp_path / "shared").mkdir()
    monkeypatch.setenv("CITRUS_CACHE", str(shared / "cache"))
    records.write_text(shared / "results" / "records" / "a.jsonl", "{}\n")
    open_storage(shared / "store").write("abc/meta.json", b"{}")
    cache.load(Synthetic(n_subjects=2))
    assert (shared / "cache" / cache.FOLDER).is_dir()
    assert modes(shared) == {(True, 0o777 & ~umask), (False, 0o666 & ~umask)}


def test_the_cache_of_a_user_is_closed_to_others_whatever_the_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CITRUS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    assert stat.S_IMODE(cache_root().stat().st_mode) == 0o700
    cache_root().chmod(0o750)  # its owner's choice
    assert stat.S_IMODE(cache_root().stat().st_mode) == 0o750


def test_a_cache_that_cannot_be_made_has_its_name_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CITRUS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert str(cache_root()) == "/dev/null/citrus_ray"
