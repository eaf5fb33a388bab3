"""How many trials run at once as nodes come and go, and what is asked of an autoscaler. No cluster
is started."""

import pytest

from citrus_ray.launch import slots as module
from citrus_ray.launch.cluster import Capacity, most
from citrus_ray.launch.slots import Nodes, Slots
from citrus_ray.spec import SpecError
from tests.launch.test_gpu import SHARED
from tests.small import PRETRAINED, sweep_of

NONE = Capacity(0, 0)


def test_trials_at_once_follow_the_nodes_that_are_up():
    slots = Slots(sweep_of(), Capacity(2, 0))
    counts = []
    for cpus in (2, 10, 1, 0):
        slots.resize(Capacity(cpus, 0))
        counts.append(slots.n)
    assert counts == [2, 10, 1, 1], "one waits for the first node, and asks for it by that"
    few = Slots(sweep_of(concurrency=3), Capacity(2, 0))
    few.resize(Capacity(10, 0))
    assert few.n == 3


def test_what_a_sweep_could_use_beyond_what_is_up_is_asked_for_as_far_as_the_cluster_may_grow():
    assert PRETRAINED.pretraining is not None
    slots = Slots(sweep_of(), Capacity(2, 0), Capacity(10, 0))
    assert slots.lacking(2, [], NONE) == []
    assert slots.lacking(5, [], NONE) == [{"CPU": 1}] * 3
    assert slots.lacking(500, [], NONE) == [{"CPU": 1}] * 8
    assert slots.lacking(1, [PRETRAINED.pretraining] * 3, NONE) == [{"CPU": 1}] * 2, (
        "a pre-training wants a CPU too"
    )
    assert slots.lacking(5, [], Capacity(1.8, 0)) == [{"CPU": 1}] * 4, (
        "what is free would take one of them in"
    )
    assert Slots(sweep_of(concurrency=3), Capacity(2, 0), Capacity(10, 0)).lacking(
        500, [], NONE
    ) == [{"CPU": 1}]
    assert Slots(sweep_of(), Capacity(2, 0)).lacking(500, [], NONE) == [], (
        "a cluster that does not grow"
    )


def test_a_sweep_with_gpus_asks_for_gpus():
    slots = Slots(sweep_of(**SHARED), Capacity(4, 0), Capacity(68, 4))  # a quarter of a GPU a trial
    assert slots.n == 1
    assert slots.lacking(6, [], NONE) == [{"CPU": 1, "GPU": 1}] * 2
    assert slots.lacking(600, [], NONE) == [{"CPU": 1, "GPU": 1}] * 4


def test_how_far_a_cluster_may_grow_is_told_by_its_file(monkeypatch):
    now = Capacity(4, 0)
    assert most(now) == now
    monkeypatch.setenv("CITRUS_MAX_CPUS", "68")
    monkeypatch.setenv("CITRUS_MAX_GPUS", "4")
    assert most(now) == Capacity(68, 4)
    assert most(Capacity(80, 0)) == Capacity(80, 4)
    monkeypatch.setenv("CITRUS_MAX_CPUS", "many")
    with pytest.raises(SpecError, match=r"\$CITRUS_MAX_CPUS: many: must be a whole number"):
        most(now)


def test_a_node_that_sits_out_is_named_once_and_its_cpus_are_held(monkeypatch):
    cpus = {"10.0.0.1": 2.0, "10.0.0.2": 1.0}
    held: list[dict[str, float]] = []
    said: list[str] = []
    monkeypatch.setattr(
        module, "capacity", lambda without: Capacity(sum(cpus[n] for n in cpus.keys() - without), 0)
    )
    monkeypatch.setattr(module, "placement_group", lambda bundles: held.extend(bundles))
    nodes = Nodes(Slots(sweep_of(), Capacity(3, 0)), said.append)
    assert nodes.do_without("10.0.0.1", "on node one: its disk is full")
    assert nodes.do_without("10.0.0.1", "on node one: its disk is full")
    assert said == ["on node one: its disk is full; it sits out, its work goes to other nodes"]
    assert sum(bundle["CPU"] for bundle in held) == pytest.approx(2)
    assert all("node:10.0.0.1" in bundle for bundle in held)
    assert not nodes.do_without("10.0.0.2", "on node two: its disk is full"), (
        "there is no other left"
    )
    assert len(said) == 1
