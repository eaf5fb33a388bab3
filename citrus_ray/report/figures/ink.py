"""Matplotlib figures that look alike: made once, placed in the page as SVG that follows its
light or dark colours, and written as SVG, PDF and PNG for a paper."""

import html
import io
import pickle
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours: apart for every kind of colour vision; with a marker and a dash each,
# apart in grey too
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS, DASHES = (
    ("o", "s", "^", "D", "v", "P"),
    ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1))),
)
SCRATCH = "#5b6167"
# stand for the page's own in an inline figure, so nothing else may have these colours
INK, PAPER, GRID, SOFT = "#1b1e22", "#fdfdfc", "#e6e8e6", "#575e66"
PAGE = {INK: "var(--ink)", PAPER: "var(--bg)", GRID: "var(--grid)", SOFT: "var(--soft)"}
SWITCHED = {COLOURS[0]: "var(--blue)", COLOURS[1]: "var(--red)", SCRATCH: "var(--soft)"}
STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "text.parse_math": False,  # a label with a dollar sign is a label
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched and edited
    "pdf.fonttype": 42,
}
NARROW = 3.6  # inches of a figure on a telephone, drawn anew so that its words keep their size
WORDS_SHRINK = 0.8  # of its size; what would become smaller scrolls
MOST_SAID = 40  # parts of a figure that its label reads out; the table has all
SAID = "said:"  # begins the id of what tells its numbers when pointed at
_narrow: ContextVar[bool] = ContextVar("narrow", default=False)


def is_narrow() -> bool:
    """Whether what is drawn now is for a narrow screen."""
    return _narrow.get()


@contextmanager
def narrow() -> Iterator[None]:
    """Figures for a narrow screen: as wide as it is, panels below one another."""
    before = _narrow.set(True)
    try:
        yield
    finally:
        _narrow.reset(before)


@contextmanager
def sheet(
    width: float, height: float, n: int = 1, columns: int = 3, least: float = NARROW
) -> Iterator[tuple["Figure", list["Axes"]]]:
    """A figure of `width` by `height` inches with `n` panels; height is per row of panels, and
    `least` as narrow as it may become."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = min(n, columns)
    if is_narrow():  # as many panels side by side as keep their size
        panel = width / columns
        columns = max(1, int(NARROW / panel + 0.2))
        width = min(width, max(NARROW, least))
    rows = -(-n // columns)
    with style():
        figure = Figure(figsize=(width, height * rows))
        axes = [figure.add_subplot(rows, columns, i + 1) for i in range(n)]
        yield figure, axes
        _plain_logs(axes)
        ConstrainedLayoutEngine().execute(
            figure
        )  # once; as the figure's own engine it would draw twice per format


def _plain_logs(axes: Sequence["Axes"]) -> None:
    """Numbers at logarithmic axes as numbers: matplotlib writes TeX there, and text here is
    text."""
    from matplotlib.ticker import LogFormatter, NullFormatter, StrMethodFormatter

    for axis in (axis for ax in axes for axis in (ax.xaxis, ax.yaxis)):
        if isinstance(axis.get_major_formatter(), LogFormatter):
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(NullFormatter())


@dataclass(frozen=True)
class Picture:
    """A named figure, drawn at most once however often it is asked for."""

    name: str
    draw: Callable[[], "Figure"]

    @cached_property
    def figure(self) -> "Figure":
        return self.draw()

    @cached_property
    def svg(self) -> str:
        return _svg(self.name, self.figure)

    @cached_property
    def narrow_svg(self) -> str:
        with narrow():
            return _svg(f"{self.name}-narrow", self.draw())

    def publish(self, folder: Path) -> None:
        Drawn(self.name, self.figure, self.svg).publish(folder)

    def inline(self, said: str) -> Markup:
        """For the page, which shows the one that fits the screen."""
        wide, small = inlined(self.svg, said), inlined(self.narrow_svg, said)
        of = Markup('<div class="for-{}">{}</div>')
        return of.format("wide", wide) + of.format("narrow", small)


def _svg(name: str, figure: "Figure") -> str:
    """Shapes have names of their own, as many figures share one page; what says its numbers has
    them as a title."""
    file = io.StringIO()
    with style({"svg.hashsalt": name}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    # an attribute's text, escaped as it is, is the text of an element too
    return re.sub(rf'<g id="{SAID}([^"]*)">', r'<g class="said"><title>\1</title>', file.getvalue())


def say(artist: "Artist", text: str) -> None:
    """What is shown where this is pointed at, and read out with the figure."""
    artist.set_gid(f"{SAID}{text}")


@dataclass(frozen=True)
class Drawn:
    """A figure that can be sent to another process."""

    name: str
    figure: "Figure"
    svg: str

    def publish(self, folder: Path) -> None:
        """`name`.svg, .pdf and .png with text as text and no date: the same records give the
        same files."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.svg").write_text(self.svg, encoding="utf-8")
        with style():
            self.figure.savefig(folder / f"{self.name}.pdf", metadata={"CreationDate": None})
            self.figure.savefig(folder / f"{self.name}.png", dpi=200, metadata={"Software": None})


def write_drawn(folder: str) -> None:
    """What another process of the same report sends on standard input."""
    for drawn in pickle.load(sys.stdin.buffer):
        drawn.publish(Path(folder))


def inlined(svg: str, said: str) -> Markup:
    """A figure as part of the page, in the page's colours but for those that tell things apart."""
    inside = svg[svg.index("<defs>") : svg.rindex("</svg>")]
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', inside))
    inside = re.sub(
        r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", inside
    )  # many figures share one page, and names in it
    for colour, variable in {**PAGE, **SWITCHED}.items():
        inside = inside.replace(colour, variable)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert box is not None  # matplotlib writes it
    width = float(box[1]) * 96 / 72
    label = _read_out(said, re.findall(r'<g class="said"><title>([^<]*)</title>', svg))
    place = Markup('class="scroll drawn" role="region" tabindex="0" aria-label="{}"').format(said)
    how = Markup('role="img" aria-label="{}"').format(label)
    size = f'viewBox="0 0 {box[1]} {box[2]}" width="{width:g}"'
    least = f' style="min-width: {WORDS_SHRINK * width:.0f}px"'
    return Markup(f"<div {place}><svg {how} {size}{least}>{inside}</svg></div>")


def _read_out(said: str, parts: Sequence[str]) -> str:
    """The figure in a sentence, then its parts: each with its group and interval."""
    read = [html.unescape(part) for part in dict.fromkeys(parts)]
    more = f"; and {len(read) - MOST_SAID} more in the table" if len(read) > MOST_SAID else ""
    return f"{said} {'; '.join(read[:MOST_SAID])}{more}".strip()


def style(more: dict[str, Any] | None = None) -> AbstractContextManager[None]:
    from matplotlib import rc_context

    every: Any = STYLE | (more or {})  # the stubs list all keys there are
    return rc_context(every)


def look(arm: str, arms: list[str]) -> dict[str, Any]:
    """Colour, marker and dash of a pre-training; from scratch is always the same grey ring."""
    if arm not in arms:
        return {"color": SCRATCH, "marker": "o", "markerfacecolor": PAPER, "linestyle": "-"}
    i = arms.index(arm)
    return {"color": COLOURS[i % 6], "marker": MARKERS[i % 6], "linestyle": DASHES[i % 6]}
