"""A local Ray cluster shared by the tests of a session, and a sweep small enough for seconds."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from citrus_ray.cli.main import main

TINY: dict[str, Any] = {
    "name": "tiny",
    "trial": {
        "model": {"kind": "conv", "dim": 16},
        "pretrain": {
            "source": {"kind": "synthetic", "seed": 1, "n_subjects": 6},
            "task": None,
            "epochs": 2,
        },
        "finetune": {
            "target": {"kind": "synthetic", "seed": 2, "n_subjects": 8},
            "labels": {"per_class": 4},
            "steps": 6,
            "rounds": 3,
        },
    },
    "compare": {"pretrain.task": [None, {"kind": "masked"}]},
    "repeat": {"seed": [0, 1]},
    "search": {
        "finetune.optim.lr": {"loguniform": [1e-3, 1e-2]},
        "pretrain.task.ratio": {"choice": [0.5]},
    },
    "budget": {"trials": 3},
    "final": {"rounds": 2},
}


@pytest.fixture(scope="session", autouse=True)
def _shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CITRUS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def cluster(_shared_cache: None) -> Iterator[None]:
    """Two logical CPUs, whatever the machine has: the smallest place where trials and a
    pre-training must share."""
    from citrus_ray.launch import cluster as ours

    assert ours.QUIET
    import ray

    from citrus_ray.launch import local

    local.start({"num_cpus": 2, "include_dashboard": True, "log_to_driver": False})
    yield
    ray.shutdown()
    local.end()


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One results folder, and so one store: tests that ask for the same encoder share it."""
    return tmp_path_factory.mktemp("results")


@pytest.fixture(autouse=True)
def _shared_store(_own_folders: None, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITRUS_STORE", str(results / "store"))


@pytest.fixture
def run(tmp_path: Path, results: Path) -> Callable[..., tuple[int, Path]]:
    """Run a spec through the command line's `main`; returns the exit code and the folder of its
    results."""

    def call(tree: dict[str, Any], *flags: str) -> tuple[int, Path]:
        out = results / tmp_path.name
        return command(tree, tmp_path, out, *flags), out

    return call


def command(tree: dict[str, Any], home: Path, out: Path, *flags: str) -> int:
    """The exit code of a spec that is written to `home` and run."""
    spec = home / f"{tree['name']}.yaml"
    spec.write_text(yaml.safe_dump(tree))
    return main([str(spec), "--out", str(out), *flags])


def lines(out: Path) -> list[dict[str, Any]]:
    """Every member's line in the records."""
    return [
        json.loads(line)
        for path in sorted((out / "records").glob("*.jsonl"))
        for line in path.open()
    ]
