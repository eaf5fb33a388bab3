"""Dry run of a sweep: what it is going to do and cost, before a cluster is spent."""

import dataclasses
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from citrus_ray.context import SignalContext
from citrus_ray.data.source import Source, looked_once
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.align import Align, Native
from citrus_ray.data.windowing.splits import in_units, spend, split
from citrus_ray.data.windowing.subjects import check_subjects
from citrus_ray.experiment import stored_weights
from citrus_ray.experiment.constraints import check_constraints, limits_of
from citrus_ray.experiment.forecast import Forecast, in_words, planned, workers
from citrus_ray.experiment.hold_out import all_left_out, copies_tested, left_out, seen
from citrus_ray.experiment.labels import count
from citrus_ray.experiment.prices import Prices
from citrus_ray.experiment.step_times import STEPS_TIMED, StepTimes
from citrus_ray.experiment.sweep import Cell, Sweep
from citrus_ray.experiment.trial import Pretrain, Trial
from citrus_ray.spec import Problem, SpecError, digest_of

START_S = 10  # until Ray has started and workers have loaded torch


def check_data(sweep: Sweep) -> None:
    """Everything about the data that would stop a trial later, all at once: files, splits, labels,
    sizes."""
    problems: dict[tuple[str, str], Problem] = {}
    known = _Known()
    unseen: dict[str, list[Problem]] = {}
    copied: dict[str, list[Problem]] = {}
    n_rounds = sweep.decide.rounds if sweep.decide else sweep.final.rounds
    with looked_once():
        for cell in sweep.cells:
            rounds = (cell.members({}, number) for number in range(n_rounds))
            for _, trial in itertools.chain(cell.members({}), *rounds):
                found = _data_problems(trial, known)
                if not found:
                    found = [*_copies(trial, copied), *_sees_test_groups(trial, unseen)]
                for problem in found:
                    problems.setdefault((problem.path, problem.message), problem)
    if problems:
        raise SpecError(list(problems.values()))
    check_constraints(sweep)


@dataclass
class _Known:
    """What was asked of the data so far: arms and rounds ask the same again."""

    checked: set[str] = field(default_factory=set)  # sources by digest
    contexts: dict[str, SignalContext] = field(default_factory=dict)  # by source and alignment
    spent: dict[str, list[Problem]] = field(default_factory=dict)  # by what draws parts and labels


def _data_problems(trial: Trial, known: _Known) -> list[Problem]:
    found, contexts = [], {}
    for path, source in trial.sources().items():
        align = trial.finetune.align if path == "finetune.target" else Native()
        problems, context = _asked(source, align, known)
        found += [_under(f"trial.{path}", problem) for problem in problems]
        if context is not None:
            contexts[path] = context
    if found:
        return found
    drawn_by = _drawn_by(trial)
    if drawn_by not in known.spent:
        known.spent[drawn_by] = list(_misspent(trial))
    of_trial = trial.problems(contexts)
    return [_under("trial", problem) for problem in (*of_trial, *known.spent[drawn_by])]


def _asked(
    source: Source, align: Align, known: _Known
) -> tuple[list[Problem], SignalContext | None]:
    """What is wrong with a source, or the facts of its signals when they are so aligned."""
    try:
        digest = source.digest()
        if digest not in known.checked:
            source.check()
            known.checked.add(digest)
        aligned = digest_of([digest, align.identity()])
        if aligned not in known.contexts:
            known.contexts[aligned] = cache.load(source, align).context
    except SpecError as err:
        return list(err.problems), None
    return [], known.contexts[aligned]


def _drawn_by(trial: Trial) -> str:
    """Equal for trials whose labels are drawn from the same windows in the same way."""
    spec = trial.finetune
    parts = (spec.align, spec.split, spec.labels)
    given = [spec.target.digest(), *(part.model_dump_json() for part in parts), spec.validation]
    return digest_of([*given, trial.seed, spec.subjects if trial.uses("subjects") else "keep"])


def _misspent(trial: Trial) -> Iterator[Problem]:
    """What stands in the way of splitting the target and spending its labels."""
    spec = trial.finetune
    try:
        windows = in_units(cache.load(spec.target, spec.align), spec.split)
        parts = split(windows, spec.split, trial.seed)
        spent, _ = spend(windows, parts, spec.labels, spec.validation, trial.seed)
        if spec.subjects != "keep" and trial.uses("subjects"):
            check_subjects(windows, spent, spec.subjects)
    except SpecError as err:
        yield from (_under("finetune", problem) for problem in err.problems)


def _copies(trial: Trial, known: dict[str, list[Problem]]) -> list[Problem]:
    """Whether a recording of someone who is tested is also someone's who is not."""
    target, spec = trial.finetune.target, trial.finetune.split
    key = f"{target.model_dump_json()} {spec.model_copy(update={'round': None})}"
    if key not in known:
        said = copies_tested(target, spec)
        known[key] = [Problem("trial.finetune.target", said)] if said else []
    return known[key]


def _sees_test_groups(trial: Trial, known: dict[str, list[Problem]]) -> list[Problem]:
    """Whether pre-training would see who is tested, or nobody at all, and what to do."""
    spec = trial.pretraining
    if spec is None:
        return []
    # not by digests, which look at every file
    key = " ".join([spec.source.model_dump_json(), str(spec.hold_out), str(trial.tested)])
    if key not in known:
        known[key] = [Problem("trial.pretrain.source", said) for said in _said_of_seen(trial, spec)]
    return known[key]


def _said_of_seen(trial: Trial, spec: Pretrain) -> Iterator[str]:
    windows = cache.load(spec.source)
    out = left_out(windows, spec)
    if out and (complaint := out.nothing_left()):
        yield complaint
    if spec.hold_out == trial.tested:
        return
    found = seen(windows, spec.source, trial.tested)
    if np.setdiff1d(found.groups, out.groups if out else []).size:
        rule = f"{found.found}, known by their samples, and would be pre-trained on"
        way = "give `pretrain.hold_out: target`, which leaves them out"
        yield f"{rule}; {way}, or take them out of the source"


def _under(path: str, problem: Problem) -> Problem:
    return dataclasses.replace(problem, path=f"{path}.{problem.path}".rstrip("."))


@dataclass(frozen=True)
class DryRun:
    """Counts of a sweep, and an estimate of its cost from a few timed steps of each model."""

    sweep: Sweep
    steps: StepTimes = field(default_factory=StepTimes, compare=False)

    @cached_property
    def n_trials(self) -> int:
        return sum(cell.n_trials for cell in self.sweep.cells)

    @cached_property
    def n_members(self) -> int:
        return sum(sum(_n_members(cell)) for cell in self.sweep.cells)

    @cached_property
    def prices(self) -> Prices:
        return Prices(self.sweep, self.steps)

    @cached_property
    def n_pretrainings(self) -> int:
        return sum(of.n for of in self.prices.encoders)

    @cached_property
    def cpu_seconds(self) -> tuple[float, float, float]:
        """(pre-training, fine-tuning, scoring of refits and baselines) on one thread of this
        machine."""
        pre = sum(of.n * self.prices.pretraining(of) for of in self.prices.encoders)
        fine = scoring = 0.0
        for cell in self.sweep.cells:
            n_searched, n_refitted = _n_members(cell)
            fine += n_searched * self.prices.training(cell, "search")
            fine += n_refitted * self.prices.training(cell, "final")
            scoring += n_refitted * self.prices.scoring(cell)
        return pre, fine, scoring

    def lines(self) -> Iterator[str]:
        """The plan as a person reads it. What it costs comes last but one: a model that is new has
        to be timed."""
        yield (
            f"{self.sweep.name}: {len(self.sweep.cells)} cells, {self.n_trials} trials to search, "
            f"{self.n_members} fine-tunes, at most {self.n_pretrainings} pre-trainings"
        )
        for cell in self.sweep.cells:
            paths = ", ".join(cell.search) or "nothing: one trial"
            yield (
                f"  {cell.label}: {cell.n_trials} trials x {len(cell.repeat)} members + "
                f"{cell.sweep.final.rounds} rounds of {len(cell.members({}, 0))}; searches {paths}"
            )
        if self.sweep.constraints:
            yield from limits_of(self.sweep.constraints).lines(self.sweep)
        if self.sweep.warm_start:
            yield from self.sweep.warm_start.lines(self.sweep.first)
        yield "data:"
        yield from (f"  {_describe(path, source)}" for path, source in self._sources())
        yield from (f"  signals: {said}" for said in self._signals())
        yield from (f"  {found}" for found in all_left_out(self._searched()))
        yield from self._read()
        yield from self._weights()
        yield from self._cost()
        yield self._resources()

    def _read(self) -> Iterator[str]:
        """What encoders that are built for some channels make of the targets' windows."""
        said = dict[str, None]()
        for trial in self._searched():
            if trial.model.mixes_channels and not trial.model.is_solved:
                ctx = cache.load(trial.finetune.target, trial.finetune.align).context
                said[f"{trial.model.kind} reads {trial.model.reads(ctx)}"] = None
        yield from (f"  {line}" for line in said)

    def _weights(self) -> Iterator[str]:
        """Proof that weights from files arrive in the encoders that fine-tuning begins with."""
        said = stored_weights.lines(
            (trial.model, cache.load(trial.finetune.target, trial.finetune.align).context)
            for trial in self._searched()
        )
        for i, line in enumerate(said):
            yield from ["weights:"] if i == 0 else []
            yield f"  {line}\n    caveat: {stored_weights.UNSEEN}"

    def _sources(self) -> Iterable[tuple[str, Source]]:
        """Every source once, with the path that names it first."""
        found: dict[str, tuple[str, Source]] = {}
        for trial in self._searched():
            for path, source in trial.sources().items():
                found.setdefault(source.digest(), (path, source))
        return found.values()

    def _signals(self) -> Iterable[str]:
        """What is done to the signals of every source, once."""
        found = (trial.signals().items() for trial in self._searched())
        return dict.fromkeys(f"{path} {said}" for of in found for path, said in of)

    def _searched(self) -> Iterator[Trial]:
        yield from (trial for cell in self.sweep.cells for _, trial in cell.members({}))

    def _cost(self) -> Iterator[str]:
        pre, fine, scoring = map(in_words, self.cpu_seconds)
        yield (
            f"cost on one core of this machine: about {pre} of pre-training, {fine} of "
            f"fine-tuning, {scoring} of scoring refits and their baselines {self._known_from}"
        )
        n = workers(self.sweep)
        begun = in_words(self.wall_seconds(n) + START_S)
        said = f"wall time on this machine: about {begun} on {count(n, 'worker')}"
        if self.sweep.decide:
            said += f" for {self.sweep.final.rounds} rounds; open claims add up to "
            said += f"{self.sweep.decide.rounds - self.sweep.final.rounds} more"
        asks_gpu = any(cell.trial.finetune.gpu for cell in self.sweep.cells)
        yield f"{said}{', had it no GPU' if asks_gpu else ''}"

    @property
    def _known_from(self) -> str:
        """How the cost is known."""
        hours = (time.time() - self.steps.oldest) / 3600
        age = f", {hours:.0f} h ago" if hours >= 1 else ""
        specs = [of.trial.pretraining for of in self.prices.encoders]
        more = "; pre-trainings with several workers take about 20 s more each to start"
        more = more if any(spec and spec.most_workers > 1 for spec in specs) else ""
        return f"(timed on {STEPS_TIMED} steps of each{age}), baselines by their windows{more}"

    def wall_seconds(self, n_workers: int) -> float:
        """From the first trial to the last."""
        forecast = Forecast(self.sweep)
        forecast.expect(self.prices)
        return forecast.seconds(planned(self.sweep, self.prices), n_workers) or 0.0

    def _resources(self) -> str:
        specs = [cell.trial.pretraining for cell in self.sweep.cells if cell.trial.pretraining]
        cpus = max((s.most_workers * s.threads_per_worker for s in specs), default=0)
        gpus = max((s.most_workers for s in specs if s.gpu is True), default=0)
        share = max(cell.trial.finetune.gpu for cell in self.sweep.cells)
        per_gpu = f", {1 / share:.0f} per GPU" if share else ""
        trials = self.sweep.concurrency or f"one per CPU{per_gpu}"
        needs = f"a pre-training takes {cpus} CPUs and {gpus} GPUs"
        if any(not isinstance(s.workers, int) for s in specs):
            needs += " at most, as there is room"
        if auto := max((s.fewest_workers for s in specs if s.gpu == "auto"), default=0):
            wanted, seen_here = count(auto, "GPU"), n_gpus()
            place = "GPUs" if auto <= seen_here else "CPUs"
            needs += (
                f", with gpu: auto; this machine has {seen_here} of {wanted}, so on {place} here"
            )
        return f"resources: trials at once: {trials}; {needs}"


def n_gpus() -> int:
    """GPUs that are seen on this machine, without loading what would use them."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return 0
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _n_members(cell: Cell) -> tuple[int, int]:
    """Fine-tunes of all trials, and of the winner's rounds, without those that `decide` adds."""
    n_final = cell.sweep.final.rounds * len(cell.members({}, 0))
    return cell.n_trials * len(cell.repeat), n_final


def _describe(path: str, source: Source) -> str:
    windows = cache.load(source)
    ctx = windows.context
    text = (
        f"{path}: {len(windows)} windows of {ctx.n_chans} x {ctx.seconds:g} s at {ctx.sfreq:g} Hz, "
        f"{len(np.unique(windows.group))} groups, {windows.labels_said}"
    )
    return "\n    caveat: ".join([text, *windows.caveats])
