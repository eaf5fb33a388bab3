"""All that one page is about, read once: plans, rows, cells, gains and the numbered caveats beside them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from citrus_ray.evidence.design import Design
from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.evidence.gains import Gain, gain_caveats
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.pooled import PooledGain, pools
from citrus_ray.evidence.reading import Collection
from citrus_ray.report import captions as words
from citrus_ray.report.exhibits import Exhibit, exhibits
from citrus_ray.report.exhibits_of_search import search_exhibits
from citrus_ray.report.figures import ink
from citrus_ray.report.markup import Html, joined, tag, text


@dataclass
class Footnotes:
    """Caveats by number, each with the cells that it stands beside."""

    owners: dict[str, list[str]] = field(default_factory=dict)

    def add(self, owner: str, caveats: Iterable[str]) -> list[int]:
        for caveat in caveats:
            self.owners.setdefault(caveat, []).append(owner)
        return self.numbers(owner)

    def numbers(self, owner: str) -> list[int]:
        return [i for i, owners in enumerate(self.owners.values(), 1) if owner in owners]


@dataclass
class Findings:
    """What one page is about."""

    folders: list[Path]
    designs: list[Design]
    found: Collection
    cells: list[Outcome]
    gains: list[Gain]
    notes: Footnotes = field(default_factory=Footnotes)

    @cached_property
    def pools(self) -> list[PooledGain]:
        return pools(self.gains)

    @cached_property
    def exhibits(self) -> list[Exhibit]:
        """The pictures that need matplotlib; none where it is missing, which the page says."""
        return [*exhibits(self), *search_exhibits(self)] if ink.is_there() else []

    def __post_init__(self) -> None:
        for cell in self.cells:
            self.notes.add(cell.digest, cell.caveats())
        for gain in self.gains:
            self.notes.add(gain_owner(gain), gain_caveats(gain))

    @property
    def design(self) -> Design:
        """The first folder's, after which the page is named."""
        return self.designs[0]

    def marks(self, *owners: str) -> Html:
        """Superscripts that lead to the caveats."""
        numbers = sorted({n for owner in owners for n in self.notes.numbers(owner)})
        links = [tag("a", text(n), href=f"#note-{n}") for n in numbers]
        return tag("sup", joined(links, " ")) if links else Html("")

    def gain_marks(self, gain: Gain) -> Html:
        return self.marks(gain_owner(gain), gain.cell.digest, gain.against.digest)


def badge(gain: Gain) -> Html:
    return tag(
        "span", text(f"{words.SIGNS[gain.verdict]} {gain.verdict}"), cls=f"badge {gain.verdict}"
    )


def gain_owner(gain: Gain) -> str:
    return f"{gain.cell.digest}-{gain.against.digest}"


def read_findings(folders: Sequence[Path]) -> Findings:
    evidence = read_evidence(folders)
    cells = list(evidence.cells)
    return Findings(list(folders), list(evidence.designs), evidence.found, cells, evidence.gains)
