"""The arrows of the design: who may import whom, and what must stay cheap to import."""

import ast
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from citrus_ray.experiment.sweep import load_sweep

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "citrus_ray"
OURS = ("citrus_ray", "sweeps", "analysis", "cluster", "tests")
SPECS = sorted((ROOT / "sweeps").rglob("*.yaml"))

FOUNDATION = {"spec", "context"}
BUILT = FOUNDATION | {"data", "models", "optim", "tasks", "train", "trial"}
# What each unit (a module, or a whole folder) may import of ours. A folder may import itself.
ARROWS: dict[str, set[str]] = {
    "spec": set(),
    "context": set(),
    "metrics": set(),
    "records": set(),
    "store": {"records", "spec"},
    "checkpoint": {"records", "store"},
    "resume": {"records", "store"},
    "tensorboard": set(),
    "data": FOUNDATION,
    "models": FOUNDATION,
    "tasks": FOUNDATION | {"models"},
    "optim": {"spec"},
    "train": FOUNDATION | {"data", "optim"},
    "trial": BUILT - {"train", "trial"}
    | {"finetune", "pretrain"},  # these two inside Trial.run only
    "loading": {"checkpoint", "models"},
    "pretrain": BUILT | {"checkpoint", "records", "resume", "store"},
    "finetune": BUILT | {"checkpoint", "loading", "metrics", "probe"},
    "stacked": BUILT | {"finetune"},
    "probe": FOUNDATION | {"metrics"},
    "baselines": BUILT | {"finetune", "metrics", "probe"},
    "slot": {"finetune", "records", "spec", "trial"},
    "population": BUILT
    | {"baselines", "checkpoint", "finetune", "metrics", "records", "slot", "stacked"},
    "timing": BUILT | {"records"},
    "plan": FOUNDATION | {"data", "sweep", "timing", "trial"},
    "claims": {"spec"},
    "sweep": FOUNDATION | {"axes", "claims", "policy", "trial", "records"},
    "verdicts": {"claims", "records", "sweep"},
    "axes": FOUNDATION,
    "results": {"metrics", "policy", "records"},
    "cost": {"checkpoint", "records"},
    "race": set(),
    "journal": {"axes", "records", "results", "sweep"},
    "top": {"records", "results", "summary", "sweep"},
    "policy": FOUNDATION | {"metrics"},
}
LATE = {
    ("trial", "finetune"),
    ("trial", "pretrain"),
}  # imported by a function, never when the module loads


def unit_of(path: Path) -> str:
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything imported anywhere below `tree`, `from a import b` as a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the arrow; write citrus_ray.…"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(names: Iterator[str]) -> set[str]:
    """Units of citrus_ray among imported names."""
    return {name.split(".")[1] for name in names if name.startswith("citrus_ray.")}


MODULES = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def test_every_unit_imports_only_what_the_design_lets_it():
    checked = set()
    for path, tree in MODULES.items():
        unit = unit_of(path)
        if unit in ARROWS:
            checked.add(unit)
            extra = (
                ours(imports(tree)) - ARROWS[unit] - ({unit} if path.parent != PACKAGE else set())
            )
            assert not extra, f"{path.relative_to(ROOT)} must not import {sorted(extra)}"
    assert checked == set(ARROWS)


def test_a_trial_loads_training_code_only_when_it_runs():
    for unit, late in LATE:
        tree = ast.parse((PACKAGE / f"{unit}.py").read_text())
        at_load = ast.Module([node for node in tree.body if not isinstance(node, ast.ClassDef)], [])
        assert late in ours(imports(tree))
        assert late not in ours(imports(at_load))


def test_only_launch_imports_ray():
    users = {
        unit_of(path)
        for path, tree in MODULES.items()
        if "ray" in {n.split(".")[0] for n in imports(tree)}
    }
    assert users == {"launch"}


def test_nothing_imports_launch_but_the_command():
    users = {unit_of(path) for path, tree in MODULES.items() if "launch" in ours(imports(tree))}
    assert users == {"launch"}
    assert "launch" in ours(imports(ast.parse((ROOT / "sweeps" / "run.py").read_text())))


def test_analysis_reads_records_alone():
    """And the specs that lie beside them, as YAML: nothing that trains, and no Ray. One script is another matter: it
    draws what an encoder has learned, so it must load the encoder and its signals; nothing else may import it."""
    for path in (ROOT / "analysis").rglob("*.py"):
        if path.name == "encoder_pictures.py":
            continue
        assert "citrus_ray.report.encoder_pictures" not in ".".join(
            imports(ast.parse(path.read_text()))
        )
        extra = ours(imports(ast.parse(path.read_text()))) - {"records", "metrics", "spec"}
        assert not extra, f"{path.relative_to(ROOT)} must not import {sorted(extra)}"


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
    ask = "import runpy\nsys.argv = ['run.py', '--help']\ntry: runpy.run_path('sweeps/run.py', run_name='__main__')"
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


def test_training_loads_no_ray():
    assert loaded_after("import citrus_ray.training.loop") == [{"torch"}]


def sweep_command(*args: str) -> str:
    """A statement that runs `sweeps/run.py` with these arguments."""
    call = f"sys.argv = ['run.py', *{args!r}]\nimport runpy"
    return f"{call}\ntry: runpy.run_path('sweeps/run.py', run_name='__main__')\nexcept SystemExit: pass"


@pytest.mark.parametrize("flags", [["--status"], ["--top", "3"], ["--cluster", "nowhere.yaml"]])
def test_what_reads_specs_and_records_alone_loads_neither_torch_nor_ray(flags, tmp_path):
    assert loaded_after(sweep_command("quickstart", *flags, "--out", str(tmp_path / "out"))) == [
        set()
    ]


def test_a_sweep_is_led_without_torch():
    """Its workers load it, while Ray starts them."""
    assert "torch" not in loaded_after("import citrus_ray.launch.tune")[0]


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
    comment = list(
        itertools.takewhile(lambda line: line.startswith("#"), path.read_text().splitlines())
    )
    assert "?" in comment[0]
    name = path.relative_to(ROOT / "sweeps").with_suffix("")
    assert any(
        f"python sweeps/run.py {name}" in line or f"sweeps/{name}.yaml" in line for line in comment
    )
