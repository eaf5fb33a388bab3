"""What a sweep optimises, what it may spend, when a trial or a search stops early, and how winners are scored."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from citrus_ray.metrics import HARD, RANKED
from citrus_ray.spec import Spec


class Objective(Spec):
    metric: str = "val/balanced_accuracy"
    mode: Literal["max", "min"] = "max"
    # a repeated path: an objective for each of its values, and a Pareto front of trials
    each: str | None = None

    @model_validator(mode="after")
    def _from_validation(self) -> "Objective":
        if not self.metric.startswith("val/"):
            raise ValueError(
                f"metric={self.metric!r}: selection sees validation data only; use val/…"
            )
        if self.mode == "min":
            raise ValueError("mode='min': every metric here is better when higher; use max")
        if self.metric.removeprefix("val/") not in {**HARD, **RANKED}:
            known = ", ".join(f"val/{name}" for name in {**HARD, **RANKED})
            raise ValueError(f"metric={self.metric!r}: must be one of {known}")
        return self


class Budget(Spec):
    """Per compared cell; every cell gets the same."""

    trials: Annotated[int, Field(ge=1)]
    # of the sweep's wall time, all calls together: nothing new is searched then, winners are still refitted
    hours: Annotated[float, Field(gt=0)] | None = None
    # of the sweep's trials, by their share of a GPU, and of the encoders they rest on; then as with `hours`
    gpu_hours: Annotated[float, Field(gt=0)] | None = None
    # trials in a row of which none is the best so far
    patience: Annotated[int, Field(ge=1)] | None = None


class Asha(Spec):
    """Stop trials whose objective falls behind at rungs of validation rounds."""

    grace: Annotated[int, Field(ge=1)] = 2
    reduction: Annotated[int, Field(ge=2)] = 3


class Race(Spec):
    """Stop trials that are clearly worse than the best so far on their first members."""

    after: Annotated[int, Field(ge=2)] = 2  # members before the first test
    alpha: Annotated[float, Field(gt=0, le=0.5)] = 0.05


class Failures(Spec):
    """What is done about trials that fail. An exception of the trial itself is a row at once, never tried again."""

    # of a trial or pre-training whose worker or node was lost
    retries: Annotated[int, Field(ge=0)] = 1
    # a trial that is not done by then hangs, and is a failed row
    minutes: Annotated[float, Field(gt=0)] | None = None
    # failed trials, over all cells, after which the sweep gives up
    in_a_row: Annotated[int, Field(ge=1)] = 10


class Final(Spec):
    """How winners are scored: refitted on `seeds` fresh seeds, once each on test data."""

    seeds: Annotated[int, Field(ge=2)] = 5
    pretrain: bool = False  # pre-train anew for every fresh seed too
