"""A Ray of this machine alone: started with more patience than Ray has, listening on loopback, in a
folder of its own; ended without a trace."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest import mock

# seconds that a local Ray may take to start, try after try; the first is Ray's own limit
PATIENCE_S = (30.0, 180.0)
LONGEST_TEMP = 20  # characters: names of Ray's sockets below it have 107 in all


class RayLostError(Exception):
    """Ray did not start, or went away under the sweep."""


_local: dict[str, Any] = {}  # the folder of the Ray that this process started, and its node


def end() -> None:
    """What is left of the Ray that this process started: daemons, where they were not told to
    end, and its folder."""
    if node := _local.pop("node", None):
        with suppress(Exception):  # some had ended themselves
            node.kill_all_processes(check_alive=False)
    if folder := _local.pop("folder", None):
        shutil.rmtree(folder, ignore_errors=True)


def start(options: dict[str, Any]) -> None:
    """A local Ray, tried again with more patience where a busy machine takes longer than Ray
    waits. What a try leaves behind is ended first."""
    import ray
    from ray._private import worker

    for limit, next_limit in zip(PATIENCE_S, [*PATIENCE_S[1:], 0.0], strict=True):
        started = time.monotonic()
        _local["folder"] = _own_folder()
        try:
            with _patient(limit), _on_loopback():
                ray.init(**options, _temp_dir=f"{_local['folder']}/ray")
            _local["node"] = worker._global_node
            return
        except Exception as err:  # Ray has no class of its own for it
            _end_daemons(err)
            ray.shutdown()
            end()
            said = (str(err).strip().splitlines() or [type(err).__name__])[0]
            what = f"Ray did not start in {time.monotonic() - started:.0f} s ({said})"
            if not next_limit:
                way = "wait until the machine is less busy, or see what Ray says with --verbose"
                raise RayLostError(f"{what}; {way}") from err
        again = f"{what}; once more, for {next_limit:.0f} s at most"
        print(again, file=sys.stderr, flush=True)


def _own_folder() -> str:
    """For the folder of Ray's sockets, logs and objects, which it opens to all."""
    usual = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="citrus-", dir=usual if len(usual) <= LONGEST_TEMP else "/tmp")


@contextmanager
def _on_loopback() -> Iterator[None]:
    """A block in which a Ray that starts gives its node the address of loopback, and so listens
    there alone. It does so by itself on systems other than Linux; `_node_ip_address` cannot say
    it, for Ray turns loopback into the address of the net."""
    from ray._private import ray_constants

    # of the connections that workers of a shared pre-training make among themselves
    same = {"GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo")}
    with (
        mock.patch.object(ray_constants, "ENABLE_RAY_CLUSTER", False),
        mock.patch.dict(os.environ, same if sys.platform == "linux" else {}),
    ):
        yield


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
