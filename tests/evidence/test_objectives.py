"""Several objectives: a front of trials that none beats, the same for a live sweep, its summary
and its journal."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from citrus_ray import records
from citrus_ray.evidence.evidence import evidence_of
from citrus_ray.evidence.summary import summarise
from citrus_ray.evidence.tables import table, top
from citrus_ray.evidence.trials import Result, front, n_stale
from citrus_ray.search.optuna_bridge import export
from citrus_ray.search.study import Study
from citrus_ray.spec import SpecError
from tests.evidence.test_summary import LR, VAL
from tests.small import record_of, sweep_of

LABELS = "finetune.labels"
FEW, MANY = {"per_class": 2}, {"per_class": 4}
EACH: dict[str, Any] = {
    "objective": {"metric": VAL, "mode": "max", "each": LABELS},
    "repeat": {LABELS: [FEW, MANY], "seed": [0, 1]},
    "compare": {},
    "search": {LR: {"uniform": [0.1, 0.9]}},
    "budget": {"trials": 12},
}


def result(name: str, *scores: float, status: Any = "ok") -> Result:
    return Result(name, {}, status, float(np.mean(scores)), 0.0, finished=name, scores=scores)


def test_the_front_holds_what_no_other_trial_beats():
    rng = np.random.default_rng(0)
    trials = [result(f"{i:02d}", *rng.integers(0, 6, 3) / 5) for i in range(60)]
    found = {r.digest for r in front(trials)}
    for one in trials:
        gaps = [np.subtract(other.scores, one.scores) for other in trials]
        assert (one.digest in found) == (
            not any((gap >= 0).all() and (gap > 0).any() for gap in gaps)
        )
    assert 3 < len(found) < 30


def test_failed_and_stopped_trials_are_on_no_front():
    trials = [
        result("a", 0.5, 0.5),
        result("b", 0.9, 0.9, status="pruned"),
        Result("c", {}, "failed", None, 0.0),
    ]
    assert [r.digest for r in front(trials)] == ["a"]


def test_a_trial_that_is_new_on_the_front_is_progress():
    assert n_stale([result("a", 0.5, 0.5), result("b", 0.4, 0.6)]) == 0
    assert n_stale([result("a", 0.5, 0.5), result("b", 0.4, 0.5), result("c", 0.5, 0.5)]) == 2


def test_a_worker_whose_clock_is_an_hour_off_does_not_end_a_search():
    asked = [("a", 0.5), ("b", 0.6), ("c", 0.4), ("d", 0.7)]
    trials = [
        replace(result(name, score), asked_s=float(i), finished=f"2026-01-01T{hour:02d}")
        for i, ((name, score), hour) in enumerate(zip(asked, (3, 4, 4, 2), strict=True))
    ]
    assert n_stale(trials) == 0
    assert n_stale([replace(trial, finished="") for trial in trials]) == 0
    assert n_stale([replace(trial, asked_s=0.0) for trial in trials]) == 3  # only clocks are left


def scored(job: Any, study: Study, repeat: dict[str, Any]) -> Any:
    """Few labels want a low rate, many a high one."""
    wanted = 0.3 if repeat[LABELS] == FEW else 0.7
    fields = {
        "trial": job.digest,
        "phase": job.phase,
        "params": job.params,
        "finished": records.now(),
    }
    return record_of(study.cell, repeat, {VAL: 1 - (job.params[LR] - wanted) ** 2}, **fields)


def drive(study: Study, folder: Path, n: int) -> None:
    for job in itertools.islice(iter(study.next_job, None), n):
        rows = [scored(job, study, repeat) for repeat, _ in job.members]
        records.write(folder, job.digest, rows)
        study.finish(job, rows)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "gp", "qmc", "random"])
def test_a_sweep_goes_on_and_its_front_lies_between_what_the_objectives_want(sampler, tmp_path):
    sweep = sweep_of(**EACH | {"sampler": sampler})
    cell, folder = sweep.cells[0], tmp_path / "records"
    drive(Study(cell, folder, []), folder, 7)
    study = Study(cell, folder, list(records.read_all(folder)))
    drive(study, folder, 5)
    assert len(study.results) == 12
    found = summarise(sweep, folder, 0.0)["cells"][0]
    inside = {r.params[LR] for r in study.results.values() if 0.3 <= r.params[LR] <= 0.7}
    assert inside <= {point["params"][LR] for point in found["front"]}
    best = min(study.results.values(), key=lambda r: abs(r.params[LR] - 0.5))
    assert found["best"] == best.params == (study.best and study.best.params), (
        "the refit is of the best mean"
    )


def test_the_front_is_in_the_journal_the_screen_and_the_best_trials(tmp_path):
    sweep = sweep_of(**EACH)
    cell, folder = sweep.cells[0], tmp_path / "records"
    drive(Study(cell, folder, []), folder, 12)
    found = summarise(sweep, folder, 0.0)
    names = list(found["cells"][0]["front"][0]["val"])
    assert names == [f"{VAL} at per_class=2", f"{VAL} at per_class=4"]
    assert "no trial beats these" in table(found)
    assert all(name in "\n".join(top(sweep, evidence_of(sweep, folder), 3)) for name in names)
    storage = JournalStorage(
        JournalFileBackend(str(export(sweep, evidence_of(sweep, folder), tmp_path / "optuna.log")))
    )
    study = optuna.load_study(storage=storage, study_name="the only cell")
    assert study.metric_names == names
    theirs = {json.dumps(trial.params) for trial in study.best_trials}
    assert theirs == {json.dumps(point["params"]) for point in found["cells"][0]["front"]}


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        (
            {"repeat": {"seed": [0, 1]}},
            "must be repeated with two values or more, `repeat` has seed",
        ),
        ({"repeat": {LABELS: [FEW], "seed": [0, 1]}}, "must be repeated with two values or more"),
        ({"asha": {}}, "asha ranks trials by one number"),
        ({"race": {}}, "race ranks trials by one number"),
        ({"sampler": "cmaes"}, "cmaes ranks trials by one number"),
    ],
)
def test_what_needs_one_objective_is_refused(edits, says):
    with pytest.raises(SpecError, match=says):
        sweep_of(**EACH | edits)
