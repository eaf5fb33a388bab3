"""Hosts on one Linux machine: a network, a process tree and mounts each, joined by a bridge.
`run` ends them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.lab.slow import TAP

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NETWORK = "10.77.0"
GATEWAY = f"{NETWORK}.254"
NAMES = ("laptop", "head", "worker1", "worker2")
READY_S = 30.0


@dataclass
class Host:
    """A machine of the lab. Its processes see no others, and die with it."""

    name: str
    address: str
    folder: Path  # of the lab
    process: subprocess.Popen[str]
    pid: int  # of its first process, as the lab sees it

    @property
    def home(self) -> Path:
        """Its home, as the lab sees it."""
        return self.folder / self.name / "home"

    @property
    def link(self) -> str:
        """The bridge's end of its cable."""
        return f"to-{self.name}"

    def run(
        self, command: str, seconds: float = 120.0, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """A command in a login on this host, with what it said; it is ended with its children
        when time is up."""
        process = self.start(command)
        try:
            out, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, _ = process.communicate()
            raise AssertionError(
                f"{self.name}: not done after {seconds:g} s: {command}\n{out}"
            ) from None
        if check and process.returncode:
            raise AssertionError(f"{self.name}: exit {process.returncode}: {command}\n{out}")
        return subprocess.CompletedProcess(command, process.returncode, out)

    def start(self, command: str) -> subprocess.Popen[str]:
        """The same, not waited for."""
        home = os.path.expanduser("~root")
        clean = [
            "env",
            "-i",
            f"HOME={home}",
            "TERM=dumb",
            "LANG=C.UTF-8",
            f"PATH={os.environ['PATH']}",
        ]
        login = [*clean, "bash", "-c", f"cd; . ~/.bashrc; {command}"]
        return subprocess.Popen(
            ["nsenter", "--all", f"--target={self.pid}", "--", *login],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def processes(self, name: str) -> list[str]:
        """Command lines on this host that hold `name`."""
        found = self.run("ps -eo args=").stdout.splitlines()
        return [line for line in found if name in line and "ps -eo" not in line]

    def unplug(self) -> None:
        call("ip", "link", "set", self.link, "down")

    def plug_in(self) -> None:
        call("ip", "link", "set", self.link, "up")

    @contextmanager
    def slow_cable(self) -> Iterator[None]:
        """Frames to and from it take a while, and some are lost (`slow.py`)."""
        wire = subprocess.Popen(
            [sys.executable, str(HERE / "slow.py"), self.link], stdout=subprocess.PIPE, text=True
        )
        assert wire.stdout is not None
        try:
            said = wire.stdout.readline()
            assert said == "ready\n", f"no slow cable for {self.name}: {said}"
            call("ip", "link", "set", self.link, "nomaster")
            call("ip", "link", "set", TAP, "master", "lab")
            call("ip", "link", "set", TAP, "up")
            yield
        finally:
            wire.kill()
            wire.wait()
            call("ip", "link", "set", self.link, "master", "lab")

    def cut_power(self) -> None:
        """Every process of it ends at once, and its cable with them."""
        self.process.kill()
        self.process.wait()
        subprocess.run(
            ["ip", "link", "delete", self.link], capture_output=True
        )  # the kernel takes its time over it

    def freeze(self) -> None:
        """Nothing on it moves, as on a machine that swaps."""
        self.run("kill -STOP -1", check=False)

    def thaw(self) -> None:
        self.run("kill -CONT -1", check=False)


@contextmanager
def lab(folder: Path) -> Iterator[dict[str, Host]]:
    """Laptop, head and two workers."""
    assert_own_namespaces()
    addresses = {name: f"{NETWORK}.{i}" for i, name in enumerate(NAMES, start=1)}
    (folder / "hosts").write_text(
        "127.0.0.1 localhost\n" + "".join(f"{ip} {n}\n" for n, ip in addresses.items())
    )
    call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key"))
    call("ip", "link", "set", "lo", "up")
    call("ip", "link", "add", "lab", "type", "bridge")
    call("ip", "address", "add", f"{GATEWAY}/24", "dev", "lab")
    call("ip", "link", "set", "lab", "up")
    hosts: dict[str, Host] = {}
    try:
        for name, address in addresses.items():
            hosts[name] = boot(folder, name, address)
        yield hosts
    finally:
        for host in hosts.values():
            if host.process.poll() is None:
                host.cut_power()
        call("ip", "link", "delete", "lab")


def assert_own_namespaces() -> None:
    """`ray stop` and links would hit the machine itself anywhere else."""
    links = subprocess.check_output(["ip", "-o", "link"], text=True).splitlines()
    if len(links) > 1 or "CITRUS_LAB" not in os.environ:
        raise RuntimeError("the lab runs in namespaces of its own only; start it with `make lab`")


def boot(folder: Path, name: str, address: str) -> Host:
    home = folder / name / "home"
    home.mkdir(parents=True, exist_ok=True)
    # of this machine the hosts see the interpreter, what is installed, and this project
    path = f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"
    if not (
        home / ".bashrc"
    ).exists():  # `ray up` writes into it, which a machine that comes back still has
        # hosts share this machine's cores: a trial that is nicer than what else runs here would get
        # next to nothing
        (home / ".bashrc").write_text(
            f"export PATH={path} PYTHONPATH={ROOT} OMP_NUM_THREADS=1 RAY_worker_niceness=0\n"
        )
    spaces = [
        "--net",
        "--mount",
        "--pid",
        "--ipc",
        "--uts",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]
    keep = [str(ROOT), sys.prefix, sys.base_prefix]
    process = subprocess.Popen(
        [
            "unshare",
            *spaces,
            "bash",
            str(HERE / "host.sh"),
            str(folder),
            name,
            address,
            GATEWAY,
            *keep,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    host = Host(name, address, folder, process, first_child(process.pid))
    call(
        "ip",
        "link",
        "add",
        host.link,
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        str(host.pid),
    )
    call("ip", "link", "set", host.link, "master", "lab")
    call("ip", "link", "set", host.link, "up")
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said == "ready\n", f"{name} did not come up: {said}"
    if os.readlink(f"/proc/{host.pid}/ns/pid") == os.readlink("/proc/self/ns/pid"):
        raise RuntimeError(f"{name} sees the processes of others, which `ray stop` there would end")
    return host


def first_child(pid: int) -> int:
    """What `unshare --fork` started."""
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.02)
    raise AssertionError(f"process {pid} started nothing within {READY_S:g} s")


def call(*words: str) -> None:
    subprocess.run(words, check=True)
