"""What every attack is: something done to what is on disk or asked for, and what came of it."""

import random
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Literal

# said: refused or named. harmless: the same came of it as without. silent: something else, and
# nobody was told. traceback: an exception that is none of ours. hang: no end within the deadline
Verdict = Literal["said", "harmless", "silent", "traceback", "hang"]
BAD: tuple[Verdict, ...] = ("silent", "traceback", "hang")
DEADLINE_S = 10.0  # of processor time: the machine may be busy
PATIENCE_S = 120.0  # of the wall's: what waits for a pipe takes no processor


@dataclass(frozen=True)
class Attack:
    """One attack by name, and what came of it."""

    name: str
    verdict: Verdict
    said: str = ""

    @property
    def is_bad(self) -> bool:
        return self.verdict in BAD


class Hang(BaseException):
    """The deadline is over; nothing that is tried may catch it."""


@contextmanager
def deadline(seconds: float = DEADLINE_S) -> Iterator[None]:
    def over(number: int, frame: FrameType | None) -> None:
        raise Hang

    limits = (
        (signal.SIGPROF, signal.ITIMER_PROF, seconds),
        (signal.SIGALRM, signal.ITIMER_REAL, PATIENCE_S),
    )
    before = [signal.signal(number, over) for number, _, _ in limits]
    for _, timer, limit in limits:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for (number, timer, _), was in zip(limits, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, was)


def tried(name: str, what: Callable[[], tuple[Verdict, str]]) -> Attack:
    """What comes of one attack, within the deadline."""
    try:
        with deadline():
            return Attack(name, *what())
    except Hang:
        return Attack(name, "hang")
    except Exception as err:
        frame = traceback.extract_tb(err.__traceback__)[-1]
        where = f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
        return Attack(name, "traceback", f"{where}: {type(err).__name__}: {str(err)[:200]}")


def table(attacks: Iterable[Attack]) -> str:
    """A line for each kind of attack, and one for all."""
    found: dict[str, Counter[str]] = {}
    for attack in attacks:
        for name in (attack.name, "all"):
            found.setdefault(name, Counter())[attack.verdict] += 1
    found["all"] = found.pop("all", Counter())
    head = ("said", "harmless", *BAD)
    rows = [f"{'':30}{'attacks':>9}" + "".join(f"{word:>11}" for word in head)]
    for name, counts in found.items():
        figures = "".join(f"{counts[word]:>11}" for word in head)
        rows.append(f"{name:30}{counts.total():>9}{figures}")
    return "\n".join(rows)


def flipped(content: bytes, rng: random.Random) -> bytes:
    """One bit of one to three bytes turned over."""
    out = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def zeroed(content: bytes, rng: random.Random) -> bytes:
    """A block of zeros, as a disk leaves it that lost power."""
    first = rng.randrange(len(content))
    n = min(rng.choice((16, 512)), len(content) - first)
    return content[:first] + bytes(n) + content[first + n :]


def junk(content: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.randint(1, 400))


def longer(content: bytes, rng: random.Random) -> bytes:
    return content + rng.randbytes(rng.randint(1, 40))


def swapped(content: bytes, rng: random.Random) -> bytes:
    """Two blocks of it in each other's place."""
    n = max(1, len(content) // 5)
    a, b = sorted(rng.sample(range(max(2, len(content) - n)), 2))
    b = max(b, a + n)
    one, two = content[a : a + n], content[b : b + n]
    return content[:a] + two + content[a + n : b] + one + content[b + n :]


DAMAGE: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bits flipped": flipped,
    "cut short": cut,
    "zeros in it": zeroed,
    "other bytes": junk,
    "bytes behind it": longer,
    "blocks swapped": swapped,
    "empty": lambda content, rng: b"",
}
