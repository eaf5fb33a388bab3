"""The cluster files are what Ray takes, and say everything that a reader must replace, pay and tear
down."""

import copy
import importlib.util
import itertools
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

CLUSTER = Path(__file__).resolve().parents[2] / "cluster"
RAY_UP = sorted(path for path in CLUSTER.glob("*.yaml") if path.stem != "kuberay")
ALL = [*RAY_UP, CLUSTER / "kuberay.yaml"]
PLACEHOLDER = re.compile(r"<[A-Z][A-Z_0-9]*>")
RAY = "2.60.0"

each = pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
each_for_ray_up = pytest.mark.parametrize("path", RAY_UP, ids=lambda p: p.stem)


def head_of(path: Path) -> str:
    return "".join(itertools.takewhile(lambda line: line.startswith("#"), path.open()))


def tree_of(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


def accepted(tree: dict[str, Any]) -> dict[str, Any]:
    """As `ray up` takes it in: defaults filled in, then checked against Ray's schema and its
    further rules."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    ready: dict[str, Any] = prepare_config(copy.deepcopy(tree))
    validate_config(ready)
    return ready


def test_the_files_are_there() -> None:
    assert {path.stem for path in ALL} == {"onprem", "aws", "gcp", "kuberay"}


@each_for_ray_up
def test_ray_accepts_the_file(path: Path) -> None:
    ready = accepted(tree_of(path))
    kinds = ready["available_node_types"]
    assert sum(kind.get("min_workers", 0) for kind in kinds.values()) <= ready["max_workers"]
    assert set(tree_of(path)["file_mounts"]) <= set(ready["file_mounts"])


@each_for_ray_up
def test_a_key_with_a_typo_is_refused(path: Path) -> None:
    with pytest.raises(Exception, match="idle_timeout_minuets"):
        accepted(tree_of(path) | {"idle_timeout_minuets": 5})


@each
def test_every_placeholder_is_explained_in_the_head_and_in_the_readme(path: Path) -> None:
    head, text, readme = head_of(path), path.read_text(), (CLUSTER / "README.md").read_text()
    used = set(PLACEHOLDER.findall(text.removeprefix(head)))
    explained = set(re.findall(r"^#   (<[A-Z][A-Z_0-9]*>)  +\S", head, re.MULTILINE))
    assert used == explained
    assert used
    assert used <= set(PLACEHOLDER.findall(readme))


@each
def test_the_head_says_what_starts_what_it_costs_and_how_it_ends(path: Path) -> None:
    head = head_of(path)
    positions = [
        head.index(f"# {word}:")
        for word in ("Starts", "Costs", "Start", "Run", "Look", "Tear down")
    ]
    assert positions == sorted(positions)
    assert f"cluster/{path.name}" in head


@each_for_ray_up
def test_the_dashboard_listens_on_loopback_and_every_process_asks_for_the_token(path: Path) -> None:
    tree = tree_of(path)
    keys = ("head_start_ray_commands", "worker_start_ray_commands")
    starts = [line for key in keys for line in tree[key] if re.search(r"ray st(art|op)", line)]
    assert len([line for line in starts if "ray start" in line]) == 2
    assert all("RAY_AUTH_MODE=token" in line for line in starts)
    assert "--dashboard-host=127.0.0.1" in tree["head_start_ray_commands"][-1]
    assert "0.0.0.0" not in path.read_text()
    assert tree["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}


@each
def test_no_file_holds_a_token(path: Path) -> None:
    assert not re.search(r"[0-9a-f]{24,}", path.read_text())
    assert "RAY_AUTH_TOKEN" not in path.read_text()


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_a_cloud_cluster_has_a_cpu_head_and_spot_workers_with_and_without_gpu(name: str) -> None:
    tree = tree_of(CLUSTER / f"{name}.yaml")
    kinds = tree["available_node_types"]
    assert tree["head_node_type"] == "head"
    assert [kinds[k]["resources"].get("GPU", 0) for k in ("head", "cpu_worker", "gpu_worker")] == [
        0,
        0,
        1,
    ]
    assert {k for k, kind in kinds.items() if is_spot(kind["node_config"])} == {
        "cpu_worker",
        "gpu_worker",
    }
    assert all(image.startswith(f"rayproject/ray:{RAY}-py311") for image in images(tree))
    assert sum(kinds[k]["max_workers"] for k in ("cpu_worker", "gpu_worker")) == tree["max_workers"]
    cpus = sum(
        kinds[k]["resources"]["CPU"] * kinds[k].get("max_workers", 1)
        for k in ("head", "cpu_worker")
    )
    (said,) = [line for line in tree["setup_commands"] if "CITRUS_MAX" in line]
    assert f"CITRUS_MAX_CPUS={cpus} CITRUS_MAX_GPUS={kinds['gpu_worker']['max_workers']}'" in said


def is_spot(node: dict[str, Any]) -> bool:
    options = node.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
    return options or {"preemptible": True} in node.get("scheduling", [])


def images(tree: dict[str, Any]) -> list[str]:
    kinds = tree["available_node_types"].values()
    return [tree["docker"]["image"], *(k["docker"]["worker_image"] for k in kinds if "docker" in k)]


def test_on_premises_the_autoscaler_that_counts_the_head_as_a_worker_is_off() -> None:
    tree = tree_of(CLUSTER / "onprem.yaml")
    assert "RAY_enable_autoscaler_v2=0" in tree["head_start_ray_commands"][-1]
    (kind,) = accepted(tree)["available_node_types"].values()
    assert kind["min_workers"] == kind["max_workers"] == len(tree["provider"]["worker_ips"])


# ---- Kubernetes ----


@pytest.fixture
def kuberay() -> dict[str, Any]:
    return tree_of(CLUSTER / "kuberay.yaml")


def groups(tree: dict[str, Any]) -> list[dict[str, Any]]:
    return [tree["spec"]["headGroupSpec"], *tree["spec"]["workerGroupSpecs"]]


def test_kuberay_is_a_ray_cluster_with_token_and_autoscaler(kuberay: dict[str, Any]) -> None:
    assert (kuberay["apiVersion"], kuberay["kind"]) == ("ray.io/v1", "RayCluster")
    spec = kuberay["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["rayVersion"] == RAY
    assert spec["headGroupSpec"]["rayStartParams"] == {"dashboard-host": "127.0.0.1"}


def test_every_pod_of_kuberay_has_equal_requests_and_limits_and_mounts_what_it_names(
    kuberay: dict[str, Any],
) -> None:
    for group in groups(kuberay):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert (
            container["resources"]["limits"] == container["resources"]["requests"]
        )  # Ray reads the limits
        assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
        told = {e["name"]: e["value"] for e in container["env"]}
        assert told.keys() == {
            "CITRUS_RESULTS",
            "CITRUS_DATA",
            "CITRUS_MAX_CPUS",
            "CITRUS_MAX_GPUS",
        }
        head, cpu, gpu = groups(kuberay)
        cpus = [
            int(g["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
            for g in (head, cpu)
        ]
        assert int(told["CITRUS_MAX_CPUS"]) == cpus[0] + cpus[1] * cpu["maxReplicas"]
        assert int(told["CITRUS_MAX_GPUS"]) == gpu["maxReplicas"]


def test_kuberay_has_a_cpu_and_a_gpu_group_that_scale(kuberay: dict[str, Any]) -> None:
    workers = kuberay["spec"]["workerGroupSpecs"]
    assert [w["groupName"] for w in workers] == ["cpu", "gpu"]
    for w in workers:
        assert w["minReplicas"] <= w["replicas"] <= w["maxReplicas"]
        assert set(w) == {
            "groupName",
            "replicas",
            "minReplicas",
            "maxReplicas",
            "rayStartParams",
            "template",
        }
    limits = [w["template"]["spec"]["containers"][0]["resources"]["limits"] for w in workers]
    assert [limit.get("nvidia.com/gpu") for limit in limits] == [None, "1"]


def test_the_version_of_ray_is_the_one_that_the_project_asks_for() -> None:
    asked = re.search(r"ray\[[a-z,]+\]>=([\d.]+),", (CLUSTER.parent / "pyproject.toml").read_text())
    assert asked
    assert RAY.startswith(asked[1])


# ---- Slurm ----


def test_the_slurm_script_asks_for_the_token_and_hands_its_signal_to_the_sweep_alone() -> None:
    text = (CLUSTER / "slurm.sh").read_text()
    subprocess.run(["bash", "-n", str(CLUSTER / "slurm.sh")], check=True)
    assert importlib.util.find_spec("ray.scripts.symmetric_run") is not None
    assert "ray symmetric-run" in text
    assert "export RAY_AUTH_MODE=token" in text
    assert "#SBATCH --signal=TERM@" in text
    assert text.index('trap "" TERM') < text.index('ray symmetric-run "$@"')
    assert "mkdir -m 700" in text
