"""The sweep command: check, plan, run, report. Ray is imported once something is really started."""

import argparse
import itertools
import json
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from citrus_ray import records
from citrus_ray.evidence import screen, summary
from citrus_ray.evidence.evidence import evidence_of
from citrus_ray.experiment.dry_run import DryRun, check_data
from citrus_ray.experiment.sweep import Sweep, parse_sweep
from citrus_ray.spec import Document, Problem, SpecError, parse_yaml, put, read_yaml
from citrus_ray.store import absolute, open_files

MAX_FAILED_SHARE = 0.5  # of a sweep's trials; beyond it the command says that the sweep failed

INTERRUPTED = "interrupted"
URI = re.compile(r"[a-z][a-z0-9+.-]+:/")  # pathlib takes one of the slashes


@dataclass(frozen=True)
class SweepCommand:
    """One call of `sweeps/run.py`."""

    sweep: Sweep
    document: Document
    text: str  # the spec as it runs, edits included
    out: Path
    args: argparse.Namespace

    @classmethod
    def from_args(cls, spec: Path, args: argparse.Namespace) -> "SweepCommand":
        document = read_yaml(spec)
        edits = dict(_edit(text) for text in args.edits)
        sweep = parse_sweep(document, edits)
        return cls(
            sweep,
            document,
            _edited(document, edits) if edits else document.text,
            _out(args, sweep),
            args,
        )

    def run(self) -> int:
        if self.args.status:
            return self._status()
        if self.args.top:
            return self._top()
        if self.args.cluster and not self.args.dry_run:
            return self._from_afar()
        self._check_data()
        if self.args.dry_run:
            for line in itertools.chain(
                DryRun(self.sweep).lines(), self._recorded(), [f"results: {self.out}"]
            ):
                print(line, flush=True)
            return 0
        if self.args.fresh:
            self._move_aside()
        return self._sweep()

    def _recorded(self) -> list[str]:
        """What of the plan is there already."""
        found = summary.summarise(self.sweep, self.out / "records", 0.0)["cells"]
        n_done, n_finals = (
            sum(cell["n_trials"] for cell in found),
            sum(cell["test"] is not None for cell in found),
        )
        if not n_done:
            return []
        n_all, n_cells = sum(cell.n_trials for cell in self.sweep.cells), len(found)
        text = f"recorded already: {n_done} of {n_all} search trials, {n_finals} of {n_cells} winners refitted"
        return [
            f"{text}; about {1 - (n_done + n_finals) / (n_all + n_cells):.0%} of the trials are left"
        ]

    def _check_data(self) -> None:
        """What is wrong with the data, at the line of the spec that asks for it, where no file of data is named."""
        try:
            check_data(self.sweep)
        except SpecError as err:
            placed = [p if p.file else self.document.place(p) for p in err.problems]
            raise SpecError(placed) from None

    def _sweep(self) -> int:
        started = time.monotonic()
        self._make_folder()
        self._take_over()
        ended = self._launch()
        found = self._summarise(time.monotonic() - started)
        self._last_screen(found, self._report())
        if ended:
            print(
                f"{ended}; what was finished is recorded, run the same command to go on",
                file=sys.stderr,
            )
            return 130 if ended == INTERRUPTED else 1
        n_trials, n_failed = (
            sum(cell[key] for cell in found["cells"]) for key in ("n_trials", "n_failed")
        )
        return int(
            n_failed > MAX_FAILED_SHARE * n_trials
            or any(cell["test"] is None for cell in found["cells"])
        )

    def _from_afar(self) -> int:
        """On a cluster that is reached over ssh. The data lie there, so they are checked there."""
        from citrus_ray.launch import remote

        for flag in ("data", "reuse"):
            if getattr(self.args, flag):
                raise SpecError(
                    [
                        Problem(
                            f"--{flag}",
                            "names a folder of this machine; it cannot go with --cluster",
                        )
                    ]
                )
        remote.check(self.args.cluster)
        self._make_folder()
        there = remote.Remote(self.args.cluster, self.sweep.name)
        try:
            code = there.run(
                self.text,
                [flag for flag in ("--fresh", "--verbose") if getattr(self.args, flag[2:])],
            )
            if code != 2:
                there.fetch(self.out)
        except remote.Unreachable as err:
            print(
                f"{err}\nwhat runs on the cluster goes on; run the same command to look in again",
                file=sys.stderr,
            )
            return 130
        if code != 2:
            print(f"\nfetched      {self.out}/\nreport       {self.out / 'report.html'}")
        return code

    def _launch(self) -> str | None:
        """Why it ended before all was done, if it did."""
        store = self._store()
        from citrus_ray.launch.progress import Progress
        from citrus_ray.search.study import Studies

        studies = Studies(self.sweep, self.out / "records", store)
        if studies.over:
            print(
                f"{self.sweep.name}: every trial is recorded already, nothing to compute",
                file=sys.stderr,
            )
            self._write_spec()
            return None
        from citrus_ray.launch.cluster import connect, most
        from citrus_ray.launch.runner import Workplace
        from citrus_ray.launch.slots import Slots
        from citrus_ray.launch.storage import check_shared
        from citrus_ray.launch.tune import run_sweep

        print(f"{self.sweep.name}: starting Ray", file=sys.stderr, flush=True)
        with connect(self.args.address, self.args.verbose, self._shares_pretrainings) as capacity:
            limit = most(capacity) if self.args.address else capacity
            slots = _checked(lambda: Slots(self.sweep, capacity, limit))
            check_shared(
                {"--out": str(self.out)} | ({"$CITRUS_STORE": store} if self._pretrains else {})
            )
            self._write_spec()
            place = Workplace(self.out / "records", store, self.out / "tensorboard")
            with Progress(self.sweep, studies) as progress:
                run_sweep(self.sweep, place, slots, studies, progress)
        # Ray Tune takes Ctrl-C itself and returns as if all were well
        return studies.gave_up or (None if studies.over else INTERRUPTED)

    def _store(self) -> str:
        """`$CITRUS_STORE`, or the folder beside this sweep's results, so that all sweeps there share one."""
        store = absolute(os.environ.get("CITRUS_STORE") or self.out.parent / "store")
        if self._pretrains:
            open_files(store).check_writable()
        return store

    @property
    def _pretrains(self) -> bool:
        return any(cell.trial.pretraining for cell in self.sweep.cells)

    @property
    def _shares_pretrainings(self) -> bool:
        """Whether several workers train one encoder."""
        return any(
            cell.trial.pretraining and cell.trial.pretraining.workers > 1
            for cell in self.sweep.cells
        )

    def _make_folder(self) -> None:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            message = f"{self.out}: cannot hold results: {err.strerror}; give a folder that can be written"
            raise SpecError([Problem("--out", message)]) from None

    def _take_over(self) -> None:
        """Trials that another sweep has already computed, digest for digest, are copied and not computed again."""
        for other in self.args.reuse:
            if not (other / "records").is_dir():
                rule = "--reuse takes the results folder of another sweep, and this one holds no records/"
                raise SpecError([Problem("--reuse", f"{other}: {rule}")])
            n = records.take_over(
                other / "records",
                self.out / "records",
                {c.digest: c.axes for c in self.sweep.cells},
            )
            print(f"{self.sweep.name}: {n} trials taken over from {other}", file=sys.stderr)

    def _write_spec(self) -> None:
        """The spec as it runs, once nothing stands in its way."""
        records.write_text(self.out / "spec.yaml", self.text)
        cells = [{"digest": cell.digest, "axes": cell.axes} for cell in self.sweep.cells]
        plan = {
            "spec_digest": self.sweep.digest(),
            "cells": cells,
        }  # tells its records from those of an older spec
        records.write_text(self.out / "plan.json", json.dumps(plan, indent=1) + "\n")
        known = {cell.digest for cell in self.sweep.cells}
        n_other = sum(rows[0].cell not in known for rows in records.read_all(self.out / "records"))
        if n_other:
            where = f"{n_other} trials in {self.out / 'records'} are of another spec of this name"
            print(
                f"{where}: they stay and are not counted; --fresh moves them aside, --out keeps apart",
                file=sys.stderr,
            )

    def _summarise(self, seconds: float) -> dict[str, Any]:
        found = summary.summarise(
            self.sweep, self.out / "records", seconds, self.out.parent / "store"
        )
        records.write_text(self.out / "summary.json", json.dumps(found, indent=1) + "\n")
        from citrus_ray.search.optuna_bridge import export  # Optuna takes a moment to load

        export(self.sweep, evidence_of(self.sweep, self.out / "records"), self.out / "optuna.log")
        return found

    def _report(self) -> Path:
        """The page for people."""
        from citrus_ray.report.files import write_report

        return write_report([self.out])

    def _last_screen(self, found: dict[str, Any], report: Path) -> None:
        print(
            f"\n{self.sweep.name}: {found['cells'][0]['metric']} of each cell's winner on fresh seeds, 95 % interval\n"
        )
        print(screen.table(found))
        for caveat in dict.fromkeys(text for cell in found["cells"] for text in cell["caveats"]):
            print(f"caveat: {caveat}")
        for reason in dict.fromkeys(text for cell in found["cells"] for text in cell["failures"]):
            print(f"failed: {reason}")
        if self.sweep.race:
            n, seconds = (
                sum(c["cost"][key] for c in found["cells"])
                for key in ("members_saved", "seconds_saved")
            )
            print(
                f"racing left out {n} members of clearly worse trials, about {seconds:.0f} s of compute"
            )
        print(f"\nresults      {self.out}/  (records/, summary.json, spec.yaml, optuna.log)")
        print(f"report       {report}")
        print(f"tensorboard  tensorboard --logdir {self.out / 'tensorboard'}")

    def _status(self) -> int:
        found = summary.summarise(self.sweep, self.out / "records", 0.0)
        n_done, n_all = (
            sum(cell["n_trials"] for cell in found["cells"]),
            sum(c.n_trials for c in self.sweep.cells),
        )
        print(
            f"{self.sweep.name}: {n_done} of {n_all} search trials recorded in {self.out / 'records'}\n"
        )
        print(screen.table(found))
        return 0

    def _top(self) -> int:

        print(
            "\n".join(
                screen.top(self.sweep, evidence_of(self.sweep, self.out / "records"), self.args.top)
            )
        )
        return 0

    def _move_aside(self) -> None:
        """Earlier results stay, under the time at which they were set aside."""
        if self.out.exists():
            aside = self.out.with_name(f"{self.out.name}.{time.strftime('%Y%m%d-%H%M%S')}")
            shutil.move(self.out, aside)
            print(f"{self.sweep.name}: earlier results moved to {aside}", file=sys.stderr)


def _out(args: argparse.Namespace, sweep: Sweep) -> Path:
    key, given = (
        ("--out", args.out)
        if args.out
        else ("$CITRUS_RESULTS", os.environ.get("CITRUS_RESULTS") or "results")
    )
    if URI.match(str(given)):
        rule = f"{given}: results need a folder, and this is a URI"
        raise SpecError(
            [
                Problem(
                    key,
                    f"{rule}; mount the storage and give its folder; $CITRUS_STORE may be a URI",
                )
            ]
        )
    return Path(args.out or Path(given).expanduser() / sweep.name).resolve()


def _edit(text: str) -> tuple[str, Any]:
    """`path=value`, the value read as YAML."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise SpecError(
            [Problem("--set", f"{text!r}: must read PATH=VALUE, for example budget.trials=8")]
        )
    return path, parse_yaml(f"value: {value}", "--set").tree["value"]


def _edited(document: Document, edits: dict[str, Any]) -> str:
    tree = json.loads(json.dumps(document.tree))
    for path, value in edits.items():
        put(tree, path, value)
    question = document.text.splitlines()[0] if document.text.startswith("#") else "# a sweep"
    return f"{question}\n# edited with --set\n" + yaml.safe_dump(tree, sort_keys=False)


def _checked(build: Any) -> Any:
    try:
        return build()
    except ValueError as err:
        raise SpecError([Problem("trial.pretrain.workers", str(err))]) from None
