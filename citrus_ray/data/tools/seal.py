"""`citrus data seal FOLDER`: size and SHA-256 of each file below it, which every preparation
compares from then on; of a folder that is sealed, whether it is as it was."""

import argparse
import os
import sys
from pathlib import Path

from citrus_ray.data.formats.seals import (
    FILE,
    FolderSeal,
    facts_of,
    faults_below,
    read_seal,
    sealed_below,
)
from citrus_ray.spec import refuse


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    what = "write down size and SHA-256 of each file of a folder, or compare with what was"
    command = commands.add_parser("seal", help=what, description=__doc__)
    command.add_argument("folder", type=Path, metavar="FOLDER", help="the folder of recordings")
    what = "seal what is there now, whatever was sealed before"
    command.add_argument("--again", action="store_true", help=what)


def seal(folder: Path, again: bool = False) -> int:
    """Exit code 0: sealed, or as it was sealed, 1: something is not what was sealed."""
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise refuse(f"{folder}: there is no such folder; give one that holds recordings")
    known = None if again else read_seal(folder)
    if known is None:
        paths = list(sealed_below(folder))
        if not paths:
            raise refuse(f"{folder}: holds no file; give a folder that holds recordings")
        files = {path.relative_to(folder).as_posix(): facts_of(path) for path in paths}
        _write(folder / FILE, FolderSeal(folder, files).text())
        size = sum(n for n, _ in files.values())
        print(f"{folder}: {len(files)} files, {size / 1e6:.1f} MB sealed in {FILE}")
        print("sweeps compare from now on; the same command compares at once")
        return 0
    faults = faults_below(known)
    for name, fault in faults.items():
        print(f"{folder / name}: {fault}", file=sys.stderr)
    n = len(known.files)
    what = "all of them as they were" if not faults else f"{len(faults)} not what was sealed"
    print(f"{folder}: {n} files are sealed, {what}")
    return int(bool(faults))


def _write(path: Path, text: str) -> None:
    """Beside, then in its place: whoever compares meanwhile sees the old seal or the new one."""
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    with partial.open("w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
