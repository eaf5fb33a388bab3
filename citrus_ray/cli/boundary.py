"""The one boundary of all commands, which no exception crosses: each ends in a sentence of what
happened, what is safe and what to run next. The rest is in a file, whose name is one line."""

import errno
import functools
import os
import re
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar, cast

Command = TypeVar("Command", bound=Callable[..., int])
CODES = "130 interrupted, 141 no one reads what it prints, 143 told to end"
OURS = "\r\x1b[K", "\r\x1b[2K"  # what lines of progress begin with
# what a terminal obeys, what turns text around, and half characters of file names
CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
FULL = (errno.ENOSPC, errno.EDQUOT)
WAYS = {
    errno.EACCES: "give it to the user who runs this",
    errno.EPERM: "give it to the user who runs this",
    errno.EROFS: "name a folder that can be written",
    errno.EMFILE: "allow more open files, `ulimit -n 4096`",
    errno.ENFILE: "the whole machine has no more handles of files; close what else runs there",
    errno.EFBIG: "allow larger files, `ulimit -f unlimited`",
    errno.ENOENT: "it went away while it was needed; see who deletes there",
    errno.EIO: "the disk or what is mounted there does not answer; look at it",
    errno.ESTALE: "what is mounted there was replaced; mount it again",
}

_inside: list[Path | None] = []  # a folder for reports, of the command that runs
_told_to_end = threading.Event()


def bounded(name: str, nothing: str, safe: str) -> Callable[[Command], Command]:
    """A command whose exit code comes whatever happens in it. `nothing` says what was not done
    where it is refused (`nothing was written`), `safe` what holds where it ends in the middle."""

    def decorate(run: Command) -> Command:
        @functools.wraps(run)
        def command(*args: Any, **kwargs: Any) -> int:
            call = functools.partial(run, *args, **kwargs)
            return call() if _inside else _ended(call, name, nothing, safe)

        return cast(Command, command)

    return decorate


def report_into(folder: Path) -> None:
    """Where the file to send goes, should there be one: beside the results, once they are there."""
    if _inside:
        _inside[-1] = folder


def _ended(call: Callable[[], int], name: str, nothing: str, safe: str) -> int:
    try:
        with (
            _alone(),
            redirect_stdout(cast(Any, PlainText(sys.stdout))),
            redirect_stderr(cast(Any, PlainText(sys.stderr))),
        ):
            code = _code_of(call, name, nothing, safe)
    except KeyboardInterrupt:  # as the block begins, or ends
        code = 130
        print(f"interrupted; {safe}", file=sys.stderr)
    return 143 if code == 130 and _told_to_end.is_set() else code


def _code_of(call: Callable[[], int], name: str, nothing: str, safe: str) -> int:
    try:
        code = call()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # or Python complains when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except SystemExit as err:
        if err.code != signal.SIGTERM:  # Ray ends so on it, while it starts
            raise
        print(f"told to end; {safe}", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print(f"interrupted; {safe}", file=sys.stderr)
        return 130
    except Exception as err:
        return _said(err, name, nothing, safe)


def _said(err: Exception, name: str, nothing: str, safe: str) -> int:
    """One sentence, on the screen, for what ended a command; its exit code."""
    # pydantic takes a moment, and `--help` waits for nothing
    from citrus_ray.spec import SpecError, without_secrets

    if isinstance(err, SpecError):
        n = len(err.problems)
        print(f"{err}\n{n} problem{'s' * (n > 1)}; {nothing}", file=sys.stderr)
        return 2
    if isinstance(err, OSError) and err.errno in (*FULL, *WAYS):
        where = f"{err.filename}: " if err.filename else ""
        if err.errno in FULL:
            what = f"no space left on device; make room; {safe}"
        else:
            what = f"{err.strerror}; {WAYS[err.errno or 0]}; {safe}"
        print(f"{where}{what}", file=sys.stderr)
        return 1
    if isinstance(err, MemoryError):
        what = "the machine has too little memory for this; close what else runs there"
        print(f"{name}: {what}; {safe}", file=sys.stderr)
        return 1
    said = " ".join(str(err).split())[:200]
    what = f"{type(err).__name__}: {said}" if said else type(err).__name__
    print(
        f"{name} met something that it has no word for ({without_secrets(what)})", file=sys.stderr
    )
    print(f"{safe}; if it ends so again, send {_report(err)}", file=sys.stderr)
    return 1


def _report(err: Exception) -> str:
    """The file in which all that is known of an error is; or its last call, where none can be
    written."""
    from citrus_ray.spec import without_secrets

    text = "".join(traceback.format_exception(err))
    facts = [f"python {sys.version}", f"command {sys.argv}", f"folder {os.getcwd()}"]
    with suppress(Exception):
        from citrus_ray import records

        facts += [f"commit {records.commit()}", f"versions {records.versions()}"]
    content = without_secrets("\n".join([text, *facts, ""]))
    name = f"citrus-error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in (_inside[-1] if _inside else None, Path(tempfile.gettempdir())):
        if folder is not None and folder.is_dir():
            with suppress(OSError):
                (folder / name).write_text(content, encoding="utf-8", errors="backslashreplace")
                return str(folder / name)
    frame = traceback.extract_tb(err.__traceback__)[-1]
    return f"this line: {frame.filename}:{frame.lineno} in {frame.name}"


# ---- signals ----


@contextmanager
def _alone() -> Iterator[None]:
    """The outermost command, in which SIGTERM is heard as Ctrl-C is: what runs ends in order."""
    _inside.append(None)
    _told_to_end.clear()
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _end) if is_main else None
    try:
        yield
    finally:
        _inside.pop()
        if is_main:
            signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: FrameType | None) -> None:
    _told_to_end.set()
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as where a script runs it behind `&`
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


# ---- text ----


class PlainText:
    """A stream in which labels, names and paths are text, whatever is in them, and lines of
    progress are what they are."""

    def __init__(self, out: Any) -> None:
        self._out = out

    @property
    def painted(self) -> Any:
        """The stream itself, for one who cleans what it shows."""
        return self._out

    def write(self, text: str) -> int:
        start = next((of for of in OURS if text.startswith(of)), "")
        self._out.write(start + plain(text[len(start) :], self.encoding or "utf-8"))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)


def plain(text: str, encoding: str = "utf-8") -> str:
    """Text in which what a terminal would obey is written out: `\\x1b`."""
    text = CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return text.encode(encoding, "backslashreplace").decode(encoding)
