"""Pre-trained encoders on disk, by digest: safetensors and a JSON beside it, checked when loaded."""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Weights = dict[str, "torch.Tensor"]


class CheckpointError(RuntimeError):
    """Stored weights that cannot be trusted; names the folder and the way out."""


def save(store: Path, digest: str, weights: Weights, meta: dict[str, Any]) -> None:
    """All or nothing: written beside, flushed, renamed. A second writer of the same digest changes nothing."""
    from safetensors.torch import save_file

    store.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{digest}-", dir=store))
    try:
        save_file(
            {name: t.detach().cpu().contiguous() for name, t in weights.items()},
            partial / "encoder.safetensors",
        )
        checksum = _checksum(partial / "encoder.safetensors")
        (partial / "meta.json").write_text(json.dumps(meta | {"digest": digest, "sha256": checksum}, indent=1))
        for path in partial.iterdir():
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
        partial.chmod(0o755)
        if not exists(store, digest):
            shutil.rmtree(store / digest, ignore_errors=True)
            partial.rename(store / digest)
    except OSError:
        if not exists(store, digest):  # otherwise another writer was faster, with the same encoder
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def exists(store: Path, digest: str) -> bool:
    return (store / digest / "meta.json").exists()


def read_meta(store: Path, digest: str) -> dict[str, Any]:
    return dict(json.loads((store / digest / "meta.json").read_text()))


def load(store: Path, digest: str) -> Weights:
    """The weights, once their checksum is right."""
    from safetensors.torch import load_file

    path = store / digest / "encoder.safetensors"
    wanted, found = read_meta(store, digest)["sha256"], _checksum(path)
    if wanted != found:
        raise CheckpointError(
            f"{path.parent}: its checksum is {found[:12]}, must be {wanted[:12]}; delete the folder to compute it again"
        )
    return dict(load_file(path))


def _checksum(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
