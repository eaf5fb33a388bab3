"""Sweeps from Python: made of plain values, run in this process without Ray, read as tables."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import citrus_ray
from citrus_ray import Results, Sweep, load_sweep
from citrus_ray.experiment.sweep_files import PACKAGE
from citrus_ray.models.specs import Conv
from citrus_ray.spec import SpecError
from tests.launch.conftest import TINY
from tests.small import SWEEP, sweep_of

CLAIM = {
    "says": "masked helps",
    "better": {"pretrain.task": {"kind": "masked"}},
    "worse": {"pretrain.task": None},
}


def tiny(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(TINY) | {"budget": {"trials": 2}, "claims": [CLAIM]} | changes


# ---- values ----


def test_the_front_door_shows_its_names_and_its_version():
    names = ["Results", "SpecError", "Sweep", "Trial", "__version__", "load_model", "load_sweep"]
    assert dir(citrus_ray) == sorted(names)
    assert all(getattr(citrus_ray, name) for name in names)
    cff = (PACKAGE.parent / "CITATION.cff").read_text()
    assert f"\nversion: {citrus_ray.__version__}\n" in cff


def test_a_sweep_of_plain_values_is_the_one_of_its_file():
    assert Sweep.of(TINY) == load_sweep(TINY) == load_sweep(TINY, {"name": "tiny"})
    with_specs = copy.deepcopy(TINY) | {"name": "with_specs"}
    with_specs["trial"]["model"] = Conv(dim=16)
    assert Sweep.of(with_specs).digest() != Sweep.of(TINY).digest()  # its name
    assert Sweep.of(with_specs).trial == Sweep.of(TINY).trial


def test_its_yaml_says_the_same(tmp_path):
    (tmp_path / "again.yaml").write_text(Sweep.of(TINY).text)
    again = load_sweep(tmp_path / "again.yaml")
    assert again.tree() == Sweep.of(TINY).tree()
    assert [cell.digest for cell in again.cells] == [c.digest for c in Sweep.of(TINY).cells]
    assert sweep_of().text == SWEEP


def test_every_problem_of_plain_values_is_said_at_once():
    with pytest.raises(SpecError) as said:
        Sweep.of(tiny(budget={"trials": 0}, samplr="qmc"))
    assert {problem.path for problem in said.value.problems} == {"budget.trials", "samplr"}
    with pytest.raises(SpecError, match="must be a number, text, list, block or spec"):
        Sweep.of(tiny(name=object()))


def test_a_sweep_that_comes_with_the_package_is_loaded_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_sweep("quickstart").name == "quickstart"
    with pytest.raises(SpecError, match="cannot be read"):
        load_sweep("quickstarts")


def test_what_one_process_cannot_do_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    tree = tiny(asha={"grace": 1, "reduction": 2})
    tree["trial"]["finetune"]["gpu"] = 1.0
    with pytest.raises(SpecError) as said:
        Sweep.of(tree).run(progress=False, out=tmp_path / "out")
    assert {problem.path for problem in said.value.problems} == {"asha", "trial.finetune.gpu"}


def test_results_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(SpecError, match="holds no records/"):
        Results(tmp_path)


# ---- runs ----


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Results:
    """A sweep that was run to its end where Ray cannot be imported."""
    home = tmp_path_factory.mktemp("running")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "ray", None)
        patch.setenv("CITRUS_STORE", str(home / "store"))
        patch.setenv("CITRUS_CACHE", str(home / "cache"))
        results = Sweep.of(tiny()).run(progress=False, out=home / "out")
    assert isinstance(results, Results)
    return results


def lines(out: Path) -> dict[tuple[str, str], Any]:
    """What every member came to, by trial and member."""
    rows = [json.loads(line) for path in (out / "records").glob("*.jsonl") for line in path.open()]
    parts = ("status", "metrics", "baselines", "encoder", "labelled", "data_digest", "params")
    return {(row["trial"], row["digest"]): [row[part] for part in parts] for row in rows}


@pytest.mark.slow
def test_a_sweep_ends_without_ray_with_all_that_the_command_writes(found):
    (out,) = found.folders
    written = ("report.html", "summary.json", "spec.yaml", "plan.json", "optuna.log", "members.csv")
    assert all((out / name).is_file() for name in written)
    runs = [path.parent.parent.name for path in (out / "tensorboard").rglob("events.*")]
    assert runs.count("pretrain") == 3  # an encoder for the search, and one for each round
    assert len(lines(out)) == 2 * (2 * 2 + 2)  # cells x (trials x seeds + rounds)


@pytest.mark.slow
def test_results_are_tables_in_the_digits_of_the_summary(found):
    (out,) = found.folders
    summary = json.loads((out / "summary.json").read_text())
    assert list(found.trials["phase"].value_counts()[["search", "final"]]) == [4, 4]
    assert set(found.trials["status"]) == {"ok"}
    assert list(found.cells["test_mean"]) == [cell["test"]["mean"] for cell in summary["cells"]]
    assert list(found.gains["gain_mean"]) == [summary["cells"][1]["gain"]["mean"]]
    assert found.claims.loc[0, ["says", "effect", "verdict"]].tolist() == [
        summary["claims"][0][key] for key in ("says", "effect", "verdict")
    ]
    assert set(found.predictions["label"]) == {"from scratch", "masked"}
    assert len(found.members) == 12
    assert repr(found).endswith("2 cells, 8 trials>")


@pytest.mark.slow
def test_results_draw_the_figures_of_the_page(found):
    assert found.figure("gains") is found.figure("gain")
    assert vars(found.figure("gains"))["_repr_png_"]().startswith(b"\x89PNG")
    assert {"gain", "scores"} <= set(found.figures)
    with pytest.raises(SpecError, match="no such figure; there are gain, "):
        found.figure("moons")


@pytest.mark.slow
def test_running_it_again_computes_nothing(found, monkeypatch):
    (out,) = found.folders
    monkeypatch.setattr("citrus_ray.launch.here.run_here", None)
    assert load_sweep(out / "spec.yaml").run(progress=False, out=out).trials.equals(found.trials)


@pytest.mark.slow
def test_a_pretraining_that_fails_is_counted_once_and_costs_its_trials_alone(tmp_path):
    tree = tiny(failures={"in_a_row": 2}, budget={"trials": 1})
    tree["trial"]["pretrain"]["optim"] = {"lr": 1e30}
    trials = Sweep.of(tree).run(progress=False, out=tmp_path / "out").trials
    failed = trials[trials["status"] == "failed"]
    assert list(failed["label"]) == ["masked"]
    assert failed["reason"].str.startswith("pre-training failed: ").all()


@pytest.mark.slow
def test_too_many_failures_in_a_row_are_an_error(tmp_path):
    tree = tiny(failures={"in_a_row": 2}, compare={}, claims=[], budget={"trials": 3})
    tree["search"] = {"finetune.optim.lr": {"choice": [1e28, 1e29, 1e30]}}
    with pytest.raises(RuntimeError, match="gave up after 2 failed trials in a row"):
        Sweep.of(tree).run(progress=False, out=tmp_path / "out")


@pytest.mark.ray
def test_a_sweep_on_ray_has_the_records_of_one_without(found, tmp_path):
    on_ray = Sweep.of(tiny()).run("local", progress=False, out=tmp_path / "out")
    assert lines(tmp_path / "out") == lines(found.folders[0])
    assert on_ray.gains.drop(columns="p").equals(found.gains.drop(columns="p"))
