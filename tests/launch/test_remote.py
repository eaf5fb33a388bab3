"""From the laptop to a cluster: what is found out before anything is carried there, and what is
carried."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from citrus_ray import records
from citrus_ray.cli.main import main
from citrus_ray.launch import job, remote
from citrus_ray.spec import SpecError
from tests.small import SWEEP

CLUSTER = Path(__file__).resolve().parents[2] / "cluster"


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(sys.modules, "ray", None)  # importing it is an error
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text(SWEEP)
    return path


@pytest.mark.parametrize("name", ["onprem", "aws", "gcp"])
def test_a_cluster_file_that_is_not_filled_in_is_one_error_with_every_placeholder(
    name: str,
) -> None:
    file = CLUSTER / f"{name}.yaml"
    with pytest.raises(SpecError) as wrong:
        remote.check(file)
    (problem,) = wrong.value.problems
    wanted = {line.split()[1] for line in file.read_text().splitlines() if line.startswith("#   <")}
    assert all(placeholder in problem.message for placeholder in wanted)


def test_a_cluster_file_that_is_filled_in_passes(tmp_path: Path) -> None:
    text = (CLUSTER / "onprem.yaml").read_text()
    body = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    file = tmp_path / "mine.yaml"
    file.write_text(body.replace("<", "").replace(">", "") + "# a note: <HEAD_IP> was replaced\n")
    remote.check(file)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--cluster", "nowhere.yaml"], "there is no such file"),
        (["--cluster", str(CLUSTER / "onprem.yaml")], "still to be replaced"),
        (
            ["--cluster", str(CLUSTER / "onprem.yaml"), "--data", "."],
            "--data: names a folder of this machine",
        ),
        (
            ["--cluster", str(CLUSTER / "onprem.yaml"), "--reuse", "."],
            "--reuse: names a folder of this machine",
        ),
    ],
)
def test_what_is_wrong_on_the_laptop_starts_nothing(
    spec: Path, flags: list[str], says: str, capsys
) -> None:
    assert main([str(spec), *flags]) == 2
    assert says in capsys.readouterr().err
    assert os.listdir(spec.parent) == ["small.yaml"]


def test_a_cluster_and_an_address_are_two_places(
    spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main([str(spec), "--cluster", "c.yaml", "--address", "auto"])
    assert left.value.code == 2


@pytest.mark.slow
def test_what_is_carried_runs_without_the_checkout(tmp_path: Path) -> None:
    with remote.bundle(SWEEP) as code:
        call = [
            sys.executable,
            *("-m", "citrus_ray", "run"),
            "spec.yaml",
            "--status",
            "--out",
            str(tmp_path / "out"),
        ]
        clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(code), "CITRUS_COMMIT": "abc+"}
        done = subprocess.run(call, cwd=code, env=clean, capture_output=True, text=True)
        where = "import citrus_ray.report.files; print(citrus_ray.__file__)"
        asked = subprocess.run(
            [sys.executable, "-c", where], cwd=code, env=clean, capture_output=True, text=True
        )
        assert asked.stdout.strip() == str(code / "citrus_ray" / "__init__.py")
    nothing = "small: 0 of 8 search trials and 0 of 10 refits recorded"
    assert done.stdout.startswith(nothing), done.stderr
    assert not code.exists()


def test_carried_code_knows_the_commit_that_it_was_taken_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CITRUS_COMMIT", "abc+")
    assert records.commit.__wrapped__() == "abc+"


def test_results_lie_where_the_cluster_says(
    spec: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("CITRUS_RESULTS", str(tmp_path / "shared"))
    assert job.results("small") == tmp_path / "shared" / "small"
    assert main([str(spec), "--dry-run"]) == 0
    assert f"results: {tmp_path / 'shared' / 'small'}" in capsys.readouterr().out
