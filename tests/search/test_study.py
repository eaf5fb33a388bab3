"""A study against its records. No cluster is started."""

from pathlib import Path
from typing import Any

import pytest

from citrus_ray import records
from citrus_ray.evidence.kept import model_folder
from citrus_ray.evidence.summary import summarise
from citrus_ray.evidence.trials import winner
from citrus_ray.experiment.sweep import Cell
from citrus_ray.search.study import Clock, Job, Studies, Study
from citrus_ray.store import kept
from tests.evidence.test_summary import TEST, VAL, search_trial
from tests.small import record_of, sweep_of

ORDERS = [["a", "b", "c", "d"], ["d", "c", "b", "a"], ["b", "d", "a", "c"]]


class Times(Clock):
    """A clock that a test sets."""

    def elapsed(self) -> float:
        return self.before


def study_of(cell: Cell, folder: Path, order: list[str]) -> Study:
    rows = {trial[0].trial: trial for trial in records.read_all(folder)}
    return Study(cell, folder, [rows[name] for name in order])


@pytest.mark.parametrize("order", ORDERS)
def test_of_equal_trials_the_same_one_wins_whichever_came_first(tmp_path, order):
    sweep = sweep_of()
    cell = sweep.cells[0]
    for name, point in zip("abcd", cell.points, strict=True):
        search_trial(tmp_path, cell, name, [0.5 if name == "a" else 0.8], params=point)
    best = study_of(cell, tmp_path, order).best
    assert best is not None
    assert best.params == summarise(sweep, tmp_path, 0.0)["cells"][0]["best"]


@pytest.mark.parametrize("order", ORDERS)
def test_a_study_whose_winner_is_refitted_has_nothing_left_to_do(tmp_path, order):
    cell = sweep_of().cells[0]
    for name, point in zip("abcd", cell.points, strict=True):
        search_trial(tmp_path, cell, name, [0.8], params=point)
    first = study_of(cell, tmp_path, ORDERS[0])
    while (job := first.next_job()) is not None:
        assert job.round is not None
        record(first, job, 0.7)
    again = study_of(cell, tmp_path, order)
    assert again.over
    assert again.next_job() is None


def test_rounds_that_are_recorded_without_their_models_are_run_again_where_these_are_kept(tmp_path):
    folder = tmp_path / "records"
    for keep in (False, True):
        cell = sweep_of(final={"rounds": 3, "keep": keep}).cells[0]
        if not keep:  # another run, which keeps nothing
            for name, point in zip("abcd", cell.points, strict=True):
                search_trial(folder, cell, name, [0.8], params=point)
            first = study_of(cell, folder, ORDERS[0])
            while (job := first.next_job()) is not None:
                record(first, job, 0.7)
            continue
        study = study_of(cell, folder, ORDERS[0])
        assert (study.unkept, study.over) == ([0, 1, 2], False)
        for number, way in ((0, "model"), (1, "why not")):
            job = study.next_job()
            assert job is not None
            assert job.round == number
            ((repeat, trial),) = job.members
            where = model_folder(tmp_path, cell, number, repeat)
            if way == "model":
                kept.write(where, {"digest": trial.digest()}, {})
            else:
                kept.write_why_not(where, trial.digest(), "it has a function without a name")
        again = study_of(cell, folder, ORDERS[0])
        assert (again.unkept, again.n_wanted) == ([2], 3)
        assert sorted(again.rounds) == [0, 1]
        (weights,) = model_folder(tmp_path, cell, 0, repeat).parent.rglob("*.safetensors")
        weights.unlink()
        assert study_of(cell, folder, ORDERS[0]).unkept == [0, 2]


def test_the_folder_of_a_model_is_the_same_by_the_spec_and_by_its_record(tmp_path):
    """Records have their keys in another order."""
    targets = [
        {"kind": "synthetic", "seed": seed, "n_subjects": 8, "windows_per_subject": 8}
        for seed in (3, 4)
    ]
    cell = sweep_of(repeat={"finetune.target": targets}).cells[0]
    folders = set()
    for repeat, trial in cell.members({}, 0):
        row = record_of(cell, repeat, {TEST: 0.5}, digest=trial.digest(), trial="t")
        records.write(tmp_path, "t", [row])
        (again,) = records.read_trial(tmp_path, "t")
        folder = model_folder(tmp_path, cell, 0, repeat)
        assert model_folder(tmp_path, cell, 0, again.repeat) == folder
        folders.add(folder)
    assert len(folders) == 2


def test_rounds_of_all_cells_advance_together(tmp_path):
    """A sweep that is stopped has the same rounds everywhere, give or take one."""
    sweep = sweep_of(final={"rounds": 3})
    for cell in sweep.cells:
        for i, point in enumerate(cell.points):
            search_trial(tmp_path, cell, f"{cell.index}-{i}", [0.8], params=point)
    studies = Studies(sweep, tmp_path)
    rounds = []
    while (job := studies.next_job()) is not None:
        rounds.append(job.round)
    n = len(sweep.cells)
    assert n > 1
    assert rounds == [number for number in range(3) for _ in range(n)]


def record(study: Study, job: Job, value: float, n_ago: int = 0) -> None:
    """End a job with this value."""
    fields = {"trial": job.digest, "phase": job.phase, "params": job.params, "asked_s": job.asked_s}
    metrics = {VAL if job.phase == "search" else TEST: value}
    finished = f"2026-01-01T00:00:{50 - n_ago:02d}"
    rows = [
        record_of(study.cell, repeat, metrics, finished=finished, digest=trial.digest(), **fields)
        for repeat, trial in job.members
    ]
    records.write(study.folder, job.digest, rows)
    study.finish(job, rows)


def play_rounds(study: Study, value: float) -> None:
    for number in range(study.sweep.final.rounds):
        job = study.next_job()
        assert job is not None
        assert (job.phase, job.round) == ("final", number)
        record(study, job, value)


def test_a_search_that_finds_nothing_better_for_long_enough_ends(tmp_path):
    cell = sweep_of(budget={"trials": 40, "patience": 3}).cells[0]
    study = Study(cell, tmp_path, [])
    for n_ago, value in zip(range(20, 0, -1), [0.5, 0.4, 0.6, 0.6, 0.5, 0.55], strict=False):
        job = study.next_job()
        assert job is not None
        assert job.phase == "search"
        record(study, job, value, n_ago)
    assert study.stopped == "patience"
    play_rounds(study, 0.6)
    assert Study(cell, tmp_path, list(records.read_all(tmp_path))).over


ONE_ARM: dict[str, Any] = {
    "budget": {"trials": 40, "patience": 2},
    "compare": {"pretrain.task": [{"kind": "masked"}]},
}


def four_of(study: Study) -> None:
    """Four trials at once; the last one is the best, and ends last."""
    jobs = [study.next_job() for _ in range(4)]
    for n_ago, job, value in zip((9, 8, 7), jobs, [0.5, 0.4, 0.3], strict=False):
        assert job is not None
        record(study, job, value, n_ago)
    assert study.stopped == "patience"
    assert study.next_job() is None, "nothing new is started while a trial is under way"
    assert jobs[3] is not None
    record(study, jobs[3], 0.9, 1)


def test_a_trial_under_way_when_patience_ends_does_not_count(tmp_path):
    """It would not have been started had it been asked a moment later."""
    sweep = sweep_of(**ONE_ARM)
    study = Study(sweep.cells[0], tmp_path, [])
    four_of(study)
    assert not study.searching
    (found,) = summarise(sweep, tmp_path, 0.0)["cells"]
    assert (found["n_trials"], found["val"], found["stopped"]) == (3, 0.5, "patience")
    final = study.next_job()
    assert final is not None
    assert final.params == found["best"] == sweep.cells[0].points[0]


def test_where_the_sampler_learns_it_opens_the_search_again(tmp_path):
    sweep = sweep_of(**ONE_ARM, sampler="tpe")
    study = Study(sweep.cells[0], tmp_path, [])
    four_of(study)
    assert study.searching


def test_the_hours_of_earlier_calls_count_and_winners_are_refitted(tmp_path):
    sweep = sweep_of(budget={"trials": 40, "hours": 0.001})  # 3.6 s
    cell = sweep.cells[0]
    study = Study(cell, tmp_path, [], Times(1.0))
    first = study.next_job()
    assert first is not None
    record(study, first, 0.5)
    study.clock = Times(3.7)
    play_rounds(study, 0.5)
    assert Studies(sweep, tmp_path).studies[0].over, (
        "a sweep whose hours are up has nothing left to do"
    )
    found, _ = summarise(sweep, tmp_path, 0.0)["cells"]
    assert (found["stopped"], found["n_trials"]) == ("hours", 1)
    assert any(
        "budget.hours ended searches before all 40 trials" in caveat for caveat in found["caveats"]
    )
    more = Studies(sweep_of(budget={"trials": 40, "hours": 1}), tmp_path)
    assert more.studies[0].searching


def test_the_best_so_far_is_known_without_ranking_all_trials_anew(tmp_path, monkeypatch):
    """A search of ten thousand trials asks for it at each."""
    ranked: list[int] = []

    def noted(results, mode):
        among = list(results)
        ranked.append(len(among))
        return winner(among, mode)

    monkeypatch.setattr("citrus_ray.search.study.winner", noted)
    cell = sweep_of(budget={"trials": 12}).cells[0]
    study = Study(cell, tmp_path, [])
    for score in (0.5, 0.7, 0.7, 0.2, 0.9, 0.9, 0.1, 0.9, 0.3, 0.6, 0.9, 0.8):
        job = study.next_job()
        assert job is not None
        record(study, job, score)
        assert study.best == winner(study.results.values())
    assert max(ranked) <= 2


def test_cells_that_search_apart_get_as_many_seconds_where_these_are_weighed(tmp_path):
    """Trials of one cell take three times as long as those of the other."""
    tasks = [{"kind": "spectral", "hide": {"center": 0.5}}, {"kind": "latent"}]
    apart = {"pretrain.task.hide.width": [0.1, 0.4], "pretrain.task.momentum": [0.9, 0.99]}
    search = {path: {"uniform": ends} for path, ends in apart.items()}
    budget = {"trials": 40, "hours": 1.0, "per": "second"}
    sweep = sweep_of(compare={"pretrain.task": tasks}, sampler="tpe", budget=budget, search=search)
    studies = Studies(sweep, tmp_path)
    assert {study.learns for study in studies.studies} == {True}
    for _ in range(24):
        job = studies.next_job()
        assert job is not None
        how = {"trial": job.digest, "phase": "search", "params": job.params}
        row = record_of(job.cell, {"seed": 0}, {VAL: 0.5}, seconds=1.0 + 2 * job.cell.index, **how)
        studies.studies[job.cell.index].finish(job, [row])
    assert [len(study.results) for study in studies.studies] == [18, 6]
