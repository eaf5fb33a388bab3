"""The cluster's token is made once, for one reader, and never shown."""

import stat
from pathlib import Path

import pytest

from citrus_ray.launch import token


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_token_is_made_where_ray_looks_for_it_and_never_shown(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert token.main() == 0
    path = home / ".ray" / "auth_token"
    secret = path.read_text()
    assert len(secret) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    out, err = capsys.readouterr()
    assert secret not in out + err


def test_a_token_that_is_there_stays_and_is_closed_to_others(home: Path) -> None:
    token.main()
    secret = token.place().read_text()
    token.place().chmod(0o644)
    assert token.main() == 0
    assert token.place().read_text() == secret
    assert stat.S_IMODE(token.place().stat().st_mode) == 0o600


def test_two_tokens_differ(tmp_path: Path) -> None:
    for name in ("one", "two"):
        token.make(tmp_path / name)
    assert (tmp_path / "one").read_text() != (tmp_path / "two").read_text()


def test_a_home_that_cannot_hold_it_is_one_error(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".ray").write_text("a file")
    assert token.main() == 2
    assert "cannot be written" in capsys.readouterr().err
