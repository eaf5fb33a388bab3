"""Axes of a space, and spaces that a sampler cannot search."""

from typing import Any

import optuna
import pytest

from citrus_ray.experiment.search_space import SearchAxis, misfits
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


@pytest.mark.parametrize(
    "tree", [{"uniform": [0.2, 0.8], "step": 0.1}, {"uniform": [0.05, 0.95], "step": 0.3}]
)
def test_a_stepped_axis_has_the_very_values_that_optuna_draws(tree):
    """A value that differs in its last digit would be another trial."""
    axis = axes(x=tree)["x"]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = {study.ask({"x": distribution(axis)}).params["x"] for _ in range(200)}
    assert drawn == {axis.value(i) for i in range(int(axis.n_values()))}


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
