"""The sweep command: check, plan, run, report. Ray is imported once something is really started."""

import argparse
import io
import itertools
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from citrus_ray.cli import screen
from citrus_ray.cli.boundary import report_into
from citrus_ray.cli.live import LiveResults, write_summary
from citrus_ray.cli.results import ResultsFolder, results_path
from citrus_ray.cli.viewers import write_viewers
from citrus_ray.data.source import looked_once
from citrus_ray.evidence.evidence import Evidence, evidence_of
from citrus_ray.evidence.kept import kept_models
from citrus_ray.evidence.prior import look_up
from citrus_ray.experiment.dry_run import DryRun, check_data
from citrus_ray.experiment.sweep import Sweep, edited, parse_sweep
from citrus_ray.experiment.trial import Pretrain
from citrus_ray.experiment.warm_start import Prior
from citrus_ray.spec import Document, SpecError, parse_yaml, read_yaml, refuse, validate
from citrus_ray.store import open_storage, store_beside

if TYPE_CHECKING:
    from citrus_ray.launch.progress import Progress
    from citrus_ray.launch.runner import ResultPaths
    from citrus_ray.search.study import Studies

INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class SweepCommand:
    """One call of `citrus run`: a sweep, where its results go, and the flags."""

    sweep: Sweep
    document: Document
    results: ResultsFolder
    args: argparse.Namespace

    @classmethod
    def from_args(cls, spec: Path, args: argparse.Namespace) -> "SweepCommand":
        document = read_yaml(spec)
        edits = dict(_edit(text) for text in args.edits)
        sweep = parse_sweep(document, edits)
        out = results_path(args.out, sweep)
        report_into(out)
        sweep = warmed(sweep, document, edits, None if args.fresh else out / "spec.yaml")
        return cls(sweep, document, ResultsFolder(sweep, sweep.text, out), args)

    @property
    def out(self) -> Path:
        return self.results.path

    def run(self) -> int:
        """What the flags ask for; the exit code. Data are looked at once: what changes while a
        sweep runs fails the trials that meet it, by name."""
        with looked_once():
            return self._run()

    def _run(self) -> int:
        if self.args.status:
            print(screen.status(self.sweep, self.out))
            return 0
        if self.args.top:
            print(screen.best(self.sweep, self.out, self.args.top))
            return 0
        if self.args.cluster and not self.args.dry_run:
            return self._from_afar()
        self._check_data()
        if self.args.dry_run:
            dry_run = DryRun(self.sweep)
            plan = dry_run.lines()
            recorded = screen.recorded(self.sweep, self.out, dry_run.prices)
            power = screen.power(self.sweep, self.out)
            again = screen.to_keep(self.sweep, self.out)
            for line in itertools.chain(plan, power, recorded, again, [f"results: {self.out}"]):
                print(line, flush=True)
            return 0
        if self.args.fresh:
            self.results.move_aside()
        return self._sweep()

    def _check_data(self) -> None:
        """What is wrong with the data, at the line of the spec that asks for it, where no file of
        data is named."""
        try:
            check_data(self.sweep)
        except SpecError as err:
            placed = [p if p.file else self.document.place(p) for p in err.problems]
            raise SpecError(placed) from None

    def _sweep(self) -> int:
        from citrus_ray.launch.local import RayLostError

        try:
            ended, found, evidence = self.compute()
        except RayLostError as err:
            print(err, file=sys.stderr)
            return 3
        models = kept_models(self.sweep, evidence, self.out)
        print(screen.last(self.sweep, self.out, found, self._report(), models))
        if not ended:
            return int(screen.too_much_failed(found) or bool(models and models.missing))
        what = f"{ended}; what was finished is recorded, run the same command to go on"
        print(what, file=sys.stderr)
        return 130 if ended == INTERRUPTED else 1

    def compute(self) -> tuple[str | None, dict[str, Any], Evidence]:
        """Compute what is missing and write what others open: why that ended early, if it did, what
        was found, and from what."""
        started = time.monotonic()
        self.results.make()
        self.results.set_damaged_aside()
        self.results.take_over(self.args.reuse)
        with LiveResults(self.sweep, self.out):
            ended = self._launch()
        evidence = evidence_of(self.sweep, self.results.records)
        seconds = time.monotonic() - started
        found = write_summary(self.sweep, evidence, self.out, seconds, ended=ended is None)
        for line in write_viewers(self.sweep, evidence, self.out, ended=ended is None):
            self._say(line)
        return ended, found, evidence

    def _launch(self) -> str | None:
        """Compute what is missing; why that ended before all was done, if it did."""
        store = self._store()
        from citrus_ray.search.study import Studies

        studies = Studies(self.sweep, self.results.records, store)
        if studies.over:
            self._say("every trial is recorded already, nothing to compute")
            self.results.write_spec(studies.points)
            return None
        from citrus_ray.launch.trackers import not_installed

        for line in [*screen.to_keep(self.sweep, self.out), *not_installed(self.sweep.trackers)]:
            self._say(line)
        return self._here(studies, store) if self.args.no_ray else self._on_ray(studies, store)

    def _here(self, studies: "Studies", store: str) -> str | None:
        """In this process. A trial that Ctrl-C cuts off has no record, and runs again."""
        from citrus_ray.launch.here import check, run_here

        check(self.sweep)
        self.results.write_spec(studies.points)
        with self._progress(studies) as progress, suppress(KeyboardInterrupt):
            run_here(self.sweep, self._paths(store), studies, progress)
        return studies.gave_up or (None if studies.over else INTERRUPTED)

    def _on_ray(self, studies: "Studies", store: str) -> str | None:
        from citrus_ray.launch.cluster import connect, most

        self._say("starting Ray")
        how = self.args.address, self.args.verbose, self._shares_pretrainings
        with connect(*how, self.args.without_token) as capacity:
            from citrus_ray.launch.slots import Slots  # loaded while Ray started
            from citrus_ray.launch.storage import check_shared
            from citrus_ray.launch.tune import run_sweep

            limit = most(capacity) if self.args.address else capacity
            try:
                slots = Slots(self.sweep, capacity, limit)
            except ValueError as err:
                raise refuse(str(err), "trial.pretrain.workers") from None
            for line in slots.planned_down:
                print(f"{self.sweep.name}: {line}", file=sys.stderr)
            shared = {"$CITRUS_STORE": store} if self._pretrainings else {}
            check_shared({"--out": str(self.out)} | shared)
            self.results.write_spec(studies.points)
            with self._progress(studies) as progress:
                run_sweep(self.sweep, self._paths(store), slots, studies, progress)
        # Ray Tune takes Ctrl-C itself and returns as if all were well
        return studies.gave_up or (None if studies.over else INTERRUPTED)

    def _progress(self, studies: "Studies") -> "Progress":
        from citrus_ray.launch.progress import Progress

        return Progress(self.sweep, studies, io.StringIO() if self.args.quiet else None, self.out)

    def _paths(self, store: str) -> "ResultPaths":
        from citrus_ray.launch.runner import ResultPaths

        return ResultPaths(self.results.records, store, self.out / "tensorboard")

    def _say(self, text: str) -> None:
        if not self.args.quiet:
            print(f"{self.sweep.name}: {text}", file=sys.stderr, flush=True)

    def _store(self) -> str:
        store = store_beside(self.out)
        if self._pretrainings:
            open_storage(store).check_writable()
        return store

    @property
    def _pretrainings(self) -> list[Pretrain]:
        return [cell.trial.pretraining for cell in self.sweep.cells if cell.trial.pretraining]

    @property
    def _shares_pretrainings(self) -> bool:
        """Whether several workers train one encoder."""
        return any(spec.most_workers > 1 for spec in self._pretrainings)

    def _report(self) -> Path:
        """The page for people."""
        from citrus_ray.report.files import write_report

        return write_report([self.out])

    def _from_afar(self) -> int:
        """On a cluster that is reached over ssh. The data lie there, so they are checked there."""
        from citrus_ray.launch import remote

        for flag in ("data", "reuse"):
            if getattr(self.args, flag):
                rule = "names a folder of this machine; it cannot go with --cluster"
                raise refuse(rule, f"--{flag}")
        remote.check(self.args.cluster)
        self.results.make()
        there = remote.Remote(self.args.cluster, self.sweep.name)
        flags = [flag for flag in ("--fresh", "--verbose") if getattr(self.args, flag[2:])]
        try:
            code = there.run(self.results.text, flags)
            if code != 2:
                there.fetch(self.out)
        except remote.Unreachable as err:
            way_out = "what runs on the cluster goes on; run the same command to look in again"
            print(f"{err}\n{way_out}", file=sys.stderr)
            return 130
        if code != 2:
            print(f"\nfetched      {self.out}/\nreport       {self.out / 'report.html'}")
        return code


def _edit(text: str) -> tuple[str, Any]:
    """`path=value`, the value read as YAML."""
    path, equals, value = text.partition("=")
    if not equals or not all(path.split(".")):
        rule = "must read PATH=VALUE, for example budget.trials=8"
        raise refuse(f"{text!r}: {rule}", "--set")
    return path, parse_yaml(f"value: {value}", "--set").tree["value"]


def warmed(sweep: Sweep, document: Document, edits: dict[str, Any], earlier: Path | None) -> Sweep:
    """The sweep with what its warm start finds, as a run of the same question found it `earlier`
    where there was one; the sweep itself where it has none."""
    if sweep.warm_start is None or sweep.warm_start.found is not None:
        return sweep
    found = _found_before(edited(document, edits), earlier) or look_up(sweep)
    return parse_sweep(document, edits | {"warm_start.found": found.tree()})


# on which what a warm start finds depends
ASKED = ("trial", "objective", "compare", "arms", "repeat", "search")


def _found_before(tree: dict[str, Any], spec: Path | None) -> Prior | None:
    """What the warm start of the same question found when it first ran: a search that goes on
    does not begin elsewhere because earlier records have grown."""
    try:
        before = read_yaml(spec).tree if spec else {}
        found = validate(Prior, before["warm_start"].pop("found"))
    except (SpecError, KeyError, TypeError, AttributeError):
        return None
    keys = (*ASKED, "warm_start")
    return found if all(before.get(key) == tree.get(key) for key in keys) else None
