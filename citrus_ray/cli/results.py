"""Results folder of a sweep as its command makes and fills it: spec, plan, others' records."""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from citrus_ray import records
from citrus_ray.evidence.reading import collect, trials_of
from citrus_ray.evidence.stamps import stamp
from citrus_ray.experiment.designs import Point, project
from citrus_ray.experiment.labels import canonical
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.spec import refuse

URI = re.compile(r"[a-z][a-z0-9+.-]+:/")  # pathlib takes one of the slashes


def results_path(given: Path | None, sweep: Sweep) -> Path:
    """`--out`, or a folder of the sweep's name in `$CITRUS_RESULTS`, else in results/."""
    key = "--out" if given else "$CITRUS_RESULTS"
    root = given or os.environ.get("CITRUS_RESULTS") or "results"
    if URI.match(str(root)):
        rule = f"{root}: results need a folder, and this is a URI"
        way_out = "mount the storage and give its folder; $CITRUS_STORE may be a URI"
        raise refuse(f"{rule}; {way_out}", key)
    return Path(given or Path(root).expanduser() / sweep.name).resolve()


@dataclass(frozen=True)
class ResultsFolder:
    """The folder of one sweep's results, and the text of its spec as it runs, edits included."""

    sweep: Sweep
    text: str
    path: Path

    @property
    def records(self) -> Path:
        return self.path / "records"

    def make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            what = f"{self.path}: cannot hold results: {err.strerror}"
            raise refuse(f"{what}; give a folder that can be written", "--out") from None

    def move_aside(self) -> None:
        """Earlier results stay, under the time at which they were set aside."""
        if self.path.exists():
            aside = self.path.with_name(f"{self.path.name}.{time.strftime('%Y%m%d-%H%M%S')}")
            shutil.move(self.path, aside)
            self._say(f"earlier results moved to {aside}")

    def set_damaged_aside(self) -> None:
        """What cannot be believed is moved away, so that its trials are computed again."""
        found = collect([self.records])
        damaged = {self.records / bad.file: bad.reason for bad in found.unreadable}
        wanted = {cell.digest: len(cell.repeat) for cell in self.sweep.cells}
        for rows in trials_of(found.rows):
            n = wanted.get(rows[0].cell, 0)
            if rows[0].phase == "search" and records.is_cut(rows, n):
                path = self.records / f"{rows[0].trial}.jsonl"
                damaged[path] = f"holds {len(rows)} of its {n} members"
        for path, reason in damaged.items():
            if where := records.set_aside(path):
                now = f"moved to {where.relative_to(self.path)}, to be computed again"
                self._say(f"{path.relative_to(self.path)}: {reason}; {now}")

    def take_over(self, others: Iterable[Path]) -> None:
        """Copy trials that other sweeps have computed, digest for digest, instead of computing."""
        for other in others:
            if not (other / "records").is_dir():
                rule = "--reuse takes the results folder of another sweep"
                raise refuse(f"{other}: {rule}, and this one holds no records/", "--reuse")
            axes = {cell.digest: cell.axes for cell in self.sweep.cells}
            n = records.take_over(other / "records", self.records, axes)
            self._say(f"{n} trials taken over from {other}")

    def write_spec(self, points: Sequence[Point] | None = None) -> None:
        """The spec as it runs, its cells and the points of the search so far, which tell its
        records from those of an older spec; and the claims, which were asked by now."""
        points = self.sweep.points if points is None else points
        known = {cell.digest for cell in self.sweep.cells}
        has_records = any(rows[0].cell in known for rows in records.read_all(self.records))
        stamp(self.path, self.sweep.claims, self.sweep.judged_by, has_records)
        records.write_text(self.path / "spec.yaml", self.text)
        cells = [
            {"digest": cell.digest, "axes": cell.axes, "n_trials": cell.n_trials}
            for cell in self.sweep.cells
        ]
        plan = {
            "spec_digest": self.sweep.digest(),
            "cells": cells,
            "points": points,
            "warm_start": self.sweep.warm_start and self.sweep.warm_start.tree(),
            "final": self.sweep.final.tree(),
            "decide": self.sweep.decide and self.sweep.decide.tree(),
        }
        records.write_text(self.path / "plan.json", json.dumps(plan, indent=1) + "\n")
        self._say_what_does_not_count(points)

    def _say_what_does_not_count(self, points: Sequence[Point] | None) -> None:
        known = {cell.digest: cell for cell in self.sweep.cells}
        own = {
            cell.digest: {canonical(project(point, cell.search)) for point in points or ()}
            for cell in self.sweep.cells
        }
        n_other = n_elsewhere = 0
        for first, *_ in records.read_all(self.records):
            if first.cell not in known:
                n_other += 1
            elif first.phase == "search" and points is not None:
                n_elsewhere += canonical(first.params) not in own[first.cell]
        whats = [
            (n_other, "of another spec of this name"),
            (n_elsewhere, "at points that this spec does not search (sampler, seed, axes, trials)"),
        ]
        for n, what in whats:
            if n:
                print(
                    f"{n} trials in {self.records} are {what}: they stay "
                    "and are not counted; --fresh moves them aside, --out keeps apart",
                    file=sys.stderr,
                )

    def _say(self, text: str) -> None:
        print(f"{self.sweep.name}: {text}", file=sys.stderr)
