"""Sweeps on a cluster that `ray up` started, from the laptop: carry code and spec over, start or
look in, bring results back.

Only Ray's own commands over ssh are used: they work for every provider, and nothing of the cluster
is open to the net.
"""

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from citrus_ray import records
from citrus_ray.launch.cluster_file import unfilled
from citrus_ray.launch.job import ENDED
from citrus_ray.spec import refuse

PACKAGE = Path(__file__).resolve().parents[1]


class Unreachable(Exception):  # noqa: N818  (the cluster is, and its sweep may be well)
    """The connection to the cluster was not made, or broke."""


@dataclass(frozen=True)
class Remote:
    """A sweep's folder on the head of the cluster that `file` describes."""

    file: Path
    name: str

    @property
    def folder(self) -> str:
        return f"~/citrus_sweeps/{self.name}"

    def run(self, text: str, flags: list[str]) -> int:
        """Start the sweep, or look in on it, until it ends; its exit code."""
        self._ray("exec", f"mkdir -p {self.folder}/code", quiet=True)
        with bundle(text) as code:
            self._ray("rsync-up", f"{code}/", f"{self.folder}/code/", quiet=True)
        commit = f"CITRUS_COMMIT={shlex.quote(records.commit() or '')} " if records.commit() else ""
        look = shlex.join(["-m", "citrus_ray.launch.job", self.name, *flags])
        self._ray("exec", f"cd {self.folder}/code && {commit}python {look}")
        with tempfile.TemporaryDirectory() as scratch:
            self._ray("rsync-down", f"{self.folder}/code/{ENDED}", f"{scratch}/{ENDED}", quiet=True)
            return int(json.loads((Path(scratch) / ENDED).read_text())["exit_code"])

    def fetch(self, out: Path) -> None:
        """Records, summary and report, as they are now."""
        self._ray("rsync-down", f"{self.folder}/results/", f"{out}/", quiet=True)

    def _ray(self, verb: str, *words: str, quiet: bool = False) -> None:
        call = [sys.executable, "-m", "ray.scripts.scripts", verb, str(self.file), *words]
        said, both = subprocess.PIPE if quiet else None, subprocess.STDOUT
        done = subprocess.run(call, stdin=subprocess.DEVNULL, stdout=said, stderr=both, text=True)
        if done.returncode:
            last = [line for line in (done.stdout or "").splitlines() if line.strip()][-3:]
            raise Unreachable("\n  ".join([f"`ray {verb}` failed on {self.file}", *last]))


def check(file: Path) -> None:
    """Refuse a file that is not there or not filled in, before anything is carried anywhere."""
    if not file.is_file():
        way_out = "give one as cluster/onprem.yaml"
        raise refuse(f"{file}: there is no such file; {way_out}", "--cluster")
    if words := unfilled(file):
        what = f"still to be replaced: {', '.join(words)}; its head explains each"
        raise refuse(f"{file}: {what}", "--cluster")


@contextmanager
def bundle(text: str) -> Iterator[Path]:
    """This package and the spec as it is to run, in a folder of their own."""
    with tempfile.TemporaryDirectory(prefix="citrus-code-") as scratch:
        folder = Path(scratch) / "code"  # rsync carries its mode over; the one around it is closed
        folder.mkdir()
        no_bytecode = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=no_bytecode)
        (folder / "spec.yaml").write_text(text)
        yield folder
