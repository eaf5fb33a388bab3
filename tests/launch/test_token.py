"""The cluster's token is made once, for one reader, and never shown."""

import os
import stat
from pathlib import Path

import pytest

from citrus_ray.launch import token
from citrus_ray.spec import SpecError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
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


# ---- before Ray is started or joined ----


@pytest.mark.parametrize("mode", ["disabled", "DISABLED", "", "none"])
def test_a_ray_without_a_token_is_refused_without_the_flag(
    home: Path, mode: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(token.MODE, mode)
    with pytest.raises(SpecError, match=r"RAY_AUTH_MODE: .*unset it, or say --without-token"):
        token.enforce(make_it=True)
    assert not (home / ".ray").exists()
    token.enforce(make_it=True, without=True)
    assert os.environ[token.MODE] == "disabled"
    assert "WITHOUT A TOKEN" in capsys.readouterr().err


def test_the_token_is_there_and_closed_before_ray_reads_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(token.MODE)
    before = os.umask(0o000)
    try:
        token.enforce(make_it=True)
    finally:
        os.umask(before)
    path = home / ".ray" / "auth_token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.environ[token.MODE] == "token"
    path.chmod(0o644)  # as Ray makes it
    token.enforce(make_it=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_cluster_is_not_joined_with_a_token_of_our_own(home: Path) -> None:
    with pytest.raises(SpecError, match="there is no token; copy it from the machine that"):
        token.enforce(make_it=False)
    assert not (home / ".ray").exists()


def test_an_empty_token_and_one_that_others_keep_open_are_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    path.write_text("")
    with pytest.raises(SpecError, match="is empty"):
        token.enforce(make_it=True)
    path.write_text("secret")
    path.chmod(0o644)

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "chmod", refused)
        with pytest.raises(SpecError, match="others can read this token") as caught:
            token.enforce(make_it=False)
    assert "secret" not in str(caught.value)
    token.enforce(make_it=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_token_in_the_environment_is_taken_as_it_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    token.enforce(make_it=True)
    assert not (home / ".ray").exists()
