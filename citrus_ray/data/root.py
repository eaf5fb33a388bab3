"""Folders of this machine: sets, under `$CITRUS_DATA` or the user's data folder, and the cache."""

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from citrus_ray.spec import Aside, MachineError, Problem, refuse

# None: the folder of that name under the data root. May hold ~ and $VARIABLES.
Root = Annotated[Annotated[str, Field(min_length=1)] | None, Aside()]
# the folder that relative paths of specs start from, in workers too, which run in folders of Ray
HERE = "CITRUS_FOLDER"
OURS = r"\$(CITRUS_DATA\b|\{CITRUS_DATA\})"


def data_root() -> Path:
    """`$CITRUS_DATA`, else `~/.local/share/citrus_ray`."""
    base = os.environ.get("CITRUS_DATA")
    if base:
        return _from_here(base)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "citrus_ray"


def cache_root() -> Path:
    """`$CITRUS_CACHE`, else the user's cache folder."""
    base = os.environ.get("CITRUS_CACHE")
    if base:
        return _from_here(base)
    own = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "citrus_ray"
    with suppress(OSError):  # it is there, or cannot be: who writes into it says so
        own.mkdir(mode=0o700, parents=True)  # windows of patients, and no one shares it
    return own


@contextmanager
def written_to(folder: Path) -> Iterator[None]:
    """Into the cache: what stands in its way is the machine's, not the data's."""
    try:
        yield
    except OSError as err:
        why = err.strerror or err  # numpy's own has words only
        rule = f"cache folder {folder}: cannot be written: {why}; set $CITRUS_CACHE to one that can"
        raise MachineError([Problem("", rule)]) from err


def place_of(root: str | None, name: str) -> Path:
    """Where the set `name` is to be, whether or not it is there."""
    return data_root() / name if root is None else place_at(root)


def folder_of(root: str | None, name: str) -> Path:
    """The folder of the set `name`, which must be there."""
    folder = _without_variables(place_of(root, name), root)
    if not folder.is_dir():
        way = f"`citrus data fetch {name}` downloads it, or set `root`"
        rule = f"there is no folder {folder.absolute()} with the set {name}"
        raise refuse(f"{rule}; {way}, or $CITRUS_DATA", "root")
    return folder


def place_at(root: str) -> Path:
    """Where `root` points, there or not. $CITRUS_DATA has a default, others must be set."""
    text = re.sub(OURS, lambda _: str(data_root()), root)
    return _from_here(os.path.expandvars(text))


def _from_here(text: str) -> Path:
    return Path(os.environ.get(HERE, "")) / Path(text).expanduser()


def folder_at(root: str, instead: Callable[[], str] = str) -> Path:
    """The folder that `root` points to, which must be there. `instead` says a further way out."""
    folder = _without_variables(place_at(root), root)
    if not folder.is_dir():
        way = "correct the path"
        if re.search(OURS, root):
            way = "say with --data DIR or $CITRUS_DATA which folder holds the data"
        rule = f"root={root}: there is no folder {folder.absolute()}"
        raise refuse(f"{rule}; {way}{instead()}", "root")
    return folder


def _without_variables(path: Path, root: str | None) -> Path:
    unset = re.search(r"\$\{?(\w+)", str(path))
    if unset:
        rule = f"root={root}: the variable {unset[1]} is not set"
        raise refuse(f"{rule}; set it or write the path", "root")
    return path


def mapped(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """An array of zeros in a nameless file of the cache, which goes with it."""
    with written_to(cache_root()):
        cache_root().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache_root()) as handle:
            return np.memmap(handle, dtype, "w+", shape=shape)
