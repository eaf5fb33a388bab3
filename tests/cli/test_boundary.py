"""The one boundary that no exception crosses: what happened, what is safe, what to run next."""

import io
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from citrus_ray.cli import boundary
from citrus_ray.cli.boundary import PlainText, bounded, plain, report_into
from citrus_ray.cli.citrus import COMMANDS
from citrus_ray.cli.citrus import main as citrus
from citrus_ray.spec import refuse


def ending(
    err: BaseException | None = None, code: int = 0
) -> Callable[[Sequence[str] | None], int]:
    """A command that ends so."""

    @bounded("citrus odd", nothing="nothing was written", safe="all is as it was, run it again")
    def command(argv: Sequence[str] | None) -> int:
        if err is not None:
            raise err
        return code

    return command


@pytest.mark.parametrize("name", list(COMMANDS))
def test_no_command_ends_in_a_traceback(name, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fails(argv: Sequence[str], prog: str) -> int:
        raise LookupError("a \x1b[2J word\nof two lines")

    monkeypatch.setattr("citrus_ray.cli.citrus.locate", lambda path: fails)
    assert citrus([name, "x"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 2
    assert said.startswith(f"citrus {name} met something that it has no word for (LookupError: a ")
    assert "\x1b" not in said
    assert f"{COMMANDS[name].safe}; if it ends so again, send {tmp_path}" in said
    (report,) = tmp_path.iterdir()
    assert "raise LookupError" in report.read_text()


def test_the_file_to_send_lies_with_the_results_and_knows_no_secret(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["citrus", "s3://me:word@host/store?token=abc"])

    @bounded("citrus odd", nothing="", safe="s")
    def command(argv: Sequence[str] | None) -> int:
        report_into(tmp_path)
        raise ValueError("s3://me:word@host/store is odd")

    assert command(None) == 1
    (report,) = tmp_path.iterdir()
    assert str(report) in capsys.readouterr().err
    text = report.read_text()
    assert "word@" not in text
    assert "abc" not in text
    assert "command ['citrus', 's3://***@host/store?token=***']" in text


def test_where_no_file_can_be_written_the_last_call_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert ending(ValueError())(None) == 1
    assert "send this line: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("err", "code", "said"),
    [
        (None, 0, ""),
        (
            refuse("must be less; give less", "a.b"),
            2,
            "a.b: must be less; give less\n1 problem; not",
        ),
        (KeyboardInterrupt(), 130, "interrupted; all is as it was, run it again\n"),
        (
            OSError(28, "No space left on device", "/x"),
            1,
            "/x: no space left on device; make room; ",
        ),
        (OSError(30, "Read-only file system", "/x"), 1, "/x: Read-only file system; name a folder"),
        (
            PermissionError(13, "Permission denied", "/x"),
            1,
            "/x: Permission denied; give it to the",
        ),
        (OSError(27, "File too large", "/x"), 1, "/x: File too large; allow larger files, `ulimit"),
        (
            OSError(23, "Too many open files in system"),
            1,
            "Too many open files in system; the whole",
        ),
        (OSError(2, "it is gone", "/x"), 1, "/x: it is gone; it went away while it was needed"),
        (MemoryError(), 1, "citrus odd: the machine has too little memory"),
        (RecursionError("maximum recursion depth"), 1, "citrus odd met something"),
    ],
)
def test_each_end_has_its_code_and_its_sentence(err, code, said, capsys):
    assert ending(err)(None) == code
    printed = capsys.readouterr().err
    assert printed.startswith(said)
    assert bool(printed) == bool(said)


def test_what_ends_a_command_inside_another_is_said_once(capsys):
    @bounded("citrus outer", nothing="", safe="outer")
    def outer(argv: Sequence[str] | None) -> int:
        return ending(KeyboardInterrupt())(argv)

    assert outer(None) == 130
    assert capsys.readouterr().err == "interrupted; outer\n"


@pytest.mark.parametrize("ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
def test_sigterm_is_heard_as_ctrl_c_and_has_its_own_code(capsys, ctrl_c, request):
    """Behind `&` in a script Ctrl-C is ignored, SIGTERM is not."""
    before = signal.getsignal(signal.SIGTERM)
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, ctrl_c)

    @bounded("citrus odd", nothing="", safe="what is there is safe")
    def command(argv: Sequence[str] | None) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)
        return 0

    assert command(None) == 143
    assert capsys.readouterr().err == "interrupted; what is there is safe\n"
    assert signal.getsignal(signal.SIGTERM) is before
    assert ending(SystemExit(signal.SIGTERM))(None) == 143  # as Ray ends while it starts


def test_labels_names_and_paths_never_move_a_terminal():
    out = io.StringIO()
    stream = PlainText(out)
    print("a\x1b[2J\rb\x07\u202ec\udce9\x85\td", file=stream)
    print("\r\x1b[2K12 of 40", end="", file=stream)
    print("naïve – 日本", file=stream)
    said = "a\\x1b[2J\\rb\\x07\\u202ec\\udce9\\x85\td\n\r\x1b[2K12 of 40naïve – 日本\n"
    assert out.getvalue() == said
    assert plain("naïve", "ascii") == "na\\xefve"


def test_a_label_with_terminal_control_is_printed_as_text(tmp_path, capsys):
    assert citrus(["run", str(tmp_path / "a\x1b[2Jb.yaml"), "--status"]) == 2
    assert "a\\x1b[2Jb.yaml" in capsys.readouterr().err


def test_nothing_is_left_of_a_command_that_ended():
    before = sys.stdout, sys.stderr
    assert ending(code=3)(None) == 3
    assert (sys.stdout, sys.stderr) == before
    assert boundary._inside == []
    assert not Path("citrus-error").exists()
