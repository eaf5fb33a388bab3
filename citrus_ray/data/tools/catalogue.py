"""The catalogue of sets: every one that a sweep may name, and every original that can be fetched.

What a set holds stands in its own file (`# Holds:` in sets/*.yaml, `holds` of an original), so that
the list is quick and speaks of sets that are not there, too. Tests compare it with the recordings.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from citrus_ray.data import sets
from citrus_ray.data.originals import Original, originals
from citrus_ray.data.root import data_root, place_at

HEAD = ("name", "signals", "people", "classes", "rate", "hours", "where", "licence")
HOLDS = re.compile(
    r"(?P<signals>[\w, ]+); (?P<people>\d+ \w+); (?P<classes>no|[\d or]+) classes"
    r"(; (?P<rate>[\d.]+) Hz)?(; (?P<hours>[\d.]+) h)?"
)


@dataclass(frozen=True)
class CatalogueEntry:
    """One set: what it holds, in words, and where it is or comes from."""

    name: str
    signals: str
    people: str
    classes: str
    rate: str
    hours: str
    licence: str
    folder: str
    is_there: bool
    page: str = ""  # of an original, which `fetch` brings

    @property
    def where(self) -> str:
        if self.is_there:
            return self.folder
        return "not there; fetch it" if self.page else "not there"

    def row(self) -> tuple[str, ...]:
        terms = f"{self.licence}; {self.page}" if self.page else self.licence
        known = (self.name, self.signals, self.people, self.classes, self.rate, self.hours)
        return (*known, self.where, terms)


def named_sets() -> list[CatalogueEntry]:
    """The sets that stand for a block."""
    return [_named(name) for name in sets.names()]


def public_originals(root: Path | None = None) -> list[CatalogueEntry]:
    """The sets that `fetch` brings, under `root` or the data folder."""
    found = []
    for name, original in originals().items():
        folder = (root or data_root()) / name
        terms = original.licence or "see page"
        known = _holds(original.holds)
        page = original.page or original.base_url
        found.append(
            CatalogueEntry(name, *known, terms, str(folder), _is_there(original, folder), page)
        )
    return found


def _named(name: str) -> CatalogueEntry:
    text = (sets.FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    said = dict(re.findall(r"^# (Licence|Holds): (.*)$", text, re.MULTILINE))
    block = sets.block(name)
    folder = place_at(str(block["root"]))
    licence = said.get("Licence", "none stated").removesuffix(".")
    is_there = any(folder.glob(str(block.get("pattern", "*"))))
    return CatalogueEntry(name, *_holds(said.get("Holds", "")), licence, str(folder), is_there)


def _holds(text: str) -> tuple[str, str, str, str, str]:
    """Signals, people, classes, rate and hours; a dash for what is not said."""
    found = HOLDS.fullmatch(text)
    if found is None:
        return ("-",) * 5
    of = {name: value or "-" for name, value in found.groupdict().items()}
    rate = of["rate"] if of["rate"] == "-" else f"{of['rate']} Hz"
    return of["signals"], of["people"], of["classes"].replace("no", "-"), rate, of["hours"]


def _is_there(original: Original, folder: Path) -> bool:
    """Whether something of it is, and not another layout of the same set."""
    if not folder.is_dir():
        return False
    if original.sums:
        wanted = re.compile(original.wanted)
        files = (Path(at, name) for at, _, names in os.walk(folder) for name in names)
        return any(wanted.fullmatch(path.relative_to(folder).as_posix()) for path in files)
    listed = any((folder / file.path).is_file() for file in original.files)
    unpacked = bool(original.archive) and not (folder / "recordings").is_dir()
    return listed or (unpacked and any(folder.iterdir()))


def render(root: Path | None = None) -> str:
    """The catalogue as people read it."""
    named, public = named_sets(), public_originals(root)
    lines = [
        "sets by name, as `target: NAME` and `{set: NAME, …}` (`describe NAME` says more):",
        "",
    ]
    lines += columns([HEAD, *(entry.row() for entry in named)])
    lines += ["", "public originals, which `fetch NAME` brings and `{kind: NAME}` reads:", ""]
    lines += columns([HEAD, *(entry.row() for entry in public)])
    return "\n".join(lines)


def as_json(root: Path | None = None) -> str:
    tree = {"sets": named_sets(), "originals": public_originals(root)}
    return json.dumps({what: [asdict(entry) for entry in of] for what, of in tree.items()})


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of text, each column as wide as its widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
