"""What docs/weights.md shows can be run as it stands there."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from citrus_ray.models.braindecode import NETWORKS
from citrus_ray.models.nets.arrival import arrivals
from citrus_ray.models.specs import KINDS
from citrus_ray.models.weights import NAMES, PICKLED, Checkpoint
from tests.models.test_weights import CTX

TEXT = (Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8")
BLOCKS: list[dict[str, Any]] = [
    yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
]
MODELS = [block["model"] for block in BLOCKS if "weights" in block.get("model", {})]


@pytest.mark.parametrize("block", MODELS, ids=range(len(MODELS)))
def test_the_weights_of_every_model_arrive(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = KINDS({"kind": block["kind"]}).build(CTX).state_dict()
    save_file(own, tmp_path / "encoder.safetensors")
    wrapped = {f"module.encoder.{name}": value for name, value in own.items()}
    kept = {"model": wrapped | {"head.weight": torch.zeros(2)}, "teacher": wrapped}
    torch.save(kept, tmp_path / "checkpoint.ckpt")
    assert arrivals(KINDS(block).build(CTX))


def test_every_key_and_every_ending_is_named():
    keys = {
        key for block in MODELS if isinstance(block["weights"], dict) for key in block["weights"]
    }
    assert keys == set(Checkpoint.model_fields)
    assert all(f"`{name}`" in TEXT for name in (*NAMES, *PICKLED[1:]))


def test_every_network_of_braindecode_is_named_with_its_rate():
    for name, known in NETWORKS.items():
        rate = f"{known.sfreq:g} Hz" if known.sfreq else ""
        row = next(line for line in TEXT.splitlines() if line.startswith(f"| `{name}` |"))
        assert row.startswith(f"| `{name}` | {known.patch} | {rate}"), name
        assert known.needs_names == ("knows channels by" in row)
    models = [block["model"] for block in BLOCKS if "model" in block]
    assert all(KINDS(model) for model in models)
