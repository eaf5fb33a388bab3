"""Ray is started with more patience on a machine that is busy, and leaves nothing behind."""

import os
from pathlib import Path

import pytest
from ray._private import services

from citrus_ray.launch import cluster, local
from citrus_ray.launch.local import RayLostError

PORT_WAIT = "RAY_gcs_server_port_wait_time_s"  # as Ray spells it
LATE = "The current node timed out during startup. This could happen because"


def daemons() -> set[str]:
    """Ray's daemons that this process started."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            words = (process / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if parent == str(os.getpid()) and (b"gcs_server" in words or b"raylet" in words):
            found.add(process.name)
    return found


@pytest.mark.ray
def test_a_start_that_timed_out_is_tried_again_without_its_daemons(monkeypatch, capsys):
    answer, seen = services.get_node, list[set[str]]()

    def late_once(*of):
        seen.append(daemons())
        if len(seen) == 1:
            raise Exception(LATE)
        return answer(*of)

    monkeypatch.setattr(services, "get_node", late_once)
    with cluster.connect(None, False, False) as capacity:
        assert capacity.cpus >= 1
        assert len(seen[0]) >= 2
        assert not seen[0] & daemons(), "what the first try had started has ended"
        assert len(daemons()) >= 2
    assert not daemons()
    said = capsys.readouterr().err
    assert "Ray did not start in" in said
    assert "once more, for 180 s at most" in said


def test_a_ray_that_never_starts_is_said_in_a_line_with_a_way_out(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")

    def never(**_):
        raise Exception(f"{LATE}\nand more")

    monkeypatch.setattr("ray.init", never)
    with pytest.raises(RayLostError) as caught, cluster.connect(None, False, False):
        pass
    assert LATE in str(caught.value)
    assert "and more" not in str(caught.value)
    assert "--verbose" in str(caught.value)
    assert capsys.readouterr().err.count("once more") == 1


def test_the_node_is_asked_for_until_the_limit_and_no_longer(monkeypatch):
    asked = []

    def not_yet(address, node):
        asked.append((address, node))
        raise RuntimeError("no such node")

    monkeypatch.setattr(services, "get_node", not_yet)
    with local._patient(0.3):
        assert os.environ[PORT_WAIT] == "0"
        with pytest.raises(RuntimeError, match="no such node"):
            services.get_node("here", "it")
    assert 2 <= len(asked) <= 6
    assert services.get_node is not_yet
    assert PORT_WAIT not in os.environ
