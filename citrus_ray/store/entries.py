"""Entries of a store: weights as bytes and the JSON that describes them, which is written last and
makes them exist."""

import hashlib
import json
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from citrus_ray.spec import digest_of, refuse
from citrus_ray.store.files import File, Storage

META = "meta.json"
STATE = "state.bin"  # of a pre-training under way or interrupted
CLAIM = "claim-"  # and a number: who is at it
ASIDE = ".aside"  # the folder of what was damaged
Meta = dict[str, Any]


class CheckpointError(RuntimeError):
    """Stored weights that cannot be trusted; names the folder and the way out."""


@dataclass(frozen=True)
class Entry:
    digest: str
    files: tuple[File, ...]
    meta: Meta | None  # None where it cannot be read

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def made(self) -> float:
        return next(file.modified for file in self.files if file.name == META)


def exists(storage: Storage, digest: str) -> bool:
    return storage.exists(f"{digest}/{META}")


def read_meta(storage: Storage, digest: str) -> Meta:
    """What is known of an entry, once its own seal is right; those from before had none."""
    content = storage.read(f"{digest}/{META}")
    try:
        meta = json.loads(content)
        seal = meta.pop("seal", None)
        if seal is not None and seal != digest_of(meta):
            raise ValueError("is not what was written")
        _check_kinds(meta)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CheckpointError(bad(storage, digest, f"its {META} cannot be read")) from None
    return dict(meta)


def _check_kinds(meta: Meta) -> None:
    """Refuse what is no description of an encoder, whoever wrote it."""
    kinds: dict[str, Any] = {
        "weights": str,
        "history": list,
        "pretrain": dict,
        "model": dict,
        "references": dict,
    }
    kinds |= {"versions": dict, "seconds": int | float, "workers": int}
    odd = [k for k, of in kinds.items() if k in meta and not isinstance(meta[k], of | None)]
    rows = meta.get("history") or []
    if odd or not isinstance(meta["sha256"], str) or not all(map(_is_epoch, rows)):
        raise TypeError("is not of an encoder")


def _is_epoch(row: Any) -> bool:
    return isinstance(row, dict) and all(isinstance(value, int | float) for value in row.values())


def write(storage: Storage, digest: str, weights: bytes, meta: Meta) -> None:
    """All or nothing. A second writer of the same digest changes nothing.

    The weights' name holds their checksum: two writers at once cannot mix theirs, whichever
    meta.json comes last.
    """
    checksum = hashlib.sha256(weights).hexdigest()
    name = f"encoder-{checksum[:16]}.safetensors"
    meta = json.loads(json.dumps(meta | {"digest": digest, "sha256": checksum, "weights": name}))
    text = json.dumps(meta | {"seal": digest_of(meta)}, indent=1)
    if exists(storage, digest):
        return
    storage.write(f"{digest}/{name}", weights)
    if not exists(storage, digest):
        storage.write(f"{digest}/{META}", text.encode())


def weights_path(meta: Meta, digest: str) -> str:
    # the name before it held the checksum
    return f"{digest}/{meta.get('weights', 'encoder.safetensors')}"


def read_weights(storage: Storage, digest: str, meta: Meta) -> bytes:
    """The bytes of the weights, once their checksum is right."""
    try:
        content = storage.read(weights_path(meta, digest))
    except FileNotFoundError:
        raise CheckpointError(bad(storage, digest, "its weights are gone")) from None
    _compare(storage, digest, meta, hashlib.sha256(content).hexdigest())
    return content


def verify(storage: Storage, digest: str) -> None:
    """Raise a CheckpointError where the entry is not what it was."""
    try:
        meta = read_meta(storage, digest)
        _compare(storage, digest, meta, storage.checksum(weights_path(meta, digest)))
    except FileNotFoundError:
        raise CheckpointError(bad(storage, digest, "its weights are gone")) from None


def is_whole(storage: Storage, digest: str) -> bool:
    """Whether an entry is there and is what it was. One that is not is moved into `aside/`, with a
    word about it: so it is computed again. Weights that are far away are compared by who loads
    them."""
    if not exists(storage, digest):
        return False
    try:
        if storage.remote:
            read_meta(storage, digest)
        else:
            verify(storage, digest)
        return True
    except CheckpointError as err:
        where = set_aside(storage, digest)
        warnings.warn(f"{err}; it is moved to {where}, and computed again", stacklevel=2)
        return False


def set_aside(storage: Storage, digest: str) -> str:
    """Move the files of an entry, but for what is under way there; where they are now."""
    where = f"{ASIDE}/{digest}.{uuid.uuid4().hex[:8]}"
    mine = [f for f in storage.list(digest) if not f.name.startswith((CLAIM, STATE))]
    for file in sorted(mine, key=lambda file: file.name != META):  # first what makes it an entry
        storage.write(f"{where}/{file.name}", storage.read(file.path))
        storage.delete(file.path)
    return f"{storage.name}/{where}"


def _compare(storage: Storage, digest: str, meta: Meta, found: str) -> None:
    if meta["sha256"] != found:
        what = f"its checksum is {found[:12]}, must be {meta['sha256'][:12]}"
        raise CheckpointError(bad(storage, digest, what))


def bad(storage: Storage, digest: str, what: str) -> str:
    return f"{storage.name}/{digest}: {what}; delete the folder to compute it again"


def folders(storage: Storage) -> dict[str, list[File]]:
    """The files of the store by their top folder, '' for those that lie beside the entries."""
    found: dict[str, list[File]] = {}
    for file in storage.list():
        found.setdefault(file.folder, []).append(file)
    return found


def entries(storage: Storage, found: dict[str, list[File]]) -> Iterator[Entry]:
    """What is complete among `folders`, in order of the digests."""
    for digest, inside in found.items():
        if not is_hidden(digest) and any(file.path == f"{digest}/{META}" for file in inside):
            yield Entry(digest, tuple(inside), read_meta_or_none(storage, digest))


def is_hidden(folder: str) -> bool:
    return not folder or folder.startswith(".")


def read_meta_or_none(storage: Storage, digest: str) -> Meta | None:
    try:
        return read_meta(storage, digest)
    except (OSError, CheckpointError):
        return None


def resolve(storage: Storage, prefix: str) -> str:
    """The one digest that begins like this."""
    known = sorted({f.folder for f in storage.list() if f.name == META and not is_hidden(f.folder)})
    if prefix in known:
        return prefix
    matches = [digest for digest in known if digest.startswith(prefix)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        some = ", ".join(matches[:5])
        raise refuse(f"{prefix} begins {len(matches)} digests: {some}; give more of it")
    held = f"holds {len(known)} encoders, none of which begins like this; `list` shows them"
    raise refuse(f"no encoder {prefix}: {storage.name} {held}")
