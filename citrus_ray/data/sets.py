"""Sets by name: `target: bonn5` stands for the block in sets/bonn5.yaml; `{set: bonn5, …}` edits
it.

A spec holds the whole block: it dumps and digests as if it had been written out.
"""

from functools import cache
from pathlib import Path
from typing import Any

from citrus_ray.data.faults import unknown
from citrus_ray.spec import read_yaml

FOLDER = Path(__file__).parent / "sets"


@cache
def names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def block(name: str) -> dict[str, Any]:
    """What the name stands for."""
    if name not in names():
        raise ValueError(
            unknown("set", name, names()).message.replace(
                "is not there", "is no set that has a name", 1
            )
        )
    return read_yaml(FOLDER / f"{name}.yaml").tree


def written_out(value: Any) -> Any:
    """A name or an edited set as the whole block; anything else as it is."""
    if isinstance(value, str):
        return block(value)
    if not isinstance(value, dict) or "set" not in value:
        return value
    if not isinstance(value["set"], str) or "kind" in value:
        rule = "`set` goes with the name of a set, and `kind` comes from there"
        raise ValueError(
            f"{rule}; write {{set: {names()[0]}, …}}, or drop `set` and write the block out"
        )
    return block(value["set"]) | {key: edit for key, edit in value.items() if key != "set"}
