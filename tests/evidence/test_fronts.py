"""The front of several objectives, from a folder alone."""

import pytest

from citrus_ray import records
from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.evidence.fronts import fronts
from citrus_ray.records import write_text
from tests.evidence.test_objectives import EACH, FEW, LABELS
from tests.evidence.test_summary import LR, VAL
from tests.small import record_of, sweep_of


@pytest.fixture
def folder(tmp_path):
    """Trials whose second objective falls as the first rises, and one that both others beat."""
    sweep = sweep_of(**EACH | {"compare": {"pretrain.task": [None]}})
    (cell,) = sweep.cells
    for i, (few, many) in enumerate([(0.5, 0.9), (0.6, 0.8), (0.5, 0.7)]):
        params = {LR: 0.1 * (i + 1)}
        fields = {"trial": str(i), "phase": "search", "params": params}
        rows = [
            record_of(
                cell,
                repeat,
                {VAL: few if repeat[LABELS] == FEW else many},
                digest=member.digest(),
                **fields,
            )
            for repeat, member in cell.members(params)
        ]
        records.write(tmp_path / "records", str(i), rows)
    write_text(tmp_path / "spec.yaml", sweep.model_dump_json(by_alias=True))
    return tmp_path


def test_the_trials_that_none_beats_are_found(folder):
    found = read_evidence([folder])
    (front,) = fronts(found.cells)
    assert [trial.scores for trial in front.best] == [
        pytest.approx((0.6, 0.8)),
        pytest.approx((0.5, 0.9)),
    ]
    assert len(front.trials) == 3


def test_a_sweep_with_one_objective_has_none(folder):
    path = folder / "spec.yaml"
    path.write_text(path.read_text().replace(f'"each":"{LABELS}"', '"each":null'))
    assert fronts(read_evidence([folder]).cells) == []
