"""Trials that fail: which are tried again, which are rows, and when a sweep gives up."""

import copy
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import cloudpickle, exceptions
from ray.util.state import list_actors

from citrus_ray import records
from citrus_ray.launch.cluster import Capacity
from citrus_ray.launch.failures import NodeError, crash_of, is_lost, node_error
from citrus_ray.launch.runner import Crash, JobRunner, ResultPaths, stack_file
from citrus_ray.launch.slots import Slots
from citrus_ray.launch.tune import CellSearch
from citrus_ray.launch.worker import TrialRunner
from citrus_ray.search.study import Studies
from citrus_ray.spec import MachineError
from tests.launch.conftest import TINY, lines
from tests.small import PRETRAINED, sweep_of

Run = Callable[..., tuple[int, Path]]
TWO_CPUS = Capacity(2, 0)


class Waiting:
    """Encoders that are all there, or all failed."""

    def __init__(self, folder: Path, failed: bool = False) -> None:
        self.paths = ResultPaths(folder, str(folder / "store"), folder / "tensorboard")
        self.nodes = TwoNodes()
        self.wanted: list[Any] = []
        self.busy, self.failed = (
            0,
            {} if not failed else Everything(Crash("pre-training failed: x")),
        )
        self.there = not failed

    def poll(self, n_live: int) -> None: ...

    def want(self, digest: str, trial: Any) -> bool:
        return self.there


class TwoNodes:
    def __init__(self) -> None:
        self.left = {"10.0.0.1", "10.0.0.2"}

    def look(self, n_trials: int, specs: Any) -> None: ...

    def do_without(self, address: str, why: str) -> bool:
        if self.left == {address}:
            return False
        self.left.discard(address)
        return True


class Everything(dict):  # type: ignore[type-arg]
    def __init__(self, value: Any) -> None:
        self.value = value

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: object) -> Any:
        return self.value


def search_of(
    folder: Path, encoders: Any = None, capacity: Capacity = TWO_CPUS, **edits: Any
) -> CellSearch:
    quiet = SimpleNamespace(update=lambda *a: None, finished=lambda *a: None, n_total=30, n_done=0)
    usual: dict[str, Any] = {
        "budget": {"trials": 30},
        "search": {"finetune.optim.lr": {"uniform": [0.1, 0.9]}},
    }
    studies = Studies(sweep_of(**usual | edits), folder)
    slots = Slots(studies.sweep, capacity)
    return CellSearch(studies, encoders or Waiting(folder), slots, quiet)  # type: ignore[arg-type]


LOST, RAISED = Crash("its worker died", lost=True), Crash("OSError: disk full")


def test_a_trial_that_was_lost_with_its_worker_is_tried_again_once_and_is_then_a_row(tmp_path):
    search = search_of(tmp_path)
    first = search.suggest("a")
    search.finish("a", {}, LOST)
    assert list(records.read_all(tmp_path)) == []
    assert search.suggest("b") == first
    search.finish("b", {}, LOST)
    (rows,) = records.read_all(tmp_path)
    assert {(row.status, row.crashed, row.reason) for row in rows} == {
        ("failed", True, "its worker died")
    }
    assert search.suggest("c") != first


def test_an_exception_of_the_trial_is_a_row_at_once(tmp_path):
    search = search_of(tmp_path)
    search.suggest("a")
    search.finish("a", {}, RAISED)
    (rows,) = records.read_all(tmp_path)
    assert {(row.status, row.crashed) for row in rows} == {("failed", False)}


def test_the_next_run_computes_again_what_was_lost_and_not_what_raised(tmp_path):
    search = search_of(tmp_path, failures={"retries": 0})
    lost, raised = search.suggest("a"), search.suggest("b")
    assert isinstance(lost, dict)
    assert isinstance(raised, dict)
    search.finish("a", {}, LOST)
    search.finish("b", {}, RAISED)
    again = search_of(tmp_path)
    asked = [again.suggest(name) for name in ("a", "b")]
    assert [job["digest"] for job in asked if isinstance(job, dict)].count(lost["digest"]) == 1
    assert raised["digest"] not in [job["digest"] for job in asked if isinstance(job, dict)]


def test_many_failures_in_a_row_end_the_sweep_and_one_success_starts_the_count_again(tmp_path):
    search = search_of(tmp_path, failures={"in_a_row": 3})
    for name in "ab":
        search.suggest(name)
        search.finish(name, {}, RAISED)
    search.studies.count(False)
    for name in "cde":
        assert search.studies.gave_up is None
        search.suggest(name)
        search.finish(name, {}, RAISED)
    assert search.studies.gave_up == "gave up after 3 failed trials in a row (failures.in_a_row)"
    assert search.suggest("f") == "FINISHED"


def test_one_broken_pretraining_is_one_failure_however_many_trials_wait_for_it(tmp_path):
    edits: dict[str, Any] = {
        "compare": {"pretrain.task": [{"kind": "masked"}]},
        "failures": {"in_a_row": 2},
    }
    search = search_of(tmp_path, Waiting(tmp_path, failed=True), **edits)
    for name in "abcdef":
        search.suggest(name)
    assert len(list(records.read_all(tmp_path))) > 3
    assert search.studies.gave_up is None


def test_a_trial_of_a_node_that_can_run_none_goes_to_another_and_is_a_row_where_there_is_no_other(
    tmp_path,
):
    search = search_of(tmp_path, failures={"retries": 0})
    full = NodeError("10.0.0.1", "worker1", "No space left on device")
    search.suggest("a")
    search.suggest("b")
    for name in "ab":  # both ran there
        search.finish(name, {}, Crash(str(full), lost=True, node=full.address))
    assert list(records.read_all(tmp_path)) == []
    first, second = search.suggest("c"), search.suggest("d")
    search.finish("c", {}, Crash("on node worker2: full", lost=True, node="10.0.0.2"))
    ((row, *_),) = records.read_all(tmp_path)
    assert (row.status, row.crashed, row.reason) == ("failed", True, "on node worker2: full")
    assert first != second


def test_trials_that_wait_for_a_gpu_are_work_that_more_nodes_could_do(tmp_path):
    edits: dict[str, Any] = {"compare": {"finetune.gpu": [0.0, 1.0]}, "budget": {"trials": 2}}
    search = search_of(tmp_path, capacity=Capacity(8, 1), **edits)
    asked = [search.suggest(name) for name in "abcd"]
    assert [job["cell"] if isinstance(job, dict) else job for job in asked] == [0, 1, 0, None]
    assert not search.starved
    search.finish("b", {}, RAISED)
    assert isinstance(search.suggest("e"), dict)
    search.finish("e", {}, RAISED)
    assert not isinstance(search.suggest("f"), str)


def test_what_is_wrong_with_a_node_is_told_from_what_is_wrong_with_a_trial(tmp_path):
    def met(cause: Exception) -> Any:
        """As Ray hands it over: a class of its own, pickled."""
        return cloudpickle.loads(
            cloudpickle.dumps(exceptions.RayTaskError("step", "", cause).as_instanceof_cause())
        )

    found = node_error(met(NodeError("10.0.0.1", "worker1", "disk full")))
    assert found is not None
    assert (found.address, str(found)) == ("10.0.0.1", "on node worker1: disk full")
    group = SimpleNamespace(worker_failures={1: met(NodeError("10.0.0.2", "worker2", "disk full"))})
    assert getattr(node_error(group), "address", None) == "10.0.0.2"
    leader = SimpleNamespace(controller_failure=met(NodeError("10.0.0.3", "worker3", "disk full")))
    assert getattr(node_error(leader), "address", None) == "10.0.0.3"
    assert node_error(met(ValueError("bad"))) is None
    assert node_error(None) is None


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (exceptions.ActorDiedError(), True),
        (exceptions.NodeDiedError("gone"), True),
        (exceptions.OutOfMemoryError("killed"), True),
        (exceptions.RayActorError("a", "raised in __init__", actor_init_failed=True), False),
        (ValueError("x"), False),
        (None, False),
    ],
)
def test_only_a_lost_process_is_worth_another_try(error, lost):
    assert is_lost(error) is lost


STACK = """Timeout (0:00:03)!
Thread 0x00007f1 (most recent call first):
  File "/home/me/citrus_ray/citrus_ray/data/cache.py", line 9 in watch
Thread 0x00007f2 (most recent call first):
  File "/opt/venv/citrus_ray/lib/python3.11/site-packages/torch/_tensor.py", line 623 in backward
"""
OURS = """  File "/home/me/citrus_ray/citrus_ray/train.py", line 128 in _step
  File "/home/me/citrus_ray/citrus_ray/launch/runner.py", line 62 in step
"""


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (STACK + OURS, "; it was in _step (citrus_ray/train.py, line 128)"),
        (
            STACK,  # so deep that the lines of ours are cut off
            "; it was in backward "
            "(/opt/venv/citrus_ray/lib/python3.11/site-packages/torch/_tensor.py, line 623)",
        ),
        ("", ""),
    ],
)
def test_a_trial_that_hung_says_in_which_line(tmp_path, text, where):
    error, stack = tmp_path / "error.pkl", stack_file(tmp_path, "abc")
    error.write_bytes(cloudpickle.dumps(exceptions.WorkerCrashedError()))
    stack.write_text(text)
    crash = crash_of(SimpleNamespace(pickled_error_file=str(error)), stack, 4.0, 3.0)
    assert crash == Crash(f"hung: no result after 0.05 minutes (failures.minutes){where}")
    assert not stack.exists()


def test_two_tries_of_a_trial_at_once_do_not_fail_over_their_stack_file(tmp_path):
    """A node that was cut off comes back while the trial runs again elsewhere."""
    runner = SimpleNamespace(
        sweep=SimpleNamespace(failures=SimpleNamespace(minutes=5)),
        is_watched=True,
        started=time.monotonic(),
        paths=SimpleNamespace(records=tmp_path),
        job={"digest": "abc"},
    )
    with JobRunner._watched(runner):  # type: ignore[arg-type]
        stack_file(tmp_path, "abc").unlink()
    assert list(tmp_path.iterdir()) == []


def test_a_node_without_the_results_folder_or_with_other_data_cannot_run_trials(tmp_path):
    runner, worker = object.__new__(JobRunner), object.__new__(TrialRunner)
    runner.paths = ResultPaths(tmp_path / "gone" / "records", "", tmp_path)
    worker.runner = runner
    with pytest.raises(
        NodeError,
        match=r"on node .*: there is no results folder .*gone; give a folder that all nodes",
    ):
        worker.step()
    assert not (tmp_path / "gone").exists()
    runner.members, runner.job = [({}, PRETRAINED)], {"digest": "of the head", "phase": "search"}
    with pytest.raises(
        MachineError,
        match=r"the data are not those of the head \(trial .*, not of the head\); bring",
    ):
        runner._same_data()


# ---- on a cluster ----


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_a_worker_process_that_dies_costs_nothing_but_time(run: Run) -> None:
    cell, out = _with_a_kill(run, {})
    assert (cell["n_trials"], cell["n_failed"]) == (3, 0)
    assert cell["test"] is not None
    assert {row["status"] for row in lines(out)} == {"ok"}


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_a_worker_process_that_dies_without_retries_is_a_row_until_the_next_run(run: Run) -> None:
    cell, out = _with_a_kill(run, {"retries": 0})
    assert (cell["n_trials"], cell["n_failed"]) == (3, 1)
    (reason,) = {row["reason"] for row in lines(out) if row["crashed"]}
    assert "died" in reason or "dead" in reason
    run(_slow({"retries": 0}))
    (cell,) = json.loads((out / "summary.json").read_text())["cells"]
    assert (cell["n_trials"], cell["n_failed"]) == (3, 0)


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_a_trial_that_hangs_is_a_failed_row_that_says_where(run: Run) -> None:
    tree = _slow({"minutes": 0.05}, steps=10_000_000) | {"budget": {"trials": 1}}
    code, out = run(tree)
    assert code == 1
    reasons = {row["reason"] for row in lines(out)}
    assert all(
        "hung: no result after 0.05 minutes (failures.minutes); it was in " in reason
        for reason in reasons
    )
    assert not any(row["crashed"] for row in lines(out))
    assert {path.suffix for path in (out / "records").iterdir()} == {".jsonl"}


def _slow(failures: dict[str, Any], steps: int = 400) -> dict[str, Any]:
    tree = copy.deepcopy(TINY) | {"compare": {}, "failures": failures}
    tree["search"] = {"finetune.optim.lr": {"loguniform": [1e-3, 1e-2]}}
    tree["trial"]["finetune"] |= {"steps": steps}
    return tree


def _with_a_kill(run: Run, failures: dict[str, Any]) -> tuple[dict[str, Any], Path]:
    killer = threading.Thread(target=_kill_a_trial_worker)
    killer.start()
    _, out = run(_slow(failures))
    killer.join()
    (cell,) = json.loads((out / "summary.json").read_text())["cells"]
    return cell, out


def _kill_a_trial_worker() -> None:
    """SIGKILL the first process that is in the middle of a trial; between two of them it would cost
    none."""
    here = ray.get_runtime_context().gcs_address  # another Ray on this machine is none of ours
    until = time.monotonic() + 120
    while time.monotonic() < until:
        actors = list_actors(here, detail=True)
        alive = [a for a in actors if "Trainable" in a.class_name and a.state == "ALIVE" and a.pid]
        busy = [actor.pid for actor in alive if _runs_a_trial(actor.pid)]
        if busy:
            os.kill(busy[0], signal.SIGKILL)
            return
        time.sleep(0.1)


def _runs_a_trial(pid: int) -> bool:
    """Ray names a process after the method that it is in."""
    command = Path(f"/proc/{pid}/cmdline")
    return command.exists() and b"Trainable.train" in command.read_bytes()
