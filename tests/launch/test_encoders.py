"""Which pre-trainings a sweep starts. No cluster is started."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from citrus_ray.experiment.trial import Trial
from citrus_ray.launch import encoders as module
from citrus_ray.launch.cluster import Capacity
from citrus_ray.launch.encoders import Encoders
from citrus_ray.launch.runner import ResultPaths
from citrus_ray.launch.slots import Slots
from citrus_ray.store import checkpoint, open_storage
from tests.small import PRETRAINED, sweep_of

DIGEST = PRETRAINED.encoder_digest() or ""


@pytest.fixture
def encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Encoders:
    """Without the pause between two looks at the store; `started` are the trials that were handed
    to Ray."""
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.0)
    started: list[str] = []
    workers: list[int] = []

    def remote(trial: str, *rest: Any) -> object:
        started.append(trial)
        workers.append(rest[-1])
        return object()

    monkeypatch.setattr(module, "beside_us", lambda: SimpleNamespace(remote=remote))
    monkeypatch.setattr(module.ray, "wait", lambda refs, **kwargs: ([], refs))  # type: ignore[attr-defined]
    place = ResultPaths(tmp_path / "records", str(tmp_path / "store"), tmp_path / "tensorboard")
    slots = Slots(sweep_of(), Capacity(4, 0))
    found = Encoders(place, SimpleNamespace(slots=slots), retries=1)  # type: ignore[arg-type]
    found.started, found.workers = started, workers  # type: ignore[attr-defined]
    return found


def started(encoders: Any) -> int:
    return len(encoders.started)


def claimed(encoders: Encoders, beat: int = 1) -> str:
    path = f"{DIGEST}/claim-00.json"
    text = json.dumps({"host": "far", "pid": 1, "since": "noon", "beat": beat})
    encoders.leases.storage.write(path, text.encode())
    return path


def test_an_encoder_that_is_wanted_by_many_is_started_once(encoders: Encoders) -> None:
    for _ in range(3):
        assert not encoders.want(DIGEST, PRETRAINED)
        encoders.poll(0)
    assert started(encoders) == 1
    assert encoders.busy == 1


@pytest.mark.parametrize(("n_live", "n"), [(0, 3), (2, 2), (4, 1)])
def test_workers_are_as_many_as_there_is_room_for(encoders: Any, n_live: int, n: int) -> None:
    elastic = PRETRAINED.at({"pretrain.workers": {"min": 1, "max": 3}, "pretrain.gpu": "auto"})
    assert elastic.encoder_digest() == DIGEST
    encoders.want(DIGEST, elastic)
    encoders.poll(n_live)
    assert (encoders.workers, encoders.busy) == ([n], n)
    asked = Trial.model_validate_json(encoders.started[0]).pretrain
    assert asked is not None
    assert asked.gpu is False, "this cluster has none"


def test_a_second_pretraining_takes_what_the_first_leaves(encoders: Any) -> None:
    elastic = PRETRAINED.at({"pretrain.workers": {"min": 2, "max": 3}})
    for seed in (0, 1):
        trial = elastic.at({"pretrain.seed": seed})
        encoders.want(trial.encoder_digest(), trial)
    encoders.poll(0)
    assert (encoders.workers, encoders.busy) == ([3], 3)
    assert len(encoders.waiting) == 1, "one CPU is too few for two workers"


def test_an_encoder_that_is_there_is_not_computed(encoders: Encoders) -> None:
    checkpoint.save(encoders.paths.store, DIGEST, {}, {})
    assert encoders.want(DIGEST, PRETRAINED)
    encoders.poll(0)
    assert started(encoders) == 0


def test_what_another_sweep_computes_is_waited_for_with_no_cpu_held(encoders: Encoders) -> None:
    path = claimed(encoders)
    assert not encoders.want(DIGEST, PRETRAINED)
    encoders.poll(0)
    assert (started(encoders), encoders.busy) == (0, 0)
    assert "far" in encoders.elsewhere[DIGEST]
    checkpoint.save(encoders.paths.store, DIGEST, {}, {})
    open_storage(encoders.paths.store).delete(path)
    assert encoders.want(DIGEST, PRETRAINED)
    encoders.poll(0)
    assert started(encoders) == 0
    assert encoders.elsewhere == {}


def test_what_another_sweep_gives_up_is_computed_here(encoders: Encoders) -> None:
    path = claimed(encoders)
    encoders.want(DIGEST, PRETRAINED)
    encoders.poll(0)
    open_storage(encoders.paths.store).delete(path)
    encoders.poll(0)
    assert started(encoders) == 1


def test_what_a_dead_sweep_held_is_computed_here(encoders: Encoders) -> None:
    claimed(encoders)
    encoders.want(DIGEST, PRETRAINED)
    encoders.leases.expire_s = 0.0
    encoders.poll(0)
    assert started(encoders) == 1


def test_a_sweep_that_was_a_moment_slower_waits(
    encoders: Encoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoders.want(DIGEST, PRETRAINED)
    encoders.poll(0)
    claimed(encoders)
    monkeypatch.setattr(module.ray, "wait", lambda refs, **kwargs: (refs, []))  # type: ignore[attr-defined]
    monkeypatch.setattr(module.ray, "get", lambda ref: False)  # type: ignore[attr-defined]
    encoders.poll(0)
    assert (encoders.busy, encoders.running, encoders.failed) == (0, {}, {})
    assert DIGEST in encoders.elsewhere
    assert started(encoders) == 1


def test_an_encoder_stored_where_this_machine_cannot_see_it_is_a_failure_that_says_so(
    encoders: Encoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoders.want(DIGEST, PRETRAINED)
    encoders.poll(0)
    monkeypatch.setattr(module.ray, "wait", lambda refs, **kwargs: (refs, []))  # type: ignore[attr-defined]
    monkeypatch.setattr(module.ray, "get", lambda ref: True)  # type: ignore[attr-defined]
    encoders.poll(0)
    assert "must be one folder on all nodes; set $CITRUS_STORE" in encoders.failed[DIGEST].reason


def test_a_far_store_is_not_looked_at_all_the_time(
    encoders: Encoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed(encoders)
    monkeypatch.setattr(module, "LOOK_EVERY_S", 3600.0)
    looks: list[object] = []

    def is_whole(*args: object) -> bool:
        looks.append(args)
        return False

    monkeypatch.setattr(checkpoint, "is_whole", is_whole)
    for _ in range(20):
        encoders.want(DIGEST, PRETRAINED)
        encoders.poll(0)
    assert len(looks) == 1
