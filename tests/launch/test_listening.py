"""A sweep on this machine listens on loopback alone, and its files are open to no one else."""

import os
import socket
import stat
from pathlib import Path

import pytest

from citrus_ray.launch import cluster, local
from tests.launch.listening import family, listening


def test_what_a_process_listens_on_is_found() -> None:
    with (
        socket.create_server(("0.0.0.0", 0)) as open_,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as closed,
    ):
        found = {one.port: one.on_loopback for one in listening(family(os.getpid()))}
        assert found[open_.getsockname()[1]] is False
        assert found[closed.getsockname()[1]] is True


@pytest.mark.ray
@pytest.mark.parametrize("with_train", [False, True], ids=["sweep", "shared pre-training"])
def test_ray_of_this_machine_listens_on_loopback_alone(with_train: bool) -> None:
    import ray

    with cluster.connect(None, False, with_train):
        ask = ray.remote(ray.util.get_node_ip_address)
        assert ray.get(ask.remote()) == "127.0.0.1"
        found = listening(family(os.getpid()))
        print(*found, sep="\n")
        assert {"gcs_server", "raylet"} <= {one.program for one in found}
        assert not [one for one in found if not one.on_loopback]
        folder = Path(local._local["folder"])
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert (folder / "ray").is_dir()
        assert os.environ["RAY_AUTH_MODE"] == "token"
    assert not folder.exists()
