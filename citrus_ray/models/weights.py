"""Weights that an encoder begins with, from a file, a folder, a hub or a store. No torch: what is
in them is read by `nets.arrival`."""

import functools
import hashlib
import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from citrus_ray.spec import Aside, MachineError, Problem, Spec, SpecError, locate, refuse, validate

HUB, STORE = "hub:", "store:"
PLAIN, PICKLED = (".safetensors",), (".pt", ".pth", ".bin", ".ckpt")
# what a repository or a folder of weights calls them, the first that is there
NAMES = ("model.safetensors", "pytorch_model.bin", "model.pt")
# hub:org/name, with a revision, and with the name of a file in it
IN_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?(:(?P<name>[\w./-]+))?")
CHUNK = 1 << 20


class Checkpoint(Spec):
    """Stored weights, and how their names become those of the encoder. All of them must arrive, or
    what may not is said here."""

    file: Annotated[Annotated[str, Field(min_length=1)], Aside()]
    """A .safetensors or .pt file of weights (never code), a folder that holds one, `hub:org/name`
    with `@revision` and `:file` where needed, or `store:digest` of an encoder that was pre-trained
    here. What the file holds is part of the digest, not how it is called."""
    inside: str = ""
    """Where in a .pt file of several things the weights are, with dots; empty: found where there is
    one place only."""
    rename: dict[str, str] = {}
    """Names, or their beginnings up to a dot, as they are in the file, and what they become; the
    longest that fits counts."""
    part: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """The part of the encoder that must arrive, by beginnings of its names; empty: all of it. What
    else there is starts as it is drawn by lot."""
    leave: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """What of the file is not wanted, by beginnings of its names as renamed: such as a head."""

    @model_validator(mode="after")
    def _a_place_that_can_be_read(self) -> "Checkpoint":
        if self.file.startswith(HUB) and not IN_HUB.fullmatch(self.file.removeprefix(HUB)):
            rule = "must read hub:org/name, hub:org/name@revision or hub:org/name:file"
            raise refuse(f"file={self.file}: {rule}", "file")
        return self

    def identity(self) -> dict[str, Any]:
        """With what the weights are, wherever they lie."""
        return super().identity() | {"content": self.content}

    @property
    def content(self) -> str:
        """The first 16 digits of the SHA-256 of what is read."""
        if self.file.startswith(STORE):
            return str(self.stored()[2]["sha256"])[:16]
        path = self.path()
        at = path.stat()
        return _sha256(str(path.absolute()), at.st_size, at.st_mtime_ns)[:16]

    def path(self) -> Path:
        """The file on this machine, fetched from its hub if need be."""
        if self.file.startswith(HUB):
            found = _from_hub(self.file)
        else:
            found = locate("citrus_ray.data.root:place_at")(self.file)
        if found.is_dir():
            found = next((found / name for name in NAMES if (found / name).is_file()), found)
            if found.is_dir():
                rule = f"is a folder that holds none of {', '.join(NAMES)}"
                raise refuse(f"file={self.file}: {rule}; name the file in it", "file")
        if not found.is_file():
            rule = f"there is no file {os.path.abspath(found)}"
            raise refuse(f"file={self.file}: {rule}; correct the path", "file")
        if found.suffix not in PLAIN + PICKLED:
            kinds = ", ".join(PLAIN + PICKLED)
            raise refuse(f"file={self.file}: must end in one of {kinds}", "file")
        return Path(found)

    def stored(self) -> tuple[Any, str, dict[str, Any]]:
        """The store, the whole digest and what the store says of it."""
        where, _, digest = self.file.removeprefix(STORE).rpartition("/")
        storage = locate("citrus_ray.store:open_storage")(
            where or locate("citrus_ray.store:default_store")()
        )
        entries = "citrus_ray.store.entries"
        try:
            whole = locate(f"{entries}:resolve")(storage, digest)
            return storage, whole, locate(f"{entries}:read_meta")(storage, whole)
        except SpecError as err:
            raise refuse(f"file={self.file}: {err}", "file") from None
        except (OSError, ValueError) as err:
            rule = f"cannot be read in {storage.name}: {err}"
            raise refuse(f"file={self.file}: {rule}", "file") from None

    def renamed(self, name: str) -> str:
        """What an entry of the file is called in the encoder."""
        fits = (old for old in self.rename if _begins(name, old))
        longest = max(fits, key=len, default=None)
        if longest is None:
            return name
        rest = name[len(longest) :].lstrip(".")
        return ".".join(part for part in (self.rename[longest], rest) if part)

    def is_left(self, name: str) -> bool:
        return any(_begins(name, beginning) for beginning in self.leave)

    def must_arrive(self, name: str) -> bool:
        return not self.part or any(_begins(name, beginning) for beginning in self.part)


def _begins(name: str, beginning: str) -> bool:
    """Whether a name is this one or stands under it; all do under the empty one."""
    return not beginning or name == beginning or name.startswith(beginning.rstrip(".") + ".")


@functools.lru_cache(maxsize=64)
def _sha256(path: str, size: int, modified: int) -> str:
    """Of a file as it is now: one that was written anew is read anew."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


@functools.lru_cache(maxsize=64)
def _from_hub(file: str) -> Path:
    """The weights of a repository, from the hub's cache on this machine or over the network."""
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
    except ImportError as err:
        rule = f"needs huggingface_hub, which cannot be imported ({err})"
        raise refuse(f"file={file}: {rule}; pip install 'citrus_ray[hub]'", "file") from None
    asked = IN_HUB.fullmatch(file.removeprefix(HUB))
    assert asked is not None
    names = [asked["name"]] if asked["name"] else NAMES
    for name in names:
        try:
            return Path(hub.hf_hub_download(asked["repo"], name, revision=asked["revision"]))
        except errors.LocalEntryNotFoundError as err:
            offline = err
        except errors.EntryNotFoundError:
            continue
        except errors.RepositoryNotFoundError:
            rule = f"the hub has no repository {asked['repo']} that you may read"
            raise refuse(f"file={file}: {rule}; correct the name, or log in", "file") from None
        except (OSError, errors.HfHubHTTPError) as err:
            offline = err
        if name == names[-1]:
            rule = f"not in the hub's cache here, and the hub cannot be reached ({_first(offline)})"
            way = "fetch it on a machine that can, and name the file or folder"
            raise MachineError([Problem("file", f"file={file}: {rule}; {way}")]) from None
    rule = f"{asked['repo']} holds none of {', '.join(names)}"
    raise refuse(f"file={file}: {rule}; name its file: hub:{asked['repo']}:NAME", "file")


def _first(err: Exception) -> str:
    return (str(err).splitlines() or [type(err).__name__])[0]


def _written_out(value: Any) -> Any:
    """A name alone as a block; a spec, whole or in words of its own about what is wrong."""
    if value is None or isinstance(value, Checkpoint):
        return value
    block = {"file": value} if isinstance(value, str) else value
    if not isinstance(block, dict):
        raise ValueError(f"{value}: must be a file, hub:org/name, store:digest or a block of them")
    return validate(Checkpoint, block)


AnyCheckpoint = Annotated[Checkpoint | None, BeforeValidator(_written_out)]
