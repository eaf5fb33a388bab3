"""Prices of a sweep's work: the members and encoders that are planned, and the seconds of one
thread that each should take before any has run."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.splits import Parts, in_units, spend, split
from citrus_ray.data.windows import Index, Windows
from citrus_ray.experiment.labels import canonical
from citrus_ray.experiment.step_times import StepTimes
from citrus_ray.experiment.sweep import Cell, Sweep, as_refit
from citrus_ray.experiment.trial import Trial
from citrus_ray.models.specs import Bag, BandPower, ClosedForm, MiniRocket, Tangent
from citrus_ray.records import Phase

LOOK = 64  # windows of a look that is timed; a longer one takes as much longer
# what stands beside every refit, of which each is solved in closed form
BASELINES: tuple[ClosedForm, ...] = (BandPower(), BandPower(), Tangent(), MiniRocket(), Bag())
IDENTITY = 512  # windows of which a refit says whose they are
# a regression on the features of an untrained encoder, and of each window that it learns from
SOLVING_S, SOLVING_WINDOW_S, SOLVING_MOST = 0.3, 2e-3, 2048


@dataclass(frozen=True)
class EncoderGroup:
    """The pre-trainings that some cells share: they search among the same encoders."""

    cells: tuple[Cell, ...]

    @property
    def trial(self) -> Trial:
        return self.cells[0].trial

    @property
    def threads(self) -> int:
        spec = self.trial.pretraining
        assert spec is not None
        return spec.most_workers * spec.threads_per_worker

    @cached_property
    def searched(self) -> set[str]:
        """Those at the cells' own settings, where nothing searched reaches them."""
        members = self.cells[0].members({})
        return {digest for _, trial in members if (digest := trial.encoder_digest())}

    @cached_property
    def fresh(self) -> set[str]:
        """Those that rounds ask for beyond them, at the same settings."""
        rounds = range(self.cells[0].sweep.final.rounds)
        refits = (t for cell in self.cells for n in rounds for _, t in cell.members({}, n))
        found = {digest for trial in refits if (digest := trial.encoder_digest())}
        return found - self.searched

    @cached_property
    def is_searched(self) -> bool:
        """Whether searched points reach into the pre-training."""
        return any(map(reaches_encoder, self.cells[0].search))

    @cached_property
    def n(self) -> int:
        """At most: searched points that reach into the pre-training, times repeats that do, and
        those of rounds."""
        first = self.cells[0]
        reaching = (axis for path, axis in first.search.items() if reaches_encoder(path))
        n_points = math.prod(axis.n_values() for axis in reaching)
        # a design is the same in all of them, and so are the encoders that it asks for
        each = [cell.n_trials for cell in self.cells]
        n_trials = sum(each) if first.sweep.learns_apart else max(each)
        n_searched = int(min(n_points, n_trials)) * len(self.searched)
        return n_searched + len(self.fresh)

    def digests(self) -> set[str]:
        """Names of those that can be told before the search has chosen any."""
        return set() if self.is_searched else self.searched | self.fresh

    def left(self, n_there: int, jobs: Mapping[tuple[int, Phase], int]) -> int:
        """Those to come, of which the `jobs` that are left ask for no more than a few each."""
        searches = [jobs.get((cell.index, "search"), 0) for cell in self.cells]
        rounds = [jobs.get((cell.index, "final"), 0) for cell in self.cells]
        n_search, n_rounds = max(searches), max(rounds)
        # winners that differ in their pre-training share no encoder
        if self.is_searched:
            n_search, n_rounds = sum(searches), sum(rounds)
        asked = n_search * len(self.searched) + n_rounds
        return max(min(self.n - n_there, asked), 0)


def encoders_of(sweep: Sweep) -> list[EncoderGroup]:
    """Different pre-trainings: cells that share an encoder share its cost."""
    shared: dict[tuple[str, ...], list[Cell]] = defaultdict(list)
    for cell in sweep.cells:
        if cell.trial.pretraining is not None:
            shared[_encoder_key(cell)].append(cell)
    return [EncoderGroup(tuple(cells)) for cells in shared.values()]


def _encoder_key(cell: Cell) -> tuple[str, ...]:
    """Equal for cells that search among the same encoders."""
    encoders = {trial.encoder_digest() for _, trial in cell.members({})}
    paths = sorted(filter(reaches_encoder, cell.search))
    axes = [f"{path}={cell.search[path].digest()}" for path in paths]
    return (*sorted(str(digest) for digest in encoders), *axes)


def reaches_encoder(path: str) -> bool:
    return path.startswith(("pretrain.", "model."))


@dataclass(frozen=True)
class Prices:
    """Seconds of each kind of work, from timed steps and counted windows."""

    sweep: Sweep
    steps: StepTimes = field(default_factory=StepTimes, compare=False)

    @cached_property
    def encoders(self) -> list[EncoderGroup]:
        return encoders_of(self.sweep)

    def pretraining(self, of: EncoderGroup) -> float:
        """Of one encoder, on all its threads together."""
        spec, encoder = of.trial.pretraining, of.trial.model.backbone
        assert spec is not None
        assert encoder is not None
        windows, size = cache.load(spec.source), spec.optim.batch_size
        n_steps = spec.epochs * max(1, int(len(windows) * (1 - spec.val)) // size)
        part = -(-min(size, len(windows)) // spec.accumulate)
        step = self.steps.pretraining(encoder, spec, windows.context, part)
        return n_steps * spec.accumulate * step

    def training(self, cell: Cell, phase: Phase) -> float:
        """Of a member of a trial, or of the winner's round, until it can be scored on test data;
        the mean over what is repeated."""
        trials = self._different(cell)
        if phase == "final":
            trials = [as_refit(trial) for trial in trials]
        return sum(training_seconds(trial, self.steps) for trial in trials) / len(trials)

    def scoring(self, cell: Cell) -> float:
        """Of a member of a round: its test score, and the baselines that its cell has beside it."""
        trials = [as_refit(trial) for trial in self._different(cell)]
        return sum(self._scoring(cell, trial) for trial in trials) / len(trials)

    def _scoring(self, cell: Cell, trial: Trial) -> float:
        shares = _Shares.of(trial)
        ctx, n_test = shares.windows.context, len(shares.parts.test)
        n_learnt, n_seen = len(shares.learnt), len(shares.learnt) + n_test
        has_baselines = cell.scratch_twin() is None
        if isinstance(trial.model, ClosedForm):  # scored, and kept
            learnt, seen = (trial.model.seconds(ctx, n_learnt, n) for n in (n_learnt, n_seen))
            seconds = 2 * (seen - learnt)
        else:  # and asked whose each window is
            seconds = _look(trial, shares, 2 * n_test + IDENTITY, self.steps)
        if has_baselines and not trial.model.is_solved:  # its encoder, untrained
            seconds += SOLVING_S + SOLVING_WINDOW_S * min(n_learnt, SOLVING_MOST)
            seconds += _look(trial, shares, n_seen, self.steps)
        if has_baselines and self._pays[cell.index]:
            normalised = getattr(trial.finetune.target, "normalize", "none") != "none"
            of_one = sum(method.seconds(ctx, n_learnt, n_seen) for method in BASELINES)
            seconds += of_one * (2 if normalised else 1)  # once without
        return seconds

    def member(self, cell: Cell, phase: Phase) -> float:
        """All that a member of that phase takes."""
        return self.training(cell, phase) + (self.scoring(cell) if phase == "final" else 0.0)

    @cached_property
    def _pays(self) -> list[bool]:
        """Whether a cell is the first to ask for its baselines, which others then find."""
        seen, pays = set[str](), list[bool]()
        for cell in self.sweep.cells:
            finetune = cell.trial.finetune.identity()
            parts = ("target", "align", "labels", "split", "validation")
            key = canonical([str(finetune.get(name)) for name in parts])
            pays.append(key not in seen)
            seen.add(key)
        return pays

    def _different(self, cell: Cell) -> list[Trial]:
        """Repeated members that may differ in price: seeds do not."""
        found = [trial for _, trial in cell.members({})]
        keys = (f"{t.model.model_dump_json()} {t.finetune.model_dump_json()}" for t in found)
        return list(dict(zip(keys, found, strict=True)).values())


@dataclass(frozen=True)
class _Shares:
    """The windows of a trial's target, and who of them does what."""

    windows: Windows
    parts: Parts
    learnt: Index

    @classmethod
    def of(cls, trial: Trial) -> "_Shares":
        spec = trial.finetune
        windows = in_units(cache.load(spec.target, spec.align), spec.split)
        parts = split(windows, spec.split, trial.seed)
        return cls(windows, *spend(windows, parts, spec.labels, spec.validation, trial.seed))


def training_seconds(trial: Trial, steps: StepTimes) -> float:
    """Of one member until it can be scored, on one thread."""
    spec, shares = trial.finetune, _Shares.of(trial)
    windows, n_learnt, n_val = shares.windows, len(shares.learnt), len(shares.parts.val)
    if isinstance(trial.model, ClosedForm):
        return trial.model.seconds(windows.context, n_learnt, n_learnt + n_val)
    n_step = min(spec.optim.batch_size, n_learnt)
    of = (trial.model, spec.pool, windows.context)
    seconds = spec.n_steps(n_learnt) * steps.finetune(*of, n_step, spec.head)
    return seconds + (spec.rounds * _look(trial, shares, n_val, steps) if n_val else 0.0)


def _look(trial: Trial, shares: _Shares, n: int, steps: StepTimes) -> float:
    """Of a network at so many windows."""
    spec, size = trial.finetune, min(LOOK, n)
    seconds = steps.look(trial.model, spec.pool, shares.windows.context, size, spec.head)
    return seconds * n / size
