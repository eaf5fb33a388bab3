"""Models that a sweep keeps: whole or not there, whatever happens, and never at the cost of its
numbers."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray.inference.model import load_model
from citrus_ray.store import predictions
from citrus_ray.training.members import learner_of
from tests.launch.conftest import TINY, lines

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("cluster"),
    pytest.mark.timeout(900),  # five sweeps in a row
]


def tiny(keep: bool, **changes: Any) -> dict[str, Any]:
    tree = copy.deepcopy(TINY) | {"final": {"rounds": 2, "keep": keep}, "budget": {"trials": 1}}
    tree["compare"] = {"model": [{"kind": "conv", "dim": 16}, {"kind": "bag", "trees": 5}]}
    del tree["search"], tree["repeat"], tree["trial"]["pretrain"]
    return tree | changes


def models_of(out: Path) -> dict[str, Path]:
    found = sorted((out / "models").rglob("model.json"))
    return {json.loads(path.read_text())["digest"]: path.parent for path in found}


def test_models_that_could_not_be_kept_cost_no_number_and_are_made_by_the_next_run(run, capsys):
    code, out = run(tiny(keep=False))
    assert code == 0
    assert not (out / "models").exists()
    before = {path: path.read_bytes() for path in (out / "records").iterdir()}
    finals = [row for row in lines(out) if row["phase"] == "final"]
    for row in finals:
        (part,) = predictions.read(out / "predictions", row["trial"])
        assert part.member == row["digest"]

    (out / "models").write_text("in the way, as a full disk would be")
    assert run(tiny(keep=True))[0] == 1
    said = capsys.readouterr()
    assert "4 refits of 2 cells are recorded without the models" in said.err
    assert "make room, and run the same command again" in said.out
    (out / "models").unlink()

    assert run(tiny(keep=True))[0] == 0
    models = models_of(out)
    assert models.keys() == {row["digest"] for row in finals}
    assert {path: path.read_bytes() for path in (out / "records").iterdir()} == before
    for row in finals:
        model = load_model(models[row["digest"]])
        learner = learner_of(_trial(model.facts["trial"]), None)
        (part,) = predictions.read(out / "predictions", row["trial"])
        found = model.predictor(learner.windows)(learner.parts.test)
        assert np.array_equal(found.astype(np.float32), part.outputs)
        assert model.facts["metrics"]["test/accuracy"] == row["metrics"]["test/accuracy"]

    digest, folder = next(iter(models.items()))
    (folder / "model.json").unlink()  # as of a run that was killed between the two files
    capsys.readouterr()
    assert run(tiny(keep=True))[0] == 0
    assert "1 refit of 1 cell is recorded without the models" in capsys.readouterr().err
    assert models_of(out)[digest] == folder
    assert run(tiny(keep=True))[0] == 0
    assert "nothing to compute" in capsys.readouterr().err


def _trial(tree: dict[str, Any]) -> Any:
    from citrus_ray.experiment.trial import Trial
    from citrus_ray.spec import validate

    return validate(Trial, tree)
