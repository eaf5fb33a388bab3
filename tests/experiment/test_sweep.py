"""Sweeps: cells, axes, members, and everything that is refused before anything starts."""

import re
from typing import Any

import pytest

from citrus_ray.data.windowing.splits import Labels
from citrus_ray.experiment.budgets import FRESH_SEED
from citrus_ray.experiment.search_space import SearchAxis
from citrus_ray.experiment.sweep import (
    MAX_CORNERS,
    Sweep,
    has_path,
    load_sweep,
    trial_digest,
)
from citrus_ray.spec import SpecError
from tests.small import FULL, PRETRAINED, SCRATCH, SWEEP, sweep_of


def problems_of(**edits: Any) -> list[tuple[int | None, str]]:
    with pytest.raises(SpecError) as caught:
        sweep_of(SWEEP, **edits)
    assert all(problem.file == "small.yaml" for problem in caught.value.problems)
    return [
        (problem.line, f"{problem.path}: {problem.message}") for problem in caught.value.problems
    ]


# ---- methods without a network ----

METHODS = {"model": ["conv", "minirocket"], "pretrain.task": [None, {"kind": "masked"}]}


def test_a_method_stands_beside_the_networks_from_scratch_alone():
    cells = sweep_of(compare=METHODS).cells
    assert [(c.axes["model"], c.axes["pretrain.task"] is None) for c in cells] == [
        ("conv", True),
        ("conv", False),
        ("minirocket", True),
    ]
    assert cells[2].scratch_twin() is None
    assert (list(cells[2].search), cells[2].n_trials) == ([], 1)
    assert "minirocket" in cells[2].label


def test_keys_of_a_method_are_searched_where_it_is():
    axis = {"model.n_kernels": {"choice": [168, 252]}}
    conv, minirocket = sweep_of(
        compare={"model": METHODS["model"]}, search=axis | {"finetune.optim.lr": {"choice": [1e-3]}}
    ).cells
    assert list(conv.search) == ["finetune.optim.lr"]
    assert list(minirocket.search) == ["model.n_kernels"]
    (member, *_) = minirocket.members({"model.n_kernels": 252})
    assert member[1].model.n_kernels == 252  # type: ignore[attr-defined]


def test_a_method_that_would_be_pre_trained_is_refused_with_its_line():
    (problem,) = problems_of(compare={"pretrain.task": [{"kind": "masked"}], "model": ["bag"]})
    assert "model=bag has no encoder that could be pre-trained" in problem[1]


# ---- named arms ----

LABELS = [{"per_class": 2}, {"per_class": 4}]
ARMS: dict[str, dict[str, Any]] = {
    "plain": {"finetune.steps": 30},
    "solved": {"finetune.head": {"power": True}, "finetune.head_init": "solved"},
}


def test_an_arm_is_several_edits_compared_under_one_name():
    sweep = sweep_of(compare={"finetune.labels": LABELS}, arms=ARMS, search={})
    assert [(c.axes["finetune.labels"]["per_class"], c.axes["arm"]) for c in sweep.cells] == [
        (2, "plain"),
        (2, "solved"),
        (4, "plain"),
        (4, "solved"),
    ]
    plain, solved = (cell.trial.finetune for cell in sweep.cells[:2])
    assert (plain.steps, plain.head_init) == (30, "random")
    assert (solved.head.power, solved.head_init) == (True, "solved")
    assert "arm solved" in sweep.cells[1].label
    (one,) = sweep_of(compare={"arm": ["solved"]}, arms=ARMS, search={}).cells
    assert one.trial.finetune.head_init == "solved"


def test_records_of_an_arm_are_told_apart_by_what_it_is_and_not_by_its_name():
    renamed = {"a": ARMS["plain"], "b": ARMS["solved"]}
    one, other = (sweep_of(compare={}, arms=arms, search={}) for arms in (ARMS, renamed))
    assert [cell.digest for cell in one.cells] == [cell.digest for cell in other.cells]


def test_a_claim_names_arms():
    claim = {"says": "it helps", "better": {"arm": "solved"}, "worse": {"arm": "plain"}}
    assert sweep_of(compare={}, arms=ARMS, claims=[claim], search={}).claims
    wrong = claim | {"better": {"arm": "sold"}}
    (problem,) = problems_of(compare={}, arms=ARMS, claims=[wrong], search={})
    assert "no compared cell is so; `compare` has arm" in problem[1]


def test_an_arm_that_is_wrong_is_refused_with_its_name():
    said = problems_of(
        arms=ARMS | {"same": ARMS["plain"], "bad": {"finetune.steps": 0}},
        compare={"arm": ["solid"], "finetune.head_init": ["random"]},
        search={"finetune.steps": {"choice": [10, 20]}},
    )
    text = "\n".join(problem for _, problem in said)
    assert 'compare.arm: "solid": no such arm; `arms` has plain, solved, same, bad' in text
    assert "arms.same: plain and same are the same" in text
    assert "arms.solved.finetune.head_init: is under compare as well" in text
    assert "arms.plain.finetune.steps: is under search as well" in text
    (problem,) = problems_of(arms={"bad": {"finetune.steps": 0}}, compare={}, search={})
    assert "arms.bad.finetune.steps" in problem[1]


def test_an_arm_without_arms_and_a_key_that_no_arm_takes_are_said_as_what_they_are():
    (problem,) = problems_of(compare={"arm": ["solved"]}, search={})
    assert "compare.arm: `arm` is not a key here" in problem[1]
    (problem,) = problems_of(
        compare={"model": ["bag"]}, search={"finetune.steps": {"choice": [10, 20]}}
    )
    assert "finetune.steps: no compared arm takes this path; drop it" in problem[1]


# ---- cells ----


def test_cells_are_the_product_of_what_is_compared():
    labels = [{"per_class": 2}, {"per_class": 4}, {"fraction": 1.0}]
    sweep = sweep_of(
        compare={"pretrain.task": [None, {"kind": "masked"}], "finetune.labels": labels}
    )
    assert len(sweep.cells) == 6
    assert [cell.index for cell in sweep.cells] == list(range(6))
    assert len({cell.digest for cell in sweep.cells}) == 6
    for cell in sweep.cells:
        assert cell.trial.finetune.labels == Labels(**cell.axes["finetune.labels"])
        assert (cell.trial.pretraining is None) == (cell.axes["pretrain.task"] is None)


def test_without_a_comparison_there_is_one_cell():
    (cell,) = sweep_of(compare={}, search={}).cells
    assert (cell.axes, cell.label) == ({}, "the only cell")
    assert cell.trial == sweep_of().trial


def test_a_searched_axis_exists_only_in_the_arms_that_have_it():
    scratch, masked = sweep_of().cells
    assert set(scratch.search) == {"finetune.optim.lr"}
    assert set(masked.search) == {"finetune.optim.lr", "pretrain.task.ratio"}


def test_a_repeated_axis_exists_only_in_the_arms_that_have_it():
    scratch, masked = sweep_of(repeat={"seed": [0, 1], "pretrain.seed": [5, 6]}).cells
    assert scratch.repeat == ({"seed": 0}, {"seed": 1})
    assert len(masked.repeat) == 4


def test_null_is_from_scratch_and_nothing_of_the_pretraining_exists_there():
    scratch, masked = sweep_of().cells
    assert scratch.trial.pretraining is None
    assert scratch.trial.encoder_digest() is None
    assert not has_path(scratch.trial, "pretrain.epochs")
    assert has_path(masked.trial, "pretrain.epochs")
    assert has_path(masked.trial, "pretrain.task.ratio")
    assert not has_path(masked.trial, "pretrain.task.nothing")
    assert not has_path(SCRATCH, "pretrain.task.ratio")
    assert has_path(PRETRAINED, "model.dim")


def test_an_axis_may_reach_into_a_compared_block():
    sweep = sweep_of(
        search={"finetune.labels.per_class": {"int": [2, 3]}},
        compare={"finetune.labels": [{"per_class": 2}]},
    )
    ((_, trial), *_) = sweep.cells[0].members({"finetune.labels.per_class": 3})
    assert trial.finetune.labels.per_class == 3


def test_an_axis_may_reach_into_a_repeated_block():
    search, labels = {"finetune.labels.per_class": {"int": [2, 3]}}, [{"per_class": 2}]
    cell = sweep_of(
        search=search, repeat={"finetune.labels": labels}, compare={"finetune.labels": labels}
    ).cells[0]
    ((_, trial),) = cell.members({"finetune.labels.per_class": 3})
    assert trial.finetune.labels.per_class == 3


def test_records_of_another_budget_belong_to_a_cell_and_of_another_space_do_not():
    cell = sweep_of().cells[1]
    assert sweep_of(budget={"trials": 40}).cells[1].digest == cell.digest
    assert sweep_of(final={"rounds": 9}).cells[1].digest == cell.digest
    assert (
        sweep_of(search={"pretrain.task.ratio": {"choice": [0.4]}}).cells[1].digest != cell.digest
    )
    assert sweep_of(repeat={"seed": [0, 1]}).cells[1].digest != cell.digest
    assert sweep_of(objective={"metric": "val/accuracy"}).cells[1].digest != cell.digest


def test_a_small_space_needs_no_more_trials_than_it_has_points():
    space = {
        "pretrain.task.ratio": {"choice": [0.4, 0.6]},
        "pretrain.task.span": {"int": [1, 3], "step": 2},
    }
    scratch, masked = sweep_of(search=space, budget={"trials": 10}).cells
    assert (scratch.n_trials, masked.n_trials) == (1, 4)


# ---- members ----


def test_the_members_of_a_trial_are_its_repeated_values():
    masked = sweep_of().cells[1]
    members = masked.members({"pretrain.task.ratio": 0.6, "finetune.optim.lr": 0.002})
    assert [repeat for repeat, _ in members] == [{"seed": 0}, {"seed": 1}, {"seed": 2}]
    for repeat, trial in members:
        task = trial.pretraining and trial.pretraining.task
        assert trial.seed == repeat["seed"]
        assert trial.finetune.optim.lr == 0.002
        assert task is not None
        assert task.tree()["ratio"] == 0.6


def test_repeating_over_targets_crosses_them_with_the_seeds():
    target = sweep_of().trial.finetune.target.tree()
    targets = [target | {"seed": 5}, target | {"seed": 6}]
    cell = sweep_of(repeat={"finetune.target": targets, "seed": [0, 1]}).cells[0]
    members = cell.members({})
    assert [(t.finetune.target.tree()["seed"], t.seed) for _, t in members] == [
        (5, 0),
        (5, 1),
        (6, 0),
        (6, 1),
    ]
    final = cell.members({}, 0)
    assert len(final) == 2
    assert {t.finetune.target.tree()["seed"] for _, t in final} == {5, 6}


def test_winners_are_refitted_on_seeds_that_no_search_has_seen():
    for cell in sweep_of(repeat={"seed": [0, 7, FRESH_SEED - 1]}).cells:
        searched = {trial.seed for _, trial in cell.members({})}
        fresh = [trial.seed for n in range(5) for _, trial in cell.members({}, n)]
        assert len(set(fresh)) == len(fresh) == 5
        assert not searched & set(fresh)
        assert min(fresh) >= FRESH_SEED


def test_searched_seeds_that_are_kept_for_the_winners_are_refused():
    ((line, message),) = problems_of(repeat={"seed": [0, FRESH_SEED]})
    assert line == 17
    assert "kept for the winners" in message


def test_a_round_draws_encoder_labels_and_test_people_once_in_every_place():
    labels = [{"per_class": 2}, {"per_class": 4}]
    scratch, masked = sweep_of(repeat={"finetune.labels": labels, "seed": [0, 1]}).cells
    params = {"pretrain.task.ratio": 0.4}
    rounds = [[t for _, t in masked.members(params, n)] for n in range(3)]
    assert [len(members) for members in rounds] == [2, 2, 2], "a member for each place"
    encoders = [{t.encoder_digest() for t in members} for members in rounds]
    assert [len(found) for found in encoders] == [1, 1, 1], "which share the encoder"
    searched = {t.encoder_digest() for _, t in masked.members(params)}
    assert len(set.union(*encoders) - searched) == 3
    drawn = [{(t.seed, t.finetune.split.round) for t in members} for members in rounds]
    assert drawn == [{(FRESH_SEED + n, n)} for n in range(3)]
    alone = [
        {(t.seed, t.finetune.split.round) for _, t in scratch.members({}, n)} for n in range(3)
    ]
    assert alone == drawn, "both arms share what is drawn"


def test_a_fold_is_tested_whole_in_every_round():
    split = {"finetune.split.folds": 4, "finetune.split.fold": 1}
    trial = sweep_of().trial.at(split).tree()
    cell = sweep_of(trial=trial).cells[1]
    assert {t.finetune.split.round for _, t in cell.members({}, 3)} == {None}


@pytest.mark.parametrize("path", ["fold", "seed", "round"])
def test_test_parts_are_not_averaged_over(path: str):
    found = problems_of(repeat={f"finetune.split.{path}": [0, 1], "seed": [0]})
    assert any(
        f"repeat.finetune.split.{path}" in f"{line} {message}" or path in message
        for line, message in found
    )


def test_old_keys_of_final_name_the_new_one():
    found = problems_of(final={"seeds": 5, "pretrain": True})
    assert any("`final: {rounds: 5}`" in message for _, message in found)


def test_a_trial_is_named_by_its_members_and_its_phase():
    cell = sweep_of().cells[0]
    members = cell.members({"finetune.optim.lr": 0.002})
    assert trial_digest(members, "search") == trial_digest(members, "search")
    assert trial_digest(members, "search") != trial_digest(members, "final")
    assert trial_digest(members, "search") != trial_digest(members[:2], "search")


def test_a_pretrained_cell_is_paired_with_the_scratch_cell_that_is_equal_otherwise():
    labels = [{"per_class": 2}, {"per_class": 4}]
    tasks = [None, {"kind": "masked"}, {"kind": "masked", "span": 3}]
    for cell in sweep_of(compare={"pretrain.task": tasks, "finetune.labels": labels}).cells:
        twin = cell.scratch_twin()
        assert (twin is None) == (cell.trial.pretraining is None)
        if twin is not None:
            assert twin.axes == cell.axes | {"pretrain.task": None}


def test_without_a_scratch_arm_there_is_no_twin():
    assert sweep_of(compare={"pretrain.task": [{"kind": "masked"}]}).cells[0].scratch_twin() is None


# ---- what is refused ----


def test_an_axis_in_no_arm_is_refused_with_its_line():
    text = SWEEP.replace("finetune.optim.lr: {log", "finetune.optin.lr: {log").replace(
        "  seed: [0", "  sede: [0"
    )
    with pytest.raises(SpecError) as caught:
        sweep_of(text)
    found = {(problem.path, problem.line) for problem in caught.value.problems}
    assert found == {("search.finetune.optin.lr", 20), ("repeat.sede", 17)}


def test_a_path_that_no_arm_has_comes_with_the_one_that_was_meant():
    found = dict(
        problems_of(search={"finetune.optin.lr": {"uniform": [0.1, 0.2]}}, repeat={"sede": [0, 1]})
    )
    text = "\n".join(found.values())
    assert (
        "search.finetune.optin.lr: no compared arm has this path; did you mean `finetune.optim.lr`?"
        in text
    )
    assert "repeat.sede: no compared arm has this path; did you mean `seed`?" in text


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("pretrain.tusk", "did you mean `task`?"),
        ("pretrian.task", "there is no `pretrian` to set it in; did you mean `pretrain`?"),
    ],
)
def test_a_compared_path_that_is_wrong_is_said_once_however_many_values_it_has(path, says):
    ((_, message),) = problems_of(
        compare={path: [None, {"kind": "masked"}, {"kind": "masked", "span": 3}]}, search={}
    )
    assert message.startswith(f"compare.{path}: ")
    assert says in message


def test_a_sampler_that_cannot_search_the_space_is_refused_with_its_line():
    line, message = problems_of(sampler="grid")[0]
    assert (line, message[:27]) == (20, "search.finetune.optim.lr: i")
    assert "take sampler: qmc" in message
    assert any("cmaes needs numbers" in text for _, text in problems_of(sampler="cmaes"))


def test_every_corner_of_every_axis_is_validated_before_anything_starts():
    found = problems_of(
        search={
            "finetune.optim.lr": {"uniform": [0.0, 1.0]},
            "pretrain.task.ratio": {"choice": [0.5, 1.5]},
        },
        repeat={"seed": [0, -1]},
        compare={"pretrain.task": [None, {"kind": "masked"}], "finetune.steps": [8, 0]},
    )
    text = "\n".join(message for _, message in found)
    assert "search.finetune.optim.lr: 0: lr=0.0: must be greater than 0" in text
    assert "search.pretrain.task.ratio: 1.5: ratio=1.5: must be less than 1" in text
    assert "repeat.seed: -1: seed=-1" in text
    assert "compare.finetune.steps: 0: steps=0" in text
    assert len(found) == 4


def test_a_compared_path_that_does_not_exist_is_refused_with_its_line():
    with pytest.raises(SpecError) as caught:
        sweep_of(SWEEP.replace("pretrain.task: [null", "pretrain.tusk: [null"))
    assert all(
        (problem.path, problem.line) == ("compare.pretrain.tusk", 15)
        for problem in caught.value.problems[:1]
    )
    assert "did you mean `task`" in str(caught.value)


def test_a_rule_between_two_fields_is_checked_at_the_corners_too():
    ((_, message),) = problems_of(search={"finetune.split.val": {"uniform": [0.1, 0.9]}})
    assert "must leave groups to train on" in message


def test_many_axes_are_still_checked_at_both_ends():
    paths = [
        "finetune.optim.lr",
        "finetune.optim.weight_decay",
        "finetune.split.val",
        "pretrain.optim.lr",
    ]
    paths += ["pretrain.optim.weight_decay", "pretrain.val", "model.dropout"]
    axes: dict[str, Any] = {path: {"uniform": [0.1, 0.2]} for path in paths}
    assert 2 ** len(axes) > MAX_CORNERS
    assert sweep_of(search=axes).cells
    axes["pretrain.val"] = {"uniform": [0.1, 1.0]}  # in the arm that has all of the axes
    ((_, message),) = problems_of(search=axes)
    assert "search.pretrain.val: 1: val=1.0" in message


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b"])
def test_a_name_that_is_no_folder_name_is_refused(name):
    ((line, message),) = problems_of(name=name)
    assert line == 2
    assert message.startswith("name: ")


def test_selection_on_test_data_is_refused():
    ((_, message),) = problems_of(objective={"metric": "test/accuracy"})
    assert "selection sees validation data only" in message


def test_an_objective_that_nothing_computes_is_refused():
    ((_, message),) = problems_of(objective={"metric": "val/acuracy"})
    assert "val/accuracy" in message


@pytest.mark.parametrize(
    ("axis", "says"),
    [
        ({}, "exactly one of uniform, loguniform, int, choice"),
        ({"uniform": [0, 1], "choice": [1]}, "exactly one of"),
        ({"uniform": [1.0, 0.5]}, "low <= high"),
        ({"int": [4, 2]}, "low <= high"),
        ({"loguniform": [0.0, 1.0]}, "loguniform needs low > 0"),
        ({"loguniform": [0.1, 1.0], "step": 0.1}, "step goes with uniform or int only"),
        ({"choice": [1, 2], "step": 1}, "step goes with uniform or int only"),
        ({"uniform": [0, 1], "step": 0}, "greater than 0"),
        ({"int": [1, 9], "step": 0.5}, "whole"),
        ({"choice": []}, "not empty"),
        ({"int": [1, 2.5]}, "integer"),
        ({"int": [1, 2, 3]}, "at most 2"),
        ({"uniform": ["a", "b"]}, "number"),
    ],
)
def test_an_axis_that_makes_no_sense_is_refused(axis, says):
    assert any(
        says in message and "search.finetune.steps" in message
        for _, message in problems_of(search={"finetune.steps": axis})
    )


def test_axes_know_their_ends_and_their_points():
    def axis(**tree: Any) -> SearchAxis:
        return sweep_of(search={"finetune.optim.lr": tree}).search["finetune.optim.lr"]

    assert axis(uniform=[0.2, 0.8]).ends() == [0.2, 0.8]
    assert axis(choice=[0.1, 0.2, 0.3]).ends() == [0.1, 0.2, 0.3]
    assert axis(uniform=[0.2, 0.8], step=0.1).n_values() == 7
    assert axis(int=[1, 9], step=3).n_values() == 3
    assert axis(choice=[0.1, 0.2]).n_values() == 2
    assert axis(loguniform=[0.1, 0.1]).n_values() == 1
    assert axis(uniform=[0.1, 0.2]).n_values() == float("inf")


def test_choices_have_names_that_bring_their_values_back():
    values = [[0.5, 4], [4, 12], "word", {"kind": "x"}, None, 3]
    axis = SearchAxis(choice=tuple(values))
    assert list(axis.choices_by_name().values()) == values
    assert all(isinstance(name, str) for name in axis.choices_by_name())


def test_a_sweep_survives_the_way_to_a_worker():
    sweep = sweep_of(search={"pretrain.task.span": {"int": [1, 3]}})
    again = Sweep.model_validate_json(sweep.model_dump_json(by_alias=True))
    assert again == sweep
    assert again.cells == sweep.cells
    assert again == sweep
    assert [cell.digest for cell in again.cells] == [cell.digest for cell in sweep.cells]


def test_edits_are_checked_like_the_file_they_edit(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SWEEP)
    assert load_sweep(path, {"budget.trials": 2}).budget.trials == 2
    with pytest.raises(SpecError, match="there is no `budgte`"):
        load_sweep(path, {"budgte.trials": 2})
    with pytest.raises(SpecError, match=r"small.yaml:\d+: budget.trials: trials=\"many\""):
        load_sweep(path, {"budget.trials": "many"})


def test_averaging_the_search_over_folds_is_refused():
    split = {"folds": 4, "fold": 0}
    found = problems_of(
        **{"repeat": {"finetune.split.fold": [0, 1]}, "trial.finetune.split": split}
    )
    assert any("put it under `compare`" in text for _, text in found)


def test_minimising_a_score_is_refused():
    found = problems_of(objective={"metric": "val/accuracy", "mode": "min"})
    assert any("better when higher" in text for _, text in found)


def test_a_value_that_stands_twice_is_refused():
    found = problems_of(repeat={"seed": [0, 0]})
    assert any("repeat.seed" in text and "must stand once" in text for _, text in found)


# ---- what is chosen by ----


VALIDATION = "finetune.validation"


def test_refits_learn_from_the_labels_that_the_search_chose_by():
    for given, refit in (("labels", "none"), ("full", "full")):
        for cell in sweep_of(**{f"trial.{VALIDATION}": given}).cells:
            members = [*cell.members({}), *cell.members({}, 0)]
            found = [trial.finetune.validation for _, trial in members]
            assert found == [given] * 3 + [refit]
    whole = sweep_of(compare={VALIDATION: ["labels", "full"]}, search={}).cells
    refits = [{t.finetune.validation for _, t in cell.members({}, 0)} for cell in whole]
    assert refits == [{"none"}, {"full"}]


def test_what_was_always_done_has_its_old_digest_and_the_default_a_new_one():
    """Digests of the version that knew a fully labelled validation part and windows in turn
    alone."""
    old = FULL.at({"finetune.sampling": "shuffled"})
    assert old.digest() == "ae16bdac7d58f560" != FULL.digest() != SCRATCH.digest()
    assert FULL.at({"finetune.mode": "probe"}).digest() == "782d4fc610264638"
    before = {f"trial.{VALIDATION}": "full", "trial.finetune.sampling": "shuffled"}
    cells = sweep_of(**before).cells
    assert [cell.digest for cell in cells] == ["5fba98c95e4d1cf1", "07fdb36ae70cdab0"]
    kinds = {SCRATCH.at({VALIDATION: how}).digest() for how in ("labels", "full", "none")}
    assert len(kinds) == 3
    assert PRETRAINED.at({VALIDATION: "full"}).encoder_digest() == PRETRAINED.encoder_digest()


@pytest.mark.parametrize("section", ["search", "repeat"])
def test_what_decides_what_a_score_is_can_only_be_compared(section):
    values = ["labels", "full"]
    axis = {"choice": values} if section == "search" else values
    found = problems_of(**{section: {VALIDATION: axis}})
    said = "decides what a score is; put it under `compare`, a study for each value"
    assert f"{section}.{VALIDATION}: {said}" in [text for _, text in found]


def test_a_search_without_a_score_is_refused_and_a_single_point_is_not():
    blind: dict[str, Any] = {f"trial.{VALIDATION}": "none"}
    ((line, text),) = problems_of(**blind)
    assert line == 9
    assert "validation=none: nothing scores a trial, and there are 4 trials to choose" in text
    assert "give `validation: labels`" in text
    ((_, text),) = problems_of(**blind, search={}, asha={})
    assert "and asha needs scores" in text
    alone: dict[str, Any]
    for alone in ({"search": {}}, {"budget": {"trials": 1}}):
        assert [cell.n_trials for cell in sweep_of(**blind, **alone).cells] == [1, 1]


def test_one_label_a_class_is_refused_where_it_is_compared():
    labels = [{"per_class": 1}, {"per_class": 4}]
    ((_, text),) = problems_of(compare={"finetune.labels": labels}, search={})
    assert text.startswith("compare.finetune.labels: 1 per class: labels.per_class=1: a third")


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ({"trial.finetune.optim": {"lr": 1e308}}, "must be of a size from 1e-30 to 1e+30"),
        ({"trial.finetune.steps": 10**15}, "less than or equal to 1000000000"),
        ({"trial.finetune.labels": {"per_class": 2**53}}, "must be of a size from"),
        (
            {"trial.finetune.target.rhythms": [5, 5]},
            "must be frequencies above 0, each another one",
        ),
        (
            {"trial.finetune.target.rhythms": [5, 0]},
            "must be frequencies above 0, each another one",
        ),
        ({"trial.finetune.target.seconds": 1e308}, "less than or equal to 1000000000"),
        ({"trial.finetune.target.n_chans": 10**9}, "less than or equal to 10000000"),
        (
            {"trial.finetune.target.n_chans": 10**7, "trial.finetune.target.seconds": 1e6},
            "TB; make",
        ),
        ({"budget": {"trials": 4, "hours": 1e-300}}, "greater than or equal to 0.0001"),
        ({"trial.model": {"kind": 1}}, "kind=1: must be one of"),
        ({"compare": {f"a{i}": [*range(90)] for i in range(9)}}, "and a sweep has at most 2,000"),
        ({"repeat": {f"a{i}": [*range(300)] for i in range(3)}}, "has at most 20,000"),
        ({"arms": {"a": {"seed": 1}}, "compare": {"arm": [["a"]]}}, "no such arm"),
    ],
)
def test_nonsense_is_refused_with_its_rule(edits, said):
    with pytest.raises(SpecError, match=re.escape(said)):
        sweep_of(**edits)
