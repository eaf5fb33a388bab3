"""One store on each kind of storage that is here without a network."""

import uuid

import pytest
from pyarrow import fs

from citrus_ray.store import Storage, files, open_storage


@pytest.fixture(params=["folder", "file URI", "in memory", "object store", "renaming"])
def store(request, tmp_path, monkeypatch) -> Storage:
    unique = f"mock:///{uuid.uuid4().hex}/store"
    if request.param == "folder":
        return open_storage(tmp_path / "store")
    if request.param == "file URI":
        return open_storage((tmp_path / "store").as_uri())
    if request.param == "renaming":
        (tmp_path / "store").mkdir()
        return Storage(
            fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "store", "renaming"
        )
    if request.param == "object store":
        monkeypatch.setattr(files, "OBJECT_STORES", ("mock",))
    return open_storage(unique)
