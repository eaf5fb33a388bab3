"""Cluster files looked through before money is spent on them: what Ray's own schema says, what
KubeRay knows, and what sweeps need. Nothing is started, and no cloud is asked."""

import difflib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from citrus_ray.spec import Document, Problem, SpecError, read_yaml

PLACEHOLDER = re.compile(r"<[A-Z][A-Z_0-9]*>")
TOKEN_FILE = "~/.ray/auth_token"
A_TOKEN = re.compile(r"\b[0-9a-f]{32,}\b")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
HOST = re.compile(r"--dashboard-host[= ]+([^\s;'\"]+)")
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")
SETUPS = ("setup_commands", "head_setup_commands", "worker_setup_commands")
TOLD = ("CITRUS_RESULTS", "CITRUS_DATA")
# fields of KubeRay's RayCluster, ray.io/v1
KUBERAY: dict[str, tuple[str, ...]] = {
    "": ("apiVersion", "kind", "metadata", "spec", "status"),
    "spec": (
        *("authOptions", "autoscalerOptions", "enableInTreeAutoscaling"),
        *(
            "gcsFaultToleranceOptions",
            "headGroupSpec",
            "headServiceAnnotations",
            "managedBy",
            "rayVersion",
            "suspend",
        ),
        *("upgradeStrategy", "workerGroupSpecs", "networkPolicy"),
    ),
    "spec.authOptions": ("mode", "secretName", "enableK8sTokenAuth"),
    "spec.autoscalerOptions": (
        *("env", "envFrom", "idleTimeoutSeconds", "image", "imagePullPolicy", "resources"),
        *("securityContext", "upscalingMode", "version", "volumeMounts", "command", "args"),
    ),
    "spec.headGroupSpec": (
        *("enableIngress", "headService", "labels", "rayStartParams", "resources", "serviceType"),
        "template",
    ),
    "spec.workerGroupSpecs": (
        *("groupName", "idleTimeoutSeconds", "labels", "maxReplicas", "minReplicas", "numOfHosts"),
        *("rayStartParams", "replicas", "resources", "scaleStrategy", "suspend", "template"),
    ),
}


def check(path: Path) -> str:
    """What the file is for; everything that is wrong with it is refused at once."""
    document = read_yaml(path)
    tree = document.tree
    is_kubernetes = str(tree.get("apiVersion", "")).startswith("ray.io/")
    found = [*_everywhere(document), *(_kubernetes(tree) if is_kubernetes else _ray_up(tree))]
    if found:
        raise SpecError([document.place(problem) for problem in dict.fromkeys(found)])
    return "KubeRay (kubectl apply)" if is_kubernetes else f"ray up, provider {_provider(tree)}"


def unfilled(path: Path) -> list[str]:
    """Places of a file that are still to be replaced; comments explain them."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return sorted(set(PLACEHOLDER.findall("\n".join(line.partition(" #")[0] for line in lines))))


def _everywhere(document: Document) -> Iterator[Problem]:
    for path, text in _texts(document.tree):
        for word in dict.fromkeys(PLACEHOLDER.findall(text)):
            yield Problem(path, f"{word} is still to be replaced; the head of the file explains it")
        if A_TOKEN.search(text):
            rule = "holds what looks like a token or a key; files are copied and committed"
            yield Problem(path, f"{rule}, so carry it as {TOKEN_FILE} or in a Secret")
        for host in HOST.findall(text):
            if host not in LOOPBACK:
                yield Problem(path, f"{host}: the dashboard must listen on loopback, 127.0.0.1")
        if re.search(r"RAY_AUTH_MODE=(?!token)", text):
            yield Problem(path, "RAY_AUTH_MODE must be token: without, whoever comes may run code")


def _texts(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text below, by its dotted path."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _texts(value, f"{path}.{key}".lstrip("."))
    elif isinstance(tree, list):
        for i, value in enumerate(tree):
            yield from _texts(value, f"{path}[{i}]")
    elif isinstance(tree, str):
        yield path, tree


# ---- what `ray up` takes ----


def _ray_up(tree: dict[str, Any]) -> Iterator[Problem]:
    broken = list(_against_schema(tree))
    yield from broken
    if not broken:
        yield from _as_ray_reads(tree)
        yield from _for_sweeps(tree)


def _against_schema(tree: dict[str, Any]) -> Iterator[Problem]:
    import jsonschema
    from ray import autoscaler

    schema = json.loads((Path(autoscaler.__path__[0]) / "ray-schema.json").read_text())
    for err in jsonschema.Draft7Validator(schema).iter_errors(tree):
        path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in err.absolute_path)
        yield Problem(path.lstrip("."), f"{err.message[:200]} (Ray's own schema)")


def _as_ray_reads(tree: dict[str, Any]) -> Iterator[Problem]:
    """Further rules of Ray's, which come with what it fills in."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        validate_config(prepare_config(json.loads(json.dumps(tree))))
    except Exception as err:  # of many classes
        said = " ".join(str(err).split())[:300]
        yield Problem("", f"Ray refuses it: {said or type(err).__name__}")


def _for_sweeps(tree: dict[str, Any]) -> Iterator[Problem]:
    if TOKEN_FILE not in tree.get("file_mounts", {}):
        rule = f"must carry the token: `{TOKEN_FILE}: {TOKEN_FILE}`"
        yield Problem("file_mounts", f"{rule}; `python -m citrus_ray.launch.token` makes it")
    for key in STARTS:
        commands = tree.get(key) or []
        if not any("ray start" in line for line in commands):
            yield Problem(key, "must start Ray, asking for the token, as cluster/onprem.yaml does")
        for i, line in enumerate(commands):
            if re.search(r"\bray (start|stop)\b", line) and "RAY_AUTH_MODE=token" not in line:
                rule = "must run with RAY_AUTH_MODE=token, or this Ray lets everyone in"
                yield Problem(f"{key}[{i}]", rule)
    setups = " ".join(str(line) for key in SETUPS for line in tree.get(key) or [])
    for name in TOLD:
        if f"{name}=" not in setups:
            rule = f"must export ${name}, a folder that all nodes mount at one path"
            yield Problem("setup_commands", rule)
    if "pip install" not in setups and "docker" not in tree:
        rule = "must bring citrus_ray and a Python of its own to every node (`pip install …`)"
        yield Problem("setup_commands", rule)
    yield from _images(tree)
    on_premises = _provider(tree) == "local"
    head = " ".join(tree.get(STARTS[0]) or [])
    if on_premises and "RAY_enable_autoscaler_v2=0" not in head:
        rule = "must set RAY_enable_autoscaler_v2=0: version 2 counts the head as a worker"
        yield Problem(STARTS[0], rule)
    if not on_premises and tree.get("max_workers") and "CITRUS_MAX_CPUS=" not in setups:
        rule = "must export $CITRUS_MAX_CPUS: without, a sweep asks for no more than is up"
        yield Problem("setup_commands", rule)


def _images(tree: dict[str, Any]) -> Iterator[Problem]:
    for path, text in _texts(tree):
        found = re.fullmatch(r"rayproject/ray:([\d.]+)(-\S+)?", text)
        if found and found[1] != version("ray"):
            rule = f"is Ray {found[1]}, but {version('ray')} is here; a cluster has one version"
            yield Problem(path, f"{text}: {rule}")


def _provider(tree: dict[str, Any]) -> str:
    return str((tree.get("provider") or {}).get("type", "?"))


# ---- Kubernetes ----


def _kubernetes(tree: dict[str, Any]) -> Iterator[Problem]:
    if (tree.get("apiVersion"), tree.get("kind")) != ("ray.io/v1", "RayCluster"):
        yield Problem("kind", "must be a RayCluster of ray.io/v1")
    spec = _block(tree, "spec")
    blocks = {"": tree, "spec": spec}
    for key in ("authOptions", "autoscalerOptions", "headGroupSpec"):
        blocks[f"spec.{key}"] = _block(spec, key)
    groups = {"spec.headGroupSpec": blocks["spec.headGroupSpec"]}
    for i, group in enumerate(spec.get("workerGroupSpecs") or []):
        groups[f"spec.workerGroupSpecs[{i}]"] = group if isinstance(group, dict) else {}
    for path, block in (blocks | groups).items():
        known = KUBERAY[re.sub(r"\[\d+\]$", "", path)]
        for key in block.keys() - set(known):
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            yield Problem(f"{path}.{key}".lstrip("."), f"is no field of a RayCluster{hint}")
    if blocks["spec.authOptions"].get("mode") != "token":
        rule = "must say `mode: token`: without, whoever reaches a pod may run code"
        yield Problem("spec.authOptions", rule)
    if str(spec.get("rayVersion")) != version("ray"):
        yield Problem("spec.rayVersion", f"must be {version('ray')}, the version that is here")
    for path, group in groups.items():
        yield from _group(path, group)


def _group(path: str, group: dict[str, Any]) -> Iterator[Problem]:
    host = (group.get("rayStartParams") or {}).get("dashboard-host", LOOPBACK[0])
    if host not in LOOPBACK or ("head" in path and "dashboard-host" not in group["rayStartParams"]):
        rule = "must say `dashboard-host: 127.0.0.1`: KubeRay opens it to the net by default"
        yield Problem(f"{path}.rayStartParams", rule)
    counts = [group.get(key) for key in ("minReplicas", "replicas", "maxReplicas")]
    if all(isinstance(n, int) for n in counts) and counts != sorted(counts):  # type: ignore[type-var]
        yield Problem(path, "must have minReplicas <= replicas <= maxReplicas")
    pod = _block(_block(group, "template"), "spec")
    for i, container in enumerate(pod.get("containers") or []):
        at = f"{path}.template.spec.containers[{i}]"
        told = {one.get("name"): one.get("value") for one in container.get("env") or []}
        mounts = [str(one.get("mountPath")) for one in container.get("volumeMounts") or []]
        for name in TOLD:
            value = str(told.get(name) or "")
            if not any(value.startswith(mount.rstrip("/") + "/") for mount in mounts):
                yield Problem(f"{at}.env", f"must set {name} to a folder below what all pods mount")
        resources = container.get("resources") or {}
        if not resources or resources.get("limits") != resources.get("requests"):
            rule = "must have equal limits and requests: Ray counts limits, Kubernetes requests"
            yield Problem(f"{at}.resources", rule)


def _block(tree: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = tree.get(key)
    return value if isinstance(value, dict) else {}
