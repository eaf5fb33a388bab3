"""Joining or starting a Ray cluster, quietly."""

import importlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from unittest import mock

from citrus_ray.data.root import HERE
from citrus_ray.spec import MachineError, Problem, refuse

# seconds that a local Ray may take to start, try after try; the first is Ray's own limit
PATIENCE_S = (30.0, 180.0)

# Read by Ray when it is imported or started, so they must be set before.
QUIET = {
    # 2.0 by default, which every report of a short epoch would wait for
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # records and TensorBoard files are our own
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed trial has no objective
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # what went wrong is in the trial's record
    # workers start side by side, not in turn; our searcher says how many
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's own state is never read back
    "TUNE_WARN_THRESHOLD_S": "60",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours says what it does, and does not wait for trials
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # silences a warning about a future default
    "RAY_DEDUP_LOGS": "0",
}
for name, value in QUIET.items():
    os.environ.setdefault(name, value)


@dataclass(frozen=True)
class Capacity:
    """What the cluster has, in Ray's logical units."""

    cpus: float
    gpus: float


@contextmanager
def connect(address: str | None, verbose: bool, with_train: bool) -> Iterator[Capacity]:
    """The cluster at `address`, or a local one for the length of the block; a connection that is
    open is used. `with_train`: Ray Train will run there."""
    import ray

    if ray.is_initialized():
        yield capacity()
        return

    level = logging.INFO if verbose else logging.ERROR
    parts = ("", ".tune", ".train", ".data", ".tune.analysis.experiment_analysis")
    for part in parts:
        logging.getLogger(f"ray{part}").setLevel(level)
    # the dashboard's State API is what lets Ray Train clean up after itself, on loopback only, as
    # is its default; no one else asks it, and its twelve processes hold up the first trial by two
    # to three seconds on two cores
    here: dict[str, Any] = {"include_dashboard": with_train}
    starts_here = HERE not in os.environ
    os.environ.setdefault(HERE, os.getcwd())
    # workers of a cluster have an environment of their own
    names = ("CITRUS_DATA", "CITRUS_CACHE", "CITRUS_COMMIT", HERE)
    variables = {name: os.environ[name] for name in names if name in os.environ}
    there: dict[str, Any] = {"address": address, "runtime_env": {"env_vars": variables}}
    options = {"log_to_driver": verbose, "logging_level": level, "configure_logging": verbose}
    # what leads trials takes a second to load, in which Ray's daemons start
    loading = threading.Thread(
        target=importlib.import_module, args=("citrus_ray.launch.tune",), daemon=True
    )
    loading.start()
    heard = signal.getsignal(signal.SIGTERM)
    try:
        if address:
            ray.init(**options, **there)
        else:
            _start(options | here)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, heard)  # not Ray's, which shows its own stack
        loading.join()
        yield capacity()
    finally:
        ray.shutdown()
        if starts_here:
            del os.environ[HERE]


def _start(options: dict[str, Any]) -> None:
    """A local Ray, tried again with more patience where a busy machine takes longer than Ray
    waits. What a try leaves behind is ended first."""
    import ray

    for limit, next_limit in zip(PATIENCE_S, [*PATIENCE_S[1:], 0.0], strict=True):
        started = time.monotonic()
        try:
            with _patient(limit):
                ray.init(**options)
            return
        except Exception as err:  # Ray has no class of its own for it
            _end_daemons(err)
            ray.shutdown()
            said = (str(err).strip().splitlines() or [type(err).__name__])[0]
            what = f"Ray did not start in {time.monotonic() - started:.0f} s ({said})"
            if not next_limit:
                way = "wait until the machine is less busy, or see what Ray says with --verbose"
                raise MachineError([Problem("", f"{what}; {way}")]) from err
        again = f"{what}; once more, for {next_limit:.0f} s at most"
        print(again, file=sys.stderr, flush=True)


@contextmanager
def _patient(limit_s: float) -> Iterator[None]:
    """A block in which Ray waits so long for its own daemons. Its limit for the raylet is written
    into its code, around a call that is asked again until it answers."""
    from ray._private import services

    ask, until = services.get_node, time.monotonic() + limit_s

    def get_node(*of: Any) -> Any:
        while True:
            try:
                return ask(*of)
            except RuntimeError:  # it has not registered yet
                if time.monotonic() > until:
                    raise
            time.sleep(0.1)

    port = {"RAY_gcs_server_port_wait_time_s": str(round(limit_s))}
    with mock.patch.object(services, "get_node", get_node), mock.patch.dict(os.environ, port):
        yield


def _end_daemons(err: Exception) -> None:
    """End what a failed start had started: it hangs on a node that was never handed over."""
    from ray._private.node import Node

    trace = err.__traceback__
    while trace is not None:
        node = trace.tb_frame.f_locals.get("self")
        if isinstance(node, Node):
            with suppress(Exception):  # some had ended themselves
                node.kill_all_processes(check_alive=False, wait=True)
            return
        trace = trace.tb_next


def capacity(without: Collection[str] = ()) -> Capacity:
    """Resources of the nodes that are up in the cluster that this process is connected to, less
    those at these addresses."""
    import ray

    up = [node for node in ray.nodes() if node["Alive"]]
    found = [node["Resources"] for node in up if node["NodeManagerAddress"] not in without]
    return Capacity(*(sum(node.get(kind, 0.0) for node in found) for kind in ("CPU", "GPU")))


def most(now: Capacity) -> Capacity:
    """What the autoscaler may bring the cluster to, as its file tells the head; what is up where
    nothing does."""
    cpus, gpus = _told("CITRUS_MAX_CPUS"), _told("CITRUS_MAX_GPUS")
    return Capacity(max(now.cpus, cpus), max(now.gpus, gpus))


def _told(name: str) -> float:
    value = os.environ.get(name, "0")
    if not value.isdigit():
        rule = "must be a whole number, of what all workers of the cluster file have together"
        raise refuse(f"{value}: {rule}", f"${name}")
    return float(value)
