"""A sweep is a trial and three kinds of axes: compared, repeated and searched. Pure values;
nothing here runs."""

import difflib
import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from citrus_ray.experiment.budgets import (
    FRESH_SEED,
    Asha,
    Budget,
    Constraints,
    Decide,
    Failures,
    Final,
    Objective,
    Race,
)
from citrus_ray.experiment.designs import Point, common_points, completed, project
from citrus_ray.experiment.hypotheses import Hypothesis, Verdicts, side
from citrus_ray.experiment.labels import canonical, cell_labels, value_label
from citrus_ray.experiment.search_space import (
    COMMON,
    LEARNING,
    Sampler,
    SearchAxis,
    misfits,
    n_points,
)
from citrus_ray.experiment.sweep_files import WRITTEN, find, question_of, shipped
from citrus_ray.experiment.trial import Trial
from citrus_ray.experiment.warm_start import WarmStart
from citrus_ray.metrics import METRICS, metric_of
from citrus_ray.models.specs import KINDS
from citrus_ray.records import Phase
from citrus_ray.spec import (
    Aside,
    Document,
    Later,
    Problem,
    Spec,
    SpecError,
    digest_of,
    locate,
    open_blocks,
    put,
    read_yaml,
    refuse,
    validate,
)

ARM = "arm"  # the axis of named arms
MOST_CELLS, MOST_MEMBERS = 2_000, 20_000
MAX_CORNERS = 64  # per cell; beyond it, corners are taken one axis at a time


class Sweep(Spec):
    """A sweep as its YAML file says it: `citrus run` or `run()` runs it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    """The sweep's name, and that of its results folder."""
    trial: Trial
    """One complete run, which the axes below change."""
    objective: Objective = Objective()
    """What trials are ranked by."""
    compare: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = {}
    """Dotted path and its values: every combination is a study of its own, a row in the result."""
    arms: Annotated[dict[str, Annotated[dict[str, Any], Field(min_length=1)]], Later()] = {}
    """Name and the edits that make it, dotted path and value: what differs from the others in
    several keys at once. Compared as `arm`."""
    repeat: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = {}
    """Dotted path and its values: a trial's score is the mean over every combination."""
    search: dict[str, SearchAxis] = {}
    """Dotted path and what is sampled there, at the same points in every row that has it."""
    budget: Budget
    """What may be spent."""
    final: Final = Final()
    """How winners are scored."""
    sampler: Sampler = "qmc"
    """Where the search tries: qmc, random and grid at points that are known beforehand and common
    to all rows; tpe and gp where results lead, those of all rows together where they share an
    axis, at points common to all; cmaes where the results of a row lead that shares none."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the sampler, the same for every row."""
    warm_start: Annotated[WarmStart | None, Later()] = None
    """Points that did well in earlier records, which every row tries first; null: none."""
    constraints: Annotated[Constraints | None, Later()] = None
    """What a fine-tune of the search may take at most; null: no limits."""
    asha: Asha | None = None
    """Stop trials that fall behind after some rounds of validation; null: none."""
    claims: Annotated[tuple[Hypothesis, ...], Aside()] = ()
    """What the sweep is asked to decide."""
    verdicts: Annotated[Verdicts, Aside()] = Verdicts()
    """When a claim, or a gain, is decided."""
    decide: Annotated[Decide | None, Aside()] = None
    """Rounds that are added until every claim is decided; null: those of `final` alone."""
    race: Annotated[Race | None, Later("cell")] = None
    """Stop trials that are clearly worse on their first members; null: none."""
    failures: Annotated[Failures, Aside()] = Failures()
    """What is done about trials that fail."""
    concurrency: Annotated[Annotated[int, Field(ge=1)] | None, Aside()] = None
    """Trials at once at most; null: one per CPU."""
    trackers: Annotated[tuple[Literal["wandb", "mlflow"], ...], Aside()] = ()
    """Where runs are kept too: `wandb`, `mlflow`. Records do not depend on it."""

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> "Sweep":
        """A sweep of plain values, as its YAML file would hold them; blocks may be specs such as
        `Conv(dim=32)`. Every problem at once."""
        sweep = validate(cls, json.loads(json.dumps(tree, default=_as_plain)))
        _ = sweep.cells
        return sweep

    @cached_property
    def text(self) -> str:
        """YAML that says the same: of a sweep that was read from a file, that file's."""
        return f"{WRITTEN} Python\n{yaml.safe_dump(self.tree(), sort_keys=False)}"

    def run(
        self,
        address: str | None = None,
        progress: bool = True,
        out: str | Path | None = None,
    ) -> Any:
        """Compute what is not recorded yet and write all that `citrus run` writes; the sweep's
        `citrus_ray.Results`.

        `address`: None runs trials one after another in this process, without Ray; `"local"` on all
        CPUs of this machine, any other on the Ray cluster there (`"auto"`: the one that this
        machine is of). Records are the same. `progress` is shown on stderr. `out` is the folder of
        results, `results/<name>` (or in `$CITRUS_RESULTS`) where none is given.
        """
        return locate("citrus_ray.cli.running:run")(self, address, progress, out)

    @cached_property
    def cells(self) -> tuple["Cell", ...]:
        """Every combination of the compared values, validated at the corners of the searched
        axes."""
        return _Cells(self).build()

    @property
    def judged_by(self) -> Verdicts:
        """Its verdicts, with the margin that its metric has where none is given."""
        return self.verdicts.of(self.objective.metric)

    @property
    def compared(self) -> dict[str, tuple[Any, ...]]:
        """Every axis that is compared and its values, named arms among them."""
        if not self.arms:
            return self.compare
        names = self.compare.get(ARM, tuple(self.arms))
        known = [name for name in names if isinstance(name, str) and name in self.arms]
        return {**self.compare, ARM: tuple(known)}

    def edits(self, axes: dict[str, Any]) -> dict[str, Any]:
        """What compared values change in the trial."""
        if ARM not in axes or not self.arms:
            return axes
        return self.arms[axes[ARM]] | {path: v for path, v in axes.items() if path != ARM}

    @cached_property
    def together(self) -> bool:
        """Whether the results of all cells lead to points that are common to them."""
        shared = Counter(path for cell in self.cells for path in cell.search)
        return self.sampler in COMMON and any(n > 1 for n in shared.values())

    @property
    def learns_apart(self) -> bool:
        """Whether each cell's own results lead its search, at points of its own."""
        return self.sampler in LEARNING and not self.together

    @cached_property
    def points(self) -> tuple[Point, ...] | None:
        """Where the search tries, for all cells together; None of a sampler that learns."""
        if self.sampler in LEARNING:
            return None
        spaces = [cell.search for cell in self.cells]
        return common_points(self.sampler, spaces, self.budget.trials, self.seed, self.first)

    @cached_property
    def first(self) -> tuple[Point, ...]:
        """Where the search begins, for all cells together: the points of its warm start."""
        if self.warm_start is None or self.warm_start.found is None:
            return ()
        known = self.warm_start.found.points[: self.warm_start.points]
        sampler: Sampler = "random" if self.sampler == "random" else "qmc"
        return completed(known, sampler, [cell.search for cell in self.cells], self.seed)

    @property
    def objectives(self) -> list[str]:
        """What is optimised, by name: one metric, or the metric at each value of
        `objective.each`."""
        metric = self.objective.metric
        return [
            f"{metric} at {_named(value)}"
            for value in self.repeat.get(self.objective.each or "", ())
        ] or [metric]


@dataclass(frozen=True)
class Cell:
    """One row of the comparison: a study of its own."""

    index: int
    label: str  # for people: no other cell of the sweep has it
    axes: dict[str, Any]
    trial: Trial
    search: dict[str, SearchAxis]  # the axes that exist in this arm
    repeat: tuple[dict[str, Any], ...]
    # it holds its cells: comparing it would never end
    sweep: Sweep = field(repr=False, compare=False)

    @cached_property
    def digest(self) -> str:
        """Names the study: records of a sweep with another budget belong to it, of another
        search space do not."""
        space = {path: axis.tree() for path, axis in self.search.items()}
        asha = self.sweep.asha and self.sweep.asha.tree()
        # named sets are resolved in members
        members = [trial.digest() for _, trial in self.members({})]
        aim, race = self.sweep.objective, self.sweep.race
        objective = {k: v for k, v in aim.tree().items() if not aim.says_nothing_new(k, "cell")}
        raced = [] if self.sweep.says_nothing_new("race", "cell") or not race else [race.tree()]
        limits = self.sweep.constraints
        limited = [{"constraints": limits.tree()}] if limits else []
        return digest_of([members, space, objective, asha, *raced, *limited])

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """Its part of the sweep's points: what differs in the axes that it has, in their order."""
        found = (project(point, self.search) for point in self.sweep.points or ())
        return tuple({canonical(point): point for point in found}.values())

    @property
    def n_trials(self) -> int:
        """The budget, or fewer where the searched space, or its part of the design, has fewer
        points."""
        n = n_points(self.search)
        # of a continuous space every point is another one: no need to make them
        if self.sweep.sampler in LEARNING or n == math.inf:
            return int(min(self.sweep.budget.trials, n))
        return len(self.points)

    def members(
        self, params: dict[str, Any], number: int | None = None
    ) -> list[tuple[dict[str, Any], Trial]]:
        """What one trial runs: (repeated values, member) pairs, in the search or in the round of
        that number."""
        repeats = self.repeat if number is None else self._drawn(number)
        members = [(repeat, _at(self.trial, params | repeat)) for repeat in repeats]
        return members if number is None else [(repeat, as_refit(t)) for repeat, t in members]

    def _drawn(self, number: int) -> list[dict[str, Any]]:
        """The repeated values with what the round draws in place of what the search repeated."""
        others = [
            {k: v for k, v in r.items() if k not in ("seed", "pretrain.seed")} for r in self.repeat
        ]
        unique = {canonical(other): other for other in others}.values()
        seed = FRESH_SEED + number
        drawn: dict[str, Any] = {"seed": seed}
        if self.trial.pretraining is not None:
            drawn["pretrain.seed"] = seed
        if self.trial.finetune.split.fold is None:  # a fold that is named is tested whole
            drawn["finetune.split.round"] = number
        return [other | drawn for other in unique]

    def scratch_twin(self) -> "Cell | None":
        """The from-scratch cell that is equal in every other axis; None for a scratch cell
        itself."""
        if self.trial.pretraining is None:
            return None

        def others(cell: Cell) -> dict[str, Any]:
            return {
                path: value for path, value in cell.axes.items() if path.split(".")[0] != "pretrain"
            }

        twins = (
            c for c in self.sweep.cells if c.trial.pretraining is None and others(c) == others(self)
        )
        return next(twins, None)


def as_refit(trial: Trial) -> Trial:
    """The member as it runs in a round: nothing is chosen there, so all labels that the search had
    to learn from and to choose by are learnt from."""
    if trial.finetune.validation == "labels":
        return trial.at({"finetune.validation": "none"})
    return trial


def trial_digest(members: list[tuple[dict[str, Any], Trial]], phase: Phase) -> str:
    return digest_of([phase, *(member.digest() for _, member in members)])


def _named(value: Any) -> str:
    """A value as the name of an objective has it, in summaries and studies: `per_class=5`."""
    if value is None:
        return "scratch"
    if isinstance(value, dict):
        rest = ",".join(
            f"{k}={_named(v)}" for k, v in value.items() if k != "kind" and v is not None
        )
        return ":".join(part for part in (value.get("kind"), rest) if part)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _at(trial: Trial, edits: dict[str, Any]) -> Trial:
    """Whole blocks before what lies inside them, so that an axis may reach into a compared
    block."""
    return (
        trial.at(dict(sorted(edits.items(), key=lambda item: item[0].count("."))))
        if edits
        else trial
    )


class _Cells:
    """Builds the cells of a sweep and collects everything that is wrong with any of them."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.problems: dict[tuple[str, str], Problem] = {}
        self.reached: set[str] = set()

    def build(self) -> tuple[Cell, ...]:
        self._check_numbers()
        self._check_fresh_seeds()
        self._check_folds()
        self._check_doubles()
        self._check_arms()
        self._check_warm_start()
        self._check_per()
        compared = _products(self.sweep.compared)
        asked = (axes for axes in compared if not self._has_no_encoder(axes))
        cells = [cell for axes in asked if (cell := self._cell(axes))]
        self._check_race(cells)
        self._check_validation(cells)
        self._check_objectives()
        self._check_targets(cells)
        # from scratch, other compared values of `pretrain` change nothing: one cell stands for all
        # of them
        different = {canonical(c.axes): c for c in cells}.values()
        labels = cell_labels([cell.axes for cell in different])
        numbered = tuple(
            replace(cell, index=i, label=label)
            for i, (cell, label) in enumerate(zip(different, labels, strict=True))
        )
        if cells:
            self._check_reached(cells)
            self._check_claims(cells)
            self._check_sampler(numbered)
            self._check_rotation(numbered)
            self._check_speed(cells)
        if self.problems:
            raise SpecError(list(self.problems.values()))
        return numbered

    def _check_numbers(self) -> None:
        """At once: what has more cells or members than can be computed would be built for ever."""
        for section, axes, most, what in (
            ("compare", self.sweep.compared, MOST_CELLS, "cells"),
            ("repeat", self.sweep.repeat, MOST_MEMBERS, "members of each trial"),
        ):
            n = math.prod(len(values) for values in axes.values())
            if n > most:
                rule = f"its values make {n:,} {what}, and a sweep has at most {most:,}"
                raise refuse(f"{rule}; drop some", section)

    def _has_no_encoder(self, axes: dict[str, Any]) -> bool:
        """Whether there is nothing to pre-train here, while other models are: of a method without a
        network the cell from scratch is the only one."""
        compared = [path for path in ("pretrain", "pretrain.task") if path in axes]
        if not any(axes[p] is not None and None in self.sweep.compare[p] for p in compared):
            return False
        edits = self.sweep.edits(axes)
        try:
            model = KINDS(edits["model"]) if "model" in edits else self.sweep.trial.model
        except ValueError:  # said where the cell is built
            return False
        return model.backbone is None

    def _cell(self, axes: dict[str, Any]) -> Cell | None:
        trial = self._try(self.sweep.trial, self.sweep.edits(axes), "compare", axes.get(ARM, ""))
        if trial is None:
            return None
        search = {path: axis for path, axis in self.sweep.search.items() if has_path(trial, path)}
        repeat = tuple(
            _products({p: v for p, v in self.sweep.repeat.items() if has_path(trial, p)})
        )
        self.reached |= set(search) | {path for r in repeat for path in r}
        for values in repeat:
            self._try(trial, values, "repeat")
        for corner in _corners(search):
            self._try(trial, corner, "search")
        for problem in misfits(self.sweep.sampler, search, self.sweep.budget.trials):
            self.problems.setdefault((problem.path, problem.message), problem)
        return Cell(0, "", _in_force(axes, trial), trial, search, repeat, self.sweep)

    def _try(
        self, trial: Trial, edits: dict[str, Any], section: str, arm: str = ""
    ) -> Trial | None:
        try:
            return _at(trial, edits)
        except SpecError as err:
            for problem in err.problems:
                axis = next(
                    (
                        path
                        for path in edits
                        if problem.path == path or problem.path.startswith((f"{path}.", f"{path}["))
                    ),
                    "",
                )
                of_arm = axis in self.sweep.arms.get(arm, {})
                section = f"arms.{arm}" if of_arm else section
                where = f"{section}.{axis}" if axis else section
                value = (
                    ""
                    if not axis or _no_such_path(problem)
                    else f"{value_label(axis, edits[axis])}: "
                )
                message = value + problem.message
                self.problems.setdefault((where, message), Problem(where, message))
            return None

    def _check_reached(self, cells: list[Cell]) -> None:
        """An axis that no arm has is a typo, not a condition."""
        known = sorted({path for cell in cells for path in paths(cell.trial)})
        for section in ("search", "repeat"):
            for path in getattr(self.sweep, section):
                if path not in self.reached:
                    near = difflib.get_close_matches(path, known, n=1)
                    if path in known:
                        way_out = "drop it, or compare a model that does"
                    elif near:
                        way_out = f"did you mean `{near[0]}`?"
                    else:
                        way_out = "see the README for the trial's keys"
                    verb = "takes" if path in known else "has"
                    message = f"no compared arm {verb} this path; {way_out}"
                    self.problems[path, message] = Problem(f"{section}.{path}", message)

    def _check_claims(self, cells: list[Cell]) -> None:
        """Both sides of a claim must be there to compare."""
        if self.sweep.decide and not self.sweep.claims:
            message = "there is nothing to decide; add `claims`, or drop decide"
            self.problems["decide", message] = Problem("decide", message)
        if self.sweep.decide and self.sweep.decide.rounds < self.sweep.final.rounds:
            message = f"must be at least final.rounds, which is {self.sweep.final.rounds}"
            self.problems["decide", message] = Problem("decide.rounds", message)
        for i, claim in enumerate(self.sweep.claims):
            about = [cell.axes for cell in cells if claim.is_about(cell.axes)]
            for name, wanted in (("better", claim.better), ("worse", claim.worse)):
                if not any(side(wanted, axes) for axes in about):
                    there = ", ".join(self.sweep.compared) or "nothing"
                    message = f"{json.dumps(wanted)}: no compared cell is so; `compare` has {there}"
                    self.problems[name, str(i)] = Problem(f"claims[{i}].{name}", message)

    def _check_speed(self, cells: list[Cell]) -> None:
        """A claim of how soon validation data get to a level needs refits that look at them."""
        for i, claim in enumerate(self.sweep.claims):
            about = [cell for cell in cells if claim.level and claim.is_about(cell.axes)]
            sides = [c for c in about for on in (claim.better, claim.worse) if side(on, c.axes)]
            low, high = metric_of(self.sweep.objective.metric).bounds
            if claim.level is not None and not low < claim.level < high:
                message = f"level={claim.level:g}: must lie between {low:g} and {high:g}, as scores"
                self.problems["level", str(i)] = Problem(f"claims[{i}].level", message)
            blind = {cell.trial.finetune.validation for cell in sides} - {"full"}
            if blind:
                rule = f"refits with validation={min(blind)} have no rounds of validation"
                message = f"measure={claim.measure}: {rule}; give `finetune.validation: full`"
                self.problems["measure", str(i)] = Problem(f"claims[{i}].measure", message)

    def _check_doubles(self) -> None:
        """The same value twice would be computed and averaged as if it were two."""
        for section in ("compare", "repeat"):
            for path, values in getattr(self.sweep, section).items():
                if len({json.dumps(value, sort_keys=True) for value in values}) < len(values):
                    message = f"{json.dumps(values)}: each value must stand once; drop the double"
                    self.problems[path, message] = Problem(f"{section}.{path}", message)

    def _check_arms(self) -> None:
        """An arm is named by what it is, and nothing that it changes is compared beside it."""
        arms = self.sweep.arms
        asked = self.sweep.compare.get(ARM, ()) if arms else ()
        for name in (name for name in asked if name not in [*arms]):
            message = f"{json.dumps(name)}: no such arm; `arms` has {', '.join(arms)}"
            self.problems["arm", str(name)] = Problem(f"compare.{ARM}", message)
        alike = defaultdict[str, list[str]](list)
        for name, edits in arms.items():
            alike[canonical(edits)].append(name)
            for section in ("compare", "repeat", "search"):
                for path in (path for path in edits if path in getattr(self.sweep, section)):
                    message = f"is under {section} as well, and the arm has one value; drop either"
                    self.problems[name, path] = Problem(f"arms.{name}.{path}", message)
        for names in (names for names in alike.values() if len(names) > 1):
            message = f"{' and '.join(names)} are the same; drop one"
            self.problems["arms", names[0]] = Problem(f"arms.{names[-1]}", message)

    def _check_folds(self) -> None:
        """Averaging the search over test parts would validate on what another one tests."""
        for path in ("finetune.split", *(f"finetune.split.{key}" for key in ("fold", "seed"))):
            if path in self.sweep.repeat:
                message = (
                    "the validation data of one test part are test data of another; put it under "
                    "`compare`, a study for each"
                )
                self.problems[path, message] = Problem(f"repeat.{path}", message)
        path = "finetune.split.round"
        for section in ("compare", "repeat", "search"):
            if path in getattr(self.sweep, section):
                message = "rounds are drawn by the sweep itself; give `final: {rounds: 6}`"
                self.problems[path, message] = Problem(f"{section}.{path}", message)

    def _check_rotation(self, cells: Sequence[Cell]) -> None:
        """Rounds that test every fold in turn leave nobody to choose by."""
        for cell in cells:
            # not `n_trials`, for which all cells must be known
            n_trials = min(self.sweep.budget.trials, n_points(cell.search))
            if cell.trial.finetune.split.rotates and n_trials > 1:
                rule = "every group is tested in some round, and a search would choose by them"
                message = f"folds without fold: {rule}; give `fold` under compare, a study for"
                message += " each, or search nothing (`budget: {trials: 1}`)"
                path = "trial.finetune.split"
                self.problems["rotates", path] = Problem(path, message)

    def _check_sampler(self, cells: Sequence[Cell]) -> None:
        """What follows one arm's results alone would try an axis at other points in each."""
        sampler = self.sweep.sampler
        shared = [p for p in self.sweep.search if sum(p in cell.search for cell in cells) > 1]
        if sampler in LEARNING and sampler not in COMMON and shared:
            message = (
                f"{sampler} follows each arm's own results, so the {len(cells)} arms would be "
                f"searched at different points of {', '.join(shared)}; take sampler: tpe or qmc"
            )
            self.problems["sampler", message] = Problem("sampler", message)

    def _check_per(self) -> None:
        """Seconds are weighed where results lead, and where seconds are what is spent."""
        budget = self.sweep.budget
        if budget.per == "second" and (self.sweep.sampler != "tpe" or budget.hours is None):
            message = "per=second: tpe weighs seconds where `hours` end the search; "
            message += "give `sampler: tpe` and `budget.hours`, or drop per"
            self.problems["per", message] = Problem("budget.per", message)

    def _check_warm_start(self) -> None:
        """A warm start takes a part of the trials, and a grid is tried whole anyway."""
        warm, n_trials = self.sweep.warm_start, self.sweep.budget.trials
        if warm and self.sweep.sampler == "grid":
            message = "a grid is tried whole, wherever it begins; drop warm_start"
            self.problems["warm", message] = Problem("warm_start", message)
        elif warm and warm.points > n_trials:
            message = f"points={warm.points}: there are {n_trials} trials; lower it, or raise these"
            self.problems["warm", message] = Problem("warm_start.points", message)

    def _check_race(self, cells: list[Cell]) -> None:
        race, n_members = self.sweep.race, min((len(cell.repeat) for cell in cells), default=0)
        if race and self.sweep.asha:
            message = (
                "trials are stopped either between members (race) or between rounds "
                "(asha); take one of the two"
            )
            self.problems["race", message] = Problem("race", message)
        elif race and cells and n_members <= race.after:
            message = (
                f"after={race.after}: a trial has {n_members} members, so nothing is left to stop"
            )
            message += "; repeat over more seeds or targets, or drop race"
            self.problems["race", message] = Problem("race.after", message)

    def _check_validation(self, cells: list[Cell]) -> None:
        """What is chosen by must be there, and the same for all that is chosen among."""
        path = "finetune.validation"
        for section in ("search", "repeat"):
            if path in getattr(self.sweep, section):
                message = "decides what a score is; put it under `compare`, a study for each value"
                self.problems[section, path] = Problem(f"{section}.{path}", message)
        blind = [cell for cell in cells if cell.trial.finetune.validation == "none"]
        # the points themselves are made over all cells, which are not there yet
        several = int(
            min(
                self.sweep.budget.trials,
                max((n_points(cell.search) for cell in blind), default=0),
            )
        )
        needed = {"asha": self.sweep.asha, "objective.each": self.sweep.objective.each}
        of = [f"there are {several} trials to choose among"] if several > 1 else []
        of += [f"{name} needs scores" for name, given in needed.items() if blind and given]
        if of:
            rule = f"validation=none: nothing scores a trial, and {' and '.join(of)}"
            message = f"{rule}; give `validation: labels` or `full`, or search nothing"
            self.problems["validation", message] = Problem(f"trial.{path}", message)

    def _check_objectives(self) -> None:
        """Several objectives have no best trial, which whatever ranks trials by one number would
        need."""
        each, sweep = self.sweep.objective.each, self.sweep
        if each is None:
            return
        if len(sweep.repeat.get(each, ())) < 2:
            there = ", ".join(sweep.repeat) or "nothing"
            message = (
                f"each={each}: must be repeated with two values or more, `repeat` has "
                f"{there}; add it, or drop each"
            )
            self.problems["each", message] = Problem("objective.each", message)
        by_one = {
            "asha": sweep.asha,
            "race": sweep.race,
            "sampler: cmaes": sweep.sampler == "cmaes",
        }
        for name in (name for name, given in by_one.items() if given):
            message = f"each={each}: {name} ranks trials by one number; drop {name}, or drop each"
            self.problems["each", message] = Problem("objective.each", message)

    def _check_targets(self, cells: list[Cell]) -> None:
        """One metric is of one kind of target, the same in every place."""
        name = self.sweep.objective.metric.removeprefix("val/")
        of = METRICS[name].of
        finetunes = [
            trial.finetune
            for cell in cells
            for repeat in cell.repeat
            if (trial := self._try(cell.trial, repeat, "repeat")) is not None
        ]
        for kind in dict.fromkeys(finetune.target.target_kind for finetune in finetunes):
            if kind not in of:
                fit = ", ".join(f"val/{n}" for n, metric in METRICS.items() if kind in metric.of)
                rule = f"metric=val/{name}: is of {' and '.join(of)}, and finetune.target has"
                message = f"{rule} `target: {kind}`; give one of {fit}"
                self.problems["metric", kind] = Problem("objective.metric", message)
            if kind == "labels" and self.sweep.final.keep:
                message = "keep=true: models of several labels at once are not kept; drop it"
                self.problems["keep", kind] = Problem("final.keep", message)

    def _check_fresh_seeds(self) -> None:
        seeds = [
            s for s in self.sweep.repeat.get("seed", ()) if isinstance(s, int) and s >= FRESH_SEED
        ]
        if seeds:
            message = (
                f"seeds from {FRESH_SEED} up are kept for the winners' test scores, "
                f"but got {seeds}; use lower ones"
            )
            self.problems["repeat.seed", message] = Problem("repeat.seed", message)


def _in_force(axes: dict[str, Any], trial: Trial) -> dict[str, Any]:
    """The compared values that this arm has: from scratch, of all of `pretrain` only what says
    that it is so."""
    if trial.pretraining is not None:
        return axes
    return {
        path: value
        for path, value in axes.items()
        if not path.startswith("pretrain.") or value is None
    }


def _products(axes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _corners(search: dict[str, SearchAxis]) -> Iterator[dict[str, Any]]:
    """Every combination of ends where they are few, else one axis at a time from the first ends."""
    ends = {path: axis.ends() for path, axis in search.items()}
    if math.prod(len(values) for values in ends.values()) <= MAX_CORNERS:
        yield from _products(ends)
        return
    base = {path: values[0] for path, values in ends.items()}
    for path, values in ends.items():
        yield from (base | {path: value} for value in values)


def has_path(trial: Trial, path: str) -> bool:
    """Whether this arm has the field. Everything inside `pretrain` is absent from scratch, an
    optimiser in a probe and in a method without a network."""
    node: Any = trial
    if path.startswith("pretrain.") and trial.pretraining is None:
        return False
    if path.startswith("finetune.") and not trial.uses(path.split(".")[1]):
        return False
    for part in path.split("."):
        if not isinstance(node, Spec) or part not in type(node).model_fields:
            return False
        node = getattr(node, part)
    return True


def paths(spec: Spec, prefix: str = "") -> Iterator[str]:
    """Every dotted path of a trial that an axis may name."""
    for name in type(spec).model_fields:
        yield f"{prefix}{name}"
        inner = getattr(spec, name)
        if isinstance(inner, Spec):
            yield from paths(inner, f"{prefix}{name}.")


def _no_such_path(problem: Problem) -> bool:
    """The same for every value of an axis, so it is said once."""
    return "is not a key here" in problem.message or ": there is no " in problem.message


def _as_plain(value: Any) -> Any:
    """What JSON does not know, in values that were put together in Python."""
    if isinstance(value, Spec):
        return value.tree()
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # a NumPy number
        return value.item()
    raise refuse(f"{value!r}: must be a number, text, list, block or spec")


def load_sweep(spec: str | Path | Mapping[str, Any], edits: dict[str, Any] | None = None) -> Sweep:
    """Read and check a sweep: its YAML file, the name of one that comes with the package, or plain
    values. Every problem at once, in a file with its line."""
    if isinstance(spec, Mapping):
        document = Document("", "", json.loads(json.dumps(spec, default=_as_plain)))
        return parse_sweep(document, edits)
    return parse_sweep(read_yaml(find(spec, shipped("sweeps")) or spec), edits)


def parse_sweep(document: Document, edits: dict[str, Any] | None = None) -> Sweep:
    try:
        tree = edited(document, edits or {})
        sweep = Sweep.of(tree)
    except SpecError as err:
        raise SpecError([document.place(problem) for problem in err.problems]) from None
    if document.text:
        vars(sweep)["text"] = _as_run(document.text, tree) if edits else document.text
    return sweep


def edited(document: Document, edits: dict[str, Any]) -> dict[str, Any]:
    """A file's values with edits in them."""
    tree: dict[str, Any] = json.loads(json.dumps(document.tree))
    for path, value in edits.items():
        open_blocks(Sweep, tree, path)
        put(tree, path, value)
    return tree


def _as_run(text: str, tree: dict[str, Any]) -> str:
    """A file's text with edits in it, under its own question."""
    question = question_of(text) or "a sweep"
    said = f"# {question}\n# as it ran: edited with --set, or by what warm_start found\n"
    return said + yaml.safe_dump(tree, sort_keys=False)
