"""Folders of records that are damaged, edited or not ours: looked at, reported and gone on with."""

import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from citrus_ray import records
from citrus_ray.cli import screen
from citrus_ray.cli.citrus import main as citrus
from citrus_ray.cli.results import ResultsFolder
from citrus_ray.evidence.evidence import evidence_of
from citrus_ray.evidence.reading import collect
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.records import Record
from citrus_ray.search.study import Job, Studies
from tests.fuzz.attack import DAMAGE, Attack, Verdict, tried
from tests.small import SWEEP, record_of, sweep_of

Facts = dict[tuple[str, str, str], dict[str, float]]  # trial, digest, phase -> metrics


def rows_of(job: Job) -> list[Record]:
    """Members' records whose scores hang on their digests alone, as a worker would write them."""
    rows = []
    for repeat, trial in job.members:
        score = int(trial.digest()[:6], 16) / 16**6
        splits = ("val", "test") if job.phase == "final" else ("val",)
        facts: dict[str, Any] = {"trial": job.digest, "params": job.params, "phase": job.phase}
        facts |= {
            "digest": trial.digest(),
            "encoder": trial.encoder_digest(),
            "versions": {"torch": "2"},
        }
        metrics = {f"{split}/balanced_accuracy": score for split in splits}
        rows.append(record_of(job.cell, repeat, metrics, **facts))
    return rows


def played(sweep: Sweep, folder: Path) -> None:
    """What is missing under `folder`, written as if it had been computed."""
    studies = Studies(sweep, folder)
    while not studies.over:
        for study in studies.studies:
            while job := study.next_job():
                if not (rows := records.read_done(folder, job.digest, len(job.members))):
                    rows = rows_of(job)
                    records.write(folder, job.digest, rows)
                study.finish(job, rows)
        if all(not study.running and study.next_job() is None for study in studies.studies):
            break


def facts_of(folder: Path) -> Facts:
    found = collect([folder])
    return {(row.trial, row.digest, row.phase): row.metrics for row in found.rows}


# ---- what is done to a folder ----

Harm = Callable[[Path, random.Random], None]


def _one(folder: Path, rng: random.Random, n_lines: int = 1) -> Path:
    paths = sorted(folder.glob("*.jsonl"))
    return rng.choice([p for p in paths if p.read_bytes().count(b"\n") >= n_lines])


def _damage(how: Callable[[bytes, random.Random], bytes]) -> Harm:
    def harm(folder: Path, rng: random.Random) -> None:
        path = _one(folder, rng)
        path.write_bytes(how(path.read_bytes(), rng))

    return harm


def _part(how: Callable[[bytes, random.Random], bytes]) -> Harm:
    def harm(folder: Path, rng: random.Random) -> None:
        part = records.compact(folder, 2)
        assert part is not None
        part.write_bytes(how(part.read_bytes(), rng))

    return harm


def _lines(edit: Callable[[list[bytes], random.Random], list[bytes]]) -> Harm:
    def harm(folder: Path, rng: random.Random) -> None:
        path = _one(folder, rng, 2)
        path.write_bytes(b"\n".join([*edit(path.read_bytes().splitlines(), rng), b""]))

    return harm


def _number(lines: list[bytes], rng: random.Random) -> list[bytes]:
    """A score that somebody made better."""
    i = rng.randrange(len(lines))
    tree = json.loads(lines[i])
    for name in tree["metrics"]:
        tree["metrics"][name] = 0.999
    lines[i] = json.dumps(tree, sort_keys=rng.random() < 0.5).encode()
    return lines


def _tree(edit: Callable[[dict[str, Any]], Any]) -> Harm:
    """Lines without a seal, as older versions and other programs write them."""

    def harm(folder: Path, rng: random.Random) -> None:
        path = _one(folder, rng)
        trees = [json.loads(line) for line in path.read_text().splitlines()]
        for tree in trees:
            tree.pop("seal")
        edited = edit(trees[0])
        trees[0] = trees[0] if edited is None else edited
        path.write_text("".join(json.dumps(tree) + "\n" for tree in trees))

    return harm


def _set(**values: Any) -> Harm:
    return _tree(lambda tree: tree.update(values))


def _beside(name: str, content: bytes) -> Harm:
    def harm(folder: Path, rng: random.Random) -> None:
        (folder / name).write_bytes(content)

    return harm


def _again(folder: Path, rng: random.Random) -> None:
    path = _one(folder, rng)
    shutil.copy(path, path.with_name(f"{path.stem} (copy).jsonl"))


def _fifo(folder: Path, rng: random.Random) -> None:
    os.mkfifo(folder / "pipe.jsonl")


def _link(folder: Path, rng: random.Random) -> None:
    (folder / "nowhere.jsonl").symlink_to(folder / "nothing")
    (folder / "loop.jsonl").symlink_to(folder / "loop.jsonl")


def _folder(folder: Path, rng: random.Random) -> None:
    (folder / "deep.jsonl").mkdir()


def _file_beside(folder: Path, rng: random.Random) -> None:
    """What a run writes beside its records."""
    names = ("plan.json", "summary.json", "claims.json", "spec.yaml")
    path = folder.parent / rng.choice(names)
    content = path.read_bytes() if path.exists() else b"[{}]"
    odd = (b"[1, 2]", b'{"cells": 3}', b'{"cells": [{"axes": 1}], "points": 7}', b"[" * 100_000)
    other = [rng.choice(list(DAMAGE.values()))(content, rng), *odd]
    path.write_bytes(rng.choice(other))


BESIDE = "damage beside records"
HARMS: dict[str, Harm] = {
    **{f"file: {name}": _damage(how) for name, how in DAMAGE.items()},
    **{f"part: {name}": _part(how) for name, how in DAMAGE.items()},
    "cut at a line end": _lines(lambda lines, rng: lines[: rng.randrange(1, len(lines))]),
    "a line lost": _lines(lambda lines, rng: lines[1:]),
    "lines doubled": _lines(lambda lines, rng: lines * 2),
    "one line doubled": _lines(lambda lines, rng: [*lines, lines[0]]),
    "an edited number": _lines(_number),
    "the file twice": _again,
    "empty file beside": _beside("empty.jsonl", b""),
    "foreign file beside": _beside("foreign.jsonl", b'{"digest": "of another program"}\n'),
    "list beside": _beside("list.jsonl", b"[]\n3\nnull\n"),
    "deep file beside": _beside("deep.jsonl", b"[" * 100_000),
    "text beside": _beside("notes.jsonl", "notes \x1b[2J — mine\n".encode("utf-16")),
    "folder beside": _folder,
    "pipe beside": _fifo,
    "links beside": _link,
    "of a newer version": _set(knows="more"),
    "a score beyond its metric": _set(metrics={"val/balanced_accuracy": 1.5}),
    "a score that is no number": _set(metrics={"val/balanced_accuracy": float("nan")}),
    "a score of text": _set(metrics={"val/balanced_accuracy": "0.9"}),
    "scores that are a list": _set(metrics=[1]),
    "axes that are a list": _set(axes=[]),
    "params of null": _set(params=None),
    "versions of numbers": _set(versions={"torch": 2}),
    "repeat of a list": _set(repeat={"seed": [1]}),
    "curve of text": _set(curve="x"),
    "curve of numbers": _set(curve=[1, 2]),
    "an odd status": _set(status="great"),
    "seconds of text": _set(seconds="long"),
    "a line of null": _tree(lambda tree: [None]),
    BESIDE: _file_beside,
}


class Ground:
    """A whole folder of results, and what is read in it, to compare with."""

    def __init__(self, home: Path) -> None:
        self.home, self.sweep = home, sweep_of()
        self.spec = home / "small.yaml"
        self.spec.write_text(SWEEP)
        self.whole = home / "whole"
        self._folder(self.whole).make()
        played(self.sweep, self.whole / "records")
        self._folder(self.whole).write_spec()
        (self.whole / "summary.json").write_text("{}")
        self.facts = facts_of(self.whole / "records")

    def _folder(self, path: Path) -> ResultsFolder:
        return ResultsFolder(self.sweep, SWEEP, path)

    def attack(self, name: str, seed: int, page: bool) -> Attack:
        rng = random.Random(f"{name} {seed}")
        out = self.home / f"out{seed}"
        shutil.copytree(self.whole, out)
        try:
            HARMS[name](out / "records", rng)
            return tried(name, lambda: self._seen(out, page))
        finally:
            shutil.rmtree(out)

    def _seen(self, out: Path, page: bool) -> tuple[Verdict, str]:
        """What every screen, the page and the next run make of it."""
        folder = out / "records"
        status, best = screen.status(self.sweep, out), screen.best(self.sweep, out, 3)
        list(records.read_all(folder))
        evidence_of(self.sweep, folder)
        if page and citrus(["report", "--page-only", str(out)]):
            return "said", "no page"
        found, seen = collect([folder]), facts_of(folder)
        named = [str(one) for one in found.unreadable]
        if not all(one in status and one in best for one in named):
            return "silent", "not named by --status or --top"
        if any(self.facts.get(key) != value for key, value in seen.items()):
            return "silent", "another number is read"
        if len(seen) < len(self.facts) and not named:
            return "silent", "trials are missing, no file is named"
        self._folder(out).set_damaged_aside()
        played(self.sweep, folder)
        self._folder(out).write_spec()
        again = collect([folder])
        if again.unreadable:
            return "silent", f"still there: {again.unreadable[0]}"
        if facts_of(folder) != self.facts:
            return "silent", "what was computed again is not what was there"
        there = len(list((folder / records.ASIDE).glob("*"))) >= len(named)
        return (("said" if named else "harmless") if there else "silent"), "; ".join(named)


def attacks(n: int, seed: int = 0) -> Iterator[Attack]:
    """`n` attacks, of each kind in turn; every tenth folder is made a page of, too."""
    with tempfile.TemporaryDirectory() as home:
        ground = Ground(Path(home))
        for i in range(seed, seed + n):
            name = list(HARMS)[i % len(HARMS)]
            yield ground.attack(name, i, page=i % 10 == 9 or name == BESIDE)
