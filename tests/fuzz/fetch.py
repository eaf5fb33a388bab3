"""Fetches from servers that lie, of lists and archives that lie, and of archives that were damaged
on the way."""

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from citrus_ray.data.originals import Original, RemoteFile
from citrus_ray.data.tools import unpack
from tests.data import hostile
from tests.data.hostile import Outcome
from tests.fuzz.attack import DAMAGE, Attack, Verdict, tried

HELD = {"x.txt": hostile.BODY, "y/z.txt": hostile.BODY[::-1]}


def attacks(n: int, seed: int) -> Iterator[Attack]:
    os.environ["no_proxy"] = "127.0.0.1"
    unpack.SMALL = 2 << 20  # bombs of 20 MB are as good as those of 20 GB
    rng = random.Random(seed)
    kinds = {
        "a server that lies": sorted(hostile.SERVERS),
        "a list that lies": sorted(hostile.LISTS),
        "an archive that lies": sorted({**hostile.ZIPS, **hostile.TARS}),
        "a damaged archive": sorted(DAMAGE),
    }
    every = [(kind, name) for kind, names in kinds.items() for name in names]
    rng.shuffle(every)
    for i in range(n):
        kind, name = every[i % len(every)]
        yield tried(kind, lambda kind=kind, name=name: _verdict(kind, name, rng))  # type: ignore[misc]


def _verdict(kind: str, name: str, rng: random.Random) -> tuple[Verdict, str]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if kind == "a server that lies":
            found = hostile.of_server(name, root, resumed=rng.random() < 0.5)
        elif kind == "a list that lies":
            found = hostile.of_list(name, root)
        elif kind == "an archive that lies":
            found = hostile.of_archive(name, root)
        else:
            return _damaged(name, root, rng)
        evil = [path for path in found.files if "evil" in path]
        if found.said and not evil:
            return "said", found.said
        return ("harmless", "") if found.is_right else ("silent", f"{name}: {found.files.keys()}")


def _damaged(name: str, root: Path, rng: random.Random) -> tuple[Verdict, str]:
    kind = rng.choice(("zip", "tar.gz"))
    members: list[tuple[str, bytes, dict[str, Any]]] = [(path, of, {}) for path, of in HELD.items()]
    body = hostile.zipped(HELD) if kind == "zip" else hostile.tarred(*members)
    found = _fetched(kind, DAMAGE[name](body, rng), root)
    if found.said:
        return "said", found.said
    same = {f"toy/{path}": body for path, body in HELD.items()} == found.files
    return ("harmless", "") if same else ("silent", f"{name}, {kind}: {found.files.keys()}")


def _fetched(kind: str, body: bytes, root: Path) -> Outcome:
    original = Original("toy", "", (RemoteFile(f"a.{kind}"),), archive=kind)  # type: ignore[arg-type]
    with hostile.serving(hostile.sized(body)) as url:
        found = hostile.outcome(root, url, original)
    found.files.pop(f"toy/a.{kind}", None)
    return found
