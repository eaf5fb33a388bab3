"""Token that a cluster asks every client for: `python -m citrus_ray.launch.token` makes it once and
never shows it."""

import os
import secrets
import sys
from pathlib import Path

PRIVATE = 0o600


def place() -> Path:
    """Where Ray looks for it on every machine; the cluster files carry it there."""
    return Path.home() / ".ray" / "auth_token"


def make(path: Path) -> bool:
    """Whether it was made; one that is there stays, since a running cluster may know it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    except FileExistsError:
        path.chmod(PRIVATE)
        return False
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))
    return True


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
