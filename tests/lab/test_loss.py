"""Machines die, hang and come back; the sweep ends with the records of one that nothing happened
to."""

import json
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.lab.hosts import Host
from tests.lab.conftest import Lab, assert_same, ended, members, say, tree_of

pytestmark = pytest.mark.lab
TRIAL = "ResourceTrainable.train"  # Ray's name for a process that runs our trials
PRETRAINING = "RayTrainWorker"


def fetched(made: Lab, name: str) -> Path:
    return made.laptop.home / "results" / name


def test_a_sweep_uses_every_host(cluster: Lab) -> None:
    tree = tree_of("wide")
    tree["compare"]["pretrain.task"] = [
        None
    ]  # a pre-training of two workers would leave one host for trials
    code, said = ended(cluster.start(tree))
    assert code == 0, said
    hosts = [row["host"] for row in members(fetched(cluster, "wide")).values()]
    assert set(hosts) == {"head", "worker1", "worker2"}
    say(f"wide: {len(hosts)} members on {', '.join(sorted(set(hosts)))}")


def test_a_sweep_from_the_laptop_outlives_the_laptop_and_equals_one_machine(
    cluster: Lab, alone: Path
) -> None:
    closed = cluster.start(tree_of("whole"))
    cluster.wait_for_records("whole", 1)
    os.killpg(closed.pid, 9)
    closed.communicate()
    say("whole: the laptop was closed, the same command looks in again")
    code, said = ended(cluster.start(tree_of("whole")))
    assert code == 0, said
    assert "looking in on job" in said
    out = fetched(cluster, "whole")
    assert (out / "report.html").is_file()
    assert_same(out, alone)
    assert re.fullmatch(r"[0-9a-f]{40}\+?", next(iter(members(out).values()))["commit"] or "")

    (digest,) = {row["encoder"] for row in members(out).values() if row["encoder"]}
    meta = json.loads((cluster.shared / "results" / "store" / digest / "meta.json").read_text())
    assert meta["workers"] == 2  # on hosts of one CPU each, so on two of them
    say("whole: its pre-training had two workers, on two hosts")
    assert (cluster.laptop.home / ".ray" / "auth_token").read_text() not in said


def test_another_spec_of_the_same_name_does_not_look_in(cluster: Lab) -> None:
    first = cluster.start(tree_of("named"))
    cluster.wait_for_records("named", 1)
    code, said = ended(cluster.start(tree_of("named", steps=301)))
    assert code == 2, said
    (line,) = [line for line in said.splitlines() if "with another spec or other flags" in line]
    say(line)
    (stop,) = re.findall(r"`(ray job stop \S+)`", line)  # one of the ways out that it names
    cluster.head.run(stop)
    code, said = ended(first)
    assert code == 1, said
    assert "JobStatus.STOPPED" in said or "STOPPED" in said


def test_a_worker_lost_in_a_fine_tune_costs_its_trial_only_and_joins_again(
    cluster: Lab, alone: Path
) -> None:
    running = cluster.start(tree_of("fine"))
    cluster.wait_for_records("fine", 1)
    name = cluster.worker_with(TRIAL).name
    before = {path: path.stat().st_mtime_ns for path in cluster.records("fine")}
    cluster.hosts[name].cut_power()
    say(f"fine: power of {name} cut in a fine-tune, with {len(before)} trials recorded")
    code, said = ended(running)
    assert code == 0, said
    assert_same(fetched(cluster, "fine"), alone)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    cluster.power_on(name)
    cluster.wait_for_nodes(3)
    say(f"fine: {name} has power again and is a node again")


def test_a_worker_lost_in_a_pretraining_leaves_the_same_records(cluster: Lab, alone: Path) -> None:
    fresh_store(cluster)
    running = cluster.start(tree_of("pre"))
    cluster.worker_with(PRETRAINING)
    time.sleep(5)
    name = cluster.worker_with(PRETRAINING).name
    cluster.hosts[name].cut_power()
    say(f"pre: power of {name} cut in a pre-training on it")
    code, said = ended(running)
    cluster.power_on(name)
    assert code == 0, said
    assert_same(fetched(cluster, "pre"), alone)


def test_the_head_lost_in_a_sweep_is_continued_by_the_same_command(
    cluster: Lab, alone: Path
) -> None:
    running = cluster.start(tree_of("head"))
    cluster.wait_for_records("head", 3)
    before = {path: path.stat().st_mtime_ns for path in cluster.records("head")}
    cluster.head.cut_power()
    say(f"head: power of the head cut, with {len(before)} trials recorded")
    code, said = ended(running)
    assert code == 130, said
    assert "run the same command to look in again" in said
    cluster.power_on("head")
    cluster.up()
    code, said = ended(cluster.start(tree_of("head")))
    assert code == 0, said
    assert_same(fetched(cluster, "head"), alone)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("name", "take", "give_back"),
    [("cut", Host.unplug, Host.plug_in), ("hung", Host.freeze, Host.thaw)],
    ids=["its cable is out", "its processes are stopped"],
)
def test_a_node_that_is_away_for_a_minute_holds_nothing_up(
    cluster: Lab,
    alone: Path,
    name: str,
    take: Callable[[Host], None],
    give_back: Callable[[Host], None],
) -> None:
    running = cluster.start(tree_of(name))
    cluster.wait_for_records(name, 1)
    worker = cluster.worker_with(TRIAL)
    n = len(cluster.records(name))
    take(worker)
    say(f"{name}: {worker.name} is away, with a trial on it, {n} recorded")
    back = time.monotonic() + 60
    cluster.wait_for_records(name, n + 1)  # the other nodes go on meanwhile
    time.sleep(max(0.0, back - time.monotonic()))
    give_back(worker)
    say(f"{name}: back again, {len(cluster.records(name))} recorded")
    code, said = ended(running)
    assert code == 0, said
    assert_same(fetched(cluster, name), alone)


def test_a_slow_link_changes_no_number(cluster: Lab, alone: Path) -> None:
    fresh_store(cluster)
    with cluster.worker2.slow_cable():
        asked = time.monotonic()
        socket.create_connection((cluster.worker2.address, 22), timeout=60).close()
        started = time.monotonic()
        say(f"slow: worker2 answers after {1000 * (started - asked):.0f} ms")
        code, said = ended(cluster.start(tree_of("slow")))
        say(f"slow: done after {time.monotonic() - started:.0f} s")
    assert code == 0, said
    assert_same(fetched(cluster, "slow"), alone)


def fresh_store(made: Lab) -> None:
    """So that the encoder is computed again."""
    made.head.run("rm -rf ~/shared/results/store")
