"""The page as a browser shows it, at two widths, light and dark: what is in the first screen, what
complains, what can be done by keyboard."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from citrus_ray.report.files import write_report
from tests.report.chromium import CHROMIUM, Page, browse
from tests.report.colours import contrast
from tests.report.whole import whole

SCREENS = {1400: 900, 390: 844}  # width and height, of a telephone too


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed, and looking at the page needs it")
    with browse(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([whole(tmp_path_factory.mktemp("whole"))], publish=False)


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", SCREENS)
def test_claims_and_the_pooled_answer_are_in_the_first_screen(file, tab, width, dark):
    tab.complaints.clear()
    tab.requests.clear()
    tab.open(file, width, dark)
    assert tab.complaints == []
    assert len(tab.requests) == 1  # the page itself
    for name in ("claims", "overall"):
        last = f"document.querySelector('#{name} + ul').lastElementChild"
        assert 0 < tab.value(f"{last}.getBoundingClientRect().bottom") <= SCREENS[width]
    assert tab.value("document.documentElement.scrollWidth") <= width  # tables scroll, not the page
    assert contrast_of_words(tab) >= 4.5
    assert tab.value(SMALLEST) >= 9  # px of a figure's words


# every word of the page that is seen, on the first ground behind it that is not see-through
WORDS = """
[...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && !e.closest('svg') &&
  [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())).map(e => {
    let at = e;
    while (at.parentElement && getComputedStyle(at).backgroundColor === 'rgba(0, 0, 0, 0)')
      at = at.parentElement;
    return getComputedStyle(e).color + '|' + getComputedStyle(at).backgroundColor;
  })
"""
SMALLEST = """
Math.min(...[...document.querySelectorAll('svg[role] text')].filter(e => e.checkVisibility())
  .map(e => {
    const svg = e.ownerSVGElement, scale = svg.getBoundingClientRect().width;
    return parseFloat(getComputedStyle(e).fontSize) * scale / svg.viewBox.baseVal.width;
  }))
"""


def contrast_of_words(tab: Page) -> float:
    pairs = tab.value(f"[...new Set({WORDS})]")
    assert len(pairs) > 3
    return min(contrast(*pair.split("|")) for pair in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("width", SCREENS)
def test_every_figure_is_drawn_for_its_width(file, tab, width):
    tab.open(file, width)
    widths = tab.value(
        "[...document.querySelectorAll('figure')].map(f => [...f.querySelectorAll('svg[role]')]"
        ".map(s => s.getBoundingClientRect().width).filter(w => w > 0))"
    )
    assert len(widths) > 10
    assert all(len(shown) == 1 and shown[0] > 200 for shown in widths)
    reflown = sum(shown[0] <= width - 40 for shown in widths)
    assert reflown >= len(widths) - 2  # maps of many columns scroll by themselves


@pytest.mark.slow
def test_cells_are_sorted_and_filtered_by_keyboard(file, tab):
    tab.open(file, 1400)
    tab.value("document.querySelector('#cells summary').focus()")
    tab.press("Enter")
    assert tab.value("document.querySelector('#cells details').open")
    tab.value("document.querySelectorAll('#cells th button')[1].focus()")
    for direction, first in (("ascending", "3 per class"), ("descending", "20 per class")):
        tab.press("Enter")
        head = "document.querySelectorAll('#cells thead th')[1]"
        assert tab.value(f"{head}.getAttribute('aria-sort')") == direction
        assert tab.value("document.querySelector('#cells tbody tr td').textContent") == first
    # of figures with a table of many rows
    table = "document.querySelector('#gain details:nth-of-type(2)')"
    tab.value(f"{table}.open = true; {table}.querySelector('input').focus()")
    n = tab.value(f"{table}.querySelectorAll('tbody tr').length")
    tab.write("spectral emgdb")
    shown = tab.value(
        f"[...{table}.querySelectorAll('tbody tr')].filter(r => r.checkVisibility())"
        ".map(r => r.textContent)"
    )
    assert 0 < len(shown) < n
    assert all("spectral" in row and "emgdb" in row for row in shown)
    assert tab.value(f"{table}.querySelector('output').textContent") == f"{len(shown)} of {n}"


@pytest.mark.slow
def test_the_skip_link_is_the_first_thing_that_a_key_reaches(file, tab):
    tab.open(file, 1400)
    tab.press("Tab")
    assert tab.value("document.activeElement.textContent") == "Skip to the answer"
    assert tab.value("document.activeElement.getBoundingClientRect().left") >= 0


@pytest.mark.slow
def test_a_link_to_what_is_folded_unfolds_it(file, tab):
    tab.open(file, 1400)
    first = "document.querySelector('#cells details:last-of-type')"
    tab.value(f"{first}.id = 'target'; location.hash = 'target'")
    tab.value("new Promise(done => setTimeout(done, 50))")
    assert tab.value(f"{first}.open")


def test_the_browser_would_hear_a_complaint(tmp_path: Path, tab: Page):
    (tmp_path / "bad.html").write_text(
        "<script>console.error('wrong')</script><script>absent()</script>"
    )
    tab.open(tmp_path / "bad.html", 400)
    assert len(tab.complaints) >= 2
