"""Constraints: what a fine-tune may take at most. Known before it runs, so that nothing is spent on
what may not win."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache

from citrus_ray.data.windowing import cache as windows_cache
from citrus_ray.experiment.budgets import Constraints
from citrus_ray.experiment.designs import Point, common_points, project
from citrus_ray.experiment.labels import canonical
from citrus_ray.experiment.prices import training_seconds
from citrus_ray.experiment.step_times import StepTimes
from citrus_ray.experiment.sweep import Cell, Sweep
from citrus_ray.experiment.trial import Trial
from citrus_ray.spec import Problem, SpecError, digest_of


@dataclass(frozen=True)
class Over:
    """Limits that a trial is over: by what share of each, and in words."""

    shares: dict[str, float] = field(default_factory=dict)
    said: str = ""

    def __bool__(self) -> bool:
        return bool(self.shares)


@dataclass(frozen=True)
class Limits:
    """A sweep's constraints, asked about trials. A model is built, or timed, once."""

    constraints: Constraints
    steps: StepTimes = field(default_factory=StepTimes)
    _known: dict[str, float] = field(default_factory=dict)

    def over(self, trials: Iterable[Trial]) -> Over:
        """What the members of a trial are over, the worst of them."""
        trials = list(trials)
        shares, said = dict[str, float](), []
        for name, limit in self.constraints.tree().items():
            if limit is None:
                continue
            most = max(self._asked(name, trial) for trial in trials)
            if most > limit:
                shares[name] = most / limit - 1
                said.append(f"{most:,.6g} {name} of at most {limit:,g}")
        return Over(shares, f"over constraints: {' and '.join(said)}" if said else "")

    def _asked(self, name: str, trial: Trial) -> float:
        finetune = {k: v for k, v in trial.finetune.tree().items() if k != "optim"}
        size = trial.finetune.optim.batch_size
        key = digest_of([name, trial.model.identity(), finetune, size])
        if key not in self._known:
            seconds = name == "seconds"
            self._known[key] = training_seconds(trial, self.steps) if seconds else weights_of(trial)
        return self._known[key]

    def lines(self, sweep: Sweep) -> Iterator[str]:
        """How much of each cell's search they leave, for a plan."""
        limits = {k: v for k, v in self.constraints.tree().items() if v is not None}
        yield f"constraints: {', '.join(f'at most {v:,g} {k}' for k, v in limits.items())}"
        for cell in sweep.cells:
            over = self.of_cell(cell)
            n = sum(map(bool, over))
            if n:
                yield f"  {cell.label}: {n} of {len(over)} points are over them and will not run"
                yield f"    the first is {next(one.said for one in over if one)}"

    def of_cell(self, cell: Cell) -> list[Over]:
        """What each of a cell's points is over; where results lead, of points that are spread."""
        own = {canonical(p): p for p in (project(p, cell.search) for p in _spread(cell.sweep))}
        return [self.over(trial for _, trial in cell.members(point)) for point in own.values()]


@cache
def limits_of(constraints: Constraints) -> Limits:
    """The limits of all cells, plans and studies of this process."""
    return Limits(constraints)


def _spread(sweep: Sweep) -> Iterable[Point]:
    if sweep.points is not None:
        return sweep.points
    spaces = [cell.search for cell in sweep.cells]
    return common_points("qmc", spaces, sweep.budget.trials, sweep.seed)


def weights_of(trial: Trial) -> float:
    """Of the network and its head; none of a method without a network."""
    if trial.model.is_solved:
        return 0.0
    from citrus_ray.models.nets.classifier import Classifier  # loads torch

    ctx, spec = (
        windows_cache.load(trial.finetune.target, trial.finetune.align).context,
        trial.finetune,
    )
    network = Classifier(trial.model.build(ctx), ctx, spec.pool, spec.head)
    return float(sum(parameter.numel() for parameter in network.parameters()))


def check_constraints(sweep: Sweep) -> None:
    """A cell of which no point is within the limits would have no winner."""
    if sweep.constraints is None:
        return
    limits, problems = limits_of(sweep.constraints), []
    for cell in sweep.cells:
        over = limits.of_cell(cell)
        if over and all(over):
            rule = f"{cell.label}: all its {len(over)} points are {over[0].said}"
            problems.append(Problem("constraints", f"{rule}; raise the limit, or search others"))
    if problems:
        raise SpecError(problems)
