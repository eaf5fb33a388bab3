"""`ray up` forms the cluster, the token guards it, `ray down` leaves nothing."""

import json
import stat
import time

import pytest

from tests.lab.conftest import Host, Lab

pytestmark = pytest.mark.lab

NODES = (
    "import ray, json; ray.init('auto', logging_level='ERROR');"
    " print('NODES', json.dumps([n['NodeManagerAddress'] for n in ray.nodes() if n['Alive']]))"
)


def nodes(made: Lab) -> list[str]:
    said = made.head.run(f'python -c "{NODES}" 2>/dev/null').stdout
    return sorted(json.loads(said.split("NODES", 1)[1]))


def wait_for_nodes(made: Lab, n: int, seconds: float = 120.0) -> list[str]:
    end = time.monotonic() + seconds
    while len(found := nodes(made)) != n and time.monotonic() < end:
        time.sleep(2)
    assert len(found) == n, f"{n} nodes expected after {seconds:g} s, found {found}"
    return found


def test_ray_up_forms_three_nodes_behind_a_token_and_ray_down_leaves_nothing(machines: Lab) -> None:
    machines.up()
    hosts = [machines.head, machines.worker1, machines.worker2]
    assert wait_for_nodes(machines, 3) == sorted(host.address for host in hosts)

    secret = (machines.laptop.home / ".ray" / "auth_token").read_text()
    for host in hosts:
        carried = host.home / ".ray" / "auth_token"
        assert carried.read_text() == secret
        assert stat.S_IMODE(carried.stat().st_mode) == 0o600
    without = f'mv ~/.ray/auth_token aside; python -c "{NODES}"; mv aside ~/.ray/auth_token'
    refused = machines.head.run(without, check=False)
    assert "NODES" not in refused.stdout
    assert secret not in refused.stdout

    machines.down()
    assert wait_until_gone(hosts) == {}


def wait_until_gone(hosts: list[Host], seconds: float = 180.0) -> dict[str, list[str]]:
    """What is left of Ray on each host; workers notice after 60 s that their head is gone."""
    end = time.monotonic() + seconds
    while True:
        left = {host.name: found for host in hosts if (found := host.processes("ray"))}
        if not left or time.monotonic() > end:
            return left
        time.sleep(2)
