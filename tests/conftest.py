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


@pytest.fixture
def small_portfolio(monkeypatch):
    """Baselines of fewer kernels and trees, where a test asks for them many times."""
    from functools import partial

    from citrus_ray.models.specs import Bag, MiniRocket
    from citrus_ray.training.baselines import BASELINES
    from citrus_ray.training.methods import solve

    monkeypatch.setitem(BASELINES, "minirocket", partial(solve, spec=MiniRocket(n_kernels=168)))
    monkeypatch.setitem(BASELINES, "bag", partial(solve, spec=Bag(trees=10)))
