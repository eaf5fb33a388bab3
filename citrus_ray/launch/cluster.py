"""Joining or starting a Ray cluster, quietly, behind a token; one that is started here listens on
loopback alone."""

import contextlib
import importlib
import logging
import os
import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from citrus_ray.data.root import HERE
from citrus_ray.launch import local, token
from citrus_ray.spec import refuse, without_secrets

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
    "RAY_enable_metrics_collection": "0",  # nobody asks for them
}
for name, value in QUIET.items():
    os.environ.setdefault(name, value)


@dataclass(frozen=True)
class Capacity:
    """What the cluster has, in Ray's logical units."""

    cpus: float
    gpus: float


@contextmanager
def connect(
    address: str | None, verbose: bool, with_train: bool, without_token: bool = False
) -> Iterator[Capacity]:
    """The cluster at `address`, or a local one for the length of the block; a connection that is
    open is used. `with_train`: Ray Train will run there. `without_token`: whoever reaches the
    cluster may run what he likes on it."""
    token.enforce(make_it=address is None, without=without_token)
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
    with contextlib.ExitStack() as left:
        if starts_here:
            left.callback(os.environ.pop, HERE)
        left.callback(local.end)
        left.callback(ray.shutdown)
        if not verbose:
            # pages of its own state where it dies, which nothing else keeps from the screen
            left.enter_context(mock.patch.object(ray._private.worker, "print_to_stdstream"))
        if address:
            _join(options | there)
        else:
            local.start(options | here)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, heard)  # not Ray's, which shows its own stack
        loading.join()
        yield capacity()


def _join(options: dict[str, Any]) -> None:
    import ray

    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError) as err:
        said = without_secrets(" ".join(str(err).split())[:300])
        way = "see that the cluster is up, and that its token lies here too (docs/security.md)"
        raise refuse(f"{options['address']}: cannot be joined: {said}; {way}", "--address") from err


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
