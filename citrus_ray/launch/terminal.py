"""A block of lines at the bottom of a terminal, painted over in place; what anyone else prints goes
above it.

Plain ANSI: a block of text that is cut to the width needs a cursor that goes up and clears, which
is less than what a library for it would bring.
"""

import os
import re
import select
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO

Line = tuple[str, str]  # text, and how it looks: "bold", "dim", ""
LOOKS = {"bold": "\x1b[1m", "dim": "\x1b[2m"}
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x1f\x7f]")
DRAIN_S = 0.1


class Terminal:
    """Where lines go: a terminal that can be painted on, or a log."""

    def __init__(self, out: TextIO) -> None:
        self.live = out.isatty() and os.environ.get("TERM") != "dumb"
        # a stream that shows control as text, as commands have it, would show ours, too
        self.out: TextIO = getattr(out, "painted", out) if self.live else out
        self.colour = self.live and not os.environ.get("NO_COLOR")
        self._lock = threading.RLock()
        self._block: list[int] = []  # columns of each line that stands there
        self._fd: int | None = None  # of the terminal, while others' output is caught

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows as they are now: a window may have been drawn wider since."""
        try:
            fd = self.out.fileno() if self._fd is None else self._fd
            columns, rows = os.get_terminal_size(fd)
        except (OSError, ValueError):
            columns = rows = 0
        return columns or 80, rows or 24

    def paint(self, lines: Sequence[Line]) -> None:
        """The block anew, over the one that stands there."""
        columns, rows = self.size
        kept = [(cut(text, columns - 1), look) for text, look in lines[: rows - 1]]
        with self._lock:
            self._write(self._home(columns) + "\n".join(map(self._styled, kept)) + "\x1b[J")
            self._block = [width(text) for text, _ in kept]

    def above(self, text: str) -> None:
        """Lines of their own, over the block, which the next painting brings back."""
        with self._lock:
            home = self._home(self.size[0]) + "\x1b[J" if self.live else ""
            self._block = []
            lines = text.rstrip().expandtabs().split("\n")
            clean = [CONTROL.sub("", line) for line in lines] if self.live else lines
            self._write(home + "\n".join(clean) + "\n")

    def close(self) -> None:
        """Leave the last painting, and go on below it."""
        with self._lock:
            if self._block:
                self._write("\n")
            self._block = []

    def _home(self, columns: int) -> str:
        """To the first column of the block, whose lines a narrower window has folded."""
        folded = sum(max(1, -(-n // columns)) for n in self._block)
        return "\r" + (f"\x1b[{folded - 1}A" if folded > 1 else "")

    def _styled(self, line: Line) -> str:
        text, look = line
        start = LOOKS.get(look, "") if self.colour else ""
        end = "\x1b[0m" if start else ""
        return f"{start}{text}{end}\x1b[K"

    def _write(self, text: str) -> None:
        with suppress(*[OSError] * self.live):  # a window that was closed ends no sweep
            if self._fd is None:
                self.out.write(text)
                self.out.flush()
                return
            rest = text.encode(errors="replace")
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A block in which what this process writes to the terminal, Ray's own libraries included,
        appears line by line above what is painted."""
        fds = [fd for fd in (1, 2) if self.live and _is_terminal(fd)]
        try:
            own = self.out.fileno()
        except (OSError, ValueError):
            own = -1
        if own not in fds:  # nothing of ours to tear
            yield
            return
        sys.stdout.flush()
        sys.stderr.flush()
        kept = {fd: os.dup(fd) for fd in fds}
        read, write = os.pipe()
        for fd in fds:
            os.dup2(write, fd)
        os.close(write)
        self._fd = kept[own]
        with _relayed(read, self.above):
            try:
                yield
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                for fd, old in kept.items():
                    os.dup2(old, fd)
        self._fd = None
        for old in kept.values():
            os.close(old)


def _is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


@contextmanager
def _relayed(read: int, say: Callable[[str], None]) -> Iterator[None]:
    """A block in which whole lines that come out of a pipe are said. It does not wait for the end
    of the pipe, which processes that were started meanwhile hold open."""
    over = threading.Event()

    def relay() -> None:
        rest = b""
        while True:
            last = over.is_set()
            if select.select([read], [], [], 0 if last else DRAIN_S)[0]:
                found = os.read(read, 1 << 16)
                if not found:  # nobody holds the other end
                    break
                *lines, rest = (rest + found).split(b"\n")
                if lines:
                    say(b"\n".join(lines).decode(errors="replace"))
            elif last:
                break
        if rest.strip():
            say(rest.decode(errors="replace"))

    thread = threading.Thread(target=relay, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        os.close(read)


def width(text: str) -> int:
    """Columns that a text takes."""
    return sum(map(_columns, text))


def _columns(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """A text in one line of at most so many columns, `…` where something was left out."""
    text = CONTROL.sub(" ", text)
    if width(text) <= columns:
        return text
    found, used = "", 1
    for letter in text:
        used += _columns(letter)
        if used > columns:
            break
        found += letter
    return found.rstrip() + "…" if columns > 0 else ""
