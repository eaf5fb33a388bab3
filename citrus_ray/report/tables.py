"""Tables of the page: fields that are more than text, and caveats by number."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from citrus_ray.evidence.gains import Gain, gain_caveats
from citrus_ray.evidence.outcomes import Outcome

MAX_LISTED = 1000  # rows of a table on the page; the files under tables/ hold all


@dataclass(frozen=True)
class Field:
    """What stands in a table where it is more than text: footnotes, or a look of its own."""

    text: str
    notes: tuple[int, ...] = ()
    style: str = ""  # `code`, or a class of the page
    full: str = ""  # of what is shortened: shown where it is pointed at
    value: float | None = None  # by which it is sorted, where the text does not say

    def __str__(self) -> str:
        return self.text


TableRow = tuple[str | Field, ...]


@dataclass(frozen=True)
class Table:
    """Rows under a head; the page shows the first of very many."""

    name: str
    head: tuple[str, ...]
    rows: tuple[TableRow, ...]

    @property
    def title(self) -> str:
        if len(self.rows) <= MAX_LISTED:
            return self.name
        return f"{self.name}, the first {MAX_LISTED} of {len(self.rows):,} rows; all in tables/"

    @property
    def shown(self) -> tuple[TableRow, ...]:
        return self.rows[:MAX_LISTED]


@dataclass
class Footnotes:
    """Caveats by number, each with what it stands beside."""

    owners: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def about(cls, cells: Iterable[Outcome], gains: Iterable[Gain]) -> "Footnotes":
        made = cls()
        for cell in cells:
            made.add(cell.digest, cell.caveats())
        for gain in gains:
            made.add(_owner(gain), gain_caveats(gain))
        return made

    def add(self, owner: str, caveats: Iterable[str]) -> None:
        for caveat in caveats:
            self.owners.setdefault(caveat, []).append(owner)

    def of(self, *owners: str) -> tuple[int, ...]:
        listed = enumerate(self.owners.values(), 1)
        return tuple(i for i, found in listed if any(owner in found for owner in owners))

    def of_gain(self, gain: Gain) -> tuple[int, ...]:
        return self.of(_owner(gain), gain.cell.digest, gain.against.digest)


def _owner(gain: Gain) -> str:
    return f"{gain.cell.digest}-{gain.against.digest}"
