"""One thread, and no test writes outside its own temporary folders."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: BLAS threads fight on a busy machine

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("suite", deadline=None, max_examples=40, derandomize=True, database=None)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    """Windows are a function of their source's digest, so all tests may share them."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_folders(shared_cache, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("CITRUS_CACHE", str(shared_cache))
    monkeypatch.setenv("CITRUS_STORE", str(tmp_path_factory.mktemp("store")))
