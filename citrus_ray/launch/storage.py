"""Storage that all nodes of a cluster must share: checked before a sweep starts."""

import os
import uuid
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from citrus_ray.launch.runner import WAY_OUT
from citrus_ray.spec import Problem, SpecError
from citrus_ray.store import open_storage

ANSWER_S = 90.0  # a node starts a process and imports this; a slow one takes half a minute


@ray.remote(num_cpus=0, max_retries=0)  # type: ignore[untyped-decorator]
def visit(places: dict[str, str], probe: str, mine: str) -> dict[str, str]:
    """What is wrong with each place as this node sees it; where nothing is, a file `mine` is left
    there."""
    wrong = {}
    for key, place in places.items():
        files = open_storage(place)
        try:
            if files.exists(probe):
                files.write(mine, b"seen")
            else:
                wrong[key] = "is another folder there"
        except OSError as err:
            wrong[key] = f"cannot be written there: {_reason(err)}"
    return wrong


def check_shared(places: dict[str, str]) -> None:
    """Refuse `places`, by the option that sets them, unless every node finds the file written here,
    and writes one back."""
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    if len(nodes) < 2:
        return
    probe = f".probe-{uuid.uuid4().hex}"
    names = {node: f"{probe}-{i}" for i, node in enumerate(nodes)}
    try:
        problems = _written_here(places, probe) or list(_seen_there(places, probe, nodes, names))
    finally:
        _clean(places, [probe, *names.values()])
    if problems:
        raise SpecError(problems)


def _written_here(places: dict[str, str], probe: str) -> list[Problem]:
    problems = []
    for key, place in places.items():
        try:
            open_storage(place).write(probe, b"here")
        except OSError as err:
            problems.append(Problem(key, f"{place}: cannot be written: {_reason(err)}"))
    return problems


def _seen_there(
    places: dict[str, str], probe: str, nodes: dict[str, str], names: dict[str, str]
) -> Any:
    asked = {}
    for node in nodes:
        there = visit.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
        asked[node] = there.remote(places, probe, names[node])
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=ANSWER_S)
    for node, ref in asked.items():
        try:
            wrong = ray.get(ref, timeout=0.1)
        except ray.exceptions.RayError as err:
            what = f"node {nodes[node]} did not answer: {type(err).__name__}"
            yield Problem("--address", f"{what}; take it out or mend it")
            continue
        for key, place in places.items():
            if key not in wrong and not open_storage(place).exists(names[node]):
                wrong[key] = "is another folder there"
        yield from (
            Problem(key, f"{places[key]}: on node {nodes[node]}: {what}; {WAY_OUT}")
            for key, what in wrong.items()
        )


def _clean(places: dict[str, str], names: list[str]) -> None:
    for place in places.values():
        for name in names:
            try:
                open_storage(place).delete(name)
            except OSError:  # it could not be written either
                continue


def _reason(err: OSError) -> str:
    return os.strerror(err.errno) if err.errno else str(err).splitlines()[0]
