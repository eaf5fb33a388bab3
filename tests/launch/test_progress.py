"""What is shown while a sweep runs."""

import io
import time
from types import SimpleNamespace
from typing import Any

import pytest

from citrus_ray.launch.progress import ProgressLine, clock
from tests.small import sweep_of


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def study(values: list[float] = [], statuses: list[str] = [], final: bool = False) -> Any:  # noqa: B006
    results = {str(i): SimpleNamespace(status=status) for i, status in enumerate(statuses)}
    best = SimpleNamespace(value=max(values)) if values else None
    return SimpleNamespace(results=results, rounds={0: [1]} if final else {}, best=best, n_jobs=5)


def progress_of(*studies: Any, out: Any = None, **edits: Any) -> ProgressLine:
    asked: Any = SimpleNamespace(studies=list(studies))
    return ProgressLine(sweep_of(**edits), asked, out or io.StringIO())


def test_before_anything_is_done_there_is_no_guess_at_the_end():
    shown = progress_of(study(), study()).line()
    assert shown.startswith(
        "small: 0/10 trials, 0 running, 0 failed, "
    )  # 2 cells x (4 trials + the winner's refit)
    assert "left" not in shown
    assert "best" not in shown


def test_what_was_recorded_before_counts_as_done_but_not_for_the_rate():
    found = progress_of(study([0.5], ["ok", "failed"], final=True), study())
    assert found.line().startswith(
        "small: 3/10 trials, 0 running, 1 failed, best val/balanced_accuracy 0.500"
    )
    assert found.eta() is None


def test_trials_running_waiting_and_failed_are_counted():
    found = progress_of(study([0.5, 0.75], []), study([0.6]))
    found.update({"a": 1, "b": 2}, [1, 2, 3], SimpleNamespace(running={"x": 1}, elsewhere={}))
    found.finished(SimpleNamespace(), SimpleNamespace(status="failed"))  # type: ignore[arg-type]
    line = found.line()
    assert "1/10 trials, 2 running, 1 pre-training (3 trials wait for it), 1 failed" in line
    assert "best val/balanced_accuracy 0.750" in line
    assert "left" in line


def test_time_left_is_that_of_this_run_spread_over_what_is_missing(monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    found = progress_of(study([], ["ok", "ok"]), study())
    monkeypatch.setattr(time, "monotonic", lambda: 130.0)
    for _ in range(3):
        found.finished(SimpleNamespace(), SimpleNamespace(status="ok"))  # type: ignore[arg-type]
    assert found.eta() == pytest.approx(10.0 * 5)  # 10 s each, 5 of 10 missing
    assert "30s gone, about 50s left" in found.line()


def test_a_log_gets_plain_lines_and_a_last_one():
    out = io.StringIO()
    with progress_of(study(), study(), out=out):
        pass
    assert out.getvalue().endswith("gone\n")
    assert "\x1b" not in out.getvalue()
    assert "\r" not in out.getvalue()


def test_a_terminal_gets_one_line_that_is_painted_over():
    out = Terminal()
    with progress_of(study(), study(), out=out) as shown:
        shown._write(f"\r\x1b[2K{shown.line()}")
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().count("\r\x1b[2K") == 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (42.4, "42s"), (190, "3m10s"), (7500, "2h05m"), (3600, "1h00m"), (59.7, "1m00s")],
)
def test_a_clock_reads_as_people_say_it(seconds, text):
    assert clock(seconds) == text


def test_what_another_sweep_computes_is_told():
    found = progress_of(study([0.5], []))
    found.update({}, [1], SimpleNamespace(running={}, elsewhere={"y": "process 1"}))
    assert "1 pre-training in another sweep" in found.line()
