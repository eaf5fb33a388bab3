"""The command that compares two sweeps: what it prints, its page, what it refuses."""

import re
from pathlib import Path

import pytest

from citrus_ray.cli.reports import comparison
from tests.evidence.synthetic import MadeUp
from tests.evidence.test_comparison import shifted
from tests.report.chromium import CHROMIUM, browse


def test_nothing_in_common_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    a = MadeUp().write(tmp_path / "a")
    b = MadeUp(targets=("bonn",)).write(tmp_path / "b")
    assert comparison([str(a), str(b)]) == 0
    assert "Nothing to compare" in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert comparison([str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_the_page_of_a_comparison_is_readable_on_a_narrow_screen(tmp_path: Path):
    a, b = MadeUp().write(tmp_path / "a"), shifted(MadeUp().write(tmp_path / "b"), -0.05)
    assert comparison([str(a), str(b), "--page", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert not re.search(r"https?://|<script [a-z]|@import|url\(", page)
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed, and looking at the page needs it")
    with browse(tmp_path / "profile") as tab:
        tab.open(tmp_path / "page.html", 400)
        assert tab.complaints == []
        assert tab.value("document.documentElement.scrollWidth") <= 400
