"""`ray up` forms the cluster, the token guards it, `ray down` leaves nothing."""

import stat
import time

import pytest

from cluster.lab.hosts import Host
from tests.lab.conftest import NODES, Lab, say, wait

pytestmark = pytest.mark.lab


def test_ray_up_forms_three_nodes(cluster: Lab) -> None:
    assert cluster.addresses() == sorted(host.address for host in cluster.nodes)


def test_the_token_is_carried_to_every_node_and_a_client_without_it_is_refused(
    cluster: Lab,
) -> None:
    secret = (cluster.laptop.home / ".ray" / "auth_token").read_text()
    for host in cluster.nodes:
        carried = host.home / ".ray" / "auth_token"
        assert carried.read_text() == secret
        assert stat.S_IMODE(carried.stat().st_mode) == 0o600
    ask = f'python -c "{NODES}"'
    assert "NODES" in cluster.worker1.run(ask).stdout
    refused = cluster.worker1.run(
        f"mv ~/.ray/auth_token aside; {ask}; mv aside ~/.ray/auth_token", check=False
    )
    assert "NODES" not in refused.stdout
    assert secret not in refused.stdout


def test_ray_down_leaves_nothing(cluster: Lab) -> None:
    cluster.down()
    started = time.monotonic()
    assert not left([cluster.head])
    try:
        wait(lambda: not left(cluster.nodes), "the end of every process of Ray")
    except AssertionError:
        assert left(cluster.nodes) == {}
    say(f"`ray down`: nothing of Ray on any host {time.monotonic() - started:.0f} s later")


def left(hosts: list[Host]) -> dict[str, list[str]]:
    """What is left of Ray on each host; a worker's raylet notices after 60 s that its head is
    gone."""
    return {
        host.name: found
        for host in hosts
        if (found := [p for p in host.processes("ray") if "ray" in p])
    }
