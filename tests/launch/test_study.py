"""A study against its records. No cluster is started."""

from pathlib import Path

import pytest

from citrus_ray import records
from citrus_ray.launch.study import Study
from citrus_ray.summary import summarise
from citrus_ray.sweep import Cell
from tests.small import sweep_of
from tests.test_summary import LR, final, search_trial

ORDERS = [["a", "b", "c", "d"], ["d", "c", "b", "a"], ["b", "d", "a", "c"]]


def study_of(cell: Cell, folder: Path, order: list[str]) -> Study:
    rows = {trial[0].trial: trial for trial in records.read_all(folder)}
    return Study(cell, folder, [rows[name] for name in order])


@pytest.mark.parametrize("order", ORDERS)
def test_of_equal_trials_the_same_one_wins_whichever_came_first(tmp_path, order):
    sweep = sweep_of()
    cell = sweep.cells[0]
    for i, name in enumerate("abcd"):
        search_trial(tmp_path, cell, name, [0.5 if name == "a" else 0.8], params={LR: 0.001 * (i + 1)})
    best = study_of(cell, tmp_path, order).best
    assert best is not None
    assert best.params == summarise(sweep, tmp_path, 0.0)["cells"][0]["best"]


@pytest.mark.parametrize("order", ORDERS)
def test_a_study_whose_winner_is_refitted_has_nothing_left_to_do(tmp_path, order):
    cell = sweep_of().cells[0]
    for i, name in enumerate("abcd"):
        search_trial(tmp_path, cell, name, [0.8], params={LR: 0.001 * (i + 1)})
    first = study_of(cell, tmp_path, ORDERS[0])
    job = first.next_job()
    assert job is not None
    assert job.phase == "final"
    final(tmp_path, cell, {1000: 0.7}, job.digest, params=job.params)
    again = study_of(cell, tmp_path, order)
    assert again.over
    assert again.next_job() is None
