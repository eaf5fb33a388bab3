"""Objective, budget and stopping rules of a sweep, and how its winners are scored."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from citrus_ray.metrics import METRICS
from citrus_ray.spec import Aside, Later, Spec

FRESH_SEED = 1000  # winners are refitted on seeds from here up, which no search may use


# a third of a second, and a century: what is beyond them was meant otherwise
Hours = Annotated[float, Field(ge=1e-4, le=1e6)]
Rounds = Annotated[int, Field(ge=2, le=10_000)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class Objective(Spec):
    """What the search optimises."""

    metric: str = "val/balanced_accuracy"
    """Score on validation data, `val/` and the name of a metric."""
    mode: Literal["max", "min"] = "max"
    """Direction; that of the metric without: min of val/mae, max of all others."""
    each: Annotated[str | None, Later("cell")] = None
    """A repeated path: an objective for each of its values, and a Pareto front of trials."""

    @model_validator(mode="before")
    @classmethod
    def _mode_of_its_metric(cls, given: Any) -> Any:
        if isinstance(given, dict) and "mode" not in given:
            metric = METRICS.get(str(given.get("metric")).removeprefix("val/"))
            return given | {"mode": metric.mode} if metric else given
        return given

    @model_validator(mode="after")
    def _from_validation(self) -> "Objective":
        metric, name = self.metric, self.metric.removeprefix("val/")
        if not metric.startswith("val/"):
            raise ValueError(f"metric={metric!r}: selection sees validation data only; use val/…")
        if name not in METRICS:
            names = ", ".join(f"val/{name}" for name in METRICS)
            raise ValueError(f"metric={metric!r}: must be one of {names}")
        if self.mode != METRICS[name].mode:
            better = "higher" if METRICS[name].mode == "max" else "lower"
            raise ValueError(f"mode={self.mode!r}: {name} is better when {better}; drop mode")
        return self


class Budget(Spec):
    """What each compared cell may spend, the same for all; winners are refitted in any case."""

    trials: Count
    """Trials to search, the winner's refit not counted."""
    hours: Hours | None = None
    """Of the sweep's wall time, all calls together; nothing new is searched after them."""
    gpu_hours: Hours | None = None
    """Of the sweep's trials, by their share of a GPU, and of their encoders; then as `hours`."""
    per: Annotated[Literal["trial", "second"], Later()] = "trial"
    """What tpe weighs improvement by: trials, all alike, or predicted seconds of fine-tuning, where
    `hours` end a search among settings of unequal cost."""
    patience: Count | None = None
    """Trials in a row, none of them the best so far, after which a search ends."""


class Constraints(Spec):
    """What a fine-tune of the search may take at most. A trial that would take more is a row, and
    does not run."""

    weights: Annotated[int, Field(ge=1)] | None = None
    """Of the network, its head included."""
    seconds: Annotated[float, Field(gt=0)] | None = None
    """On one thread, as steps plan them that are timed on the machine which leads the sweep."""

    @model_validator(mode="after")
    def _limits_something(self) -> "Constraints":
        if self.weights is None and self.seconds is None:
            raise ValueError("constraints limit nothing; give weights or seconds, or drop them")
        return self


class Asha(Spec):
    """Stop trials whose objective falls behind at rungs of validation rounds."""

    grace: Count = 2
    """Rounds before the first rung."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """One in so many trials goes on at each rung; rounds between rungs grow by as much."""


class Race(Spec):
    """Stop trials that are clearly worse than the best so far on their first members."""

    after: Annotated[int, Field(ge=2)] = 2
    """Members before the first test."""
    alpha: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    """Level of the test: chance to stop a trial that is as good as the best."""


class Failures(Spec):
    """What is done about trials that fail. An exception of the trial itself is a row at once, never
    tried again."""

    retries: Annotated[int, Field(ge=0, le=1000)] = 1
    """Further tries of a trial or pre-training whose worker or node was lost."""
    minutes: Annotated[float, Field(ge=1e-3, le=1e6)] | None = None
    """A trial that is not done by then hangs, and is a failed row."""
    in_a_row: Count = 10
    """Failed trials, over all cells, after which the sweep gives up."""


class Final(Spec):
    """How winners are scored: refitted in rounds, and scored once in each on test data."""

    rounds: Rounds = 6
    """Rounds of every winner. A round draws anew, once in every cell, what can be drawn: first
    weights, labelled windows, batch order, the encoder, and who of the test people is tested."""
    keep: Annotated[bool, Aside()] = False
    """Whether what each round learnt is kept in `models/`, to be used: `citrus predict`."""

    @model_validator(mode="before")
    @classmethod
    def _rounds_not_seeds(cls, given: Any) -> Any:
        if isinstance(given, dict) and {"seeds", "pretrain"} & given.keys():
            rule = "winners are refitted in rounds, each with an encoder of its own"
            raise ValueError(f"{rule}; give `final: {{rounds: {given.get('seeds', 6)}}}`")
        return given


class Decide(Spec):
    """Go on with rounds where claims are undecided, until all are decided or this is spent."""

    rounds: Rounds
    """Rounds of a winner at most, those of `final` included."""
    hours: Hours | None = None
    """Of the sweep's wall time, all calls together; no round is added after them."""
