"""Three hosts and a laptop for the length of the session, and the shipped cluster file filled in
for them."""

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.lab.hosts import ROOT, Host, boot, lab

SMALL = "ray start --num-cpus=1 --object-store-memory=100000000 --disable-usage-stats"
RUN = f"python {ROOT}/sweeps/run.py"
# generous: a machine that others use gives a sweep of two minutes a tenth of itself
UP_S = 480.0
SWEEP_S = 1200.0
TOLERANCE = 1e-6
NODES = (
    "import ray, json; ray.init('auto', logging_level='ERROR');"
    " print('NODES', json.dumps([n['NodeManagerAddress'] for n in ray.nodes() if n['Alive']]))"
)


@dataclass
class Lab:
    hosts: dict[str, Host]

    def __getattr__(self, name: str) -> Host:
        return self.hosts[name]

    @property
    def nodes(self) -> list[Host]:
        return [self.hosts[name] for name in ("head", "worker1", "worker2")]

    @property
    def shared(self) -> Path:
        """The shared folder, as the lab sees it. On every host it is ~/shared."""
        return self.laptop.folder / "shared"

    def up(self) -> None:
        started = time.monotonic()
        self.laptop.run("ray up -y cluster.yaml", UP_S)
        self.wait_for_nodes(3)
        say(f"`ray up`: 3 nodes after {time.monotonic() - started:.0f} s")

    def down(self) -> None:
        self.laptop.run("ray down -y cluster.yaml", UP_S)

    def power_on(self, name: str) -> None:
        off = self.hosts[name]
        self.hosts[name] = boot(off.folder, name, off.address)

    def mend(self) -> None:
        """What a test that failed left broken."""
        for name, host in list(self.hosts.items()):
            if host.process.poll() is not None:
                self.power_on(name)
            else:
                host.plug_in()
                host.thaw()

    def addresses(self) -> list[str]:
        """Of the nodes that are alive, as the head sees it."""
        said = self.head.run(f'python -c "{NODES}" 2>/dev/null', check=False).stdout
        lines = [
            line.removeprefix("NODES") for line in said.splitlines() if line.startswith("NODES")
        ]
        return sorted(json.loads(lines[0])) if lines else []

    def wait_for_nodes(self, n: int) -> None:
        wait(lambda: len(self.addresses()) == n, f"{n} nodes")

    # ---- sweeps ----

    def start(self, tree: dict[str, Any], flags: str = "") -> subprocess.Popen[str]:
        """The sweep command on the laptop, not waited for."""
        spec = self.laptop.home / f"{tree['name']}.yaml"
        spec.write_text(
            "# Does it last? A sweep of the lab.\n" + yaml.safe_dump(tree, sort_keys=False)
        )
        return self.laptop.start(f"{RUN} {spec.name} --cluster cluster.yaml {flags}")

    def records(self, name: str) -> list[Path]:
        return sorted((self.shared / "results" / name / "records").glob("*.jsonl"))

    def wait_for_records(self, name: str, n: int) -> None:
        wait(lambda: len(self.records(name)) >= n, f"{n} records of {name}")

    def worker_with(self, process: str) -> Host:
        """The first worker on which such a process of Ray is seen."""
        workers = [self.worker1, self.worker2]
        wait(lambda: any(host.processes(process) for host in workers), f"{process} on a worker")
        return next(host for host in workers if host.processes(process))


def say(what: str) -> None:
    """For the log of `make lab`: what was done to which host, and what came of it."""
    print(f"\n  {time.strftime('%H:%M:%S')} {what}", flush=True)


def wait(true: Callable[[], Any], what: str, seconds: float = 600.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}"
        time.sleep(1)


def ended(process: subprocess.Popen[str], seconds: float = SWEEP_S) -> tuple[int, str]:
    """Exit code and what was said, within a time limit."""
    try:
        out, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        raise AssertionError(f"not done after {seconds:g} s:\n{process.communicate()[0]}") from None
    return process.returncode, out


def members(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Every member's line by phase and digest."""
    rows = [
        json.loads(line)
        for path in sorted((folder / "records").glob("*.jsonl"))
        for line in path.open()
    ]
    return {(row["phase"], row["digest"]): row for row in rows}


def assert_same(found: Path, expected: Path) -> None:
    """The same members, by digest, with the same metrics, to 1e-6: two workers may add gradients in
    another order."""
    here, there = members(found), members(expected)
    assert here.keys() == there.keys()
    assert all(row["status"] == "ok" for row in here.values()), [
        row["reason"] for row in here.values()
    ]
    for key, row in here.items():
        assert row["metrics"] == pytest.approx(there[key]["metrics"], abs=TOLERANCE), key
    apart = max(
        abs(row["metrics"][m] - there[key]["metrics"][m])
        for key, row in here.items()
        for m in row["metrics"]
    )
    hosts = Counter(row["host"] for row in here.values())
    say(
        f"{found.name}: {len(here)} members equal those of one machine (largest difference "
        f"{apart:.1g}); {dict(hosts)}"
    )


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
    # the hosts see what is installed on this machine, and reach no package index
    tree["setup_commands"] = [line for line in tree["setup_commands"] if "citrusrc" in line]
    (made.laptop.home / "cluster.yaml").write_text(yaml.safe_dump(tree))
    key = made.laptop.home / ".ssh" / "key"
    key.write_text((made.laptop.folder / "key").read_text())
    key.chmod(0o600)
    made.laptop.run("python -m citrus_ray.launch.token")


@pytest.fixture
def cluster(machines: Lab) -> Lab:
    """The cluster of three nodes, whole again whatever the test before broke."""
    machines.mend()
    if len(machines.addresses()) < 3:
        machines.up()
    return machines


def tree_of(name: str, steps: int = 300, epochs: int = 40) -> dict[str, Any]:
    """A sweep whose trials are the same in whichever order they run, with a pre-training that spans
    two hosts."""
    return {
        "name": name,
        "sampler": "grid",
        "trial": {
            "model": {"kind": "conv", "dim": 16},
            "pretrain": {
                "source": {"kind": "synthetic", "seed": 1, "n_subjects": 6},
                "task": None,
                "epochs": epochs,
                "workers": 2,
            },
            "finetune": {
                "target": {"kind": "synthetic", "seed": 2, "n_subjects": 8},
                "labels": {"per_class": 4},
                "steps": steps,
                "rounds": 3,
            },
        },
        "compare": {"pretrain.task": [None, {"kind": "masked"}]},
        "repeat": {"seed": [0, 1]},
        "search": {"finetune.optim.lr": {"choice": [0.001, 0.002, 0.003, 0.004, 0.006]}},
        "budget": {"trials": 5},
        "final": {"rounds": 2},
    }


@pytest.fixture(scope="session")
def alone(machines: Lab) -> Path:
    """The results of that sweep on one machine without any cluster, to compare with."""
    spec = machines.laptop.home / "alone.yaml"
    spec.write_text("# alone\n" + yaml.safe_dump(tree_of("alone"), sort_keys=False))
    started = time.monotonic()
    machines.laptop.run(f"env -u RAY_AUTH_MODE {RUN} alone.yaml --out alone/alone", SWEEP_S)
    say(f"the sweep on one machine without a cluster: {time.monotonic() - started:.0f} s")
    return machines.laptop.home / "alone" / "alone"
