"""A sweep on this machine listens on loopback alone, and its files are open to no one else."""

import os
import socket
import subprocess
import sys

import pytest

from tests.launch.listening import family, listening


def test_what_a_process_listens_on_is_found() -> None:
    with (
        socket.create_server(("0.0.0.0", 0)) as open_,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as closed,
    ):
        found = {one.port: one.on_loopback for one in listening(family(os.getpid()))}
        assert found[open_.getsockname()[1]] is False
        assert found[closed.getsockname()[1]] is True


HERE = """
import os, stat, sys
from pathlib import Path
import ray
from citrus_ray.launch import cluster, local
from tests.launch.listening import family, listening

with cluster.connect(None, False, with_train=sys.argv[1] == "train"):
    address = ray.get(ray.remote(ray.util.get_node_ip_address).remote())
    assert address == "127.0.0.1", address
    found = listening(family(os.getpid()))
    assert {"gcs_server", "raylet"} <= {one.program for one in found}, found
    assert all(one.on_loopback for one in found), found
    folder = Path(local._local["folder"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "ray").is_dir()
    assert os.environ["RAY_AUTH_MODE"] == "token"
assert not folder.exists()
"""


@pytest.mark.ray
@pytest.mark.parametrize("what", ["sweep", "train"])
def test_ray_of_this_machine_listens_on_loopback_alone(what: str) -> None:
    # a process of its own: this one may be connected already, to the Ray that tests share
    done = subprocess.run([sys.executable, "-c", HERE, what], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
