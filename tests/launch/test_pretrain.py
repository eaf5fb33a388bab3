"""Pre-training alone and through Ray Train, on a real local cluster."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from citrus_ray.experiment.trial import Trial
from citrus_ray.store import checkpoint, open_storage
from citrus_ray.store.leases import Leases
from citrus_ray.store.resume import State
from citrus_ray.training import pretraining as pretrain
from citrus_ray.training.parts import ALONE
from citrus_ray.training.pretraining import lineage
from tests.launch.listening import Listening, listening
from tests.small import MODEL, PRETRAINED
from tests.store.test_resume import CrashError, crash_after, save_every_epoch

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]
TRIAL = PRETRAINED.at({"pretrain.epochs": 4})


def compute(trial: Trial, folder: Path, store: str) -> bool:
    import ray

    from citrus_ray.launch.pretrain import pretrain as remote

    return bool(
        ray.get(remote.remote(trial.model_dump_json(), store, str(folder / "tensorboard"), 0.1))
    )


def test_an_interrupted_run_goes_on_in_ray_where_it_stopped(tmp_path, monkeypatch):
    store = (tmp_path / "store").as_uri()  # a folder: where a worker is killed, below
    digest, spec = TRIAL.encoder_digest() or "", TRIAL.pretraining
    assert spec is not None
    with monkeypatch.context() as patch:
        save_every_epoch(patch)
        with pytest.raises(CrashError):
            pretrain.run(spec, MODEL, report=crash_after(3), state=State(store, digest))
    assert compute(TRIAL, tmp_path, store)
    meta = checkpoint.read_meta(store, digest)
    assert [attempt["epoch"] for attempt in meta["resumed"]] == [3]
    torch.set_num_threads(1)
    whole = pretrain.run(spec, MODEL)
    assert meta["history"] == whole.history
    weights = checkpoint.load(store, digest)
    assert all(torch.equal(weights[name], whole.weights[name]) for name in whole.weights)
    assert len(open_storage(store).list()) == 2
    assert lineage(TRIAL, whole, ALONE)["pretrain"] == meta["pretrain"]


def test_what_another_holds_is_left_to_it(tmp_path):
    claim = Leases(open_storage(tmp_path)).take(TRIAL.encoder_digest() or "")
    assert claim is not None
    with claim:
        assert not compute(TRIAL, tmp_path, str(tmp_path))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_is_killed_costs_no_pretraining(tmp_path, workers):
    """In a group also as it starts, which Ray Train puts down to what leads the workers."""
    trial = PRETRAINED.at({"pretrain.epochs": 60, "pretrain.workers": workers})
    moments = ["LoneWorker.run"] if workers == 1 else ["run_train_fn", "poll_status"]
    killed: list[int] = []
    heard: list[Listening] = []
    killer = threading.Thread(target=_kill_workers, args=(killed, heard, moments))
    killer.start()
    assert compute(trial, tmp_path, str(tmp_path / "store"))
    killer.join()
    assert len(killed) == len(moments)
    assert heard
    assert all(one.on_loopback for one in heard), heard
    meta = checkpoint.read_meta(tmp_path / "store", trial.encoder_digest() or "")
    assert [row["epoch"] for row in meta["history"]] == list(range(1, 61))
    assert meta["workers"] == workers
    _assert_nothing_is_held()


def _assert_nothing_is_held() -> None:
    """CPUs of the workers that were lost: a sweep after them would wait for ever."""
    from ray.util import placement_group_table

    until = time.monotonic() + 30
    while held := [g for g in placement_group_table().values() if g["state"] != "REMOVED"]:
        assert time.monotonic() < until, held
        time.sleep(0.2)


def _kill_workers(killed: list[int], heard: list[Listening], moments: list[str]) -> None:
    """SIGKILL the first process that trains and does what is named, once for each; note what those
    that train listen on just then."""
    for moment in moments:
        until = time.monotonic() + 90
        while time.monotonic() < until:
            alive = _that_train()
            found = [pid for pid in alive if moment in _does(pid)]
            if found:
                heard += listening(set(alive))
                os.kill(found[0], signal.SIGKILL)
                killed.append(found[0])
                break
            time.sleep(0.05)


def _that_train() -> list[int]:
    import ray
    from ray.util.state import list_actors

    here = ray.get_runtime_context().gcs_address  # another Ray on this machine is none of ours
    names = ("LoneWorker", "TrainWorker")
    actors = [a for a in list_actors(here, detail=True) if a.state == "ALIVE" and a.pid]
    return [a.pid for a in actors if any(name in a.class_name for name in names)]


def _does(pid: int) -> str:
    """The title of a process, which names the method that it is in."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
