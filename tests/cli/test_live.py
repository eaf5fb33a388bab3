"""Page, summary and journal while a sweep runs."""

import json
import sys
import time
from pathlib import Path

import pytest

from citrus_ray.cli.live import EVERY_S, LiveResults
from tests.evidence.test_surfaces import asked, play


def wait_for(what, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_a_sweep_that_runs_has_page_summary_and_journal_of_its_records(tmp_path):
    sweep, out = asked(), tmp_path / "small"
    play(sweep, out)
    with LiveResults(sweep, out, every=0.05):
        wait_for((out / "report.html").exists)
    summary = json.loads((out / "summary.json").read_text())
    assert not summary["ended"]
    assert summary["cells"][1]["gain"]["verdict"] == "supported"
    assert (out / "optuna.log").stat().st_size
    assert "masked pre-training helps" in (out / "report.html").read_text()


class Watched(LiveResults):
    """Without a process: how often it would write, and what that writing says."""

    n, says = 0, ""

    def _write(self, seconds: float) -> str:
        self.n += 1
        return self.says


class Refused(Watched):
    says = "disk full"


def test_it_writes_once_for_new_records_and_not_again_before_there_are_more(tmp_path):
    (tmp_path / "records").mkdir()
    with Watched(asked(), tmp_path, every=0.01) as live:
        wait_for(lambda: live.n == 1)
        time.sleep(0.1)
        assert live.n == 1
        (tmp_path / "records" / "one.jsonl").touch()
        wait_for(lambda: live.n == 2)


def test_before_there_are_records_nothing_is_written(tmp_path):
    with Watched(asked(), tmp_path, every=0.01) as live:
        time.sleep(0.1)
    assert live.n == 0


def test_a_long_writing_is_followed_by_a_longer_pause():
    found = LiveResults(asked(), Path())
    assert found.pause_after(2.0) == EVERY_S
    assert EVERY_S + 15.0 <= 60.0  # at least every minute, where a writing takes less than that
    assert found.pause_after(20.0) == 80.0  # a fifth of one core


def test_what_cannot_be_written_ends_no_sweep_and_is_said(tmp_path, capfd):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "broken.jsonl").touch()
    with Refused(asked(), tmp_path, every=0.01) as live:
        wait_for(lambda: live._seen is not None)
    assert "could not be written while it runs: disk full" in capfd.readouterr().err


def test_the_end_of_a_sweep_waits_for_no_writing(tmp_path, monkeypatch):
    """What is under way is stopped, as the end writes everything."""
    (tmp_path / "records").mkdir()
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    started = time.monotonic()
    with LiveResults(asked(), tmp_path, every=0.01) as running:
        wait_for(lambda: running._writer is not None)
    assert time.monotonic() - started < 30
