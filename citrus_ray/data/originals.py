"""Public originals of sets: where each comes from, and which source reads what was fetched.

An original is a plain value in the file of its source. The functions below know every source by its
kind; they are for commands and for errors, and no source needs them to read its data.
"""

import json
import re
import sys
from dataclasses import dataclass
from typing import Any, Literal

from citrus_ray.data.kinds import KINDS, SOURCES, AnySource
from citrus_ray.data.root import place_at
from citrus_ray.data.source import Source
from citrus_ray.spec import Spec, SpecError, parse_yaml, validate

PHYSIONET = "Goldberger AL et al. PhysioNet. Circulation 101(23):e215-e220 (2000)."


@dataclass(frozen=True)
class RemoteFile:
    """One file of an original: its path below the base URL, and what is known of it."""

    path: str
    checksum: str | None = None  # in hexadecimal: SHA-256, or the MD5 that older sets publish
    size: int | None = None
    urls: tuple[str, ...] = ()  # whole addresses to try where the base URL has it not
    first: str | None = None  # SHA-256 of an earlier download, where none was published
    most: int = 16 << 30  # bytes to take where its size is not known


@dataclass(frozen=True)
class Original:
    """Where a set comes from: files listed here, or those that fit `wanted` in a list of sums."""

    name: str
    base_url: str
    files: tuple[RemoteFile, ...] = ()
    licence: str = ""
    citation: str = ""
    archive: Literal["zip", "tar.gz"] | None = None
    mirrors: tuple[str, ...] = ()  # further base URLs
    sums: str | None = None  # path of the list of checksums: lines of `<checksum> <path>`
    wanted: str = ""  # a regular expression of whole paths in it
    page: str = ""  # to read: what the set is, and how to get it by hand
    kind: str = ""  # of the source that reads it; the name without
    holds: str = ""  # as `# Holds:` of a named set: signals; people; classes; rate; hours
    keys: str = ""  # what else that source must be told, in YAML

    def block(self, root: str) -> str:
        """The block of a spec that reads it from the folder `root`."""
        plain = re.fullmatch(r"[\w/.$~-]+", root)
        known = f"kind: {self.kind or self.name}, root: {root if plain else json.dumps(root)}"
        return f"{{{known}, {self.keys}}}" if self.keys else f"{{{known}}}"


class Described(Spec):
    """A spec with one source, so that a name or a block is read as it is in a sweep."""

    source: AnySource
    """The source."""


def source_of(block: Any) -> Source:
    """The source that a block, or the name of a set, stands for."""
    return validate(Described, {"source": block}).source


def kinds() -> dict[str, type[Source]]:
    """Every source that is registered, by its kind."""
    return {kind: KINDS.of(kind) for kind in SOURCES}  # type: ignore[misc]


def originals() -> dict[str, Original]:
    """Every set that can be fetched, by name: the `Original`s in the files of the sources."""
    modules = [vars(sys.modules[kind.__module__]) for kind in kinds().values()]
    found = [value for of in modules for value in of.values() if isinstance(value, Original)]
    return {original.name: original for original in sorted(found, key=lambda o: o.name)}


def instead(root: str) -> str:
    """What to do where a set is not at `root` but its public original is, or could be; or nothing.

    It is said and not done: another layout is another spec, with another digest.
    """
    folder = place_at(root)
    original = originals().get(folder.name)
    if original is None:
        return ""
    block = original.block(root)
    if not folder.is_dir():
        return f"; or `citrus data fetch {original.name}`, which {block} reads"
    try:
        source_of(parse_yaml(block, "block").tree).check()
    except SpecError:
        return ""
    return f"; the public original lies there instead: {block} reads it"
