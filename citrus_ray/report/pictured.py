"""Pictures that another program left in a results folder, and the words that go with them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from citrus_ray.report.figures import ink
from citrus_ray.report.tables import Table

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


def pictured(folder: Path, known: set[str | None]) -> Iterable[dict[str, Any]]:
    """Those of encoders that the results still have: of another one, a picture would be out of
    date."""
    for path in sorted((folder / FOLDER).glob("*.json")):
        said = Pictured(**json.loads(path.read_text(encoding="utf-8")))
        if said.encoder in known:
            svg = path.with_suffix(".svg").read_text(encoding="utf-8")
            inline: Markup = ink.inlined(svg, said.shows)
            rows = tuple(tuple(row) for row in said.rows)
            yield {
                "name": said.name,
                "title": said.title,
                "shows": said.shows,
                "how": f"{said.how} Encoder {said.encoder}.",
                "inline": inline,
                "tables": [Table(said.title, tuple(said.head), rows)],
            }
