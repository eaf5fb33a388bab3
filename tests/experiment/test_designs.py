"""Designs: points made once for all cells, and specs whose arms cannot be searched apart."""

import itertools
import random
from collections.abc import Iterable
from typing import Any, get_args

import numpy as np
import pytest

from citrus_ray.experiment.designs import Point, common_points, design, grid, project
from citrus_ray.experiment.labels import canonical
from citrus_ray.experiment.search_space import (
    COMMON,
    LEARNING,
    Sampler,
    SearchSpace,
    n_points,
)
from citrus_ray.experiment.sweep import Cell, Sweep
from citrus_ray.spec import SpecError
from tests.experiment.test_search_space import BAND, DIM, FINITE, LR, MIXED, RATIO
from tests.small import sweep_of

DESIGNS = [name for name in get_args(Sampler) if name not in LEARNING]


def first(n: int, sampler: Sampler, space: SearchSpace, seed: int = 0) -> list[Point]:
    return list(itertools.islice(design(sampler, [space], seed), n))


# ---- points of one space ----


def test_a_grid_is_every_combination_once():
    points = list(grid(FINITE))
    assert len(points) == n_points(FINITE) == 4 * 3 * 2
    assert points[0] == {RATIO: 0.2, DIM: 8, BAND: [1, 4]}
    ratios = [FINITE[RATIO].value(i) for i in range(4)]
    assert {tuple(map(str, point.values())) for point in points} == {
        tuple(map(str, values))
        for values in itertools.product(ratios, [8, 12, 16], [[1, 4], "all"])
    }


def test_a_continuous_space_has_no_grid():
    assert list(grid(MIXED)) == []


def test_quasi_random_points_fill_every_axis_evenly_choices_too():
    points = first(64, "qmc", MIXED)
    logs = np.log10([point[LR] for point in points])
    assert np.histogram(logs, bins=8, range=(-4, -1))[0].tolist() == [8] * 8
    assert sum(point[BAND] == "all" for point in points) == 32
    assert all(1e-4 <= point[LR] <= 1e-1 and 0 <= point["drop"] <= 0.5 for point in points)


@pytest.mark.parametrize("sampler", ["qmc", "random"])
def test_points_are_those_of_their_seed(sampler):
    one, again, other = (first(20, sampler, MIXED, seed) for seed in (0, 0, 1))
    assert one == again != other


@pytest.mark.parametrize("sampler", DESIGNS)
def test_points_of_a_finite_space_are_all_of_it_once(sampler):
    points = [canonical(point) for point in design(sampler, [FINITE], 3)]
    assert len(points) == len(set(points)) == 24


@pytest.mark.parametrize("sampler", DESIGNS)
def test_nothing_to_search_is_one_point(sampler):
    assert common_points(sampler, [{}], 5, 0) == ({},)


# ---- points of several ----


def parts(space: SearchSpace, points: tuple[Point, ...]) -> set[str]:
    return {canonical(project(point, space)) for point in points}


def test_a_small_space_is_tried_whole_before_a_larger_one_gets_all_its_points():
    """Of nine lists of four plain Sobol points, some leave a value of the small space out."""
    small = {DIM: FINITE[DIM]}  # three values
    for seed in range(9):
        points = common_points("qmc", [small, FINITE, MIXED], 4, seed)
        assert len(parts(small, points)) == 3
        assert len(parts(MIXED, points)) == 4


@pytest.mark.parametrize("sampler", ["qmc", "random"])
def test_a_larger_budget_adds_points_and_moves_none(sampler):
    spaces = [{DIM: FINITE[DIM]}, FINITE, {LR: MIXED[LR], RATIO: FINITE[RATIO]}]
    sizes = [common_points(sampler, spaces, n, 0) for n in (1, 2, 5, 30, 100)]
    for few, many in itertools.pairwise(sizes):
        assert few == many[: len(few)] != many


def test_a_budget_that_every_finite_space_fits_tries_all_of_all():
    spaces = [{DIM: FINITE[DIM], BAND: FINITE[BAND]}, {BAND: FINITE[BAND], RATIO: FINITE[RATIO]}]
    for sampler in DESIGNS:
        points = common_points(sampler, spaces, 8, 0)
        assert [len(parts(space, points)) for space in spaces] == [6, 8]


# ---- specs ----

SEARCHED: dict[str, Any] = {
    "finetune.optim.lr": {"loguniform": [1e-3, 1e-2]},
    "finetune.optim.weight_decay": {"uniform": [0.0, 0.2], "step": 0.1},
    "finetune.labels.per_class": {"int": [2, 4]},
    "pretrain.task.ratio": {"choice": [0.3, 0.5, 0.7]},
    "pretrain.epochs": {"int": [1, 3]},
    "model.dim": {"choice": [8, 16]},
}
COMPARED: dict[str, list[Any]] = {
    "pretrain.task": [None, {"kind": "masked"}, {"kind": "masked", "loss": "l1"}],
    "finetune.mode": ["full", "frozen", "probe"],
    "model.depth": [1, 2],
}


def random_spec(sampler: Sampler, rng: random.Random) -> dict[str, Any]:
    compared = rng.sample(sorted(COMPARED), rng.randint(0, 2))
    return {
        "compare": {
            path: rng.sample(COMPARED[path], rng.randint(1, len(COMPARED[path])))
            for path in compared
        },
        "search": {
            path: SEARCHED[path] for path in rng.sample(sorted(SEARCHED), rng.randint(0, 3))
        },
        "sampler": sampler,
        "budget": {"trials": rng.choice([1, 2, 3, 5, 8, 50]), "patience": rng.choice([None, 2])},
        "seed": rng.randint(0, 3),
        "repeat": {"seed": [0]},
    }


def asked(spec: dict[str, Any]) -> Sweep | None:
    try:
        return sweep_of(**spec)
    except SpecError:
        return None


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_a_spec_whose_arms_could_be_searched_at_different_points_is_impossible(sampler):
    rng = random.Random(sampler)
    found = [asked(random_spec(sampler, rng)) for _ in range(30)]
    taken = [sweep for sweep in found if sweep]
    assert len(taken) > 5
    pairs = [pair for sweep in taken for pair in itertools.combinations(sweep.cells, 2)]
    n_shared = 0
    for one, other in pairs:
        shared = one.search.keys() & other.search.keys()
        n_shared += bool(shared)
        if sampler in LEARNING:
            assert one.sweep.together if shared else True
            assert sampler in COMMON or not shared
        assert values_of(one, shared) == values_of(other, shared)
    assert n_shared > 3 or sampler in LEARNING
    for cell in (cell for sweep in taken for cell in sweep.cells):
        assert 1 <= cell.n_trials <= cell.sweep.budget.trials
        assert sampler in LEARNING or cell.n_trials == len(cell.points)


def values_of(cell: Cell, shared: Iterable[str]) -> set[str]:
    return {canonical(project(point, shared)) for point in cell.points}


@pytest.mark.parametrize("sampler", LEARNING)
def test_where_arms_share_an_axis_what_learns_learns_from_all_of_them_or_is_refused(sampler):
    search = {path: SEARCHED[path] for path in ("finetune.optim.lr", "pretrain.epochs")}
    if sampler in COMMON:
        assert sweep_of(sampler=sampler, search=search).together
    else:
        with pytest.raises(SpecError) as caught:
            sweep_of(sampler=sampler, search=search)
        said = [p.message for p in caught.value.problems if p.path == "sampler"]
        way_out = "different points of finetune.optim.lr; take sampler: tpe or qmc"
        assert any(way_out in m for m in said)
    alone = {"pretrain.epochs": {"int": [1, 3]}, "pretrain.task.ratio": {"uniform": [0.2, 0.8]}}
    sweep = sweep_of(sampler=sampler, search=alone)
    assert [len(c.search) for c in sweep.cells] == [0, 2]
    assert sweep.learns_apart
    assert sweep_of(sampler=sampler, search=LINES, compare={}).points is None


LINES = {
    "finetune.optim.lr": {"loguniform": [1e-3, 1e-2]},
    "finetune.optim.weight_decay": {"uniform": [0.0, 0.2]},
}


def by_axes(sweep: Sweep) -> dict[str, tuple[Point, ...]]:
    return {canonical(cell.axes): cell.points for cell in sweep.cells}


@pytest.mark.parametrize("sampler", ["qmc", "random"])
def test_neither_the_place_of_a_row_nor_the_order_of_keys_decides_what_is_tried(sampler):
    tasks, depths = COMPARED["pretrain.task"], COMPARED["model.depth"]
    search = {path: SEARCHED[path] for path in ("finetune.optim.lr", "pretrain.task.ratio")}
    one = sweep_of(
        compare={"pretrain.task": tasks, "model.depth": depths}, search=search, sampler=sampler
    )
    other = sweep_of(
        compare={"model.depth": depths[::-1], "pretrain.task": tasks[::-1]},
        search=dict(reversed(search.items())),
        sampler=sampler,
    )
    assert by_axes(one) == by_axes(other)
    assert [c.digest for c in one.cells] != [c.digest for c in other.cells]
    assert {c.digest for c in one.cells} == {c.digest for c in other.cells}
