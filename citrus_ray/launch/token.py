"""Token that a cluster asks every client for: `python -m citrus_ray.launch.token` makes it once and
never shows it. Ray is not started or joined without."""

import os
import secrets
import stat
import sys
from pathlib import Path

from citrus_ray.spec import refuse

PRIVATE = 0o600
MODE = "RAY_AUTH_MODE"


def place() -> Path:
    """Where Ray looks for it on every machine; the cluster files carry it there."""
    return Path.home() / ".ray" / "auth_token"


def make(path: Path) -> bool:
    """Whether it was made; one that is there stays, since a running cluster may know it."""
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    except FileExistsError:
        path.chmod(PRIVATE)
        return False
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))
    return True


def enforce(make_it: bool, without: bool = False) -> None:
    """Have Ray ask for the token, which is there and closed to others before Ray reads it: what
    Ray makes itself has the mode of any file. `make_it`: here a cluster begins."""
    mode = os.environ.get(MODE, "token")
    if without:
        said = "WITHOUT A TOKEN: whoever reaches Ray's ports may run what he likes on this cluster"
        print(said, file=sys.stderr, flush=True)
        _ask_for("disabled")
        return
    if mode.lower() != "token":
        rule = "whoever reaches Ray's ports could run what he likes as you"
        raise refuse(f"{mode}: {rule}; unset it, or say --without-token", f"${MODE}")
    _ask_for("token")
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    _close(Path(given).expanduser() if given else place(), make_it and not given)


def _ask_for(mode: str) -> None:
    os.environ[MODE] = mode
    if "ray._raylet" in sys.modules:  # it has read the mode
        from ray import _raylet

        _raylet.Config.initialize("")  # type: ignore[attr-defined]


def _close(path: Path, make_it: bool) -> None:
    """Make the token, or take from others what they may do with it."""
    try:
        if make_it:
            make(path)
        facts = path.stat()
    except FileNotFoundError:
        way = "copy it from the machine that started the cluster, mode 600"
        raise refuse(f"{path}: there is no token; {way}, or say --without-token") from None
    except OSError as err:
        raise refuse(f"{path}: Ray's token cannot be kept there: {err.strerror}") from None
    if facts.st_size == 0:
        raise refuse(f"{path}: is empty, and no token; delete it")
    if not stat.S_IMODE(facts.st_mode) & 0o077:
        return
    try:
        path.chmod(PRIVATE)
    except OSError as err:
        why = f"others can read this token, and that cannot be changed: {err.strerror}"
        raise refuse(f"{path}: {why}; put it where it is yours, $RAY_AUTH_TOKEN_PATH") from None


def main() -> int:
    path = place()
    try:
        made = make(path)
    except OSError as err:
        why = f"cannot be written: {err.strerror}; Ray reads the token there"
        print(f"{path}: {why}", file=sys.stderr)
        return 2
    print(f"{path}: {'made' if made else 'was there already and stays'}; readable by you alone")
    return 0


if __name__ == "__main__":
    sys.exit(main())
