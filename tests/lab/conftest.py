"""Three hosts and a laptop for the length of the session, and the shipped cluster file filled in for them."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "cluster" / "lab"))
from hosts import ROOT, Host, lab

SMALL = "ray start --num-cpus=1 --object-store-memory=100000000 --disable-usage-stats"
UP_S = 240.0


@dataclass
class Lab:
    hosts: dict[str, Host]

    def __getattr__(self, name: str) -> Host:
        return self.hosts[name]

    @property
    def shared(self) -> Path:
        """The shared folder, as the lab sees it. On every host it is ~/shared."""
        return self.laptop.folder / "shared"

    def up(self) -> None:
        self.laptop.run("ray up -y cluster.yaml", UP_S)

    def down(self) -> None:
        self.laptop.run("ray down -y cluster.yaml", UP_S)


@pytest.fixture(scope="session")
def machines() -> Iterator[Lab]:
    with lab(Path(os.environ["CITRUS_LAB"])) as hosts:
        made = Lab(hosts)
        prepare(made)
        yield made


def prepare(made: Lab) -> None:
    """What a person does once: a token, and the cluster file with its placeholders replaced."""
    home = os.path.expanduser("~root")
    given = {
        "<HEAD_IP>": made.head.address,
        "<WORKER_IP_1>": made.worker1.address,
        "<WORKER_IP_2>": made.worker2.address,
        "<SSH_USER>": "root",
        "<SSH_KEY>": "~/.ssh/key",
        "<SHARED_FOLDER>": f"{home}/shared",
        "<DATA_FOLDER>": f"{home}/shared/data",
    }
    text = (ROOT / "cluster" / "onprem.yaml").read_text()
    for placeholder, value in given.items():
        text = text.replace(placeholder, value)
    tree = yaml.safe_load(text.replace("ray start", SMALL))
    del tree["setup_commands"]  # the hosts see what is installed on this machine, and reach no package index
    (made.laptop.home / "cluster.yaml").write_text(yaml.safe_dump(tree))
    key = made.laptop.home / ".ssh" / "key"
    key.write_text((made.laptop.folder / "key").read_text())
    key.chmod(0o600)
    made.laptop.run("python -m citrus_ray.launch.token")


@pytest.fixture
def cluster(machines: Lab) -> Iterator[Lab]:
    """A cluster of three nodes."""
    machines.up()
    yield machines
    machines.down()
