"""The JSON schema and the key reference: made from the specs, and kept beside them."""

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from citrus_ray.data.sets import FOLDER
from citrus_ray.experiment import schema
from citrus_ray.experiment.sweep_files import PACKAGE, SCHEMA_LINE, by_name
from citrus_ray.spec import parse_yaml, read_yaml
from tests.small import SWEEP

SWEEPS = by_name(PACKAGE.parent / "sweeps")
SMALL = parse_yaml(SWEEP, "small.yaml").tree


@functools.cache
def check() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema.schema())


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(schema.schema())


@pytest.mark.parametrize("name", list(SWEEPS))
def test_every_shipped_sweep_is_accepted_and_names_its_schema(name):
    assert [e.message for e in check().iter_errors(read_yaml(SWEEPS[name]).tree)] == []
    first = SWEEPS[name].read_text().splitlines()[0]
    assert first.startswith(SCHEMA_LINE)
    named = SWEEPS[name].parent / first.partition("$schema=")[2]
    assert named.resolve() == PACKAGE / "sweep.schema.json"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_set_is_accepted_as_a_target(path):
    tree = copy.deepcopy(SMALL)
    tree["trial"]["finetune"]["target"] = read_yaml(path).tree
    assert [e.message for e in check().iter_errors(tree)] == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("target", "bonn5"),
        ("target", {"set": "bonn5", "notch": 50}),
        ("model", "conv"),
        ("model", {"kind": "citrus", "preset": "base", "dim": 96}),
        ("model", "my_module:MyNet"),
        ("model", {"kind": "views", "of": ["bands", {"kind": "conv", "dim": 8}]}),
        ("augment", ["shift"]),
    ],
)
def test_short_forms_are_accepted(key, value):
    tree = copy.deepcopy(SMALL)
    (tree["trial"] if key == "model" else tree["trial"]["finetune"])[key] = value
    assert [e.message for e in check().iter_errors(tree)] == []


def put(*path: str) -> Callable[[dict[str, Any], Any], None]:
    def edit(tree: dict[str, Any], value: Any) -> None:
        for name in path[:-1]:
            tree = tree[name]
        tree[path[-1]] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "value"),
    [
        (put("nmae"), "small"),
        (put("name"), "a name"),
        (put("budget"), {"trials": 0}),
        (put("budget"), {"trials": "4"}),
        (put("sampler"), "best"),
        (put("final"), {"rounds": 1}),
        (put("search"), {"finetune.optim.lr": {"log": [1, 2]}}),
        (put("trial", "model"), "konv"),
        (put("trial", "model"), {"kind": "conv", "dims": 8}),
        (put("trial", "model"), {"dim": 8}),
        (put("trial", "finetune", "target"), "bonn6"),
        (put("trial", "finetune", "target"), {"kind": "synthetic", "n_subjects": "8"}),
        (put("trial", "finetune", "mode"), "ful"),
        (put("trial", "finetune", "labels"), 8),
        (put("trial", "pretrain", "task"), {"kind": "masked", "ratio": 1.5}),
        (put("claims"), [{"says": "it helps"}]),
    ],
)
def test_a_broken_sweep_is_refused(edit, value):
    assert not list(check().iter_errors(SMALL))
    tree = copy.deepcopy(SMALL)
    edit(tree, value)
    assert list(check().iter_errors(tree))


def test_no_key_lacks_a_description():
    blocks = {"sweep": schema.schema(), **schema.schema()["$defs"]}
    bare = [
        f"{name}.{key}"
        for name, block in blocks.items()
        for key, of in block.get("properties", {}).items()
        if not of.get("description")
    ]
    assert bare == []


@pytest.mark.parametrize(
    ("file", "made"),
    [("citrus_ray/sweep.schema.json", schema.text), ("docs/keys.md", schema.markdown)],
)
def test_the_files_that_are_kept_are_what_is_made(file, made):
    text = (PACKAGE.parent / Path(file)).read_text()
    assert text == made(), f"run `citrus schema{' --markdown' * file.endswith('md')} > {file}`"
