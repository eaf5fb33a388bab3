"""Every sampler inherits these promises. No cluster is started."""

import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray import records
from citrus_ray.experiment.search_space import Sampler
from citrus_ray.experiment.sweep import Cell
from citrus_ray.search.study import Study
from citrus_ray.spec import SpecError
from tests.evidence.test_summary import VAL
from tests.small import record_of, sweep_of

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
SAMPLERS = list(typing.get_args(Sampler))
LR, WD = "finetune.optim.lr", "finetune.optim.weight_decay"
PLANE = {
    LR: {"uniform": [0.1, 0.9], "step": 0.1},
    WD: {"uniform": [0.1, 0.8], "step": 0.1},
}  # 72 points
LINES = {LR: {"uniform": [0.1, 0.9]}, WD: {"uniform": [0.1, 0.9]}}


def cell_of(sampler: str, search: dict[str, Any], trials: int) -> Cell:
    edits: dict[str, Any] = {
        "search": search,
        "sampler": sampler,
        "budget": {"trials": trials},
        "compare": {},
    }
    return sweep_of(repeat={"seed": [0]}, **edits).cells[0]


def score(params: dict[str, Any]) -> float:
    """Best at lr = weight_decay = 0.4."""
    return float(1 - (params[LR] - 0.4) ** 2 - (params[WD] - 0.4) ** 2)


def drive(study: Study, folder: Path, n: int) -> list[dict[str, Any]]:
    """Run `n` jobs of the study as a worker would; the parameters tried."""
    tried = []
    for _ in range(n):
        job = study.next_job() if study.searching else None
        if job is None:
            break
        fields = {
            "trial": job.digest,
            "phase": "search",
            "params": job.params,
            "finished": records.now(),
        }
        rows = [record_of(study.cell, {"seed": 0}, {VAL: score(job.params)}, **fields)]
        records.write(folder, job.digest, rows)
        study.finish(job, rows)
        tried.append(job.params)
    return tried


def resumed(cell: Cell, folder: Path) -> Study:
    return Study(cell, folder, list(records.read_all(folder)))


def names(points: list[dict[str, Any]]) -> list[str]:
    return [str(sorted(point.items())) for point in points]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_point_is_tried_twice_in_one_go_or_when_a_sweep_goes_on(sampler, tmp_path):
    cell = cell_of(sampler, PLANE, 72)
    tried = drive(Study(cell, tmp_path, []), tmp_path, 12)
    tried += drive(resumed(cell, tmp_path), tmp_path, 6)
    assert len(set(names(tried))) == 18


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_finite_space_is_tried_whole_where_the_budget_reaches(sampler, tmp_path):
    space = {LR: {"uniform": [0.1, 0.5], "step": 0.1}, WD: {"uniform": [0.1, 0.3], "step": 0.1}}
    cell = cell_of(sampler, space, 40)
    study = Study(cell, tmp_path, [])
    assert len(drive(study, tmp_path, 100)) == cell.n_trials == 15
    final = study.next_job()
    assert final is not None
    assert final.phase == "final"


@pytest.mark.parametrize("sampler", sorted(set(SAMPLERS) - {"grid"}))
def test_the_same_seed_gives_the_same_points_one_at_a_time(sampler, tmp_path):
    cell = cell_of(sampler, LINES, 40)
    one = drive(Study(cell, tmp_path / "a", []), tmp_path / "a", 14)
    assert one == drive(Study(cell, tmp_path / "b", []), tmp_path / "b", 14)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
def test_a_sampler_that_learns_comes_nearer_and_goes_on_where_it_was(sampler, tmp_path):
    cell = cell_of(sampler, LINES, 60)
    first = drive(Study(cell, tmp_path, []), tmp_path, 20)
    later = drive(resumed(cell, tmp_path), tmp_path, 6)
    start, end = (np.mean([score(point) for point in points]) for points in (first[:10], later))
    assert end > start


@pytest.mark.parametrize("sampler", ["qmc", "grid"])
def test_a_design_goes_on_with_the_next_of_its_points(sampler, tmp_path):
    cell = cell_of(sampler, PLANE, 72)
    whole = drive(Study(cell, tmp_path / "a", []), tmp_path / "a", 20)
    parts = drive(Study(cell, tmp_path / "b", []), tmp_path / "b", 9)
    parts += drive(resumed(cell, tmp_path / "b"), tmp_path / "b", 11)
    assert parts == whole


def test_improvement_is_weighed_by_seconds_where_hours_end_a_search(tmp_path):
    """Of settings as good, those that take less: lr decides what a trial takes, the other what it
    is worth."""
    spent = {}
    for per in ("trial", "second"):
        budget = {"trials": 60, "hours": 1.0, "per": per}
        edits: dict[str, Any] = {"search": LINES, "sampler": "tpe", "budget": budget, "compare": {}}
        cell = sweep_of(repeat={"seed": [0]}, **edits).cells[0]
        study, tried = Study(cell, tmp_path / per, []), []
        for _ in range(40):
            job = study.next_job()
            assert job is not None
            metrics = {VAL: float(1 - (job.params[WD] - 0.4) ** 2)}
            fields = {"trial": job.digest, "phase": "search", "params": job.params}
            seconds = 100 ** job.params[LR]
            study.finish(job, [record_of(cell, {"seed": 0}, metrics, seconds=seconds, **fields)])
            tried.append(job.params[LR])
        spent[per] = float(np.mean(tried[10:]))
    assert spent["second"] < spent["trial"] - 0.1


def test_seconds_are_weighed_by_tpe_within_hours_alone():
    different: list[dict[str, Any]] = [{"sampler": "qmc"}]
    different += [{"budget": {"trials": 4, "per": "second"}}]
    for edits in different:
        budget = {"trials": 4, "hours": 1.0, "per": "second"}
        with pytest.raises(SpecError, match=r"give `sampler: tpe` and `budget\.hours`"):
            sweep_of(**dict[str, Any](sampler="tpe", budget=budget) | edits)
