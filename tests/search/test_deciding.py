"""A sweep goes on until it knows what it asked, and no longer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray import records
from citrus_ray.evidence.summary import summarise
from citrus_ray.evidence.tables import table
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.search.study import Clock, Job, Studies
from citrus_ray.spec import SpecError, digest_of
from tests.small import record_of, sweep_of

VAL, TEST = "val/balanced_accuracy", "test/balanced_accuracy"
MASKED, SPECTRAL = {"kind": "masked"}, {"kind": "spectral"}
RATE = "finetune.optim.lr"


def claim(task: dict[str, Any], **edits: Any) -> dict[str, Any]:
    says = f"{task['kind']} helps"
    return {
        "says": says,
        "better": {"pretrain.task": task},
        "worse": {"pretrain.task": None},
    } | edits


def asked(*claims: dict[str, Any], most: int = 20, **edits: Any) -> Sweep:
    blocks: dict[str, Any] = {
        "compare": {"pretrain.task": [None, MASKED, SPECTRAL]},
        "search": {RATE: {"choice": [0.001, 0.002]}},
        "sampler": "grid",
        "budget": {"trials": 2},
        "final": {"rounds": 4},
        "decide": {"rounds": most},
        "claims": list(claims),
    }
    return sweep_of(**blocks | edits)


def played(
    sweep: Sweep,
    folder: Path,
    gains: dict[str, float],
    noise: float = 0.02,
    hold: int | None = None,
) -> Studies:
    """Run what the studies want, with scores that hang on what is run alone; `hold` ends it after
    so many jobs."""
    studies = Studies(sweep, folder)
    n = 0
    while (job := studies.next_job()) is not None and n != hold:
        rows = [row_of(job, repeat, gains, noise) for repeat, _ in job.members]
        records.write(folder, job.digest, rows)
        studies.studies[job.cell.index].finish(job, rows)
        n += 1
    return studies


def row_of(job: Job, repeat: dict[str, Any], gains: dict[str, float], noise: float) -> Any:
    rng = np.random.default_rng(int(digest_of([job.digest, repeat]), 16) % 2**32)
    task = job.cell.axes["pretrain.task"]
    fields: dict[str, Any] = {"trial": job.digest, "phase": job.phase, "params": job.params}
    fields |= {"encoder": task and f"{task['kind']} {job.round}", "seconds": 1.0}
    score = 0.6 + gains.get(task["kind"] if task else "", 0.0) + noise * rng.standard_normal()
    metrics = {VAL: 0.5 + job.params[RATE]} if job.phase == "search" else {TEST: score}
    return record_of(job.cell, repeat, metrics, **fields)


def n_rounds(studies: Studies) -> list[int]:
    return [len(study.rounds) for study in studies.studies]


def test_rounds_are_added_until_the_claim_is_decided(tmp_path):
    sweep = asked(claim(MASKED))
    studies = played(sweep, tmp_path, {"masked": 0.1})
    assert studies.over
    scratch, masked, spectral = n_rounds(studies)
    assert scratch == masked
    assert 4 < masked < 20
    assert spectral == 4, "no claim asks for more of it"
    found = summarise(sweep, tmp_path, 0.0)
    assert found["claims"][0]["verdict"] == "supported"
    assert found["claims"][0]["decided_after"] <= masked
    assert found["decide"] == {"rounds": masked, "at_most": 20, "n_open": 0, "n_claims": 1}
    assert f"decided: the claim after {masked} rounds of at most 20" in table(found)


def test_one_round_fewer_would_not_have_been_enough(tmp_path):
    sweep = asked(claim(MASKED))
    n = n_rounds(played(sweep, tmp_path / "a", {"masked": 0.1}))[1]
    less = asked(claim(MASKED), most=n - 1)
    played(less, tmp_path / "b", {"masked": 0.1})
    assert summarise(less, tmp_path / "b", 0.0)["claims"][0]["verdict"] == "undecided"


def test_what_cannot_be_decided_ends_with_its_rounds_and_says_what_it_would_take(tmp_path):
    sweep = asked(claim(MASKED), most=7)
    studies = played(sweep, tmp_path, {"masked": 0.01}, noise=0.05)
    assert n_rounds(studies) == [7, 7, 4]
    (found,) = summarise(sweep, tmp_path, 0.0)["claims"]
    assert found["verdict"] == "undecided"
    assert "it would take" in found["why"]
    assert "rounds" in found["why"]


def test_the_claim_that_is_nearest_to_a_verdict_goes_on_first(tmp_path):
    sweep = asked(claim(MASKED), claim(SPECTRAL), most=12)
    played(sweep, tmp_path, {"masked": 0.2, "spectral": 0.005}, noise=0.03, hold=3 * 2 + 3 * 4)
    studies = Studies(sweep, tmp_path)
    wanted = [study.n_wanted for study in studies.studies]
    assert wanted[1] > wanted[2] == 4


def test_a_sweep_that_was_stopped_goes_on_where_it_was_and_ends_the_same(tmp_path):
    sweep, gains = asked(claim(MASKED)), {"masked": 0.06}
    whole = played(sweep, tmp_path / "whole", gains)
    for _ in range(13):  # each call reads all records anew
        parts = played(sweep, tmp_path / "parts", gains, hold=5)
    assert n_rounds(parts) == n_rounds(whole)
    one, other = (summarise(sweep, tmp_path / name, 0.0) for name in ("whole", "parts"))
    assert one["claims"] == other["claims"]


def test_hours_end_it(tmp_path):
    sweep = asked(claim(MASKED), decide={"rounds": 20, "hours": 0.001})
    studies = Studies(sweep, tmp_path)
    for study in studies.studies:
        study.clock = Clock(before=0.0)
    studies.clock = Clock(before=4.0)
    while (job := studies.next_job()) is not None:
        rows = [row_of(job, repeat, {"masked": 0.01}, 0.05) for repeat, _ in job.members]
        records.write(tmp_path, job.digest, rows)
        studies.studies[job.cell.index].finish(job, rows)
    assert n_rounds(studies) == [4, 4, 4]


def test_a_cluster_is_given_rounds_at_once(tmp_path):
    sweep = asked(claim(MASKED), most=40)
    played(sweep, tmp_path, {"masked": 0.005}, noise=0.05, hold=3 * 2 + 3 * 4)
    studies = Studies(sweep, tmp_path)
    assert studies.studies[1].n_wanted == 5
    studies = Studies(sweep, tmp_path, n_slots=64)
    assert studies.studies[1].n_wanted == 6, "half as many again at most"


@pytest.mark.parametrize(
    ("edits", "path"),
    [
        ({"claims": []}, "decide"),
        ({"decide": {"rounds": 3}}, "decide.rounds"),
    ],
)
def test_a_decision_that_cannot_be_is_refused(edits, path):
    with pytest.raises(SpecError) as caught:
        asked(claim(MASKED), **edits)
    assert path in str(caught.value)
