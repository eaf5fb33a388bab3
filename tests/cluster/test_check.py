"""`citrus cluster check` names what is wrong with a cluster file, at its line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from citrus_ray.cli.citrus import main
from citrus_ray.launch.cluster_file import check, unfilled
from citrus_ray.spec import SpecError
from tests.cluster.test_files import ALL, CLUSTER, PLACEHOLDER


def filled(name: str) -> str:
    return PLACEHOLDER.sub("10.0.0.7", (CLUSTER / f"{name}.yaml").read_text())


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_a_file_of_ours_is_right_once_it_is_filled_in(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SpecError) as caught:
        check(path)
    found = caught.value.problems
    assert {p.message.split()[0] for p in found} == set(unfilled(path))
    assert all("is still to be replaced" in p.message and p.line for p in found)
    (file := tmp_path / "c.yaml").write_text(filled(path.stem))
    assert main(["cluster", "check", str(file)]) == 0
    assert "nothing is wrong with it" in capsys.readouterr().out


EDITS: dict[str, tuple[str, Callable[[str], str], str]] = {
    "a typo": (
        "onprem",
        lambda t: t.replace("file_mounts:", "file_mount:"),
        "'file_mount' was unexpected",
    ),
    "a number as a name": (
        "onprem",
        lambda t: t.replace("cluster_name: citrus-onprem", "cluster_name: 5"),
        "cluster_name: 5 is not of type 'string'",
    ),
    "no token": (
        "aws",
        lambda t: t.replace("~/.ray/auth_token: ~/.ray/auth_token", "~/x: ~/x"),
        "must carry the token",
    ),
    "a start without a token": (
        "gcp",
        lambda t: t.replace("export RAY_AUTH_MODE=token;\n    ray start", "ray start"),
        "must run with RAY_AUTH_MODE=token",
    ),
    "a token switched off": (
        "onprem",
        lambda t: t.replace("RAY_AUTH_MODE=token ray stop", "RAY_AUTH_MODE=disabled ray stop"),
        "RAY_AUTH_MODE must be token",
    ),
    "a dashboard for all": (
        "onprem",
        lambda t: t.replace("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0"),
        "0.0.0.0: the dashboard must listen on loopback",
    ),
    "a token in the file": (
        "onprem",
        lambda t: t.replace("ulimit -n 65536;", f"export RAY_AUTH_TOKEN={'0af1' * 16};"),
        "looks like a token",
    ),
    "no results": (
        "onprem",
        lambda t: t.replace("CITRUS_RESULTS=", "RESULTS="),
        "must export $CITRUS_RESULTS",
    ),
    "no Python": ("onprem", lambda t: t.replace("pip install", "true"), "must bring citrus_ray"),
    "another Ray": (
        "aws",
        lambda t: t.replace("rayproject/ray:2.60.0", "rayproject/ray:2.9.0"),
        "is Ray 2.9.0",
    ),
    "autoscaler 2 on premises": (
        "onprem",
        lambda t: t.replace(" RAY_enable_autoscaler_v2=0;", ";"),
        "must set RAY_enable_autoscaler_v2=0",
    ),
    "a cluster that cannot grow": (
        "gcp",
        lambda t: t.replace("CITRUS_MAX_CPUS", "MAX_CPUS"),
        "must export $CITRUS_MAX_CPUS",
    ),
    "no YAML": ("onprem", lambda t: t.replace("provider:", "provider: ["), ""),
    "a pod without a token": (
        "kuberay",
        lambda t: t.replace("authOptions: {mode: token}", "authOptions: {mode: disabled}"),
        "must say `mode: token`",
    ),
    "a field with a typo": (
        "kuberay",
        lambda t: t.replace("maxReplicas: 8", "maxReplica: 8"),
        "did you mean `maxReplicas`?",
    ),
    "another Ray in a pod": (
        "kuberay",
        lambda t: t.replace('rayVersion: "2.60.0"', 'rayVersion: "2.9.0"'),
        "must be 2.60.0",
    ),
    "a head for all": (
        "kuberay",
        lambda t: t.replace("{dashboard-host: 127.0.0.1}", "{}"),
        "must say `dashboard-host: 127.0.0.1`",
    ),
    "a pod without the share": (
        "kuberay",
        lambda t: t.replace("mountPath: /shared", "mountPath: /elsewhere"),
        "must set CITRUS_RESULTS to a folder below what all pods mount",
    ),
    "limits above requests": (
        "kuberay",
        lambda t: t.replace('limits: {cpu: "8"', 'limits: {cpu: "9"'),
        "must have equal limits and requests",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_what_is_wrong_is_named_with_a_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of, edit, expected = EDITS[name]
    text = filled(of)
    assert edit(text) != text
    (file := tmp_path / "c.yaml").write_text(edit(text))
    assert main(["cluster", "check", str(file)]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert str(file) in said
