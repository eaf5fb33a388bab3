"""What is shown while a sweep runs."""

import io
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from citrus_ray.evidence.summary import summarise
from citrus_ray.experiment.forecast import LIVE
from citrus_ray.launch.progress import Progress, clock
from citrus_ray.launch.terminal import Terminal, width
from citrus_ray.search.study import Studies
from tests.evidence.test_summary import LR, search_trial
from tests.launch.test_terminal import Screen
from tests.small import sweep_of

NO_ENCODERS: Any = SimpleNamespace(running={}, elsewhere={}, ready=set())


class Screened(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def progress_of(tmp_path):
    """Progress of a small sweep over the trials that a test recorded before."""

    def call(out: Any = None, **edits: Any) -> Progress:
        sweep = sweep_of(**edits)
        studies = Studies(sweep, tmp_path / "records")
        return Progress(sweep, studies, out or io.StringIO(), tmp_path)

    return call


@pytest.fixture
def recorded(tmp_path):
    def call(index: int, name: str, value: float, number: int = 0, **fields: Any) -> None:
        cell = sweep_of().cells[index]
        point = cell.points[number]
        search_trial(tmp_path / "records", cell, name, [value] * 3, params=point, **fields)

    return call


def test_before_anything_is_done_there_is_no_guess_at_the_end(progress_of):
    shown = progress_of().headline()
    # 2 cells x (4 trials + 5 rounds of the winner)
    assert shown.startswith("small: 0/18 trials, 0s gone, 0 running, 0 failed")
    assert "left" not in shown


def test_what_was_recorded_before_counts_as_done_and_tells_what_work_takes(progress_of, recorded):
    recorded(0, "a", 0.5, seconds=2.0)
    found = progress_of()
    found.studies.n_slots = 2
    assert found.headline().startswith("small: 1/18 trials, about ")
    # members of 2 s: 7 trials of 3 and 10 rounds of 1, each 0.2 s beside, on two workers
    assert found.work.seconds_left()[0] == pytest.approx((7 * 6.2 + 10 * 2.2) / 2, rel=0.05)


def test_what_was_recorded_before_says_nothing_of_how_busy_the_machine_is(progress_of, recorded):
    """Whatever ran beside it then: read as news, thousands of records multiply without end."""
    for number, seconds in enumerate((1.0, 3.0, 9.0)):
        recorded(0, f"t{number}", 0.5, number, seconds=seconds)
    assert progress_of().work.forecast.busy == 1.0


def test_trials_running_waiting_and_failed_are_counted(progress_of, recorded):
    recorded(0, "a", 0.5)
    found = progress_of()
    job, other = found.studies.studies[0].next_job(), found.studies.studies[1].next_job()
    encoders = SimpleNamespace(running={"x": ("e", None)}, elsewhere={"y": "process 1"}, ready=[])
    encoders.ready = set()
    found.update({"t": job}, [other], encoders)
    found.finished(job, SimpleNamespace(status="failed", seconds=1.0))
    line = found.headline()
    assert "2/18 trials" in line
    assert "1 running, 1 pre-training (1 trial waits for it), 1 pre-training in another" in line
    assert line.endswith("1 failed")


def test_a_cell_shows_what_is_tried_and_its_best_so_far(progress_of, recorded):
    recorded(0, "a", 0.75)
    found = progress_of()
    job, waiting = found.studies.studies[0].next_job(), found.studies.studies[1].next_job()
    assert job is not None
    found.update({"t": job}, [waiting], NO_ENCODERS)
    scratch, masked = ([text for text, _ in found.block()])[1:]
    assert scratch.split() == f"from scratch 1/4 +0/5 0.750 lr {job.params[LR]:.3g}".split()
    assert masked.split() == ["masked", "0/4", "+0/5", "waits", "for", "an", "encoder"]


def test_the_best_so_far_is_said_for_each_target_of_a_trial(progress_of, tmp_path):
    targets = [sweep_of().trial.finetune.target.tree() | {"seed": seed} for seed in (0, 3)]
    edits: dict[str, Any] = {"repeat": {"finetune.target": targets}, "compare": {}, "search": {}}
    cell = sweep_of(**edits).cells[0]
    search_trial(tmp_path / "records", cell, "a", [0.5, 0.9], params={})
    found = progress_of(**edits)
    assert ", ".join(row.best for row in found.rows).count("0.") >= 2
    assert "0.500" in found.rows[0].best
    assert "0.900" in found.rows[0].best


def test_cells_for_which_there_is_no_room_are_counted(progress_of, monkeypatch):
    monkeypatch.setattr(Terminal, "size", (60, 8))
    many = {"finetune.optim.lr": [0.001 * i for i in range(1, 13)]}
    found = progress_of(compare=many, search={})
    found.claims = ["claim: a", "claim: b"]
    lines = [text for text, _ in found.block()]
    assert lines[-3:] == ["  and 9 more cells: 0 over, 9 not begun", "claim: a", "claim: b"]
    assert len(lines) == 7


def test_a_log_gets_a_first_line_and_a_last_one_and_no_more_in_a_minute(progress_of):
    out = io.StringIO()
    with progress_of(out) as shown:
        shown.say("a node was lost")
        time.sleep(0.05)
    first, said, last = out.getvalue().splitlines()
    assert first.startswith("small: 0/18 trials")
    assert said == "a node was lost"
    assert last.startswith("small: 0/18 trials")
    assert "\x1b" not in out.getvalue()
    assert "\r" not in out.getvalue()


def test_a_terminal_gets_one_block_that_is_painted_over(progress_of, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(Terminal, "size", (80, 24))
    out = Screened()
    with progress_of(out) as shown:
        for _ in range(5):
            shown._show()
    screen = Screen(80)
    screen.feed(out.getvalue().replace("\n", "\r\n"))
    assert sum(row.startswith("small:") for row in screen.rows) == 1
    assert len(screen.rows) == 4  # the headline, two cells, and where the cursor is
    assert all(width(row) < 80 for row in screen.rows)


def test_who_asks_from_elsewhere_finds_how_far_it_is_while_it_runs(progress_of, tmp_path):
    with progress_of():
        until = time.monotonic() + 5
        while not (tmp_path / LIVE).exists() and time.monotonic() < until:
            time.sleep(0.01)
        told = json.loads((tmp_path / LIVE).read_text())
        assert (told["running"], told["done"], told["total"]) == (0, 0, 18)
    assert not (tmp_path / LIVE).exists()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (42.4, "42s"), (190, "3m10s"), (7500, "2h05m"), (3600, "1h00m"), (59.7, "1m00s")],
)
def test_a_clock_reads_as_people_say_it(seconds, text):
    assert clock(seconds) == text


def test_claims_are_shown_as_the_last_summary_has_them(progress_of, tmp_path):
    claim = {"says": "masked helps", "better": {"pretrain.task": {"kind": "masked"}}}
    found = progress_of(claims=[claim | {"worse": {"pretrain.task": None}}])
    found._judge()
    assert found.claims == ()
    summary = summarise(found.sweep, tmp_path / "records", 0.0)
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    found._judge()
    assert found.claims == ["claim: masked helps: undecided (no round yet)"]
    assert found.block()[-1] == (found.claims[0], "dim")
