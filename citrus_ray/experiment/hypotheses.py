"""What a sweep is asked to decide: comparisons between compared cells, written down before a
run."""

import json
import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from citrus_ray.metrics import metric_of, sign_of
from citrus_ray.spec import Spec, digest_of

SpeaksOf = Literal["these targets", "the next target"]
WITHIN = 0.02  # of a score: arms closer than this are as good as equal
Where = Annotated[dict[str, Any], Field(min_length=1)]  # compared path -> value


class Verdicts(Spec):
    """What a verdict may cost, and when two arms are as good as equal."""

    alpha: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    """Chance of one false verdict or more, over all claims and over every look at them."""
    within: Annotated[float, Field(gt=0)] | None = None
    """Difference of scores inside which two arms are equivalent; a claim may give its own. null:
    0.02, and none of val/mae, whose unit is that of the value."""

    def of(self, metric: str) -> "Verdicts":
        """The same with the margin that scores of this metric have."""
        has_unit = metric_of(metric).bounds[1] == math.inf and sign_of(metric) < 0
        if self.within is not None or has_unit:
            return self
        return self.model_copy(update={"within": WITHIN})


class Expected(Spec):
    """What is guessed before anything is measured, for the power that a plan prints."""

    effect: Annotated[float, Field(gt=0)]
    """True difference, at which the claim is to be decided."""
    sd: Annotated[float, Field(gt=0)]
    """Standard deviation of the difference between rounds, as a mean over the claim's places."""


class Hypothesis(Spec):
    """`better` beats `worse`, all other compared axes being equal."""

    says: Annotated[str, Field(min_length=1)]
    """The hypothesis in words."""
    better: Where
    """Compared path -> value of the side that is to win; a block matches by the keys it gives."""
    worse: Where
    """The same of the other side."""
    where: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = {}
    """Compared path -> values that it is about; all by default."""
    measure: Literal["score", "gain", "rounds", "seconds", "missing"] = "score"
    """score: on test data; gain: what pre-training adds to it; rounds, seconds: how soon validation
    reaches `level`, the effect being what `better` saves; missing: the mean score over all choices
    of modalities that are missing at test."""
    level: Annotated[float, Field(gt=0)] | None = None
    """Validation score to be reached, where rounds or seconds are measured."""
    holds: Literal["on_average", "somewhere"] = "on_average"
    """somewhere: for one combination of the other axes at least; on_average: for their mean."""

    speaks_of: SpeaksOf = "these targets"
    """these targets: rounds count; the next target: targets count, and there must be several."""
    within: Annotated[float, Field(gt=0)] | None = None
    """Difference inside which both sides are equivalent; null: `verdicts.within`, for scores."""
    expects: Expected | None = None
    """A guess, for the power that the plan prints where no earlier round tells the spread."""

    @model_validator(mode="after")
    def _sides_differ(self) -> "Hypothesis":
        if self.better == self.worse:
            both = json.dumps(self.better)
            raise ValueError(f"better and worse are both {both}; name two sides that differ")
        return self

    @model_validator(mode="after")
    def _level_where_speed_is_measured(self) -> "Hypothesis":
        if (self.level is None) == (self.measure in ("rounds", "seconds")):
            rule = "rounds and seconds need a level, no other does"
            raise ValueError(f"measure={self.measure}, level={self.level}: {rule}")
        return self

    def margin(self, verdicts: Verdicts) -> float | None:
        """Difference inside which it is equivalent; none of rounds and seconds, unless given."""
        of_scores = self.measure not in ("rounds", "seconds")
        return self.within or (verdicts.within if of_scores else None)

    def identity_of_claim(self, verdicts: Verdicts) -> str:
        """A digest of what is claimed and at what error, in whatever words and with whatever
        guess."""
        tree = self.tree() | {"within": self.margin(verdicts), "alpha": verdicts.alpha}
        return digest_of({key: tree[key] for key in tree if key not in ("says", "expects")})

    def paths(self) -> set[str]:
        return {*self.better, *self.worse, *self.where}

    def is_about(self, axes: dict[str, Any]) -> bool:
        return all(
            any(matches(value, axes.get(path)) for value in values)
            for path, values in self.where.items()
        )

    def others(self, axes: dict[str, Any]) -> dict[str, Any]:
        """The axes that both sides must share."""
        return {
            path: value
            for path, value in axes.items()
            if path not in self.better and path not in self.worse
        }


def side(wanted: dict[str, Any], axes: dict[str, Any]) -> bool:
    """Whether a cell with these compared values is on that side of a claim."""
    return all(path in axes and matches(value, axes[path]) for path, value in wanted.items())


def matches(wanted: Any, value: Any) -> bool:
    """Equal, or a block that agrees in every key of `wanted`."""
    if isinstance(wanted, dict) and isinstance(value, dict):
        return all(key in value and matches(inner, value[key]) for key, inner in wanted.items())
    return bool(wanted == value)
