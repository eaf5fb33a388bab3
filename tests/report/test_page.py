"""Order of the page, its links and labels, and that its colours can be read: without a browser."""

import itertools
import re
from html import unescape
from pathlib import Path

import pytest

from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.evidence.standings import told
from citrus_ray.report import render
from citrus_ray.report.files import write_report
from tests.report.colours import contrast
from tests.report.whole import whole

IDS = re.compile(r'\bid="([^"]+)"')
SECTIONS = (
    *("claims", "overall", "closed-form", "spent", "verdicts", "gain", "methods", "duels"),
    *("scores", "caveats", "pooled", "curves", "map", "pretraining", "finetuning"),
    *("confusion", "subjects", "calibration", "cost", "search", "cells", "failures", "again"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = whole(tmp_path_factory.mktemp("whole"))
    write_report([found], publish=False)
    return found


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "report.html").read_text()


def test_the_answer_comes_first_then_figures_then_cells_then_provenance(page):
    found = [name for name in IDS.findall(page) if name in SECTIONS]
    assert found == list(SECTIONS)
    assert page.index("<h1>") < page.index('id="claims"')
    assert page.index('id="spent"') < page.index("<svg")


def test_claims_pooled_answer_networks_and_cost_are_said_as_everywhere(page, folder):
    evidence = read_evidence([folder])
    start = unescape(re.sub(r"<[^>]+>", "", page[: page.index("<nav")]))
    for claim in evidence.claims:
        assert claim.claim.says in start
        low, high = (claim.tree()[end] for end in ("low", "high"))
        assert f"[{low:+.3f}, {high:+.3f}] for these targets: 8 rounds" in start
    assert told(evidence.standings) in start
    assert re.search(r"A network beats (bag|minirocket) \(baseline\), the best", start)
    assert re.search(r"masked: gain \+0\.\d{3} \[\+0\.\d{3}, \+0\.\d{3}\] for these targets", start)
    assert "20 min in 2 pre-trainings" in start


def test_every_link_leads_somewhere_and_no_two_things_share_a_name(page):
    names = IDS.findall(page)
    assert len(names) == len(set(names))
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert links <= set(names)
    assert {"answer", "caveats", "note-1", *SECTIONS[4:]} <= links


def test_figures_are_read_out_with_group_and_interval(page):
    labels = [unescape(found) for found in re.findall(r'role="img" aria-label="([^"]*)"', page)]
    gains = [said for said in labels if said.startswith("The gain is largest")]
    assert len(gains) == 2  # for wide and narrow screens, of which one is shown
    assert re.search(
        r"labels 3 per class, masked: \+0\.\d{3}, 95 % interval \+0\.\d{3} to", gains[0]
    )


def test_axes_are_columns_of_the_table_of_cells(page):
    cells = page[page.index('id="cells"') : page.index('id="failures"')]
    heads = [f'<th scope="col">{name}</th>' for name in ("task", "labels", "test", "gain")]
    assert "".join(heads) in cells
    assert re.search(r'<th scope="row">.*spectral.*</th>\s*<td>20 per class</td>', cells)


def test_headings_go_down_one_step_at_a_time(page):
    levels = [int(level) for level in re.findall(r"<h(\d)", page)]
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    assert levels.count(1) == 1


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_stand_out_from_their_ground(scheme):
    css = (render.TEMPLATES / "style.css").read_text()
    part = css.split("@media (prefers-color-scheme: dark)")[scheme]
    colours = dict(re.findall(r"--(\w+): (#\w{6})", part))
    for words in ("ink", "soft", "blue", "bad"):
        for ground in ("bg", "card"):
            assert contrast(colours[words], colours[ground]) >= 4.5, (words, ground)
    assert contrast(colours["red"], colours["bg"]) >= 3  # marks in figures
