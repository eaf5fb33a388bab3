"""The files of a store, on a folder or behind a pyarrow URI such as s3://bucket/store. Knows
nothing of encoders.

Every write is all or nothing: an object store shows an object only once it is whole; elsewhere the
file is written beside and renamed.
"""

import hashlib
import os
import uuid
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pyarrow import fs

from citrus_ray.records import write_bytes
from citrus_ray.spec import refuse, without_secrets

Where = str | Path  # a folder, or a URI
Places = Where | tuple[Where, ...]  # one, or several to look into one after another
OBJECT_STORES = ("s3", "gcs", "abfs")
CHUNK = 1 << 20
ENCODERS = "encoders"  # in results that came packed: what their encoders are, without weights


@dataclass(frozen=True)
class File:
    path: str  # inside the store
    size: int
    modified: float  # seconds since 1970, by the clock of the storage

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0].partition("/")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class Storage:
    """Storage of a store; paths are relative to `root`, with slashes."""

    def __init__(self, system: fs.FileSystem, root: str, name: str) -> None:
        self.system, self.root = system, root.rstrip("/")
        self.name = without_secrets(name)  # to be shown

    @property
    def remote(self) -> bool:
        return str(self.system.type_name) != "local"

    def exists(self, path: str) -> bool:
        return bool(self.system.get_file_info(self._at(path)).type == fs.FileType.File)

    def read(self, path: str) -> bytes:
        with self.system.open_input_stream(self._at(path)) as stream:
            return bytes(stream.read())

    def checksum(self, path: str) -> str:
        """SHA-256, read piece by piece."""
        digest = hashlib.sha256()
        with self.system.open_input_stream(self._at(path), buffer_size=CHUNK) as stream:
            while piece := stream.read(CHUNK):
                digest.update(piece)
        return digest.hexdigest()

    def write(self, path: str, content: bytes) -> None:
        if not self.remote:
            write_bytes(Path(self._at(path)), content)
        elif self.system.type_name in OBJECT_STORES:
            self._put(self._at(path), content)
        else:
            folder, _, name = path.rpartition("/")
            partial = self._at(f"{folder}/.{name}-{uuid.uuid4().hex}".lstrip("/"))
            self._put(partial, content)
            self.system.move(partial, self._at(path))

    def _put(self, path: str, content: bytes) -> None:
        try:
            self._stream(path, content)
        except FileNotFoundError:
            # object stores need no folders, so they are made only where one is missed
            self.system.create_dir(path.rpartition("/")[0], recursive=True)
            self._stream(path, content)

    def _stream(self, path: str, content: bytes) -> None:
        with self.system.open_output_stream(path) as stream:
            stream.write(content)

    def list(self, folder: str = "") -> list[File]:
        """Every file below; none where the folder is not there."""
        selector = fs.FileSelector(self._at(folder), recursive=True, allow_not_found=True)
        skip, found = len(self.root) + 1, []
        for info in self.system.get_file_info(selector):
            if info.type == fs.FileType.File:
                modified = info.mtime.timestamp() if info.mtime else 0.0
                found.append(File(info.path[skip:], info.size, modified))
        return sorted(found, key=lambda file: file.path)

    def delete(self, path: str) -> None:
        """The file; nothing happens where it is gone already."""
        try:
            self.system.delete_file(self._at(path))
        except FileNotFoundError:
            return

    def delete_folder(self, folder: str) -> None:
        """And all that is below."""
        assert folder, "the store itself is never deleted"
        try:
            self.system.delete_dir(self._at(folder))
        except FileNotFoundError:
            return

    def check_writable(self) -> None:
        """Write and delete a small file, so that a store that refuses is found out before hours are
        spent."""
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            self.write(probe, b"")
            self.delete(probe)
        except OSError as err:
            reason = err.strerror or str(err).splitlines()[0]
            what = f"store {self.name}: cannot be written: {reason}"
            raise refuse(f"{what}; set $CITRUS_STORE to one that can") from None

    def _at(self, path: str) -> str:
        return f"{self.root}/{path}".rstrip("/")


def default_store() -> str:
    """`$CITRUS_STORE`, a folder or a URI, else results/store."""
    return os.environ.get("CITRUS_STORE") or "results/store"


def store_beside(results: Path) -> str:
    """`$CITRUS_STORE`, else the folder `store` beside that of a sweep's results, which all sweeps
    there share."""
    return absolute(os.environ.get("CITRUS_STORE") or results.absolute().parent / "store")


def encoders_of(results: Path) -> tuple[Where, ...]:
    """Where it stands what the encoders behind these results are: in the store beside them and, of
    those that came packed, in their own folder."""
    return (store_beside(results), results / ENCODERS)


def absolute(where: Where) -> str:
    """The same place from every working folder: URIs as they are."""
    return str(where) if "://" in str(where) else str(Path(where).expanduser().absolute())


def open_storage(where: Where) -> Storage:
    return _open(absolute(where))


# a client of an object store is dear to make, and one in memory would be empty the second time
@lru_cache
def _open(where: str) -> Storage:
    if "://" not in where:
        return Storage(fs.LocalFileSystem(), where, where)
    try:
        system, root = fs.FileSystem.from_uri(where)
    except (ValueError, OSError) as err:  # pyarrow's ArrowInvalid is a ValueError
        reason = str(err).splitlines()[0]
        way = "set $CITRUS_STORE to a folder or to a URI that pyarrow opens"
        kinds = "s3://, gs://, abfs://, hdfs://, file://"
        raise refuse(f"store {where}: cannot be opened: {reason}; {way}: {kinds}") from None
    return Storage(system, root, where)
