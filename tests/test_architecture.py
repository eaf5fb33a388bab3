"""The arrows of the design: who may import whom, and what must stay cheap to import."""

import ast
import functools
import itertools
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml

from citrus_ray.experiment.sweep import load_sweep
from citrus_ray.experiment.sweep_files import question_of

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "citrus_ray"
OURS = ("citrus_ray", "sweeps", "analysis", "cluster", "tests")
SPECS = sorted((ROOT / "sweeps").rglob("*.yaml"))

# What each room may import of ours, beside itself. Arrows point up this list, never down.
ARROWS: dict[str, set[str]] = {
    "spec": set(),
    "context": set(),
    "metrics": {"context"},
    "records": {"metrics"},
    "data": {"spec", "context"},
    "models": {"spec", "context"},
    "tasks": {"spec", "context", "models"},
    "store": {"spec", "records"},
    "experiment": {"spec", "context", "records", "metrics", "data", "models", "tasks"},
    "training": {
        "spec",
        "context",
        "records",
        "metrics",
        "data",
        "models",
        "tasks",
        "store",
        "experiment",
    },
    "inference": {"spec", "context", "records", "data", "store", "training"},
    "evidence": {"spec", "records", "metrics", "data", "store", "experiment"},
    "search": {"records", "experiment", "evidence"},
    "launch": {"spec", "records", "data", "store", "experiment", "training", "evidence", "search"},
    "report": {
        "spec",
        "records",
        "metrics",
        "data",
        "models",
        "tasks",
        "store",
        "experiment",
        "training",
        "evidence",
    },
}
ON_ALL = {"cli", "testing", "citrus_ray"}  # commands, what users test with, and the front door


def room_of(path: Path) -> str:
    inside = path.relative_to(PACKAGE)
    name = inside.parts[0] if len(inside.parts) > 1 else inside.stem
    return "citrus_ray" if name in ("__init__", "__main__") else name


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything imported anywhere below `tree`, `from a import b` as a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the arrow; write citrus_ray.…"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms(names: Iterable[str]) -> set[str]:
    """Rooms of citrus_ray among imported names."""
    return {name.split(".")[1] for name in names if name.startswith("citrus_ray.")}


@functools.cache
def modules() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def test_every_room_imports_only_what_the_design_lets_it():
    checked = set()
    for path, tree in modules().items():
        room = room_of(path)
        checked.add(room)
        if room not in ON_ALL:
            extra = rooms(imports(tree)) - ARROWS[room] - {room}
            assert not extra, f"{path.relative_to(ROOT)} must not import {sorted(extra)}"
    assert checked == {*ARROWS, *ON_ALL}


def test_the_table_of_arrows_has_no_arrow_upwards():
    order = list(ARROWS)
    for room, below in ARROWS.items():
        assert all(order.index(other) < order.index(room) for other in below), room
    assert len(ARROWS) <= 15


def test_networks_and_losses_know_no_spec():
    for path, tree in modules().items():
        if path.parent.name in ("nets", "losses"):
            known = [name for name in imports(tree) if ".specs" in name or name.endswith(".Spec")]
            assert not known, f"{path.relative_to(ROOT)} must not import {known}"


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_import_goes_in_a_circle():
    """Those inside functions counted; those for type checkers alone not."""
    # read again, as they are changed: a copy takes five times as long
    trees = {module_of(path): ast.parse(path.read_text()) for path in modules()}

    def known(name: str) -> str:
        while name and name not in trees:
            name = name.rpartition(".")[0]
        return name

    edges: dict[str, set[str]] = {}
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                node.body = [ast.Pass()]
        edges[module] = {known(name) for name in imports(tree)} - {module, ""}
    for module in edges:
        reached, left = set(), [*edges[module]]
        while left:
            other = left.pop()
            if other not in reached:
                reached.add(other)
                left += edges[other]
        assert module not in reached, f"{module} imports what imports it"


def test_one_class_name_means_one_thing():
    names = [
        node.name
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice


def test_only_launch_imports_ray():
    users = {room_of(path) for path, tree in modules().items() if "ray" in roots(imports(tree))}
    assert users == {"launch"}


def roots(names: Iterable[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_scripts_are_thin():
    """What they do stands in the package."""
    scripts = [ROOT / "sweeps" / "run.py", *(ROOT / "analysis").glob("*.py")]
    assert len(scripts) == 5
    for path in scripts:
        assert len(path.read_text().splitlines()) <= 20, path
        assert rooms(imports(ast.parse(path.read_text()))) <= {"cli", "report"}, path


def test_no_module_is_a_drawer_for_everything():
    drawers = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py"}
    written = [path for folder in OURS for path in (ROOT / folder).rglob("*.py")]
    assert len(written) > 20
    assert not [path for path in written if path.name in drawers]


# ---- what importing costs ----


def loaded_after(*steps: str) -> list[set[str]]:
    """Which of the slow ones are loaded after each statement, in one fresh interpreter."""
    show = "print(json.dumps([m for m in ('torch', 'ray', 'optuna', 'scipy') if m in sys.modules]))"
    code = "\n".join(["import json, sys", *(line for step in steps for line in (step, show))])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [set(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]


def test_importing_the_package_and_asking_for_help_load_neither_torch_nor_ray():
    ask = (
        "import runpy\nsys.argv = ['run.py', '--help']\ntry: "
        "runpy.run_path('sweeps/run.py', run_name='__main__')"
    )
    after_package, after_help = loaded_after("import citrus_ray", f"{ask}\nexcept SystemExit: pass")
    assert after_package == after_help == set()


def test_looking_after_the_store_loads_neither_torch_nor_ray(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "meta.json").write_text("{}")
    ask = "from citrus_ray.store.__main__ import main"
    calls = [
        f"main([{word!r}, '--store', {str(tmp_path)!r}])" for word in ("list", "verify", "prune")
    ]
    assert (
        loaded_after(ask, *calls, f"main(['show', 'd', '--store', {str(tmp_path)!r}])")
        == [set()] * 5
    )


@pytest.mark.slow
def test_training_loads_no_ray():
    assert loaded_after("import citrus_ray.training.loop") == [{"torch"}]


def sweep_command(*args: str) -> str:
    """A statement that runs `sweeps/run.py` with these arguments."""
    call = f"sys.argv = ['run.py', *{args!r}]\nimport runpy"
    return (
        f"{call}\ntry: runpy.run_path('sweeps/run.py', run_name='__main__')\nexcept "
        "SystemExit: pass"
    )


@pytest.mark.parametrize("flags", [["--status"], ["--top", "3"], ["--cluster", "nowhere.yaml"]])
def test_what_reads_specs_and_records_alone_loads_neither_torch_nor_ray(flags, tmp_path):
    assert loaded_after(sweep_command("quickstart", *flags, "--out", str(tmp_path / "out"))) == [
        set()
    ]


@pytest.mark.slow
def test_a_sweep_is_led_without_torch():
    """Its workers load it, while Ray starts them."""
    assert "torch" not in loaded_after("import citrus_ray.launch.tune")[0]


@pytest.mark.slow
def test_a_plan_loads_torch_to_time_its_models_and_no_second_time(tmp_path, monkeypatch):
    monkeypatch.setenv("CITRUS_CACHE", str(tmp_path / "cache"))
    plan = sweep_command("quickstart", "--dry-run", "--out", str(tmp_path / "out"))
    assert [loaded_after(plan) for _ in range(2)] == [[{"torch"}], [set()]]


# ---- the sweeps that come with it ----


def test_there_are_sweeps_to_check():
    assert len(SPECS) >= 1
    assert "quickstart" in {path.stem for path in SPECS}


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_a_sweep_that_comes_with_the_project_is_valid(path):
    sweep = load_sweep(path)
    assert sweep.cells
    assert yaml.safe_load(path.read_text())["name"] == path.stem == sweep.name


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_a_sweep_opens_with_its_question_and_its_command(path):
    _, *comment = itertools.takewhile(
        lambda line: line.startswith("#"), path.read_text().splitlines()
    )
    assert "?" in comment[0]
    assert question_of(path.read_text()) == comment[0].removeprefix("# ")
    name = path.relative_to(ROOT / "sweeps").with_suffix("")
    assert any(
        f"python sweeps/run.py {name}" in line or f"sweeps/{name}.yaml" in line for line in comment
    )
