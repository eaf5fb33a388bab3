"""Storage that cannot hold the results is one clear error, before anything starts or in the trial
that meets it."""

from pathlib import Path

import pytest

from tests.lab.conftest import RUN, Lab, assert_same, ended, members, say, tree_of

pytestmark = pytest.mark.lab
ON_HEAD = f". ~/.citrusrc; cd ~/citrus_sweeps && {RUN} whole.yaml --address auto"


@pytest.fixture(autouse=True)
def _spec(cluster: Lab) -> None:
    import yaml

    (cluster.head.home / "citrus_sweeps").mkdir(exist_ok=True)
    (cluster.head.home / "citrus_sweeps" / "whole.yaml").write_text(
        yaml.safe_dump(tree_of("whole"))
    )


def test_a_folder_that_is_not_shared_is_refused_with_the_nodes_that_lack_it(cluster: Lab) -> None:
    done = cluster.head.run(f"{ON_HEAD} --out /tmp/own/whole", 240, check=False)
    assert done.returncode == 2, done.stdout
    for worker in (cluster.worker1, cluster.worker2):
        assert (
            f"--out: /tmp/own/whole: on node {worker.address}: is another folder there"
            in done.stdout
        )
    assert "nothing was started" in done.stdout


def test_a_full_disk_of_results_is_refused_before_anything_starts(cluster: Lab) -> None:
    cluster.head.run(
        "mkdir -p ~/full && mount -t tmpfs -o size=64k tmpfs ~/full && mkdir ~/full/whole"
    )
    try:
        cluster.head.run("head -c 200k /dev/zero > ~/full/fill", check=False)
        done = cluster.head.run(f"{ON_HEAD} --out ~/full/whole", 240, check=False)
    finally:
        cluster.head.run("umount ~/full")
    assert done.returncode == 2, done.stdout
    assert "cannot be written: No space left on device" in done.stdout
    assert "nothing was started" in done.stdout


def test_a_node_whose_disk_is_full_says_so_and_sits_out_and_the_others_do_its_trials(
    cluster: Lab, alone: Path
) -> None:
    cache = "~/.cache/citrus_ray"
    cluster.worker1.run(
        f"rm -rf {cache}; mkdir -p {cache} && mount -t tmpfs -o size=64k tmpfs {cache}"
    )
    try:
        code, said = ended(cluster.start(tree_of("full")))
    finally:
        cluster.worker1.run(f"umount -l {cache}")
    assert code == 0, said
    (line,) = [line for line in said.splitlines() if "sits out" in line]
    say(line)
    assert "on node worker1: cache folder" in line
    assert "No space left on device" in line
    out = cluster.laptop.home / "results" / "full"
    assert {row["host"] for row in members(out).values()} == {"head", "worker2"}
    assert_same(out, alone)
