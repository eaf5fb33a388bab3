"""One exhibit: a picture with its sentence, how to read it, and the tables behind it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from markupsafe import Markup

from citrus_ray.report.figures import ink
from citrus_ray.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_ROWS = 90  # of a forest or heat map; with more, nothing can be read
MAX_PANELS = 6


@dataclass(frozen=True)
class Exhibit:
    """A picture and everything that stands around it."""

    name: str
    title: str
    shows: str
    how: str
    tables: tuple[Table, ...]  # behind the picture, its own first
    draw: Callable[[], "Figure"]

    @cached_property
    def picture(self) -> ink.Picture:
        return ink.Picture(self.name, self.draw)

    @property
    def inline(self) -> Markup:
        return self.picture.inline(self.shows)


def first(n: int, most: int, things: str) -> str:
    """How much of it is drawn, where that is not all."""
    return f" The first {most} of {n} {things} are drawn." if n > most else ""


def thinned(counts: Iterable[int], most: int, things: str) -> str:
    """That not every value is drawn, where they are too many."""
    many = max(counts, default=0) > most
    return f" Of more than {most} {things} every second or third and so on is drawn." * many
