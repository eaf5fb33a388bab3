"""Pictures that another program left in a results folder, and the words that go with them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from citrus_ray.report.figures import ink
from citrus_ray.report.markup import Html, details, figure, section, table, text

FOLDER = "pictures"


@dataclass(frozen=True)
class Pictured:
    """One picture's words; the drawing lies beside them as SVG."""

    name: str
    title: str
    shows: str
    how: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    encoder: str = ""  # digest of what it was made from


def pictured(folder: Path, known: set[str | None]) -> Iterable[Html]:
    """Those of encoders that the results still have: a picture of another encoder would be out of date."""
    for path in sorted((folder / FOLDER).glob("*.json")):
        said = Pictured(**json.loads(path.read_text(encoding="utf-8")))
        if said.encoder in known:
            drawn = ink.inlined(path.with_suffix(".svg").read_text(encoding="utf-8"), said.shows)
            rows = [[text(cell) for cell in row] for row in said.rows]
            behind = details("The table behind this figure", table(said.head, rows, said.title))
            how = f"{said.how} Encoder {said.encoder}."
            yield section(
                said.title,
                figure(f"figure-{said.name}", said.shows, drawn, how, behind),
                name=said.name,
            )
