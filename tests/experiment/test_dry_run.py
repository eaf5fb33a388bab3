"""What a dry run says, and what is found wrong with data before anything starts."""

import re
from pathlib import Path
from typing import Any

import pytest

from citrus_ray.data.source import looked_once
from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.windowing import splits
from citrus_ray.experiment import dry_run
from citrus_ray.experiment.dry_run import DryRun, check_data
from citrus_ray.experiment.step_times import StepTimes
from citrus_ray.experiment.sweep import load_sweep
from citrus_ray.spec import SpecError
from tests.small import SWEEP, sweep_of

QUICKSTART = Path(__file__).resolve().parents[2] / "sweeps" / "quickstart.yaml"


def test_the_plan_of_the_quickstart_counts_what_it_will_do():
    sweep = load_sweep(QUICKSTART)
    check_data(sweep)
    n_cells, n_seeds, n_final = len(sweep.cells), len(sweep.repeat["seed"]), sweep.final.rounds
    n_trials = sum(cell.n_trials for cell in sweep.cells)
    first, *rest = DryRun(sweep).lines()
    counts = [int(number) for number in re.findall(r"\d+", first)]
    assert counts == [n_cells, n_trials, n_trials * n_seeds + n_cells * n_final, 2 + n_final]
    assert "cells" in first
    assert "fine-tunes" in first
    text = "\n".join(rest)
    assert "from scratch: " in text
    assert "searches pretrain.task.ratio, finetune.optim.lr" in text
    assert "finetune.target: 640 windows of 4 x 2.56 s at 100 Hz, 16 groups, 4 classes" in text
    assert "pretrain.source: 1600 windows" in text
    assert "cost on one core of this machine" in text
    assert "resources: trials at once: one per CPU; a pre-training takes 1 CPUs and 0 GPUs" in text


@pytest.mark.parametrize(("n", "place"), [(1, "CPUs"), (2, "GPUs")])
def test_the_plan_says_where_a_pretraining_that_would_take_gpus_runs_here(monkeypatch, n, place):
    monkeypatch.setattr(dry_run, "n_gpus", lambda: n)
    tree = load_sweep(QUICKSTART).tree()
    tree["trial"]["pretrain"] |= {"gpu": "auto", "workers": {"min": 2, "max": 3}}
    said = DryRun(sweep_of(compare=tree["compare"], trial=tree["trial"]))._resources()
    assert "takes 3 CPUs and 0 GPUs at most, as there is room, with gpu: auto" in said
    assert said.endswith(f"this machine has {n} of 2 GPUs, so on {place} here")


def test_pretrainings_are_counted_by_what_tells_encoders_apart():
    def count(**edits: object) -> int:
        return DryRun(sweep_of(SWEEP, **edits)).n_pretrainings

    assert count() == 2 + 5  # two ratios, and an encoder for each round
    assert count(search={"finetune.optim.lr": {"loguniform": [1e-3, 1e-2]}}) == 1 + 5
    assert count(search={"pretrain.task.ratio": {"uniform": [0.2, 0.8]}}) == 4 + 5  # the budget
    assert count(repeat={"seed": [0], "pretrain.seed": [0, 1, 2]}) == 6 + 5
    assert count(final={"rounds": 7}) == 2 + 7
    two_tasks = {"pretrain.task": [{"kind": "masked"}, {"kind": "masked", "span": 3}]}
    assert count(compare=two_tasks) == 4 + 2 * 5
    shared = {
        "pretrain.task": [None, {"kind": "masked"}],
        "finetune.labels": [{"per_class": 4}, {"per_class": 8}],
    }
    assert count(compare=shared) == 2 + 5  # both regimes search among the same two encoders


def test_good_data_is_no_problem():
    check_data(sweep_of())


def test_everything_wrong_with_labels_and_sizes_is_said_at_once():
    labels = [{"per_class": 4}, {"per_class": 500}, {"count": 1}]
    sweep = sweep_of(
        compare={"finetune.labels": labels, "model.strides": [[2, 2], [8, 8]]}, search={}
    )
    with pytest.raises(SpecError) as caught:
        check_data(sweep)
    text = str(caught.value)
    assert "labels.per_class=500: class '5 Hz' has only" in text
    assert "labels: 1 of the" in text
    assert "patch=64: a window of 64 samples must hold at least 2 patches" in text
    assert text.count("per_class=500") == 1, (
        "the same complaint of several seeds and cells is said once"
    )
    assert all(problem.path.startswith("trial.") for problem in caught.value.problems)


def test_too_few_people_to_split_are_found_before_the_start():
    target = sweep_of().trial.finetune.target.tree() | {"n_subjects": 2}
    with pytest.raises(SpecError, match="2 groups cannot be split"):
        check_data(sweep_of(repeat={"finetune.target": [target]}))


def test_labels_missing_for_a_fresh_seed_only_are_found_too(monkeypatch):
    """The winner's refit must not be what finds out, hours later."""
    sweep = sweep_of(final={"rounds": 5})
    cell = sweep.cells[0]
    fresh = {trial.seed for number in range(5) for _, trial in cell.members({}, number)}
    seen: set[int] = set()

    def noted(windows, spec, seed):
        seen.add(seed)
        return splits.split(windows, spec, seed)

    monkeypatch.setattr("citrus_ray.experiment.dry_run.split", noted)
    check_data(sweep)
    assert fresh <= seen


# ---- what is chosen by ----


class OneSecond(StepTimes):
    """A second for a step, ten for a look."""

    def finetune(self, *of: object) -> float:
        return 1.0

    def look(self, *of: object) -> float:
        return 10.0


@pytest.mark.parametrize(("validation", "of_a_refit"), [("labels", 8), ("full", 8 + 4 * 10)])
def test_refits_that_choose_nothing_are_not_charged_for_looks(validation, of_a_refit):
    cells: dict[str, Any] = {"compare": {"pretrain.task": [None]}, "search": {}}
    sweep = sweep_of(**{"trial.finetune.validation": validation}, **cells)
    _, seconds, _ = DryRun(sweep, OneSecond()).cpu_seconds
    assert seconds == pytest.approx(3 * (8 + 4 * 10) + 5 * of_a_refit)


def test_a_method_without_a_network_is_charged_by_windows_and_no_step_of_it_is_timed():
    def seconds(**model: Any) -> float:
        edits: dict[str, Any] = {"trial.model": {"kind": "minirocket"} | model, "compare": {}}
        pre, fine, _ = DryRun(sweep_of(**edits, search={}), NoStep()).cpu_seconds
        assert pre == 0
        return fine

    assert 0 < seconds(n_kernels=84) < seconds(n_kernels=8400) < 60


class NoStep(StepTimes):
    """Fails where a step is asked for."""

    def finetune(self, *_: Any) -> float:
        raise AssertionError("there is no step")


def test_labels_too_few_to_learn_from_and_to_choose_by_are_found_before_the_start():
    few: dict[str, Any] = {"trial.finetune.labels": {"count": 2}, "search": {}}
    with pytest.raises(SpecError) as caught:
        check_data(sweep_of(**few))
    (problem,) = caught.value.problems
    assert problem.path == "trial.finetune.labels"
    assert "class '5 Hz' has one labelled window" in problem.message
    for validation in ("full", "none"):
        check_data(sweep_of(**few, **{"trial.finetune.validation": validation}))


# ---- asked once ----


def test_a_check_looks_at_the_files_of_a_source_once_and_the_next_one_looks_again(monkeypatch):
    looks: list[str] = []

    def content(source: Synthetic) -> str:
        looks.append(source.kind)
        return f"look {len(looks)}"

    monkeypatch.setattr(Synthetic, "content", content)
    target = sweep_of().trial.finetune.target
    sweep = sweep_of(compare={"pretrain.task": [None]}, search={}, budget={"trials": 1})
    looks.clear()
    check_data(sweep)
    assert len(looks) == 1, "five rounds of three seeds ask for many digests"
    with looked_once():
        assert target.digest() == target.digest()
    assert target.digest() != target.digest(), "outside, a file that changes is seen at once"


def test_labels_that_arms_share_are_drawn_once(monkeypatch):
    drawn: list[int] = []

    def noted(windows, spec, seed):
        drawn.append(seed)
        return splits.split(windows, spec, seed)

    monkeypatch.setattr("citrus_ray.experiment.dry_run.split", noted)
    check_data(sweep_of(compare={"finetune.pool": ["mean", "channels"]}, search={}))
    assert len(drawn) == 3 + 5, "three seeds and five rounds, whatever the number of arms"
    drawn.clear()
    two = [{"per_class": 4}, {"per_class": 5}]
    check_data(sweep_of(compare={"finetune.labels": two}, search={}))
    assert len(drawn) == 2 * (3 + 5)
