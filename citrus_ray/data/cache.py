"""Windows prepared once per source digest into memory-mapped arrays that all processes of a node share."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from citrus_ray.data.align import Align, Native
from citrus_ray.data.source import Source
from citrus_ray.data.windows import Windows
from citrus_ray.spec import digest_of

AS_THEY_ARE = Native()


def cache_root() -> Path:
    """`$CITRUS_CACHE`, else the user's cache folder."""
    base = os.environ.get("CITRUS_CACHE")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "citrus_ray"


def load(source: Source, align: Align = AS_THEY_ARE) -> Windows:
    """The source's windows, aligned and memory-mapped; prepared first where no one has yet."""
    digest = source.digest()
    if align != AS_THEY_ARE:
        return _prepared(digest_of([digest, align.identity()]), lambda: align.apply(load(source)))
    return _prepared(digest, source.prepare)


def _prepared(digest: str, prepare: Callable[[], Windows]) -> Windows:
    folder = cache_root() / "windows" / digest
    if not (folder / "meta.json").exists():
        _store(prepare(), digest, folder)
    return _open(folder)


def _store(windows: Windows, digest: str, folder: Path) -> None:
    """Write beside, then rename: a reader sees all of it or nothing. The loser of a race throws its copy away."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{digest}-", dir=folder.parent))
    try:
        np.save(partial / "x.npy", windows.x)
        np.save(partial / "group.npy", windows.group)
        if windows.y is not None:
            np.save(partial / "y.npy", windows.y)
        (partial / "meta.json").write_text(json.dumps(_meta(windows, digest)))
        for path in partial.iterdir():
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
        partial.chmod(0o755)  # mkdtemp makes it private; the cache is shared
        if not folder.exists():
            partial.rename(folder)
    except OSError:
        if not folder.exists():  # otherwise another process was faster, with the same bytes
            raise
    finally:
        # what a killed process left behind goes too; another writer that is still busy finds that it came second
        for leftover in [partial, *folder.parent.glob(f".{digest}-*")] if folder.exists() else [partial]:
            shutil.rmtree(leftover, ignore_errors=True)


def _meta(windows: Windows, digest: str) -> dict[str, Any]:
    names = ("sfreq", "ch_names", "modalities", "groups", "classes", "caveats")
    return {name: getattr(windows, name) for name in names} | {"digest": digest}


def _open(folder: Path) -> Windows:
    meta = json.loads((folder / "meta.json").read_text())
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in meta.items()}
    y = folder / "y.npy"
    return Windows(
        x=np.load(folder / "x.npy", mmap_mode="r"),
        group=np.load(folder / "group.npy"),
        y=np.load(y) if y.exists() else None,
        **fields,
    )
