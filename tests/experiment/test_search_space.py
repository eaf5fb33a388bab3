"""Points of a space, and spaces that a sampler cannot search."""

import itertools
from typing import Any

import numpy as np
import optuna
import pytest

from citrus_ray.experiment.search_space import SearchAxis, misfits, n_points
from citrus_ray.search.designs import design, grid, sobol
from citrus_ray.search.optuna_bridge import distribution
from citrus_ray.spec import validate

LR, DIM, RATIO, BAND = "lr", "dim", "ratio", "band"


def axes(**trees: Any) -> dict[str, SearchAxis]:
    return {path: validate(SearchAxis, tree) for path, tree in trees.items()}


FINITE = axes(
    ratio={"uniform": [0.2, 0.8], "step": 0.2},
    dim={"int": [8, 16], "step": 4},
    band={"choice": [[1, 4], "all"]},
)
MIXED = FINITE | axes(lr={"loguniform": [1e-4, 1e-1]}, drop={"uniform": [0.0, 0.5]})


def test_a_grid_is_every_combination_once():
    points = list(grid(FINITE))
    assert len(points) == n_points(FINITE) == 4 * 3 * 2
    assert points[0] == {RATIO: 0.2, DIM: 8, BAND: [1, 4]}
    assert {tuple(map(str, point.values())) for point in points} == {
        tuple(map(str, values))
        for values in itertools.product(_ratios(), [8, 12, 16], [[1, 4], "all"])
    }


def _ratios() -> list[float]:
    return [FINITE[RATIO].value(i) for i in range(4)]


@pytest.mark.parametrize(
    "tree", [{"uniform": [0.2, 0.8], "step": 0.1}, {"uniform": [0.05, 0.95], "step": 0.3}]
)
def test_a_stepped_axis_has_the_very_values_that_optuna_draws(tree):
    """A value that differs in its last digit would be another trial."""
    axis = axes(x=tree)["x"]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = {study.ask({"x": distribution(axis)}).params["x"] for _ in range(200)}
    assert drawn == {axis.value(i) for i in range(int(axis.n_values()))}


def test_a_continuous_space_has_no_grid():
    assert list(grid(MIXED)) == []


def test_quasi_random_points_fill_every_axis_evenly_choices_too():
    points = list(itertools.islice(sobol(MIXED, seed=0), 64))
    logs = np.log10([point[LR] for point in points])
    assert np.histogram(logs, bins=8, range=(-4, -1))[0].tolist() == [8] * 8
    assert sum(point[BAND] == "all" for point in points) == 32
    assert all(1e-4 <= point[LR] <= 1e-1 and 0 <= point["drop"] <= 0.5 for point in points)


def test_quasi_random_points_are_those_of_their_seed():
    first, again, other = (list(itertools.islice(sobol(MIXED, seed), 20)) for seed in (0, 0, 1))
    assert first == again != other


def test_quasi_random_points_of_a_finite_space_are_all_of_it_once():
    points = [str(sorted(point.items())) for point in sobol(FINITE, seed=3)]
    assert len(points) == len(set(points)) == 24


def test_nothing_to_search_is_one_point():
    for sampler in ("tpe", "qmc", "grid"):
        assert list(design(sampler, {}, 0)) == [{}]


@pytest.mark.parametrize(
    ("sampler", "space", "path", "says"),
    [
        ("grid", MIXED, "search.lr", "continuous"),
        ("grid", FINITE, "budget.trials", "a cell's grid has 24 points"),
        ("cmaes", MIXED, "search.band", "cmaes needs numbers"),
        ("cmaes", {LR: MIXED[LR]}, "sampler", "at least two axes, but a cell searches lr alone"),
        ("cmaes", {LR: MIXED[LR]} | axes(one={"int": [3, 3]}), "sampler", "at least two axes"),
    ],
)
def test_a_space_that_a_sampler_cannot_search_is_refused_with_a_way_out(sampler, space, path, says):
    found = {problem.path: problem.message for problem in misfits(sampler, space, 10)}
    assert says in found[path]
    assert "take sampler: " in found[path]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "qmc", "random"])
def test_other_samplers_take_any_space(sampler):
    for space in (MIXED, FINITE, {}):
        assert not list(misfits(sampler, space, 10))


def test_a_space_that_fits_is_not_refused():
    assert not list(misfits("grid", FINITE, 24))
    assert not list(misfits("cmaes", {LR: MIXED[LR], DIM: MIXED[DIM]}, 10))
