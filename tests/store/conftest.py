"""One store on each kind of storage that is here without a network."""

import uuid

import pytest
from pyarrow import fs

from citrus_ray.store import Files, files, open_files


@pytest.fixture(params=["folder", "file URI", "in memory", "object store", "renaming"])
def store(request, tmp_path, monkeypatch) -> Files:
    unique = f"mock:///{uuid.uuid4().hex}/store"
    if request.param == "folder":
        return open_files(tmp_path / "store")
    if request.param == "file URI":
        return open_files((tmp_path / "store").as_uri())
    if request.param == "renaming":
        (tmp_path / "store").mkdir()
        return Files(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "store", "renaming")
    if request.param == "object store":
        monkeypatch.setattr(files, "OBJECT_STORES", ("mock",))
    return open_files(unique)
