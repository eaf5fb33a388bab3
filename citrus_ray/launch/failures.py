"""Ends of a trial's process: why, and whether another try can help, as it can where a worker or a
node was lost."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle, exceptions
from ray.util.state import get_log

from citrus_ray import records
from citrus_ray.launch.runner import Crash
from citrus_ray.spec import MachineError

LOST = (
    exceptions.RayActorError,
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.OutOfMemoryError,
)
LOG_LINES = 200
SHOWN_LINES = 3
# its checkout may be called so too
OURS = re.compile(r"\bcitrus_ray/(?!.*(site-packages|citrus_ray)/).*")


class WorkerLost(RuntimeError):  # noqa: N818  (it is lost, not in error)
    """A worker of a pre-training went away; nothing is wrong with the pre-training itself."""


class NodeError(RuntimeError):
    """This node cannot run trials or pre-trainings of the sweep; another may."""

    def __init__(self, address: str, host: str, reason: str) -> None:
        super().__init__(address, host, reason)
        self.address = address

    def __str__(self) -> str:
        return f"on node {self.args[1]}: {self.args[2]}"


@contextmanager
def on_this_node() -> Iterator[None]:
    """What is wrong with the machine says which one it is."""
    try:
        yield
    except MachineError as err:
        raise NodeError(ray.util.get_node_ip_address(), records.host(), str(err)) from None


def crash_of(trial: Any, stack: Path, ran_s: float, limit_s: float | None) -> Crash:
    """What is known of a Tune trial that ended in an error."""
    err = _error(trial)
    frames = _taken(stack)
    if broken := node_error(err):
        return Crash(str(broken), lost=True, node=broken.address)
    if limit_s is not None and ran_s >= limit_s and is_lost(err):
        limit = f"{limit_s / 60:g} minutes (failures.minutes)"
        return Crash(f"hung: no result after {limit}{_where(frames)}")
    log = log_of(getattr(err, "actor_id", None)) if is_lost(err) else []
    said = f"; its log ends: {' | '.join(log[-SHOWN_LINES:])}" if log else ""
    return Crash(f"{last_line(err or 'its worker died')}{said}", is_lost(err))


def is_lost(err: object) -> bool:
    """Whether the process went away under the trial, as opposed to an exception of the trial
    itself."""
    return isinstance(err, LOST) and not getattr(err, "_actor_init_failed", False)


def node_error(err: object) -> NodeError | None:
    """Where Ray says that a task met one, or a worker in a group of Ray Train's did."""
    inner = [getattr(err, name, None) for name in ("cause", "controller_failure")]
    inner += getattr(err, "worker_failures", {}).values()
    if isinstance(err, NodeError):
        return next((one for one in inner if isinstance(one, NodeError)), err)
    found = (node_error(one) for one in inner if one is not None and one is not err)
    return next(filter(None, found), None)


def log_of(actor_id: str | None) -> list[str]:
    """The end of what a worker wrote to its standard error, if it can still be had."""
    if actor_id is None:
        return []
    try:
        # without an address, a second Ray on this machine is an error
        here, how = ray.get_runtime_context().gcs_address, {"timeout": 5, "errors": "replace"}
        text = "".join(get_log(here, actor_id=actor_id, suffix="err", tail=LOG_LINES, **how))
    except Exception:  # the node may be gone, with its log
        return []
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(":")]


def last_line(err: object) -> str:
    """The end of a Ray error is what went wrong; the rest is the way it came."""
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return lines[-1][:500] if lines else type(err).__name__


def _error(trial: Any) -> Exception | None:
    """Tune's own `get_pickled_error` looks where the file comes with the next snapshot only."""
    path = Path(trial.pickled_error_file or "")
    return cloudpickle.loads(path.read_bytes()) if path.is_file() else None


def _taken(stack: Path) -> str:
    """The text of a stack, whose file goes: the record keeps what it says."""
    text = stack.read_text() if stack.is_file() else ""
    stack.unlink(missing_ok=True)
    return text


def _where(stack: str) -> str:
    """The innermost line of ours, newest call first; of a deep stack only the end is there, which
    may be others'."""
    frames = re.findall(r'File "([^"]+)", line (\d+) in (\S+)', stack.rpartition("Thread 0x")[2])
    if not frames:
        return ""
    path, line, function = next((frame for frame in frames if OURS.search(frame[0])), frames[0])
    ours = OURS.search(path)
    return f"; it was in {function} ({ours[0] if ours else path}, line {line})"
