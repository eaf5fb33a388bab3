"""The wheel: installed into an empty environment it has the command, the sweeps and the page."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from citrus_ray.experiment.sweep_files import PACKAGE, by_name
from tests.launch.conftest import TINY

ROOT = PACKAGE.parent
SOURCES = ("citrus_ray", "sweeps", "cluster", "pyproject.toml", "setup.py", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: what a build leaves behind has no place in a checkout."""
    home = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            nothing_built = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, home / "source" / name, ignore=nothing_built)
        else:
            shutil.copy2(ROOT / name, home / "source" / name)
    flags = ["--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", str(home)]
    pip("wheel", *flags, str(home / "source"))
    return next(home.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The `bin` of an environment that has the wheel, and sees installed dependencies alone: an
    editable install is seen through a .pth file, which counts only where Python itself looks."""
    home = wheel.parent / "venv"
    venv.create(home, symlinks=True)
    purelib = sysconfig.get_path("purelib", "venv", {"base": str(home)})
    Path(purelib, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = str(home / "bin" / "python")
    pip("--python", python, "install", "-q", "--no-deps", "--no-index", str(wheel))
    return home / "bin"


def pip(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def call(cwd: Path, *words: Any) -> str:
    """What a command says, far from the checkout."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=env, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_carries_all_that_the_package_reads(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    known = (".py", ".yaml", ".j2", ".css", ".js", ".json", ".typed")
    ours = [path for path in PACKAGE.rglob("*") if path.suffix in known or path.name == "py.typed"]
    assert {f"citrus_ray/{path.relative_to(PACKAGE).as_posix()}" for path in ours} <= inside
    assert {f"citrus_ray/sweeps/{name}.yaml" for name in by_name(ROOT / "sweeps")} <= inside
    assert "citrus_ray/cluster/onprem.yaml" in inside
    tops = {name.split("/")[0] for name in inside}
    assert [top for top in tops if not top.endswith(".dist-info")] == ["citrus_ray"]


@pytest.mark.slow
def test_the_installed_package_is_imported_and_knows_its_sweeps(installed, tmp_path):
    ask = "import citrus_ray as c; print(c.__file__, c.__version__, c.load_sweep('lowdata').name)"
    where, _, name = call(tmp_path, installed / "python", "-c", ask).split()
    assert Path(where).is_relative_to(installed.parent)
    assert name == "lowdata"
    assert "citrus/frequency" in call(tmp_path, installed / "citrus", "run", "--list")
    assert "onprem" in call(tmp_path, installed / "citrus", "cluster", "list")


@pytest.mark.slow
def test_a_sweep_that_comes_with_it_is_planned_by_its_name(installed, tmp_path):
    said = call(tmp_path, installed / "citrus", "run", "quickstart", "--dry-run")
    assert f"results: {tmp_path / 'results' / 'quickstart'}" in said
    assert os.listdir(tmp_path) == []


@pytest.mark.ray
def test_a_sweep_is_run_to_its_end_and_its_page(installed, tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)  # somebody's own, with no commit
    tree = TINY | {"budget": {"trials": 1}, "repeat": {"seed": [0]}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tree))
    python = installed / "python"
    said = call(tmp_path, python, "-m", "citrus_ray", "run", "mine.yaml")
    out = tmp_path / "results" / "tiny"
    assert f"report       {out / 'report.html'}" in said
    assert "masked" in (out / "report.html").read_text()
    rows = [json.loads(line) for file in (out / "records").glob("*.jsonl") for line in file.open()]
    assert len(rows) == 2 * (1 + 2)
    assert {row["commit"] for row in rows} == {None}
    assert "tiny: 2 of 2 search trials" in call(tmp_path, installed / "citrus", "status", out)
