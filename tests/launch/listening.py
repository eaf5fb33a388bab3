"""What processes of this machine listen on, from /proc alone."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LISTEN = "0A"


@dataclass(frozen=True)
class Listening:
    """One TCP port that a process listens on."""

    program: str
    address: str
    port: int

    @property
    def on_loopback(self) -> bool:
        return self.address.startswith("127.") or self.address in ("::1", "::ffff:127.0.0.1")


def listening(pids: set[int]) -> list[Listening]:
    """Ports that these processes listen on."""
    places = dict(_places())
    found = []
    for pid in pids:
        with suppress(OSError):
            folder = Path(f"/proc/{pid}")
            for handle in (folder / "fd").iterdir():
                with suppress(OSError):
                    inode = os.readlink(handle).removeprefix("socket:[").removesuffix("]")
                    if inode in places:
                        found.append(Listening(_name(folder), *places[inode]))
    return sorted(set(found), key=lambda one: (one.program, one.port))


def family(pid: int) -> set[int]:
    """A process and all that it, and what it started, has started."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _places() -> Iterator[tuple[str, tuple[str, int]]]:
    """Inode -> address and port of what is listened on."""
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTEN:
                address, _, port = words[1].rpartition(":")
                yield words[9], (_address(address), int(port, 16))


def _address(text: str) -> str:
    words = [struct.pack("=I", int(text[i : i + 8], 16)) for i in range(0, len(text), 8)]
    return socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, b"".join(words))


def _name(folder: Path) -> str:
    words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
    shown = next((w for w in words[1:4] if w.endswith(".py")), words[0])
    return Path(shown).name or words[0]
