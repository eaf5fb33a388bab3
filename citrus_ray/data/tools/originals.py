"""The public originals that can be fetched, by name, and what reads one. For commands and for errors: it knows every
source, so no source may need it to read its data.
"""

import sys
from typing import Any

from citrus_ray.data.kinds import KINDS, SOURCES, AnySource
from citrus_ray.data.root import place_at
from citrus_ray.data.source import Source
from citrus_ray.data.tools.fetch import Original
from citrus_ray.spec import Spec, SpecError, parse_yaml, validate


class Described(Spec):
    """So that a name or a block is read as it is in a sweep."""

    source: AnySource


def source_of(block: Any) -> Source:
    source: Source = validate(Described, {"source": block}).source
    return source


def kinds() -> dict[str, type[Source]]:
    """Every source that is registered, by its kind."""
    return {kind: KINDS.of(kind) for kind in SOURCES}  # type: ignore[misc]


def originals() -> dict[str, Original]:
    """Every set that can be fetched, by name: the `Original`s in the files of the registered sources."""
    modules = [vars(sys.modules[kind.__module__]) for kind in kinds().values()]
    found = [
        value for module in modules for value in module.values() if isinstance(value, Original)
    ]
    return {original.name: original for original in sorted(found, key=lambda o: o.name)}


def instead(root: str) -> str:
    """What to do where a set is not at `root` but its public original is there, or could be. Empty: there is none.

    It is said and not done: another layout is another spec, with another digest.
    """
    folder = place_at(root)
    original = originals().get(folder.name)
    if original is None:
        return ""
    block = original.block(root)
    if not folder.is_dir():
        return f"; or `python -m citrus_ray.data fetch {original.name}`, which {block} reads"
    return (
        f"; the public original lies there instead: {block} reads it" if _can_be_read(block) else ""
    )


def _can_be_read(block: str) -> bool:
    try:
        source_of(parse_yaml(block, "block").tree).check()
    except SpecError:
        return False
    return True
