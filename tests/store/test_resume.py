"""An interrupted pre-training ends where an undisturbed one does, bit for bit, or starts over and
says so."""

import functools
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from citrus_ray.context import SignalContext
from citrus_ray.store import checkpoint, default_store, entries, open_storage, resume
from citrus_ray.store.leases import Leases
from citrus_ray.store.resume import State, made_by
from citrus_ray.tasks.losses.masked import MaskedTask
from citrus_ray.training import pretraining as pretrain
from citrus_ray.training.pretraining import Pretrained, ensure_encoder
from tests.small import MODEL, PRETRAIN, PRETRAINED

ROOT = Path(__file__).resolve().parents[2]
N_EPOCHS = 4
SPEC = PRETRAIN.at({"epochs": N_EPOCHS})
TRIAL = PRETRAINED.at({"pretrain.epochs": N_EPOCHS})
CTX = SignalContext(2, 64, 50.0)
DIGEST = TRIAL.encoder_digest() or ""


class CrashError(Exception):
    pass


def save_every_epoch(patch: pytest.MonkeyPatch) -> None:
    """Each state is waited for, so that none finds the one before still being written."""
    offer = State.offer

    def offered(self: State, make: Callable[[], resume.Saved]) -> None:
        offer(self, make)
        self.wait()

    patch.setattr(resume, "EVERY_S", 0.0)
    patch.setattr(resume, "SHARE", float("inf"))
    patch.setattr(State, "offer", offered)


@pytest.fixture
def _every_epoch(monkeypatch):
    save_every_epoch(monkeypatch)


def crash_after(n_epochs: int):
    """A report that goes wrong one epoch later, so that `n_epochs` are saved."""

    def report(metrics: dict[str, float]) -> None:
        if metrics["epoch"] > n_epochs:
            raise CrashError

    return report


def interrupted(where: object, n_epochs: int) -> State:
    state = State(str(where), "d")
    with pytest.raises(CrashError):
        pretrain.run(SPEC, MODEL, report=crash_after(n_epochs), state=state)
    return State(str(where), "d")


def assert_equal(one: Pretrained, other: Pretrained) -> None:
    assert one.history == other.history
    assert one.weights.keys() == other.weights.keys()
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


@pytest.mark.usefixtures("_every_epoch")
@pytest.mark.parametrize("n_epochs", range(1, N_EPOCHS))
def test_a_run_taken_up_after_a_crash_equals_an_undisturbed_one(tmp_path, n_epochs):
    whole = pretrain.run(SPEC, MODEL)
    state, seen = interrupted(tmp_path, n_epochs), []
    taken_up = pretrain.run(
        SPEC, MODEL, report=lambda metrics: seen.append(metrics["epoch"]), state=state
    )
    assert seen == list(range(n_epochs + 1, N_EPOCHS + 1))
    assert [attempt["epoch"] for attempt in taken_up.resumed] == [n_epochs]
    assert whole.resumed == []
    assert_equal(taken_up, whole)


@pytest.mark.usefixtures("_every_epoch")
def test_a_run_that_crashes_twice_equals_an_undisturbed_one_too(tmp_path):
    interrupted(tmp_path, 1)
    state = interrupted(tmp_path, 3)
    taken_up = pretrain.run(SPEC, MODEL, state=state)
    assert [attempt["epoch"] for attempt in taken_up.resumed] == [1, 3]
    assert_equal(taken_up, pretrain.run(SPEC, MODEL))


@pytest.mark.usefixtures("_every_epoch")
def test_the_order_of_batches_and_the_masks_go_on_and_do_not_begin_again(tmp_path, monkeypatch):
    seen: list[torch.Tensor] = []
    real = MaskedTask.forward

    def spying(self, x, generator):
        if self.training:
            seen.extend([x.clone(), generator.get_state()])
        return real(self, x, generator)

    monkeypatch.setattr(MaskedTask, "forward", spying)
    pretrain.run(SPEC, MODEL)
    whole, per_epoch = list(seen), len(seen) // N_EPOCHS
    state = interrupted(tmp_path, 2)
    seen.clear()
    pretrain.run(SPEC, MODEL, state=state)
    assert len(seen) == 2 * per_epoch
    assert all(torch.equal(a, b) for a, b in zip(seen, whole[-len(seen) :], strict=True))
    assert not torch.equal(seen[0], whole[0])


@pytest.mark.usefixtures("_every_epoch")
def test_what_is_stored_says_that_it_was_taken_up_and_nothing_is_left(monkeypatch):
    whole, real = pretrain.run(SPEC, MODEL), pretrain.run
    monkeypatch.setattr(pretrain, "run", functools.partial(real, report=crash_after(2)))
    with pytest.raises(CrashError):
        ensure_encoder(TRIAL)
    assert [file.name for file in open_storage(default_store()).list(DIGEST)] == ["state.bin"]
    monkeypatch.setattr(pretrain, "run", real)
    weights = ensure_encoder(TRIAL)
    assert weights is not None
    assert all(torch.equal(weights[name], whole.weights[name]) for name in weights)
    meta = checkpoint.read_meta(default_store(), DIGEST)
    assert [attempt["epoch"] for attempt in meta["resumed"]] == [2]
    assert meta["history"] == whole.history
    files = open_storage(default_store()).list(DIGEST)
    assert {file.path for file in files} == {
        f"{DIGEST}/meta.json",
        entries.weights_path(meta, DIGEST),
    }


@pytest.mark.usefixtures("_every_epoch")
def test_seconds_count_all_attempts(tmp_path, monkeypatch):
    state = interrupted(tmp_path, 2)
    saved = state.read(made_by_small())
    assert saved is not None
    monkeypatch.setattr(State, "read", lambda self, made: saved | {"seconds": 1000.0})
    assert 1000 < pretrain.run(SPEC, MODEL, state=state).seconds < 1100


# ---- states that are not gone on from ----


def made_by_small(device: str = "cpu") -> dict[str, str]:
    assert SPEC.task is not None
    return made_by(SPEC.task.build(CTX, MODEL.build(CTX)), device)


def harm(state: State, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = state.storage.read(state.path)
    if how == "cut":
        state.storage.write(state.path, content[: len(content) // 2])
    elif how == "one bit":
        state.storage.write(state.path, content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif how == "empty":
        state.storage.write(state.path, b"")
    else:
        monkeypatch.setattr(resume, "FORMAT", resume.FORMAT + 1)


@pytest.mark.usefixtures("_every_epoch")
@pytest.mark.parametrize("how", ["cut", "one bit", "empty", "other version"])
def test_a_state_that_does_not_fit_is_set_aside_with_a_warning_and_the_run_starts_over(
    tmp_path, monkeypatch, how
):
    state = interrupted(tmp_path, 2)
    harm(state, how, monkeypatch)
    harmed = state.storage.read(state.path)
    with pytest.warns(
        UserWarning, match=r"d/state.bin: cannot be gone on from: .*the run starts over"
    ):
        over = pretrain.run(SPEC, MODEL, state=state)
    assert over.resumed == []
    assert_equal(over, pretrain.run(SPEC, MODEL))
    assert state.storage.read(f"{state.path}.aside") == harmed


def test_a_state_of_another_model_or_device_is_not_gone_on_from(tmp_path):
    state = State(tmp_path, "d")
    for other in (made_by(torch.nn.Linear(2, 2), "cpu"), made_by(torch.nn.Linear(2, 1), "cuda")):
        state._last = -1e9
        state.offer(functools.partial(dict, made_by=other))
        state.wait()
        with pytest.warns(UserWarning, match=r"module was|device was cuda, is cpu"):
            assert state.read(made_by(torch.nn.Linear(2, 1), "cpu")) is None


def test_a_state_can_run_no_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.system, ("touch trapped",)

    state = State(tmp_path, "d")
    state._last = -1e9
    state.offer(lambda: {"made_by": made_by_small(), "trap": Trap()})
    state.wait()
    with pytest.warns(UserWarning, match="starts over"):
        assert state.read(made_by_small()) is None


# ---- what saving costs ----


def test_saving_is_not_more_often_than_it_may_cost(tmp_path, monkeypatch):
    clock, saved = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    state = State(tmp_path, "d")

    def slow_write(path: str, content: bytes) -> None:
        saved.append(clock[0])
        clock[0] += 6.0

    monkeypatch.setattr(state.storage, "write", slow_write)
    while clock[0] < 3600:
        clock[0] += 1.0
        state.offer(dict)
        state.wait()
    monkeypatch.undo()
    assert saved[0] == pytest.approx(resume.EVERY_S)
    assert len(saved) * 6.0 / 3600 < 1.2 * resume.SHARE


@pytest.fixture
def held(tmp_path, monkeypatch):
    """A state whose writes wait until they are let go, and the event that does it."""
    monkeypatch.setattr(resume, "EVERY_S", 0.0)
    monkeypatch.setattr(resume, "SHARE", float("inf"))
    state, go = State(tmp_path, "d"), threading.Event()
    real = state.storage.write

    def write(path: str, content: bytes) -> None:
        assert go.wait(30)
        real(path, content)

    monkeypatch.setattr(state.storage, "write", write)
    return state, go


def test_steps_go_on_while_a_state_is_written_and_change_nothing_of_it(held):
    state, go = held
    weights, history = torch.zeros(3), [1.0]
    made = made_by_small()
    state.offer(lambda: {"made_by": made, "task": {"w": weights}, "history": history})
    weights += 1
    history.append(2.0)
    state.offer(lambda: pytest.fail("a second copy while the first is being written"))
    assert not state.storage.exists(state.path)
    go.set()
    state.wait()
    saved = state.read(made)
    assert saved is not None
    assert torch.equal(saved["task"]["w"], torch.zeros(3))
    assert saved["history"] == [1.0]


def test_nothing_is_written_after_a_run_is_over_or_its_state_is_cleared(held):
    state, go = held

    def report(metrics: dict[str, float]) -> None:
        if metrics["epoch"] > 1:
            threading.Timer(0.1, go.set).start()
            raise CrashError

    with pytest.raises(CrashError):
        pretrain.run(SPEC, MODEL, report=report, state=state)
    assert state.storage.exists(state.path), "who takes the lease next finds it whole"
    go.clear()
    state.offer(dict)
    threading.Timer(0.1, go.set).start()
    state.clear()
    state.wait()
    assert state.storage.list() == []


def test_a_disk_that_refuses_a_state_fails_the_run(held, monkeypatch):
    state, _ = held

    def full(path: str, content: bytes) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(state.storage, "write", full)
    with pytest.raises(OSError, match="no space left"):
        pretrain.run(SPEC, MODEL, state=state)


def test_a_short_run_saves_nothing(tmp_path):
    state = State(tmp_path, "d")
    pretrain.run(SPEC, MODEL, state=state)
    assert state.storage.list() == []


# ---- processes ----

SCRIPT = """
import os, sys, time, torch
from citrus_ray.store import resume
from citrus_ray.training import pretraining as pretrain
from tests.store.test_resume import TRIAL
torch.set_num_threads(1)
resume.EVERY_S, resume.SHARE = 0.0, float("inf")
real = pretrain.run
def run(*args, **kwargs):
    open(sys.argv[1], "a").write(f"{os.getpid()}\\n")
    return real(*args, report=lambda metrics: time.sleep(0.5), **kwargs)
pretrain.run = run
weights = pretrain.ensure_encoder(TRIAL)
print(sorted((name, float(t.double().sum())) for name, t in weights.items()))
"""


def process(log: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(log)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_two_processes_on_one_store_compute_an_encoder_once(tmp_path):
    log = tmp_path / "log"
    both = [process(log), process(log)]
    said = [one.communicate(timeout=120) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert len(log.read_text().splitlines()) == 1
    assert said[0][0] == said[1][0] != ""
    assert len(open_storage(default_store()).list()) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("_every_epoch")
def test_a_killed_process_is_taken_over_where_it_was(tmp_path):
    killed = process(tmp_path / "log")
    store = open_storage(default_store())
    until = time.monotonic() + 60
    while not store.exists(f"{DIGEST}/state.bin") and time.monotonic() < until:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert any(file.name.startswith("claim-") for file in store.list())
    with warnings.catch_warnings(action="error"):
        weights = ensure_encoder(TRIAL)
    assert weights is not None
    whole = pretrain.run(SPEC, MODEL).weights
    assert all(torch.equal(weights[name], whole[name]) for name in whole)
    assert len(checkpoint.read_meta(default_store(), DIGEST)["resumed"]) == 1
    assert Leases(store).holder(DIGEST) is None


TWO_RANKS = """
import os, sys, torch, pytest
from torch.nn.parallel import DistributedDataParallel
from citrus_ray.training import pretraining as pretrain
from citrus_ray.training.parts import Worker
from citrus_ray.store.resume import State
from tests.store.test_resume import SPEC, MODEL, CrashError, crash_after, save_every_epoch
rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)  # two processes with a thread per core each would fight over the cores
meet = f"file://{folder}/meet"
torch.distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
save_every_epoch(pytest.MonkeyPatch())
worker = Worker(rank, 2, "cpu", DistributedDataParallel)
whole = pretrain.run(SPEC, MODEL, worker)
for name in ("store", "fewer"):
    try:
        pretrain.run(SPEC, MODEL, worker, crash_after(2), State(f"{folder}/{name}", "d"))
    except CrashError:
        pass
taken_up = pretrain.run(SPEC, MODEL, worker, state=State(f"{folder}/store", "d"))
assert [attempt["epoch"] for attempt in taken_up.resumed] == [2]
assert rank or taken_up.history == whole.history  # rank 0 is the one that is kept
assert all(torch.equal(taken_up.weights[name], whole.weights[name]) for name in whole.weights)
alone = pretrain.run(SPEC, MODEL)  # on each rank by itself
fewer = pretrain.run(SPEC, MODEL, state=State(f"{folder}/fewer", "d"))
assert [attempt["epoch"] for attempt in fewer.resumed] == [2]
for found in (alone, fewer):
    for row, known in zip(found.history, whole.history, strict=True):
        assert row == pytest.approx(known, rel=1e-4), (row, known)
print("held", flush=True)
torch.distributed.barrier()
os._exit(0)  # gloo's threads sometimes abort a process that ends as others do: all is said by then
"""


@pytest.mark.slow
def test_data_parallel_workers_go_on_together_with_the_numbers_of_one(tmp_path):
    """Up to rounding; and one goes on where two were."""
    command = [sys.executable, "-c", TWO_RANKS]
    pipe = subprocess.PIPE
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path)], cwd=ROOT, stdout=pipe, stderr=pipe, text=True
        )
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=280) for rank in ranks]
    assert [out for out, _ in said] == ["held\n"] * 2, said
