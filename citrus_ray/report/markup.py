"""Small pieces of HTML, all text escaped. Knows nothing of sweeps."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import NewType

from citrus_ray.evidence.intervals import Effect

Html = NewType("Html", str)  # markup that is safe to place; everything else is text
Part = str | Html
DASH = "–"


def text(value: object) -> Html:
    return Html(escape(str(value), quote=True))


def tag(name: str, *parts: Html, cls: str = "", **attributes: str) -> Html:
    """`tag("p", text("hi"), cls="fine")`. An attribute's underscore stands for a hyphen."""
    given = {
        "class": cls,
        **{key.strip("_").replace("_", "-"): value for key, value in attributes.items()},
    }
    inside = "".join(
        f' {key}="{escape(value, quote=True)}"' for key, value in given.items() if value
    )
    return Html(f"<{name}{inside}>{''.join(parts)}</{name}>")


def joined(parts: Iterable[Html], by: str = "") -> Html:
    return Html(by.join(parts))


def paragraph(said: str, cls: str = "") -> Html:
    return tag("p", text(said), cls=cls)


def section(title: str, *parts: Html, name: str) -> Html:
    return tag("section", tag("h2", text(title)), *parts, id=name)


def details(summary: str, *parts: Html) -> Html:
    return tag("details", tag("summary", text(summary)), *parts)


def table(head: Sequence[str], rows: Iterable[Sequence[Html]], caption: str) -> Html:
    """Scrolls sideways on its own where the screen is narrow, by touch and by keyboard."""
    top = tag("tr", *(tag("th", text(name), scope="col") for name in head))
    body = joined((tag("tr", *(tag("td", cell) for cell in row)) for row in rows), "\n")
    whole = tag("table", tag("caption", text(caption)), tag("thead", top), tag("tbody", body))
    return tag("div", whole, cls="scroll", role="region", tabindex="0", aria_label=caption)


def definitions(pairs: Iterable[tuple[str, Html]]) -> Html:
    return tag("dl", *(joined((tag("dt", text(name)), tag("dd", said))) for name, said in pairs))


def figure(name: str, shows: str, drawing: Html, how: str, behind: Html) -> Html:
    """A picture with the sentence that it shows, how to read it, and the table behind it."""
    caption = tag("figcaption", paragraph(shows, "shows"))
    return tag("figure", caption, drawing, paragraph(how, "fine"), behind, id=name)


# ---- numbers ----


def number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """`−0.042`, with a real minus; a dash for what is not there."""
    if value is None or not math.isfinite(value):
        return DASH
    shown = f"{value:{'+' if sign else ''}.{digits}f}"
    return shown.replace("-", "−")


def interval(found: Effect | None, sign: bool = False) -> str:
    if found is None or not math.isfinite(found.low):
        return "no interval"
    return f"{number(found.low, sign=sign)} to {number(found.high, sign=sign)}"


def spread(found: Effect | None, sign: bool = False) -> str:
    """`0.967 [0.947, 0.987]`"""
    if found is None:
        return DASH
    if not math.isfinite(found.low):
        return number(found.mean, sign=sign)
    return f"{number(found.mean, sign=sign)} [{number(found.low, sign=sign)}, {number(found.high, sign=sign)}]"


def sentence(said: str) -> str:
    """With a capital and without its full stop."""
    return said[:1].upper() + said[1:].rstrip(".")


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def probability(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-4 else f"{p:.0e}"


def count(n: int, thing: str) -> str:
    """`1 pair`, `12 pairs`."""
    plural = thing[:-1] + "ies" if thing.endswith("y") else thing + "s"
    return f"{n:,} {thing if n == 1 else plural}"
