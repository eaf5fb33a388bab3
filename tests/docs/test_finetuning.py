"""What docs/finetuning.md shows can be run as it stands there."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from citrus_ray.experiment.trial import Finetune, Lora
from citrus_ray.models.head import Head
from citrus_ray.models.views import VIEWS
from tests.bench.against import NOW
from tests.small import SCRATCH

TEXT = (Path(__file__).parents[2] / "docs" / "finetuning.md").read_text(encoding="utf-8")
BLOCKS: list[dict[str, Any]] = [
    yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
]
FLOOR = Path(__file__).parents[2] / "sweeps" / "floor.yaml"


def trial_of(block: dict[str, Any]) -> Any:
    return block.get("trial", block)


def edits_of(block: dict[str, Any]) -> list[dict[str, Any]]:
    """What a block says of a trial, of each arm by itself, by dotted path."""
    if "arms" in block:
        return list(block["arms"].values())
    found = trial_of(block)
    model = {"model": found["model"]} if "model" in found else {}
    return [model | {f"finetune.{key}": v for key, v in found.get("finetune", {}).items()}]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_block_is_a_valid_part_of_a_trial(block: dict[str, Any]) -> None:
    for edits in edits_of(block):
        assert SCRATCH.at(edits).digest() != SCRATCH.digest()


def test_the_recipe_of_few_steps_is_what_the_benchmark_measures() -> None:
    (said,) = (edits_of(block) for block in BLOCKS if "end" in block.get("finetune", {}))
    measured = {f"finetune.{key}": value for key, value in NOW["recommended"].items()}
    as_measured = {"finetune.validation": "none", "finetune.pool": "channels"}
    assert SCRATCH.at(said[0] | as_measured) == SCRATCH.at(measured | as_measured)


def test_the_recipe_is_that_of_the_sweep_that_measured_it() -> None:
    arm = yaml.safe_load(FLOOR.read_text(encoding="utf-8"))["arms"]["conv"]
    recipe = BLOCKS[0]["finetune"]
    assert BLOCKS[0]["model"] == arm["model"]
    fields = Finetune.model_fields
    for key, value in recipe.items():
        given = arm.get(f"finetune.{key}")
        default = fields[key].default
        known = default.tree()["kind"] if key == "align" else default
        wanted = value["kind"] if key == "align" else value
        assert wanted in (given, known) or key == "pool", key
    assert {f"finetune.{key}" for key in recipe} >= {key for key in arm if key != "model"}


def test_every_view_and_every_part_of_a_head_is_named() -> None:
    assert all(f"`{name}`" in TEXT for name in VIEWS if name != "encoder")
    assert all(f"`{name}: " in TEXT for name in Head.model_fields)


def test_every_mode_is_named() -> None:
    modes = get_args(Finetune.model_fields["mode"].annotation)
    assert len(modes) == 4
    assert all(f"`mode: {mode}`" in TEXT for mode in modes)
    (lora,) = re.findall(r"`lora: ({.*?})`", TEXT)
    assert set(yaml.safe_load(lora)) == set(Lora.model_fields)
