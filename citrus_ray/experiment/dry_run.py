"""Dry run of a sweep: what it is going to do and cost, before a cluster is spent."""

import dataclasses
import itertools
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from citrus_ray.context import SignalContext
from citrus_ray.data.source import Source, looked_once
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.align import Align, Native
from citrus_ray.data.windowing.splits import in_units, spend, split
from citrus_ray.data.windowing.subjects import check_subjects
from citrus_ray.experiment import stored_weights
from citrus_ray.experiment.hold_out import all_left_out, copies_tested, left_out, seen
from citrus_ray.experiment.search_space import LEARNING
from citrus_ray.experiment.step_times import STEPS_TIMED, StepTimes
from citrus_ray.experiment.sweep import Cell, Sweep, as_refit
from citrus_ray.experiment.trial import Pretrain, Trial
from citrus_ray.models.specs import ClosedForm
from citrus_ray.spec import Problem, SpecError, digest_of

LOOK = 64  # windows of a look that is timed; a longer one takes as much longer


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
    def pretrainings(self) -> list[tuple[Trial, int]]:
        """Different pre-trainings, each with how many there are at most: cells that share an
        encoder share its cost."""
        shared: dict[tuple[str, ...], list[Cell]] = defaultdict(list)
        for cell in self.sweep.cells:
            if cell.trial.pretraining is not None:
                shared[_encoder_key(cell)].append(cell)
        return [(cells[0].trial, _n_encoders(cells)) for cells in shared.values()]

    @cached_property
    def n_pretrainings(self) -> int:
        return sum(n for _, n in self.pretrainings)

    @cached_property
    def cpu_seconds(self) -> tuple[float, float]:
        """(pre-training, fine-tuning) on one thread of this machine."""
        pre = sum(n * _pretrain_seconds(trial, self.steps) for trial, n in self.pretrainings)
        fine = 0.0
        for cell in self.sweep.cells:
            n_searched, n_refitted = _n_members(cell)
            fine += n_searched * _finetune_seconds(cell.trial, self.steps)
            fine += n_refitted * _finetune_seconds(as_refit(cell.trial), self.steps)
        return pre, fine

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
        if self.sweep.warm_start:
            yield from self.sweep.warm_start.lines(self.sweep.first)
        yield "data:"
        yield from (f"  {_describe(path, source)}" for path, source in self._sources())
        yield from (f"  signals: {said}" for said in self._signals())
        yield from (f"  {found}" for found in all_left_out(self._searched()))
        yield from self._read()
        yield from self._weights()
        yield self._cost()
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

    def _cost(self) -> str:
        pre, fine = self.cpu_seconds
        hours = (time.time() - self.steps.oldest) / 3600
        age = f", {hours:.0f} h ago" if hours >= 1 else ""
        specs = [trial.pretraining for trial, _ in self.pretrainings]
        more = "; pre-trainings with several workers take about 20 s more each to start"
        more = more if any(spec and spec.workers > 1 for spec in specs) else ""
        return (
            f"cost on one core of this machine: about {_minutes(pre)} of pre-training, "
            f"{_minutes(fine)} of fine-tuning (timed on {STEPS_TIMED} steps of each{age}{more})"
        )

    def _resources(self) -> str:
        specs = [cell.trial.pretraining for cell in self.sweep.cells if cell.trial.pretraining]
        cpus = max((s.workers * s.threads_per_worker for s in specs), default=0)
        gpus = max((s.workers for s in specs if s.gpu), default=0)
        share = max(cell.trial.finetune.gpu for cell in self.sweep.cells)
        per_gpu = f", {1 / share:.0f} per GPU" if share else ""
        trials = self.sweep.concurrency or f"one per CPU{per_gpu}"
        needs = f"a pre-training takes {cpus} CPUs and {gpus} GPUs"
        return f"resources: trials at once: {trials}; {needs}"


def _n_members(cell: Cell) -> tuple[int, int]:
    """Fine-tunes of all trials, and of the winner's rounds, without those that `decide` adds."""
    n_final = cell.sweep.final.rounds * len(cell.members({}, 0))
    return cell.n_trials * len(cell.repeat), n_final


def _encoder_key(cell: Cell) -> tuple[str, ...]:
    """Equal for cells that search among the same encoders."""
    encoders = {trial.encoder_digest() for _, trial in cell.members({})}
    paths = sorted(filter(_reaches_encoder, cell.search))
    axes = [f"{path}={cell.search[path].digest()}" for path in paths]
    return (*sorted(str(digest) for digest in encoders), *axes)


def _reaches_encoder(path: str) -> bool:
    return path.startswith(("pretrain.", "model."))


def _n_encoders(cells: list[Cell]) -> int:
    """At most: searched points that reach into the pre-training, times repeats that do, and those
    of rounds."""
    reaching = (axis for path, axis in cells[0].search.items() if _reaches_encoder(path))
    n_points = math.prod(axis.n_values() for axis in reaching)
    searched = {trial.encoder_digest() for _, trial in cells[0].members({})} - {None}
    refits = [
        trial
        for cell in cells
        for number in range(cell.sweep.final.rounds)
        for _, trial in cell.members({}, number)
    ]
    fresh = {trial.encoder_digest() for trial in refits} - {None} - searched
    # a design is the same in all of them, and so are the encoders that it asks for
    most = sum if cells[0].sweep.sampler in LEARNING else max
    n_trials = most(cell.n_trials for cell in cells)
    return int(min(n_points, n_trials)) * len(searched) + len(fresh)


def _describe(path: str, source: Source) -> str:
    windows = cache.load(source)
    ctx = windows.context
    text = (
        f"{path}: {len(windows)} windows of {ctx.n_chans} x {ctx.seconds:g} s at {ctx.sfreq:g} Hz, "
        f"{len(np.unique(windows.group))} groups, {windows.labels_said}"
    )
    return "\n    caveat: ".join([text, *windows.caveats])


def _minutes(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _pretrain_seconds(trial: Trial, steps: StepTimes) -> float:
    spec, encoder = trial.pretraining, trial.model.backbone
    assert spec is not None
    assert encoder is not None
    windows, size = cache.load(spec.source), spec.optim.batch_size
    n_steps = spec.epochs * max(1, int(len(windows) * (1 - spec.val)) // size)
    part = -(-min(size, len(windows)) // spec.accumulate)
    return n_steps * spec.accumulate * steps.pretraining(encoder, spec, windows.context, part)


def _finetune_seconds(trial: Trial, steps: StepTimes) -> float:
    spec = trial.finetune
    windows = in_units(cache.load(spec.target, spec.align), spec.split)
    parts = split(windows, spec.split, trial.seed)
    spent, learnt = spend(windows, parts, spec.labels, spec.validation, trial.seed)
    if isinstance(trial.model, ClosedForm):
        n_seen = len(learnt) + len(spent.val) + len(spent.test)
        return trial.model.seconds(windows.context, len(learnt), n_seen)
    of = (trial.model, spec.pool, windows.context)
    n_step, n_look = min(spec.optim.batch_size, len(learnt)), len(spent.val)
    seconds = spec.n_steps(len(learnt)) * steps.finetune(*of, n_step, spec.head)
    if n_look:
        size = min(LOOK, n_look)
        seconds += spec.rounds * n_look / size * steps.look(*of, size, spec.head)
    return seconds
