"""A block that is painted over in place, as a terminal shows it."""

import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from citrus_ray.launch.terminal import Terminal, cut, width

ROOT = Path(__file__).resolve().parents[2]
CSI = re.compile(r"\x1b\[(\d*)([A-Za-z])")


class Screen:
    """A terminal of so many columns that folds long lines and never forgets one."""

    def __init__(self, columns: int) -> None:
        self.columns, self.rows, self.x, self.y = columns, [""], 0, 0

    def feed(self, text: str) -> None:
        while text:
            found = CSI.match(text)
            if found:
                self._control(int(found[1] or 0), found[2])
            elif text[0] == "\r":
                self.x = 0
            elif text[0] == "\n":
                self._down()
            else:
                self._put(text[0])
            text = text[found.end() if found else 1 :]

    def _control(self, n: int, what: str) -> None:
        if what == "A":
            self.y = max(self.y - n, 0)
        elif what in "KJ":
            self.rows[self.y] = self.rows[self.y][: self.x]
            if what == "J":
                del self.rows[self.y + 1 :]
        else:
            assert what == "m", f"a control that is not known here: {what}"

    def _put(self, letter: str) -> None:
        if self.x == self.columns:
            self.x = 0
            self._down()
        row = self.rows[self.y].ljust(self.x)
        self.rows[self.y] = row[: self.x] + letter + row[self.x + 1 :]
        self.x += 1

    def _down(self) -> None:
        self.y += 1
        if self.y == len(self.rows):
            self.rows.append("")


class Fake(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def painted(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(Terminal, "size", (80, 24))
    return Terminal(Fake())


def shown(terminal: Terminal, columns: int = 80) -> list[str]:
    screen = Screen(columns)
    assert isinstance(terminal.out, io.StringIO)
    screen.feed(terminal.out.getvalue().replace("\n", "\r\n"))
    return screen.rows


def test_a_block_is_painted_over_whatever_its_height(painted):
    painted.paint([("a" * 200, "bold"), ("b", ""), ("c", "")])
    painted.paint([("d", "bold"), ("e" * 200, "dim")])
    assert shown(painted) == ["d", "e" * 78 + "…"]
    painted.paint([("f", ""), ("g", ""), ("h", "")])
    painted.close()
    assert shown(painted) == ["f", "g", "h", ""]


def test_what_others_say_stands_above_and_stays(painted):
    painted.paint([("one", ""), ("two", "")])
    painted.above("a node was lost\nit sits out")
    painted.paint([("three", ""), ("four", "")])
    painted.above("again")
    painted.paint([("five", "")])
    assert shown(painted) == ["a node was lost", "it sits out", "again", "five"]


def test_a_window_that_was_drawn_narrower_leaves_no_copies(painted, monkeypatch):
    painted.paint([("x" * 70, ""), ("y" * 70, "")])
    monkeypatch.setattr(Terminal, "size", (40, 24))
    screen = Screen(40)
    screen.feed("\r\n".join("xxyy"[i] * (40 if i % 2 == 0 else 30) for i in range(4)))  # folded
    painted.out.truncate(0)
    painted.out.seek(0)
    painted.paint([("now", "")])
    screen.feed(painted.out.getvalue())
    assert screen.rows == ["now"]


def test_a_block_is_no_higher_than_the_window(painted, monkeypatch):
    monkeypatch.setattr(Terminal, "size", (80, 5))
    painted.paint([(str(i), "") for i in range(50)])
    assert shown(painted) == ["0", "1", "2", "3"]


def test_a_window_that_was_closed_ends_nothing(painted, monkeypatch):
    def gone(text: str) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(painted.out, "write", gone)
    painted.paint([("a", "")])
    painted.above("b")
    painted.close()


@pytest.mark.parametrize(
    ("name", "value", "live", "colour"),
    [("NO_COLOR", "1", True, False), ("TERM", "dumb", False, False), ("TERM", "xterm", True, True)],
)
def test_a_terminal_without_colours_or_without_a_cursor_gets_none(
    monkeypatch, name, value, live, colour
):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv(name, value)
    terminal = Terminal(Fake())
    assert (terminal.live, terminal.colour) == (live, colour)
    terminal.paint([("a", "bold")])
    assert ("\x1b[1m" in terminal.out.getvalue()) == colour  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "columns", "found"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("a\nb\tc", 9, "a b c"),
        ("\x1b[31mred", 9, " red"),
        ("日本語", 5, "日本…"),
        ("日本語", 6, "日本語"),
        ("e\u0301e", 2, "e\u0301e"),
        ("abc", 0, ""),
    ],
)
def test_a_text_is_cut_to_columns_not_letters(text, columns, found):
    assert cut(text, columns) == found
    assert width(found) <= columns


# ---- a real one ----

SWEEPING = """
import os, sys, time
from citrus_ray.launch.terminal import Terminal
terminal = Terminal(sys.stderr)
with terminal.alone():
    for i in range(60):
        terminal.paint([(f"head {i} " + "x" * 300, "bold"), (f"cell {i}", "")])
        if i == 20:
            print("a worker prints")
        if i == 30:
            os.write(2, b"a library writes\\n")
        if i in (21, 31):
            time.sleep(0.3)
    terminal.close()
print("the end")
"""


def test_a_terminal_of_80_columns_shows_one_block_and_no_copies():
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = os.environ | {"TERM": "xterm", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    call = [sys.executable, "-c", SWEEPING]
    child = subprocess.Popen(
        call, env=environment, cwd=ROOT, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    screen = Screen(80)
    screen.feed(_until_it_ends(master))
    assert child.wait() == 0
    assert screen.rows[:2] == ["a worker prints", "a library writes"]
    assert [row[:7] for row in screen.rows[2:]] == ["head 59", "cell 59", "the end", ""]


def _until_it_ends(master: int) -> str:
    found = b""
    while select.select([master], [], [], 20)[0]:
        try:
            found += os.read(master, 1 << 16)
        except OSError:  # the other end was closed
            break
    os.close(master)
    return found.decode()
