"""An autoscaler: a cluster on one host of the lab, its nodes processes of Ray's own provider for
such tests."""

import json
import shlex
from pathlib import Path

import pytest
import yaml

from tests.lab.conftest import NODES, RUN, SWEEP_S, Lab, assert_same, say, tree_of, wait

pytestmark = pytest.mark.lab
HEAD = "f" * 51 + "00000"
ONE_CPU = {"resources": {"CPU": 1}, "node_config": {}}
LISTS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
)
COMMANDS = ("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files")
GROWS = {
    "cluster_name": "grows",
    "max_workers": 2,
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 0.2,
    "provider": {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "head_node_id": HEAD,
        "launch_multiple": True,
        "disable_node_updaters": True,
    },
    "auth": {},
    "file_mounts": {},
    "head_node_type": "ray.head.default",
    "available_node_types": {
        "ray.head.default": ONE_CPU | {"max_workers": 0},
        "worker": ONE_CPU | {"min_workers": 0, "max_workers": 2},
    },
} | {name: [] for name in LISTS + COMMANDS}
START = (
    "RAY_FAKE_CLUSTER=1 AUTOSCALER_UPDATE_INTERVAL_S=1 RAY_enable_autoscaler_v2=1 "
    f"RAY_CLOUD_INSTANCE_ID={HEAD} RAY_OVERRIDE_NODE_ID_FOR_TESTING={HEAD} RAY_AUTH_MODE=token "
    "ray start --head --num-cpus=1 --port=6379 "
    "--object-store-memory=100000000 --autoscaling-config=grows.json --disable-usage-stats"
)


def test_a_sweep_makes_a_cluster_grow_as_far_as_it_can_use_and_what_idles_goes_back(
    machines: Lab, alone: Path
) -> None:
    host = machines.laptop
    (host.home / "grows.json").write_text(json.dumps(GROWS))
    (host.home / "grown.yaml").write_text(
        "# Does it grow?\n" + yaml.safe_dump(tree_of("grown"), sort_keys=False)
    )

    def n_nodes() -> int:
        said = host.run(
            f"RAY_AUTH_MODE=token python -c {shlex.quote(NODES)} 2>/dev/null", check=False
        ).stdout
        return len(json.loads(said.partition("NODES")[2].splitlines()[0])) if "NODES" in said else 0

    try:
        host.run(START)
        wait(lambda: n_nodes() == 1, "the head")
        call = f"{RUN} grown.yaml --address auto --out grown/grown"
        grow = f"RAY_AUTH_MODE=token CITRUS_MAX_CPUS=3 {call}"
        sweep = host.start(grow)
        wait(lambda: n_nodes() == 3, "two more nodes")
        say("grown: 3 nodes, from 1")
        out, _ = sweep.communicate(timeout=SWEEP_S)
        assert sweep.returncode == 0, out
        wait(lambda: n_nodes() == 1, "idle nodes to go back")
        say("grown: the sweep is over, and what it brought up has gone back")
    finally:
        host.run("RAY_AUTH_MODE=token ray stop --force", check=False)
    assert_same(host.home / "grown" / "grown", alone)
