"""Labels: few words, one for each thing, and null in the right words."""

import pytest

from citrus_ray.experiment.labels import (
    brief,
    cell_labels,
    exact_label,
    settings_label,
    unique,
    value_label,
)
from tests.small import sweep_of


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("pretrain", None, "from scratch"),
        ("pretrain.task", None, "from scratch"),
        ("pretrain.task.hide", None, "none"),
        ("finetune.patience", None, "none"),
        ("pretrain.task", {"kind": "masked", "ratio": 0.5, "span": None}, "masked (ratio 0.5)"),
        ("finetune.labels", {"per_class": 5}, "5 per class"),
        ("finetune.labels", {"fraction": 0.25}, "25 %"),
        ("finetune.optim.lr", 0.000123456, "0.000123"),
        ("pretrain.task.hide.band", [8, 12.5], "[8, 12.5]"),
    ],
)
def test_values_are_said_in_few_words_and_null_is_from_scratch_in_two_places_alone(
    path, value, said
):
    assert value_label(path, value) == said


def test_a_block_is_called_by_its_kind_where_no_other_is_of_that_kind():
    tasks = [None, {"kind": "masked", "ratio": 0.3}, {"kind": "spectral", "ratio": 0.3}]
    assert cell_labels([{"pretrain.task": task} for task in tasks]) == [
        "from scratch",
        "masked",
        "spectral",
    ]


def test_a_block_is_said_by_no_more_of_its_keys_than_tell_it_from_others():
    conv = {"kind": "conv", "dim": 32, "strides": [4, 4]}
    models = [conv, conv | {"dim": 64}, {"kind": "patch", "dim": 32}, "minirocket"]
    sets = [{"set": "a", "channels": ["Fz"]}, {"set": "b", "channels": ["Fz"]}]
    axes = [{"model": model, "finetune.target": of} for model in models for of in sets]
    said = [settings_label(brief(one, axes)) for one in axes]
    assert said[0] == "conv (dim 32), target a"
    assert said[3] == "conv (dim 64), target b"
    assert said[4] == "patch, target a"
    assert said[6] == "model minirocket, target a"
    assert brief({"head": {"bins": 4}}, [{"head": {"bins": 4}}]) == {"head": {"bins": 4}}


def test_labels_grow_until_no_two_cells_share_one():
    tasks = [{"kind": "masked", "ratio": ratio} for ratio in (0.3, 0.30001, 0.7)]
    axes = [{"pretrain.task": task, "model.dim": dim} for task in tasks for dim in (8, 16)]
    labels = cell_labels(axes)
    assert len(set(labels)) == len(axes)
    assert labels[-1] == "masked (ratio 0.7), dim 16"
    assert "0.30001" in labels[2]


def test_what_no_wording_tells_apart_is_numbered():
    assert unique(["a", "b", "c"], [lambda _: "same", lambda t: "x" if t != "c" else "y"]) == [
        "x #1",
        "x #2",
        "y",
    ]


def test_settings_are_named_by_their_last_part_where_that_tells_them_apart():
    assert settings_label({"a.lr": 0.1, "b.dim": 8}) == "lr 0.1, dim 8"
    assert settings_label({"a.lr": 0.1, "b.lr": 0.2}) == "a.lr 0.1, b.lr 0.2"
    assert exact_label({"a.lr": 0.00123456}) == "lr 0.00123456"


def test_the_cells_of_a_sweep_have_labels_of_their_own():
    sweep = sweep_of(compare={"pretrain.task": [None, {"kind": "masked"}], "model.dim": [8, 16]})
    assert [cell.label for cell in sweep.cells] == [
        "from scratch, dim 8",
        "from scratch, dim 16",
        "masked, dim 8",
        "masked, dim 16",
    ]
