"""Files of a store, and prepared windows, that are damaged or odd: named, set aside, made again."""

import json
import os
import random
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from citrus_ray.cli.citrus import main as citrus
from citrus_ray.data.windowing import cache
from citrus_ray.records import now
from citrus_ray.store import checkpoint, open_storage
from citrus_ray.store.checkpoint import CheckpointError
from citrus_ray.store.entries import ASIDE
from citrus_ray.store.leases import Leases, _here
from tests.fuzz.attack import DAMAGE, Attack, Verdict, tried
from tests.small import SOURCE

META = {
    "history": [{"val/loss": 0.5, "seconds": 1.0}],
    "pretrain": {"task": {"kind": "masked"}, "source": {"kind": "synthetic", "seed": 1}},
    "model": {"kind": "conv"},
    "seconds": 3.0,
    "workers": 1,
    "finished": now(),
}
WEIGHTS = {"w": torch.arange(400.0)}
ONE, TWO = "0123456789abcdef", "fedcba9876543210"
ODD: tuple[bytes, ...] = (
    b"",
    b"[]",
    b"null",
    b"3",
    b'{"sha256": 3}',
    b'{"sha256": "a", "history": 3}',
    b"[" * 50_000,
)
ODD += (b'{"sha256": "a", "history": [{"val/loss": "low"}], "pretrain": [], "model": 1}',)
Harm = Callable[[Path, random.Random], None]


def _damaged(pattern: str, how: Callable[[bytes, random.Random], bytes]) -> Harm:
    def harm(folder: Path, rng: random.Random) -> None:
        path = rng.choice(sorted(folder.glob(pattern)))
        path.write_bytes(how(path.read_bytes(), rng))

    return harm


def _odd_meta(folder: Path, rng: random.Random) -> None:
    (folder / ONE / "meta.json").write_bytes(rng.choice(ODD))


def _edited_meta(folder: Path, rng: random.Random) -> None:
    path = folder / ONE / "meta.json"
    tree = json.loads(path.read_text())
    tree["history"][0]["val/loss"] = 0.1
    path.write_text(json.dumps(tree))


def _odd_lease(folder: Path, rng: random.Random) -> None:
    here = {"host": _here(), "since": "?", "beat": 1}
    odd = [*ODD, *(json.dumps(here | {"pid": pid}).encode() for pid in (None, "x", -1, 2**70))]
    (folder / ONE / "claim-0a.json").write_bytes(rng.choice([*odd, json.dumps(here).encode()]))


def _beside(folder: Path, rng: random.Random) -> None:
    """What is no entry: a file, an empty folder, an odd one."""
    (folder / "notes.txt").write_text("mine")
    (folder / "empty").mkdir()
    (folder / "odd").mkdir()
    (folder / "odd" / "meta.json").write_bytes(rng.choice(ODD))


HARMS: dict[str, Harm] = {
    **{f"meta.json: {name}": _damaged(f"{ONE}/meta.json", how) for name, how in DAMAGE.items()},
    **{f"weights: {name}": _damaged(f"{ONE}/*.safetensors", how) for name, how in DAMAGE.items()},
    "weights gone": lambda folder, rng: next(folder.glob(f"{ONE}/*.safetensors")).unlink(),
    "an odd meta.json": _odd_meta,
    "an edited meta.json": _edited_meta,
    "an odd lease": _odd_lease,
    "odd things beside": _beside,
}
WINDOWS = {f"windows: {name}": how for name, how in DAMAGE.items()}


class Ground:
    """A store of two encoders, prepared windows, and what is read from both."""

    def __init__(self, home: Path) -> None:
        self.home = home
        for digest in (ONE, TWO):
            checkpoint.save(home / "store", digest, WEIGHTS, META)
        os.environ["CITRUS_CACHE"] = str(home / "cache")
        self.x = np.array(cache.load(SOURCE).x)

    def attack(self, name: str, seed: int) -> Attack:
        rng = random.Random(f"{name} {seed}")
        if name in WINDOWS:
            return tried("windows", lambda: self._windows(name, rng))
        folder = self.home / f"at{seed}"
        shutil.copytree(self.home / "store", folder)
        try:
            HARMS[name](folder, rng)
            return tried(name.partition(":")[0], lambda: _seen(folder, name))
        finally:
            shutil.rmtree(folder)

    def _windows(self, name: str, rng: random.Random) -> tuple[Verdict, str]:
        folder = next((self.home / "cache" / cache.FOLDER).glob("[0-9a-f]*"))
        path = rng.choice(sorted(p for p in folder.iterdir() if p.name != cache.CHECKED))
        before = path.read_bytes()
        path.write_bytes(WINDOWS[name](before, rng))
        changed = path.read_bytes() != before
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = cache.load(SOURCE)
        if not np.array_equal(found.x, self.x):
            return "silent", f"{path.name}: other windows"
        told = any("prepared again" in str(one.message) for one in said)
        return ("said" if told else "silent" if changed else "harmless"), path.name


def _seen(folder: Path, name: str) -> tuple[Verdict, str]:
    """What the commands, who asks for a lease, who loads and who computes make of it."""
    where = ["--store", str(folder)]
    codes = [citrus(["store", word, *where]) for word in ("list", "verify", "prune")]
    codes.append(citrus(["store", "show", ONE, *where]))
    if codes[0] != 0 or any(code not in (0, 1, 2) for code in codes):
        return "traceback", str(codes)
    store, started = open_storage(folder), time.monotonic()
    Leases(store).holder(ONE)
    if time.monotonic() - started > 5:
        return "hang", "a lease"
    is_damaged = "lease" not in name and "beside" not in name
    try:
        same = bool(torch.equal(checkpoint.load(folder, ONE)["w"], WEIGHTS["w"]))
    except CheckpointError as err:
        same = "delete the folder" in str(err)
    if not same or (is_damaged and codes[1] != 1):
        return "silent", f"{name}: {codes}"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        there = checkpoint.is_whole(folder, ONE)
    if not there and not (told and any((folder / ASIDE).rglob("*"))):
        return "silent", "gone without a word"
    if not there:
        checkpoint.save(folder, ONE, WEIGHTS, META)
    well = checkpoint.is_whole(folder, ONE) and checkpoint.is_whole(folder, TWO)
    return (("said" if not there else "harmless") if well else "silent"), str(codes)


def attacks(n: int, seed: int = 0) -> Iterator[Attack]:
    names = [*HARMS, *WINDOWS]
    before = os.environ.get("CITRUS_CACHE")
    with tempfile.TemporaryDirectory() as home:
        try:
            ground = Ground(Path(home))
            for i in range(seed, seed + n):
                yield ground.attack(names[i % len(names)], i)
        finally:
            os.environ.pop("CITRUS_CACHE")
            if before is not None:
                os.environ["CITRUS_CACHE"] = before
