"""Encoder weights in a store: safetensors that cannot run code when loaded, checked each time."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from citrus_ray.records import write_bytes
from citrus_ray.store import entries
from citrus_ray.store.entries import CheckpointError as CheckpointError
from citrus_ray.store.files import Places, Where, open_storage

if TYPE_CHECKING:
    import torch

Weights = dict[str, "torch.Tensor"]


def save(store: Where, digest: str, weights: Weights, meta: dict[str, Any]) -> None:
    """All or nothing. A second writer of the same digest changes nothing."""
    from safetensors.torch import save as to_bytes

    plain = {name: t.detach().cpu().contiguous() for name, t in weights.items()}
    entries.write(open_storage(store), digest, to_bytes(plain), meta)


def exists(store: Where, digest: str) -> bool:
    return entries.exists(open_storage(store), digest)


def is_whole(store: Where, digest: str) -> bool:
    return entries.is_whole(open_storage(store), digest)


def meta_or_none(store: Places, digest: str) -> dict[str, Any] | None:
    """What is known of an encoder; None where it is not there, or damaged."""
    places = store if isinstance(store, tuple) else (store,)
    found = (entries.read_meta_or_none(open_storage(place), digest) for place in places)
    return next((meta for meta in found if meta is not None), None)


def read_meta(store: Where, digest: str) -> dict[str, Any]:
    return entries.read_meta(open_storage(store), digest)


def load(store: Where, digest: str, cache: Path | None = None) -> Weights:
    """The weights, once their checksum is right. A remote store's are kept in the folder
    `cache`."""
    from safetensors.torch import load as from_bytes

    storage = open_storage(store)
    meta = entries.read_meta(storage, digest)
    near = cache / f"{meta['sha256']}.safetensors" if cache and storage.remote else None
    content = near.read_bytes() if near and near.exists() else b""
    if hashlib.sha256(content).hexdigest() != meta["sha256"]:
        content = entries.read_weights(storage, digest, meta)
        if near:
            write_bytes(near, content)
    return dict(from_bytes(content))
