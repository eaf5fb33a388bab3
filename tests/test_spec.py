"""Specs: strict values, YAML with line numbers, dotted edits, digests."""

import math
import os
import pickle
from typing import Annotated, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.experiment.optim import Optim
from citrus_ray.experiment.sweep import Sweep, parse_sweep
from citrus_ray.experiment.trial import Trial
from citrus_ray.spec import (
    Later,
    Problem,
    Spec,
    SpecError,
    digest_of,
    dotted,
    flatten,
    parse_yaml,
    put,
    read_yaml,
    validate,
)
from tests.small import PRETRAINED, SCRATCH, SWEEP, sweep_of

TRIAL = """\
# one trial
model: {kind: conv, dim: 8}
finetune:
  target: {kind: synthetic, seed: 2}
  optim:
    lr: 1e-3
seed: 4
"""


def trial_of(text: str) -> Trial:
    """A trial from YAML, errors placed in it."""
    document = parse_yaml(text, "trial.yaml")
    try:
        return validate(Trial, document.tree)
    except SpecError as err:
        raise SpecError([document.place(problem) for problem in err.problems]) from None


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(SpecError) as caught:
        trial_of(text)
    return list(caught.value.problems)


# ---- YAML ----


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("3e-4", 0.0003),
        ("1.0e-4", 0.0001),
        ("2.", 2.0),
        (".5", 0.5),
        ("-1.5", -1.5),
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("1_000", 1000),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("Yes", "Yes"),
        ("2024-01-02", "2024-01-02"),
        ("2024-01-02 03:04:05", "2024-01-02 03:04:05"),
        ("12:30", "12:30"),
        ("010", "010"),
        ("0x1F", "0x1F"),
        ('"4"', "4"),
        ("1e", "1e"),
        ("e5", "e5"),
        ("[1, 2e0, a]", [1, 2.0, "a"]),
        ("{a: 1}", {"a": 1}),
    ],
)
def test_a_scalar_is_what_it_looks_like(text, value):
    got = parse_yaml(f"key: {text}").tree["key"]
    assert got == value
    assert type(got) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_python_writes_is_read_as_that_number(number):
    assert parse_yaml(f"key: {number!r}").tree["key"] == number


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(10**9), 10**9)
        | st.floats(-1e9, 1e9)
        | st.text("ab: #-[1e'", max_size=6),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_what_pyyaml_writes_is_read_back(value):
    assert parse_yaml(yaml.safe_dump({"key": value})).tree == {"key": value}


def test_keys_know_their_lines():
    lines = parse_yaml(TRIAL, "trial.yaml").lines
    assert lines["model"] == 2
    assert lines["finetune.target.seed"] == 4
    assert lines["finetune.optim.lr"] == 6
    assert lines["seed"] == 7


def test_items_of_a_list_know_their_lines():
    lines = parse_yaml("a:\n  - 1\n  - b: 2\n    c: 3\n").lines
    assert (lines["a[0]"], lines["a[1]"], lines["a[1].c"]) == (2, 3, 4)


def test_a_key_that_stands_twice_is_refused_with_both_lines():
    with pytest.raises(SpecError) as caught:
        parse_yaml("a: 1\nb: {c: 1}\na: 2\n", "twice.yaml")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.path) == ("twice.yaml", 3, "a")
    assert "first on line 1" in problem.message


def test_every_key_that_stands_twice_is_reported():
    with pytest.raises(SpecError) as caught:
        parse_yaml("a: 1\na: 2\nb:\n  c: 1\n  c: 2\n")
    assert [(p.path, p.line) for p in caught.value.problems] == [("a", 2), ("b.c", 5)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1, 2\nb: 3\n", 2),
        ("a: 1\n\tb: 2\n", 2),
        ("a: 1\n---\nb: 2\n", 2),
        ("a: *nowhere\n", 1),
        ("a: 1\nb: !!python/object:os.system x\n", 2),
        ("a: !ours 1\n", 1),
    ],
)
def test_what_is_no_yaml_is_one_problem_with_its_line(text, line):
    with pytest.raises(SpecError, match="is not YAML") as caught:
        parse_yaml(text, "broken.yaml")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("broken.yaml", line)


def test_an_alias_for_what_holds_it_is_a_problem():
    with pytest.raises(SpecError, match="an alias stands for something that holds it"):
        parse_yaml("a: &a [*a]")


@pytest.mark.parametrize("text", ["", "# nothing\n", "- 1\n- 2\n", "just words\n"])
def test_a_file_without_keys_says_so(text):
    with pytest.raises(SpecError, match="must hold `key: value` lines"):
        parse_yaml(text, "empty.yaml")


def test_a_file_that_is_not_there_or_is_no_text_is_a_problem(tmp_path):
    with pytest.raises(SpecError, match="cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(SpecError, match="not UTF-8"):
        read_yaml(tmp_path / "binary.yaml")


# ---- validation ----


def test_a_complete_trial_is_read():
    trial = trial_of(TRIAL)
    assert (trial.seed, trial.finetune.optim.lr) == (4, 0.001)
    assert trial.finetune.target == Synthetic(seed=2)


@pytest.mark.parametrize(
    ("old", "new", "line", "path", "says"),
    [
        ("seed: 4", 'seed: "4"', 7, "seed", 'seed="4": must be a valid integer'),
        ("seed: 4", "seed: true", 7, "seed", "seed=true: must be a valid integer"),
        ("seed: 4", "seed: 4.0", 7, "seed", "seed=4.0: must be a valid integer"),
        ("seed: 4", "seed: -1", 7, "seed", "must be greater than or equal to 0"),
        ("lr: 1e-3", "lr: 0", 6, "finetune.optim.lr", "lr=0: must be greater than 0"),
        ("lr: 1e-3", "lr: fast", 6, "finetune.optim.lr", 'lr="fast": must be a valid number'),
        ("lr: 1e-3", "llr: 1e-3", 6, "finetune.optim.llr", "did you mean `lr`?"),
        (
            "lr: 1e-3",
            "lr: 1e-3\n    epochs: 3",
            7,
            "finetune.optim.epochs",
            "known keys: batch_size, clip, lr",
        ),
        ("dim: 8", "dim: 0", 2, "model.dim", "must be greater than or equal to 1"),
        ("dim: 8", "dims: 8", 2, "model.dims", "did you mean `dim`?"),
        ("kind: conv", "kind: cnov", 2, "model", 'kind="cnov": must be one of'),
        ("kind: conv, ", "", 2, "model", "`kind` is required"),
        (
            "  target: {kind: synthetic, seed: 2}\n",
            "",
            3,
            "finetune.target",
            "`target` is required and missing",
        ),
        ("dim: 8", "kernel: 4", 2, "model", "kernel=4: must be odd"),
        ("dim: 8", "strides: []", 2, "model.strides", "must be not empty"),
        ("dim: 8", "strides: [2, x]", 2, "model.strides[1]", "must be a valid integer"),
        ("model: {", "modle: {", 2, "modle", "did you mean `model`?"),
    ],
)
def test_a_broken_rule_is_named_with_value_file_and_line(old, new, line, path, says):
    text = TRIAL.replace(old, new) if old != "kind: conv, " else TRIAL.replace("kind: conv, ", "")
    assert text != TRIAL
    (problem,) = problems_of(text)
    assert (problem.file, problem.line, problem.path) == ("trial.yaml", line, path)
    assert says in str(problem)
    assert str(problem).startswith(f"trial.yaml:{line}: ")


def test_everything_that_is_wrong_is_said_at_once():
    text = (
        TRIAL.replace("dim: 8", "dims: 8")
        .replace("lr: 1e-3", 'lr: "x"')
        .replace("seed: 4", "seed: true")
    )
    assert [(p.path, p.line) for p in problems_of(text)] == [
        ("model.dims", 2),
        ("finetune.optim.lr", 6),
        ("seed", 7),
    ]


def test_an_unknown_key_inside_an_axis_of_a_sweep_is_named_there():
    with pytest.raises(SpecError) as caught:
        sweep_of(SWEEP.replace("{loguniform: [1e-3, 1e-2]}", "{logunifrom: [1e-3, 1e-2]}"))
    messages = [str(p) for p in caught.value.problems]
    assert any(
        "did you mean `loguniform`?" in m and m.startswith("small.yaml:20: ") for m in messages
    )


def test_python_values_are_as_strict_as_yaml():
    with pytest.raises(ValueError, match="valid integer"):
        Synthetic(seed="4")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="valid integer"):
        Synthetic(seed=True)
    with pytest.raises(ValueError, match="finite"):
        Optim(lr=math.inf)


def test_a_spec_cannot_be_edited_in_place():
    with pytest.raises(ValueError, match="frozen"):
        SCRATCH.seed = 3  # type: ignore[misc]


def test_an_error_survives_the_way_between_processes():
    err = SpecError([Problem("a.b", "is wrong", "x.yaml", 3)])
    again = pickle.loads(pickle.dumps(err))
    assert again.problems == err.problems
    assert str(again) == "x.yaml:3: a.b: is wrong"


# ---- dotted edits ----


def test_an_edit_is_a_new_value():
    edited = SCRATCH.at({"seed": 3, "finetune.optim.lr": 0.5})
    assert (edited.seed, edited.finetune.optim.lr) == (3, 0.5)
    assert (SCRATCH.seed, SCRATCH.finetune.optim.lr) == (0, 1e-3)
    assert edited.at({"seed": 0, "finetune.optim.lr": 1e-3}) == SCRATCH


def test_an_edit_is_validated():
    with pytest.raises(SpecError, match=r"finetune\.optim\.lr: lr=-1"):
        SCRATCH.at({"finetune.optim.lr": -1})
    with pytest.raises(SpecError, match="did you mean `lr`"):
        SCRATCH.at({"finetune.optim.llr": 1})


@pytest.mark.parametrize(
    "path",
    ["finetuen.optim.lr", "finetune.optin.lr", "pretrain.task.ratio", "seed.deep", "seed.a.b"],
)
def test_an_edit_below_a_parent_that_is_not_there_is_refused(path):
    with pytest.raises(SpecError) as caught:
        SCRATCH.at({path: 1})
    assert caught.value.problems[0].path == path


def test_no_typo_creates_a_branch():
    tree: dict[str, Any] = {"a": {"b": 1}}
    with pytest.raises(SpecError):
        put(tree, "a.c.d", 1)
    assert tree == {"a": {"b": 1}}


def test_a_sweep_can_be_edited_whatever_axes_it_has():
    sweep = sweep_of(search={"finetune.steps": {"int": [4, 8], "step": 2}})
    assert sweep.at({"budget.trials": 2}).search == sweep.search


def test_flatten_names_every_leaf_by_its_path():
    assert flatten({"a": {"b": 1, "c": [1, 2]}, "d": None}) == {"a.b": 1, "a.c": [1, 2], "d": None}
    assert dotted(("compare", "seed", 1)) == "compare.seed[1]"


def test_flattened_paths_are_the_paths_that_edits_take():
    for path, value in flatten(PRETRAINED.tree()).items():
        assert PRETRAINED.at({path: value}) == PRETRAINED


# ---- digests ----

ASIDE = {"pretrain.workers", "pretrain.threads_per_worker", "pretrain.gpu", "finetune.gpu"}
WORDS = (
    "none",
    "window",
    "recording",
    "full",
    "joined",
    "solved",
    "frozen",
    "average",
    "channels",
    "mean",
    "l1",
    "balanced",
    "bfloat16",
    "shuffled",
    "erase",
    "value",
    "allow",
    "siamese",
)


def other_values(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value + 2, value * 0.8 + 0.01]
    if isinstance(value, list):
        return [[*value, value[-1]], value[:-1], value[::-1]] if value else [[{"kind": "shift"}]]
    return [word for word in WORDS if word != value]


def neighbours(trial: Trial) -> dict[str, Trial]:
    """For every leaf of a trial, the trial with another valid value there."""
    found: dict[str, Trial] = {}
    for path, value in flatten(trial.tree()).items():
        if path == "model.weights":  # a file, whose content is what counts: test_weights.py has it
            continue
        for other in other_values(value):
            try:
                found.setdefault(path, trial.at({path: other}))
            except SpecError:
                continue
    return found


def test_every_field_of_a_trial_is_in_its_digest_but_what_cannot_change_a_number():
    trial = PRETRAINED.at({"pretrain.task.mix": 1})  # without it `drop_modality` can only be 0
    near = neighbours(trial)
    leaves = flatten(trial.tree())
    untouched = {path for path in leaves if path not in near}
    assert "pretrain.task.encode" in untouched  # `visible` knows no mix: test_visible.py has it
    untouched.remove("pretrain.task.encode")
    full = trial.at(
        {"finetune.validation": "full"}
    )  # by counted labels weights are always averaged
    assert full.at({"finetune.average": True}).digest() != full.digest()
    untouched.remove("finetune.average")
    for path, other, needs in (  # what has another value where something else has, too
        ("finetune.class_weights", "balanced", {"finetune.sampling": "shuffled"}),
        ("finetune.lora.rank", 4, {"finetune.mode": "lora"}),
        ("finetune.lora.alpha", 4.0, {"finetune.mode": "lora"}),
        ("finetune.lora.targets", ["*"], {"finetune.mode": "lora"}),
        ("finetune.head.own", ["json:JSONDecoder"], {}),
        ("finetune.head.delays", [1], {"finetune.head.covariance": True}),
        ("finetune.target.target", "value", {"finetune.labels": {"count": 20}}),
    ):
        assert trial.at({**needs, path: other}).digest() != trial.at(needs).digest()
        untouched.remove(path)
    assert all(path.endswith(".kind") or leaves[path] in (None, []) for path in untouched)
    assert len(near) > 30
    assert {path for path, other in near.items() if other.digest() == trial.digest()} == ASIDE


class Aged(Spec):
    """Keys that came later: at its default, and at another value, what was always done is meant."""

    old: int = 1
    calm: Annotated[int, Later()] = 2
    new_way: Annotated[str, Later(was="always so")] = "better"
    of_cells: Annotated[str, Later("cell", was="so")] = "else"


def test_a_key_that_came_later_is_left_out_of_digests_where_it_says_what_was_always_done():
    assert Aged(new_way="always so").identity() == {"old": 1, "of_cells": "else"}
    assert Aged().identity() == {"old": 1, "new_way": "better", "of_cells": "else"}
    assert Aged(calm=3, new_way="always so").identity() == {"old": 1, "calm": 3, "of_cells": "else"}
    assert Aged(of_cells="so").says_nothing_new("of_cells", "cell")
    assert not Aged(of_cells="else").says_nothing_new("of_cells", "cell")
    assert not Aged(of_cells="so").says_nothing_new("of_cells")
    assert not Aged().says_nothing_new("old")


def test_from_scratch_nothing_of_the_pretraining_is_in_the_digest():
    scratch = PRETRAINED.at({"pretrain.task": None})
    assert scratch.digest() == SCRATCH.digest() != PRETRAINED.digest()
    near = {
        path: trial for path, trial in neighbours(scratch).items() if path.startswith("pretrain.")
    }
    assert len(near) > 10
    assert {trial.digest() for trial in near.values()} == {scratch.digest()}


def test_an_encoder_is_named_by_model_and_pretraining_alone():
    for path, trial in neighbours(PRETRAINED).items():
        same = trial.encoder_digest() == PRETRAINED.encoder_digest()
        assert same == (path in ASIDE or path.split(".")[0] not in ("model", "pretrain")), path
    assert SCRATCH.encoder_digest() is None


def test_equal_values_have_equal_digests_however_they_came_about():
    again = validate(Trial, PRETRAINED.tree())
    assert again == PRETRAINED
    assert again.digest() == PRETRAINED.digest()
    assert Optim(lr=1).digest() == Optim(lr=1.0).digest()
    assert (
        Synthetic(rhythms=(6.0, 9.0)).digest() == validate(Synthetic, {"rhythms": [6, 9]}).digest()
    )
    assert (
        trial_of(TRIAL).digest()
        == trial_of(TRIAL.replace("kind: conv, dim: 8", "dim: 8, kind: conv")).digest()
    )


def test_neither_file_nor_comment_is_in_the_digest_of_a_sweep():
    one, other = (
        parse_sweep(parse_yaml(text, file)) for text, file in ((SWEEP, "a"), ("\n#\n" + SWEEP, "b"))
    )
    assert one.digest() == other.digest()
    assert one.at({"concurrency": 3}).digest() == one.digest()
    assert one.at({"budget.trials": 3}).digest() != one.digest()


def test_a_digest_is_the_same_in_every_process_and_version():
    assert (
        digest_of({"b": [1, 2.5, None], "a": "x"})
        == digest_of({"a": "x", "b": [1, 2.5, None]})
        == "ce74053d7a9997b7"
    )


def test_a_field_that_is_aside_may_hold_anything():
    class Local(Spec):
        value: int = 0

    assert Local(value=1).digest() != Local(value=2).digest()
    assert Sweep.model_fields["concurrency"].metadata


def test_an_axis_whose_key_is_a_path_can_be_set():
    tree = {"search": {"finetune.optim.lr": {"uniform": [0.1, 0.2]}}, "budget": {"trials": 4}}
    put(tree, "search.finetune.optim.lr", {"choice": [0.1]})
    put(tree, "budget.trials", 5)
    assert tree == {"search": {"finetune.optim.lr": {"choice": [0.1]}}, "budget": {"trials": 5}}


# ---- limits ----

LAUGHS = "x0: &x0 [1, 1]\n" + "".join(
    f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\n" * 60_000, "must have at most 200,000 letters"),
        (LAUGHS, "holds more than 20,000 values"),
        ("a: &a\n  b: *a\n", "is nested more than 40 deep"),
        ("a: " + "[" * 60 + "]" * 60, "is nested more than 40 deep"),
        ("a: " + "[" * 5000 + "]" * 5000, "is nested more than 40 deep"),
        ("a: " + "9" * 5000, "must be a number of at most 64 bits|is no number"),
        ("a: 1e999", "must be a number of at most 64 bits"),
        ("a: !!binary aGk=", "the tag tag:yaml.org,2002:binary"),
        ("a: !!set {b, c}", "the tag tag:yaml.org,2002:set"),
        ("a: !!int many", "is no number"),
        ('a: "x\\e[2J"', "holds the control character"),
        ("? [a, b]\n: 1", "a key must be a word of at most 200 letters"),
        (f"{'k' * 300}: 1", "a key must be a word of at most 200 letters"),
    ],
)
def test_what_has_no_end_or_means_nothing_is_refused_while_it_is_read(text, said):
    with pytest.raises(SpecError, match=said):
        parse_yaml(text, "odd.yaml")


def test_all_that_is_wrong_with_values_is_said_at_once():
    with pytest.raises(SpecError) as caught:
        parse_yaml("a: 1e999\nb: !!binary aGk=\na: 2\n", "odd.yaml")
    assert [p.line for p in caught.value.problems] == [1, 2, 3]


def test_a_pipe_is_no_spec_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.yaml")
    with pytest.raises(SpecError, match="is no file"):
        read_yaml(tmp_path / "a.yaml")


@pytest.mark.parametrize("path", ["budget.trials.", ".a", "a..b", "", "[0]", "a.[0].b", "x" * 99])
def test_a_path_that_names_nothing_is_placed_and_refused_at_once(path):
    document = parse_yaml("budget: {trials: 1}", "a.yaml")
    assert document.place(Problem(path, "is odd")).file == "a.yaml"
    if "." in path or not path:
        with pytest.raises(SpecError):
            put({"budget": {"trials": 1}}, path, 2)
