"""Damaged recordings: where a format has a checksum, or its folder a seal, no other sample is read.

Formats with checksums of their own are damaged without a seal, all others under one.
"""

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from citrus_ray.data.sources.files import Files
from citrus_ray.data.tools.seal import seal
from citrus_ray.spec import SpecError, validate
from tests.data.test_formats_fuzz import HEADS, MATLAB, WRITERS, noise
from tests.fuzz.attack import DAMAGE, Attack, Verdict, tried

SFREQ = 50.0
CHECKED = ("a.npz", "packed.npz", "a.dat", "b_raw.fif.gz")


def _packed_npz(path: Path, x: np.ndarray) -> None:
    np.savez_compressed(path, x=x, sfreq=SFREQ, ch_names=np.array(["a", "b"]))


def _packed_fif(path: Path, x: np.ndarray) -> None:
    import mne

    info = mne.create_info(len(x), SFREQ, "eeg")
    mne.io.RawArray(x * 1e-6, info, verbose="ERROR").save(path, overwrite=True, verbose="ERROR")


ALL: dict[str, Callable[[Path, np.ndarray], None]] = {
    **WRITERS,
    "packed.npz": _packed_npz,
    "b_raw.fif.gz": _packed_fif,
}


class Ground:
    """A folder a recording of each format, undamaged, and what is read from it."""

    def __init__(self, home: Path) -> None:
        self.home, self.right = home, dict[str, np.ndarray]()
        for name, write in ALL.items():
            folder = home / "whole" / name
            folder.mkdir(parents=True)
            write(folder / name, noise())
            self.right[name] = _read(folder, name)

    def attack(self, name: str, how: str, seed: int) -> Attack:
        rng = random.Random(f"{name} {how} {seed}")
        folder = self.home / f"at{seed}"
        shutil.copytree(self.home / "whole" / name, folder)
        try:
            # a sum, as WFDB's, is the same of samples in another order
            own = name in CHECKED and (name, how) != ("a.dat", "blocks swapped")
            if not own:
                seal(folder)
            path = folder / name
            stat = path.stat()
            content = path.read_bytes()
            path.write_bytes(DAMAGE[how](content, rng))
            # a disk that lost a bit changes no time; scipy's reader, compiled, may end the process
            if path.stat().st_size == stat.st_size and name not in MATLAB and rng.random() < 0.3:
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            what = "checksum" if own else "seal"
            return tried(f"{name} ({what})", lambda: self._seen(folder, name))
        finally:
            shutil.rmtree(folder)

    def _seen(self, folder: Path, name: str) -> tuple[Verdict, str]:
        try:
            found = _read(folder, name)
        except SpecError as err:
            named = all(str(folder) in str(p) or "no window" in p.message for p in err.problems)
            return ("said" if named else "silent"), str(err)
        same = found.shape == self.right[name].shape and np.array_equal(found, self.right[name])
        return ("harmless", "") if same else ("silent", f"{found.shape} other samples")


def _read(folder: Path, name: str) -> np.ndarray:
    spec: dict[str, Any] = {"kind": "files", "root": str(folder), "pattern": HEADS.get(name, name)}
    spec |= {"seconds": 1.0, "sfreq": SFREQ, "normalize": "none"}
    source = validate(Files, spec)
    source.digest()
    return np.array(source.prepare().x)


def attacks(n: int, seed: int = 0) -> Iterator[Attack]:
    """`n` attacks, on each format and in each way in turn."""
    pairs = [(name, how) for how in DAMAGE for name in ALL]
    with tempfile.TemporaryDirectory() as home:
        ground = Ground(Path(home))
        for i in range(seed, seed + n):
            name, how = pairs[i % len(pairs)]
            yield ground.attack(name, how, i)
