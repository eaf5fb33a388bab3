"""Constraints: what is over them is a row that never ran, and what follows from that."""

from pathlib import Path
from typing import Any

import optuna
import pytest

from citrus_ray import records
from citrus_ray.evidence.summary import summarise
from citrus_ray.experiment.constraints import limits_of, weights_of
from citrus_ray.experiment.dry_run import DryRun, check_data
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.launch.runner import JobRunner, ResultPaths
from citrus_ray.search.study import Studies, Study
from citrus_ray.search.together import Together
from citrus_ray.spec import SpecError
from tests.evidence.test_summary import VAL
from tests.small import record_of, sweep_of

DIM = "model.dim"
SCRATCH: dict[str, Any] = {
    "compare": {},
    "repeat": {"seed": [0]},
    "search": {DIM: {"choice": [4, 16]}},
    "final": {"rounds": 2},
}
LIMIT = {"constraints": {"weights": 3000}}


def played(sweep: Sweep, out: Path) -> Studies:
    """Run what is missing of the search, in this process."""
    (out / "records").mkdir(parents=True, exist_ok=True)
    studies = Studies(sweep, out / "records")
    runner = JobRunner(sweep, ResultPaths(out / "records", str(out / "store"), out / "board"))
    while (job := studies.next_job()) is not None and job.phase == "search":
        runner.begin(job.config(1))
        runner.step()
        rows = records.read_trial(out / "records", job.digest)
        studies.studies[job.cell.index].finish(job, rows)
    return studies


def test_a_trial_that_would_have_too_many_weights_is_a_row_that_never_ran(tmp_path):
    sweep = sweep_of(**SCRATCH | LIMIT)
    played(sweep, tmp_path)
    rows = [row for row, *_ in records.read_all(tmp_path / "records")]
    found = {row.params[DIM]: row for row in rows}
    small, large = found[4], found[16]
    assert (large.status, large.metrics, large.seconds) == ("pruned", {}, 0.0)
    assert large.reason
    assert large.reason.startswith("over constraints: ")
    n = int(large.reason.split(": ")[1].split()[0].replace(",", ""))
    assert large.network["over"] == {"weights": pytest.approx(n / 3000 - 1)}
    (cell,) = summarise(sweep, tmp_path / "records", 0.0)["cells"]
    assert (cell["n_infeasible"], cell["n_pruned"], cell["n_failed"]) == (1, 0, 0)
    assert (cell["best"], cell["failures"]) == ({DIM: 4}, [])
    assert any("1 trials were over constraints" in caveat for caveat in cell["caveats"])
    assert small.network["parameters"] == weights_of(sweep.cells[0].trial.at({DIM: 4}))


def test_a_record_of_a_study_that_the_sweep_has_no_more_is_taken_over_where_it_ran(
    tmp_path, monkeypatch
):
    free, limited = sweep_of(**SCRATCH), sweep_of(**SCRATCH | LIMIT)
    assert free.cells[0].digest != limited.cells[0].digest, "another search"
    played(limited, tmp_path)
    rows = [row for row, *_ in records.read_all(tmp_path / "records")]
    before = {row.params[DIM]: row for row in rows}
    trained: list[Any] = []
    together = JobRunner._together

    def noted(runner: JobRunner, trials: Any, weights: Any) -> Any:
        trained.extend(trial.model.dim for trial in trials)
        return together(runner, trials, weights)

    monkeypatch.setattr(JobRunner, "_together", noted)
    played(free, tmp_path)
    assert trained == [16], "it did not run before, and the other one did"
    (cell,) = summarise(free, tmp_path / "records", 0.0)["cells"]
    assert (cell["n_trials"], cell["n_infeasible"]) == (2, 0)
    rows = [row for row, *_ in records.read_all(tmp_path / "records")]
    now = {row.params[DIM]: row for row in rows}
    assert now[4].metrics[VAL] == before[4].metrics[VAL]


def test_the_plan_says_how_much_of_the_search_is_over_and_refuses_where_all_is():
    text = "\n".join(DryRun(sweep_of(**SCRATCH | LIMIT)).lines())
    assert "constraints: at most 3,000 weights" in text
    assert "1 of 2 points are over them and will not run" in text
    with pytest.raises(SpecError, match=r"all its 2 points are over constraints: .* of at most 10"):
        check_data(sweep_of(**SCRATCH | {"constraints": {"weights": 10}}))
    with pytest.raises(SpecError, match="constraints limit nothing"):
        sweep_of(constraints={})


def test_planned_seconds_are_limited_alike():
    sweep = sweep_of(**SCRATCH | {"constraints": {"seconds": 1e-6}})
    assert sweep.constraints
    (over, _) = limits_of(sweep.constraints).of_cell(sweep.cells[0])
    assert over.shares["seconds"] > 0
    assert "seconds of at most 1e-06" in over.said


LINES = {"search": {DIM: {"int": [4, 16]}, "finetune.optim.lr": {"loguniform": [1e-3, 1e-2]}}}


def test_no_encoder_is_made_for_what_does_not_run_and_optuna_hears_why(tmp_path):
    edits = SCRATCH | LINES | {"compare": {"pretrain.task": [{"kind": "masked"}]}}
    sweep = sweep_of(**edits | LIMIT | {"sampler": "tpe", "budget": {"trials": 12}})
    study = Study(sweep.cells[0], tmp_path, [])
    jobs = [study.next_job() for _ in range(12)]
    over = [job for job in jobs if job and job.over]
    assert over
    for job in jobs:
        assert job
        assert bool(job.encoders()) == (not job.over)
        how = {"trial": job.digest, "phase": "search", "params": job.params}
        how |= {"status": "pruned", "network": {"over": job.over.shares}} if job.over else {}
        metrics = {} if job.over else {VAL: 0.5}
        study.finish(job, [record_of(job.cell, {"seed": 0}, metrics, **how)])
    assert study.optuna
    told = [trial for trial in study.optuna.trials if trial.constraints]
    assert len(told) == len(over)
    assert {trial.state for trial in told} == {optuna.trial.TrialState.PRUNED}


def test_arms_together_are_led_to_what_all_of_them_may_have(tmp_path):
    """As far as TPE can: of its suggestions after the first ten points most are within."""
    edits = SCRATCH | LINES | {"compare": {"finetune.steps": [8, 12]}, "sampler": "tpe"}
    sweep = sweep_of(**edits | LIMIT | {"budget": {"trials": 30}})
    studies = Studies(sweep, tmp_path / "records")
    while (job := studies.next_job()) is not None and job.phase == "search":
        how: dict[str, Any] = {"trial": job.digest, "phase": "search", "params": job.params}
        how |= {"status": "pruned", "network": {"over": job.over.shares}} if job.over else {}
        metrics = {} if job.over else {VAL: 0.5 + job.params[DIM] / 100}
        studies.studies[job.cell.index].finish(
            job, [record_of(job.cell, {"seed": 0}, metrics, **how)]
        )
    assert isinstance(studies.together, Together)
    dims = [point[DIM] for point in studies.together.points]
    assert sweep.constraints
    limits = limits_of(sweep.constraints)
    limit = max(d for d in dims if not limits.over([at(sweep, d)]))
    assert sum(d > limit for d in dims[:10]) > sum(d > limit for d in dims[-10:])


def at(sweep: Sweep, dim: int) -> Any:
    return sweep.cells[0].trial.at({DIM: dim})
