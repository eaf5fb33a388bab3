"""What a sweep is asked to decide: a named comparison between compared cells, written down before it is run."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from citrus_ray.spec import Spec

Where = Annotated[dict[str, Any], Field(min_length=1)]  # compared path -> value


class Hypothesis(Spec):
    """`better` beats `worse`, all other compared axes being equal. A block matches by the keys that are given.

    `measure: gain` compares what pre-training adds to each, not the scores themselves. `rounds` and `seconds` compare
    how soon the validation score reaches `level`; the effect is what `better` saves. `missing` compares scores
    with modalities missing at test, the mean over all choices of them. `holds: somewhere` asks for one
    combination of the other axes at least, `on_average` for the mean over all of them.
    """

    says: Annotated[str, Field(min_length=1)]
    better: Where
    worse: Where
    where: dict[
        str, Annotated[tuple[Any, ...], Field(min_length=1)]
    ] = {}  # the values it is about; all by default
    measure: Literal["score", "gain", "rounds", "seconds", "missing"] = "score"
    # rounds, seconds: the validation score to be reached
    level: Annotated[float, Field(gt=0, lt=1)] | None = None
    holds: Literal["on_average", "somewhere"] = "on_average"

    @model_validator(mode="after")
    def _sides_differ(self) -> "Hypothesis":
        if self.better == self.worse:
            raise ValueError(
                f"better and worse are both {json.dumps(self.better)}; name two sides that differ"
            )
        return self

    @model_validator(mode="after")
    def _level_where_speed_is_measured(self) -> "Hypothesis":
        if (self.level is None) == (self.measure in ("rounds", "seconds")):
            rule = "rounds and seconds need a level, no other does"
            raise ValueError(f"measure={self.measure}, level={self.level}: {rule}")
        return self

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
