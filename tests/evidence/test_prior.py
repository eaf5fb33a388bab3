"""Warm starts: what earlier records say, whom they may have seen, and that every arm begins at the
same points."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray import records
from citrus_ray.cli.sweep import _found_before
from citrus_ray.evidence.prior import look_up
from citrus_ray.evidence.summary import summarise
from citrus_ray.experiment.dry_run import DryRun
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.experiment.warm_start import Prior
from citrus_ray.search.study import Study
from citrus_ray.spec import SpecError, flatten
from tests.evidence.test_summary import TEST, VAL
from tests.small import SOURCE, record_of, sweep_of

LR, RATIO = "finetune.optim.lr", "pretrain.task.ratio"
SEARCH = {LR: {"loguniform": [1e-3, 1e-2]}, RATIO: {"uniform": [0.2, 0.8]}}
OTHERS = SOURCE.model_copy(update={"seed": 21}).tree()
BEST_LR = 4e-3


def earlier(folder: Path, target: Any = None, **edits: Any) -> Sweep:
    """Searched to its end; the better, the nearer to one learning rate."""
    sweep = sweep_of(search=SEARCH, budget={"trials": 12}, repeat={"seed": [0]}, **edits)
    for cell in sweep.cells:
        trial = cell.trial.at({"finetune.target": target or OTHERS})
        for i, point in enumerate(cell.points):
            name = f"{cell.index}-{i:02d}"
            value = 0.9 - 0.3 * abs(np.log10(point[LR] / BEST_LR))
            fields: dict[str, Any] = {"params": point, "config": flatten(trial.at(point).tree())}
            fields |= {"data_digest": trial.finetune.target.digest()}
            for phase, metrics in (("search", {VAL: value}), ("final", {VAL: -value, TEST: 1.0})):
                how = fields | {"phase": phase, "trial": f"{name}-{phase}"}
                row = record_of(cell, {"seed": 0}, metrics, **how)
                records.write(folder / "records", row.trial, [row])
    return sweep


def warm(folder: Path, n: int = 2, **edits: Any) -> Sweep:
    """A sweep that begins where that folder says."""
    asked: dict[str, Any] = {"budget": {"trials": 6}, "search": SEARCH}
    asked |= {"warm_start": {"records": [str(folder)], "points": n}} | edits
    found = look_up(sweep_of(**asked)).tree()
    return sweep_of(**asked | {"warm_start.found": found})


def test_what_did_well_in_earlier_records_is_tried_first_at_the_same_points_in_every_arm(tmp_path):
    earlier(tmp_path / "was")
    sweep = warm(tmp_path / "was", seed=5)
    plain = sweep_of(search=SEARCH, budget={"trials": 6}, seed=5)
    scratch, masked = sweep.cells
    assert [p[LR] for p in scratch.points] == [p[LR] for p in masked.points]
    assert all(abs(np.log10(point[LR] / BEST_LR)) < 0.15 for point in masked.points[:2])
    assert masked.points[2:] == plain.cells[1].points[:4], "the design goes on as it was"
    assert [cell.digest for cell in sweep.cells] == [cell.digest for cell in plain.cells]


def test_no_arm_tries_fewer_points_where_the_design_meets_those_of_the_warm_start(tmp_path):
    earlier(tmp_path / "was")  # its design is the new one's too
    sweep = warm(tmp_path / "was", 5, budget={"trials": 12})
    assert {len(cell.points) for cell in sweep.cells} == {12}
    assert len({len({p[LR] for p in cell.points}) for cell in sweep.cells}) == 1


def test_every_surface_says_where_a_search_began(tmp_path):
    earlier(tmp_path / "was")
    sweep = warm(tmp_path / "was")
    of = f"{tmp_path / 'was'}: 24 trials of 2 studies"
    plan = "\n".join(DryRun(sweep).lines())
    assert "warm start: 2 points that did well in earlier records" in plan
    assert of in plan
    found = summarise(sweep, tmp_path / "new" / "records", 0.0)
    assert found["warm_start"]["found"]["said"] == [of]
    assert all(any(of in text for text in cell["caveats"]) for cell in found["cells"])
    assert not any("this target too" in text for c in found["cells"] for text in c["caveats"])


def test_labels_of_the_same_target_that_earlier_records_saw_are_a_caveat(tmp_path):
    earlier(tmp_path / "was", SOURCE.tree())
    cells = summarise(warm(tmp_path / "was"), tmp_path / "new" / "records", 0.0)["cells"]
    assert all(any("this target too" in text for text in cell["caveats"]) for cell in cells)


@pytest.mark.parametrize("edits", [{"finetune.split": {"seed": 1}}, {"pretrain.source": None}])
def test_records_whose_search_saw_who_is_tested_are_left_out(tmp_path, edits):
    if "pretrain.source" in edits:  # its encoders did
        earlier(tmp_path / "was", **{"trial.pretrain.source": SOURCE.tree()})
    else:  # people whom it validated on
        earlier(tmp_path / "was", SOURCE.tree())
    now = {} if "pretrain.source" in edits else {"trial.finetune.split": edits["finetune.split"]}
    sweep = warm(tmp_path / "was", **now)
    assert sweep.warm_start
    assert sweep.warm_start.found
    said = " ".join(sweep.warm_start.found.said)
    assert "it saw who is tested here" in said
    assert len(sweep.first) == (2 if "pretrain.source" in edits else 0), "from scratch saw nobody"


def test_a_file_of_points_stands_for_records_and_what_an_axis_has_not_is_of_the_design(tmp_path):
    (tmp_path / "mine.yaml").write_text(f"points: [{{{LR}: 4e-3, {RATIO}: 0.95}}]")
    sweep = warm(tmp_path / "mine.yaml")
    plain = sweep_of(search=SEARCH, budget={"trials": 6})
    assert plain.points is not None
    assert sweep.first == (plain.points[0] | {LR: 4e-3},)


def test_a_sampler_that_learns_begins_there_too(tmp_path):
    earlier(tmp_path / "was")
    one_arm: dict[str, Any] = {"compare": {"pretrain.task": [{"kind": "masked"}]}, "sampler": "tpe"}
    sweep = warm(tmp_path / "was", **one_arm)
    study = Study(sweep.cells[0], tmp_path / "new" / "records", [])
    jobs = [study.next_job() for _ in range(3)]
    assert [job and job.params for job in jobs[:2]] == list(sweep.first)
    assert jobs[2]
    assert jobs[2].params not in sweep.first


def test_a_search_that_goes_on_begins_where_it_first_began(tmp_path):
    found = {"points": [{LR: 4e-3}], "said": ["x"]}
    tree = {"search": {"a": 1}, "warm_start": {"records": ["y"]}}
    text = "search: {a: 1}\nwarm_start: {records: [y], found: {points: [{finetune.optim.lr: 4e-3}]"
    (tmp_path / "spec.yaml").write_text(text + ", said: [x]}}")
    expected = Prior(points=({LR: 4e-3},), said=("x",))
    assert found["points"] == list(expected.points)
    assert _found_before(tree, tmp_path / "spec.yaml") == expected
    assert _found_before(tree | {"search": {"a": 2}}, tmp_path / "spec.yaml") is None
    assert _found_before(tree, tmp_path / "none.yaml") is None


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        ({"sampler": "grid", "search": {RATIO: {"choice": [0.3, 0.5]}}}, "a grid is tried whole"),
        ({"budget": {"trials": 1}}, "points=2: there are 1 trials"),
    ],
)
def test_a_warm_start_that_means_nothing_is_refused(tmp_path, edits, says):
    with pytest.raises(SpecError, match=says):
        warm(tmp_path, **edits)


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(SpecError, match="neither a results folder with records/ nor a file"):
        warm(tmp_path / "none")
