"""Digests, first weights and first losses are those of the version that the files here come
from."""

import json

import pytest

from citrus_ray.experiment.sweep import load_sweep
from citrus_ray.spec import SpecError
from tests.golden.numbers import DATA, HERE, SWEEPS, digests_of, first_steps

DIGESTS = json.loads((HERE / "digests.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", DIGESTS)
def test_the_digests_of_a_shipped_sweep_do_not_move(name, monkeypatch):
    monkeypatch.setenv("CITRUS_DATA", str(DATA))
    sweep = load_sweep(SWEEPS / name)
    try:
        found = digests_of(sweep)
    except SpecError as err:
        if DATA.is_dir():
            raise
        pytest.skip(f"its digests hold those of recordings: {err}")
    assert found == DIGESTS[name]


def test_every_shipped_sweep_has_its_digests_on_record():
    assert {str(path.relative_to(SWEEPS)) for path in SWEEPS.rglob("*.yaml")} == set(DIGESTS)


def test_first_weights_losses_and_gradients_of_every_network_and_task_do_not_move():
    known = json.loads((HERE / "first_steps.json").read_text())
    found = dict(first_steps())
    assert found.keys() == known.keys()
    moved = {n: (v, known[n]) for n, v in found.items() if v != pytest.approx(known[n], rel=1e-3)}
    assert not moved
